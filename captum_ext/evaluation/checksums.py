"""Checksums of what is kept, so that damage is an error and never a wrong number; and nothing outside is read."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SUMS = "SHA256SUMS"  # of the files in a folder; `sha256sum -c SHA256SUMS` checks them, too
LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")
BACKSLASH = "\\"
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}  # of names in such a list, whose line begins with a backslash then
MARK = b"captum_ext SHA-256 "  # is followed by the checksum of all that comes before
BLOCK = 2**20  # bytes read at a time
PIECE = 2**16  # bytes of an array that have a common checksum


def seal(path: Path) -> None:
    """Adds a checksum at the end of a file, where HDF5 does not look, or a list of checksums to a folder."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [_line(sum_of(file).hex(), file.relative_to(path).as_posix()) for file in files]
        (path / SUMS).write_text("".join(lines), encoding="utf-8")
        return
    checksum = sum_of(path)
    with open(path, "ab") as file:
        file.write(MARK + checksum)


def check_seal(path: Path) -> None:
    """Raises ValueError if a file or a folder is not as it was when it was sealed; what never was is not checked."""
    if path.is_dir():
        _check_folder(path)
        return
    end = path.stat().st_size - len(MARK) - hashlib.sha256().digest_size
    with open(path, "rb") as file:
        file.seek(max(end, 0))
        mark = file.read(len(MARK))
        if mark == MARK and file.read() != sum_of(path, end):
            raise ValueError("its contents do not fit its checksum")


def _check_folder(folder: Path) -> None:
    if not (folder / SUMS).exists():
        return
    *lines, rest = inside(folder, SUMS).read_text(encoding="utf-8").split("\n")
    for line in [*lines, *filter(None, [rest])]:
        found = LINE.fullmatch(line)
        name = _name_in(found) if found else SUMS
        if found is None or rest or sum_of(inside(folder, name)).hex() != found[2]:
            raise ValueError(
                f"{name!r} does not fit its checksum; if you changed it on purpose, remove {SUMS} from the folder"
            )


def _line(checksum: str, name: str) -> str:
    escaped = "".join(ESCAPES.get(letter, letter) for letter in name)
    return f"{BACKSLASH * (escaped != name)}{checksum}  {escaped}\n"


def _name_in(line: re.Match[str]) -> str:
    plain = {escape: letter for letter, escape in ESCAPES.items()}
    return re.sub(r"\\.", lambda escape: plain.get(escape[0], escape[0]), line[3]) if line[1] else line[3]


def sum_of(path: Path, size: int | None = None) -> bytes:
    """SHA-256 of a file, or of so many bytes of it."""
    sha, left = hashlib.sha256(), path.stat().st_size if size is None else size
    with open(path, "rb") as file:
        while left > 0 and (block := file.read(min(left, BLOCK))):
            sha.update(block)
            left -= len(block)
    return sha.digest()


def inside(folder: Path, name: str) -> Path:
    """The file of that name in a folder, which no name and no link leads out of."""
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise ValueError(f"{name!r} is no file in the folder")
    return file


def in_checked_pieces(row: np.ndarray[Any, Any], rows: int) -> dict[str, Any]:
    """Options of an HDF5 array of such rows: pieces of whole rows with HDF5's own checksum, but for an empty array."""
    if not row.size or not rows:
        return {}
    return {"fletcher32": True, "chunks": (max(1, min(rows, PIECE // row.nbytes)), *row.shape)}


def check_self_contained(group: h5py.Group) -> None:
    """Raises ValueError if an HDF5 file takes anything from another file."""
    for name in group:
        item = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
        if item is None or (isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)):
            raise ValueError(f"{name!r} is not in the file itself")
        if isinstance(item, h5py.Group):
            check_self_contained(item)
