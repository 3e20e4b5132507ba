"""All metrics in one `evaluate`: unperturbed examples go through the model once, and each is explained once."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient

from captum_ext import evaluate, metrics

from ..calls import METRICS, Net, tiny

GIVEN = {"forward_func", "inputs", "attributions", "target", "seed", "explanation_func", "explanation_factory"}
SETTING = tiny()
N = len(SETTING.inputs)
pytestmark = pytest.mark.filterwarnings("ignore")


class Counting(Net):
    """Counts the rows that are an unperturbed example, by the state of the weights and whether they get a gradient."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def forward(self, x, *further):
        same = (x[:, None] == SETTING.inputs).flatten(2).all(-1)
        weights = float(sum(p.sum() for p in self.parameters()))
        for example in same.nonzero()[:, 1].tolist():
            self.seen[weights, torch.is_grad_enabled(), example] += 1
        return super().forward(x, *further)


def configured(metric):
    """With what `evaluate` does not know. All examples are one batch, so that values with a row of each fit."""
    further = {k: v for k, v in SETTING.of(metric).items() if k not in GIVEN}
    return partial(metric, **further | ({"layer": "hidden"} if "layer" in further else {}))


def run(chosen, **options):
    model = Counting().eval()
    data = list(zip(SETTING.inputs, (SETTING.example % 3).tolist()))
    configured_metrics = {name: configured(metric) for name, metric in chosen.items()}
    result = evaluate(model, data, {"method": InputXGradient}, configured_metrics, batch_size=N, **options).dataset
    return {name: result[name].values for name in chosen}, model


def seen(model, gradients):
    """How often each example went through the model with the weights that it has now."""
    weights = float(sum(p.sum() for p in model.parameters()))
    return [model.seen[weights, gradients, example] for example in range(N)]


ONCE_MORE = {
    "relative_representation_stability",  # looks into a layer
    "random_logit",  # explains another class
    "stochastic_comprehensiveness",  # removes nothing of an example by chance, as these draws do
    "stochastic_sufficiency",
}
ONCE = {name: metric for name, metric in METRICS.items() if name not in ONCE_MORE}


def test_an_unperturbed_example_goes_through_the_model_once_and_is_explained_once():
    together, model = run(ONCE)
    assert seen(model, gradients=False) == seen(model, gradients=True) == [1] * N
    for name, metric in ONCE.items():
        alone = run({name: metric})[0][name]
        np.testing.assert_allclose(together[name], alone, rtol=1e-10, atol=1e-12, err_msg=name)


def test_the_outputs_that_gave_the_predicted_classes_are_not_computed_again():
    _, model = run(ONCE, target="predicted")
    assert seen(model, gradients=False) == [1] * N


def test_a_layer_and_another_class_cost_one_run_more():
    for name, gradients in (("relative_representation_stability", False), ("random_logit", True)):
        _, model = run({"consistency": metrics.consistency, name: METRICS[name], "again": METRICS[name]})
        assert seen(model, gradients) == [2] * N
        assert seen(model, not gradients) == [1] * N
