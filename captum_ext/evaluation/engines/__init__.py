"""Who computes the shards. An engine only places the work: what a shard holds is the worker's business, what is kept the store's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..job import Job
from ..store import ShardStore


class Engine(Protocol):
    """Computes shards of a job into a store, and calls `done` with the number of examples of each."""

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, done: Callable[[int], object]) -> None: ...
