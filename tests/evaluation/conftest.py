"""A Ray cluster on this machine, for the tests that want one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import captum_ext


@pytest.fixture(scope="session")
def cluster():
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(Path(captum_ext.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 10**8}
        nodes = Cluster(initialize_head=True, head_node_args=head)
        yield nodes
        ray.shutdown()
        nodes.shutdown()
