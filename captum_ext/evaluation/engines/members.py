"""The processes of one launch, of which the first verifies the run that they go on with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .ranks import Rank

MEMBERS = "members.json"
LAUNCHES = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")


@contextmanager
def first_of_launch(folder: Path, rank: Rank) -> Iterator[bool]:
    """Whether this process is the first of its launch; the others wait for it, and take its place if it fails.

    Those that came are listed in the folder. A process whose rank is there already belongs to a new launch, of which
    it is the first.
    """
    if rank.count == 1:
        yield True
        return
    with open(folder / MEMBERS, "a+") as file:
        _lock(file)
        launch, came = [launch_id(os.environ), rank.count], _read(file)
        first = came["launch"] != launch or rank.index in came["ranks"]
        if first:
            file.truncate(0)  # until it has verified the run, the next one is the first as well
        yield first
        _write(file, {"launch": launch, "ranks": [rank.index, *([] if first else came["ranks"])]})


def launch_id(environment: Mapping[str, str]) -> str | None:
    """What the launcher calls the processes that it started together, if it says so."""
    return next((environment[name] for name in LAUNCHES if name in environment), None)


def _lock(file: IO[str]) -> None:
    """Waits for the others, until this file is closed; where the storage has no locks, nobody waits."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
    except (ImportError, OSError):  # Windows has no such module
        return


def _read(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        came = json.loads(file.read())
        return {"launch": came["launch"], "ranks": list(came["ranks"])}
    except (ValueError, KeyError, TypeError):  # empty, or cut off when a process was killed
        return {"launch": None, "ranks": []}


def _write(file: IO[str], came: Mapping[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(came))
    file.flush()
