"""Every exported metric runs on tables, texts, series, several inputs and outputs with axes: arguments are found by their names."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from captum.attr import Saliency
from torch.testing import assert_close

import captum_ext.metrics as exported
from captum_ext import random_attribution

from .domains import Domain, domain, every_domain
from .explained import masks_of, tuples

METRICS = {name: getattr(exported, name) for name in exported.__all__ if hasattr(getattr(exported, name), "card")}
ROWS = 3
OF_CLASSES = {exported.consistency, exported.minimal_subset, exported.random_logit, exported.road_accuracy}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def a_tenth(inputs: Any, *_: Any, **__: Any) -> Any:
    """A perturbation that draws nothing."""
    step = tuple(x / 10 for x in tuples(inputs))
    perturbed = tuple(x - s for x, s in zip(tuples(inputs), step))
    return (step, perturbed) if isinstance(inputs, tuple) else (step[0], perturbed[0])


def arguments_of(metric: Any, some: Domain) -> dict[str, Any]:
    """By the names in the signature."""
    masks = tuple(m == m.flatten(1).amax(1).reshape(-1, *[1] * (m.dim() - 1)) for m in masks_of(some))
    own = some.arguments
    offered = own | {
        "forward_func": some.model,
        "explanation_func": Saliency(some.model),
        "explanation_factory": Saliency,
        "perturb_func": a_tenth,
        "attributions": random_attribution()(some.inputs),
        "reference_attributions": random_attribution(seed=1)(some.inputs),
        "truth_mask": masks if isinstance(some.inputs, tuple) else masks[0],
        "other_attributions": random_attribution()(some.inputs),
        "other_classes": some.target,
        "layer": some.layer,
        "shift": (1.0, 0.0) if isinstance(some.inputs, tuple) else 1.0,  # of what goes through `layer`
        "n_classes": some.classes,
        "k": 2,
        "activation": torch.sigmoid,  # some need a probability
        "n": 2,
        "n_perturb_samples": 4,
        "n_steps": 4,
        "seed": some.facts["seed"],
        "order": "full",
    }
    parameters = inspect.signature(metric).parameters
    if "explanation_func" in parameters:
        offered.pop("perturb_func")  # another kind of function, which has a default
    found = {name: value for name, value in offered.items() if name in parameters}
    if "kwargs" in parameters:  # the explanation's
        found |= {name: own[name] for name in ("target", "additional_forward_args") if name in own}
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    assert set(missing) <= set(found), "add what the metric needs to `offered`"
    return found


def scores(metric: Any, some: Domain) -> torch.Tensor:
    return metric(**arguments_of(metric, some))


def with_seeds(some: Domain) -> Domain:
    return replace(some, facts={"seed": list(range(len(some)))})


@every_domain
@every_metric
def test_there_is_a_row_of_scores_per_example_whatever_its_neighbours(metric, name):
    if metric in OF_CLASSES and domain(name).classes is None:
        pytest.skip("compares classes, and this model has none")
    some = with_seeds(domain(name)[:ROWS])
    together = scores(metric, some)
    assert len(together) == ROWS
    assert together.dtype == torch.float32
    assert together.isfinite().any()
    last = replace(some[ROWS - 1 :], facts={"seed": [ROWS - 1]})
    rounding = 0.02 if name == "text" else 1e-3  # of gradients of a transformer in float32, which differ with the batch
    assert_close(scores(metric, last), together[ROWS - 1 :], rtol=rounding, atol=1e-4, equal_nan=True)


class Recorded:
    def __init__(self, model: Any):
        self.model, self.rows = model, []

    def __call__(self, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        self.rows.append(x)
        return self.model(x, *arguments)


ON_WORDS = {n: m for n, m in METRICS.items() if {"frozen", "forward_func"} <= inspect.signature(m).parameters.keys()}


@pytest.mark.parametrize("metric", ON_WORDS.values(), ids=ON_WORDS)
def test_no_metric_touches_special_tokens_and_padding(metric):
    some = with_seeds(domain("text")[:ROWS])
    model = Recorded(some.model)
    metric(**arguments_of(metric, replace(some, model=model)))
    special = (some.feature_mask == -1)[..., 0]
    kept = [[torch.equal(row[s], x[s]) for x, s in zip(some.inputs, special)] for row in torch.cat(model.rows)]
    assert all(map(any, kept))
    changed = [[torch.equal(row[~s], x[~s]) for x, s in zip(some.inputs, special)] for row in torch.cat(model.rows)]
    assert not all(map(any, changed))
