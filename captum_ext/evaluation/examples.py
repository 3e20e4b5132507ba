"""A data set as batches of numbered examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from .alone import alone_in_process

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Batch:
    """What the metrics get, in Captum's forms; `indices` are those of the examples in the data set."""

    indices: list[int]
    inputs: Tensor | Tensors
    target: Any = None
    additional_forward_args: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # arguments of metrics by name
    attributions: Any = None  # of one method, or of several by name

    def __len__(self) -> int:
        return len(self.indices)

    def split(self, size: int) -> list[Batch]:
        """The same examples, at most `size` at a time."""
        if len(self) <= size:
            return [self]
        return [self._rows(i, min(i + size, len(self))) for i in range(0, len(self), size)]

    def _rows(self, start: int, stop: int) -> Batch:
        def of_rows(value: Any) -> Any:
            """A slice of whatever has a row per example."""
            if isinstance(value, tuple):
                return tuple(map(of_rows, value))
            if isinstance(value, dict):
                return {name: of_rows(v) for name, v in value.items()}
            per_example = isinstance(value, list) or (isinstance(value, Tensor) and value.dim() > 0)
            return value[start:stop] if per_example and len(value) == len(self) else value

        parts = (self.inputs, self.target, self.additional_forward_args, self.extra, self.attributions)
        return Batch(self.indices[start:stop], *map(of_rows, parts))


class Examples:
    """A torch data set of `(inputs, target[, additional_forward_args[, extra]])`, or a loader of one.

    Examples are numbered in the data set's own order, whatever the loader's.
    """

    def __init__(self, data: Any):
        self.collate = collate
        if isinstance(data, DataLoader):
            _check_numbered(data.dataset)
            _check_in_order(data)
            if data.collate_fn is not default_collate:
                self.collate = data.collate_fn  # type: ignore[assignment]
            data = data.dataset
        _check_numbered(data)
        if len(data) == 0:
            raise ValueError("`data` has no examples.")
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        rows = [self.example(i) for i in indices]
        try:
            parts = self.collate(rows)
        except Exception as error:
            raise ValueError(
                f"Examples {indices[0]} to {indices[-1]} of `data` could not be stacked: {error}"
            ) from error
        if isinstance(parts, Tensor):
            parts = (parts,)
        if not 1 <= len(parts) <= 4:
            raise ValueError(
                f"`data` must give (inputs, target[, additional_forward_args[, extra]]), got {len(parts)} parts."
            )
        if len(parts) == 4 and not isinstance(parts[3], Mapping):
            raise TypeError(
                "The fourth part of `data` must be a mapping from names of metrics' arguments to the example's values, "
                f"got {type(parts[3]).__name__}."
            )
        inputs, *rest = (to_device(p, device) for p in parts)
        return Batch(list(indices), tuple(inputs) if isinstance(inputs, list) else inputs, *rest)

    def example(self, index: int) -> Any:
        try:
            with alone_in_process(wait=True):  # a data set may draw from global generators
                return self.data[index]
        except Exception as error:
            raise ValueError(f"Example {index} of `data` could not be loaded: {error!r}.") from error


def _check_numbered(data: Any) -> None:
    if isinstance(data, IterableDataset) or not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise TypeError(
            f"`data` must be a torch data set with a length, or a loader of one, got {type(data).__name__}. "
            "Examples are numbered, so an iterable has to be made a list of (inputs, target) first."
        )


def _check_in_order(loader: DataLoader[Any]) -> None:
    batches = loader.batch_sampler
    own_batches = batches is not None and (type(batches) is not BatchSampler or batches.sampler is not loader.sampler)
    if own_batches or not isinstance(loader.sampler, (SequentialSampler, RandomSampler)):
        raise ValueError(
            "`data` is a loader with a sampler of its own; give a torch.utils.data.Subset of the examples instead."
        )


def collate(examples: list[Any]) -> tuple[Any, ...]:
    """Stacks inputs and further arguments to tensors, integer targets to a tensor, and tuples of targets to a list."""
    if isinstance(examples[0], Tensor):
        return (torch.stack(examples),)
    inputs, *rest = zip(*examples)
    parts: list[Any] = [_stacked(inputs)]
    if rest:
        parts.append(_targets(rest[0]))
    return (*parts, *(_stacked(r) for r in rest[1:]))


def _stacked(values: tuple[Any, ...]) -> Any:
    if isinstance(values[0], Mapping):
        if any(v.keys() != values[0].keys() for v in values):
            raise ValueError(f"they have different names, {' and '.join(sorted({str([*v]) for v in values}))}")
        return {name: _stacked(tuple(v[name] for v in values)) for name in values[0]}
    if isinstance(values[0], (tuple, list)):
        return tuple(_stacked(v) for v in zip(*values))
    return None if values[0] is None else default_collate(list(values))


def _targets(targets: tuple[Any, ...]) -> Any:
    if targets[0] is None:
        return None
    return list(targets) if isinstance(targets[0], tuple) else default_collate(list(targets))


def to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, Mapping):
        return {name: to_device(v, device) for name, v in value.items()}
    return tuple(to_device(v, device) for v in value) if isinstance(value, tuple) else value
