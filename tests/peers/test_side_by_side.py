"""The other packages are where the page says they are: at the exact value, or not.

Quantus comes with `make test-peers`. `make test-peers TORCHXAI=path` compares torchxai, from a checkout of its source.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from ..test_side_by_side import CASES, rows_of_the_page, side_by_side

SOURCE = os.environ.get("TORCHXAI_SOURCE")
COLUMNS = {"quantus": 4, "torchxai": 5}
CLAIMS = [
    pytest.param(package, case, row[column], id=f"{package}, {i}, {case.score}")
    for package, column in COLUMNS.items()
    for i, (case, row) in enumerate(zip(CASES, rows_of_the_page()))
    if row[column] != "–"
]


@pytest.fixture(autouse=True)
def _source_of_torchxai(monkeypatch):
    if SOURCE:
        monkeypatch.setattr(sys, "path", [str(Path(SOURCE) / "src"), *sys.path])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("package", "case", "shown"), CLAIMS)
def test_a_package_agrees_with_the_closed_form_where_the_page_says_so(package, case, shown):
    if package == "torchxai" and not SOURCE:
        pytest.skip("TORCHXAI_SOURCE is not set")
    if getattr(side_by_side(), package)() is None:
        pytest.skip(f"{package} is not installed")
    value = side_by_side().found(getattr(case, package))
    assert isinstance(value, torch.Tensor), value
    assert side_by_side().agrees(value, case) == (not shown.startswith("**"))
