"""In which order a worker takes the shards, and what launchers say of this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    """Process `index` of `count` that share a run; `local` is its number on its machine, if the launcher says it."""

    index: int = 0
    count: int = 1
    local: int | None = None

    def of_worker(self, worker: int, workers: int) -> Rank:
        """The rank of one of this process's own workers among those of all processes."""
        return Rank(self.index * workers + worker, self.count * workers)


def shard_order(shards: int, rank: Rank, in_order: bool = False) -> list[int]:
    """All shards: every `count`-th from `index` on, then those of the other ranks, from the far end.

    Ranks that take over for a lost one begin at different shards, so that two seldom compute the same. They agree on
    nothing: each skips the shards that it finds in the store. If the run may stop early (`in_order`), they take over
    the first ones first, as all shards before the stop are needed.
    """
    own = range(rank.index, shards, rank.count)
    if in_order:
        return [*own, *(s for s in range(shards) if s % rank.count != rank.index)]
    others = [s for s in reversed(range(shards)) if s % rank.count != rank.index]
    start = len(others) * rank.index // rank.count
    return [*own, *others[start:], *others[:start]]


def launched_rank(environment: Mapping[str, str]) -> Rank | None:
    """The rank of this process by its launcher's variables; None if no launcher started several processes.

    A task of an array may itself consist of several processes.
    """
    outer = _first_rank(environment, (SLURM_ARRAY, KUBERNETES))
    inner = _first_rank(environment, (TORCHRUN, SRUN))
    if outer is None or inner is None:
        return outer or inner
    return Rank(outer.index * inner.count + inner.index, outer.count * inner.count, inner.local)


# A launcher's variables: index, count, index on the machine; the first index and the step between indices.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "", "")
SRUN = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "", "")
SLURM_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP")
KUBERNETES = ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", "", "", "")


def launched(environment: Mapping[str, str]) -> bool:
    """Whether a launcher started several processes."""
    counts = (environment.get(count, "1") for _, count, *_ in (TORCHRUN, SRUN, SLURM_ARRAY, KUBERNETES))
    return any(int(count) > 1 for count in counts)


def _first_rank(environment: Mapping[str, str], launchers: Sequence[tuple[str, ...]]) -> Rank | None:
    for index, count, local, first, step in launchers:
        if index not in environment:
            continue
        if count not in environment:
            raise ValueError(
                f"The environment has {index}={environment[index]}, but not {count}, the number of processes that "
                'share the work. Set it, or give engine="inline" to compute everything here.'
            )
        processes = int(environment[count])
        if processes > 1:
            number = (int(environment[index]) - int(environment.get(first, 0))) // int(environment.get(step, 1))
            return Rank(number % processes, processes, int(environment[local]) if local in environment else None)
    return None
