"""A run that is kept beside its result, in the store at `<path>.parts`, and completed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from glob import escape
from pathlib import Path
from typing import Any

import xarray as xr

from .examples import Examples
from .files import check_writable, sweep
from .fingerprint import described
from .progress import Progress
from .results import load
from .store import ShardStore


def kept_beside(path: Path, manifest: dict[str, Any], examples: Examples) -> ShardStore:
    """The store at `<path>.parts`.

    Its manifest has a digest of the first example, as reading all takes long; the shards have digests of all of theirs.
    """
    manifest["data"] = described(examples.example(0))
    sweep(path.parent, escape(path.name))
    return ShardStore(path.with_name(path.name + ".parts"), manifest)


def is_there(path: Path, is_own: Callable[[], bool]) -> bool:
    """Whether the result of this very run is at `path`. Raises FileExistsError if it is something else.

    Another process may finish the run at any moment, so what is there is looked at last.
    """
    try:
        check_writable(path)
    except FileExistsError:
        if not is_own():
            raise
        return True
    return False


def stored_at(path: Path) -> xr.Dataset:
    """The results at a path; without any attributes if there are none."""
    try:
        return load(path).dataset
    except (FileNotFoundError, ValueError):
        return xr.Dataset()


def run_to_end(
    store: ShardStore,
    show: bool,
    compute: Callable[[list[int]], Mapping[int, str]],
    check: Callable[[list[int]], None],
) -> None:
    """Has the missing shards computed, and raises `IncompleteRun` if some are still missing then.

    `check` takes the missing shards and verifies the others before any work. `compute` returns those that it gave up,
    each with the reason.
    """
    missing = store.missing()
    store.begin()  # before any work, so that a path that cannot be written to is noticed now
    check(missing)
    with Progress(store, show):
        reasons = compute(missing) if missing else {}
    if missing:  # otherwise all have just been read and found whole
        store.verify(reasons)
