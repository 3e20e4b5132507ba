"""Devices, engines and members: what is accepted, what it leads to, and what is said of the rest."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch

from captum_ext import attribute_dataset, load
from captum_ext.evaluation import engines
from captum_ext.evaluation.engines import Resources, Scorer, engine_named
from captum_ext.evaluation.engines.elastic import Elastic
from captum_ext.evaluation.engines.inline import Inline
from captum_ext.evaluation.engines.ranks import Rank
from captum_ext.evaluation.engines.resources import workers_of

from ..runs import METHODS, Net, assert_same_scores, examples, run


def of(device=None, devices=None, engine="auto", max_restarts=1, shard_timeout=None, threads=None, shared=False):
    return workers_of(
        Net(),
        device=device,
        devices=devices,
        engine=engine,
        max_restarts=max_restarts,
        shard_timeout=shard_timeout,
        threads_per_worker=threads,
        shared=shared,
    )


def test_one_device_is_this_process_and_several_are_workers():
    assert isinstance(of()[0], Inline)
    assert isinstance(of(devices=["cpu"])[0], Inline)
    assert isinstance(of(devices=["cpu", "cpu"])[0], Elastic)
    assert isinstance(of(engine="elastic")[0], Elastic)


def test_a_worker_has_one_thread_and_this_process_what_it_had():
    assert of()[1].threads is None
    assert of(devices=["cpu", "cpu"])[1].threads == 1
    assert of(devices=["cpu", "cpu"], threads=3)[1].threads == 3


def test_devices_are_taken_by_value():
    devices = of(devices=[3, "cuda:1", torch.device("cuda"), "cuda:1"])[1].devices
    assert [str(d) for d in devices] == ["cuda:3", "cuda:1", "cuda:0", "cuda:1"]


def test_the_threads_of_this_process_are_given_back():
    before = torch.get_num_threads()
    run(threads_per_worker=before + 1)
    assert torch.get_num_threads() == before


WRONG = {
    "both": (
        {"device": "cpu", "devices": ["cpu"]},
        ValueError,
        "Give `device` for one worker or `devices` for several, not both",
    ),
    "a string": (
        {"devices": "cuda"},
        TypeError,
        r"`devices` must be a sequence .* such as \['cuda:0', 'cuda:1'\]; got 'cuda'",
    ),
    "none": ({"devices": []}, TypeError, r"`devices` must be a sequence of devices with at least one, .* got \[\]"),
    "unknown": ({"devices": ["tpu9"]}, ValueError, "`devices` has 'tpu9', which is no device"),
    "mixed": ({"devices": ["cpu", "cuda:0"]}, ValueError, "`devices` must be of one type, .* got cpu, cuda:0"),
    "engine": (
        {"engine": "dask"},
        ValueError,
        "`engine` must be one of 'auto', 'inline', 'elastic', 'ray'.* or an engine, got 'dask'",
    ),
    "no engine": ({"engine": 3}, TypeError, "`engine` must be a name or an object with a method `run`, got int"),
    "restarts": ({"max_restarts": -1}, ValueError, "`max_restarts` must be at least 0, got -1"),
    "timeout": ({"shard_timeout": 0}, ValueError, "`shard_timeout` must be a number of seconds above 0, got 0"),
    "threads": ({"threads": 0}, ValueError, "`threads_per_worker` must be at least 1, got 0"),
}


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_said(arguments, error, message):
    with pytest.raises(error, match=message):
        of(**arguments)


def test_one_process_computes_on_one_device():
    with pytest.raises(ValueError, match="engine='inline' computes on one device, got 2 in `devices`"):
        run(engine="inline", devices=["cpu", "cpu"])


# ---- other engines


class Backwards:
    """An engine of one's own: the shards in this process, last first."""

    def run(self, job, shards, store, resources):
        scorer = Scorer(job)
        for shard in reversed(shards):
            store.write(shard, scorer.compute(store.edges(shard)))
        return {}


def test_an_engine_may_be_given():
    assert_same_scores(run(engine=Backwards(), threads_per_worker=torch.get_num_threads()), run(), rtol=0)


def test_another_package_may_register_one(monkeypatch):
    entry = EntryPoint("backwards", f"{__name__}:Backwards", engines.GROUP)
    monkeypatch.setattr(engines, "entry_points", lambda group: [entry] if group == engines.GROUP else [])
    assert type(engine_named("backwards")).__name__ == "Backwards"
    with pytest.raises(ValueError, match="'ray', 'backwards', or an engine, got 'dask'"):
        engine_named("dask")


class Recording(Backwards):
    """Keeps what it was given."""

    def __init__(self):
        self.given = []

    def run(self, job, shards, store, resources):
        self.given.append((job.threads, resources))
        return super().run(job, shards, store, resources)


@pytest.mark.parametrize("call", ["evaluate", "attribute_dataset"])
def test_what_was_asked_for_reaches_the_engine(call, tmp_path):
    engine = Recording()
    options = {
        "engine": engine,
        "devices": ["cpu", "cpu", "cpu"],
        "max_restarts": 7,
        "shard_timeout": 9.5,
        "threads_per_worker": 3,
    }
    if call == "evaluate":
        run(**options)
    else:
        attribute_dataset(Net(), examples(), METHODS, tmp_path / "maps.h5", **options)
    assert engine.given == [(3, Resources((torch.device("cpu"),) * 3, 3, 7, 9.5))]


def test_an_engine_says_itself_whether_launched_processes_share_a_run(monkeypatch, recwarn):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")

    class Joining(Backwards):
        joins_launched = True

    assert of(engine=Joining(), shared=True)[1].rank == Rank(1, 2)
    assert of(engine=Elastic(), shared=True)[1].rank == Rank(1, 2)
    assert of(engine=Backwards(), shared=True)[1].rank == Rank()
    assert not recwarn


# ---- members


@pytest.fixture
def second_of_two(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")


def test_a_member_takes_the_device_of_its_number(second_of_two):
    _, resources = of(devices=["cuda:4", "cuda:6"], shared=True)
    assert [str(d) for d in resources.devices] == ["cuda:6"]
    assert resources.rank == Rank(1, 2, 1)


def test_a_member_begins_with_its_own_shards_and_ends_with_the_whole_result(second_of_two, tmp_path, monkeypatch):
    written = []
    from captum_ext.evaluation.store import ShardStore

    write = ShardStore.write
    monkeypatch.setattr(
        ShardStore, "write", lambda store, shard, arrays: (written.append(shard), write(store, shard, arrays))
    )
    result = run(path=tmp_path / "run.h5", batch_size=2)
    assert written[:2] == [1, 3]
    assert sorted(written) == [0, 1, 2, 3]
    assert load(tmp_path / "run.h5").dataset.identical(result.dataset)


def test_members_that_share_no_path_are_warned(second_of_two):
    with pytest.warns(
        UserWarning, match="Several processes were launched, and each computes everything: give all of them one `path`"
    ):
        assert of()[1].rank == Rank()


def test_a_member_may_compute_everything_if_that_is_meant(second_of_two, recwarn):
    assert of(engine="inline", shared=True)[1].rank == Rank()
    assert not recwarn
