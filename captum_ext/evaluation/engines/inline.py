"""One device, this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from ..job import Job
from ..scorer import Worker
from ..store import ShardStore
from . import Resources
from .places import walk


class Inline:
    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]:
        if len(resources.devices) > 1:
            raise ValueError(f"engine='inline' computes on one device, got {len(resources.devices)} in `devices`.")
        missing = set(shards)
        with threads(resources.threads):
            worker = Worker(replace(job, device=resources.devices[0]))
            for shard in walk(len(store), resources.place):
                if shard in missing and not store.has(shard):
                    store.write(shard, worker.compute(store.edges(shard)))
        return {}


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
