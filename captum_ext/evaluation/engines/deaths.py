"""Records which process works on which shard, so that a shard that keeps killing its workers is found and set aside."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import is_alive

MOST_DEATHS = 3  # of workers at one shard, which is then set aside


class Attempts:
    """Attempts of one machine's processes at pieces of work: one process at a time, and a record of each attempt.

    The record is a symbolic link `<work>.<number>` to the process's number, which two processes cannot both make. It is
    removed when the attempt ends, also by an exception; only the death of the process leaves it there.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.recording = threading.Lock()

    @contextmanager
    def at(self, work: str) -> Iterator[int | None]:
        """Makes an attempt; says how many processes died at the work before, or None if another process is at it."""
        deaths = self._begin(work)
        try:
            yield deaths
        finally:
            if deaths is not None:
                self._withdraw()

    def _begin(self, work: str) -> int | None:
        earlier = self._of(work)
        if any(map(is_alive, earlier)):
            return None
        with self.recording:
            try:
                os.symlink(str(os.getpid()), self.folder / f"{work}.{len(earlier)}")
            except FileExistsError:
                return None
        return len(earlier)

    def _withdraw(self) -> None:
        for record in self.folder.glob("*.*"):
            if _process(record) == os.getpid():
                record.unlink(missing_ok=True)

    def end_process(self, status: int) -> None:
        """Ends this process without leaving a record: its attempt did not kill it."""
        with self.recording:  # so that no attempt begins after the records are gone
            self._withdraw()
            os._exit(status)

    def deaths(self, work: str) -> int:
        """How many processes died during an attempt."""
        return sum(not is_alive(process) for process in self._of(work))

    def overdue(self, seconds: float) -> list[tuple[str, int]]:
        """Work that has taken longer than that, and the process that is at it."""
        begun = [(record, _process(record), _age(record)) for record in self.folder.glob("*.*")]
        return [(r.stem, process) for r, process, age in begun if process and age > seconds and is_alive(process)]

    def _of(self, work: str) -> list[int]:
        """The processes of all attempts at some work that have not ended otherwise."""
        return [process for record in self.folder.glob(f"{work}.*") if (process := _process(record))]


def _process(record: Path) -> int:
    """The number of the process that made a record, 0 if the record is gone."""
    try:
        return int(os.readlink(record))
    except FileNotFoundError:
        return 0


def _age(record: Path) -> float:
    try:
        return time.time() - record.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
