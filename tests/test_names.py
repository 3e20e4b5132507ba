"""No name steers the terminal, breaks a line or turns it round, wherever it is printed."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from captum_ext import Evaluation, attribute_dataset, evaluate, load, metrics, plots, random_attribution
from captum_ext.__main__ import main
from captum_ext._core.printing import printable
from captum_ext.evaluation import comparison, display
from captum_ext.evaluation.store import ShardStore

BAD = ["\x1b[2J", "\nEVIL", "\r", "\x9b31m", "\u202e", "\u2066", "\u2028", "\x07", "\x7f", "\u200b"]
METHODS = ["random", *(f"m{i}{bad}" for i, bad in enumerate(BAD))]
N = 9


@pytest.fixture(scope="module")
def result():
    """With every bad mark in names of methods, metrics, axes and of what the run is said to be."""
    draw = np.random.default_rng(0)
    dataset = xr.Dataset(coords={"attribution": METHODS, "example": np.arange(N)})
    for i, bad in enumerate(BAD):
        about = {"higher_is_better": bool(i % 2), "metric": f"f{bad}", "reference": f"r{bad}", "arguments": "{}"}
        dataset[f"score{i}{bad}"] = ("attribution", "example"), draw.normal(size=(len(METHODS), N)), about
        if i > 1:
            continue  # a drawing takes its time
        curve = draw.normal(size=(len(METHODS), N, 3))
        dataset = dataset.assign_coords({f"axis{i}{bad}": [0.0, 0.5, 1.0]})
        dataset[f"curve{i}{bad}"] = ("attribution", "example", f"axis{i}{bad}"), curve
    halves = draw.normal(size=(len(METHODS), N, 2))
    dataset["h:halves"] = ("attribution", "example", "half"), halves, {"halves_of": f"score0{BAD[0]}"}
    failures = '[{"attribution": "a", "metric": "b", "examples": [0, 1], "error": "\\u001b[2J \\u202e"}]'
    return Evaluation(dataset.assign_attrs(model=f"net{''.join(BAD)}", failures=failures))


SCORE, CURVE = f"score0{BAD[0]}", f"curve0{BAD[0]}"


def texts_of(drawn):
    figure = drawn.flat[0].figure if hasattr(drawn, "flat") else drawn.figure
    return "\n".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def command(arguments, capsys):
    main(arguments)
    return "".join(capsys.readouterr())


def message(call):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    return str(error.value)


DOORS = {
    "repr": repr,
    "as text": lambda r: display.as_text(r.dataset, 40),
    "show": lambda r: display.summary_text(r.dataset),
    "show one": lambda r: display.summary_text(r.dataset, metric=[SCORE]),
    "summary": lambda r: r.summary().to_string(),
    "compare": lambda r: r.compare(baseline=METHODS[1]).to_string(),
    "agreement": lambda r: r.agreement().to_string(),
    "ranking consistency": lambda r: r.ranking_consistency().to_string(),
    "reliability": lambda r: r.reliability().to_string(),
    "advice": lambda r: r.advice(half_width=0.1, until="best", most_examples=3).to_string(),
    "no advice": lambda r: message(lambda: r.advice({"no\x1b[2J": 1})),
    "tie with best": lambda r: comparison.tie_with_best(r.dataset).to_string(),
    "mean ranks": lambda r: comparison.mean_ranks(r.dataset).to_string(),
    "an unknown metric": lambda r: message(lambda: r.compare("no\x1b[2J")),
    "an unknown baseline": lambda r: message(lambda: r.compare(baseline="no\x1b[2J")),
    "both have it": lambda r: message(lambda: r.merge(r)),
}
FIGURES = {
    "curves": lambda r: plots.curves(r, CURVE),
    "no curve": lambda r: plots.distributions(r, SCORE),
    "ranks": plots.ranks,
    "metric correlation": plots.metric_correlation,
    "method correlation": lambda r: plots.method_correlation(r, SCORE),
    "significance": lambda r: plots.significance(r, baseline=METHODS[1]),
    "convergence": lambda r: plots.convergence(r, SCORE),
    "maps": lambda r: plots.maps(np.zeros((1, 1, 4, 4)), {METHODS[1]: np.ones((1, 1, 4, 4))}),
}


def is_harmless(text):
    return is_harmless_page(text) and not any(line.startswith("EVIL") for line in text.splitlines())


def is_harmless_page(html):
    """There a line break is a space."""
    return printable(html, keep="\n") == html


@pytest.mark.parametrize("door", DOORS)
def test_what_is_printed_is_harmless(door, result):
    assert is_harmless(DOORS[door](result))


def test_what_a_notebook_shows_is_harmless(result):
    assert is_harmless_page(result._repr_html_())


@pytest.mark.parametrize("figure", FIGURES)
def test_what_figures_say_is_harmless(figure, result):
    pytest.importorskip("matplotlib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert is_harmless(texts_of(FIGURES[figure](result)))


def test_the_command_line_prints_harmless_text(result, tmp_path, capsys):
    path = tmp_path / "scores\x1b[2J.h5"
    assert is_harmless(command(["show", str(path)], capsys))
    result.save(path)
    assert is_harmless(command(["show", str(path)], capsys))
    assert is_harmless(command(["show", str(path), "--metric", "no\x1b[2J"], capsys))
    assert is_harmless(command(["metrics", "no\x1b[2J"], capsys))
    pytest.importorskip("jinja2")
    shown = command(["report", str(path), "--baseline", METHODS[1]], capsys)
    assert is_harmless(shown)
    assert "u001b[2J.html" in shown


@pytest.mark.parametrize("given", ["a file", "a mapping"])
def test_a_report_is_harmless_and_finds_the_maps_of_its_methods(given, result, tmp_path):
    pytest.importorskip("jinja2")
    data = [(torch.rand(4), 0) for _ in range(N)]
    maps = {name: torch.rand(N, 4) for name in METHODS}
    if given == "a file":
        attribute_dataset(torch.nn.Linear(4, 1), data, maps, tmp_path / "maps.h5")
    result.report(tmp_path / "page.html", data, tmp_path / "maps.h5" if given == "a file" else maps)
    page = (tmp_path / "page.html").read_text()
    assert is_harmless_page(page)
    assert page.count("Map of ") == N * len(METHODS)
    assert r"m0\u001b[2J" in page.replace("<wbr>", "")


def test_what_differs_from_a_run_that_is_kept_is_harmless(tmp_path):
    manifest = {"examples": 1, "shard_size": 1}
    ShardStore(tmp_path, {**manifest, "methods": {"a\x1b[2J": 1}}).write(0, {"0": np.zeros((1, 1))})
    assert is_harmless(
        message(lambda: ShardStore(tmp_path, {**manifest, "methods": {"b\x9b31m": 1}})).replace("\n", "")
    )


def test_names_are_kept_as_they_are_and_only_printed_otherwise(tmp_path):
    names = {"r\x1b[2J": random_attribution, "s\u202e": random_attribution}
    some = {"d\x1b[31m": metrics.deletion, "n\n": partial(metrics.sensitivity_n, n=[1, 2])}
    data = [(torch.rand(4), 0) for _ in range(4)]
    result = evaluate(torch.nn.Linear(4, 1).eval(), data, names, some, path=tmp_path / "run.h5")
    for kept in (result, load(tmp_path / "run.h5")):
        assert kept.dataset.attribution.values.tolist() == list(names)
        assert list(kept.dataset.data_vars) == list(some)
        assert set(kept.to_dataframe()["metric"]) == set(some)
        assert is_harmless(repr(kept))
    assert result.summary()["metric"].unique().tolist() == [r"d\u001b[31m", r"n\u000a"]
    for name in ("d\x1b[31m", r"d\u001b[31m"):  # both are understood
        assert set(result.compare(name, baseline="r\x1b[2J")["metric"]) == {r"d\u001b[31m"}


@pytest.mark.parametrize("text", ["deletion", "Δ größer 精度 ↑", ""])
def test_what_can_be_seen_is_printed_as_it_is(text):
    assert printable(text) == text
