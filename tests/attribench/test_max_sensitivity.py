"""Max-sensitivity: recorded scores from recorded noise, and its definition on explanations that are known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from captum_ext.attribench.data import AttributionsDataset
from captum_ext.attribench.functional.metrics import max_sensitivity

from .conftest import Gradient, InputXGradient

MODULE = sys.modules["captum_ext.attribench.functional.metrics.max_sensitivity"]


METHODS = {"grad": Gradient, "ixg": InputXGradient}


@pytest.mark.parametrize("model", ["cnn", "gray", "mlp"])
@pytest.mark.parametrize("method", METHODS)
def test_recorded_noise_gives_the_recorded_scores(reference, monkeypatch, model, method):
    (case,) = reference.golden.cases("max_sensitivity", model)
    at, call = case["methods"].index(method), case["call"]
    noise = iter(torch.tensor(reference.golden.array(case["draws"]["uniform"]))[at])
    monkeypatch.setattr(MODULE, "uniform_noise", lambda inputs, low, high, seed: next(noise) * (high - low) + low)
    data = reference.golden.data(model)
    samples = torch.tensor(data["samples"])
    dataset = AttributionsDataset(
        samples, torch.tensor(data["labels"]), attributions={method: torch.zeros_like(samples)}
    )
    methods = {method: METHODS[method](reference.golden.model(model))}
    result = max_sensitivity(dataset, call["batch_size"], methods, call["num_perturbations"], call["radius"])
    table, higher_is_better = result.get_df()
    assert not higher_is_better
    assert_allclose(table[method], reference.golden.rows(case["results"])["value"][at], rtol=1e-3)


def naive(method, samples, labels, noise):
    """One sample and draw at a time."""
    scores = []
    for x, y, draws in zip(samples, labels, noise):
        phi = method(x[None], y[None])[0]
        moved = [method((x + e)[None], y[None])[0] for e in draws]
        scores.append(max(float((m / m.abs().max() - phi / phi.abs().max()).norm()) for m in moved))
    return scores


def test_the_score_is_the_definition_evaluated_sample_by_sample(monkeypatch, cnn, images, labels):
    noise = 0.3 * torch.rand(5, 4, 3, 8, 8)
    draws = iter(noise.transpose(0, 1))
    monkeypatch.setattr(MODULE, "uniform_noise", lambda inputs, low, high, seed: next(draws))
    method = InputXGradient(cnn)
    dataset = AttributionsDataset(images, labels, attributions={"m": images})
    found, _ = max_sensitivity(dataset, 5, {"m": method}, 4, 0.3).get_df()
    assert_allclose(found["m"], naive(method, images, labels, noise), rtol=1e-5)


def test_a_constant_explanation_and_one_of_zeros_score_0_and_the_scale_does_not_matter(images, labels):
    methods = {
        "constant": lambda x, y: torch.ones_like(x),
        "zero": lambda x, y: torch.zeros_like(x),
        "input": lambda x, y: x,
        "scaled": lambda x, y: 1e-12 * x,
    }
    dataset = AttributionsDataset(images, labels, attributions=dict.fromkeys(methods, images))
    table, _ = max_sensitivity(dataset, 2, methods, 3, 0.1).get_df()
    assert not table[["constant", "zero"]].to_numpy().any()
    assert (table["input"] > 0).all()
    assert_allclose(table["scaled"], table["input"], rtol=1e-4)


def test_noise_stays_within_the_radius_and_is_the_same_for_all_methods_and_batch_sizes(images, labels):
    seen = {2: [], 5: []}
    results = {}
    for batch_size, inputs in seen.items():
        methods = {"first": lambda x, y, inputs=inputs: inputs.append(x) or x.pow(2), "second": lambda x, y: x.pow(2)}
        dataset = AttributionsDataset(images, labels, attributions=dict.fromkeys(methods, images))
        results[batch_size], _ = max_sensitivity(dataset, batch_size, methods, 3, 0.1, seed=4).get_df()
        assert max(map(len, inputs)) == batch_size
    assert_array_equal(results[2]["first"], results[2]["second"])
    assert_allclose(results[2], results[5], rtol=1e-6)
    moved = torch.stack([x for x in seen[5] if (x != images).any()]) - images
    assert moved.abs().max() <= 0.1 + 1e-6
    assert moved.abs().max() > 0.09
    assert len({float(m.sum()) for m in moved}) == 3


def test_methods_run_on_a_model_in_evaluation_mode_which_keeps_its_own(images, labels):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3)).train()
    dataset = AttributionsDataset(images, labels, attributions={"m": images})
    table, _ = max_sensitivity(dataset, 5, {"m": Gradient(model)}, 3, 0.1).get_df()
    assert np.abs(table["m"]).max() < 1e-6  # a linear model's gradient does not move, but for dropout
    assert model.training


def test_arguments_that_do_not_fit_are_refused_by_name(dataset):
    methods = {"a": lambda x, y: x, "b": lambda x, y: x}
    with pytest.raises(
        ValueError, match=r"`method_dict` must have the methods of `attributions_dataset`, \['a', 'b'\]; got \['a'\]"
    ):
        max_sensitivity(dataset, 5, {"a": methods["a"]}, 2, 0.1)
    with pytest.raises(ValueError, match="`num_perturbations` must be at least 1, got 0"):
        max_sensitivity(dataset, 5, methods, 0, 0.1)
    with pytest.raises(ValueError, match="`radius` must be at least 0, got -1"):
        max_sensitivity(dataset, 5, methods, 2, -1)
