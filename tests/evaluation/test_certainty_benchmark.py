"""The parts of `benchmarks/certainty.py` on small sizes: what they count and keep, and which faults they notice."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from captum.attr import InputXGradient, Saliency
from torch import nn

from captum_ext import metrics
from captum_ext.evaluation.decisions import Decisions

FOLDER = Path(__file__).parents[2] / "benchmarks"
METHODS, RUNS = 3, 60


@cache
def part(name):
    sys.path.insert(0, str(FOLDER))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


def explained(net, images, target):
    draw = torch.Generator().manual_seed(1)
    return {
        "input x gradient": InputXGradient(net).attribute(images, target).detach(),
        "saliency": Saliency(net).attribute(images, target).detach(),
        "random": torch.randn(images.shape, generator=draw),
    }


@cache
def study(examples=40):
    torch.manual_seed(0)
    net = part("certainty").Net().eval().requires_grad_(False)
    images = torch.rand(examples, 1, 16, 16)
    return part("stopping").Study.of(net, images, net(images).argmax(1), explained)


@pytest.mark.parametrize(
    ("name", "rows", "with_defaults"),
    [
        ("deletion", 2 + METHODS * 11, 2 + METHODS * 98),
        ("insertion", 2 + METHODS * 11, 2 + METHODS * 98),
        ("SRG", 2 + 2 * METHODS * 11, 2 + 2 * METHODS * 98),
        ("sensitivity-n", 1 + 20 + 3, 1 + 100),
        ("infidelity", 1 + 20 + 3, 1 + 100),
        ("minimal subset", 2 + METHODS * 11, 2 + METHODS * 98),
    ],
)
def test_rows_are_those_of_the_formula_and_a_gradient_counts_as_three(name, rows, with_defaults):
    s = part("stopping")
    assert study().rows({name: s.OURS[name]}) == rows
    assert study().rows({name: s.DEFAULTS[name]}) == with_defaults


def test_rows_of_explanations_and_of_other_packages():
    assert study().rows_of_explanations() == 3 + 3
    assert study().rows_of_captum() == METHODS * (1 + 10)
    assert study().rows_of_quantus(["deletion"]) == METHODS * 256
    assert study().rows_of_quantus(["deletion", "SRG"]) is None


def test_the_replayed_stop_is_that_of_evaluate():
    s = part("stopping")
    of_one = {"sensitivity-n": s.OURS["sensitivity-n"]}
    scores = s.Scores(study().evaluated(of_one).dataset)
    rule = scores.rule(["sensitivity-n"])
    found = s.stopped(rule, scores.arrays(rule), range(scores.examples))
    run = study().evaluated(of_one, until="best", batch_size=1, shard_size=1).dataset
    assert found.done
    assert found.examples == run.attrs["decided_after"] == run.sizes["example"]


def scores_of(**values):
    """Of methods a, b and random; a metric that is better the higher it is."""
    variable = xr.DataArray(
        np.array(list(values.values()), float),
        dims=("attribution", "example"),
        coords={"attribution": list(values)},
        attrs={"higher_is_better": True},
    )
    return part("stopping").Scores(xr.Dataset({"score": variable}))


def near_ties(examples=40):
    draw = np.random.default_rng(0)
    return scores_of(**{name: draw.normal(size=examples) for name in ("a", "b", "random")})


def test_false_decisions_are_few_and_a_broken_rule_is_noticed():
    s, scores = part("stopping"), near_ties()
    rule = scores.rule(["score"], "ranking", ["a", "b"])
    shares = [
        s.false_decisions(broken, scores.arrays(rule), RUNS).false.mean() for broken in (rule, replace(rule, alpha=0.5))
    ]
    assert shares[0] <= 0.05 < shares[1]
    assert s.false_t_tests(rule, scores.arrays(rule), RUNS).false.mean() > 0.1


def test_a_wrong_best_is_noticed(monkeypatch):
    s = part("stopping")
    up = np.linspace(1, 2, 60)
    scores = scores_of(a=up, b=up / 2, random=0 * up)
    found = s.wrong_bests(scores, ["score"], 2)
    assert found[["decided", "wrong", "mean disagrees"]].all().tolist() == [True, False, False]
    assert not found[["wrong", "mean disagrees"]].any().any()
    monkeypatch.setattr(Decisions, "best", lambda self, k: [1])
    found = s.wrong_bests(scores, ["score"], 2)
    assert found[["wrong", "mean disagrees"]].all().all()
    assert s.of_metrics(found).wrong.tolist() == [2, 2]


def test_the_typical_example_is_not_the_mean():
    up = np.linspace(1, 2, 60)
    rare = np.where(np.arange(60) % 10 == 0, 30, 0)
    found = part("stopping").wrong_bests(scores_of(a=up, b=up / 2 + rare, random=0 * up), ["score"], 4)
    assert not found[found.decided].wrong.any()


@pytest.mark.filterwarnings("ignore:.*draws carry the variance")
def test_intervals_of_a_linear_model_hold_the_truth(tmp_path):
    i = part("intervals")
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).requires_grad_(False)
    of_model = {"forward_func": net, "inputs": torch.rand(2, 1, 4, 4), "target": 0}
    maps = {"a": torch.randn(2, 1, 4, 4)}
    score = lambda **settings: metrics.sensitivity_n(**of_model, attributions=maps, n=0.5, **settings)  # noqa: E731
    case = i.Case("score", score, score, 30)
    found = i.measured(case, 300, 10)
    assert list(found.columns) == ["error", "of_truth", "stderr", "n_eff", "method", "seed"]
    table = i.run(iter([case]), tmp_path, 300, 10)
    assert float(table["intervals that hold the truth"][0]) > 0.8
    assert i.line("none", found.assign(stderr=0.0, of_truth=0.0))["intervals that hold the truth"] == "0.000"


def test_estimates_of_photographs_compute_every_row_once():
    p = part("photographs")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5))
    net.eval().requires_grad_(False)
    image, setting = torch.rand(1, 3, 64, 64), p.Setting(64, truth=60, repeats=1)
    with part("stopping").counted_rows(net) as rows:
        of_class = p.OfClass(net, 0)
        maps = {name: torch.randn(image.shape) for name in ("a", "b")}
        found = pd.concat(list(p._estimates(of_class, image, maps, setting))).assign(photograph=0, crop=0)
    gradients = 2 * 2 * 3 * 3  # seeds, outputs and sizes, of which each counts as three rows
    assert sum(rows) == len(of_class.known) + gradients
    assert len(found) == 2 * 2 * 2 * 2 * 3  # seeds, estimators, outputs, methods and sizes
    assert len(p.table(found)) == 2 * 3
    assert p.truths(found).shape == (len(maps), 1 + 2 * 3)


def test_the_errors_are_without_what_the_truth_adds():
    p = part("photographs")
    keys = {"photograph": 0, "crop": 0, "method": "a", "output": "logits", "n": 0.1, "n_eff": 20.0}
    lines = [
        {**keys, "seed": seed, "estimator": kind, "score": score, "stderr": 0.1}
        for kind, scores in {"sample": (0.7, 0.9, 0.1), "regression": (0.5, 0.7, 0.3)}.items()
        for seed, score in enumerate(scores)
    ]
    drawn = p.errors(pd.DataFrame(lines))
    assert np.allclose(drawn.square, [0.16 - 0.01, 0.16 - 0.01, 0.04 - 0.01, 0.04 - 0.01])
    assert np.isclose(p.ratio(drawn), 0.15 / 0.03)


def test_a_table_that_is_kept_is_not_made_again(tmp_path):
    k, made = part("kept"), []

    def make():
        made.append(1)
        return pd.DataFrame({"a": [1.5, np.nan], "b": [True, False]})

    first, second = (k.kept(tmp_path / "new", "of a setting", make) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert len(made) == 1
    assert k.markdown(pd.DataFrame({"x": [1]})) == "| x |\n| --- |\n| 1 |"
