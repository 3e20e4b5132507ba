"""One device, this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..job import Job
from ..store import ShardStore
from ..worker import Worker


class Inline:
    def run(self, job: Job, shards: Sequence[int], store: ShardStore, done: Callable[[int], object]) -> None:
        worker = Worker(job)
        for shard in shards:
            store.write(shard, worker.compute(store.edges(shard)))
            done(len(store.edges(shard)))
