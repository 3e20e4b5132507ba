"""Inputs on a device without float64: metrics compute on the CPU, and the caller's functions on the device.

Such a device is Apple's MPS. Statistics in float32 would lose the digits in which close scores differ.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
LACK_FLOAT64 = ["mps"]  # types of devices
CPU = torch.device("cpu")
HOME: ContextVar[torch.device | None] = ContextVar("home", default=None)  # where the caller's functions compute


def in_float64(function: F) -> F:
    """Has a metric or a fill compute on the CPU if a tensor that it is given is on a device without float64."""

    @functools.wraps(function)
    def on_the_cpu(*args: Any, **kwargs: Any) -> Any:
        devices = [t.device for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        device = next((d for d in devices if d.type in LACK_FLOAT64), None)
        if device is None:
            return function(*args, **kwargs)
        args, kwargs = moved((args, kwargs), CPU)
        outer = HOME.set(device)
        try:
            return moved(function(*args, **kwargs), device)
        finally:
            HOME.reset(outer)

    return on_the_cpu  # type: ignore[return-value]


@contextmanager
def away_from_home() -> Iterator[None]:
    """Has functions compute where their arguments are: the metrics' own, or the caller's on its device already."""
    outer = HOME.set(None)
    try:
        yield
    finally:
        HOME.reset(outer)


def moved(value: T, device: torch.device) -> T:
    """The value with all its tensors on the device."""
    return tree_map_only(Tensor, lambda t: t.to(device), value)
