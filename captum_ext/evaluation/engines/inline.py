"""One device, this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from . import Job, Resources, Scorer, ShardStore, alone_in_process, shard_order


class Inline:
    """Computes in the caller's process; runs in several threads of it take turns, shard by shard."""

    in_process = True

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]:
        if len(resources.devices) > 1:
            raise ValueError(f"engine='inline' computes on one device, got {len(resources.devices)} in `devices`.")
        missing = set(shards)
        with alone_in_process(wait=True):
            scorer = Scorer(replace(job, device=resources.devices[0]))
        for shard in shard_order(len(store), resources.rank, store.rule is not None):
            if shard in missing and not store.has(shard):
                with alone_in_process(wait=True):
                    arrays = scorer.compute(store.edges(shard))
                store.write(shard, arrays)
        return {}
