"""The command `captum-ext`: what it prints, how it fails, and its exit codes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from captum_ext import Evaluation, load, metrics
from captum_ext.__main__ import main
from captum_ext.demo import pictures


@pytest.fixture
def stored(tmp_path):
    """Results on disk, of two methods on eight examples by two metrics."""
    scores = np.random.default_rng(0).normal(size=(2, 8)) + np.array([[0.0], [5.0]])
    axes = ("attribution", "example")
    variables = {name: (axes, scores, {"higher_is_better": better}) for name, better in (("up", True), ("down", False))}
    dataset = xr.Dataset(variables, {"attribution": ["low", "high"], "example": np.arange(8)})
    Evaluation(dataset).save(tmp_path / "scores.h5")
    return tmp_path / "scores.h5"


def test_show_prints_a_block_per_metric(stored, capsys):
    assert main(["show", str(stored)]) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line and not line.startswith(" ")][:2] == ["up ↑", "down ↓"]
    assert main(["show", str(stored), "--metric", "down"]) == 0
    assert "up ↑" not in capsys.readouterr().out


def test_report_writes_a_page_beside_the_results_or_where_it_is_told(stored, capsys):
    pytest.importorskip("jinja2")
    assert main(["report", str(stored), "--examples", "1", "--baseline", "low"]) == 0
    assert capsys.readouterr().out == f"{stored.with_suffix('.html')}\n"
    written = stored.with_suffix(".html").read_text()
    assert "low" in written
    assert written.count("<caption id=") == 1
    assert main(["report", str(stored), "-o", str(stored.parent / "page.html"), "--examples", "0"]) == 0
    assert (stored.parent / "page.html").exists()


def test_too_few_examples_are_said_to_be_so(stored, tmp_path, capsys):
    pytest.importorskip("jinja2")
    few = tmp_path / "few.h5"
    Evaluation(load(stored).dataset.isel(example=slice(5))).save(few)
    assert main(["show", str(few)]) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith("? too few examples to tell.")
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("  ")] == ["?"] * 4
    assert main(["report", str(few), "--baseline", "low"]) == 0
    written = few.with_suffix(".html").read_text()
    assert "<h1>With 5 examples no two methods can be distinguished (at least 6 examples are needed)" in written
    assert "There are too few examples to show that any method is better than the control low" in written
    assert 'not distinguishable from the best"' not in written
    assert 'not shown to be better than low"' not in written


def test_report_refuses_a_control_that_is_not_there(stored, capsys):
    pytest.importorskip("jinja2")
    assert main(["report", str(stored), "--baseline", "nope"]) == 1
    assert "`baseline`" in capsys.readouterr().err
    assert not stored.with_suffix(".html").exists()


def test_report_leaves_alone_what_is_there_unless_forced_and_the_results_always(stored, capsys):
    pytest.importorskip("jinja2")
    page = stored.parent / "page.html"
    page.write_text("mine")
    assert main(["report", str(stored), "-o", str(page)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert main(["report", str(stored), "-o", str(page), "--examples", "0", "--baseline", "low", "--force"]) == 0
    assert page.read_text().startswith("<!doctype html>")
    before = stored.read_bytes()
    assert main(["report", str(stored), "-o", str(stored), "--force"]) == 1
    assert "is where the results are" in capsys.readouterr().err
    assert stored.read_bytes() == before


def test_metrics_lists_every_metric_with_its_better_side(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["metrics"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert set(listed) == {name for name in metrics.__all__ if hasattr(getattr(metrics, name), "card")}
    assert listed["deletion"].split()[1] == "↓"
    assert listed["sensitivity_n"].split()[1] == "↑"
    assert max(map(len, lines)) <= 60


def test_metrics_explains_one(capsys):
    assert main(["metrics", "sensitivity_n"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("sensitivity_n(forward_func, inputs, attributions, n, ")
    assert "Ancona" in printed
    assert "Σ_(i ∈ S) φ_i, f(x) - f(x_(∖ S))" in printed
    assert main(["metrics", "Sensitivity-n"]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nowhere.h5"], "captum-ext: `path` nowhere.h5 does not exist.\n"),
        (["show", __file__], "is not a result of captum_ext"),
        (["metrics", "delation"], "no metric is named 'delation'. Did you mean deletion?"),
        (["metrics", "xyz"], "no metric is named 'xyz'. `captum-ext metrics` lists those that there are."),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(arguments, message, capsys):
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_the_demo_says_what_it_needs_and_may_be_interrupted(tmp_path, capsys, monkeypatch):
    for error, message in ((ImportError("pip install it"), "pip install it"), (KeyboardInterrupt(), "interrupted")):

        def network(error=error):
            raise error

        monkeypatch.setattr(pictures, "network", network)
        assert main(["demo", "--output", str(tmp_path / "demo")]) == 1
        assert capsys.readouterr().err == f"captum-ext: {message}\n"
        assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("arguments", [[], ["sing"], ["show"], ["show", "a.h5", "b.h5"]])
def test_what_is_no_command_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert "usage: captum-ext" in capsys.readouterr().err


def test_help_has_examples_that_are_commands(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    examples = [line.split("  ")[1].split()[1] for line in shown.splitlines() if line.startswith("  captum-ext")]
    assert set(examples) == {"demo", "show", "report", "metrics"}


def test_python_m_is_the_same_command_and_a_closed_pipe_no_error():
    command = f"{sys.executable} -m captum_ext metrics | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.endswith(":\n")
    assert done.stderr == ""
