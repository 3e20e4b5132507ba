"""What tests share: generators that start anew, and one test over many forms, which names those that fail."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch


def seed_generators() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # torch.manual_seed asks every kind of device too


def for_each(forms: Iterable[tuple[str, Any]], check: Callable[[Any], None]) -> None:
    """Checks all, and names those that failed."""
    failed = {}
    for name, form in forms:
        try:
            check(form)
        except Exception as error:
            failed[name] = error
    if failed:
        lines = "\n".join(f"{name}: {type(e).__name__}: {e}" for name, e in failed.items())
        raise AssertionError(f"{len(failed)} failed\n{lines}") from next(iter(failed.values()))
