"""HDF5 files, named in every error when they cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import h5py

from .._core.printing import printable


@contextmanager
def opened(path: str | os.PathLike[str], mode: str = "r") -> Iterator[h5py.File]:
    """An HDF5 file. `ValueError` if the file is of another kind, or damaged."""
    if mode != "x" and not os.path.exists(path):
        raise FileNotFoundError(f"`path` {path} does not exist.")
    try:
        file = h5py.File(path, mode)
    except (FileExistsError, PermissionError):
        raise
    except OSError as error:
        raise ValueError(f"`path` {path} is not an HDF5 file, or it is damaged: {error}.") from error
    with file:
        try:
            yield file
        except OSError as error:
            if mode != "r":
                raise
            raise ValueError(f"`path` {path} is damaged: {error}.") from error


def stored_array(group: h5py.Group, name: str) -> h5py.Dataset:
    """An array of a file by its name."""
    found, held = group.get(name), ", ".join(group) or "nothing"
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"`path` {group.file.filename} has no array {name!r}; it holds {printable(held)}.")
    return found
