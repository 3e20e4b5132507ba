"""Files that are whole or absent: written aside and renamed."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder at; it takes the name `path` when all is on disk, and goes if writing fails."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield aside
        for file in [aside, *aside.rglob("*")] if aside.is_dir() else [aside]:
            _sync(file)
        os.replace(aside, path)
        _sync(path.parent)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def sweep(folder: Path, name: str = "*") -> None:
    """Removes what a killed process had half written at `name` (a pattern) in a folder."""
    for leftover in folder.glob(f"{name}.????????.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def check_writable(path: str | os.PathLike[str]) -> Path:
    """A path at which nothing is yet, in a folder that can be written to."""
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"`path` {path} exists already; choose another or remove it first.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise NotADirectoryError(
            f"`path` {path} cannot be written: {path.parent} is not a folder that can be written to."
        )
    return path


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def escaped(name: str) -> str:
    """A name that HDF5 and netCDF take: without slashes, control characters, and dots or spaces at its ends."""
    return re.sub(r"[%/\x00-\x1f\x7f]|^[ .]|[ .]$", lambda m: f"%{ord(m[0]):02X}", name)


def unescaped(name: str) -> str:
    return re.sub(r"%([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), name)
