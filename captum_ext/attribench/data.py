"""Samples, labels and attributions, in memory or in AttriBench's HDF5 files.

Files are opened for each access and closed again, so these objects can be pickled, and shared by processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from .._core.checks import check_choice
from ..evaluation.checksums import in_checked_pieces
from ..evaluation.files import check_writable
from ._files import opened, stored_array

Indices = int | Sequence[int] | Tensor


class IndexDataset(Dataset[Any]):
    """A data set of `(sample, label)` that also gives each one's index: `(index, sample, label)`."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        if not hasattr(self.dataset, "__len__"):
            raise ValueError(f"`dataset` must have a length, got {type(self.dataset).__name__}.")
        return len(self.dataset)

    def __getitem__(self, item: int) -> tuple[int, Any, Any]:
        return item, *self.dataset[item]


class HDF5Dataset(Dataset[Any]):
    """`(sample, label)` from an HDF5 file with the arrays `samples` and `labels`, as `HDF5DatasetWriter` writes it."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.path.abspath(path)
        with opened(self.path) as file:
            self.sample_shape: tuple[int, ...] = stored_array(file, "samples").shape[1:]
            self._length = len(stored_array(file, "samples"))
            if stored_array(file, "labels").shape != (self._length,):
                raise ValueError(f"`path` {self.path} must hold one label for each of its {self._length} samples.")

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` {index} is out of range for {len(self)} samples.")
        with opened(self.path) as file:
            return stored_array(file, "samples")[index], stored_array(file, "labels")[index]


class HDF5DatasetWriter:
    """Writes samples and labels one batch after another.

    The file is whole after every `write`; samples not written yet are NaN.
    """

    def __init__(self, path: str | os.PathLike[str], num_samples: int):
        self.path, self.num_samples, self.head = check_writable(path), num_samples, 0

    def write(self, samples: Any, labels: Any) -> None:
        samples, labels = np.asarray(samples), np.asarray(labels)
        _check_length("labels", labels, "samples", len(samples))
        rows = slice(self.head, self.head + len(samples))
        if rows.stop > self.num_samples:
            left = f"only {self.num_samples - self.head} of {self.num_samples} are left"
            raise ValueError(f"`samples` has {len(samples)} rows, but {left}.")
        with opened(self.path, "a" if self.head else "x") as file:
            if not self.head:
                _create(file, "samples", samples, self.num_samples, np.float32, np.nan)
                _create(file, "labels", labels, self.num_samples, np.int64, -1)
            _check_rows("samples", samples, stored_array(file, "samples").shape[1:])
            stored_array(file, "samples")[rows] = samples.astype(np.float32)
            stored_array(file, "labels")[rows] = labels.astype(np.int64)
        self.head = rows.stop


class AttributionsDatasetWriter:
    """Writes attributions batch by batch, method by method.

    The file is whole after every `write`; rows not written yet are NaN.
    """

    def __init__(self, path: str | os.PathLike[str], num_samples: int):
        self.path, self.num_samples = check_writable(path), num_samples
        with opened(self.path, "x") as file:
            file.attrs["num_samples"] = num_samples

    def write(self, indices: Any, attributions: Any, method_name: str) -> None:
        indices, attributions = np.asarray(indices), np.asarray(attributions)
        order = indices.argsort()  # h5py writes to growing indices only
        if "/" in method_name:
            why = "which HDF5 takes for a folder"
            raise ValueError(f"`method_name` must not contain a slash, {why}; got {method_name!r}.")
        _check_length("indices", indices, "rows", len(attributions))
        with opened(self.path, "a") as file:
            shape = tuple(file.attrs.setdefault("sample_shape", attributions.shape[1:]))
            _check_rows("attributions", attributions, shape)
            if method_name not in file:
                _create(file, method_name, attributions, self.num_samples, np.float32, np.nan)
            stored_array(file, method_name)[indices[order]] = attributions[order]


class AttributionsDataset(Dataset[Any]):
    """Attributions of several methods beside the samples and labels that they are of.

    Args:
        samples: a data set of `(sample, label)`, or a tensor of samples; then `labels` is a tensor too.
        path: an HDF5 file that `AttributionsDatasetWriter` (or AttriBench) wrote; or instead
        attributions: name -> tensor `[N, ...]`.
        methods: the names to use, all by default.
        aggregate_dim: the axis of one sample's attributions (0 is the channels) that becomes of size 1.
        aggregate_method: `"mean"`, or `"max_abs"`: the value furthest from 0 with its sign (AttriBench 0.1.9 fails).

    Example:
        >>> maps = {"grad": torch.tensor([[[1.0], [-3.0]]])}
        >>> samples, labels = torch.zeros(1, 2, 1), torch.tensor([0])
        >>> dataset = AttributionsDataset(samples, labels, attributions=maps, aggregate_method="max_abs")
        >>> index, sample, label, attributions, name = dataset[0]
        >>> attributions, name
        (tensor([[-3.]]), 'grad')
    """

    def __init__(
        self,
        samples: Any,
        labels: Tensor | None = None,
        path: str | os.PathLike[str] | None = None,
        attributions: Mapping[str, Tensor] | None = None,
        methods: Sequence[str] | None = None,
        aggregate_dim: int = 0,
        aggregate_method: str | None = None,
    ):
        if (path is None) == (attributions is None):
            raise ValueError("Give either `attributions` or the `path` of a file of them.")
        if aggregate_method is not None:
            check_choice("aggregate_method", aggregate_method, AGGREGATES)
        self.path = None if path is None else os.path.abspath(path)
        self.attributions = None if attributions is None else {k: torch.as_tensor(a) for k, a in attributions.items()}
        self.aggregate_dim, self.aggregate_method = aggregate_dim, aggregate_method
        with self._arrays() as arrays:
            shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        self.method_names = _chosen(methods, list(shapes))
        self.num_samples, *shape = _common_shape({name: shapes[name] for name in self.method_names})
        if aggregate_method is not None:
            if not -len(shape) <= aggregate_dim < len(shape):
                wanted = f"an axis of attributions of shape {tuple(shape)}"
                raise ValueError(f"`aggregate_dim` must be {wanted}, got {aggregate_dim}.")
            del shape[aggregate_dim]  # as AttriBench states it; the maps keep an axis of size 1
        self.attributions_shape = tuple(shape)
        self.samples_dataset = _samples_dataset(samples, labels, self.num_samples)

    @contextmanager
    def _arrays(self) -> Iterator[Mapping[str, Any]]:
        """Name -> tensor, or the file's array."""
        if self.attributions is not None:
            yield self.attributions
            return
        with opened(self.path or "") as file:
            arrays = {name: stored_array(file, name) for name in file}
            rows, shapes = file.attrs.get("num_samples"), {name: array.shape for name, array in arrays.items()}
            if rows is None or any(shape[:1] != (rows,) for shape in shapes.values()):
                held = f"`num_samples` is {rows}, the shapes are {shapes}"
                raise ValueError(f"`path` {self.path} is not a file of attributions: {held}.")
            yield arrays

    def maps(self, method_name: str, indices: Indices) -> Tensor:
        """The attributions of one sample or of several, aggregated; several indices must grow."""
        with self._arrays() as arrays:
            found = torch.as_tensor(arrays[method_name][indices])
        return self.aggregated(found, batch=not isinstance(indices, int))

    def aggregated(self, maps: Tensor, batch: bool = True) -> Tensor:
        """Maps of a batch, or of one sample, reduced as those of the data set are."""
        if self.aggregate_method is None:
            return maps
        axis = self.aggregate_dim % (len(self.attributions_shape) + 1)
        return AGGREGATES[self.aggregate_method](maps, axis + batch)

    def sample(self, index: int) -> Tensor:
        """A sample alone."""
        try:
            return torch.as_tensor(self.samples_dataset[index][0])
        except Exception as error:
            raise ValueError(f"Sample {index} of `samples` could not be loaded: {error!r}.") from error

    def __len__(self) -> int:
        return self.num_samples * len(self.method_names)

    def __getitem__(self, index: int) -> tuple[int, Any, Any, Tensor, str]:
        """`(sample's index, sample, label, attributions, method)`; all samples of the first method come first."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` {index} is out of range for {len(self)} rows of attributions.")
        method, row = divmod(int(index) % len(self), self.num_samples)
        name = self.method_names[method]
        return row, *self.samples_dataset[row], self.maps(name, row), name


class GroupedAttributionsDataset(Dataset[Any]):
    """The same with one row per sample: `(index, sample, label, name -> attributions)`."""

    def __init__(self, dataset: AttributionsDataset):
        self.dataset = dataset
        self.method_names, self.num_samples = dataset.method_names, dataset.num_samples
        self.attributions_shape = dataset.attributions_shape

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> tuple[int, Any, Any, dict[str, Tensor]]:
        if not 0 <= index < len(self):
            raise IndexError(f"`index` {index} is out of range for {len(self)} samples.")
        maps = {name: self.dataset.maps(name, index) for name in self.method_names}
        return index, *self.dataset.samples_dataset[index], maps


@dataclass(frozen=True)
class MethodView:
    """One method's attributions as rows that are read when they are asked for: a method for `captum_ext.evaluate`."""

    dataset: AttributionsDataset
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.dataset.maps(self.name, 0).shape)

    def __len__(self) -> int:
        return self.dataset.num_samples

    def __getitem__(self, indices: Indices) -> Tensor:
        return self.dataset.maps(self.name, indices)


def _create(file: Any, name: str, like: Any, rows: int, dtype: Any, missing: float) -> None:
    """An array with such rows, and checksums; rows that are not written yet are missing."""
    pieces = in_checked_pieces(np.zeros(like.shape[1:], dtype), rows)
    file.create_dataset(name, (rows, *like.shape[1:]), dtype, fillvalue=missing, **pieces)


AGGREGATES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "mean": lambda maps, axis: maps.mean(axis, keepdim=True),
    "max_abs": lambda maps, axis: maps.gather(axis, maps.abs().argmax(axis, keepdim=True)),
}


def _chosen(methods: Sequence[str] | None, available: list[str]) -> list[str]:
    chosen = available if methods is None else list(methods)
    unknown = [m for m in chosen if m not in available]
    if unknown or not chosen:
        known = ", ".join(map(repr, available)) or "nothing"
        raise ValueError(f"`methods` must be among {known}, got {unknown or chosen}.")
    return chosen


def _common_shape(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    first = next(iter(shapes.values()))
    if not first or any(shape != first for shape in shapes.values()):
        raise ValueError(f"`attributions` must have one shape [N, ...] for all methods, got {dict(shapes)}.")
    return first


def _samples_dataset(samples: Any, labels: Any, rows: int) -> Any:
    if isinstance(samples, (Tensor, np.ndarray)):
        if labels is None:
            raise ValueError("`labels` must be given where `samples` is a tensor.")
        samples, labels = torch.as_tensor(samples), torch.as_tensor(labels)
        _check_length("labels", labels, "samples", len(samples))
        samples = TensorDataset(samples, labels)
    if not hasattr(samples, "__getitem__"):
        raise TypeError(f"`samples` must be a data set of (sample, label) or a tensor, got {type(samples).__name__}.")
    if hasattr(samples, "__len__") and len(samples) < rows:
        raise ValueError(f"`samples` has {len(samples)} samples, but there are attributions of {rows}.")
    return samples


def _check_length(name: str, values: Any, of: str, wanted: int) -> None:
    if len(values) != wanted:
        raise ValueError(f"`{name}` must have one entry for each of the {wanted} {of}, got {len(values)}.")


def _check_rows(name: str, rows: Any, shape: tuple[int, ...]) -> None:
    if rows.shape[1:] != shape:
        raise ValueError(f"`{name}` must have rows of shape {shape} as before, got {rows.shape[1:]}.")
