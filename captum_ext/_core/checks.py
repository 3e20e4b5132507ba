"""Checks of single arguments, so that the same mistake raises the same error in metrics and in `evaluate`."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def is_exact(tensor: Tensor) -> bool:
    """Whether the type is that of integers or of booleans, such as token ids, images of bytes and fingerprints."""
    return not (tensor.is_floating_point() or tensor.is_complex())


def check_floating(tensors: Iterable[Tensor], why: str) -> None:
    types = [t.dtype for t in tensors]
    if not all(t.is_floating_point for t in types):
        raise TypeError(
            f"`inputs` must be of a floating point type, as {why}, got {[str(t) for t in types]}. "
            "For token ids give the embeddings, for images of bytes `inputs.float()`."
        )


def check_exact(name: str, value: float | Tensor, x: Tensor) -> None:
    """Checks that inputs of an integer type, or booleans, can take a value as it is."""
    if not is_exact(x) or x.is_meta:
        return
    low, high = (0, 1) if x.dtype == torch.bool else (torch.iinfo(x.dtype).min, torch.iinfo(x.dtype).max)
    if not isinstance(value, Tensor):
        wrong = [] if low <= value <= high and value == int(value) else [value]
    elif is_exact(value):
        wrong = value[(value.long() < low) | (value.long() > high)][:1].tolist()
    else:
        wrong = value[~((value >= low) & (value < float(high + 1)) & (value == value.round()))][:1].tolist()
    if wrong:
        raise ValueError(
            f"`{name}` must be a value that `inputs` of type {x.dtype} can hold, got {wrong[0]}. "
            "Give such a value, or floating point inputs."
        )


def describe(value: object) -> str:
    if isinstance(value, (tuple, list)):
        inner = ", ".join(sorted({type(v).__name__ for v in value})) or "nothing"
        return f"a {type(value).__name__} of {inner}"
    return f"{type(value).__name__} {value!r}" if isinstance(value, (str, int, float)) else type(value).__name__


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
