"""Every score of `benchmarks/side_by_side.py` has its closed form here, and the page shows these cases.

`tests/peers/test_side_by_side.py` compares the other packages' columns.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


@cache
def side_by_side():
    sys.path.insert(0, str(FOLDER))
    try:
        return import_module("side_by_side")
    finally:
        sys.path.remove(str(FOLDER))


CASES = [*side_by_side().cases()]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[f"{i}, {case.score}" for i, case in enumerate(CASES)])


def rows_of_the_page() -> list[list[str]]:
    text = side_by_side().PAGE.read_text()
    made = text.split(side_by_side().BEGIN)[1].split(side_by_side().END)[0]
    return [line.strip("| ").split(" | ") for line in made.splitlines() if line.startswith("| ")][2:]


@EVERY_CASE
def test_what_the_definition_gives_is_found(case):
    value = side_by_side().found(case.ours)
    assert isinstance(value, torch.Tensor), value
    assert side_by_side().agrees(value, case)


def test_the_page_has_these_cases_and_their_exact_values():
    expected = [[case.score, case.says, f"{case.exact.mean():.4f}"] for case in CASES]
    assert [row[:3] for row in rows_of_the_page()] == expected


def test_the_page_was_made_with_both_packages():
    text = side_by_side().PAGE.read_text()
    assert "cannot be had, t" not in text
    assert [row for row in rows_of_the_page() if len(row) != 6] == []


def test_a_value_that_is_wrong_in_one_example_is_bold():
    p, case = side_by_side(), CASES[0]
    wrong = case.exact.clone().double()
    assert p.cell(wrong, case) == f"{wrong.mean():.4f}"
    wrong[-1] += 0.1
    assert p.cell(wrong, case).startswith("**")
    assert p.cell(torch.full_like(wrong, torch.nan), case).startswith("**")


def test_a_package_that_cannot_be_had_is_named(capsys):
    assert side_by_side().imported("no_such_package") is None
    assert "no_such_package cannot be had" in capsys.readouterr().out
