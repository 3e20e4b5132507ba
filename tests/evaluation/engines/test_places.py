"""Which worker takes which shard when, and what launchers say of a process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captum_ext.evaluation.engines.places import Place, launched, place_of, walk

places = st.integers(1, 9).flatmap(lambda count: st.builds(Place, st.integers(0, count - 1), st.just(count)))


@given(st.integers(0, 60), places)
def test_each_worker_walks_every_shard_once_and_its_own_first(shards, place):
    order = walk(shards, place)
    own = [s for s in range(shards) if s % place.count == place.index]
    assert sorted(order) == list(range(shards))
    assert order[: len(own)] == own


@given(st.integers(0, 60), st.integers(1, 9))
def test_every_shard_is_one_workers_own(shards, count):
    own = [s for i in range(count) for s in walk(shards, Place(i, count))[: len(range(i, shards, count))]]
    assert sorted(own) == list(range(shards))


def test_who_takes_over_begins_at_a_place_of_its_own():
    """Else all would compute the same shard of a lost worker at the same time."""
    firsts = [walk(100, Place(i, 5))[20] for i in range(5)]
    assert len(set(firsts)) == 5


def test_workers_of_a_member_are_numbered_through():
    assert [Place(1, 3).within(rank, 2) for rank in range(2)] == [Place(2, 6), Place(3, 6)]


ARRAY = {
    "SLURM_ARRAY_TASK_ID": "13",
    "SLURM_ARRAY_TASK_COUNT": "3",
    "SLURM_ARRAY_TASK_MIN": "5",
    "SLURM_ARRAY_TASK_STEP": "4",
}
LAUNCHED = {
    "torchrun": ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Place(3, 4, 1)),
    "srun": ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}, Place(1, 2, 0)),
    "array": (ARRAY, Place(2, 3)),
    "kubernetes": ({"JOB_COMPLETION_INDEX": "4", "JOB_COMPLETIONS": "8"}, Place(4, 8)),
    "an array of torchruns": ({**ARRAY, "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, Place(5, 6, 1)),
    "torchrun on srun": (
        {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"},
        Place(5, 8, 1),
    ),
    "one task": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("environment", "place"), LAUNCHED.values(), ids=LAUNCHED.keys())
def test_a_launchers_variables_say_which_member_this_is(environment, place):
    assert place_of(environment) == place
    assert launched(environment) == (place is not None)


def test_a_number_of_members_that_is_not_said_is_asked_for():
    with pytest.raises(
        ValueError, match=r'has JOB_COMPLETION_INDEX=4, but not JOB_COMPLETIONS.* Set it, or give engine="inline"'
    ):
        place_of({"JOB_COMPLETION_INDEX": "4"})
