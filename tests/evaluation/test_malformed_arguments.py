"""Arguments of `evaluate`, `attribute_dataset`, results and plots that are malformed are named by the error."""

from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest
import torch
from captum.attr import InputXGradient

from captum_ext import evaluate, metrics, plots, random_attribution
from captum_ext.evaluation import Evaluation, attribute_dataset

matplotlib.use("Agg")
DATA = [(torch.rand(4, generator=torch.Generator().manual_seed(i)), 0) for i in range(6)]
METHODS = {"gradient x input": InputXGradient, "random": random_attribution}
METRICS = {"deletion": metrics.deletion, "curve": metrics.deletion_curve}
NAN = float("nan")
OF_RUNS = {
    "batch_size": (0, -1, 2.0, "2", None, True, 2**70, [2], np.ones(2)),
    "seed": (-1, None, 1.5, "a", [1], b"1"),
    "max_examples_per_batch": (0, 1.5, "a", True, torch.ones(2)),
    "show_progress": (1, None, "no", []),
    "max_restarts": (-1, None, 1.5, "a"),
    "shard_timeout": (0, -1, "a", True, NAN, [1]),
    "threads_per_worker": (0, 1.5, "a"),
    "device": (1.5, "nonsense", [1]),
    "devices": ("cpu", [], 5, ["nonsense"], [None]),
    "engine": (None, 5, "nonsense"),
}
OF_EVALUATE = OF_RUNS | {
    "shard_size": (0, 1.5, "a", True),
    "on_error": (None, 1, ["raise"], "ignore"),
    "stderr": (1, None, "no"),
    "path": (5, b"a", [1]),
    "until": (
        5,
        "worst",
        {},
        [],
        ["best"],
        {"deletion": "worst"},
        {"nonsense": "best"},
        {"curve": "best"},
        {3: "best"},
    ),
    "alpha": (0, 1, -1, "a", None, True, NAN),
    "within": (-0.1, 2, "a", None, NAN),
    "groups": (5, "a", [1], ["a"] * 5, [None] * 6, [*range(5), "a"], [0.5] * 6, [True] * 6),
    "order": (None, 5, "random", ["given"]),
}
OF_RESULTS = {
    "summary": {
        "confidence": (0, 1, 95, "a", None, True, NAN, np.ones(2)),
        "n_resamples": (0, 1.5, "a", None),
        "seed": (-1, None, "a"),
        "metric": (5, "nonsense", ["nonsense"], [], b"a", {"a": 1}),
    },
    "compare": {
        "metric": (5, "nonsense"),
        "baseline": (5, None, "nonsense", ["random"]),
        "correction": (None, "nonsense", ["holm"]),
        "alternative": (None, "nonsense"),
        "alpha": (0, 1, "a", None),
    },
    "certainty": {
        "until": (5, "worst", {}, {"nonsense": "best"}),
        "alpha": (0, 1, "a"),
        "within": (-1, "a"),
    },
    "advice": {
        "half_width": (0, -1, "a", True, NAN, [1], {"nonsense": 1}, {"deletion": 0}, {5: 1}),
        "until": (5, "worst", {}, {"nonsense": "best"}),
        "alpha": (0, 1, "a"),
        "within": (-1, "a"),
        "confidence": (0, 1, "a", NAN),
        "other_rows": (-1, "a", NAN, True),
        "unit_rows": (5, "a", {"nonsense": 1}, {"deletion": 0}, {"deletion": "a"}),
        "least_draws": (0, 1.5, "a"),
        "most_examples": (0, 1.5, "a", None),
        "seed": (-1, None, "a"),
    },
    "save": {"path": (None, 5), "format": (None, "txt", ["csv"])},
    "report": {
        "path": (None, 5),
        "n_examples": (-1, 1.5, "a"),
        "baseline": (5, "nonsense"),
        "confidence": (2, "a", None),
    },
}
OF_PLOTS = {
    plots.curves: {"results": (5, None), "metric": (None, 5, "nonsense", ["curve"]), "confidence": (2, "a", None)},
    plots.distributions: {"results": (5, None), "metric": (5, "nonsense")},
    plots.ranks: {"results": (5,), "metric": (5, "nonsense")},
    plots.significance: {"results": (5,), "metric": (5, "nonsense")},
}


def refused(name, call):
    with pytest.raises((TypeError, ValueError), match=f"`{name}\\b"):
        call()


@pytest.fixture(scope="module")
def result() -> Evaluation:
    return evaluate(torch.nn.Linear(4, 2), DATA, METHODS, METRICS)


@pytest.mark.parametrize("name", OF_EVALUATE)
def test_an_argument_of_evaluate(name):
    for value in OF_EVALUATE[name]:
        refused(name, lambda value=value: evaluate(torch.nn.Linear(4, 2), DATA, METHODS, METRICS, **{name: value}))


@pytest.mark.parametrize("name", OF_RUNS)
def test_an_argument_of_attribute_dataset(name, tmp_path):
    path = tmp_path / "attributions.h5"
    for value in OF_RUNS[name]:
        refused(
            name, lambda value=value: attribute_dataset(torch.nn.Linear(4, 2), DATA, METHODS, path, **{name: value})
        )
        assert not path.exists()


@pytest.mark.parametrize("method", OF_RESULTS)
def test_an_argument_of_a_result(method, result, tmp_path):
    beside = {"path": tmp_path / "result"} if method in ("save", "report") else {}
    for name, values in OF_RESULTS[method].items():
        for value in values:
            refused(name, lambda name=name, value=value: getattr(result, method)(**beside | {name: value}))


def test_only_results_are_merged(result):
    for other in (5, None, result.dataset):
        refused("others", lambda other=other: result.merge(other))


@pytest.mark.parametrize("plot", OF_PLOTS, ids=lambda plot: plot.__name__)
def test_an_argument_of_a_plot(plot, result):
    plain = {"results": result, "metric": "curve" if plot is plots.curves else "deletion"}
    for name, values in OF_PLOTS[plot].items():
        for value in values:
            refused(name, lambda name=name, value=value: plot(**plain | {name: value}))


def test_what_is_drawn_as_maps_has_names():
    for value in (5, None, {}, [torch.ones(1, 1, 2, 2)]):
        refused("attributions", lambda value=value: plots.maps(torch.ones(1, 1, 2, 2), value))


def test_numbers_of_numpy_make_the_same_run(tmp_path):
    model, path = torch.nn.Linear(4, 2), tmp_path / "scores.h5"
    numbers = {"batch_size": 2, "seed": 3, "max_examples_per_batch": 4, "shard_size": 4, "max_restarts": 1}
    first = evaluate(model, DATA, METHODS, METRICS, path=path, **{k: np.int64(v) for k, v in numbers.items()})
    second = evaluate(model, DATA, METHODS, METRICS, path=path, **numbers)  # resumes, so it is the same run
    assert first.dataset.equals(second.dataset)
    settings = {"batch_size": np.int64(2), "seed": np.int64(3), "max_examples_per_batch": np.int64(4)}
    attribute_dataset(model, DATA, METHODS, tmp_path / "maps.h5", **settings)
    attribute_dataset(model, DATA, METHODS, tmp_path / "maps.h5", **{k: int(v) for k, v in settings.items()})


def test_the_error_says_what_was_wanted_and_what_came():
    with pytest.raises(TypeError, match=re.escape("`stderr` must be True or False, got str 'no'.")):
        evaluate(torch.nn.Linear(4, 2), DATA, METHODS, METRICS, stderr="no")
