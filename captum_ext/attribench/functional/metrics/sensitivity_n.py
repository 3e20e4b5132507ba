"""Sensitivity-n."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from captum_ext import metrics

from ...._core.checks import check_count
from ...data import AttributionsDataset
from ...masking import Masker
from ...result import SensitivityNResult
from ._plan import CPU, Plan, computed
from ._scores import Scores, activation_names, check_maskers, each, masked_plan


@computed
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
) -> Plan[SensitivityNResult]:
    """Correlation of the attribution of random sets of n features and the drop of the output without them.

    It is `captum_ext.metrics.sensitivity_n`. Every sample draws its own sets (in AttriBench a batch shares them), and
    where there are few sets all are taken. A correlation that is undefined, as of a constant attribution, is NaN
    (AttriBench: 0). With `segmented` the sizes are fractions of each image's own number of segments, rounded
    (AttriBench: of 100, whatever there are).

    Args:
        batch_size: samples scored together, and the most rows of a call of the model.
        maskers: name -> masker.
        activation_fns: one or several of `"linear"`, `"softmax"`, `"sigmoid"`; they share the model's evaluations.
        min_subset_size: fraction of the features in the smallest sets, `max_subset_size` in the largest; `num_steps`
            even sizes between. The number of features is the fraction's, rounded down, as in AttriBench.
        num_subsets: sets of each size.
        segmented: sets of superpixels (SLIC, about 100 an image), each with the mean of its attributions.
        device: the model is copied there if it is elsewhere.
        seed: of the sets and of maskers that draw at random, by sample.
    """
    check_count("num_steps", num_steps)
    check_count("num_subsets", num_subsets, least=2)
    check_maskers(maskers, attributions_dataset, segmented)
    activations, data = activation_names(activation_fns), attributions_dataset
    sizes, column = _sizes(data, min_subset_size, max_subset_size, num_steps, segmented)
    aggregate = "mean" if segmented else "sum"
    score = partial(_correlations, n=sizes, column=column, n_perturb_samples=num_subsets, aggregate=aggregate)
    result = SensitivityNResult(data.method_names, list(maskers), activations, data.num_samples, num_steps)
    return masked_plan(data, maskers, result, score, activations=activations, segmented=segmented)


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
        none = f"`min_subset_size` {least} of {features} features is none"
        raise ValueError(f"{none}: it must be at least {1 / features:.3g}.")
    sizes, column = np.unique(wanted, return_inverse=True)
    return sizes.tolist(), column.tolist()


def _correlations(*of: Any, column: Sequence[int], **settings: Any) -> Scores:
    return each(lambda scores: scores[:, column], metrics.sensitivity_n(*of, **settings))
