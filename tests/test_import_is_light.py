"""Importing the metrics costs little more than importing torch, and brings nothing heavy along."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("captum", "matplotlib", "scipy", "skimage", "pandas", "xarray", "h5py", "sklearn", "PIL", "ray")
MOST_SECONDS = 1.0
ATTEMPTS = 3

PROBE = """
import json, sys, time
start = time.perf_counter()
import torch
of_torch, after_torch = set(sys.modules), time.perf_counter()
import {module}
end = time.perf_counter()
print(json.dumps({{"torch": after_torch - start, "extra": end - after_torch, "new": sorted(set(sys.modules) - of_torch)}}))
"""


def imported(module: str) -> dict:
    """What the import of a module after torch brings, and how long both take, in a fresh interpreter."""
    probe = [sys.executable, "-c", PROBE.format(module=module)]
    return json.loads(subprocess.run(probe, capture_output=True, text=True, check=True).stdout)


def heavy(report: dict) -> list[str]:
    return [name for name in report["new"] if name.split(".")[0] in HEAVY]


@pytest.fixture(scope="module")
def metrics_imported() -> dict:
    return imported("captum_ext.metrics")


def test_the_metrics_bring_nothing_heavy(metrics_imported):
    assert "captum_ext.metrics.effects.infidelity" in metrics_imported["new"]
    assert heavy(metrics_imported) == []


def test_the_metrics_take_little_longer_than_torch(metrics_imported):
    """The quickest of a few attempts, so that a busy machine doesn't count; no more than torch itself, or a second."""
    reports = [metrics_imported]
    while True:
        quickest = min(reports, key=lambda report: report["extra"])
        if quickest["extra"] < max(MOST_SECONDS, min(report["torch"] for report in reports) / 2):
            return
        assert len(reports) < ATTEMPTS, f"the import takes {quickest['extra']:.2f} s beside {quickest['torch']:.2f} s"
        reports.append(imported("captum_ext.metrics"))


def test_the_makers_of_masks_and_baselines_bring_nothing_heavy():
    assert heavy(imported("captum_ext.feature_masks, captum_ext.baselines")) == []


def test_the_search_for_heavy_modules_finds_one():
    assert "captum.attr" in heavy({"new": ["captum.attr", "captum_ext.metrics", "tqdm"]})
    assert heavy(imported("PIL")) != []
