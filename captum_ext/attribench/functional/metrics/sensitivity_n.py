"""Sensitivity-n."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_ext import metrics
from captum_ext.feature_masks import superpixels

from ...data import AttributionsDataset
from ...masking import Masker
from ...result import SensitivityNResult
from ._activations import Scores, activation_names, each, over_activations
from ._plan import CPU, Plan, check_maskers, check_whole, takes_all_methods


def sensitivity_n(
    model: nn.Module,
    attributions_dataset: AttributionsDataset,
    batch_size: int,
    maskers: Mapping[str, Masker],
    activation_fns: str | Sequence[str],
    min_subset_size: float,
    max_subset_size: float,
    num_steps: int,
    num_subsets: int,
    segmented: bool,
    device: torch.device | None = CPU,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> SensitivityNResult:
    """Correlation of the attribution of random sets of n features and the drop of the output without them: `captum_ext.metrics.sensitivity_n`.

    Every sample draws its own sets (in AttriBench a batch shares them), and where there are few sets all are taken. A correlation that is
    undefined, as of a constant attribution, is NaN (AttriBench: 0). With `segmented` the sizes are fractions of each image's own number of
    segments, rounded (AttriBench: of 100, whatever there are).

    Args:
        batch_size: samples scored together, and the most rows of a call of the model.
        maskers: name -> masker.
        activation_fns: one or several of `"linear"`, `"softmax"`, `"sigmoid"`; they share the model's evaluations.
        min_subset_size: fraction of the features in the smallest sets, `max_subset_size` in the largest; `num_steps` even sizes between.
            The number of features is the fraction's, cut off, as in AttriBench.
        num_subsets: sets of each size.
        segmented: sets of superpixels (SLIC, about 100 an image), each with the mean of its attributions.
        device: the model is copied there if it is elsewhere.
        seed: of the sets and of maskers that draw at random, by sample.
    """
    plan = sensitivity_n_plan(
        attributions_dataset,
        maskers,
        activation_fns,
        min_subset_size,
        max_subset_size,
        num_steps,
        num_subsets,
        segmented,
    )
    return plan.run(model, batch_size, device, seed=seed, show_progress=show_progress)


def sensitivity_n_plan(
    dataset: AttributionsDataset,
    maskers: Mapping[str, Masker],
    activation_fns: str | Sequence[str],
    min_subset_size: float,
    max_subset_size: float,
    num_steps: int,
    num_subsets: int,
    segmented: bool,
) -> Plan[SensitivityNResult]:
    check_whole("num_steps", num_steps)
    check_whole("num_subsets", num_subsets, least=2)
    check_maskers(maskers, dataset, attributions=not segmented)
    activations = activation_names(activation_fns)
    sizes, column = _sizes(dataset, min_subset_size, max_subset_size, num_steps, segmented)
    settings: dict[str, Any] = {
        "activations": activations,
        "n": sizes,
        "column": column,
        "num_subsets": num_subsets,
        "segmented": segmented,
    }
    metrics_by_masker = {name: partial(_correlations, masker=masker, **settings) for name, masker in maskers.items()}
    result = SensitivityNResult(dataset.method_names, list(maskers), activations, dataset.num_samples, num_steps)
    return Plan(dataset, metrics_by_masker, result, "masker")


def _sizes(
    dataset: AttributionsDataset, least: float, most: float, num_steps: int, segmented: bool
) -> tuple[list[Any], list[int]]:
    """The different sizes, and which of them each step has."""
    for name, fraction in (("min_subset_size", least), ("max_subset_size", most)):
        if not 0 < fraction <= 1:
            raise ValueError(f"`{name}` is a fraction of the features, above 0 and at most 1; got {fraction}.")
    fractions = np.linspace(least, most, num_steps)
    features = math.prod(dataset.attributions_shape)
    wanted = fractions if segmented else (fractions * features).astype(int)
    if wanted.min() == 0:
        raise ValueError(
            f"`min_subset_size` {least} of {features} features is none: it must be at least {1 / features:.3g}."
        )
    sizes, column = np.unique(wanted, return_inverse=True)
    return sizes.tolist(), column.tolist()


@takes_all_methods(metrics.sensitivity_n)
def _correlations(
    forward_func: Callable[[Tensor], Tensor],
    inputs: Tensor,
    attributions: Any,
    target: Tensor,
    seed: Sequence[int],
    max_examples_per_batch: int | None = None,
    *,
    masker: Masker,
    activations: Sequence[str],
    n: Sequence[float],
    column: Sequence[int],
    num_subsets: int,
    segmented: bool,
) -> Scores:
    score = partial(
        metrics.sensitivity_n,
        n=n,
        baselines=masker(inputs, seed),
        feature_mask=superpixels(inputs, slic_zero=True) if segmented else None,
        target=target,
        n_perturb_samples=num_subsets,
        max_examples_per_batch=max_examples_per_batch,
        aggregate="mean" if segmented else "sum",
        seed=seed,
    )
    return over_activations(
        lambda f: each(lambda s: s[:, column], score(f, inputs, attributions)), forward_func, activations
    )
