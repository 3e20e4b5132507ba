"""Brings every form of Captum's `target` into one form, and selects the output that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .checks import check_finite, check_integer, check_real, describe, is_exact, is_integer, plain, shape
from .devices import sent

ROUNDING = 0.01  # by which the sum of a distribution may differ from 1, as small types round
NO_CLASS = -1  # stands for the predicted class where an output is nan
TargetType = None | int | Tensor | tuple[int, ...] | list[int] | list[tuple[int, ...]] | np.integer[Any]


def as_target(target: TargetType, batch: int) -> Tensor | None:
    """`[B, D]`: the indices of each example's output, for a model whose output has `D` axes after the rows."""
    if target is None:
        return None
    if isinstance(target, (Tensor, np.ndarray)):
        return _tensor_target(target if isinstance(target, Tensor) else _of_array(target), batch)
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


def _of_array(target: np.ndarray[Any, Any]) -> Tensor:
    if target.dtype.kind not in "iu":
        raise TypeError(f"`target` holds class indices and must be of an integer type, got an array of {target.dtype}.")
    return torch.as_tensor(target.astype(np.int64), device="cpu")


def _tensor_target(target: Tensor, batch: int) -> Tensor:
    check_real("`target` must be", target)
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        one_hot = " If it is one-hot use target.argmax(1)." if target.dim() == 2 else ""
        raise TypeError(f"`target` holds class indices and must be of an integer type, got {target.dtype}.{one_hot}")
    if target.numel() == 1:
        return target.reshape(1, 1).long().expand(batch, 1)
    if shape(target) != (batch,):
        raise ValueError(
            f"A tensor as `target` must have one element or shape ({batch},), one index per example; "
            f"got {shape(target)}."
        )
    return target.long()[:, None]


def _indices(target: Any) -> tuple[int, ...]:
    indices = tuple(map(plain, target if isinstance(target, tuple) else (target,)))
    if not indices or not all(map(is_integer, indices)):
        raise TypeError(
            "`target` must be an integer, a tuple of integers, a tensor, or a list with one of them per example; "
            f"got {describe(target)}."
        )
    return tuple(check_integer("`target` must be an index, an integer", i) for i in indices)


def logits_of(output: Any) -> Any:
    """The `logits` of an output that has them, such as those of Hugging Face's models; any other output as it is."""
    if isinstance(output, Mapping):
        return output.get("logits", output)
    return output if isinstance(output, Tensor) else getattr(output, "logits", output)


def check_output(output: Any, rows: int, name: str = "forward_func") -> Tensor:
    """Returns the model's output, or that of the activation, if it has a row for each input row."""
    if not isinstance(output, Tensor):
        raise TypeError(f"`{name}` must return a tensor, got {_described(output)}")
    if output.dim() == 0 or len(output) != rows:
        squeezed = " A `.squeeze()` takes away the rows where there is one; use .squeeze(1)." if rows == 1 else ""
        raise ValueError(
            f"`{name}` must return one row for each of its {rows} input rows, got shape {shape(output)}.{squeezed}"
        )
    check_real(f"`{name}` must return", output)
    if not output.numel():
        raise ValueError(f"`{name}` must return at least one value per row, got shape {shape(output)}.")
    return output


def _described(output: Any) -> str:
    """What came instead of a tensor, and how to make one of it."""
    if isinstance(output, Mapping) and output:
        names = list(map(str, output))
        return (
            f"{type(output).__name__} with the fields {', '.join(names)} but no `logits`. Give a function that takes "
            f"one of them: `lambda *x: model(*x)[{names[0]!r}]`."
        )
    if isinstance(output, (tuple, list)) and output:
        return f"{describe(output)}. Give a function that takes one of them: `lambda *x: model(*x)[0]`."
    return f"{describe(output)}."


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
    if not target.is_meta:
        size = torch.tensor(output.shape[1:], device=target.device)
        if ((target >= size) | (target < -size)).any():
            raise ValueError(
                f"`target` is out of range: the model's output has shape {shape(output)}, "
                f"got indices up to {target.amax(0).tolist()}."
            )
    return output[(torch.arange(rows, device=output.device), *sent(target, output.device).unbind(1))]


def as_distribution(output: Tensor) -> Tensor:
    """`[rows, classes]`, with a sum of 1: nan in rows that are no distribution.

    A single output per row is the probability of the second of two classes.
    """
    if output.numel() == len(output):
        output = output.reshape(-1, 1)
        output = torch.cat((1 - output, output), 1)
    if output.dim() != 2:
        raise ValueError(
            f"`forward_func` must return `[rows, classes]`, a distribution over classes; got {shape(output)}."
        )
    total = output.sum(1, keepdim=True)
    valid = (output >= 0).all(1, keepdim=True) & ((total - 1).abs() <= ROUNDING)
    return (output / total).where(valid, torch.nan)


def check_threshold(threshold: float | None) -> None:
    if threshold is not None:
        check_finite("threshold", threshold)


def largest_class(outputs: Tensor) -> Tensor:
    """`[rows]`: the class with the largest of the outputs `[rows, classes]`, and `NO_CLASS` where an output is nan."""
    outputs = outputs.long() if is_exact(outputs) else outputs  # `argmax` does not take all of these types
    return outputs.argmax(1).masked_fill(outputs.isnan().any(1), NO_CLASS)


def predicted_class(output: Tensor, threshold: float | None = None) -> Tensor:
    """`[rows]`: an activation that gives the predicted class, and `NO_CLASS` where an output is nan.

    It is the class with the largest output. For a model with one output, it is 1 where the output is above `threshold`,
    and else 0.
    """
    if output.numel() == len(output):
        return _above(output.reshape(len(output)), threshold)
    if output.dim() != 2:
        raise ValueError(
            f"`forward_func` must return `[rows, classes]`, so that there is a prediction; got {shape(output)}."
        )
    if threshold is not None:
        raise ValueError(
            f"`threshold` is for models with one output per row; got {shape(output)}, whose largest is the prediction. "
            "Leave it out."
        )
    return largest_class(output)


def _above(output: Tensor, threshold: float | None) -> Tensor:
    if threshold is None:
        raise ValueError(
            "`threshold` is missing: `forward_func` returns one output per row, and the largest of one is always class "
            "0. Give threshold=0 for a logit or 0.5 for a probability, or return an output for each class."
        )
    return (output > threshold).long().masked_fill(output.isnan(), NO_CLASS)


def is_predicted(output: Tensor, threshold: float | None = None) -> Tensor:
    """`[rows, classes]`: an activation that gives 1 for the predicted class and 0 for all others.

    A model with one output has two classes, see `predicted_class`. A row with a nan output is nan throughout.
    """
    predicted = predicted_class(output, threshold)
    shares = one_hot(predicted.clamp(min=0), 2 if threshold is not None else output.shape[1]).to(output.dtype)
    return shares.where((predicted != NO_CLASS)[:, None], torch.nan) if output.is_floating_point() else shares
