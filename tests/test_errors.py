"""Every error names the argument and what came, and bad input is refused before the model is called."""

from __future__ import annotations

import ast
import copy
import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import GradientShap, Occlusion, Saliency
from torch import nn
from torch.testing import assert_close

import captum_ext
import captum_ext.metrics as exported
from captum_ext import baselines, feature_masks, outputs, perturbations, truth_masks
from captum_ext._core import interpretable
from captum_ext._core.card import metric as with_card
from captum_ext.metrics import (
    average_drop,
    average_gain,
    characterization_score,
    coherency,
    default_perturb_func,
    deletion,
    deletion_curve,
    faithfulness_correlation,
    impact_coverage,
    increase_in_confidence,
    infidelity,
    infidelity_perturb_func_decorator,
    input_invariance,
    insertion,
    insertion_curve,
    minimal_subset,
    mst_compactness,
    mu_fidelity,
    negative_fidelity,
    optimal_explanation,
    oracle_normalized,
    pointing_game,
    positive_fidelity,
    random_logit,
    relative_representation_stability,
    removal_curves,
    road,
    road_accuracy,
    sensitivity_avg,
    sensitivity_max,
    sensitivity_n,
    sparseness,
    unfaithfulness,
)

from .calls import LEFT_OUT, METRICS, OF_ORDERS, Setting

PACKAGE = Path(captum_ext.__file__).parent
B = 3
x = torch.arange(1.0, 1 + B * 8).reshape(B, 2, 2, 2)  # [B, channels, height, width]
phi = x.cos()
MASK = torch.arange(4).reshape(1, 1, 2, 2)
NAN = phi.clone()
NAN[1, 0, 0, 0] = torch.nan
CANCELLING = phi.clone()
CANCELLING[1, :, 0, 0] = torch.tensor([torch.inf, -torch.inf])  # in one position
TRUTH = torch.tensor([[True, False], [False, True]])


SIZES = cycle((8, 4))


def of_prompt(*values: str) -> SimpleNamespace:
    """An input such as Captum's TextTokenInput."""
    return SimpleNamespace(
        values=list(values),
        n_itp_features=len(values),
        to_model_input=None,
        to_tensor=lambda: torch.ones(1, len(values)),
    )


def grouped(inp: SimpleNamespace, *groups: int) -> SimpleNamespace:
    """The same with a `mask`."""
    return SimpleNamespace(**vars(inp) | {"mask": list(groups), "formatted_mask": list(groups)})


def of_llm(*values: str, of_tokens: bool = True) -> SimpleNamespace:
    """A result such as Captum's LLMAttributionResult, for an answer of one token."""
    seq = torch.ones(len(values))
    return SimpleNamespace(
        seq_attr=seq, token_attr=seq[None] if of_tokens else None, input_tokens=list(values), inp=of_prompt(*values)
    )


LAYER, ACROSS_ROWS = nn.Flatten(), nn.Flatten(0)
REAL = "real numbers, got torch.complex64. Give real and imaginary parts as separate numbers"


def imaginary(rows: torch.Tensor) -> torch.Tensor:
    return rows.to(torch.complex64) * 1j


BOXES, LABELS = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).repeat(B, 1), torch.arange(B)


def unseen(*tensors: torch.Tensor) -> Any:
    raise AssertionError("the model is called though what is wrong could be told before")


def found(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a detector finds in an image."""
    return {"boxes": BOXES, "labels": LABELS, "scores": torch.ones(B)} | changes


def similarity(**of_each: torch.Tensor) -> torch.Tensor:
    return outputs.DetectionSimilarity(lambda rows: [of_each for _ in rows])(x, BOXES, LABELS)


class Own:
    """A class where a function is wanted."""


class Fourier(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return imaginary(rows)


FOURIER = Fourier()


class Model:
    """`[rows, 4]`, and how many calls there were."""

    def __init__(self, output: Callable[[torch.Tensor], Any] | None = None):
        self.output, self.calls = output or (lambda rows: LAYER(rows)[:, :4]), 0

    def __call__(self, *tensors: torch.Tensor) -> Any:
        self.calls += 1
        return self.output(tensors[0])


def half(rows: Any) -> Any:
    return rows / 2, rows / 2


def shrunk(rows: Any) -> Any:
    return rows / 2


def gradient(model: Model) -> Callable[..., torch.Tensor]:
    """An explanation that calls the model."""
    return lambda rows, target=0, **kwargs: torch.ones_like(rows) * model(rows)[:, 0].reshape(-1, 1, 1, 1)


def varying(model: Model) -> Callable[..., torch.Tensor]:
    """One that is no constant map."""
    return lambda rows, **kwargs: rows.cos() * gradient(model)(rows, **kwargs)


@dataclass(frozen=True)
class Filling:
    """A fill for `baselines`."""

    fill: Callable[..., Any]


def smaller(output: Any) -> Any:
    """Probabilities of float32 that are not 1."""
    return (output / 100).sigmoid() if isinstance(output, torch.Tensor) else output


def shares(output: Any) -> Any:
    """Distributions over the classes."""
    return output.float().softmax(1) if isinstance(output, torch.Tensor) and output.dim() == 2 else output


MODULE = nn.Sequential(nn.Flatten(), nn.Linear(8, 4))  # for metrics that need parameters
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TorchScript is deprecated
    UNCHANGEABLE = {
        "scripted": torch.jit.script(MODULE),
        "traced": torch.jit.trace(MODULE, torch.zeros(3, 2, 2, 2)),
        "frozen": torch.jit.freeze(torch.jit.script(copy.deepcopy(MODULE).eval())),
        "exported": torch.export.export(MODULE, (torch.zeros(3, 2, 2, 2),)).module(),
    }


def good(model: Any) -> dict[str, Any]:
    """Values in place of those of the table: for a model that is a function and counts its calls."""
    return {
        "explanation_func": varying(model),
        "explanation_factory": lambda module: varying(model),
        "attributions": phi,
        "reference_attributions": phi,
        "other_attributions": phi,
        "other_classes": [0, 1, 2],
        "truth_mask": TRUTH,
        "perturb_func": half,
        "target": 0,
        "layer": LAYER,
        "activation": smaller,
        "n_perturb_samples": 3,
        "n_classes": 4,
        "n": 2,
        "k": 2,
        **dict.fromkeys(("baselines", "discretize", "perturb_radius", "tolerance", "shift", "seed"), LEFT_OUT),
        "feature_mask": None,
    }


def call(metric: Callable[..., Any], model: Any, **changes: Any) -> Any:
    """The metric on good arguments, some of them changed."""
    own = good(model)
    if takes(metric, "explanation_func"):
        own["perturb_func"] = LEFT_OUT
    if metric is input_invariance:
        own["layer"] = LEFT_OUT
    if not takes(metric, "target"):
        own["target"] = LEFT_OUT
    if metric is unfaithfulness:
        own["activation"] = shares
    own["reference_attributions"] = changes.get("attributions", phi)
    return Setting(model, x, torch.arange(B), MODULE, everyone=x, classes=4, own=own).call(metric, **changes)


def takes(metric: Callable[..., Any], name: str) -> bool:
    """By itself, not among the arguments of an explanation."""
    return name in inspect.signature(metric).parameters


@dataclass(frozen=True)
class Bad:
    error: type[Exception]
    match: str
    arguments: dict[str, Any]
    only: tuple[Callable[..., Any], ...] = ()  # else every metric that takes the arguments

    @property
    def metrics(self) -> list[Callable[..., Any]]:
        if self.only:
            return list(self.only)
        own = "forward_func" not in self.arguments or "explanation_factory" in self.arguments
        return [m for m in EVERY if all(takes(m, name) for name in self.arguments) and (own or m in FORWARD)]


def value(match: str, only: tuple[Callable[..., Any], ...] = (), **arguments: Any) -> Bad:
    return Bad(ValueError, match, arguments, only)


def kind(match: str, only: tuple[Callable[..., Any], ...] = (), **arguments: Any) -> Bad:
    return Bad(TypeError, match, arguments, only)


EVERY = tuple({id(m): m for m in METRICS.values()}.values())
RANDOMISED = tuple(m for m in EVERY if takes(m, "explanation_factory") and m is not input_invariance)
CALLING = tuple(m for m in EVERY if takes(m, "forward_func") or takes(m, "explanation_func"))
FORWARD = tuple(m for m in EVERY if takes(m, "forward_func") and not takes(m, "explanation_factory"))
IN_A_BALL = tuple(m for m in EVERY if takes(m, "perturb_radius"))
FLAGS = ("normalize", "show_progress", "absolute", "weighted", "concept_influence", "same_class")
CURVES = (deletion, deletion_curve, insertion, insertion_curve, removal_curves)
CORRELATIONS = (sensitivity_n, faithfulness_correlation, mu_fidelity)
ON_FEATURES = tuple(m for m in FORWARD if takes(m, "feature_mask") and m is not infidelity)  # which hands it on
WITH_TARGET = tuple(m for m in FORWARD if takes(m, "target") and m is not impact_coverage)  # which has labels
LOCALISATION = tuple(m for m in EVERY if takes(m, "truth_mask"))
SUMMING = tuple(m for m in EVERY if takes(m, "feature_mask") and takes(m, "attributions") and m is not infidelity)
RANKING = tuple(m for m in LOCALISATION if inspect.signature(m).parameters["sign"].default == "all")
MASSES = tuple(m for m in LOCALISATION if m not in RANKING)
TOLERATING_A_SHARE = tuple(m for m in CALLING if takes(m, "tolerance"))
SEARCHING = tuple(m for m in EVERY if takes(m, "search") and m not in (sensitivity_avg, *OF_ORDERS))
ORDERED = tuple(m for m in EVERY if takes(m, "mode") and m is not minimal_subset)
FIDELITIES = (positive_fidelity, negative_fidelity, characterization_score)
OF_ANY_OUTPUT = tuple(m for m in WITH_TARGET if m not in (road_accuracy, *FIDELITIES))
HALVES = (x[:, :1], x[:, 1:])  # the inputs as a tuple of two
HALVES_PHI = (phi[:, :1], phi[:, 1:])

# What is wrong before any output is seen.
BAD_ARGUMENTS = [
    # inputs
    kind("`inputs` must be a tensor or a tuple of tensors, got a list of Tensor", inputs=[x]),
    kind("`inputs` must be a tensor or a tuple of tensors, got NoneType", inputs=None),
    kind("`inputs` must be a tensor or a tuple of tensors, got ndarray", inputs=x.numpy()),
    kind("`inputs` must be a tensor or a tuple of tensors, got a tuple of nothing", inputs=()),
    kind("`inputs` must be a tensor or a tuple of tensors, got a tuple of Tensor, int", inputs=(x, 1)),
    value(
        r"`inputs` must have a first axis, the examples; got a tensor without axes. Use unsqueeze\(0\)", inputs=x.sum()
    ),
    value(r"All tensors of `inputs` must have the same number of rows, got \[3, 2\]", inputs=(x, x[:2])),
    value(r"`inputs` must have at least one row, got shapes \[\(0, 2, 2, 2\)\]", inputs=x[:0]),
    value(r"at least one row, got shapes \[\(0, 2, 2, 2\), \(0, 1\)\]", inputs=(x[:0], torch.ones(0, 1))),
    # attributions
    kind("`attributions` must be a tensor or a tuple of tensors, got a list of Tensor", attributions=[phi]),
    kind("`attributions` must be a tensor or a tuple of tensors, got NoneType", attributions=None),
    kind(r"`attributions\['lime'\]` must be a tensor or a tuple of tensors, got str 'x'", attributions={"lime": "x"}),
    value("`attributions` must have at least one method, name -> attributions, got an empty", attributions={}),
    value("`attributions` must have one tensor for each of the 1 tensors of `inputs`, got 2", attributions=(phi, phi)),
    value(
        r"`attributions` must have one tensor for each of the 2 tensors of `inputs`, got 1",
        inputs=HALVES,
        attributions=phi,
    ),
    value(
        r"`attributions` must have the shape of `inputs` \(3, 2, 2, 2\) or size 1 along some axes, such as "
        r"\(3, 1, 2, 2\), got \(3, 2, 2\). For one value per position use .unsqueeze\(1\)",
        attributions=phi[:, 0],
    ),
    value(r"`attributions` must have the shape of `inputs` \(3, 2, 2, 2\).*, got \(2, 2, 2, 2\)", attributions=phi[:2]),
    value(r"`attributions` must have the shape of `inputs` \(3, 2, 2, 2\).*, got \(1, 2, 2, 2\)", attributions=phi[:1]),
    value(
        r"`attributions` must have the shape of `inputs` \(3, 8\), got \(3, 1\)",
        inputs=x.flatten(1),
        attributions=phi.flatten(1)[:, :1],
    ),
    value(r"`attributions\['b'\]` must have the shape of .*got \(3, 8\)", attributions={"a": phi, "b": phi.flatten(1)}),
    value("`attributions` is NaN in example 1. Fix or drop these examples first", attributions=NAN),
    value(r"`attributions\['b'\]` is NaN in example 1", attributions={"a": phi, "b": NAN}),
    value("`attributions` is NaN in example 0, 1, 2", attributions=phi * torch.nan),
    value(
        r"`attributions` must have at least one element per row, .*\(3, 0\)", inputs=x, attributions=torch.ones(3, 0)
    ),
    value(r"`inputs` must have at least one element per row, got shapes \[\(3, 0\)\]", inputs=torch.ones(3, 0)),
    value("`attributions` is on the device 'meta', so it has no values", attributions=phi.to("meta")),
    kind(r"`inputs` must be plain dense tensors, got torch.sparse_coo. Convert it first", inputs=x.to_sparse()),
    kind(r"`inputs` must be of a type that can be computed with, got .*Use .float\(\)", inputs=x.to(torch.float8_e5m2)),
    # complex numbers
    kind(f"`inputs` must be {REAL}", inputs=imaginary(x)),
    kind(f"`inputs` must be {REAL}", inputs=(x, imaginary(x)), attributions=(phi, phi)),
    kind(f"`attributions` must be {REAL}", attributions=imaginary(phi)),
    kind(rf"`attributions\['b'\]` must be {REAL}", attributions={"a": phi, "b": imaginary(phi)}),
    kind(f"`reference_attributions` must be {REAL}", reference_attributions=imaginary(phi)),
    kind(f"`other_attributions` must be {REAL}", other_attributions=imaginary(phi)),
    kind(f"`baselines` must be {REAL}", baselines=imaginary(x), only=WITH_TARGET),
    kind(f"`baselines` must be {REAL}", baselines=imaginary, only=WITH_TARGET),
    kind("`baselines` must be numbers, .*, got complex", baselines=1j, only=WITH_TARGET),
    kind(f"`baselines.fill` must return {REAL}", baselines=Filling(lambda rows, mask: imaginary(rows)), only=CURVES),
    value("`shift` must be finite in the type of `inputs`, torch.float32, got float 1e", shift=1e39),
    value("`shift` must be a finite number, got nan", shift=float("nan")),
    kind(f"`shift` must be {REAL}", shift=imaginary(x[:1])),
    kind(f"`discretize` must return {REAL}", discretize=imaginary),
    # inf and -inf in one feature
    value(
        "`attributions` has inf and -inf in one feature of example 1, so that their sum is undefined. "
        "Make them finite first, as torch.nan_to_num does",
        attributions=CANCELLING,
        feature_mask=MASK,
        only=tuple(m for m in SUMMING if not takes(m, "reference_attributions")),
    ),
    value(
        r"`attributions\['b'\]` has inf and -inf in one feature of example 1",
        attributions={"a": phi, "b": CANCELLING},
        reference_attributions=phi,
        feature_mask=MASK,
    ),
    value(
        "`reference_attributions` has inf and -inf in one feature of example 1",
        reference_attributions=CANCELLING,
        feature_mask=MASK,
    ),
    value("`attributions` has inf and -inf in one feature", attributions=CANCELLING, only=LOCALISATION),
    # baselines
    value(
        "`baselines` must have one entry for each of the 1 tensors of `inputs`, got 2",
        baselines=(0, 1),
        only=WITH_TARGET,
    ),
    value(
        "`baselines` must have one entry for each of the 2 tensors of `inputs`, got 1",
        inputs=HALVES,
        attributions=HALVES_PHI,
        baselines=torch.zeros(1),
    ),
    kind(
        "`baselines` must be numbers, tensors or a function of the inputs, got str 'black'",
        baselines="black",
        only=WITH_TARGET,
    ),
    kind(
        "`baselines` must be numbers, tensors or a function of the inputs, got a list of int",
        baselines=[0],
        only=WITH_TARGET,
    ),
    kind("`baselines` must be numbers, tensors .*, got bool True", baselines=(True,), only=ON_FEATURES),
    kind("`baselines` must be numbers, tensors .*, got bool True", baselines=True, only=ON_FEATURES),
    kind("`baselines` must be numbers, tensors .*, got bool True", baselines=lambda rows: True, only=ON_FEATURES),
    kind(
        "The function `baselines` must return numbers or tensors, got None. Is a `return` missing",
        baselines=lambda rows: None,
        only=ON_FEATURES,
    ),
    kind(
        r"The function `baselines` must take the arguments \(Tensor\), but: .*takes 0 positional arguments",
        baselines=lambda: 0,
        only=ON_FEATURES,
    ),
    kind("`baselines` must be .*, got the class Own. Make an object of it", baselines=Own, only=ON_FEATURES),
    value("`baselines` must be a value that `inputs` of type torch.float32 can", baselines=1e39, only=ON_FEATURES),
    value(
        r"`baselines.fill` must return the rows it was given, \(\d+, 2, 2, 2\), got \(1, 1, 1, 1\)",
        baselines=Filling(lambda rows, mask: rows[:1, :1, :1, :1] if mask.any() else rows),
        only=CURVES,
    ),
    value(
        r"`baselines` must broadcast to `inputs` \(3, 2, 2, 2\) with 1 or 3 rows, got \(2, 2, 2, 2\)",
        baselines=x[:2],
        only=ON_FEATURES,
    ),
    value(r"`baselines` must broadcast .* got \(3, 8\)", baselines=lambda rows: rows.flatten(1), only=ON_FEATURES),
    value(r"`baselines` must broadcast .* got \(2, 2, 2\)", baselines=x[0], only=ON_FEATURES),
    value(
        r"`baselines` must be a value that `inputs` of type torch.int64 can hold, got 0.5. Give such a value",
        inputs=x.long(),
        baselines=0.5,
        only=ON_FEATURES,
    ),
    # feature_mask
    kind("`feature_mask` must be a tensor or a tuple of tensors, got a list of Tensor", feature_mask=[MASK]),
    kind("`feature_mask` must be a tensor or a tuple of tensors, got str 'slic'", feature_mask="slic"),
    value(
        "`feature_mask` must have one tensor for each of the 1 tensors of `inputs`, got 2", feature_mask=(MASK, MASK)
    ),
    value(
        "`feature_mask` must have one tensor for each of the 2 tensors of `inputs`, got 1",
        inputs=HALVES,
        attributions=HALVES_PHI,
        feature_mask=MASK,
    ),
    kind(
        r"`feature_mask` holds group ids and must be of an integer type, got torch.float32. Use mask.long\(\)",
        feature_mask=MASK.float(),
    ),
    kind("`feature_mask` .* integer type, got torch.complex64", feature_mask=MASK.to(torch.complex64)),
    kind("`feature_mask` .* integer type, got torch.float32", feature_mask=lambda inputs: inputs),
    value(r"`feature_mask` must broadcast .* got \(2, 2, 2, 2\)", feature_mask=lambda inputs: inputs[:2].long()),
    value(
        r"`feature_mask` must broadcast to `inputs` \(3, 2, 2, 2\), got \(3, 3, 2, 2\).*give it shape \(1, 1, H, W\)",
        feature_mask=torch.zeros(3, 3, 2, 2).long(),
    ),
    value(r"`feature_mask` must broadcast .* got \(2, 1, 2, 2\)", feature_mask=MASK.expand(2, 1, 2, 2)),
    value(r"`feature_mask` must broadcast .* got \(1, 1, 1, 2, 2\)", feature_mask=MASK[None]),
    value(
        r"`attributions` have one value for all of axis 1, but `feature_mask` separates its elements. "
        r"Give the mask size 1 there too, shape \(1, 1, 2, 2\)",
        attributions=phi[:, :1],
        feature_mask=torch.arange(8).reshape(1, 2, 2, 2),
        only=ON_FEATURES,
    ),
    # frozen
    value("`frozen` holds ids of `feature_mask`, which is missing; got 0. Give the mask too", frozen=0),
    value(r"`frozen` holds ids of `feature_mask`, which is missing; got \[\]", frozen=[]),
    kind("`frozen` must be an id of `feature_mask`, an integer, .*; got float 1.0", feature_mask=MASK, frozen=[0, 1.0]),
    kind("`frozen` must be an id .*; got float 1.0", feature_mask=MASK, frozen=torch.ones(2)),
    kind("`frozen` must be an id .*; got bool True", feature_mask=MASK, frozen=torch.tensor([True])),
    kind("`frozen` must be an id .*; got str '0'", feature_mask=MASK, frozen="0"),
    kind("`frozen` must be an id .*; got set", feature_mask=MASK, frozen={0}),
    value(
        "`frozen` has all ids of example 1, so nothing can be removed from it. Leave an id out or drop the example",
        feature_mask=torch.stack([MASK[0], MASK[0] % 2, MASK[0]]),
        frozen=[0, 1],
    ),
    value("`frozen` has all ids of example 0", feature_mask=MASK, frozen=range(4)),
    # reference_attributions
    kind(
        "`reference_attributions` must be a tensor or a tuple of tensors, got dict", reference_attributions={"a": phi}
    ),
    kind("`reference_attributions` must be .* of tensors, got NoneType", reference_attributions=None),
    value(
        "`reference_attributions` must have one tensor for each of the 1 .*, got 2", reference_attributions=(phi, phi)
    ),
    value(
        r"`reference_attributions` must have the shape of `inputs` \(3, 2, 2, 2\).*, got \(1, 2, 2, 2\)",
        reference_attributions=phi[:1],
    ),
    value("`reference_attributions` is NaN in example 1", reference_attributions=NAN),
    # truth_mask
    kind("`truth_mask` must be a tensor or a tuple of tensors, got a list of Tensor", truth_mask=[TRUTH]),
    kind("`truth_mask` must be a tensor or a tuple of tensors, got NoneType", truth_mask=None),
    kind("`truth_mask` must be of type bool, got torch.int64. Use truth_mask > 0", truth_mask=TRUTH.long()),
    value("`truth_mask` must have one tensor for each of the 1 tensors of `inputs`, got 2", truth_mask=(TRUTH, TRUTH)),
    value(
        "`truth_mask` must have one tensor for each of the 2 tensors of `inputs`, got 1",
        inputs=HALVES,
        attributions=HALVES_PHI,
        truth_mask=TRUTH,
    ),
    value(
        r"`truth_mask` must broadcast to `inputs` \(3, 2, 2, 2\), got \(3, 2, 2\).*give it shape \(B, 1, H, W\)",
        truth_mask=TRUTH.expand(3, 2, 2),
    ),
    value(r"`truth_mask` must broadcast .* got \(2, 1, 2, 2\)", truth_mask=TRUTH.expand(2, 1, 2, 2)),
    value(r"`truth_mask` must broadcast .* got \(1, 1, 1, 2, 2\)", truth_mask=TRUTH[None, None, None]),
    value(
        r"`truth_mask` \(1, 2, 2, 2\) must have size 1 along axis 1, as `attributions` \(3, 1, 2, 2\) have. Give, for "
        r"example, truth_mask.any\(1, keepdim=True\)",
        attributions=phi[:, :1],
        truth_mask=TRUTH.expand(1, 2, 2, 2),
    ),
    kind("`tolerance` must be a number of at least 0, got str '15'", only=(pointing_game,), tolerance="15"),
    kind("`tolerance` must be a number of at least 0, got bool True", only=(pointing_game,), tolerance=True),
    value("`tolerance` must be a number of at least 0, got -1", only=(pointing_game,), tolerance=-1),
    value("`tolerance` must be a number of at least 0, got nan", only=(pointing_game,), tolerance=float("nan")),
    value("`tolerance` must be a number of at least 0, got inf", only=(pointing_game,), tolerance=float("inf")),
    value(
        r"`tolerance` needs axes after the channels, which `inputs` \[\(3, 8\)\] lack. Leave it out",
        inputs=x.flatten(1),
        attributions=phi.flatten(1),
        truth_mask=TRUTH.flatten().repeat(2),
        tolerance=1,
        only=(pointing_game,),
    ),
    value(
        "`tolerance` is a distance along the axes after the channels, but `attributions` have size 1 along one of them",
        attributions=phi[..., :1],
        truth_mask=TRUTH[..., :1],
        tolerance=1,
        only=(pointing_game,),
    ),
    value("`k` must be from 1 to the number of features, 4 in example 0; got 5", k=5, truth_mask=TRUTH),
    value("`k` must be from 1 to the number of features, 4 in example 0; got 0", k=[2, 0], truth_mask=TRUTH),
    value("A float as `k` is a fraction of the features, above 0 and at most 1; got 1.5", k=1.5),
    value("`k` must have at least one size, got none", k=[]),
    kind("`k` must be an integer or a fraction of the features, got str 'all'", k=["all"]),
    kind(
        r"`inputs` must be of a floating point type, as maps scale them, got \['torch.int64'\]. For "
        r"token ids give the embeddings",
        inputs=x.long(),
        only=(average_drop, average_gain, increase_in_confidence, coherency),
    ),
    # fills
    value(
        r"`baselines.fill` must return the rows it was given, \(1, 2, 2, 2\), got \(1, 8\)",
        baselines=Filling(lambda rows, mask: rows.flatten(1)),
        only=CURVES,
    ),
    value(r"`baselines.fill` must return the rows .*, got NoneType", baselines=Filling(lambda *_: None), only=CURVES),
    value(
        r"`baselines=NoisyLinear\(\)` fills in images \(B, C, H, W\), got `inputs` \(1, 8\)",
        inputs=x.flatten(1),
        attributions=phi.flatten(1),
        only=(road, road_accuracy),
    ),
    value(
        "`noise` must be a number of at least 0, got -1",
        baselines=baselines.NoisyLinear(noise=-1),
        only=(road, deletion),
    ),
    value("`seed` must be at least 0, got -1", baselines=baselines.NoisyLinear(seed=-1), only=(road, deletion)),
    # scores of scores
    value(
        "`score` must be a metric with a better side, such as srg or .*; got <function deletion_curve",
        score=deletion_curve,
    ),
    value("`score` must be a metric with a better side, such as srg or .*; got 'srg'", score="srg"),
    value(
        "The search for the best order takes at most 32 features, got 64 in example 0. "
        "Give a `feature_mask` with fewer",
        inputs=torch.ones(B, 64),
        attributions=torch.ones(B, 64),
        only=OF_ORDERS,
    ),
    value(
        "The search for the best order takes at most 10 features, got 11 in example 0. "
        "Give a `feature_mask` with fewer, such as large patches, or `search='beam'`",
        inputs=torch.ones(B, 11),
        attributions=torch.ones(B, 11),
        search="exact",
        only=OF_ORDERS,
    ),
    value(
        "`search='exact'` needs a `score` that is a weighted sum of .*; got minimal_subset. Take `search='beam'`. "
        "It does not take a model of one output",
        search="exact",
        score=minimal_subset,
    ),
    value(
        "`search='exact'` needs a `score` that is a weighted sum of .*; got minimal_subset. Take `search='beam'`.$",
        search="exact",
        score=partial(minimal_subset, threshold=0.5),
    ),
    value("`search` must be one of 'greedy', 'beam', 'exact', got 'random'", search="random", only=OF_ORDERS),
    value("`lower` must be one of 'random', 'worst', got 'best'", lower="best"),
    # choices
    value(
        "`sign` must be one of 'all', 'positive', 'negative', 'absolute_value', got 'plus'", sign="plus", only=RANKING
    ),
    value("`sign` must be one of 'positive', 'negative', 'absolute_value', got 'all'", sign="all", only=MASSES),
    value("`mode` must be one of 'morf', 'lerf', got 'most'", mode="most", only=ORDERED),
    kind("`mode` must be one of 'morf', 'lerf', got NoneType", mode=None, only=ORDERED),
    kind("`mode` must be one of 'morf', 'lerf', got a list of str", mode=["morf"], only=ORDERED),
    kind("`aggregate` must be one of 'sum', 'mean', got ndarray", aggregate=np.ones(2)),
    *(kind(f"`{flag}` must be True or False, got int 1", **{flag: 1}) for flag in FLAGS),
    *(kind(f"`{flag}` must be True or False, got str 'no'", **{flag: "no"}) for flag in FLAGS),
    value("`max_examples_per_batch` must be at most 9223372036854775807, got", max_examples_per_batch=2**70),
    kind("`target` holds class indices and must be .*, got an array of <U1", target=np.array(["a"] * 3)),
    value("`target` must be an index, an integer, of at most 64 bits; got", target=2**70),
    value("`perturb_radius` must be a number of at least 0, got -1", perturb_radius=-1, only=IN_A_BALL),
    value("`perturb_radius` must be a number of at least 0, got nan", perturb_radius=float("nan"), only=IN_A_BALL),
    kind("`perturb_radius` must be a number of at least 0, got str 'a'", perturb_radius="a", only=IN_A_BALL),
    kind("`perturb_radius` must be a number of at least 0, got bool True", perturb_radius=True, only=IN_A_BALL),
    value("`mode` must be one of 'deletion', 'insertion', got 'morf'", mode="morf", only=(minimal_subset,)),
    value("A float as `shares` is a fraction of the features, above 0 and at most 1; got 1.5", shares=[0.5, 1.5]),
    value("`shares` must be from 1 to the number of features, 8 in example 0; got 9", shares=9),
    value("`aggregate` must be one of 'sum', 'mean', got 'max'", aggregate="max"),
    value("`correlation` must be one of 'pearson', 'spearman', 'kendall', got 'cosine'", correlation="cosine"),
    *(value(f"`{name}` must be a share above 0 and at most 1, got 0", **{name: 0}) for name in ("alpha", "beta")),
    *(value(f"`{name}` must be a share above 0 and at most 1, got 1.1", **{name: 1.1}) for name in ("alpha", "beta")),
    value("`rounding` must be one of 'round', 'floor', got 'ceil'", rounding="ceil"),
    # estimators
    value("`control_variate` must be one of 'gradient', got 'input'", control_variate="input"),
    value(
        "`control_variate='gradient'` uses the exact covariance of Gaussian noise, so `perturb_func` must be "
        "captum_ext.perturbations.gaussian, or .*; got half",
        control_variate="gradient",
        perturb_func=half,
    ),
    value(
        "`control_variate='gradient'` needs `baselines` as an argument of `infidelity`; `perturb_func` has its own",
        control_variate="gradient",
        perturb_func=partial(perturbations.gaussian, baselines=1),
    ),
    value("`estimator` must be one of 'sample', 'regression', got 'mean'", estimator="mean"),
    value(
        "`estimator='regression'` estimates Pearson's correlation, got `correlation='spearman'`. Leave one of them",
        estimator="regression",
        correlation="spearman",
    ),
    value(
        r"`n_perturb_samples` must be at least 5 with `estimator='regression'`, as three numbers are fitted.*; got 4",
        estimator="regression",
        n_perturb_samples=4,
    ),
    # n
    value(r"`n` must be from 1 to the number of features, 8 in example 0; got 0", n=0),
    value(r"`n` must be from 1 to the number of features, 8 in example 0; got 9", n=9),
    value(r"`n` must be from 1 to the number of features, 8 in example 0; got -1", n=[1, -1]),
    value(
        r"`n` must be from 1 to the number of features, 2 in example 1; got 3",
        n=3,
        feature_mask=torch.stack([MASK[0], MASK[0] % 2, MASK[0]]),
    ),
    value("A float as `n` is a fraction of the features, above 0 and at most 1; got 0.0", n=0.0),
    value("A float as `n` is a fraction .*; got 2.0. For a number of features give an int", n=2.0),
    value("A float as `n` is a fraction .*; got nan", n=float("nan")),
    value("`n` must have at least one size, got none", n=[]),
    kind("`n` must be an integer or a fraction of the features, got str '2'", n=["2"]),
    kind("`n` must be an integer or a fraction of the features, got bool True", n=True),
    kind("`n` must be an integer or a fraction of the features, got NoneType", n=None),
    # counts
    value("`n_perturb_samples` must be at least 1, got 0", n_perturb_samples=0),
    value("`n_perturb_samples` must be at least 1, got -3", n_perturb_samples=-3),
    kind("`n_perturb_samples` must be an integer, got float 2.5", n_perturb_samples=2.5),
    kind("`n_perturb_samples` must be an integer, got bool True", n_perturb_samples=True),
    value("`max_examples_per_batch` must be at least 1, got 0", max_examples_per_batch=0),
    value("`max_examples_per_batch` must be at least 1, got -5", max_examples_per_batch=-5),
    kind("`max_examples_per_batch` must be an integer, got float 2.5", max_examples_per_batch=2.5),
    kind("`max_examples_per_batch` must be an integer, got str '8'", max_examples_per_batch="8"),
    value("`n_steps` must be at least 2, got 1", n_steps=1),
    value("`n_steps` must be at least 2, got -4", n_steps=-4),
    kind("`n_steps` must be an integer, got float 11.0", n_steps=11.0),
    # start and stop
    value("`start` must be a fraction from 0 to 1, got -0.1", start=-0.1),
    value("`start` must be a fraction from 0 to 1, got nan", start=float("nan")),
    value("`stop` must be a fraction from 0 to 1, got 1.5", stop=1.5),
    kind("`stop` must be a fraction from 0 to 1, got str '1'", stop="1"),
    value("`tolerance` must be a fraction from 0 to 1, got 1.5", tolerance=1.5, only=TOLERATING_A_SHARE),
    value("`start` and `stop` must differ, got 0.5 for both", start=0.5, stop=0.5),
    value("`salient` must be a share above 0 and at most 1, got 0", salient=0),
    kind("`salient` must be a share above 0 and at most 1, got str 'a'", salient="a"),
    value(
        r"`inputs` must be one tensor of images \(B, C, H, W\), got \[\(3, 8\)\]",
        (mst_compactness,),
        inputs=x.flatten(1),
        attributions=phi.flatten(1),
    ),
    # threshold
    kind("`threshold` must be a finite number, got str '0'", threshold="0"),
    kind("`threshold` must be a finite number, got bool True", threshold=True),
    kind("`threshold` must be a finite number, got Tensor", threshold=torch.zeros(3)),
    value("`threshold` must be a finite number, got nan", threshold=float("nan")),
    value("`threshold` must be a finite number, got -inf", threshold=-float("inf")),
    # target
    value("A list as `target` must have one entry for each of the 3 examples, got 2", target=[0, 1], only=WITH_TARGET),
    value(
        "A list as `target` must have one entry for each of the 3 examples, got 1",
        target=[1],
        only=(*WITH_TARGET, sensitivity_max),
    ),
    value(
        "All tuples of a list `target` must have the same length, got different ones",
        target=[(0,), (0, 1), (0,)],
        only=WITH_TARGET,
    ),
    kind(
        "`target` holds class indices and must be of an integer type, got torch.float32",
        target=torch.zeros(3),
        only=WITH_TARGET,
    ),
    kind("`target` .* must be of an integer type, got torch.bool", target=torch.tensor(True), only=WITH_TARGET),
    value(
        r"A tensor as `target` must have one element or shape \(3,\), one index per example; got \(2,\)",
        target=torch.tensor([0, 1]),
        only=WITH_TARGET,
    ),
    value(r"A tensor as `target` .*; got \(3, 1\)", target=torch.tensor([[0], [1], [2]]), only=WITH_TARGET),
    value(r"A tensor as `target` .*; got \(3, 1\)", target=np.array([[0], [1], [2]]), only=WITH_TARGET),
    kind("`target` must be an integer, a tuple of integers, .*; got str 'cat'", target="cat", only=WITH_TARGET),
    kind("`target` must be an integer, .*; got float 1.0", target=1.0, only=WITH_TARGET),
    kind("`target` must be an integer, .*; got bool True", target=True, only=WITH_TARGET),
    kind(r"`target` must be an integer, .*; got a tuple of nothing", target=(), only=WITH_TARGET),
    kind("`target` must be an integer, .*; got NoneType", target=[None, 0, 1], only=WITH_TARGET),
    # functions
    kind("`forward_func` must be a model or a function, got str", forward_func="resnet"),
    kind("`activation` must be a function of the model's output, got str", activation="softmax"),
    kind("`explanation_func` must be a function or a Captum attribution object, got str 'ig'", explanation_func="ig"),
    # models to make random, and explanations made of them
    kind(
        "`forward_func` must be a module with parameters to randomise, got function",
        RANDOMISED,
        forward_func=half,
    ),
    value("`forward_func` must have parameters to randomise, got ReLU", RANDOMISED, forward_func=nn.ReLU()),
    *(
        kind(
            r"`forward_func` must be a module whose layers and parameters can be changed, got "
            rf"\w+, which is .*{made}.*\. Give the module that it was made from",
            (*RANDOMISED, input_invariance),
            forward_func=module,
        )
        for made, module in UNCHANGEABLE.items()
    ),
    value(
        "`explanation_factory` must explain `forward_func` itself where it is a ready object; it explains another",
        explanation_factory=Saliency(nn.Linear(4, 3)),
    ),
    kind(
        r"`explanation_factory` must be a Captum class, .* or a function .*`lambda model: ...`\); got NoneType",
        explanation_factory=None,
    ),
    kind(
        "What `explanation_factory` makes of a model must be a function or a Captum attribution object, got int 3",
        explanation_factory=lambda module: 3,
    ),
    value(
        "`similarity` must be 'spearman', .*'hog' or a function of two batches of maps, got str 'l2'", similarity="l2"
    ),
    kind("`weights_seed` must be an integer, got float 0.5", weights_seed=0.5),
    value("`n_bins` must be at least 2, got 1", n_bins=1),
    value("`noise_level` must be a number of at least 0, got -0.1", noise_level=-0.1),
    kind("`noise_level` must be a number of at least 0, got str 'a'", noise_level="a"),
    # the random logit
    value("`n_classes` must be at least 2, got 1", n_classes=1),
    value("`target` must be one class for each example, got None", (random_logit,), target=None),
    value(r"`target` must be one class for each example, got \(0, 1\)", (random_logit,), target=(0, 1)),
    value(r"`target` must lie within the 4 classes of `n_classes`, got \[4, 4, 4\]", (random_logit,), target=4),
    value("`order` must be one of 'top_down', 'bottom_up', 'independent', 'full', got 'random'", order="random"),
    kind("`explanation_func` must be .*, got Tensor", explanation_func=phi),
    kind("`perturb_func` must be .*got NoneType", perturb_func=None),
    kind("`perturb_func` must be .*got Tensor", perturb_func=x),
    # seeds
    value("`seed` must be at least 0, got -1", seed=-1),
    value("`seed` must be an integer or have one for each of the 3 examples, got 2", seed=[1, 2]),
    kind("`seed` must be an integer, got float 0.5", seed=0.5),
    kind("`seed` must be an integer, got str 'a'", seed=[1, 2, "a"]),
    # the rest of the metrics of robustness
    value("`search` must be one of 'random', 'vertices', 'block', got 'all'", search="all", only=SEARCHING),
    value("`search` must be one of 'random', 'vertices', got 'block'", search="block", only=(sensitivity_avg,)),
    value(
        "`search` must be 'random' with a `perturb_func` of your own, got 'block'",
        search="block",
        perturb_func=lambda rows: rows,
        only=SEARCHING,
    ),
    value("`gap` must be one of 'absolute', 'relative', 'signed', got 'squared'", gap="squared"),
    kind(
        "`forward_func` must be a module with a first layer to change, got function",
        (input_invariance,),
        forward_func=half,
    ),
    value("`shift` must have one entry for each of the 1 tensors of `inputs`, got 2", shift=(1.0, 2.0)),
    kind("`shift` must be a number or a tensor, got str 'one'", shift="one"),
    value("`n_top` must be at least 1, got 0", n_top=0),
    value(
        r"`other_attributions` must have the shape of `attributions` \[\(3, 2, 2, 2\)\] except for the rows, "
        r"got \[\(3, 8\)\]",
        other_attributions=phi.flatten(1),
    ),
    value("`other_attributions` is NaN in example 1", other_attributions=NAN),
    value(
        "`other_attributions` must be no mapping, as `attributions` is none; got a mapping of a",
        other_attributions={"a": phi},
    ),
    value(
        "`other_attributions` must be of a, b; got a mapping of a",
        attributions={"a": phi, "b": phi},
        other_attributions={"a": phi},
    ),
    kind("`other_classes` must be of an integer type, got torch.float32", other_classes=torch.ones(3)),
    kind("`other_classes` must be a tensor or a list of classes, integers; got float 0.5", other_classes=[0.5, 1.0]),
    kind("`other_classes` must be a tensor or a list of classes, integers; got NoneType", other_classes=None),
    value(r"`other_classes` must have one class for each of the 3 references, got \(2,\)", other_classes=[0, 1]),
    value(
        r"`discretize` must return `\[rows, K\]` for its 6 rows of attributions, got \(6,\)",
        discretize=lambda rows: rows[:, 0],
    ),
    value(r"`discretize` must return .*, got NoneType", discretize=lambda rows: None),
    value(r"`discretize` must return .*, got \(6, 0\)", discretize=lambda rows: rows[:, :0]),
    value(r"`shift` must be the same for all examples, of shape \(1, 2, 2, 2\); got \(3, 2, 2, 2\)", shift=x),
    value(
        "`layer` must name the first layer, as `forward_func` has no linear or convolutional one",
        (input_invariance,),
        forward_func=nn.Sequential(nn.Flatten()),
    ),
    value("`layer` must be a part of `forward_func`, got another module", (input_invariance,), layer=nn.Linear(8, 4)),
    value(
        "`layer` must be called once and return one tensor, got 2 calls of '0.0'",
        (input_invariance,),
        forward_func=nn.Sequential(*[nn.Sequential(nn.Flatten(), nn.Linear(8, 8))] * 2),
        layer="0.0",
    ),
    value(
        "`layer` '2' cannot undo the shift: the outputs differ by up to .*It must be the first layer with parameters",
        (input_invariance,),
        forward_func=nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(8, 4)),
    ),
    value("`eps_min` must be a number above 0, got 0", eps_min=0),
    value("`eps_min` must be a number above 0, got inf", eps_min=float("inf")),
    kind("`layer` must be a module or the name of one, got int 3", layer=3),
    kind(
        "`layer` can be a name only where `forward_func` is a module, got Model. Give the layer itself",
        (relative_representation_stability,),
        layer="hidden",
    ),
    value("`layer` must be one of 0; got 'hidden'", forward_func=nn.Sequential(nn.Flatten()), layer="hidden"),
    value("`norm_ord` must be a number, 'fro' or 'nuc', got 'max'", norm_ord="max"),
    value("`norm_ord` must be a number, 'fro' or 'nuc', got nan", norm_ord=float("nan")),
    kind("`norm_ord` must be a number, 'fro' or 'nuc', got bool True", norm_ord=True),
    kind("`norm_ord` must be a number, 'fro' or 'nuc', got NoneType", norm_ord=None),
    value(
        "`return_convergence_delta` must be left out",
        only=(sensitivity_max,),
        return_convergence_delta=True,
    ),
]

# What only the first output can tell.
BAD_OUTPUTS = [
    value(
        r"`forward_func` must return `\[rows, classes\]`, so that there is a prediction; got \(\d+, 4, 2\)",
        forward_func=Model(lambda rows: rows.reshape(-1, 4, 2)),
        only=(minimal_subset, road_accuracy, *FIDELITIES),
    ),
    value(
        "`threshold` is missing: `forward_func` returns one output per row, and the largest of one is always class 0. "
        "Give threshold=0 for a logit or 0.5 for a probability, or return an output for each class",
        forward_func=Model(lambda rows: LAYER(rows)[:, :1]),
        only=(minimal_subset, road_accuracy, *FIDELITIES),
    ),
    value("`threshold` is missing", forward_func=Model(lambda rows: LAYER(rows)[:, 0]), only=(minimal_subset,)),
    value(
        r"`forward_func` must return `\[rows, classes\]`, a distribution over classes; got \(\d+, 4, 2\)",
        forward_func=Model(lambda rows: rows.reshape(-1, 4, 2)),
        only=(unfaithfulness,),
    ),
    value(
        r"`threshold` is for models with one output per row; got \(\d+, 4\), whose largest is the prediction. Leave it",
        threshold=0,
    ),
    value(
        r"`target` is missing: the model's output has shape \(\d+, 4\), more than one value per row. "
        "Say which to explain, for example target=0",
        target=None,
        only=tuple(m for m in WITH_TARGET if m not in FIDELITIES),  # to which it is the model's own prediction
    ),
    value(
        r"`target` is out of range: the model's output has shape \(\d+, 4\), got indices up to \[4\]",
        target=4,
        only=WITH_TARGET,
    ),
    value(
        r"`target` is out of range: .* \[7\]",
        target=torch.tensor([7, 0, 0]),
        max_examples_per_batch=1,
        only=WITH_TARGET,
    ),
    value(r"`target` is out of range: .* \[-5\]", target=-5, only=WITH_TARGET),
    value(
        r"`target` has 2 indices, but the model's output of shape \(\d+, 4\) needs 1 per row. .*give a "
        r"tuple of indices",
        target=(0, 1),
        only=WITH_TARGET,
    ),
    value(
        r"`target` has 1 indices, but the model's output of shape \(\d+,\) needs 0 .*leave `target` out",
        forward_func=Model(lambda rows: rows.flatten(1).sum(1)),
        only=OF_ANY_OUTPUT,
    ),
    value(
        r"`target` has 1 indices, but the model's output of shape \(\d+, 4, 2\) needs 2 per row. .*give "
        r"a tuple of indices",
        forward_func=Model(lambda rows: rows.reshape(-1, 4, 2)),
        only=OF_ANY_OUTPUT,
    ),
    kind(
        "`forward_func` must return a tensor, got a tuple of Tensor",
        forward_func=Model(lambda rows: (rows.flatten(1),)),
    ),
    kind(
        r"`forward_func` must return a tensor, got dict with the fields out but no `logits`. Give .*\['out'\]`",
        forward_func=Model(lambda rows: {"out": rows.flatten(1)}),
    ),
    kind("`forward_func` must return a tensor, got NoneType", forward_func=Model(lambda rows: None)),
    value(
        r"`forward_func` must return one row for each of its \d+ input rows, got shape \(2,( 4)?\)",
        forward_func=Model(lambda rows: torch.ones(2, 4)),
    ),
    value(
        r"`forward_func` must return one row for each of its \d+ input rows, got shape \(\)",
        forward_func=Model(lambda rows: rows.sum()),
    ),
    kind("`activation` must return a tensor, got int 3", activation=lambda output: 3),
    value(
        r"`forward_func` must return at least one value per row, got shape \(\d+, 0\)",
        forward_func=Model(lambda rows: rows.flatten(1)[:, :0]),
    ),
    value(
        "`layer` must be a part of `forward_func`: the model was called, but the layer was not",
        (relative_representation_stability,),
        layer=nn.Flatten(),
    ),
    value(
        r"`layer` must return tensors with a row for each of its 1 input rows, got \(8,\)",
        only=(relative_representation_stability,),
        forward_func=Model(lambda rows: (ACROSS_ROWS(rows), rows.flatten(1))[1]),
        layer=ACROSS_ROWS,
    ),
    kind(f"`forward_func` must return {REAL}", forward_func=Model(lambda rows: imaginary(rows.flatten(1)[:, :4]))),
    kind(f"`activation` must return {REAL}", activation=imaginary),
    kind(
        f"`layer` must return {REAL}",
        only=(relative_representation_stability,),
        forward_func=Model(lambda rows: (FOURIER(rows), rows.flatten(1))[1]),
        layer=FOURIER,
    ),
]

# What only the first explanation can tell.
BAD_EXPLANATIONS = [
    kind(
        "`explanation_func` must return a tensor or a tuple of tensors, got NoneType", explanation_func=lambda r: None
    ),
    kind(
        "`explanation_func` must return a tensor .*, got a tuple of Tensor, str",
        explanation_func=lambda r: (r, "delta"),
    ),
    value(
        r"`explanation_func` must return a row for each of its 3 input rows, got shape \(1, 2, 2, 2\)",
        explanation_func=lambda r: r[:1],
    ),
    value(
        r"`explanation_func` must return a row for each of its 3 input rows, got shape \(\)",
        explanation_func=lambda r: r.sum(),
    ),
    value(
        r"`explanation_func` must return attributions, got none: shapes \[\(3, 0, 2, 2\)\]",
        explanation_func=lambda r: r[:, :0],
    ),
    kind(f"`explanation_func` must return {REAL}", explanation_func=imaginary),
    value(
        r"`explanation_func` must return attributions, got none: shapes \[\(3, 0\)\]",
        explanation_func=lambda r: r.flatten(1)[:, :0],
    ),
    value(
        r"`explanation_func` must return a row for each .*, got shape \(6, 2, 2\)",
        explanation_func=lambda r: (r, r.flatten(0, 1)),
    ),
    value(
        r"`explanation_func` must return the shape of `inputs` \(3, 2, 2, 2\) or size 1 along .*, got \(3, 8\)",
        (coherency,),
        explanation_func=lambda r: r.flatten(1),
    ),
    value(
        "`explanation_func` must return one tensor for each of the 1 tensors of `inputs`, got 2",
        (coherency,),
        explanation_func=lambda r: (r, r),
    ),
]

# What only the first explanation that a factory's makes can tell.
BAD_FACTORIES = [
    kind(
        "What `explanation_factory` makes of a model must return a tensor or a tuple of tensors, got NoneType",
        explanation_factory=lambda module: lambda r: None,
    ),
    value(
        r"What `explanation_factory` makes of a model must return a row for each of its \d+ input rows, got shape \(1,",
        explanation_factory=lambda module: lambda r: r[:1],
    ),
    value(
        r"This `similarity` needs maps of shape \(B, C, H, W\) with at least 7 x 7 pixels, "
        r"got \(3, 2, 2, 2\). .*'pearson'",
        similarity="ssim",
    ),
    value(
        r"`similarity` must return one number per example, of shape \(3,\); got \(3, 2, 2, 2\)",
        similarity=lambda a, b: a - b,
    ),
    kind(
        f"What `explanation_factory` makes of a model must return {REAL}",
        explanation_factory=lambda module: imaginary,
    ),
    kind(f"`similarity` must return {REAL}", similarity=lambda a, b: imaginary(a.flatten(1).sum(1))),
    value("`similarity` must return .*; got float 0.5", similarity=lambda a, b: 0.5),
]

# What a `perturb_func` returns.
BAD_PERTURBATIONS = [
    value(
        "`perturb_func` must return two things, the perturbations and the perturbed inputs; got Tensor.*"
        r"decorate it with infidelity_perturb_func_decorator\(\)",
        only=(infidelity,),
        perturb_func=lambda rows: rows / 2,
    ),
    value(
        "`perturb_func` must return two things, .*; got a tuple of Tensor",
        only=(infidelity,),
        perturb_func=lambda rows: (rows,) * 3,
    ),
    kind(
        "`perturb_func` must return perturbations as a tensor or a tuple of tensors, got NoneType",
        only=(infidelity,),
        perturb_func=lambda rows: (None, rows),
    ),
    kind(
        "`perturb_func` must return perturbed inputs as a tensor or a tuple of tensors, got float 0.5",
        only=(infidelity,),
        perturb_func=lambda rows: (rows, 0.5),
    ),
    value(
        "`perturb_func` must return perturbations for each of the 1 tensors of `inputs`, got 2",
        only=(infidelity,),
        perturb_func=lambda rows: ((rows, rows), rows),
    ),
    value(
        "`perturb_func` must return perturbed inputs for each of the 2 tensors of `inputs`, got 1",
        only=(infidelity,),
        perturb_func=lambda rows: (rows, rows[:1]),
        inputs=HALVES,
        attributions=HALVES_PHI,
    ),
    value(
        r"`perturb_func` must return perturbations of the shape it was given, \(9, 2, 2, 2\), got \(1, 2, 2, 2\)",
        only=(infidelity,),
        perturb_func=lambda rows: (rows[:1], rows),
    ),
    value(
        r"`perturb_func` must return perturbed inputs of the shape it was given, \(9, 2, 2, 2\), got \(8, 2, 2, 2\)",
        only=(infidelity,),
        perturb_func=lambda rows: (rows, rows[1:]),
    ),
    kind(
        f"`perturb_func` must return perturbations of {REAL}",
        only=(infidelity,),
        perturb_func=lambda rows: (imaginary(rows), rows),
    ),
    kind(
        f"`perturb_func` must return perturbed inputs of {REAL}",
        only=(infidelity,),
        perturb_func=lambda rows: (rows, imaginary(rows)),
    ),
    kind(
        f"`perturb_func` must return perturbed inputs of {REAL}",
        only=(sensitivity_max,),
        perturb_func=imaginary,
    ),
    kind(
        "`perturb_func` must return perturbed inputs as a tensor or a tuple of tensors, got NoneType",
        only=(sensitivity_max,),
        perturb_func=lambda rows: None,
    ),
    value(
        "`perturb_func` must return perturbed inputs for each of the 1 tensors of `inputs`, got 2",
        only=(sensitivity_max,),
        perturb_func=lambda rows: (rows, rows),
    ),
    value(
        r"`perturb_func` must return perturbed inputs of the shape it was given, \(9, 2, 2, 2\), got \(1, 2, 2, 2\)",
        only=(sensitivity_max,),
        perturb_func=lambda rows: rows[:1],
    ),
]


@dataclass(frozen=True)
class Outcome:
    """What came of a bad call: the error, how often the model and the explanation were called, and by which limit."""

    error: Exception | None
    calls: int
    explained: int


def outcome(bad: Bad, metric: Callable[..., Any], **further: Any) -> Outcome:
    own, explained = Model(), []
    model = bad.arguments.get("forward_func")
    model = model if isinstance(model, Model) else own
    arguments = further | bad.arguments
    if "explanation_func" in arguments and callable(explain := arguments["explanation_func"]):
        arguments["explanation_func"] = lambda rows, **_: (explained.append(len(rows)), explain(rows))[1]
    before = model.calls
    try:
        call(metric, own, **arguments)
    except Exception as error:
        return Outcome(error, model.calls - before, len(explained))
    return Outcome(None, model.calls - before, len(explained))


@cache
def outcomes(table: str) -> dict[tuple[int, str], Outcome]:
    """Of every entry of a table with every metric that it is about; computed once for all claims."""
    further = {"max_examples_per_batch": 1} if table == "BAD_OUTPUTS" else {}
    return {
        (i, metric.__name__): outcome(bad, metric, **further)
        for i, bad in enumerate(TABLES[table])
        for metric in bad.metrics
    }


TABLES = {
    "BAD_ARGUMENTS": BAD_ARGUMENTS,
    "BAD_OUTPUTS": BAD_OUTPUTS,
    "BAD_EXPLANATIONS": BAD_EXPLANATIONS,
    "BAD_FACTORIES": BAD_FACTORIES,
    "BAD_PERTURBATIONS": BAD_PERTURBATIONS,
}
every_entry = pytest.mark.parametrize(
    ("table", "i"),
    [(name, i) for name, table in TABLES.items() for i in range(len(table))],
    ids=[f"{name}-{i}-{'-'.join(bad.arguments)}" for name, table in TABLES.items() for i, bad in enumerate(table)],
)


def complaint(bad: Bad, table: str, found: Outcome) -> str | None:
    """What is wrong with an outcome."""
    if type(found.error) is not bad.error:
        return f"{bad.error.__name__} wanted, got {found.error!r}"
    if not re.search(bad.match, str(found.error)):
        return f"says {found.error}, and not {bad.match}"
    wanted = {"BAD_ARGUMENTS": 0, "BAD_OUTPUTS": 1}.get(table, found.calls)
    if found.calls != wanted:
        return f"after {found.calls} calls of the model, not {wanted}"
    if table == "BAD_EXPLANATIONS" and found.explained != 1:
        return f"after {found.explained} explanations"
    return None


@every_entry
def test_what_is_wrong_is_refused_as_soon_as_it_can_be_told(table, i):
    """Bad arguments before the model is called; what only an output or an explanation can tell at the first."""
    bad = TABLES[table][i]
    assert bad.metrics
    found = {m.__name__: complaint(bad, table, outcomes(table)[i, m.__name__]) for m in bad.metrics}
    assert {name: wrong for name, wrong in found.items() if wrong is not None} == {}


def test_the_good_arguments_are_good():
    model = Model()
    for metric in EVERY:
        assert len(call(metric, model)) == B
    assert model.calls > len(CALLING)


def test_infidelity_refuses_bad_perturbations_before_the_model_is_called():
    for bad in BAD_PERTURBATIONS:
        loose = bad.match.replace(r"\(9,", r"\(\d+,").replace(r"\(8,", r"\(\d+,")  # fewer copies under a limit
        for limit in (None, 9, 1) if bad.only == (infidelity,) else ():
            found = outcome(bad, infidelity, max_examples_per_batch=limit)
            assert complaint(replace(bad, match=loose), "BAD_ARGUMENTS", found) is None


@pytest.mark.parametrize(("max_examples_per_batch", "chunks"), [(None, 1), (6, 2), (1, 3)])
def test_bad_perturbations_are_refused_at_the_first_call_of_the_perturb_func(max_examples_per_batch, chunks):
    seen = []

    def wrong(rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return rows[:-1]

    limit = {"max_examples_per_batch": max_examples_per_batch}
    assert call(sensitivity_max, Model(), perturb_func=lambda r: seen.append(len(r)) or r, **limit).shape == (B,)
    assert len(seen) == chunks
    del seen[:]
    with pytest.raises(ValueError, match=rf"of the shape it was given, \({9 if chunks == 1 else 3 * (4 - chunks)}, "):
        call(sensitivity_max, Model(), perturb_func=wrong, **limit)
    assert len(seen) == 1


# ---- functions that are no metrics

DECORATED = infidelity_perturb_func_decorator()
BAD_CALLS = [
    (TypeError, r"deletion\(\): .*got an unexpected keyword argument 'perturbations_per_eval'",
     lambda: deletion(Model(), x, phi, perturbations_per_eval=4)),
    (TypeError, r"insertion_curve\(\): missing a required argument: 'attributions'",
     lambda: insertion_curve(Model(), x)),
    (TypeError, r"insertion\(\): too many positional arguments", lambda: insertion(*[x] * 30)),
    (TypeError, "`inputs` must be a tensor or a tuple of tensors, got a list of Tensor",
     lambda: default_perturb_func([x])),
    (TypeError, "`perturb_func` must return perturbed inputs as a tensor .*, got NoneType",
     lambda: DECORATED(lambda rows: None)(x)),
    (ValueError, r"`perturb_func` must return perturbed inputs of the shape it was given, \(3, 2, 2, 2\), got \(1,",
     lambda: DECORATED(lambda rows: rows[:1])(x)),
    (ValueError, "`baselines` must have one entry for each of the 1 tensors of `inputs`, got 2",
     lambda: DECORATED(lambda rows, base: rows)(x, (0, 0))),
    # hints where a method of Captum lacks something
    (TypeError, r"`explanation_func` must be .*, got the class Saliency. Make an object of it, such as Saliency\(mod",
     lambda: sensitivity_max(Saliency, x)),
    (TypeError, "What `explanation_factory` makes of a model must be .*, got the class Saliency",
     lambda: exported.efficient_mprt(MODULE, lambda module: Saliency, x)),
    (TypeError, "`metric` must be a metric or a function of its arguments, got float",
     lambda: exported.with_stderr(1.0)),
    (TypeError, "`metric` must return a tensor of scores, or a mapping name -> tensors; got float",
     lambda: exported.with_stderr(lambda attributions: 1.0)(x)),
    (TypeError, "`explanation_func` needs `baselines`, which is missing. Give it to the metric by name, which passes",
     lambda: sensitivity_max(GradientShap(MODULE), x, target=0)),
    (TypeError, "What `explanation_factory` makes of a model needs `sliding_window_shapes`",
     lambda: exported.efficient_mprt(MODULE, Occlusion, x, target=0)),
    (TypeError, "`explanation_func` needs gradients, which `inputs` of type torch.int64 do not have. Explain the embed",
     lambda: sensitivity_max(Saliency(nn.EmbeddingBag(3, 2)), torch.ones(3, 4).long(), lambda rows: rows, target=0)),
    (ValueError, r"`explanation_func` must return maps of one size, got \[\(\d,\)\] and then \[\(\d,\)\] per row",
     lambda: sensitivity_max(lambda rows: rows.flatten(1)[:, : next(SIZES)], x)),
    # targets of Captum's methods
    *((error, match, lambda target=target: sensitivity_max(Saliency(MODULE), x, target=target))
      for error, match, target in (
        (TypeError, "`target` must be an integer, .*; got float 1.0", 1.0),
        (TypeError, "`target` must be an integer, .*; got str 'cat'", ["cat"] * 3),
        (ValueError, r"A tensor as `target` must have one element or shape \(3,\)", torch.eye(3, 4).long()),
        (ValueError, "`explanation_func` cannot explain `target`, which does not fit the model's output: index 4", 4),
        (ValueError, "`explanation_func` cannot explain `target`, which does not fit", (0, 1, 2)),
    )),
    (ValueError, "`score` does not take what is set: .*nope=1",
     lambda: oracle_normalized(Model(), x, phi, feature_mask=MASK, target=0, score=partial(deletion, nope=1))),
    # patches that do not fit; what else they may be is in tests/metrics/localisation/test_impact_coverage.py
    *((error, match, lambda given=given: call(impact_coverage, Model(), **given)) for error, match, given in (
        (ValueError, r"`inputs` must be one tensor \(B, C, ...\) with positions", {"inputs": x.flatten(1)}),
        (TypeError, "`patches` must be a mapping from classes to tensors, .*; got int", {"patches": 3}),
        (ValueError, "The patch of class 0 must have shape", {"patches": [torch.ones(3, 1, 1)]}),
        (ValueError, "The patch of class 0, .* is larger than the images", {"patches": [torch.ones(2, 3, 1)]}),
        (ValueError, "`target` must be one class for each example", {"target": (0, 1)}),
        (ValueError, "`explanation_func` must return attributions of images",
         {"explanation_func": lambda rows, target: rows[:, :, :1]}),
    )),
    # metrics of one's own
    # gradients that a model does not have
    (ValueError, "`control_variate='gradient'` needs the gradient of `forward_func` .*, which takes none of its inputs",
     lambda: infidelity(Model(lambda rows: LAYER(rows.detach())), perturbations.gaussian, x, phi, target=0,
                        control_variate="gradient")),
    (ValueError, r"`estimator='regression'` needs the gradient of `forward_func` .* numpy.* detach its inputs if",
     lambda: sensitivity_n(Model(lambda rows: torch.from_numpy(rows.numpy())[:, 0, 0]), x, phi, 2, target=0,
                           estimator="regression", n_perturb_samples=9)),
    (TypeError, "`higher_is_better` must be True, False or, for a curve, None; got 'yes'",
     lambda: exported.metric(higher_is_better="yes")),
    (TypeError, "A metric must take `attributions` or .* by name; len takes obj",
     lambda: exported.metric(higher_is_better=True)(len)),
    # masks that may belong to examples or to channels, as there are as many of each
    (ValueError, r"`feature_mask` \(2, 2, 2\) may have a mask for each example or .*unsqueeze\(1\) for one per example",
     lambda: deletion(Model(), x[:2], phi[:2], target=0, feature_mask=MASK.expand(2, 1, 2, 2)[:, 0])),
    (ValueError, r"`truth_mask` \(2, 2, 2\) may have a mask for each example or .*unsqueeze\(0\) for the other",
     lambda: exported.auc_roc(x[:2], phi[:2], TRUTH.expand(2, 1, 2, 2)[:, 0])),
    # what would change nothing
    (ValueError, "`perturb_radius` must be large enough .* of type torch.float16, got 0.02, .* example 1",
     lambda: sensitivity_max(lambda rows: rows, torch.tensor([[100.0, 0.0], [100.0, 99.0]]).half())),
    (ValueError, "`perturb_radius` must be large enough .* of type torch.float64, got 1e-20, .* example 0",
     lambda: sensitivity_max(lambda rows: rows, x.double() + 100, perturb_radius=1e-20, search="vertices")),
    (ValueError, "`images` must be finite", lambda: feature_masks.superpixels(torch.ones(1, 3, 8, 8) / 0)),
    # further arguments and targets
    (TypeError, "`additional_forward_args` must be tensors where .*, got a list of str with 3 rows, as many as",
     lambda: deletion(Model(), x, phi, target=0, additional_forward_args=["a", "b", "c"])),
    (TypeError, "`additional_forward_args` must be tensors where .*, got ndarray of float64 with 3 rows",
     lambda: deletion(Model(), x, phi, target=0, additional_forward_args=(1, np.ones((3, 2))))),
    (TypeError, "`additional_forward_args` must be tensors where .*, got ndarray of float64 with 3 rows",
     lambda: sensitivity_max(Saliency(MODULE), x, target=0, additional_forward_args=np.ones((3, 2)))),
    (TypeError, "`additional_forward_args` must be tensors where .*, got dict with 3 rows",
     lambda: deletion(Model(), x, phi, additional_forward_args={"scale": torch.arange(3.0)})),
    (TypeError, "`feature_mask` must be tensors where .*, got ndarray of int64 with 3 rows",
     lambda: sensitivity_max(lambda rows, feature_mask: rows, x, feature_mask=np.ones((3, 2), dtype=np.int64))),
    *((ValueError, "`labels` has a row for each of the 3 examples, .* explains copies of them, .*only target,",
       lambda labels=labels: sensitivity_max(lambda rows, labels: rows, x, labels=labels))
      for labels in (torch.arange(3), np.arange(3))),
    (ValueError, "`target` must be an index, an integer, of at most 64 bits; got 1180591620717411303424",
     lambda: deletion(Model(), x, phi, target=2**70)),
    (TypeError, "`target` holds class indices and must be of an integer type, got an array of <U1",
     lambda: deletion(Model(), x, phi, target=np.array(["a", "b", "c"]))),
    # makers of baselines
    (ValueError, "`kernel_size` must be a fraction of the width, above 0 and at most 1, got 0",
     lambda: baselines.box_blur(x, 0)),
    (ValueError, "`kernel_size` must be a fraction of the width, .*, got 3", lambda: baselines.box_blur(x, 3)),
    (ValueError, "`kernel_size` must be at least 1, got 0", lambda: baselines.gaussian_blur(x, 0)),
    (TypeError, "`kernel_size` must be an integer, got float 0.5", lambda: baselines.gaussian_blur(x, 0.5)),
    (ValueError, "`sigma` must be a number above 0, got 0", lambda: baselines.gaussian_blur(x, sigma=0)),
    (ValueError, r"`inputs` must have positions, shape \(B, C, \.\.\.\) with at least three axes; got \(3, 8\)",
     lambda: baselines.channel_mean(x.flatten(1))),
    (ValueError, r"`inputs` must have positions, .*; got \(3, 8\)", lambda: baselines.gaussian_blur(x.flatten(1))),
    (ValueError, "`seed` must be an integer or have one for each of the 3 examples, got 1",
     lambda: baselines.uniform_noise(x, seed=[1])),
    (ValueError, "`seed` must be at least 0, got -2", lambda: baselines.gaussian_noise(x, seed=-2)),
    # perturbations
    (ValueError, "`size` must be at least 1, got 0", lambda: perturbations.square_removal(x, size=0)),
    (ValueError, "`size` must be at most the shortest side of the inputs, 2; got 3",
     lambda: infidelity(Model(), partial(perturbations.square_removal, size=3), x, phi, target=0)),
    (ValueError, "`position` must be one number or one for each of the 3 rows, got 2",
     lambda: perturbations.square_removal(x, size=1, position=[0, 1])),
    (TypeError, "`n` must be one number of features, got a list of int",
     lambda: perturbations.segment_removal(x, n=[1, 2])),
    (TypeError, "`std` must be a number of at least 0, got str 'a'", lambda: perturbations.gaussian(x, std="a")),
    (ValueError, "`std` must be a number of at least 0, got nan",
     lambda: perturbations.noisy_baseline(x, std=float("nan"))),
    (TypeError, "`multiply_by_inputs` must be True or False, got int 1",
     lambda: infidelity_perturb_func_decorator(1)),
    (ValueError, r"`position` must be from 0 to 3, the last place of a square, got \[4\]",
     lambda: perturbations.square_removal(x, size=1, position=4)),
    (ValueError, r"`inputs` must have positions, .*; got \(3, 8\)",
     lambda: perturbations.square_removal(x.flatten(1), size=1)),
    (ValueError, "`n` must be from 1 to the number of features, 4 in example 0; got 5",
     lambda: perturbations.segment_removal(x, feature_mask=MASK, n=5)),
    (ValueError, "`seed` must be an integer or have one for each of the 3 examples, got 2",
     lambda: perturbations.gaussian(x, seed=[1, 2])),
    (TypeError, "`perturb_func` must be a function of the inputs, got NoneType",
     lambda: optimal_explanation(Model(), None, x, target=0)),
    # inputs and results of Captum's LLMAttribution
    (ValueError, "`attributions` must explain the prompt that is given: .*'a', 'b'",
     lambda: sparseness(of_prompt("c", "d"), of_llm("a", "b"))),
    (ValueError, r"`attributions` must explain the .* makes the groups \[0, 1\], but that of the prompt \[0, 0\]",
     lambda: sparseness(grouped(of_prompt("a", "b"), 0, 0), of_llm("a", "b"))),
    (ValueError, "`attributions` is a result for one prompt, but `target` has 3 entries",
     lambda: deletion(Model(), of_prompt("a", "b"), of_llm("a", "b"), target=[0, 1, 2])),
    (ValueError, "`target` must be at most 1, the answer's tokens; got 2",
     lambda: deletion(Model(), of_prompt("a", "b"), of_llm("a", "b"), target=2)),
    (ValueError, "`attributions` has values of the whole answer alone, .* got 1",
     lambda: deletion(Model(), of_prompt("a", "b"), of_llm("a", "b", of_tokens=False), target=1)),
    (TypeError, "`result` must be a result of Captum's LLMAttribution, got Tensor",
     lambda: interpretable.attribution_of(x, None, 0, "result")),
    (ValueError, r"`inputs` must have shape \(rows, 2\), .* got \(3, 2, 2, 2\)",
     lambda: interpretable.checked_presence(x, 2)),
    (ValueError, "`inputs` must be 1 where a feature of the prompt is present and 0 where it is absent",
     lambda: interpretable.checked_presence(x.flatten(1), 8)),
    # makers of feature masks
    (ValueError, r"`attention_mask` must have shape \(B, tokens\), .* got \(3, 2, 2, 2\)",
     lambda: feature_masks.tokens(x)),
    (ValueError, r"`special_tokens_mask` must have shape .* \(3, 8\); got \(2, 8\)",
     lambda: feature_masks.tokens(torch.ones(3, 8), torch.ones(2, 8))),
    (ValueError, r"`maps` must have shape \(B, 1 \+ 2 \* 3\), .* got \(3, 8\)",
     lambda: feature_masks.token_map(x.flatten(1), (2, 3))),
    (TypeError, "`maps` must be a tensor, got dict", lambda: feature_masks.token_map({"a": x}, (2, 3))),
    (ValueError, r"`grid` must be two numbers, down and across, got int 3", lambda: feature_masks.token_map(x, 3)),
    (ValueError, r"`grid` must be two numbers, .*, got a tuple of int",
     lambda: feature_masks.token_map(x.flatten(1), (2, 2, 2), prefix=0)),
    (ValueError, "`grid` must be at least 1, got -2", lambda: feature_masks.token_map(x, (-2, -2))),
    (ValueError, r"`size` must be two numbers, .*, got int 4",
     lambda: feature_masks.token_map(x.flatten(1), (2, 4), 4, prefix=0)),
    (TypeError, "`attention_mask` must be a tensor, got a list of list", lambda: feature_masks.tokens([[1, 0]])),
    (ValueError, "`attention_mask` must be 0 or 1, as a tokenizer gives it; got values from -9",
     lambda: feature_masks.tokens(torch.tensor([[0.0, -9.0]]))),
    (ValueError, "`special_tokens_mask` must be 0 or 1",
     lambda: feature_masks.tokens(torch.ones(1, 2), torch.tensor([[101, 0]]))),
    (ValueError, "`prefix` must be at least 0, got -1",
     lambda: feature_masks.token_map(x.flatten(1), (3, 3), prefix=-1)),
    (ValueError, r"`size` must be a multiple of `grid` \(2, 4\), got \(2, 6\)",
     lambda: feature_masks.token_map(x.flatten(1), (2, 4), (2, 6), prefix=0)),
    (ValueError, r"`inputs` must have positions, .*; got \(3, 8\)", lambda: feature_masks.pixels(x.flatten(1))),
    (ValueError, r"`inputs` must have positions, .*; got \(3, 8\)", lambda: feature_masks.patches(x.flatten(1), 2)),
    (ValueError, r"`inputs` must have positions, .*; got \(3, 8\)", lambda: feature_masks.grid(x.flatten(1))),
    (ValueError, "`cells` must be at least 1, got 0", lambda: feature_masks.grid(x, 0)),
    (ValueError, "`size` must be at least 1, got 0", lambda: feature_masks.patches(x, 0)),
    (ValueError, "`size` must be at least 1, got 0", lambda: feature_masks.windows(x, 0)),
    (ValueError, r"`axis` must be one of `inputs` \(3, 2, 2, 2\) .*, got 0",
     lambda: feature_masks.windows(x, 1, axis=0)),
    (ValueError, "`axis` must be one of .*, got -4", lambda: feature_masks.windows(x, 1, axis=-4)),
    (TypeError, "`axis` must be one of the axes .*; got NoneType", lambda: feature_masks.windows(x, 1, axis=None)),
    (TypeError, "`together` must be True or False, got str 'no'",
     lambda: feature_masks.windows(x, 1, together="no")),
    (TypeError, "`compactness` must be a number above 0, got str 'a'",
     lambda: feature_masks.superpixels(x, compactness="a")),
    (TypeError, "`word_ids` must have a list of numbers, or None, for each text, got NoneType",
     lambda: feature_masks.words(None)),
    (ValueError, r"`word_ids` must have as many tokens for each text, got \[1, 2\]. Pad",
     lambda: feature_masks.words([[0], [0, 1]])),
    (ValueError, r"`word_ids` must have as many tokens .*, got \[\]", lambda: feature_masks.words([])),
    (ValueError, "`word_ids` must be at least 0, got -1",
     lambda: feature_masks.words([[-1]])),
    (TypeError, "`word_ids` must be an integer, got str 'film'", lambda: feature_masks.words([["film"]])),
    (TypeError, "`size` must be an integer, got float 1.5", lambda: feature_masks.patches(x, 1.5)),
    (ValueError, "`n_segments` must be at least 1, got 0", lambda: feature_masks.superpixels(x, 0)),
    (ValueError, r"`images` must have shape \(B, C, H, W\), got \[\(3, 8\)\]",
     lambda: feature_masks.superpixels(x.flatten(1))),
    (TypeError, "`images` must be a tensor or a tuple of tensors, got NoneType",
     lambda: feature_masks.superpixels(None)),
    # makers of truth masks
    (ValueError, "`boxes` must have an entry for each example, got none",
     lambda: truth_masks.mask_of_boxes([], (2, 2))),
    (TypeError, "`boxes` of an example must be a tensor or lists of 4 numbers, got str 'box'",
     lambda: truth_masks.mask_of_boxes(["box"], (2, 2))),
    (TypeError, "`boxes` of an example must be a tensor or lists of 4 numbers, got a list of list",
     lambda: truth_masks.mask_of_boxes([[[0, 0, 1, 1], [0, 0, 1]]], (2, 2))),
    (ValueError, r"`boxes` of an example must have shape \(n, 4\), got \(2, 5\)",
     lambda: truth_masks.mask_of_boxes(torch.zeros(3, 2, 5), (2, 2))),
    (ValueError, r"`boxes` of an example must have shape \(n, 4\), got \(\)",
     lambda: truth_masks.mask_of_boxes([0, 0, 1, 1], (2, 2))),
    (ValueError, r"`boxes` are \[x1, y1, x2, y2\] with x1 <= x2 and y1 <= y2, "
     r"got \[\[5.0, 5.0, 3.0, 6.0\]\]. For boxes \[x, y,",
     lambda: truth_masks.mask_of_boxes([[5, 5, 3, 6]], (8, 8))),
    (ValueError, r"`boxes` are .*, got \[\[nan, ", lambda: truth_masks.mask_of_boxes([[torch.nan] * 4], (8, 8))),
    (ValueError, "`size` must be at least 1, got 0", lambda: truth_masks.mask_of_boxes([[0, 0, 1, 1]], (0, 2))),
    (ValueError, "`size` must be two numbers, height and width, got int 4",
     lambda: truth_masks.mask_of_boxes([[0, 0, 1, 1]], 4)),
    (TypeError, "`boxes` must be a tensor or a list with the boxes of each example, got NoneType",
     lambda: truth_masks.mask_of_boxes(None, (2, 2))),
    (TypeError, "`labels` must be a class for each image, an integer; got float 0.5",
     lambda: truth_masks.mosaics(x, [0, 0, 0.5], 1)),
    (ValueError, r"`images` must have shape \(B, C, H, W\) and `labels` \(B\), got \(3, 8\) and \(3,\)",
     lambda: truth_masks.mosaics(x.flatten(1), [0, 0, 1], 1)),
    (ValueError, r"`images` must have shape .*, got \(3, 2, 2, 2\) and \(2,\)",
     lambda: truth_masks.mosaics(x, [0, 1], 1)),
    (ValueError, r"`labels` must have a class with two images or more, and two images of other classes, got "
     r"\[0, 0, 1\]",
     lambda: truth_masks.mosaics(x, [0, 0, 1], 1)),
    (ValueError, "`n_mosaics` must be at least 1, got 0",
     lambda: truth_masks.mosaics(x.repeat(2, 1, 1, 1), [0, 0, 0, 1, 1, 1], 0)),
    (ValueError, "`seed` must be at least 0, got -1",
     lambda: truth_masks.mosaics(x.repeat(2, 1, 1, 1), [0, 0, 0, 1, 1, 1], 1, -1)),
    # outputs
    (TypeError, "`model` must be a model or a function, got int 3",
     lambda: outputs.MeanOverMask(3)),
    (TypeError, "`activation` must be a function of the model's output, got str 'softmax'",
     lambda: outputs.MeanOverMask(LAYER, activation="softmax")),
    (ValueError, "`additional_forward_args` must have the mask last, a tensor with a row per example; got a tuple of "
     "nothing",
     lambda: outputs.MeanOverMask(LAYER)(x)),
    (ValueError, "`additional_forward_args` must have the mask last, .*; got a tuple of list",
     lambda: outputs.MeanOverMask(LAYER)(x, [1])),
    (ValueError, "The mask must say which positions count: booleans, or weights from 0 to 1. Of classes make a mask",
     lambda: outputs.MeanOverMask(unseen)(x, torch.full((B, 2, 2), 3))),
    (TypeError, f"The mask must be {REAL}",
     lambda: outputs.MeanOverMask(unseen)(x, imaginary(x))),
    (ValueError, r"`model` must return `\[rows, classes, ...\]` with axes of positions for a mask, got \(3, 8\)",
     lambda: outputs.MeanOverMask(LAYER)(x, torch.ones(B, 2, 2))),
    (TypeError, "`model` must return a tensor, got a tuple of Tensor",
     lambda: outputs.MeanOverMask(lambda rows: (rows,))(x, torch.ones(B, 2, 2))),
    (ValueError, r"The mask must have shape \(3, 2, 2\), a row for each row of the output, .*; got \(3, 4, 4\). For an "
     "output of another size than the image, give a mask of the output's size",
     lambda: outputs.MeanOverMask(nn.Identity())(x, torch.ones(B, 4, 4))),
    (ValueError, r"The mask must have shape \(3, 2, 2\), .*; got \(2, 2\)",
     lambda: outputs.MeanOverMask(nn.Identity())(x, torch.ones(2, 2))),
    (ValueError, r"The mask must have shape \(3, 2, 2\), .*; got \(2, 2, 2\)",
     lambda: outputs.MeanOverMask(nn.Identity())(x, torch.ones(2, 2, 2))),
    (ValueError, r"The mask must have shape \(3, 2, 2\), .*; got \(3, 2, 2, 2\)",
     lambda: outputs.MeanOverMask(nn.Identity())(x, torch.ones(3, 2, 2, 2))),
    (TypeError, "`detector` must be a model or a function, got the class Own",
     lambda: outputs.DetectionSimilarity(Own)),
    (ValueError, "`additional_forward_args` must end with the boxes and the classes of the detections to explain, .*; "
     "got a tuple of Tensor",
     lambda: outputs.DetectionSimilarity(unseen)(x, BOXES)),
    (ValueError, "`additional_forward_args` must end with the boxes and the classes .*; got a tuple of Tensor, int",
     lambda: outputs.DetectionSimilarity(unseen)(x, BOXES, 1)),
    (ValueError, r"The boxes must have shape \(3, 4\), one for each row; got \(4,\)",
     lambda: outputs.DetectionSimilarity(unseen)(x, BOXES[0], LABELS)),
    (ValueError, r"The boxes must be \[x1, y1, x2, y2\] with x1 < x2 and y1 < y2, got .*add the first two numbers",
     lambda: outputs.DetectionSimilarity(unseen)(x, BOXES.flip(1), LABELS)),
    (ValueError, r"The classes must be labels of shape \(3,\), integers, or probabilities of shape \(3, classes\); got "
     r"torch.float32 of shape \(3,\)",
     lambda: outputs.DetectionSimilarity(unseen)(x, BOXES, LABELS.float())),
    (ValueError, r"The classes must be labels of shape .* got torch.int64 of shape \(\)",
     lambda: outputs.DetectionSimilarity(unseen)(x, BOXES, LABELS[0])),
    (ValueError, "The classes must be labels or probabilities, not below 0 and not all 0; got",
     lambda: outputs.DetectionSimilarity(unseen)(x, BOXES, LABELS - 1)),
    (ValueError, "The classes must be labels or probabilities, not below 0 and not all 0; got",
     lambda: outputs.DetectionSimilarity(unseen)(x, BOXES, torch.tensor([[1.0, 0.0]] * 2 + [[0.0, 0.0]]))),
    (ValueError, "`detector` must return a list with a mapping for each of its 3 rows, .*; got a list of dict",
     lambda: outputs.DetectionSimilarity(lambda rows: [found()])(x, BOXES, LABELS)),
    (ValueError, "`detector` must return a list with a mapping for each of its 3 rows, .*; got Tensor",
     lambda: outputs.DetectionSimilarity(LAYER)(x, BOXES, LABELS)),
    (ValueError, "`detector` must return a list with a mapping for each of its 3 rows, .*; got a list of Tensor",
     lambda: outputs.DetectionSimilarity(lambda rows: [*rows])(x, BOXES, LABELS)),
    (ValueError, r"`detector` must return `boxes` and `labels` or `probabilities` .* got boxes \(Tensor\)",
     lambda: similarity(boxes=BOXES)),
    (ValueError, "`detector` must return `boxes` and `labels` or `probabilities` .* got nothing",
     lambda: similarity()),
    (ValueError, r"`detector` must return `boxes` \(n, 4\), `labels` \(n\) .*, got \(3, 4\), \(2,\) and \(3,\)",
     lambda: similarity(**found(labels=LABELS[:2]))),
    (ValueError, r"`detector` must return `boxes` .*, got \(3, 4\), \(3,\) and \(3,\). Labels are integers",
     lambda: similarity(**found(labels=LABELS.float()))),
    (ValueError, r"`detector` must return `boxes` .*, got \(4,\), \(3,\) and \(3,\)",
     lambda: similarity(**found(boxes=BOXES[0]))),
    (ValueError, r"`detector` must return `boxes` .*, got \(3, 4\), \(3,\) and \(3, 1\)",
     lambda: similarity(**found(scores=torch.ones(3, 1)))),
    (ValueError, r"`detector` must return `boxes` \[x1, y1, x2, y2\] with x1 <= x2 and y1 <= y2, got .*box_convert",
     lambda: similarity(**found(boxes=BOXES.flip(1)))),
    (ValueError, "`detector` must return `scores` from 0 to 1, and no negative `probabilities` or `labels`. Of logits",
     lambda: similarity(**found(scores=torch.tensor([0.5, 1.5, 0.0])))),
    (ValueError, "`detector` must return `scores` from 0 to 1, and no negative `probabilities` or `labels`",
     lambda: similarity(boxes=BOXES, probabilities=-torch.ones(3, 4))),
    (ValueError, "The classes of the detections to explain must be those of `detector`, .* one has 2 probabilities, "
     "the other 2",
     lambda: similarity(boxes=BOXES, probabilities=torch.ones(3, 2))),
]  # fmt: skip


def test_a_bad_call_is_refused():
    for error, match, bad_call in BAD_CALLS:
        with pytest.raises(error, match=match):
            bad_call()


# ---- the table is whole


def raises_of(file: Path) -> list[ast.Raise]:
    """The statements that raise an error of the package's own: not those that pass one on."""
    return [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Raise) and n.exc is not None]


def places_of(error: BaseException) -> list[tuple[str, int]]:
    """The files and lines of the package that an error went through."""
    places, trace = [], error.__traceback__
    while trace is not None:
        places.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return places


def provoked() -> set[tuple[str, int]]:
    """Every place of the package where an entry of the tables above raises."""
    places: set[tuple[str, int]] = set()
    errors = [found.error for table in TABLES for found in outcomes(table).values() if found.error is not None]
    for _, _, bad_call in BAD_CALLS:
        try:
            bad_call()
        except Exception as error:
            errors.append(error)
    for error in errors:
        places.update(places_of(error))
    return places


def test_every_raise_of_the_package_is_provoked_by_an_entry_above():
    files = [*PACKAGE.glob("_core/*.py"), *PACKAGE.rglob("metrics/*/*.py"), *PACKAGE.glob("metrics/*.py")]
    files = [file for file in files if "attribench" not in file.parts]
    assert len(files) > 60
    makers = ("baselines", "feature_masks", "perturbations", "truth_masks", "outputs")
    files += [PACKAGE / f"{name}.py" for name in makers]
    places = provoked()
    missed = [
        f"{file.relative_to(PACKAGE)}:{statement.lineno}"
        for file in files
        for statement in raises_of(file)
        if not any((str(file), n) in places for n in range(statement.lineno, statement.end_lineno + 1))
    ]
    assert missed == []


def test_the_package_never_asserts():
    """`python -O` would remove the check."""
    for file in PACKAGE.rglob("*.py"):
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(file.read_text()))), file.name


# ---- what is no error: the last valid value, of which one beyond is refused above

LAST_VALID = [
    {"target": -4},
    {"target": 3},
    {"target": [3, -4, 0]},
    {"n_perturb_samples": 1},
    {"max_examples_per_batch": 1},
    {"n_steps": 2},
    {"start": 0},
    {"stop": 1},
    {"start": 1.0, "stop": 0.0},
    {"seed": 0},
    {"seed": [0, 2**63 - 1, 2**63]},
    {"weights_seed": 0},
    {"n_bins": 2},
    {"n_classes": 2},
    {"noise_level": 0},
    {"n_top": 1},
    {"n_top": 8},
    {"eps_min": 5e-324},
    {"eps_min": 1.7e308},
    {"perturb_radius": 0},
    {"norm_ord": float("inf")},
    {"norm_ord": 0.5},
    {"tolerance": 0},
    {"tolerance": 1},
    {"n": 1},
    {"n": 1.0},
    {"n": 1e-9},
    {"n": 4},
    {"n": [1, 4]},
    {"k": 1},
    {"k": 4},
    {"k": 1.0},
    {"k": 1e-9},
    {"alpha": 1, "beta": 1},
    {"alpha": 1e-9, "beta": 1e-9},
    {"shares": 1},
    {"shares": 8},
    {"shares": [1.0]},
    {"shares": 1e-9},
    {"shift": 0},
    {"feature_mask": MASK, "frozen": range(1, 4)},
    {"feature_mask": MASK, "frozen": [77]},
    {"feature_mask": torch.zeros(1, dtype=torch.int8)},
    {"feature_mask": torch.full((3, 1, 2, 2), 2**62)},
]


def test_the_last_valid_value_is_taken():
    """By every metric that takes the argument, in the shape of its scores."""
    for changes in LAST_VALID:
        taking = [m for m in EVERY if all(takes(m, name) for name in changes)]
        assert taking, changes
        for metric in taking:
            few = {name: 1 for name in ("n", "k") if "feature_mask" in changes and takes(metric, name)}
            classes = {"target": [0, 1, -2]} if "n_classes" in changes else {}
            scores = call(metric, Model(), **few, **classes, **changes)
            assert scores.shape[0] == B, (metric.__name__, changes)


def test_the_last_valid_target_is_the_first_or_the_last_output():
    for metric in WITH_TARGET:
        for last, same in ((-4, 0), (3, -1)):
            seed = {"seed": 0} if takes(metric, "seed") else {}
            found, wanted = (call(metric, Model(), target=c, **seed) for c in (last, same))
            assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
            assert found.isfinite().any(), metric.__name__


def test_makers_take_their_last_valid_value():
    assert perturbations.square_removal(x, size=2)[0].shape == x.shape
    assert perturbations.square_removal(x, size=1, position=0)[0].shape == x.shape
    assert perturbations.square_removal(x, size=1, position=3)[0].shape == x.shape
    assert perturbations.segment_removal(x, feature_mask=MASK, n=4)[0].shape == x.shape
    assert baselines.box_blur(x, 1).shape == baselines.box_blur(x, 1e-9).shape == x.shape
    assert baselines.gaussian_blur(x, 1, sigma=1e-9).shape == x.shape
    assert baselines.NoisyLinear(noise=0, seed=0).fill(x, x > 5).shape == x.shape
    assert feature_masks.grid(x, 1).shape == (1, 1, 2, 2)
    assert feature_masks.patches(x, 1).shape == feature_masks.patches(x, 9).shape == (1, 1, 2, 2)
    assert [feature_masks.windows(x, 1, axis=axis).dim() for axis in (1, 3, -3, -1)] == [4] * 4


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.__name__)
def test_one_example_is_enough(metric):
    changes = {"attributions": phi[:1]} if takes(metric, "attributions") else {}
    assert len(call(metric, Model(), inputs=x[:1], **changes)) == 1


def test_an_infinite_attribution_can_be_ranked():
    infinite = phi.clone()
    infinite[:, 0, 0, 0] = torch.inf
    assert_close(
        call(deletion, Model(), attributions=infinite),
        call(
            deletion,
            Model(),
            attributions=phi.index_put((torch.arange(B), *torch.zeros(3, B).long()), torch.tensor(9.0)),
        ),
    )


def test_numpy_counts_and_fractions_are_numbers():
    numbers = {"n_steps": np.int64(5), "start": np.float32(0.25), "stop": np.float64(1)}
    assert_close(call(deletion, Model(), **numbers), call(deletion, Model(), n_steps=5, start=0.25, stop=1))


@pytest.mark.parametrize("limit", [np.int64(4), np.array(4), torch.tensor(4)])
def test_a_limit_may_be_a_number_of_numpy_or_torch(limit):
    """Also with a `perturb_func` of one's own, which is called with so many copies at most."""
    for metric in [m for m in EVERY if takes(m, "max_examples_per_batch")]:
        own = {"perturb_func": shrunk} if takes(metric, "explanation_func") and takes(metric, "perturb_func") else {}
        seed = {"seed": 0} if takes(metric, "seed") else {}
        scores, expected = (call(metric, Model(), max_examples_per_batch=n, **own, **seed) for n in (limit, 4))
        assert_close(scores, expected, equal_nan=True)


# ---- warnings


class Regularised(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layer(LAYER(rows))[:, :4]


@pytest.mark.parametrize(("metric", "layer"), list(zip(FORWARD, cycle([nn.Dropout(), nn.BatchNorm1d(8)]))))
def test_a_model_in_training_mode_is_warned_of(metric, layer):
    model = Regularised(nn.Dropout() if metric in OF_ORDERS else layer).train()  # a search may call it with one row
    with pytest.warns(UserWarning, match=r"`forward_func` is in training mode .*Call model.eval\(\) first") as caught:
        call(metric, model)
    assert len([w for w in caught if "No patch changed" not in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "No patch changed")
        call(metric, model.eval())
        call(metric, Regularised(nn.Identity()).eval())
        call(metric, nn.Sequential(LAYER, nn.Linear(8, 4)))  # as it was made, and no different in training mode


def test_the_warning_of_training_mode_points_at_the_caller():
    model = Regularised(nn.Dropout()).train()
    with pytest.warns(UserWarning, match="training mode") as caught:
        infidelity(model, half, x, phi, target=0)
    assert caught[0].filename == __file__


class FullAt(Model):
    """Runs out of memory above some number of rows."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > self.most:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().__call__(rows)


@pytest.mark.parametrize("metric", CALLING)
def test_where_memory_runs_out_the_batch_is_halved_with_a_warning_that_says_the_limit(metric):
    draws = {"seed": 0} if takes(metric, "seed") else {}
    draws |= {"n_perturb_samples": 20} if metric in CORRELATIONS else {}
    with pytest.warns(
        UserWarning, match=r"Out of memory: going on with batches of \d+ rows. Set `max_examples_per_batch`"
    ):
        scores = call(metric, FullAt(2), **draws)
    assert_close(scores, call(metric, Model(), **draws))


def test_where_one_row_is_too_much_the_error_is_passed_on():
    with pytest.warns(UserWarning, match="Out of memory"), pytest.raises(torch.cuda.OutOfMemoryError):
        call(deletion, FullAt(0))


def test_a_card_leaves_the_function_as_it_is():
    def score() -> None: ...

    card = {
        "family": "any",
        "higher_is_better": True,
        "range": (0, 1),
        "rows": "B",
        "reference": "A. N. et al. 2020, arXiv:2001.00001",
    }
    assert with_card(**card)(score) is score
