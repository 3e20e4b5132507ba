"""A model or an explanation may return the same tensor at every call, filled anew: scores are those of new tensors."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient
from torch import Tensor, nn

from captum_ext import evaluate

from .calls import LEFT_OUT, METRICS, Case, Setting, cases_of, tiny


class Filling:
    """Returns its one tensor, filled with what the function returns, as code with static buffers does."""

    def __init__(self, function: Any):
        self.function, self.kept = function, torch.empty(0)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        values = self.function(*args, **kwargs)
        if not self.kept.numel():
            self.kept = torch.empty(512, *values.shape[1:], dtype=values.dtype)
        filled = self.kept[: len(values)]
        filled.copy_(values.detach())
        return filled


class Output(nn.Module):
    """A model with one output, or with the three of `tiny`. Where gradients are wanted, the output is a new tensor."""

    def __init__(self, net: nn.Module, axis: Any, fill: bool):
        super().__init__()
        self.hidden, self.out, self.net, self.axis = net.hidden, net.out, [net], axis
        self.filled = Filling(self.of) if fill else self.of

    def of(self, *args: Any) -> Tensor:
        return self.net[0](*args)[self.axis]

    def forward(self, *args: Any) -> Tensor:
        return self.of(*args) if torch.is_grad_enabled() else self.filled(*args)


ONE, ALL = (slice(None), 0), slice(None)
OF_ONE = {"target": LEFT_OUT, "activation": LEFT_OUT, "threshold": 0.0, "n_classes": LEFT_OUT}
OF_CLASSES = (
    "random_logit",
    "consistency",
    "impact_coverage",
    "road_accuracy",
)  # metrics that need several outputs, or a target
MODELS = [Case(name, m) for name, m in METRICS.items() if cases_of(m)[0].takes("forward_func")]
EXPLANATIONS = [Case(name, m) for name, m in METRICS.items() if cases_of(m)[0].takes("explanation_func")]


def with_outputs(axis: Any, fill: bool) -> Setting:
    s = tiny()
    model = Output(s.module, axis, fill).eval()
    own = OF_ONE if axis == ONE else {"activation": LEFT_OUT}
    return Setting(model, s.inputs, s.example, model, everyone=s.everyone, own=own)


@pytest.mark.parametrize("axis", [ONE, ALL], ids=["one output", "several outputs"])
@pytest.mark.parametrize("case", MODELS, ids=lambda c: c.name)
def test_a_model_may_return_the_same_tensor_again(case, axis):
    if axis == ONE and case.name in OF_CLASSES:
        pytest.skip("needs several outputs")
    new, filled = (case(with_outputs(axis, fill), max_examples_per_batch=2) for fill in (False, True))
    torch.testing.assert_close(filled, new, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("case", EXPLANATIONS, ids=lambda c: c.name)
def test_an_explanation_may_return_the_same_tensor_again(case):
    s = tiny()
    method = InputXGradient(s.model)

    def explain(rows: Tensor, target: Any = None) -> Tensor:
        return method.attribute(rows, target=target)

    new, filled = (case(s, explanation_func=e, max_examples_per_batch=2) for e in (explain, Filling(explain)))
    torch.testing.assert_close(filled, new, rtol=0, atol=0, equal_nan=True)


KNOWN = {"forward_func", "inputs", "attributions", "target", "seed", "explanation_func", "explanation_factory"}
CASES = [Case(name, m) for name, m in METRICS.items()]


class FilledMaps:
    def __init__(self, model: nn.Module):
        self.of_model = InputXGradient(model).attribute
        self.filled = Filling(lambda rows, target: self.of_model(rows, target))

    def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:
        return self.filled(inputs, target)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("filled", ["model", "explanation"])
def test_in_evaluate_they_may_too(filled, limit):
    def scores(fill):
        s = with_outputs(ALL, fill and filled == "model")
        chosen = {c.name: partial(c.metric, **{k: v for k, v in c.of(s).items() if k not in KNOWN}) for c in CASES}
        method = FilledMaps if fill and filled == "explanation" else InputXGradient
        data, options = (
            list(zip(s.inputs, (s.example % 3).tolist())),
            {"batch_size": 5, "max_examples_per_batch": limit},
        )
        return evaluate(s.model, data, {"method": method}, chosen, **options).dataset

    new, again = scores(False), scores(True)
    for case in CASES:
        np.testing.assert_array_equal(again[case.name], new[case.name], err_msg=case.name)


def test_a_similarity_may_return_the_same_tensor_again():
    def similarity(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).flatten(1).abs().sum(1)

    case = Case("curve", METRICS["parameter_randomization_curve"])
    new, filled = (case(tiny(), similarity=s) for s in (similarity, Filling(similarity)))
    torch.testing.assert_close(filled, new, rtol=0, atol=0)


@pytest.mark.parametrize("draws", [False, True])
def test_a_metric_of_ones_own_may_return_the_same_tensor_again(draws):
    def score(attributions: Tensor) -> Tensor:
        return attributions.flatten(1).sum(1) + (torch.rand(len(attributions)) if draws else 0)

    def filled(attributions: Tensor, kept: Filling = Filling(score)) -> Tensor:  # noqa: B008
        return kept(attributions)

    s = tiny()
    data, methods = list(zip(s.inputs, (s.example % 3).tolist())), {"one": InputXGradient, "stored": s.inputs}
    new, again = (evaluate(s.model, data, methods, {"m": m}, batch_size=3).dataset["m"] for m in (score, filled))
    np.testing.assert_array_equal(again, new)
