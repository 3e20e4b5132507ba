"""In which order a worker takes the shards, and what launchers say of a process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captum_ext.evaluation.engines.ranks import Rank, launched, launched_rank, shard_order

ranks = st.integers(1, 9).flatmap(lambda count: st.builds(Rank, st.integers(0, count - 1), st.just(count)))


@given(st.integers(0, 60), ranks)
def test_each_worker_takes_every_shard_once_and_its_own_first(shards, rank):
    order = shard_order(shards, rank)
    own = [s for s in range(shards) if s % rank.count == rank.index]
    assert sorted(order) == list(range(shards))
    assert order[: len(own)] == own


@given(st.integers(0, 60), st.integers(1, 9))
def test_every_shard_is_one_workers_own(shards, count):
    own = [s for i in range(count) for s in shard_order(shards, Rank(i, count))[: len(range(i, shards, count))]]
    assert sorted(own) == list(range(shards))


def test_who_takes_over_begins_at_a_launched_rank_its_own():
    """Otherwise all would compute the same shard of a lost worker at the same time."""
    firsts = [shard_order(100, Rank(i, 5))[20] for i in range(5)]
    assert len(set(firsts)) == 5


def test_workers_of_several_processes_are_numbered_through():
    assert [Rank(1, 3).of_worker(worker, 2) for worker in range(2)] == [Rank(2, 6), Rank(3, 6)]


ARRAY = {
    "SLURM_ARRAY_TASK_ID": "13",
    "SLURM_ARRAY_TASK_COUNT": "3",
    "SLURM_ARRAY_TASK_MIN": "5",
    "SLURM_ARRAY_TASK_STEP": "4",
}
LAUNCHED = {
    "torchrun": ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Rank(3, 4, 1)),
    "srun": ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}, Rank(1, 2, 0)),
    "array": (ARRAY, Rank(2, 3)),
    "kubernetes": ({"JOB_COMPLETION_INDEX": "4", "JOB_COMPLETIONS": "8"}, Rank(4, 8)),
    "an array of torchruns": ({**ARRAY, "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, Rank(5, 6, 1)),
    "torchrun on srun": (
        {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"},
        Rank(5, 8, 1),
    ),
    "one task": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("environment", "rank"), LAUNCHED.values(), ids=LAUNCHED.keys())
def test_a_launchers_variables_say_which_rank_this_is(environment, rank):
    assert launched_rank(environment) == rank
    assert launched(environment) == (rank is not None)


def test_a_number_of_processes_that_is_not_said_is_asked_for():
    with pytest.raises(
        ValueError, match=r'has JOB_COMPLETION_INDEX=4, but not JOB_COMPLETIONS.* Set it, or give engine="inline"'
    ):
        launched_rank({"JOB_COMPLETION_INDEX": "4"})
