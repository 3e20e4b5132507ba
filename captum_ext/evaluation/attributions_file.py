"""Attributions in a file, such as `attribute_dataset` writes, of which rows are read when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .._core.printing import printable
from .checksums import check_self_contained
from .files import escaped, unescaped

Array = np.ndarray[Any, Any]
DATA = "%data"  # digests of the data set, beside the methods; no method's name is stored with a lone %


class StoredArray:
    """One tensor of a method's attributions. It opens the file for each read, so it can be sent to other processes."""

    def __init__(self, path: Path, name: str):
        self.path, self.name = path, name
        with h5py.File(path) as file:
            self.shape: tuple[int, ...] = file[name].shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Sequence[int]) -> Array:
        try:
            with h5py.File(self.path) as file:
                return rows_of_dataset(file[self.name], rows)
        except (OSError, KeyError) as error:
            raise ValueError(f"{self.path} is damaged or gone: {self.name!r} cannot be read: {error!r}.") from error


def rows_of_dataset(dataset: h5py.Dataset, rows: Sequence[int]) -> Array:
    """In any order, though HDF5 reads them in rising order."""
    rising = np.argsort(rows)
    wanted = np.array(rows)[rising]
    together = len(wanted) > 0 and wanted[-1] - wanted[0] + 1 == len(wanted)  # read at once, which is much faster
    found: Array = dataset[slice(wanted[0], wanted[-1] + 1) if together else wanted]
    return found[np.argsort(rising)]


class MappedArray:
    """An array in a file that numpy maps into memory, anew for each read, so that it can be sent to other processes."""

    def __init__(self, path: Path, array: Array, offset: int):
        self.path, self.offset, self.dtype, self.shape = path, offset, array.dtype, array.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Sequence[int]) -> Array:
        whole: Array = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return np.array(whole[list(rows)])


def by_rows(value: Any) -> Any:
    """The same attributions as rows of a file if they are an array of an open one; anything else stays as it is.

    So does an array whose file is no longer found under its name, or is another one by now.
    """
    if not isinstance(value, (h5py.Dataset, np.ndarray)) or not value.shape:
        return value
    try:
        found = _of_dataset(value) if isinstance(value, h5py.Dataset) else _of_mapped(value)
        return found if _has_same_rows(found, value) else value
    except (OSError, KeyError, ValueError):
        return value


def _has_same_rows(found: Any, value: Any) -> bool:
    """Whether the first, the middle and the last row have the same bytes."""
    if found is value:
        return True
    some = sorted({0, len(value) // 2, len(value) - 1}) if len(value) else []
    return found.shape == value.shape and all(found[[i]].tobytes() == value[i : i + 1].tobytes() for i in some)


def _of_dataset(dataset: h5py.Dataset) -> Any:
    return StoredArray(Path(dataset.file.filename).absolute(), dataset.name) if dataset.file.mode == "r" else dataset


def _of_mapped(array: Array) -> Any:
    """Of what `numpy.memmap` or `numpy.load(mmap_mode=...)` opened, or a part of it, unless it may differ from it."""
    if not array.flags.c_contiguous:
        return array
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if not isinstance(owner, np.memmap) or owner.filename is None or owner.mode == "c":
        return array
    begins = owner.offset + array.ctypes.data - owner.ctypes.data
    return MappedArray(Path(owner.filename).absolute(), array, begins)


def open_attributions(path: Path, method: str) -> tuple[StoredArray, ...]:
    """The method of that name in a file of `attribute_dataset`, or its only one."""
    path = path.absolute()
    try:
        with h5py.File(path) as file:
            if "captum_ext" not in file.attrs:
                raise ValueError("it was not written by captum_ext")
            check_self_contained(file)
            groups = {unescaped(name): _tensors(group) for name, group in file.items() if name != DATA}
            if not groups:
                raise ValueError("it has no method")
    except Exception as error:
        raise ValueError(
            f"Method {method!r}: {path} is not a file of attributions that attribute_dataset wrote, or it is damaged: "
            f"{error!r}."
        ) from error
    names = {printable(name): name for name in groups}  # a report asks by the name that it shows
    name = method if method in groups else names.get(printable(method), next(iter(groups)))
    if printable(name) != printable(method) and len(groups) > 1:
        raise ValueError(
            f"Method {method!r} is not in {path}, which has {', '.join(map(repr, groups))}; name it like one of them."
        )
    return tuple(StoredArray(path, f"{escaped(name)}/{tensor}") for tensor in groups[name])


def _tensors(group: Any) -> list[str]:
    """The names of a method's tensors, which are "0", "1" and so on."""
    if not isinstance(group, h5py.Group) or not len(group) or {*group} != {str(i) for i in range(len(group))}:
        raise ValueError(f"{group.name!r} does not hold a method's tensors")
    names = [str(i) for i in range(len(group))]
    if not all(_has_rows(group[name], group["0"]) for name in names):
        raise ValueError(f"{group.name!r} must hold arrays of numbers with a row per example")
    return names


def _has_rows(array: Any, first: Any) -> bool:
    is_array = isinstance(array, h5py.Dataset) and array.ndim > 0 and array.dtype.kind in "biuf"
    return is_array and len(array) == len(first)
