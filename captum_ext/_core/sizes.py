"""Sizes of sets of features, as numbers or as fractions of an example's features, one or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .arguments import as_sequence
from .checks import describe, is_integer

SizeType = float | Sequence[float] | Tensor


def as_sizes(name: str, value: SizeType, counts: Tensor) -> tuple[Tensor, bool]:
    """`[B, K]`: sizes between 1 and each example's number of features (`counts`), and whether the caller gave only one.

    A float is a fraction of the example's features, which is rounded to a number of at least 1.
    """
    values, single = as_sequence(name, value)
    if not values:
        raise ValueError(f"`{name}` must have at least one size, got none.")
    return torch.stack([_size(name, v, counts) for v in values], 1), single


def _size(name: str, value: Any, counts: Tensor) -> Tensor:
    if not (isinstance(value, float) or is_integer(value)):
        raise TypeError(f"`{name}` must be an integer or a fraction of the features, got {describe(value)}.")
    if isinstance(value, float):
        if not 0 < value <= 1:
            raise ValueError(
                f"A float as `{name}` is a fraction of the features, above 0 and at most 1; got {value}. "
                "For a number of features give an int."
            )
        return (value * counts.double()).round().long().clamp(min=1)
    if not 1 <= value <= int(counts.min()):
        raise ValueError(
            f"`{name}` must be from 1 to the number of features, {int(counts.min())} in example "
            f"{int(counts.argmin())}; got {value}."
        )
    return torch.full_like(counts, int(value))


def several(name: str) -> Callable[[dict[str, Any]], list[float] | None]:
    """Makes the coordinates of a score that has a value for each size in the argument `name`; None for one size."""

    def coordinates(arguments: dict[str, Any]) -> list[float] | None:
        sizes, single = as_sequence(name, arguments[name])
        return None if single else sizes

    return coordinates
