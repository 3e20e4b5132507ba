"""The contract that every exported metric keeps. A new metric is one entry (or more) in `CASES`."""

from __future__ import annotations

import doctest
import inspect
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import captum_ext.metrics as exported
from captum_ext.baselines import uniform_noise
from captum_ext.perturbations import gaussian, segment_removal, square_removal

METRICS = {name: getattr(exported, name) for name in exported.__all__ if hasattr(getattr(exported, name), "card")}
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SHAPE = (2, 3, 3)  # of an example: channels, height, width
FEATURES = 18
CLASSES = 3
B = 5
LIMITS = (1, 2, 3, B - 1, B, B + 1, 16, 10_000)


# ---- the standard tiny batch


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(FEATURES, 8), nn.Linear(8, CLASSES)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64) / 2

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(x.flatten(1))))


@dataclass(frozen=True)
class Batch:
    inputs: Tensor
    attributions: Tensor
    baselines: Tensor
    feature_mask: Tensor
    target: Tensor
    seed: Tensor
    truth_mask: Tensor
    reference_attributions: Tensor

    def __getitem__(self, rows: Any) -> Batch:
        return Batch(**{name: value[rows] for name, value in vars(self).items()})

    def to(self, like: Any) -> Batch:
        """Floating point tensors in another type, or all tensors on another device."""
        floats = isinstance(like, torch.dtype)
        kept = ("feature_mask", "target", "seed", "truth_mask") if floats else ("seed",)
        return replace(self, **{k: v.to(like) for k, v in vars(self).items() if k not in kept})


def tiny_batch(batch: int = B) -> Batch:
    draw = torch.Generator().manual_seed(1)

    def normal() -> Tensor:
        return torch.randn(batch, *SHAPE, generator=draw, dtype=torch.float64)

    def groups(b: int) -> Tensor:
        """Other ids and another number of groups in each example."""
        return (torch.arange(FEATURES) % (7 + b % 3) * 5 + 2 * b).reshape(SHAPE)

    return Batch(
        inputs=normal(),
        attributions=normal(),
        baselines=normal() / 4,
        feature_mask=torch.stack([groups(b) for b in range(batch)]),
        target=torch.arange(batch) % CLASSES,
        seed=torch.arange(batch) * 3 + 11,
        truth_mask=torch.stack([torch.arange(9).reshape(1, 3, 3) % (2 + b % 3) == b % 2 for b in range(batch)]),
        reference_attributions=normal(),
    )


def a_step(x: Tensor) -> tuple[Tensor, Tensor]:
    """A perturbation that depends on its row alone."""
    step = 0.3 * torch.cos(3 * x) + 0.1 * x.flatten(1).sum(1)[:, None, None, None]
    return step, x - step


def a_random_step(x: Tensor) -> tuple[Tensor, Tensor]:
    step = 0.3 * torch.randn_like(x)
    return step, x - step


# ---- the table: how to call each metric on the tiny batch


@dataclass(frozen=True)
class Case:
    metric: Callable[..., Any]
    arguments: Callable[[Any, Batch], dict[str, Any]]
    points: tuple[int, ...] = ()  # axes of the score after the examples'
    on_meta: bool = True
    random: Callable[[Any, Batch], dict[str, Any]] | None = (
        None  # further arguments that make a case draw which does not by itself
    )

    def __call__(self, model: Any, batch: Batch, **changes: Any) -> Any:
        return self.metric(**self.of(model, batch) | changes)

    def of(self, model: Any, batch: Batch) -> dict[str, Any]:
        own_seeds = {"seed": batch.seed} if self.takes("seed") else {}
        return self.arguments(model, batch) | own_seeds

    def takes(self, name: str) -> bool:
        return name in inspect.signature(self.metric).parameters

    @property
    def calls_a_model(self) -> bool:
        return self.takes("forward_func") or self.takes("explanation_func")


def on_features(model: Any, b: Batch) -> dict[str, Any]:
    return {
        "forward_func": model,
        "inputs": b.inputs,
        "attributions": b.attributions,
        "baselines": b.baselines,
        "target": b.target,
    }


def with_steps(model: Any, b: Batch) -> dict[str, Any]:
    return on_features(model, b) | {"n_steps": 6}


def with_steps_and_mask(model: Any, b: Batch) -> dict[str, Any]:
    return with_steps(model, b) | {"mode": "lerf", "feature_mask": b.feature_mask}


def for_predictions(model: Any, b: Batch) -> dict[str, Any]:
    return {name: v for name, v in with_steps(model, b).items() if name != "target"}


def through_maps(model: Any, b: Batch) -> dict[str, Any]:
    return on_features(model, b) | {"activation": torch.sigmoid}


def imputed(arguments: dict[str, Any]) -> dict[str, Any]:
    """With the default fill, and from the whole example on, which methods share."""
    return {name: v for name, v in arguments.items() if name != "baselines"} | {"start": 0.0}


def normalized(model: Any, b: Batch) -> dict[str, Any]:
    return on_features(model, b) | {"feature_mask": b.feature_mask % 4, "n_perturb_samples": 3}


def with_draws(model: Any, b: Batch) -> dict[str, Any]:
    return on_features(model, b) | {"n": 4, "n_perturb_samples": 7}


def with_cells(model: Any, b: Batch) -> dict[str, Any]:
    """Of 3 x 3 positions each is a cell of the grid."""
    return on_features(model, b) | {"n": 4, "n_perturb_samples": 9}


def with_drawn_baselines(model: Any, b: Batch) -> dict[str, Any]:
    return on_features(model, b) | {"baselines": uniform_noise, "n_perturb_samples": 3}


def with_zeros(model: Any, b: Batch) -> dict[str, Any]:
    """Few draws and a tolerance in the middle of the effects, so that a count depends on the draws."""
    return with_drawn_baselines(model, b) | {"n_perturb_samples": 2, "tolerance": 0.3}


def with_sizes(model: Any, b: Batch) -> dict[str, Any]:
    return with_draws(model, b) | {"n": [1, 0.5, 3], "correlation": "spearman", "feature_mask": b.feature_mask}


def with_frozen(model: Any, b: Batch) -> dict[str, Any]:
    """The first two ids of the first example, one of them in other examples too."""
    return {"feature_mask": b.feature_mask, "frozen": [0, 5]}


def with_perturbations(model: Any, b: Batch) -> dict[str, Any]:
    return {
        "forward_func": model,
        "perturb_func": a_step,
        "inputs": b.inputs,
        "attributions": b.attributions,
        "target": b.target,
        "n_perturb_samples": 3,
    }


def with_told_seeds(model: Any, b: Batch) -> dict[str, Any]:
    return with_perturbations(model, b) | {"perturb_func": gaussian, "n_perturb_samples": 5}


def with_segments(model: Any, b: Batch) -> dict[str, Any]:
    return with_told_seeds(model, b) | {"perturb_func": segment_removal, "feature_mask": b.feature_mask}


def with_explanation(model: Any, b: Batch) -> dict[str, Any]:
    return {
        "explanation_func": Saliency(model),
        "inputs": b.inputs,
        "perturb_radius": 0.3,
        "n_perturb_samples": 4,
        "target": b.target,
    }


def with_model_and_explanation(model: Any, b: Batch) -> dict[str, Any]:
    return with_explanation(model, b) | {"forward_func": model, "same_class": False}


def with_layer(model: Any, b: Batch) -> dict[str, Any]:
    return with_model_and_explanation(model, b) | {"layer": hidden_of(model)}


def hidden_of(model: Any) -> Any:
    """The name of the layer, or the layer of the `Net` that a function calls."""
    if isinstance(model, Net):
        return "hidden"
    return (model.model if isinstance(model, Recorded) else inspect.getclosurevars(model).nonlocals["model"]).hidden


def without_a_model(model: Any, b: Batch) -> dict[str, Any]:
    return {"inputs": b.inputs, "attributions": b.attributions}


def with_two_classes(model: Any, b: Batch) -> dict[str, Any]:
    own = {"inputs": b.inputs, "target": b.target, "n_classes": CLASSES}
    return {"explanation_func": Saliency(model)} | own


def with_noise(model: Any, b: Batch) -> dict[str, Any]:
    return with_factory(model, b) | {"n_perturb_samples": 3}


def with_factory(model: Any, b: Batch) -> dict[str, Any]:
    """A function that is no module has no parameters: then an explanation of it and of a module together."""
    if isinstance(model, nn.Module):
        return {"forward_func": model, "explanation_factory": Saliency, "inputs": b.inputs, "target": b.target}

    def both(net: nn.Module) -> Saliency:
        return Saliency(lambda x, *args: model(x, *args) + net(x))

    return with_factory(Net(), b) | {"explanation_factory": both}


def with_references(model: Any, b: Batch) -> dict[str, Any]:
    others = tiny_batch(30).attributions
    return {
        "forward_func": model,
        "inputs": b.inputs,
        "attributions": b.attributions,
        "other_attributions": others,
        "other_classes": torch.arange(30) % CLASSES,
        "discretize": sign_of_the_first,
    }


def sign_of_the_first(rows: Tensor) -> Tensor:
    return rows[:, :1].sign()


def with_first_layer(model: Any, b: Batch) -> dict[str, Any]:
    """A module is also called by itself, with the further arguments, which one that is no function of them takes and leaves."""
    return {"shift": 0.5} | with_factory(model, b) | ({} if isinstance(model, nn.Module) else {"forward_func": Alone()})


def with_truth(model: Any, b: Batch) -> dict[str, Any]:
    return {"inputs": b.inputs, "attributions": b.attributions, "truth_mask": b.truth_mask}


def with_reference(model: Any, b: Batch) -> dict[str, Any]:
    return {
        "inputs": b.inputs,
        "attributions": b.attributions,
        "reference_attributions": b.reference_attributions,
    }


def with_reference_and_mask(model: Any, b: Batch) -> dict[str, Any]:
    return with_reference(model, b) | {"feature_mask": b.feature_mask, "sign": "all", "aggregate": "mean"}


CASES = {
    "feature_agreement": Case(exported.feature_agreement, lambda m, b: with_reference(m, b) | {"k": 9}),
    "feature_agreement upon groups at several k": Case(
        exported.feature_agreement,
        lambda m, b: with_reference_and_mask(m, b) | {"k": [2, 0.5]},
        points=(2,),
        on_meta=False,
    ),
    "pairwise_rank_agreement": Case(exported.pairwise_rank_agreement, with_reference),
    "pairwise_rank_agreement upon groups": Case(
        exported.pairwise_rank_agreement, with_reference_and_mask, on_meta=False
    ),
    "rank_agreement": Case(exported.rank_agreement, lambda m, b: with_reference(m, b) | {"k": 18}),
    "rank_correlation": Case(exported.rank_correlation, with_reference),
    "rank_correlation of groups": Case(exported.rank_correlation, with_reference_and_mask, on_meta=False),
    "sign_agreement": Case(exported.sign_agreement, lambda m, b: with_reference(m, b) | {"k": 0.5}),
    "signed_rank_agreement": Case(exported.signed_rank_agreement, lambda m, b: with_reference(m, b) | {"k": 18}),
    "attribution_localisation": Case(
        exported.attribution_localisation, lambda m, b: with_truth(m, b) | {"weighted": True}
    ),
    "auc_roc": Case(exported.auc_roc, with_truth),
    "average_precision": Case(exported.average_precision, with_truth),
    "energy_pointing_game": Case(exported.energy_pointing_game, with_truth),
    "focus": Case(exported.focus, with_truth),
    "pointing_game": Case(exported.pointing_game, lambda m, b: with_truth(m, b) | {"tolerance": 1}),
    "relevance_mass_accuracy": Case(exported.relevance_mass_accuracy, with_truth),
    "relevance_rank_accuracy": Case(exported.relevance_rank_accuracy, with_truth),
    "top_k_intersection": Case(exported.top_k_intersection, lambda m, b: with_truth(m, b) | {"k": 2}),
    "top_k_intersection at several k": Case(
        exported.top_k_intersection, lambda m, b: with_truth(m, b) | {"k": [1, 0.5]}, points=(2,)
    ),
    "consistency": Case(exported.consistency, with_references, on_meta=False),  # equal explanations are looked for
    "continuity": Case(exported.continuity, with_explanation),
    "local_lipschitz": Case(exported.local_lipschitz, with_explanation),
    "local_lipschitz by blocks": Case(
        exported.local_lipschitz, lambda m, b: with_explanation(m, b) | {"search": "block"}
    ),
    "average_drop": Case(exported.average_drop, through_maps),
    "average_gain": Case(exported.average_gain, through_maps),
    "increase_in_confidence": Case(exported.increase_in_confidence, through_maps),
    "faithfulness_estimate": Case(exported.faithfulness_estimate, on_features),
    "faithfulness_estimate of groups": Case(
        exported.faithfulness_estimate, lambda m, b: on_features(m, b) | {"feature_mask": b.feature_mask}, on_meta=False
    ),
    "oracle_normalized": Case(exported.oracle_normalized, normalized, on_meta=False),
    "oracle_normalized deletion": Case(
        exported.oracle_normalized,
        lambda m, b: normalized(m, b) | {"score": partial(exported.deletion, n_steps=4), "frozen": 2},
        on_meta=False,
    ),
    "road": Case(exported.road, lambda m, b: imputed(on_features(m, b)), on_meta=False),
    "road of the least relevant groups": Case(
        exported.road, lambda m, b: imputed(with_steps_and_mask(m, b)), on_meta=False
    ),
    "road_accuracy": Case(exported.road_accuracy, lambda m, b: imputed(on_features(m, b)), on_meta=False),
    "aopc": Case(exported.aopc, with_steps),
    "aopc of a part of the curve": Case(
        exported.aopc, lambda m, b: with_steps_and_mask(m, b) | {"start": 0.25}, on_meta=False
    ),
    "comprehensiveness": Case(exported.comprehensiveness, on_features),
    "comprehensiveness of groups": Case(
        exported.comprehensiveness,
        lambda m, b: on_features(m, b) | with_frozen(m, b) | {"shares": [1, 0.6]},
        on_meta=False,
    ),
    "irof": Case(exported.irof, on_features),
    "irof of groups": Case(
        exported.irof, lambda m, b: on_features(m, b) | {"feature_mask": b.feature_mask}, on_meta=False
    ),
    "log_odds": Case(exported.log_odds, lambda m, b: on_features(m, b) | {"activation": torch.sigmoid}),
    "minimal_subset": Case(exported.minimal_subset, for_predictions),
    "minimal_subset that keeps the prediction": Case(
        exported.minimal_subset,
        lambda m, b: for_predictions(m, b) | {"mode": "insertion", "feature_mask": b.feature_mask},
        on_meta=False,
    ),
    "monotonicity": Case(exported.monotonicity, on_features),
    "srg": Case(exported.srg, with_steps),
    "srg of groups": Case(
        exported.srg, lambda m, b: with_steps(m, b) | {"feature_mask": b.feature_mask}, on_meta=False
    ),
    "sufficiency": Case(exported.sufficiency, on_features),
    "deletion": Case(exported.deletion, with_steps),
    "deletion of the least relevant groups": Case(exported.deletion, with_steps_and_mask, on_meta=False),
    "deletion around frozen groups": Case(
        exported.deletion, lambda m, b: with_steps(m, b) | with_frozen(m, b), on_meta=False
    ),
    "deletion_curve": Case(exported.deletion_curve, with_steps, points=(6,)),
    "deletion_curve of the least relevant groups": Case(
        exported.deletion_curve, with_steps_and_mask, points=(6,), on_meta=False
    ),
    "insertion": Case(exported.insertion, with_steps),
    "insertion of the least relevant groups": Case(exported.insertion, with_steps_and_mask, on_meta=False),
    "insertion_curve": Case(exported.insertion_curve, with_steps, points=(6,)),
    "faithfulness_correlation": Case(exported.faithfulness_correlation, with_draws),
    "completeness": Case(exported.completeness, on_features),
    "completeness, signed and of groups": Case(
        exported.completeness,
        lambda m, b: on_features(m, b) | {"gap": "signed", "feature_mask": b.feature_mask, "aggregate": "mean"},
        on_meta=False,
    ),
    "effective_complexity": Case(exported.effective_complexity, with_steps),
    "effective_complexity of groups": Case(
        exported.effective_complexity,
        lambda m, b: with_steps(m, b) | {"feature_mask": b.feature_mask, "tolerance": 0.3},
        on_meta=False,
    ),
    "entropy": Case(exported.entropy, without_a_model),
    "entropy of groups": Case(
        exported.entropy, lambda m, b: without_a_model(m, b) | {"feature_mask": b.feature_mask}, on_meta=False
    ),
    "input_invariance": Case(exported.input_invariance, with_first_layer, on_meta=False),  # outputs are compared
    "infidelity": Case(exported.infidelity, with_perturbations, random=lambda m, b: {"perturb_func": a_random_step}),
    "infidelity of noise that is told its seed": Case(exported.infidelity, with_told_seeds),
    "infidelity of all squares": Case(
        exported.infidelity,
        lambda m, b: (
            with_told_seeds(m, b) | {"perturb_func": partial(square_removal, size=2), "baselines": b.baselines}
        ),
        random=lambda m, b: {"n_perturb_samples": 2},
    ),
    "infidelity of segments": Case(exported.infidelity, with_segments, on_meta=False),
    "infidelity, normalised": Case(
        exported.infidelity,
        lambda m, b: with_perturbations(m, b) | {"normalize": True},
        random=lambda m, b: {"perturb_func": a_random_step},
    ),
    "monotonicity_correlation": Case(exported.monotonicity_correlation, with_drawn_baselines),
    "monotonicity_correlation of groups": Case(
        exported.monotonicity_correlation, lambda m, b: with_drawn_baselines(m, b) | with_frozen(m, b), on_meta=False
    ),
    "mu_fidelity": Case(exported.mu_fidelity, with_cells, on_meta=False),
    "non_sensitivity": Case(exported.non_sensitivity, with_zeros),
    "removal_curves": Case(exported.removal_curves, with_steps, points=(2, 6)),
    "efficient_mprt": Case(exported.efficient_mprt, with_factory, on_meta=False),
    "parameter_randomization": Case(exported.parameter_randomization, with_factory, on_meta=False),  # weights are drawn
    "parameter_randomization of all layers at once": Case(
        exported.parameter_randomization,
        lambda m, b: with_factory(m, b) | {"order": "full", "similarity": "pearson", "absolute": True},
        on_meta=False,
    ),
    "parameter_randomization_curve": Case(
        exported.parameter_randomization_curve, with_factory, points=(2,), on_meta=False
    ),
    "relative_input_stability": Case(exported.relative_input_stability, with_model_and_explanation),
    "relative_output_stability": Case(exported.relative_output_stability, with_model_and_explanation),
    "relative_representation_stability": Case(exported.relative_representation_stability, with_layer),
    "sensitivity_avg": Case(exported.sensitivity_avg, with_explanation),
    "sensitivity_max": Case(exported.sensitivity_max, with_explanation),
    "sensitivity_max at vertices": Case(
        exported.sensitivity_max, lambda m, b: with_explanation(m, b) | {"search": "vertices"}
    ),
    "sensitivity_max by blocks": Case(
        exported.sensitivity_max, lambda m, b: with_explanation(m, b) | {"search": "block"}
    ),
    "random_logit": Case(exported.random_logit, with_two_classes),
    "smooth_mprt": Case(exported.smooth_mprt, with_noise, on_meta=False),
    "smooth_mprt_curve": Case(exported.smooth_mprt_curve, with_noise, points=(2,), on_meta=False),
    "sensitivity_n": Case(exported.sensitivity_n, with_draws),
    "sensitivity_n of several sizes of groups": Case(exported.sensitivity_n, with_sizes, points=(3,), on_meta=False),
    "sensitivity_n around frozen groups": Case(
        exported.sensitivity_n, lambda m, b: with_draws(m, b) | with_frozen(m, b) | {"n": 2}, on_meta=False
    ),
    "sparseness": Case(exported.sparseness, without_a_model),
    "sparseness of groups": Case(
        exported.sparseness,
        lambda m, b: without_a_model(m, b) | {"feature_mask": b.feature_mask, "aggregate": "mean"},
        on_meta=False,
    ),
}

SHARE_ALL_ROWS = {  # a mapping of methods costs the model rows of one
    exported.completeness,
    exported.consistency,
    exported.faithfulness_correlation,
    exported.faithfulness_estimate,
    exported.infidelity,
    exported.monotonicity_correlation,
    exported.mu_fidelity,
    exported.non_sensitivity,
    exported.sensitivity_n,
}
CAPTUMS_ARGUMENTS = {
    *("forward_func", "perturb_func", "explanation_func", "inputs", "attributions", "baselines", "feature_mask"),
    *("additional_forward_args", "target", "n_perturb_samples", "max_examples_per_batch", "normalize"),
    *("perturb_radius", "norm_ord", "show_progress", "kwargs"),
}
OUR_ARGUMENTS = {
    *("n", "mode", "start", "stop", "n_steps", "activation", "aggregate", "correlation", "seed", "frozen"),
    *("explanation_factory", "order", "similarity", "absolute", "weights_seed", "n_bins", "n_classes", "noise_level"),
    *("tolerance", "search", "layer", "same_class", "eps_min", "gap"),
    *("tolerance", "search", "layer", "same_class", "eps_min"),
    *("reference_attributions", "truth_mask", "sign", "tolerance", "k", "weighted", "concept_influence"),
    *("tolerance", "search", "layer", "same_class", "eps_min", "gap", "shift"),
    *("other_attributions", "other_classes", "n_top", "discretize"),
    *("shares", "score"),
}

PUBLISHED = r"(arXiv:\d{4}\.\d{4,5}|openreview:\w+|doi:10\.\d{4,}/[\w.()/-]*\w)"

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
cases_of = {
    "models": {name: case for name, case in CASES.items() if case.calls_a_model},
    "targets": {name: case for name, case in CASES.items() if case.takes("target") or case.takes("kwargs")},
    "forwards": {
        name: case for name, case in CASES.items() if case.takes("attributions") and case.takes("forward_func")
    },
    "mappings": {name: case for name, case in CASES.items() if case.takes("attributions")},
    "seeds": {name: case for name, case in CASES.items() if case.takes("seed") and not case.random},
    "draws": {name: case for name, case in CASES.items() if case.takes("seed") or case.random},
    "meta": {name: case for name, case in CASES.items() if case.on_meta},
}


def cases_with(what: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases_of[what].values(), ids=cases_of[what].keys())


class Recorded:
    """A model that notes the rows of its calls."""

    def __init__(self, model: Callable[..., Tensor]):
        self.model, self.calls = model, []

    def __call__(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        return self.model(x)


@pytest.fixture
def model() -> Net:
    return Net().eval()


@pytest.fixture
def batch() -> Batch:
    return tiny_batch()


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, rtol=1e-10, atol=1e-12)


# ---- the table is whole


@every_metric
def test_a_metric_has_a_case(metric):
    assert metric in [case.metric for case in CASES.values()], "add an entry to CASES in tests/test_every_metric.py"


def test_exports_are_named_once_and_there():
    assert len(set(exported.__all__)) == len(exported.__all__)
    assert METRICS.keys() <= set(exported.__all__) <= set(dir(exported))
    assert len(METRICS) >= 7


def test_an_exported_name_without_a_card_is_no_metric():
    """A metric whose card was forgotten would slip through this file."""
    for name in set(exported.__all__) - METRICS.keys():
        assert "attributions" not in inspect.signature(getattr(exported, name)).parameters
        assert "explanation_func" not in inspect.signature(getattr(exported, name)).parameters


# ---- scores


@every_case
@pytest.mark.parametrize("rows", [1, 2, B])
def test_there_is_a_row_of_finite_scores_per_example(case, model, rows):
    scores = case(model, tiny_batch(rows))
    assert scores.shape == (rows, *case.points)
    assert scores.isfinite().all()


@every_case
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_type_of_the_numbers_is_kept(case, model, batch, dtype):
    scores = case(model.to(dtype), batch.to(dtype))
    assert scores.dtype == torch.promote_types(dtype, torch.float32)
    assert scores.shape == (B, *case.points)
    assert scores.isfinite().all()


@every_case
@pytest.mark.parametrize("name", ["inputs", "attributions", "baselines"])
def test_scores_are_without_gradient(case, model, batch, name):
    getattr(batch, name).requires_grad_()
    assert not case(model, batch).requires_grad


@every_case
def test_a_tensor_and_a_tuple_of_it_score_the_same(case, model, batch):
    of_tensors = case.of(model, batch)
    as_tuples = {
        name: (of_tensors[name],)
        for name in ("inputs", "attributions", "baselines", "feature_mask", "truth_mask", "reference_attributions")
        if isinstance(of_tensors.get(name), Tensor)
    }
    assert "inputs" in as_tuples
    assert torch.equal(case.metric(**of_tensors | as_tuples), case.metric(**of_tensors))


@every_case
def test_examples_permuted_permute_the_scores(case, model, batch):
    order = torch.tensor([3, 0, 4, 2, 1])
    assert_same(case(model, batch[order]), case(model, batch)[order])


@every_case
@pytest.mark.parametrize("first", [1, 2, B - 1])
def test_a_batch_scores_as_its_two_parts(case, model, batch, first):
    parts = [case(model, batch[:first]), case(model, batch[first:])]
    assert_same(torch.cat(parts), case(model, batch))


@every_case
def test_examples_score_as_if_alone_beside_an_extreme_neighbour(case, model, batch):
    extreme = replace(batch, inputs=batch.inputs.clone(), attributions=batch.attributions.clone())
    extreme.inputs[0] *= 1e3
    extreme.attributions[0] *= 1e6
    assert_same(case(model, extreme)[1:], case(model, batch)[1:])


# ---- what goes with the rows


FORMS_OF_TARGET = {
    "negative": 1 - CLASSES,
    "0-d tensor": torch.tensor(1),
    "1-element tensor": torch.tensor([1]),
    "tensor": torch.full((B,), 1),
    "list": [1] * B,
    "tuple": (1,),
    "numpy integer": np.int64(1),
    "array": np.full(B, 1),
}


@cases_with("targets")
@pytest.mark.parametrize("form", FORMS_OF_TARGET.values(), ids=FORMS_OF_TARGET.keys())
@pytest.mark.parametrize("limit", [None, 2])
def test_every_form_of_a_target_means_the_same(case, model, batch, form, limit):
    assert_same(case(model, batch, target=form, max_examples_per_batch=limit), case(model, batch, target=1))


@cases_with("models")
@pytest.mark.parametrize("limit", [None, 1, 2])
def test_a_further_argument_with_a_row_per_example_goes_with_its_example_and_another_with_all(
    case, model, batch, limit
):
    def scaled(x: Tensor, scale: Tensor, shared: Tensor, power: int) -> Tensor:
        assert len(scale) == len(x)
        assert shared.shape == (B + 2,)
        return model(x * scale.reshape(-1, 1, 1, 1) + shared.sum()) ** power

    scale, shared = torch.linspace(0.5, 1.5, B, dtype=torch.float64), torch.full((B + 2,), 0.01, dtype=torch.float64)
    together = case(scaled, batch, additional_forward_args=(scale, shared, 2), max_examples_per_batch=limit)
    alone = [case(scaled, batch[[b]], additional_forward_args=(scale[[b]], shared, 2)) for b in range(B)]
    assert_same(together, torch.cat(alone))


# ---- the limit


@cases_with("models")
@pytest.mark.parametrize("limit", LIMITS)
def test_the_limit_is_never_exceeded_and_without_effect_on_the_score(case, model, batch, limit):
    limited, free = Recorded(model), Recorded(model)
    scores = case(limited, batch, max_examples_per_batch=limit)
    assert 1 <= max(limited.calls) <= limit
    assert_same(scores, case(free, batch))
    assert sum(limited.calls) == sum(free.calls)


@cases_with("models")
def test_without_a_limit_a_call_has_at_most_64_rows_or_the_batch(case, model):
    for rows in (3, 70):
        recorded = Recorded(model)
        case(recorded, tiny_batch(rows))
        assert max(recorded.calls) <= max(rows, 64)


# ---- randomness


@cases_with("seeds")
def test_the_same_seed_repeats_exactly_and_another_does_not(case, model, batch):
    first = case(model, batch, seed=1)
    assert torch.equal(case(model, batch, seed=1), first)
    assert not torch.equal(case(model, batch, seed=2), first)


@cases_with("seeds")
def test_a_seed_leaves_the_global_generator_alone(case, model, batch):
    before = torch.get_rng_state()
    case(model, batch, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@cases_with("seeds")
def test_one_seed_gives_the_examples_different_draws(case, model, batch):
    twins = batch[torch.zeros(4, dtype=torch.long)]
    assert len(case(model, twins, seed=1).reshape(4, -1)[:, -1].unique()) > 1
    own = case(model, twins, seed=[5, 5, 6, 6])
    assert_same(own[0::2], own[1::2])


@cases_with("seeds")
def test_seeds_may_be_a_list_or_a_tensor(case, model, batch):
    assert torch.equal(case(model, batch, seed=batch.seed.tolist()), case(model, batch, seed=batch.seed))


@cases_with("draws")
def test_without_a_seed_the_global_one_governs(case, model, batch):
    unseeded = (case.random(model, batch) if case.random else {}) | ({"seed": None} if case.takes("seed") else {})

    def under(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return case(model, batch, **unseeded)

    first = under(0)
    assert not torch.equal(case(model, batch, **unseeded), first)  # the stream goes on
    assert torch.equal(under(0), first)
    assert not torch.equal(under(1), first)


@every_case
def test_a_call_that_draws_nothing_leaves_the_global_generator_alone(case, model, batch):
    before = torch.get_rng_state()
    case(model, batch)
    assert torch.equal(torch.get_rng_state(), before)


# ---- what is left behind


@every_case
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(case, model, batch, training):
    model.train(training)
    model.out.train(not training)
    model.hidden.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    case(model, batch)
    assert (model.training, model.hidden.training, model.out.training) == (training, training, not training)
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@every_case
@pytest.mark.parametrize("needs_gradient", [True, False])
def test_the_callers_tensors_are_left_as_they_were(case, model, batch, needs_gradient):
    floats = (batch.inputs, batch.attributions, batch.baselines)
    for tensor in floats:
        tensor.requires_grad_(needs_gradient)
    before = {name: value.detach().clone() for name, value in vars(batch).items()}
    versions = {name: value._version for name, value in vars(batch).items()}
    case(model, batch)
    for name, value in vars(batch).items():
        assert torch.equal(value, before[name])
        assert value._version == versions[name]
        assert value.grad is None
    assert all(tensor.requires_grad == needs_gradient for tensor in floats)


class Alone(Net):
    def forward(self, x: Tensor, *further: Any) -> Tensor:
        return super().forward(x)


class WorksInPlace(Net):
    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        with torch.no_grad():
            x.zero_()
        return out


@cases_with("models")
@pytest.mark.parametrize("limit", [2, None])
def test_a_model_that_overwrites_its_input_reaches_no_tensor_of_the_caller(case, model, batch, limit):
    overwriting = {"forward_func": WorksInPlace()} if case.takes("forward_func") else {}
    expected = case(model, batch)
    if case.takes("explanation_factory"):
        overwriting = {"explanation_factory": overwriting_gradient}
        expected = case(model, batch, explanation_factory=lambda net: overwriting_gradient(net, overwrite=False))
    if case.takes("explanation_func"):
        overwriting["explanation_func"] = overwriting_gradient(model)
        expected = case(model, batch, explanation_func=overwriting_gradient(model, overwrite=False))
    before = batch.inputs.clone()
    assert_same(case(model, batch, max_examples_per_batch=limit, **overwriting), expected)
    assert torch.equal(batch.inputs, before)


def overwriting_gradient(model: Net, overwrite: bool = True) -> Callable[..., Tensor]:
    def explain(x: Tensor, target: Tensor) -> Tensor:
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf).gather(1, target[:, None]).sum(), leaf)
        if overwrite:
            x.zero_()
        return gradient

    return explain


# ---- several methods at once


@cases_with("mappings")
def test_a_mapping_of_methods_gives_the_scores_of_single_calls(case, model, batch):
    phi = batch.attributions
    methods = {"given": phi, "opposite": -phi, "other": phi.flip(1).cos(), "twin": phi}
    together = case(model, batch, attributions=methods)
    assert list(together) == list(methods)
    assert type(together) is dict
    for name, attributions in methods.items():
        assert_same(together[name], case(model, batch, attributions=attributions))
    assert torch.equal(together["given"], together["twin"])


@cases_with("forwards")
def test_a_mapping_costs_fewer_model_rows_than_single_calls(case, model, batch):
    phi = batch.attributions
    methods = {"a": phi, "b": -phi, "c": phi.cos()}

    def rows(attributions: Any) -> int:
        recorded = Recorded(model)
        case(recorded, batch, attributions=attributions)
        return sum(recorded.calls)

    single = [rows(attributions) for attributions in methods.values()]
    if case.metric in SHARE_ALL_ROWS:
        assert rows(methods) == single[0] == single[1] == single[2]
    else:
        assert single[0] <= rows(methods) < sum(single)


# ---- devices


class HostCopies(TorchDispatchMode):
    """Notes every operation that makes a host tensor from one that is not on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        devices = {t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        if "meta" in devices and any(t.device.type == "cpu" for t in tree_leaves(out) if isinstance(t, Tensor)):
            self.found.append(str(func))
        return out


@cases_with("meta")
@pytest.mark.parametrize("limit", [None, 3])
def test_the_score_is_computed_on_the_device_of_the_inputs_without_a_copy_to_the_host(case, model, batch, limit):
    """A tensor on `meta` has no values: whatever asked for one, by `.item()`, `bool()` or a copy, would raise."""
    limited = {"max_examples_per_batch": limit} if case.calls_a_model else {}
    with HostCopies() as copies:
        scores = case(model.to("meta"), batch.to("meta"), **limited)
    assert scores.device.type == "meta"
    assert scores.shape == (B, *case.points)
    assert scores.dtype == torch.float64
    assert copies.found == []


def test_the_search_for_host_copies_finds_one():
    with HostCopies() as copies, pytest.raises((NotImplementedError, RuntimeError)):
        torch.zeros(2, device="meta").cpu()
    with HostCopies() as copies:
        torch.empty_like(torch.zeros(2, device="meta"), device="cpu")
    assert len(copies.found) == 1


@cases_with("mappings")
def test_scores_of_a_mapping_keep_the_type_of_the_numbers(case, model, batch):
    phi = batch.attributions.float()
    together = case(model.float(), batch.to(torch.float32), attributions={"a": phi, "b": -phi})
    assert [scores.dtype for scores in together.values()] == [torch.float32] * 2


# ---- the interface


@every_metric
def test_a_metric_pickles_by_its_name(metric):
    assert pickle.loads(pickle.dumps(metric)) is metric
    assert getattr(exported, metric.__name__) is metric


@every_metric
def test_arguments_have_known_names(metric):
    assert set(inspect.signature(metric).parameters) <= CAPTUMS_ARGUMENTS | OUR_ARGUMENTS


@every_metric
def test_a_metric_whose_features_are_groups_takes_frozen_ones(metric):
    parameters = inspect.signature(metric).parameters
    assert ("frozen" in parameters) == ("feature_mask" in parameters and metric is not exported.infidelity)


@every_metric
def test_examples_come_first_and_the_limit_may_be_left_out(metric):
    parameters = inspect.signature(metric).parameters
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    assert list(parameters)[: len(required)] == required
    assert "inputs" in required
    if {"forward_func", "explanation_func"} & parameters.keys():
        assert parameters["max_examples_per_batch"].default is None


@every_metric
def test_our_options_go_by_keyword_where_captum_has_the_metric_too(metric):
    import captum.metrics

    theirs = getattr(captum.metrics, metric.__name__, None)
    if theirs is None:
        assert metric.__name__ not in ("infidelity", "sensitivity_max")
        return
    captums = inspect.signature(theirs).parameters
    ours = inspect.signature(metric).parameters
    positional = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [p.name for p in captums.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    for name in positional:
        if name != "perturb_func":
            assert ours[name].default == captums[name].default
    assert all(ours[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ours.keys() - captums.keys())


@every_metric
def test_the_card_says_what_a_table_needs(metric):
    card = metric.card
    assert card.name == metric.__name__
    assert card.higher_is_better in (True, False, None)
    low, high = card.range
    assert low < high
    assert re.fullmatch(rf"[A-Z].* \d{{4}}, {PUBLISHED}.*", card.reference)
    defaults = {p.name: p.default for p in inspect.signature(metric).parameters.values() if p.default is not p.empty}
    assert card.direction(defaults) is card.higher_is_better
    if card.flipped_by is not None:
        argument, value = card.flipped_by
        assert argument in defaults
        assert defaults[argument] != value
        assert card.direction(defaults | {argument: value}) is (not card.higher_is_better)
    if card.undirected_by is not None:
        argument, value = card.undirected_by
        assert argument in defaults
        assert card.direction(defaults | {argument: value}) is None


@every_case
def test_the_card_says_where_the_values_of_a_curve_are(case, model, batch):
    arguments = {p.name: p.default for p in inspect.signature(case.metric).parameters.values()}
    axis = case.metric.card.axis
    places = axis and axis[1](arguments | case.of(model, batch))
    assert (None if places is None else (len(places),)) == (case.points[-1:] or None)
    assert places is None or len(set(places)) == len(places)


@every_case
def test_scores_lie_in_the_range_of_the_card(case, model, batch):
    low, high = case.metric.card.range
    scores = case(model, batch)
    assert ((scores >= low) & (scores <= high)).all()


@every_metric
def test_a_curve_has_no_better_side_and_a_score_has_one(metric):
    is_curve = all(case.points for case in CASES.values() if case.metric is metric)
    assert (metric.card.higher_is_better is None) == is_curve


# ---- the docstring


def section(metric: Callable[..., Any], title: str) -> str:
    """The indented block under `title:`."""
    text = inspect.getdoc(metric)
    found = re.search(rf"^{title}:\n((?:[ ]+.*\n?|\n)+)", text, re.MULTILINE)
    return found.group(1) if found else ""


def in_one_line(text: str) -> str:
    """Prose wraps anywhere."""
    return " ".join(text.split())


def arguments_described_by(metric: Callable[..., Any]) -> Callable[..., Any]:
    """The metric itself, or the one that it says to share its arguments with."""
    elsewhere = re.search(r"\b(?:are as in|costs the same as) `(\w+)`", in_one_line(inspect.getdoc(metric)))
    return METRICS[elsewhere.group(1)] if elsewhere else metric


@every_metric
def test_the_docstring_has_a_formula_its_sections_and_a_reference(metric):
    text = inspect.getdoc(metric)
    assert re.search(r"\.\. math:: \S", text)
    assert section(arguments_described_by(metric), "Args").strip()
    assert section(metric, "Returns").strip()
    raised = section(metric, "Raises")
    assert "ValueError" in raised
    assert "TypeError" in raised
    references = (in_one_line(p) for p in text.split("\n\n") if p.startswith("Reference: "))
    assert any(re.match(rf"Reference: .* \d{{4}}, \".*\", {PUBLISHED}", r) for r in references)
    assert metric.card.reference.split(",")[0] in text  # the same paper as on the card
    assert re.search(PUBLISHED, metric.card.reference).group() in text


@every_metric
def test_the_docstring_says_the_shape_and_which_way_is_better(metric):
    returned = in_one_line(section(metric, "Returns"))
    assert re.search(r"`\[B(, \w+)*\]`", returned)
    words = {
        True: r"\bHigher is better\b",
        False: r"\bLower is better\b",
        None: r"\b(falls|rises) early for a good explanation\b",
    }
    assert re.search(words[metric.card.higher_is_better], returned)
    for other in {True, False} - {metric.card.higher_is_better}:
        assert not re.search(words[other], returned)


@every_metric
def test_the_docstring_names_each_argument_of_ours(metric):
    text = inspect.getdoc(metric) + inspect.getdoc(arguments_described_by(metric))
    for name in OUR_ARGUMENTS & set(inspect.signature(metric).parameters):
        assert re.search(rf"`{name}\b|^\s+{name}: ", text, re.MULTILINE), name


@every_metric
def test_the_docstrings_arguments_exist(metric):
    described = re.findall(r"^    (\w+): ", section(metric, "Args"), re.MULTILINE)
    assert set(described) <= set(inspect.signature(metric).parameters)


@every_metric
def test_the_docstrings_example_runs(metric):
    module = sys.modules[metric.__module__]
    (test,) = doctest.DocTestFinder(recurse=False).find(metric, metric.__name__, globs={"torch": torch, **vars(module)})
    assert test.examples
    assert any(metric.__name__ + "(" in example.source for example in test.examples)
    report: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(test, out=report.append).failed == 0, "".join(report)
