"""The type of scores: the promotion of attributions and outputs, at least float32; integers do not count."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from .calls import METRICS, Metric, Setting, each, takes, tiny
from .forms import for_each

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PAIRS = [  # of attributions and outputs
    *product((torch.float16, torch.float32, torch.float64), repeat=2),
    *((torch.bfloat16, other) for other in TYPES),
]
OF_CLASSES = {  # to them outputs only say a class
    "consistency",
    "relative_input_stability",
    "relative_representation_stability",
    "road_accuracy",
}


def promoted(*types: torch.dtype) -> torch.dtype:
    """At least float32."""
    return reduce(torch.promote_types, types, torch.float32)


def wanted(metric: Metric, attributions: torch.dtype, outputs: torch.dtype) -> set[torch.dtype]:
    """`attributions`: given ones, or the explanation's own. A class has no type that would have to count."""
    alone, both = promoted(attributions), promoted(attributions, outputs)
    if metric.__name__ in OF_CLASSES:
        return {alone, both}
    if metric.__name__ in ("minimal_subset", "impact_coverage") or takes(metric, "explanation_factory"):
        return {alone}
    return {both if takes(metric, "forward_func") else alone}


def in_types(metric: Metric, inputs: torch.dtype, attributions: torch.dtype, outputs: torch.dtype) -> Any:
    """A plain call whose model and explanation return what they are told to, whatever the inputs are."""
    setting = tiny(3)
    x = setting.inputs.to(inputs)
    net = setting.module

    def model(rows: Tensor, *further: Any) -> Tensor:
        return net(rows.double()).to(outputs)

    def explain(rows: Tensor, **_: Any) -> Tensor:
        return (rows.double() / 3).sin().to(attributions)

    own = {
        "forward_func": net.to(torch.float64) if takes(metric, "explanation_factory") else model,
        "explanation_func": explain,
        "explanation_factory": lambda module: explain,
        "attributions": each(setting.inputs, lambda t: (2 * t).cos().to(attributions)),
        "reference_attributions": each(setting.inputs, lambda t: (3 * t).cos().to(attributions)),
    }
    own = {name: value for name, value in own.items() if takes(metric, name)}
    if metric.__name__ == "input_invariance":  # its module is called with the inputs as they are
        own["forward_func"] = net.to(inputs)
    return replace(setting, model=model, inputs=x, everyone=x).call(metric, **own)


@pytest.mark.parametrize("name", METRICS)
def test_scores_have_the_promotion_of_attributions_and_outputs_and_at_least_float32(name):
    metric = METRICS[name]

    def check(types: tuple[torch.dtype, torch.dtype, torch.dtype]) -> None:
        scores = in_types(metric, *types)
        assert scores.dtype in wanted(metric, *types[1:]), scores.dtype

    pairs = PAIRS if takes(metric, "forward_func") else [(t, t) for t in TYPES]
    forms = [(torch.float32, *pair) for pair in pairs]
    forms += [(x, *pair) for x in (torch.float16, torch.float64) for pair in pairs[::6]]
    for_each([(", ".join(str(t).removeprefix("torch.") for t in form), form) for form in forms], check)


GIVEN = [name for name, metric in METRICS.items() if takes(metric, "attributions")]


@pytest.mark.parametrize("name", GIVEN)
def test_the_scores_of_a_mapping_have_one_type_which_is_that_of_all_its_methods(name):
    metric = METRICS[name]
    setting: Setting = tiny(3).to(torch.float32)
    phi = setting.of(metric)["attributions"]
    scores = setting.call(metric, attributions={"half": phi.half(), "double": phi.double()})
    assert {s.dtype for s in scores.values()} == {torch.float64}


@pytest.mark.parametrize("name", [name for name in GIVEN if takes(METRICS[name], "forward_func")])
def test_integer_outputs_leave_the_type_to_the_attributions(name):
    """As of a model that returns a class, or of an activation that picks one."""
    metric, setting = METRICS[name], tiny(3)

    def model(rows: Tensor, *further: Any) -> Tensor:
        return (10 * setting.module(rows.double())).round().long()

    for attributions in TYPES:
        x = setting.inputs.to(torch.float32)
        phi = each(setting.inputs, lambda t, dtype=attributions: (2 * t).cos().to(dtype))
        own = {"activation": None} if takes(metric, "activation") else {}
        integers = replace(setting, model=model, inputs=x, everyone=x)
        scores = integers.call(metric, attributions=phi, **own)
        assert scores.dtype == promoted(attributions), attributions
