"""In which order one of several workers takes the shards: its own first, then the others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """One of `count` members of a launched job; `local` is its number on its machine, where the launcher starts one per device."""

    index: int = 0
    count: int = 1
    local: int | None = None

    def within(self, rank: int, workers: int) -> Place:
        """The place of one of this member's own workers."""
        return Place(self.index * workers + rank, self.count * workers)


def walk(shards: int, place: Place) -> list[int]:
    """All shards: every `count`-th from `index` on, then the others' from the far end.

    Who takes over for a lost member begins at a place of its own, so that two seldom compute one shard. Nothing is agreed upon: a worker
    skips what is on disk when it comes to it.
    """
    own = range(place.index, shards, place.count)
    others = [s for s in reversed(range(shards)) if s % place.count != place.index]
    start = len(others) * place.index // place.count
    return [*own, *others[start:], *others[:start]]


def place_of(environment: Mapping[str, str]) -> Place | None:
    """What launchers say of this process; None where none started several. A job of an array may itself be several processes."""
    outer = _first_place(environment, (SLURM_ARRAY, KUBERNETES))
    inner = _first_place(environment, (TORCHRUN, SRUN))
    if outer is None or inner is None:
        return outer or inner
    return Place(outer.index * inner.count + inner.index, outer.count * inner.count, inner.local)


# A launcher's variables: number, of how many, number on the machine; the first number and the step between numbers.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "", "")
SRUN = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "", "")
SLURM_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP")
KUBERNETES = ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", "", "", "")


def launched(environment: Mapping[str, str]) -> bool:
    """Whether a launcher started several processes."""
    counts = (environment.get(count, "1") for _, count, *_ in (TORCHRUN, SRUN, SLURM_ARRAY, KUBERNETES))
    return any(int(count) > 1 for count in counts)


def _first_place(environment: Mapping[str, str], launchers: Sequence[tuple[str, ...]]) -> Place | None:
    for index, count, local, first, step in launchers:
        if index not in environment:
            continue
        if count not in environment:
            raise ValueError(
                f"The environment has {index}={environment[index]}, but not {count}, the number of processes that share the work. Set it, "
                'or give engine="inline" to compute everything here.'
            )
        members = int(environment[count])
        if members > 1:
            number = (int(environment[index]) - int(environment.get(first, 0))) // int(environment.get(step, 1))
            return Place(number % members, members, int(environment[local]) if local in environment else None)
    return None
