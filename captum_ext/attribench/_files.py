"""Files: whole or absent when written, and named in every error when they cannot be read."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py


def check_new(path: str | os.PathLike[str]) -> Path:
    """A path at which nothing is yet, in a folder that is there."""
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"`path` {path} exists already; choose another or remove it first.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise NotADirectoryError(
            f"`path` {path} cannot be written: {path.parent} is not a folder that can be written to."
        )
    return path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Where to write a file or a folder that gets the name `path` once it is whole, and goes if writing fails."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield aside
        for written in [*aside.rglob("*"), aside]:
            _sync(written)
        os.replace(aside, path)
        _sync(path.parent)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        aside.unlink(missing_ok=True)


@contextmanager
def opened(path: str | os.PathLike[str], mode: str = "r") -> Iterator[h5py.File]:
    """An HDF5 file; one that is none, or is damaged, is a `ValueError`."""
    import h5py

    if mode != "x" and not os.path.exists(path):
        raise FileNotFoundError(f"`path` {path} does not exist.")
    try:
        file = h5py.File(path, mode)
    except (FileExistsError, PermissionError):
        raise
    except OSError as error:
        raise ValueError(f"`path` {path} is not an HDF5 file, or it is damaged: {error}.") from error
    with file:
        yield file


def stored_array(group: h5py.Group, name: str) -> h5py.Dataset:
    """An array of a file by its name."""
    import h5py

    found = group.get(name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(
            f"`path` {group.file.filename} has no array {name!r}; it holds {', '.join(group) or 'nothing'}."
        )
    return found


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
