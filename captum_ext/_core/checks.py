"""Checks of single arguments, so that the same mistake raises the same error in metrics and in `evaluate`."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor


def shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def describe(value: object) -> str:
    if isinstance(value, (tuple, list)):
        inner = ", ".join(sorted({type(v).__name__ for v in value})) or "nothing"
        return f"a {type(value).__name__} of {inner}"
    return f"{type(value).__name__} {value!r}" if isinstance(value, (str, int, float)) else type(value).__name__


def is_exported(module: object) -> bool:
    """Whether a module was made by `torch.export`: a graph, without the layers that it was made from."""
    return any(kind.__module__.startswith("torch.export.") for kind in type(module).__mro__)


def check_count(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"`{name}` must be an integer, got {describe(value)}.")
    if operator.index(value) < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    return operator.index(value)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    if value not in (choices := tuple(choices)):
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < float("inf"):
        raise ValueError(f"`{name}` must be a number above 0, got {value!r}.")


def check_fraction(name: str, value: Any, open_ends: bool = False) -> float:
    """From 0 to 1; with open ends neither 0 nor 1, as for a level of confidence or significance."""
    inside = isinstance(value, (int, float, np.number)) and 0 <= value <= 1
    if not inside or (open_ends and value in (0, 1)):
        wanted = "be between 0 and 1, neither included;" if open_ends else "be a fraction from 0 to 1,"
        raise ValueError(f"`{name}` must {wanted} got {value!r}.")
    return float(value)
