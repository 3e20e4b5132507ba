"""A data set as batches of numbered examples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
    default_convert,
)

from .._core.checks import as_tensors
from .alone import alone_in_process
from .axes import spanned
from .labels import label_of, labels_of_batch, stacked_labels
from .parts import PARTS, Parts, check_further, check_inputs, difference, is_array, other_size, parts_of

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Batch:
    """What the metrics get, in Captum's forms; `indices` are those of the examples in the data set."""

    indices: list[int]
    inputs: Tensor | Tensors
    target: Any = None
    additional_forward_args: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # arguments of metrics and methods by name
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

    Examples are numbered in the data set's own order, whatever the loader's. All must have the parts that the first one
    has. Unless `target` is "data", the targets of the data set are ignored.
    """

    def __init__(self, data: Any, target: str | None = "data"):
        self.collate: Callable[[list[Any]], Any] | None = None
        self.target, self.of_loader = target, isinstance(data, DataLoader)
        if isinstance(data, DataLoader):
            _check_numbered(data.dataset)
            _check_in_order(data)
            if data.collate_fn not in (default_collate, default_convert):
                self.collate = data.collate_fn
            data = data.dataset
        _check_numbered(data)
        if len(data) == 0:
            raise ValueError("`data` has no examples.")
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getstate__(self) -> dict[str, Any]:
        """Other processes load the first example again."""
        return {name: value for name, value in vars(self).items() if name != "_first"}

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        parts = self._stacked(indices) if self.collate is None else self._collated(self.collate, indices)
        inputs, *rest = (to_device(p, device) for p in parts)
        return Batch(list(indices), tuple(inputs) if isinstance(inputs, list) else inputs, *rest)

    def extra(self) -> Mapping[str, Any]:
        """The own values of the first example, of which every example has the same names."""
        return self.batch(range(1), torch.device("cpu")).extra

    def example(self, index: int) -> Any:
        return self._first if index == 0 else self._load(index)

    @functools.cached_property
    def _first(self) -> Any:
        return self._load(0)

    def _load(self, index: int) -> Any:
        try:
            with alone_in_process(wait=True):  # a data set may draw from global generators
                return self.data[index]
        except Exception as error:
            raise ValueError(f"Example {index} of `data` could not be loaded: {error!r}.") from error

    def _stacked(self, indices: Sequence[int]) -> Parts:
        rows = [self._parts(i) for i in indices]
        self._check_like_first(self._parts(0), rows, indices)
        try:
            return collate(rows)
        except Exception as error:
            row, why = other_size(rows) or (0, str(error))
            of_row = f"example {indices[row]} differs from example {indices[0]}: {why}" if row else why
            raise ValueError(f"{spanned(indices).capitalize()} of `data` could not be stacked: {of_row}") from error

    def _parts(self, index: int) -> Parts:
        try:
            return self._checked_parts(index)
        except (TypeError, ValueError) as error:
            if self.of_loader and " in data]" in str(
                error
            ):  # whose batches the lines that mend the data must not go through
                raise type(error)(str(error).replace(" in data]", " in data.dataset]")) from error
            raise

    def _checked_parts(self, index: int) -> Parts:
        """The parts of an example, with its label in place of its target."""
        where = f"example {index}"
        inputs, *rest = parts_of(self.example(index), where)
        if rest:
            rest[0] = label_of(rest[0], index) if self.target == "data" else None
        check_inputs(inputs, where)
        check_further(rest[1] if len(rest) > 1 else None, where)
        return (inputs, *rest)

    def _check_like_first(self, first: Parts, rows: Sequence[Parts], indices: Sequence[int]) -> None:
        for i, row in zip(indices, rows):
            if (why := difference(first, row)) is not None:
                raise ValueError(
                    f"{spanned(indices).capitalize()} of `data` do not fit together, as example {i} differs "
                    f"from example 0: {why}. Give every example the same parts."
                )

    def _collated(self, collate_fn: Callable[[list[Any]], Any], indices: Sequence[int]) -> Parts:
        """The parts of a batch that the loader's own function makes; its targets in one of Captum's forms."""
        parts = self._given_by(collate_fn, indices)
        for x in parts[0] if isinstance(parts[0], (tuple, list)) else parts[:1]:
            if np.ndim(x) == 0 or len(x) != len(indices):
                raise ValueError(
                    f"The `collate_fn` of `data` must give inputs with a row for each of the "
                    f"{spanned(indices)}, got shape {tuple(np.shape(x))}."
                )
        if (why := difference(self._first_batch, _without_target(parts))) is not None:
            raise ValueError(
                f"The `collate_fn` of `data` must give the same parts for all examples, but its batch of "
                f"{spanned(indices)} differs from that of example 0: {why}."
            )
        target = labels_of_batch(parts[1], indices) if len(parts) > 1 and self.target == "data" else None
        return (parts[0], target, *parts[2:])

    @functools.cached_property
    def _first_batch(self) -> Parts:
        return _without_target(self._given_by(self.collate, [0]))

    def _given_by(self, collate_fn: Any, indices: Sequence[int]) -> Parts:
        rows = [self.example(i) for i in indices]
        try:
            batch = collate_fn(rows)
        except Exception as error:
            raise ValueError(f"{spanned(indices).capitalize()} of `data` could not be stacked: {error}") from error
        where = "what its `collate_fn` makes of examples"
        if isinstance(batch, Mapping):
            raise TypeError(
                f"`data` must give {PARTS}, but {where} is a dict with {', '.join(map(repr, batch))}. Take its parts:\n"
                "    collate = lambda rows: tuple(data.collate_fn(rows)[name] for name in (..., ...))\n"
                "    evaluate(model, DataLoader(data.dataset, collate_fn=collate), ...)"
            )
        parts = parts_of(batch, where)
        check_inputs(parts[0], where)
        return tuple(map(_with_tensors, parts))


def as_examples(data: Any, target: str | None) -> Examples:
    return data if isinstance(data, Examples) else Examples(data, target)


def _without_target(parts: Parts) -> Parts:
    return (parts[0], None, *parts[2:])


def _check_numbered(data: Any) -> None:
    if _is_pair(data):
        raise TypeError(
            f"`data` must be a data set of (inputs, target), got a {type(data).__name__} of whole arrays. Pair them by "
            "example:\n    data = list(zip(*data))\n    evaluate(model, data, ...)"
        )
    if isinstance(data, Mapping):
        names = ", ".join(map(repr, data))
        raise TypeError(
            f"`data` must be a torch data set with a length, or a loader of one, got a dict with {names}. Take one of "
            "these data sets, or pair whole arrays by example:\n    data = list(zip(data[...], data[...]))\n"
            "    evaluate(model, data, ...)"
        )
    if (
        isinstance(data, (str, bytes, IterableDataset))
        or not hasattr(data, "__getitem__")
        or not hasattr(data, "__len__")
    ):
        raise TypeError(
            f"`data` must be a torch data set with a length, or a loader of one, got {type(data).__name__}. "
            "Examples are numbered, so an iterable has to be made a list of (inputs, target) first."
        )


def _is_pair(data: Any) -> bool:
    """Whether these are all inputs and all targets. A list of equal arrays has examples without targets."""
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3, 4) or not is_array(data[0]) or data[0].ndim == 0:
        return False
    as_long = all(hasattr(part, "__len__") and len(part) == len(data[0]) for part in data)
    return as_long and (isinstance(data, tuple) or not is_array(data[1]) or data[1].ndim < data[0].ndim)


def _check_in_order(loader: DataLoader[Any]) -> None:
    """Checks that the loader gives every example of its data set once, in whatever order."""
    batches, sampler = loader.batch_sampler, loader.sampler
    own_batches = batches is not None and (type(batches) is not BatchSampler or batches.sampler is not sampler)
    whole = type(sampler) in (SequentialSampler, RandomSampler) and len(sampler) == len(loader.dataset)  # type: ignore
    if own_batches or not whole or getattr(sampler, "replacement", False):
        raise ValueError(
            "`data` is a loader with a sampler of its own; give a torch.utils.data.Subset of the examples instead, "
            "as every example is scored once."
        )
    if loader.batch_size is None and batches is None and loader.collate_fn is not default_convert:
        raise ValueError(
            "`data` is a loader with batch_size=None, whose `collate_fn` is given one example and not a list. Give a "
            "data set that does its work, or a loader with a batch size."
        )


def collate(examples: list[Parts]) -> Parts:
    """Stacks inputs and further arguments to tensors, indices to a tensor, and tuples of indices to a list."""
    inputs, *rest = zip(*examples)
    parts: list[Any] = [_stacked(inputs)]
    if rest:
        parts.append(stacked_labels(rest[0]))
    return (*parts, *(_stacked(r) for r in rest[1:]))


def _stacked(values: tuple[Any, ...]) -> Any:
    if isinstance(values[0], Mapping):
        return {name: _stacked(tuple(v[name] for v in values)) for name in values[0]}
    if isinstance(values[0], (tuple, list)):
        return tuple(_stacked(v) for v in zip(*values))
    if isinstance(values[0], np.ma.MaskedArray):
        raise TypeError("a tensor would show what a masked array hides. Fill it first, as by `.filled(0)`.")
    return None if values[0] is None else default_collate([as_tensors(v) for v in values])


def _with_tensors(value: Any) -> Any:
    """A part of a batch with tensors in place of numpy's arrays, also inside its collections."""
    if isinstance(value, Mapping):
        return {name: _with_tensors(v) for name, v in value.items()}
    return list(map(_with_tensors, value)) if isinstance(value, list) else as_tensors(value)


def to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, Mapping):
        return {name: to_device(v, device) for name, v in value.items()}
    return tuple(to_device(v, device) for v in value) if isinstance(value, tuple) else value
