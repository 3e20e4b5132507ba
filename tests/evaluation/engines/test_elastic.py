"""Faults of workers, drivers, machines and disks: nothing is lost, and what cannot be computed is named."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest
import torch

from captum_ext import IncompleteRun, load
from captum_ext.evaluation.engines.elastic import own_signal_handlers

from ..faults import die_at, driver, hang_at, undisturbed, wait_until, workers_of
from ..runs import Net, inputs, run

TWO = {"devices": ["cpu", "cpu"]}
pytestmark = pytest.mark.filterwarnings("ignore")


def in_two_workers(**options):
    return run(**{**TWO, "batch_size": 1, **options})


def in_one_process(**options):
    return run(**{"threads_per_worker": 1, "batch_size": 1, **options})


def noted(folder):
    (folder / "notes").mkdir()
    return str(folder / "notes")


def test_what_cannot_be_sent_to_a_worker_is_said_before_any_starts(tmp_path):
    class Open:
        def __init__(self):
            self.file = open(tmp_path / "rows", "w")  # noqa: SIM115

        def __len__(self):
            return 1

        def __getitem__(self, i):
            return torch.zeros(4).double(), 0

    with pytest.raises(
        TypeError, match=r"could not be sent to other processes: .* should hold a path, not an open file"
    ):
        in_two_workers(data=Open())


def test_a_signal_reaches_the_callers_handler():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"), own_signal_handlers():
            raise_as_the_agent_does(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def raise_as_the_agent_does(number):
    from torch.distributed.elastic.multiprocessing.api import SignalException

    signal.signal(number, signal.SIG_DFL)
    raise SignalException("", number)


# ---- faults that take their time


@pytest.mark.faults
def test_a_hung_worker_is_ended_and_its_examples_are_computed_again(tmp_path):
    hanging = partial(hang_at, row=inputs()[5], times=1, notes=noted(tmp_path))
    result = in_two_workers(metrics={"hanging": hanging}, shard_timeout=5)
    plain = in_one_process(metrics={"hanging": partial(hang_at, row=inputs()[5], times=0, notes="/")})
    assert (result.dataset.hanging.values == plain.dataset.hanging.values).all()


@pytest.mark.faults
def test_an_example_that_always_takes_too_long_is_set_aside(tmp_path):
    hanging = partial(hang_at, row=inputs()[5], times=1000, notes=noted(tmp_path))
    with pytest.raises(IncompleteRun, match=r"examples 5 to 5 \(took longer than shard_timeout=5 s 3 times\)"):
        in_two_workers(metrics={"hanging": hanging}, shard_timeout=5)


@pytest.mark.faults
def test_restarts_may_be_used_up(tmp_path):
    deadly = partial(die_at, row=inputs()[5], times=1000, notes=noted(tmp_path))
    with pytest.raises(IncompleteRun, match="more than 1 restarts"):
        in_two_workers(metrics={"deadly": deadly}, max_restarts=1)


@pytest.mark.faults
def test_a_worker_that_dies_while_it_starts_is_given_up(tmp_path):
    with pytest.raises(RuntimeError, match="A worker on cpu died 3 times in a row while it was starting"):
        in_two_workers(model=partial(fatal_model, os.getpid()))


def fatal_model(driver):
    if os.getpid() != driver:
        os.kill(os.getpid(), signal.SIGKILL)
    return Net()


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["flipped", "empty", "foreign"])
def test_a_damaged_shard_is_computed_again_by_the_workers(damage, tmp_path):
    whole = in_two_workers(path=tmp_path / "run.h5")
    shard = tmp_path / "run.h5.parts" / "00000003.npz"
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    foreign = (tmp_path / "run.h5.parts" / "00000004.npz").read_bytes()
    shard.write_bytes({"flipped": bytes(content), "empty": b"", "foreign": foreign}[damage])
    assert in_two_workers(path=tmp_path / "run.h5").dataset.identical(whole.dataset)


@pytest.mark.faults
def test_a_full_disk_ends_the_run_at_once_and_the_same_call_goes_on(tmp_path, monkeypatch):
    whole = in_one_process(path=tmp_path / "whole.h5")
    monkeypatch.setenv("LEAST_FILE_SIZE", "100")  # the workers' limit: what a full disk does to a write
    with pytest.raises(
        OSError, match=r"File too large.*run\.h5\.parts .*cannot be written to\. Finished shards are kept"
    ) as error:
        in_two_workers(model=limited_net, path=tmp_path / "run.h5")
    assert error.value.errno == 27
    monkeypatch.delenv("LEAST_FILE_SIZE")
    assert (
        in_two_workers(model=limited_net, path=tmp_path / "run.h5").dataset.deletion.values
        == whole.dataset.deletion.values
    ).all()


def limited_net():
    """Makes a model, and limits the size of files in a worker process where that is asked for."""
    import resource

    if "LEAST_FILE_SIZE" in os.environ and "LOCAL_RANK" in os.environ:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["LEAST_FILE_SIZE"]), resource.RLIM_INFINITY))
    return Net()


@pytest.mark.parametrize("devices", [["cpu"], pytest.param(["cpu", "cpu"], marks=pytest.mark.faults)])
def test_a_path_that_cannot_be_written_to_is_said_before_any_work(devices):
    calls = []
    model = Net()
    model.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(OSError, match=r"/proc/run.h5.parts cannot be written to"):
        run(model=model, devices=devices, path="/proc/run.h5")
    assert calls == []


@pytest.mark.faults
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_is_ended_leaves_no_orphan_and_the_same_call_goes_on(kind, tmp_path):
    path = tmp_path / "run.h5"
    options = {"path": str(path), "seconds": 0.2, "n": 24}
    process = driver(tmp_path, **TWO, **options)
    wait_until(lambda: shards(path) >= 3 or process.poll() is not None)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.send_signal(kind)
    process.wait(timeout=60)
    assert process.returncode != 0
    wait_until(lambda: not any(map(lives, workers)), seconds=5)
    assert shards(path) < 24  # it did not wait for the rest
    assert not path.exists()
    goes_on_to_the_same(tmp_path, path, options)


@pytest.mark.faults
def test_workers_killed_at_random_moments_lose_nothing(tmp_path):
    """Twenty times: at their start, in the midst of a shard, while writing; never three times without a new shard."""
    draw = torch.Generator().manual_seed(0)
    path, options = tmp_path / "run.h5", {"path": str(tmp_path / "run.h5"), "seconds": 0.4, "n": 60}
    process = driver(tmp_path, **TWO, **options)
    for kill in range(20):
        if kill % 2 == 0:  # a worker may die at its start twice in a row, not three times
            wanted = shards(path) + 2
            wait_until(lambda wanted=wanted: shards(path) >= wanted or process.poll() is not None)
        wait_for(2.5 * float(torch.rand((), generator=draw)), process)
        workers = workers_of(process.pid)
        if workers:
            os.kill(workers[int(torch.randint(len(workers), (), generator=draw))], signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    goes_on_to_the_same(tmp_path, path, options)


@pytest.mark.faults
@pytest.mark.parametrize("story", ["lost", "late", "replaced"])
def test_two_machines_of_which_one_is(story, tmp_path):
    """Two drivers with a SLURM array's variables stand for two machines."""
    path = tmp_path / "run.h5"
    options = {"path": str(path), "seconds": 0.3, "n": 24, **TWO}
    first = driver(tmp_path, member(0), **options)
    if story == "late":
        wait_until(lambda: shards(path) >= 4)
    second = driver(tmp_path, member(1), **options)
    if story != "late":
        wait_until(lambda: shards(path) >= 4)
        first.kill()
    if story == "replaced":
        first = driver(tmp_path, member(0), **options)
    for process in [second] if story == "lost" else [first, second]:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    goes_on_to_the_same(tmp_path, path, {k: v for k, v in options.items() if k != "devices"})


def member(number):
    return {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": "2"}


@pytest.mark.faults
def test_two_drivers_of_one_run_share_a_path(tmp_path):
    options = {"path": str(tmp_path / "run.h5"), "seconds": 0.1, "n": 16}
    both = [driver(tmp_path, **TWO, **options) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    goes_on_to_the_same(tmp_path, tmp_path / "run.h5", options)


@pytest.mark.faults
@pytest.mark.parametrize("story", ["killed", "lost"])
def test_a_run_that_stops_when_it_is_certain_stops_there_whatever_is_killed(story, tmp_path):
    """A worker and the driver, or one of two machines; at the 30th of 80 examples, where one process stops."""
    path = tmp_path / "run.h5"
    options = {"path": str(path), "seconds": 0.1, "n": 80, "until": "best", "within": 0.3}
    first = driver(tmp_path, member(0) if story == "lost" else (), **TWO, **options)
    second = driver(tmp_path, member(1), **TWO, **options) if story == "lost" else None
    wait_until(lambda: shards(path) >= 5)
    os.kill(workers_of(first.pid)[0], signal.SIGKILL)
    wait_until(lambda: shards(path) >= 8)
    first.kill()
    first.wait()
    if second is not None:
        out, err = second.communicate(timeout=300)
        assert out == "finished 30\n", err
    goes_on_to_the_same(tmp_path, path, options, last=30)


@pytest.mark.faults
def test_torchrun_starts_members(tmp_path):
    path = tmp_path / "run.h5"
    options = {"path": str(path), "seconds": 0.05, "n": 16}
    ranks = [
        driver(tmp_path, {"RANK": str(r), "WORLD_SIZE": "2", "LOCAL_RANK": str(r)}, threads_per_worker=1, **options)
        for r in range(2)
    ]
    for process in ranks:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "finished 16" in out
    goes_on_to_the_same(tmp_path, path, options)


def goes_on_to_the_same(folder, path, options, last=None):
    """The same call ends with what an undisturbed one gives, no example lost or double."""
    (folder / "again").mkdir()
    undisturbed(folder, **options)
    undisturbed(folder / "again", **{**options, "path": str(folder / "again" / "run.h5")})
    finished, expected = load(path).dataset, load(folder / "again" / "run.h5").dataset
    assert finished.identical(expected)
    assert finished.example.values.tolist() == list(range(last or options["n"]))


def shards(path):
    return len(list(path.with_name(path.name + ".parts").glob("*.npz")))


def lives(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(seconds, process):
    try:
        process.wait(timeout=seconds)
    except Exception:
        return
