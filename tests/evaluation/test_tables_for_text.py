"""Tables for a text: Markdown and LaTeX say the same means, marks and directions as `summary`."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from captum_ext import Evaluation

NAMES = ["low|_", "high & mighty", "other"]


def result(examples=12, spread=1.0):
    scores = spread * np.random.default_rng(0).normal(size=(3, examples)) + np.array([[0.0], [5.0], [5.1]])
    variables = {
        name: (("attribution", "example"), scores, {"higher_is_better": better})
        for name, better in (("50 % up_x", True), ("down", False))
    }
    return Evaluation(xr.Dataset(variables, {"attribution": NAMES, "example": np.arange(examples)}))


def cells(table, between, start):
    lines = [line.strip().removesuffix("\\\\").strip() for line in table.splitlines() if line.strip().startswith(start)]
    return [[cell.strip() for cell in line.strip("| ").split(between)] for line in lines]


def test_markdown_marks_the_best_and_what_is_tied_with_it():
    table = result().to_markdown()
    head, rule, *rows = cells(table, " | ", "|")
    assert head == ["method", "50 % up\\_x ↑", "down ↓"]
    assert rule == ["---", "---:", "---:"]
    summary = result().summary(metric="down").set_index("attribution")
    marks = [("", "**"), (" =", ""), ("**", "")]
    for row, name, (up, down) in zip(rows, ["low\\|\\_", "high & mighty", "other"], marks):
        assert row[0] == name
        known = summary.loc[NAMES[rows.index(row)]]
        mean, interval = f"{known['mean']:.2f}", f"[{known['low']:.2f}, {known['high']:.2f}]"
        assert row[1] == {"": mean, " =": f"{mean} =", "**": f"**{mean}**"}[up] + f" {interval}"
        assert row[2] == f"{down}{mean}{down} {interval}"
    assert "3 methods on 12 examples, 2 metrics. Means with 95% intervals over examples" in table.splitlines()[-1]


def test_latex_escapes_names_and_underlines_ties():
    table = result().to_latex(intervals=False)
    assert table.splitlines()[0].startswith("% 3 methods on 12 examples")
    rows = cells(table, " & ", ("method", "low", "high", "other"))
    assert rows[0] == ["method", r"50 \% up\_x $\uparrow$", r"down $\downarrow$"]
    assert [row[0] for row in rows[1:]] == [r"low|\_", r"high \& mighty", "other"]
    assert [row[1].split("{")[0] for row in rows[1:]] == ["0.02", r"\underline", r"\textbf"]
    assert [row[2].split("{")[0] for row in rows[1:]] == [r"\textbf", "4.75", "5.00"]
    assert r"\begin{tabular}{lrr}" in table
    assert "[" not in table


def test_nothing_is_bold_where_nothing_is_distinguishable():
    few = result(examples=2).to_markdown()
    assert "**" not in few
    assert few.count(" ? |") == 6
    tied = result(examples=40, spread=100.0).to_markdown()
    assert "**" not in tied
    assert tied.count(" = ") == 6


def test_what_is_not_a_flag_or_not_a_metric_is_refused():
    with pytest.raises(TypeError, match="`intervals`"):
        result().to_markdown(intervals="no")
    with pytest.raises(ValueError, match="`metric`"):
        result().to_latex(metric="nope")
