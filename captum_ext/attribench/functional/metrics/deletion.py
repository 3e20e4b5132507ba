"""Deletion and insertion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from captum_ext.feature_masks import superpixels
from captum_ext.metrics import deletion_curve, insertion_curve

from ...data import AttributionsDataset
from ...masking import Masker
from ...result import DeletionResult, InsertionResult
from ._activations import Scores, activation_names, over_activations
from ._plan import CPU, Plan, check_maskers, check_whole, takes_all_methods

Curves = TypeVar("Curves", bound=DeletionResult)


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
) -> DeletionResult:
    """The model's output while features are masked in the order of their relevance: `captum_ext.metrics.deletion_curve`.

    The number of masked features is the rounded fraction (AttriBench cuts it off, so it may mask one fewer), and equal attributions are
    ordered by place.

    Args:
        batch_size: samples scored together, and the most rows of a call of the model.
        maskers: name -> masker.
        activation_fns: one or several of `"linear"`, `"softmax"`, `"sigmoid"`; they share the model's evaluations.
        mode: `"morf"`, the most relevant features first, or `"lerf"`.
        start: fraction of the features masked at the first of `num_steps` points; `stop`: at the last.
        device: the model is copied there if it is elsewhere.
        seed: of maskers that draw at random, by sample.
    """
    plan = deletion_plan(attributions_dataset, maskers, activation_fns, mode, start, stop, num_steps)
    return plan.run(model, batch_size, device, seed=seed, show_progress=show_progress)


def insertion(
    model: nn.Module,
    attributions_dataset: AttributionsDataset,
    batch_size: int,
    maskers: Mapping[str, Masker],
    activation_fns: str | Sequence[str] = "linear",
    mode: str = "morf",
    start: float = 0.0,
    stop: float = 1.0,
    num_steps: int = 100,
    device: torch.device | None = None,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> InsertionResult:
    """The output while features are shown in the order of their relevance and the rest is masked: `captum_ext.metrics.insertion_curve`.

    Arguments and differences from AttriBench as in `deletion`; `start` and `stop` are fractions of the features shown.
    """
    plan = insertion_plan(attributions_dataset, maskers, activation_fns, mode, start, stop, num_steps)
    return plan.run(model, batch_size, device, seed=seed, show_progress=show_progress)


def curve_plan(
    curve: Callable[..., Scores],
    kind: type[Curves],
    dataset: AttributionsDataset,
    maskers: Mapping[str, Masker],
    activation_fns: str | Sequence[str],
    mode: str,
    start: float,
    stop: float,
    num_steps: int,
    segmented: bool = False,
) -> Plan[Curves]:
    check_whole("num_steps", num_steps, least=2)
    check_maskers(maskers, dataset, attributions=not segmented)
    activations = activation_names(activation_fns)
    on_grid = partial(curve, mode=mode, start=start, stop=stop, n_steps=num_steps)
    settings: dict[str, Any] = {"activations": activations, "curve": on_grid, "segmented": segmented}
    metrics = {name: partial(_curves, masker=m, **settings) for name, m in maskers.items()}
    result = kind(dataset.method_names, list(maskers), activations, mode, dataset.num_samples, num_steps)
    return Plan(dataset, metrics, result, "masker")


deletion_plan = partial(curve_plan, deletion_curve, DeletionResult)
insertion_plan = partial(curve_plan, insertion_curve, InsertionResult)


@takes_all_methods(deletion_curve)
def _curves(
    forward_func: Callable[[Tensor], Tensor],
    inputs: Tensor,
    attributions: Any,
    target: Tensor,
    seed: Sequence[int],
    max_examples_per_batch: int | None = None,
    *,
    masker: Masker,
    activations: Sequence[str],
    curve: Callable[..., Scores],
    segmented: bool,
) -> Scores:
    fixed: dict[str, Any] = {
        "baselines": masker(inputs, seed),
        "target": target,
        "max_examples_per_batch": max_examples_per_batch,
    }
    if segmented:
        fixed["feature_mask"] = superpixels(inputs, slic_zero=True)
    return over_activations(lambda f: curve(f, inputs, attributions, **fixed), forward_func, activations)
