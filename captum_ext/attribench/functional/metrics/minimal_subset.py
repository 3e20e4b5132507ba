"""Minimal subset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext import metrics

from ...data import AttributionsDataset
from ...masking import Masker
from ...result import MinimalSubsetResult
from ._activations import Scores, each
from ._plan import CPU, Plan, check_maskers, check_whole, takes_all_methods

MODES = ("deletion", "insertion")


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
) -> MinimalSubsetResult:
    """The number of most relevant features whose masking changes the prediction, or that alone make it: `captum_ext.metrics.minimal_subset`.

    Where `num_steps` does not divide the number of features, the steps differ by one (AttriBench cuts the size of a step off, and so may take
    more of them).

    Args:
        batch_size: samples scored together, and the most rows of a call of the model.
        maskers: name -> masker.
        mode: `"deletion"`, masking until the prediction changes, or `"insertion"`, showing until it is that of the whole sample.
        num_steps: into which the features are divided, from 2 to their number.
        device: the model is copied there if it is elsewhere.
        seed: of maskers that draw at random, by sample.

    Returns:
        the numbers; all features where the prediction never changes. Lower is better.
    """
    plan = minimal_subset_plan(attributions_dataset, maskers, mode, num_steps)
    return plan.run(model, batch_size, device, seed=seed, show_progress=show_progress)


def minimal_subset_plan(
    dataset: AttributionsDataset, maskers: Mapping[str, Masker], mode: str, num_steps: int
) -> Plan[MinimalSubsetResult]:
    if mode not in MODES:
        raise ValueError(f"`mode` must be 'deletion' or 'insertion', got {mode!r}.")
    check_maskers(maskers, dataset)
    check_whole("num_steps", num_steps, least=2)
    features = dataset.maps(dataset.method_names[0], 0).numel()
    if num_steps > features:
        raise ValueError(f"`num_steps` must be at most the number of features, {features}; got {num_steps}.")
    settings: dict[str, Any] = {"mode": mode, "num_steps": num_steps, "features": features}
    by_masker = {name: partial(_numbers, masker=masker, **settings) for name, masker in maskers.items()}
    result = MinimalSubsetResult(dataset.method_names, list(maskers), mode, dataset.num_samples)
    return Plan(dataset, by_masker, result, "masker")


@takes_all_methods(metrics.minimal_subset)
def _numbers(
    forward_func: Callable[[Tensor], Tensor],
    inputs: Tensor,
    attributions: Any,
    seed: Sequence[int],
    max_examples_per_batch: int | None = None,
    *,
    masker: Masker,
    mode: str,
    num_steps: int,
    features: int,
) -> Scores:
    shares = metrics.minimal_subset(
        forward_func,
        inputs,
        attributions,
        masker(inputs, seed),
        mode=mode,
        n_steps=num_steps + 1,
        max_examples_per_batch=max_examples_per_batch,
    )
    return each(lambda share: (share.double() * features).round(), shares)
