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
    """Attempts of one machine's workers at pieces of work: in each round between two restarts one at most.

    An attempt is recorded as a symbolic link `<work>.<round>` to the process's number, which two processes cannot both
    make. It is removed when the attempt ends, also by an exception; only the death of the process leaves it there. So a
    shard costs one worker a round at most, and nobody tries it again before the restart that follows.
    """

    def __init__(self, folder: Path, round: int = 0):
        self.folder, self.round = folder, round
        self.recording = threading.Lock()

    @contextmanager
    def at(self, work: str) -> Iterator[bool]:
        """Makes an attempt; False if another process is at it, or died at it in this round."""
        begun = self._begin(work)
        try:
            yield begun
        finally:
            if begun:
                self._withdraw()

    def _begin(self, work: str) -> bool:
        with self.recording:
            try:
                os.symlink(str(os.getpid()), self.folder / f"{work}.{self.round}")
            except FileExistsError:
                return False
        return True

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
        processes = map(_process, self.folder.glob(f"{work}.*"))
        return sum(not is_alive(process) for process in processes if process)

    def forget_deaths(self, work: str) -> None:
        """Forgets them, since the work has been done: what killed those processes was not the work."""
        for record in self.folder.glob(f"{work}.*"):
            if not is_alive(_process(record)):
                record.unlink(missing_ok=True)

    def overdue(self, seconds: float) -> list[tuple[str, int]]:
        """Work that has taken longer than that, and the process that is at it."""
        begun = [(record, _process(record), _age(record)) for record in self.folder.glob("*.*")]
        return [(r.stem, process) for r, process, age in begun if process and age > seconds and is_alive(process)]


def _process(record: Path) -> int:
    """The number of the process that made a record, 0 if the record is gone or the file is none."""
    try:
        return int(os.readlink(record))
    except (OSError, ValueError):
        return 0


def _age(record: Path) -> float:
    try:
        return time.time() - record.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
