"""On a Ray cluster: the same scores, whatever dies. A cluster of two nodes on this machine stands for many."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from captum_ext import IncompleteRun

from ..faults import die_at, hang_at
from ..runs import examples, inputs, run

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")


def on_ray(cluster, **options):
    from captum_ext.evaluation.engines.ray import Ray

    return run(**{"engine": Ray(cluster.address), "devices": ["cpu", "cpu"], **options})


def noted(folder):
    (folder / "notes").mkdir()
    return str(folder / "notes")


@pytest.mark.faults
def test_an_actor_that_is_killed_is_replaced_and_nothing_is_lost(cluster, tmp_path):
    deadly = {"deadly": partial(die_at, row=inputs()[5], times=2, notes=noted(tmp_path))}
    result = on_ray(cluster, metrics=deadly, batch_size=1)
    calm = {"deadly": partial(die_at, row=inputs()[5], times=0, notes=str(tmp_path / "notes"))}
    assert (
        result.dataset.deadly.values == run(metrics=calm, batch_size=1, threads_per_worker=1).dataset.deadly.values
    ).all()


@pytest.mark.faults
def test_an_example_that_kills_its_actor_each_time_is_set_aside(cluster, tmp_path):
    deadly = {"deadly": partial(die_at, row=inputs()[5], times=100, notes=noted(tmp_path))}
    with pytest.raises(IncompleteRun, match=r"examples 5 to 5 \(killed its actor 3 times\)") as error:
        on_ray(cluster, metrics=deadly, batch_size=1)
    assert error.value.examples == [range(5, 6)]


@pytest.mark.faults
def test_an_actor_that_hangs_is_replaced(cluster, tmp_path):
    hanging = {"hanging": partial(hang_at, row=inputs()[5], times=1, notes=noted(tmp_path))}
    result = on_ray(cluster, metrics=hanging, batch_size=1, shard_timeout=4)
    assert result.dataset.hanging.notnull().all()


@pytest.mark.faults
def test_a_node_that_is_lost_loses_nothing(cluster, tmp_path):
    """And one that joined does its share."""
    second = cluster.add_node(num_cpus=2, object_store_memory=10**8)
    path, notes = tmp_path / "run.h5", noted(tmp_path)
    ended = threading.Timer(6.0, lambda: cluster.remove_node(second))
    ended.start()
    slow = {"slow": partial(paced_there, seconds=0.5, notes=notes)}
    result = on_ray(cluster, metrics=slow, batch_size=1, data=examples(24), devices=["cpu"] * 4, path=path)
    ended.join()
    assert result.dataset.slow.notnull().all()
    assert len(result.dataset.example) == 24


def paced_there(attributions, inputs, seconds, notes):
    time.sleep(seconds)
    return (attributions * inputs).mean(1)


@pytest.mark.faults
def test_restarts_of_actors_may_be_used_up(cluster, tmp_path):
    deadly = {"deadly": partial(die_at, row=inputs()[5], times=100, notes=noted(tmp_path))}
    with pytest.raises(IncompleteRun, match="more than 1 restarts"):
        on_ray(cluster, metrics=deadly, batch_size=1, max_restarts=1, devices=["cpu"])


def test_a_cluster_that_is_not_there_is_said():
    from captum_ext.evaluation.engines.ray import Ray, connected

    if ray.is_initialized():
        ray.shutdown()
    with (
        pytest.raises(ConnectionError, match=r"No Ray cluster at '127\.0\.0\.1:1': .* Start one"),
        connected("127.0.0.1:1", 1),
    ):
        pass
    assert Ray().address == "auto"
