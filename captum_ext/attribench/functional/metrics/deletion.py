"""Deletion, insertion and IROF."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from captum_ext.metrics import deletion_curve, insertion_curve

from ...._core.checks import check_count
from ...data import AttributionsDataset
from ...masking import Masker
from ...result import DeletionResult, InsertionResult
from ._plan import CPU, Plan, computed, computed_like
from ._scores import Scores, activation_names, check_maskers, masked_plan

Curves = TypeVar("Curves", bound=DeletionResult)


@computed
def deletion(
    model: nn.Module,
    attributions_dataset: AttributionsDataset,
    batch_size: int,
    maskers: Mapping[str, Masker],
    activation_fns: str | Sequence[str] = "linear",
    mode: str = "morf",
    start: float = 0.0,
    stop: float = 1.0,
    num_steps: int = 100,
    device: torch.device | None = CPU,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> Plan[DeletionResult]:
    """The model's output while features are masked in the order of their relevance.

    It is `captum_ext.metrics.deletion_curve`. The number of masked features is the rounded fraction (AttriBench rounds
    down, so it may mask one fewer; `captum_ext.metrics.deletion_curve` does so with `rounding="floor"`), and equal
    attributions are ordered by place.

    Args:
        batch_size: samples scored together, and the most rows of a call of the model.
        maskers: name -> masker.
        activation_fns: one or several of `"linear"`, `"softmax"`, `"sigmoid"`; they share the model's evaluations.
        mode: `"morf"`, the most relevant features first, or `"lerf"`.
        start: fraction of the features masked at the first of `num_steps` points; `stop`: at the last.
        device: the model is copied there if it is elsewhere.
        seed: of maskers that draw at random, by sample.
    """
    return _plan(
        deletion_curve, DeletionResult, attributions_dataset, maskers, activation_fns, mode, start, stop, num_steps
    )


@computed_like(deletion, device=None)
def insertion(**arguments: Any) -> Plan[InsertionResult]:
    """The model's output while features are shown in the order of their relevance, and the rest is masked.

    It is `captum_ext.metrics.insertion_curve`. Takes the same arguments and differs from AttriBench in the same way as
    `deletion`; `start` and `stop` are fractions of the features shown.
    """
    return _plan(insertion_curve, InsertionResult, **arguments)


@computed_like(deletion)
def irof(**arguments: Any) -> Plan[DeletionResult]:
    """The model's output while superpixels are masked in the order of their mean attribution.

    Superpixels are SLIC's, about 100 an image; the number masked is the rounded fraction of those the image has
    (AttriBench rounds down, masks all of them where that comes to none, and does not return its result). Like
    AttriBench's these are curves, `captum_ext.metrics.deletion_curve`; the area over the curve, relative to the
    unmasked image, is `captum_ext.metrics.irof`.

    Takes the same arguments as `deletion`; `start` and `stop` are fractions of the segments.
    """
    return _plan(deletion_curve, DeletionResult, segmented=True, **arguments)


def _plan(
    curve: Callable[..., Scores],
    kind: type[Curves],
    attributions_dataset: AttributionsDataset,
    maskers: Mapping[str, Masker],
    activation_fns: str | Sequence[str],
    mode: str,
    start: float,
    stop: float,
    num_steps: int,
    segmented: bool = False,
    **how: Any,
) -> Plan[Curves]:
    check_count("num_steps", num_steps, least=2)
    check_maskers(maskers, attributions_dataset, segmented)
    activations, data = activation_names(activation_fns), attributions_dataset
    score = partial(_curve, curve=curve, mode=mode, start=start, stop=stop, n_steps=num_steps)
    result = kind(data.method_names, list(maskers), activations, mode, data.num_samples, num_steps)
    return masked_plan(data, maskers, result, score, activations=activations, segmented=segmented)


def _curve(*of: Any, curve: Callable[..., Scores], seed: Any, **settings: Any) -> Scores:
    """The curve, which draws nothing, so no seed."""
    return curve(*of, **settings)
