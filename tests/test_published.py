"""Published numbers stay within their tolerances: `benchmarks/published.py`, with fewer examples."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
TITLES = [
    "Park function",
    "Rare features and times",
    "Sensitivity-n on digits",
    "Infidelity on digits",
    "Random layers on digits",
]
LONG = ["Removal on digits", "AttriBench"]


@cache
def published():
    sys.path.insert(0, str(FOLDER))
    try:
        return import_module("published")
    finally:
        sys.path.remove(str(FOLDER))


@cache
def rows(title):
    return published().GROUPS[title].rows(published().QUICK)


@pytest.mark.parametrize("title", TITLES)
def test_what_was_published_is_found(title):
    assert rows(title)
    assert [row for row in rows(title) if not row.reproduced] == []


@pytest.mark.parametrize("title", TITLES)
def test_the_page_has_the_same_rows(title):
    section = published().PAGE.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    for row in rows(title):
        assert f"| {row.what} | " in section
    assert section.count("\n| ") == len(rows(title)) + 2


def test_every_group_is_tested_here_or_takes_long():
    assert [*published().GROUPS] == [*TITLES, *LONG]


def test_only_what_is_named_so_is_not_reproduced_on_the_page():
    lines = published().PAGE.read_text().split(published().END)[0].splitlines()
    assert {line.split(" | ")[0].strip("| ") for line in lines if "| **no** |" in line} == published().NOT_REPRODUCED


def test_a_number_outside_its_tolerance_is_not_reproduced():
    p = published()
    assert p.equal("a", 1.0, 0.01, 1.009).reproduced
    assert not p.equal("a", 1.0, 0.01, 1.011).reproduced
    assert not p.equal("a", 1.0, 0.01, float("nan")).reproduced


def test_an_order_is_reproduced_only_if_every_neighbour_is_on_its_side():
    p = published()
    assert p.ordered("a", {"x": 3.0, "y": 2.0, "z": 1.0}).reproduced
    assert p.ordered("a", {"x": 1.0, "y": 2.0}, "<").reproduced
    for values in ({"x": 3.0, "y": 1.0, "z": 2.0}, {"x": 1.0, "y": 1.0}, {"x": float("nan"), "y": 1.0}):
        assert not p.ordered("a", values).reproduced


def test_a_row_that_is_not_reproduced_is_shown_as_such():
    p = published()
    text = p.table("Park function", [p.below("far", 0.1, 0.2)])
    assert "| far | below 0.1 | 0.2000 | **no** |" in text


def test_the_table_replaces_the_last_one(tmp_path):
    p, page = published(), tmp_path / "page.md"
    page.write_text(f"before\n{p.BEGIN}\n\nold\n{p.END}\nafter\n")
    p.write("new", page)
    p.write("newer", page)
    assert page.read_text() == f"before\n{p.BEGIN}\n\nnewer\n{p.END}\nafter\n"
