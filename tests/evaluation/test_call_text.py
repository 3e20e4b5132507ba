"""A result has the call that made it, as Python that runs."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, Saliency

from captum_ext import baselines, evaluate, feature_masks, load, metrics, random_attribution
from captum_ext.evaluation.call_text import as_code

METHODS = {"saliency": Saliency, 'a "name"': InputXGradient, "random": random_attribution}
METRICS = {
    "deletion": metrics.deletion,
    "soft": partial(
        metrics.insertion, n_steps=3, baselines=baselines.channel_mean, activation=partial(torch.softmax, dim=1)
    ),
}


def test_the_call_runs_and_gives_the_same_scores(tmp_path):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    data = [(torch.rand(3, 2, 2), i % 2) for i in range(5)]
    result = evaluate(model, data, METHODS, METRICS, seed=3, batch_size=2, path=tmp_path / "run.h5")
    call = load(tmp_path / "run.h5").dataset.attrs["call"]
    assert "import captum.attr\nimport captum_ext\nimport captum_ext.baselines" in call
    assert "target=" not in call  # a default
    names = {"model": model, "data": data}
    exec(call, names)
    for name in METRICS:
        np.testing.assert_array_equal(names["result"].dataset[name], result.dataset[name])


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (metrics.deletion, "captum_ext.metrics.deletion"),
        (random_attribution, "captum_ext.random_attribution"),
        (
            partial(feature_masks.superpixels, n_segments=9),
            "partial(captum_ext.feature_masks.superpixels, n_segments=9)",
        ),
        (torch.sigmoid, "torch.sigmoid"),
        (torch.nn.ReLU, "torch.nn.ReLU"),
        ((1, "a", None), "(1, 'a', None)"),
        ({"k": [2.5]}, "{'k': [2.5]}"),
        (lambda x: x, "..."),
        (torch.ones(3), "..."),
        (Saliency(torch.nn.Identity()), "..."),
    ],
)
def test_what_has_a_name_is_named_and_the_rest_is_left_open(value, code):
    assert as_code(value) == code


def test_the_report_shows_it(tmp_path):
    pytest.importorskip("jinja2")
    data = [(torch.rand(4), 0) for _ in range(3)]
    result = evaluate(torch.nn.Linear(4, 2), data, {"own": lambda m: Saliency(m)}, {"deletion": metrics.deletion})
    result.report(tmp_path / "page.html", n_examples=0)
    page = (tmp_path / "page.html").read_text()
    assert "To run it again" in page
    assert "&#39;own&#39;: ...," in page
    assert "Dots stand for what is not importable by a name" in page
