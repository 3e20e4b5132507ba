"""Files that are either complete or absent: they are written under another name and then renamed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST_BYTES = 200  # of a file's name; 255 is the most on usual disks, and unfinished files have longer names
UNSEEN = 3600  # seconds after which an unfinished file of another machine is taken for abandoned
MEBIBYTE = 2**20
UNFINISHED = re.compile(r".+\.([0-9a-f]{8})-(\d{1,9})-[0-9a-f]{8}\.tmp", re.DOTALL)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def written_aside(path: Path, room: int = 0, durable: bool = True) -> Iterator[Path]:
    """Yields a path beside `path` at which to write a file or a folder, which is renamed to `path` when all is on disk.

    If writing fails, it is removed. `room` is the number of bytes that must be free beforehand, for writers that do not
    survive a full disk: HDF5 crashes the process. What is not `durable` is not waited for, as the call removes it.
    """
    aside = unfinished(path)
    try:
        if room:
            _check_room(aside, room + MEBIBYTE)
        yield aside
        written = [aside, *aside.rglob("*")] if aside.is_dir() else [aside]
        for file in written if durable else ():
            _sync(file)
        os.replace(aside, path)
        if durable:
            _sync(path.parent)
    finally:
        _remove(aside)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields where to write what comes to `path`; what is there now is there until the new file or folder is whole."""
    if not os.path.lexists(path):
        yield path
        return
    new, old = unfinished(path), unfinished(path)
    yield new
    if new.is_dir() or path.is_dir():  # which no system exchanges at once
        os.replace(path, old)
    os.replace(new, path)
    _remove(old)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that only the user can read, removed afterwards; those that killed processes left are removed first."""
    folder = unfinished(Path(tempfile.gettempdir()).absolute() / "captum_ext")
    sweep(folder.parent, "captum_ext")
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _remove(folder)


def unfinished(path: Path) -> Path:
    """A new name beside `path` for what this process is writing, which `sweep` removes if the process is gone."""
    return path.with_name(f"{path.name}.{_this_machine():08x}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


def sweep(folder: Path, name: str = "*") -> None:
    """Removes unfinished files for `name` (a pattern) that killed processes left, but not those still being written."""
    for file in folder.glob(f"{name}.*.tmp"):
        found = UNFINISHED.fullmatch(file.name)
        if found and not _is_being_written(file, int(found[1], 16), int(found[2])):
            with suppress(OSError):  # another user's, or gone already
                _remove(file)


def _is_being_written(file: Path, machine: int, pid: int) -> bool:
    if machine == _this_machine():
        return is_alive(pid)
    try:
        return time.time() - file.stat().st_mtime < UNSEEN
    except FileNotFoundError:
        return False


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _this_machine() -> int:
    return zlib.crc32(socket.gethostname().encode())


def _remove(file: Path) -> None:
    if file.is_dir():
        shutil.rmtree(file, ignore_errors=True)
    else:
        file.unlink(missing_ok=True)


def as_path(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"`path` must be a string or an os.PathLike, got {type(path).__name__}.")
    try:
        name = os.fsencode(Path(path).name)
    except UnicodeError as error:
        raise ValueError(f"`path` {os.fspath(path)!r} cannot be the name of a file: {error}.") from error
    if b"\0" in os.fsencode(path) or len(name) > MOST_BYTES:
        raise ValueError(
            f"`path` {os.fspath(path)[:40]!r}... cannot be the name of a file, which has no NUL character and here at "
            f"most {MOST_BYTES} bytes, as unfinished files have longer names."
        )
    return Path(path)


def check_writable(path: str | os.PathLike[str], overwrite: bool | None = None) -> Path:
    """The absolute path, at which nothing is yet unless it may be overwritten, in a folder that can be written to.

    `overwrite` is None where the caller's call has no such argument, so that the error does not speak of it.
    """
    path = as_path(path).absolute()
    if os.path.lexists(path) and not overwrite:  # also a link to nothing, in place of which the result would be put
        hint = "" if overwrite is None else ", or give overwrite=True"
        raise FileExistsError(f"`path` {path} exists already; choose another or remove it first{hint}.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise NotADirectoryError(
            f"`path` {path} cannot be written: {path.parent} is not a folder that can be written to."
        )
    return path


def _check_room(file: Path, size: int) -> None:
    with open(file, "wb") as handle:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle.fileno(), 0, size)
        except OSError as error:
            if error.errno not in FULL:  # a file system that cannot tell
                return
            what = os.strerror(error.errno or 0)
            message = f"{what}: {file.parent} has no room for {size:,} bytes; make some and try again"
            raise OSError(error.errno, message) from error
    file.unlink()  # its room is free again, for the writer


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
