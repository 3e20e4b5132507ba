"""Captum's own tests of the two metrics that it has, run on ours.

They come from a checkout of Captum's source that `CAPTUM_SOURCE` names; nothing of it is kept here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

IMPORTS = {
    "from captum.metrics import": "from captum_ext.metrics import",
    "from captum.metrics._core.sensitivity import": "from captum_ext.metrics import",
    "from captum.metrics._core.infidelity import": "from captum_ext.metrics import",
}
FILES = ("test_infidelity.py", "test_sensitivity.py")


def has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def on_ours(source: str) -> str:
    """The tests with the metrics imported from this package."""
    for theirs, ours in IMPORTS.items():
        source = re.sub(rf"^{re.escape(theirs)}", ours, source, flags=re.MULTILINE)
    return source


@pytest.fixture
def checkout() -> Path:
    if "CAPTUM_SOURCE" not in os.environ:
        pytest.skip("CAPTUM_SOURCE does not name a checkout of Captum's source")
    if not has("captum.testing.helpers"):
        pytest.skip("the installed Captum has no captum.testing.helpers, which its tests need (0.9 has)")
    return Path(os.environ["CAPTUM_SOURCE"])


@pytest.mark.parametrize("name", FILES)
def test_captums_own_tests_pass_on_our_metrics(name, checkout, tmp_path):
    source = on_ours((checkout / "tests" / "metrics" / name).read_text())
    assert "captum_ext.metrics" in source
    assert not re.search(r"captum\.metrics", source)
    (tmp_path / name).write_text(source)
    report = tmp_path / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), f"--junitxml={report}", "--tb=short"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    counts = {
        key: int(value) for key, value in re.findall(r' (tests|errors|failures|skipped)="(\d+)"', report.read_text())
    }
    assert counts.pop("tests") == source.count("    def test_") > 5
    assert set(counts.values()) == {0}


def test_the_imports_of_the_metrics_are_turned_to_ours_and_no_others():
    theirs = (
        "from captum.metrics import infidelity\nfrom captum.attr import Saliency\n"
        "from captum.metrics._core.sensitivity import f\n"
    )
    ours = (
        "from captum_ext.metrics import infidelity\nfrom captum.attr import Saliency\n"
        "from captum_ext.metrics import f\n"
    )
    assert on_ours(theirs) == ours
