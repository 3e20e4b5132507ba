"""A shard is attempted by one process at a time, and each death at it is counted, neither more nor less."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import pytest
import torch

from captum_ext.evaluation.engines import Resources, elastic, payload, process
from captum_ext.evaluation.engines.deaths import MOST_DEATHS, Attempts
from captum_ext.evaluation.store import ShardStore

from .test_payload import job

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")
SHARD = process.name_of(3)


def child(function):
    """Another process, which does that and ends at once."""
    pid = os.fork()
    if pid == 0:
        function()
        os._exit(0)
    return pid


def ended(*pids):
    """The statuses; none of the dead is gone, and known to be dead, before all have ended."""
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def attempt(folder, inside, round=0):
    with Attempts(folder, round).at(SHARD) as begun:
        if begun:
            inside()


def test_an_attempt_that_ends_leaves_nothing_and_a_death_is_counted(tmp_path):
    attempts = Attempts(tmp_path, round=3)
    with pytest.raises(ArithmeticError), attempts.at(SHARD):
        raise ArithmeticError
    for round in range(3):
        assert attempts.deaths(SHARD) == round
        ended(child(partial(attempt, tmp_path, die, round)))
    with attempts.at(SHARD) as begun:
        assert begun
        assert attempts.deaths(SHARD) == 3
    assert attempts.deaths("another") == 0
    attempts.forget_deaths("another")
    assert attempts.deaths(SHARD) == 3
    attempts.forget_deaths(SHARD)
    assert attempts.deaths(SHARD) == 0


def test_a_process_that_is_told_to_end_is_no_death(tmp_path):
    assert ended(child(lambda: attempt(tmp_path, lambda: Attempts(tmp_path).end_process(7)))) == [7]
    assert [*tmp_path.iterdir()] == []


def test_what_killed_a_worker_is_not_tried_again_in_the_same_round(tmp_path):
    ended(child(lambda: attempt(tmp_path, die)))
    assert ended(child(lambda: attempt(tmp_path, die)), child(lambda: attempt(tmp_path, die))) == [0, 0]
    assert ended(child(lambda: attempt(tmp_path, die, round=1))) == [-signal.SIGKILL]


class Deadly:
    """A scorer that dies at one shard."""

    def compute(self, examples):
        if examples[0] == 3:
            die()
        return {"0": torch.zeros(1, 1).numpy()}


def test_workers_that_race_for_a_deadly_shard_lose_one_a_round(tmp_path):
    """Until it is set aside; all begin with it, and the rest is done."""
    (tmp_path / "attempts").mkdir()
    store = ShardStore(tmp_path / "parts", {"examples": 8, "shard_size": 1})

    def work(begin, round):
        time.sleep(max(begin - time.time(), 0))
        for shard in (3, *range(8)):
            process.attempt(shard, Deadly(), store, Attempts(tmp_path / "attempts", round))

    def deaths_of(round):
        begin = time.time() + 0.1
        return ended(*[child(lambda: work(begin, round)) for _ in range(4)]).count(-signal.SIGKILL)

    assert [deaths_of(round) for round in range(MOST_DEATHS + 2)] == [1, 1, 1, 0, 0]
    assert Attempts(tmp_path / "attempts").deaths(SHARD) == MOST_DEATHS
    assert store.missing() == [3]


class HangingWorkers:
    """In place of torch's agent: a worker that hangs at shard 3, started again until the shard is set aside."""

    def __init__(self, folder, digest, resources):
        self.attempts = folder / payload.ATTEMPTS

    def run(self):
        for round in range(MOST_DEATHS):
            ended(child(lambda r=round: attempt(self.attempts, lambda: time.sleep(20), r)))
        return self

    def is_failed(self):
        return False


def test_a_worker_that_is_late_is_ended_and_its_shard_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(elastic, "agent_of", HangingWorkers)
    store = ShardStore(tmp_path / "parts", {"examples": 8, "shard_size": 1})
    resources = Resources([torch.device("cpu")] * 2, shard_timeout=0.2)
    reasons = elastic.Elastic().run(job(), range(8), store, resources)
    assert reasons == {3: "took longer than shard_timeout=0.2 s 3 times"}


def test_the_agent_gets_devices_and_restarts(tmp_path):
    resources = Resources([torch.device("cpu")] * 3, max_restarts=7)
    spec = elastic.agent_of(tmp_path, "0", resources).get_worker_group().spec
    assert (spec.local_world_size, spec.max_restarts) == (3, 7)
