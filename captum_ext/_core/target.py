"""Brings every form of Captum's `target` into one form, and selects the output that it stands for."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .checks import describe, shape

NO_CLASS = -1  # stands for the predicted class where an output is nan
TargetType = None | int | Tensor | tuple[int, ...] | list[int] | list[tuple[int, ...]] | np.integer[Any]


def as_target(target: TargetType, batch: int) -> Tensor | None:
    """`[B, D]`: the indices of each example's output, for a model whose output has `D` axes after the rows."""
    if target is None:
        return None
    if isinstance(target, (Tensor, np.ndarray)):
        return _tensor_target(target if isinstance(target, Tensor) else torch.as_tensor(target, device="cpu"), batch)
    if isinstance(target, list):
        if len(target) != batch:
            raise ValueError(
                f"A list as `target` must have one entry for each of the {batch} examples, got {len(target)}."
            )
        rows = [_indices(t) for t in target]
        if len({len(r) for r in rows}) > 1:
            raise ValueError("All tuples of a list `target` must have the same length, got different ones.")
        return torch.tensor(rows, device="cpu")
    return torch.tensor([_indices(target)], device="cpu").expand(batch, -1)


def _tensor_target(target: Tensor, batch: int) -> Tensor:
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(f"`target` holds class indices and must be of an integer type, got {target.dtype}.")
    if target.numel() == 1:
        return target.reshape(1, 1).long().expand(batch, 1)
    if shape(target) != (batch,):
        raise ValueError(
            f"A tensor as `target` must have one element or shape ({batch},), one index per example; "
            f"got {shape(target)}."
        )
    return target.long()[:, None]


def _indices(target: Any) -> tuple[int, ...]:
    indices = target if isinstance(target, tuple) else (target,)
    if not indices or any(isinstance(i, bool) or not hasattr(i, "__index__") for i in indices):
        raise TypeError(
            "`target` must be an integer, a tuple of integers, a tensor, or a list with one of them per example; "
            f"got {describe(target)}."
        )
    return tuple(operator.index(i) for i in indices)


def check_output(output: Any, rows: int) -> Tensor:
    """Returns the model's output after checking that it has a row for each input row."""
    if not isinstance(output, Tensor):
        raise TypeError(f"`forward_func` must return a tensor, got {describe(output)}.")
    if output.dim() == 0 or len(output) != rows:
        raise ValueError(
            f"`forward_func` must return one row for each of its {rows} input rows, got shape {shape(output)}."
        )
    return output


def select_target(output: Tensor, target: Tensor | None, rows: int) -> Tensor:
    """`[rows]`: the value that the target selects in each row of the model's output."""
    if target is None:
        if output.numel() != rows:
            raise ValueError(
                f"`target` is missing: the model's output has shape {shape(output)}, more than one value per row. "
                "Say which to explain, for example target=0 or one class index per example."
            )
        return output.reshape(rows)
    if target.shape[1] != output.dim() - 1:
        raise ValueError(
            f"`target` has {target.shape[1]} indices, but the model's output of shape {shape(output)} needs "
            f"{output.dim() - 1} per row. For an output with several axes give a tuple of indices; "
            "for one value per row leave `target` out."
        )
    target = target.to(output.device)
    if not target.is_meta:
        size = torch.tensor(output.shape[1:], device=target.device)
        if ((target >= size) | (target < -size)).any():
            raise ValueError(
                f"`target` is out of range: the model's output has shape {shape(output)}, "
                f"got indices up to {target.amax(0).tolist()}."
            )
    return output[(torch.arange(rows, device=output.device), *target.unbind(1))]


def predicted_class(output: Tensor) -> Tensor:
    """`[rows]`: an activation that gives the class with the largest output, and `NO_CLASS` where an output is nan."""
    if not isinstance(output, Tensor) or output.dim() == 0:
        return output  # the caller's check of the output refuses it
    if output.dim() != 2:
        raise ValueError(
            f"`forward_func` must return `[rows, classes]`, so that there is a prediction; got {shape(output)}."
        )
    return output.argmax(1).masked_fill(output.isnan().any(1), NO_CLASS)


def is_predicted(output: Tensor) -> Tensor:
    """`[rows, classes]`: an activation that gives 1 for the class with the largest output and 0 for all others.

    A row with a nan output is nan throughout.
    """
    predicted = predicted_class(output)
    if predicted is output:
        return output
    shares = one_hot(predicted.clamp(min=0), output.shape[1]).to(output.dtype)
    return shares.where((predicted != NO_CLASS)[:, None], torch.nan) if output.is_floating_point() else shares
