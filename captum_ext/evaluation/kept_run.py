"""A run that is kept beside its result: the store at `<path>.parts`, worked on until nothing is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .examples import Examples
from .files import check_writable, sweep
from .fingerprint import described
from .progress import Progress
from .results import load
from .store import ShardStore


def kept_beside(path: Path, manifest: dict[str, Any], examples: Examples) -> ShardStore:
    """The store at `<path>.parts`. The first example stands for the data: to read all of them would be a run of its own."""
    manifest["data"] = described(examples.example(0))
    return ShardStore(path.with_name(path.name + ".parts"), manifest)


def check_own_result(path: Path, run_id: str) -> None:
    """Nothing is at `path`, or the result of this very run, which may be written again."""
    sweep(path.parent, path.name)
    try:
        own = path.is_file() and load(path).dataset.attrs.get("run_id") == run_id
    except ValueError:
        own = False
    if not own:
        check_writable(path)


def run_to_end(store: ShardStore, show: bool, compute: Callable[[list[int]], Mapping[int, str]]) -> None:
    """Has the missing shards computed, and makes sure that none is missing afterwards. `compute` says which it gave up, and why."""
    missing = store.missing()
    reasons: Mapping[int, str] = {}
    with Progress(store, show):
        if missing:
            store.begin()  # so that a path that cannot be written to is known before any work
            reasons = compute(missing)
    store.verify(reasons)
