"""Signals that the caller ignores, as under `nohup`, and workers whose settings are gone."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from captum_ext.evaluation.engines import Resources, elastic, payload, process
from captum_ext.evaluation.engines.deaths import Attempts
from captum_ext.evaluation.engines.signals import END
from captum_ext.evaluation.store import ShardStore

from .test_deaths import child, ended

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")
NOHUP = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


@contextmanager
def ignoring(*numbers):
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def agent_with(folder, command, restarts=0):
    """The engine's agent, whose one worker does that instead."""
    agent = elastic.agent_of(folder, "0", Resources([torch.device("cpu")], max_restarts=restarts))
    agent.get_worker_group().spec.args = ("-c", command)
    return agent


def run_at(times, agent):
    times.append(time.monotonic())
    agent.run()


IGNORES_THEM = "import signal, sys; sys.exit(any(signal.getsignal(n) is not signal.SIG_IGN for n in (1, 2, 15)))"


def test_what_the_caller_ignores_stays_ignored_in_driver_and_workers(tmp_path):
    with ignoring(*NOHUP), elastic.own_signal_handlers():
        agent, look = agent_with(tmp_path, IGNORES_THEM), elastic.Agent._monitor_workers
        agent._monitor_workers = lambda group: [os.kill(os.getpid(), n) for n in NOHUP] and look(agent, group)
        assert not agent.run().is_failed()
        assert all(signal.getsignal(n) is signal.SIG_IGN for n in NOHUP)
    assert elastic.SIGNALS not in os.environ


def test_what_the_caller_does_not_ignore_ends_the_agent(tmp_path):
    seen, begun = [], []
    before = signal.signal(signal.SIGHUP, lambda number, frame: seen.append(number))
    try:
        with ignoring(signal.SIGTERM), pytest.raises(KeyboardInterrupt, match="SIGHUP"), elastic.own_signal_handlers():  # noqa: PT012
            agent, look = agent_with(tmp_path, "import time; time.sleep(60)"), elastic.Agent._monitor_workers
            agent._monitor_workers = lambda group: os.kill(os.getpid(), signal.SIGHUP) or look(agent, group)
            run_at(begun, agent)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIGHUP]
    assert time.monotonic() - begun[0] < 20  # SIGTERM, which the worker ignores, would end it after half a minute


@pytest.mark.parametrize(("ends", "ignored"), [(END, NOHUP), (signal.SIGTERM, [signal.SIGHUP])])
def test_a_worker_ignores_what_its_driver_ignores_and_can_still_be_ended(ends, ignored, tmp_path):
    driver = os.getpid()

    def work():
        process._die_with({"driver": driver, "ignored": list(map(int, ignored))}, Attempts(tmp_path), tmp_path)
        for number in ignored:
            os.kill(os.getpid(), number)
        time.sleep(0.3)
        (tmp_path / "lives").touch()
        os.kill(os.getpid(), ends)
        time.sleep(20)

    assert ended(child(work)) == [128 + signal.SIGTERM]
    assert (tmp_path / "lives").exists()


# ---- the settings of the workers


@pytest.mark.parametrize("damage", ["no folder", "no file", "half a file"])
def test_workers_without_settings_are_not_started_again_and_again(damage, tmp_path):
    folder = tmp_path / "settings"
    if damage != "no folder":
        folder.mkdir()
    if damage == "half a file":
        (folder / payload.SETTINGS).write_text('{"driver": 1')
    with pytest.raises(RuntimeError, match=r"settings of the workers in .* are gone or damaged.*Set TMPDIR"):
        agent_with(folder, "import sys; sys.exit(1)", restarts=100).run()


def test_a_worker_without_settings_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    process.main(str(tmp_path), "0")
    with pytest.raises(RuntimeError, match=r"settings of the workers in .* are gone or damaged"):
        elastic.raise_noted(tmp_path, ShardStore(tmp_path / "parts", {"examples": 1, "shard_size": 1}))


def test_the_job_has_no_name_on_the_disk_and_can_be_read_by_others(tmp_path):
    with payload.written(tmp_path, b"the job", {"driver": os.getpid()}):
        path = json.loads((tmp_path / payload.SETTINGS).read_text())["job"]
        if sys.platform == "linux":
            assert not (tmp_path / payload.JOB).exists()
        assert ended(child(lambda: os._exit(Path(path).read_bytes() == b"the job"))) == [1]
