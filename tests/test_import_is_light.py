"""Importing the metrics costs little more than importing torch, and brings nothing heavy along."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("captum", "matplotlib", "scipy", "skimage", "pandas", "xarray", "h5py", "sklearn", "PIL", "ray")
MOST_SECONDS = 0.5  # of the processor
ATTEMPTS = 3

PROBE = """
import json, sys, time
start = time.process_time()
import torch
of_torch, after_torch = set(sys.modules), time.process_time()
import captum_ext.metrics, captum_ext.feature_masks, captum_ext.baselines
end, new = time.process_time(), set(sys.modules) - of_torch
import PIL
control = set(sys.modules) - of_torch - new
report = {"torch": after_torch - start, "extra": end - after_torch, "new": sorted(new), "control": sorted(control)}
print(json.dumps(report))
"""


def imported() -> dict:
    """What the metrics and the makers bring after torch, and how long both take, in a fresh interpreter; then a
    control.
    """
    probe = [sys.executable, "-c", PROBE]
    return json.loads(subprocess.run(probe, capture_output=True, text=True, check=True).stdout)


def heavy(modules: list[str]) -> list[str]:
    return [name for name in modules if name.split(".")[0] in HEAVY]


@pytest.fixture(scope="module")
def metrics_imported() -> dict:
    return imported()


def test_the_metrics_and_the_makers_of_masks_and_baselines_bring_nothing_heavy(metrics_imported):
    assert "captum_ext.metrics.effects.infidelity" in metrics_imported["new"]
    assert "captum_ext.baselines" in metrics_imported["new"]
    assert heavy(metrics_imported["new"]) == []


def test_the_metrics_take_little_longer_than_torch(metrics_imported):
    """Half a second of the processor's time; the quickest of a few attempts, so that a busy machine doesn't count."""
    reports = [metrics_imported]
    while True:
        quickest = min(reports, key=lambda report: report["extra"])
        if quickest["extra"] < MOST_SECONDS:
            return
        assert len(reports) < ATTEMPTS, f"the import takes {quickest['extra']:.2f} s beside {quickest['torch']:.2f} s"
        reports.append(imported())


def test_the_search_for_heavy_modules_finds_one(metrics_imported):
    assert heavy(["captum.attr", "captum_ext.metrics", "tqdm"]) == ["captum.attr"]
    assert heavy(metrics_imported["control"]) != []
