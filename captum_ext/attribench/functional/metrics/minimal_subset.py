"""Minimal subset."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from captum_ext import metrics

from ...._core.checks import check_choice, check_count
from ...data import AttributionsDataset
from ...masking import Masker
from ...result import MinimalSubsetResult
from ._plan import CPU, Plan, computed
from ._scores import Scores, check_maskers, each, masked_plan


@computed
def minimal_subset(
    model: nn.Module,
    attributions_dataset: AttributionsDataset,
    batch_size: int,
    maskers: Mapping[str, Masker],
    mode: str = "deletion",
    num_steps: int = 100,
    device: torch.device | None = CPU,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> Plan[MinimalSubsetResult]:
    """The number of most relevant features whose masking changes the prediction, or that alone make it.

    It is `captum_ext.metrics.minimal_subset`, as a number. Where `num_steps` does not divide the number of features,
    the steps differ by one (AttriBench rounds the size of a step down, and so may take more of them).

    Args:
        batch_size: samples scored together, and the most rows of a call of the model.
        maskers: name -> masker.
        mode: `"deletion"`, masking until the prediction changes, or `"insertion"`, showing until it is the whole
            sample's.
        num_steps: into which the features are divided, from 2 to their number.
        device: the model is copied there if it is elsewhere.
        seed: of maskers that draw at random, by sample.

    Returns:
        the numbers; all features where the prediction never changes. Lower is better.
    """
    check_choice("mode", mode, ("deletion", "insertion"))
    check_maskers(maskers, attributions_dataset)
    check_count("num_steps", num_steps, least=2)
    features = attributions_dataset.maps(attributions_dataset.method_names[0], 0).numel()
    if num_steps > features:
        raise ValueError(f"`num_steps` must be at most the number of features, {features}; got {num_steps}.")
    score = partial(_numbers, mode=mode, n_steps=num_steps + 1, features=features)
    samples = attributions_dataset.num_samples
    result = MinimalSubsetResult(attributions_dataset.method_names, list(maskers), mode, samples)
    return masked_plan(attributions_dataset, maskers, result, score)


def _numbers(*of: Any, features: int, target: Any, seed: Any, **settings: Any) -> Scores:
    """`[B, 1]`. The prediction is the model's own, so the target does not count, and nothing is drawn."""
    shares = metrics.minimal_subset(*of, **settings)
    return each(lambda share: (share.double() * features).round()[:, None], shares)
