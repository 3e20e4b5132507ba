"""The table of `benchmarks/peers.py` in README.md has every package and task, and says when and where it was made."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


@cache
def peers():
    sys.path.insert(0, str(FOLDER))
    try:
        return import_module("peers")
    finally:
        sys.path.remove(str(FOLDER))


def made() -> str:
    return peers().PAGE.read_text().split(peers().BEGIN)[1].split(peers().END)[0]


def rows_of_the_page() -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in made().splitlines() if line.startswith("| ")]


def test_the_page_has_every_package_and_every_task_in_the_rows_that_it_needs():
    head, _, *rows = rows_of_the_page()
    p = peers()
    assert head[1:] == list(p.PACKAGES)
    tasks = [(title, task, s) for title, s in p.FULL.items() for task in p.TASKS[s.model]]
    assert [row[0] for row in rows] == [p.work(title, p.CASE[task], s) for title, task, s in tasks]


def test_every_cell_of_the_page_has_a_time_with_rows_and_calls_or_a_reason():
    pattern = re.compile(r"\d+\.\d\d \([\d,]+ in \d+\)( =)?|none|masks of [\d.]+ GB")
    assert [cell for row in rows_of_the_page()[2:] for cell in row[1:] if not pattern.fullmatch(cell)] == []


def test_this_package_made_no_row_or_call_more_than_the_task_needs():
    needed = {work: re.search("`, (.+)", work)[1] for work, *_ in rows_of_the_page()[2:]}
    assert [ours for work, ours, *_ in rows_of_the_page()[2:] if not ours.endswith(f" ({needed[work]})")] == []


def test_the_page_says_when_and_on_which_machine_and_versions():
    assert re.search(r"\n\d{4}-\d\d-\d\d; .+, \d+ of \d+ cores in use; torch [\d.]+", made())
    assert "AttriBench 0.1.9" in made()
    assert "cannot be had" not in made()
    assert "unknown commit" not in made()


TINY = {"batch": 2, "limit": 2, "draws": 1, "sizes": 4, "steps": 4}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", ["infidelity", "sensitivity_max"])
def test_captums_scores_are_marked_as_ours(task):
    p = peers()
    w = p.Work(replace(p.CNN, **TINY))
    cell = p.first("Captum", task, w)
    assert (cell.says, cell.same) == ("", True)
    assert sum(cell.calls) >= sum(p.CASE[task].calls(w.setting))


def test_other_scores_are_marked_as_such():
    right = torch.tensor([1.0, -2.0])
    assert peers().equal(right + 1e-4, right)
    assert not peers().equal(right + 1e-3, right)
    assert not peers().equal(right + torch.nan, right)
    assert str(peers().Cell(calls=(3,), same=False, times=(1.0,))) == "1.00 (3 in 1) ≠"


def test_a_package_that_cannot_be_had_is_named_with_the_reason(monkeypatch):
    p = peers()
    p.absent.cache_clear()
    monkeypatch.setitem(p.LOADED, "Quantus", ("no_such_package", lambda: None))
    assert p.absent("Quantus") == "Quantus cannot be had: No module named 'no_such_package'."
    assert str(p.first("Quantus", "deletion", None)) == "cannot be had"
    p.absent.cache_clear()


def test_a_package_that_fails_says_so(monkeypatch):
    def broken(w):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setitem(peers().CAPTUM, "broken", peers().Way(broken))
    w = SimpleNamespace(model=torch.nn.Identity())
    assert str(peers().first("Captum", "broken", w)) == "fails: RuntimeError: first line"


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path):
    p = peers()
    page = tmp_path / "page.md"
    page.write_text(f"before\n{p.BEGIN}\nold\n{p.END}\nafter\n")
    p.write("new", page, p.BEGIN, p.END)
    assert page.read_text() == f"before\n{p.BEGIN}\n\nnew\n\n{p.END}\nafter\n"
