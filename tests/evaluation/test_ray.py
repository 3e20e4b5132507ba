"""On a Ray cluster: the same scores, whatever dies. A cluster of two nodes on this machine stands for many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import captum_ext
from captum_ext import load

from .runs import run

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", f"{Path(captum_ext.__file__).parents[1]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        )
        for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}.items():
            patch.setenv(name, value)
        nodes = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "include_dashboard": False, "object_store_memory": 10**8},
        )
        yield nodes
        ray.shutdown()
        nodes.shutdown()


def on_ray(cluster, **options):
    from captum_ext.evaluation.engines.ray import Ray

    return run(**{"engine": Ray(cluster.address), "devices": ["cpu", "cpu"], **options})


def test_actors_give_the_scores_of_one_process(cluster, tmp_path):
    result = on_ray(cluster, path=tmp_path / "run.h5", batch_size=2)
    assert result.dataset.identical(run(batch_size=2, threads_per_worker=1, path=tmp_path / "other.h5").dataset)
    assert load(tmp_path / "run.h5").dataset.identical(result.dataset)
