"""Which process is at what, as files: so it is known afterwards what killed it, and how often."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import is_alive

OUT = 3  # deaths at one shard after which it is set aside


class Strikes:
    """A file `<work>.<pid>` in a folder for each piece of work that was begun and not ended."""

    def __init__(self, folder: Path):
        self.folder = folder

    @contextmanager
    def at(self, work: str) -> Iterator[None]:
        """An exception ends the work as success does; only death leaves the file."""
        self._file(work).touch()
        try:
            yield
        finally:
            self.forgive()

    def forgive(self) -> None:
        """A process that ends on demand: what it was at did not kill it."""
        for file in self.folder.glob(f"*.{os.getpid()}"):
            file.unlink(missing_ok=True)

    def against(self, work: str) -> int:
        """How many processes died at it."""
        return sum(not is_alive(int(f.suffix[1:])) for f in self.folder.glob(f"{work}.*"))

    def overdue(self, seconds: float) -> list[tuple[str, int]]:
        """Work that has taken longer, and the process that is at it."""
        found = []
        for file in self.folder.glob("*.*"):
            try:
                late = time.time() - file.stat().st_mtime > seconds
            except FileNotFoundError:
                continue
            if late and is_alive(int(file.suffix[1:])):
                found.append((file.stem, int(file.suffix[1:])))
        return found

    def _file(self, work: str) -> Path:
        return self.folder / f"{work}.{os.getpid()}"
