"""Attributions in a file that `attribute_dataset` wrote, read when they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .files import escaped, unescaped

DATA = "%data"  # digests of the data set, beside the methods; no method's name is stored with a lone %


class StoredArray:
    """One tensor of a method's attributions. It opens the file for each read, so it can be sent to other processes."""

    def __init__(self, path: Path, name: str):
        self.path, self.name = path, name
        with h5py.File(path) as file:
            self.shape: tuple[int, ...] = file[name].shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: list[int]) -> np.ndarray[Any, Any]:
        with h5py.File(self.path) as file:
            return file[self.name][rows]


def open_attributions(path: Path, method: str) -> tuple[StoredArray, ...]:
    """The method of that name in a file of `attribute_dataset`, or its only one."""
    path = path.absolute()
    try:
        with h5py.File(path) as file:
            if "captum_ext" not in file.attrs:
                raise ValueError("it was not written by captum_ext")
            groups = {unescaped(name): sorted(group) for name, group in file.items() if name != DATA}
    except Exception as error:
        raise ValueError(
            f"Method {method!r}: {path} is not a file of attributions that attribute_dataset wrote: {error}."
        ) from error
    name = method if method in groups else next(iter(groups))
    if method not in groups and len(groups) > 1:
        raise ValueError(
            f"Method {method!r} is not in {path}, which has {', '.join(map(repr, groups))}; name it like one of them."
        )
    return tuple(StoredArray(path, f"{escaped(name)}/{tensor}") for tensor in groups[name])
