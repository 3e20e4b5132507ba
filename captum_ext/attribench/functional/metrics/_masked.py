"""What the metrics that mask features share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from captum_ext.feature_masks import superpixels
from captum_ext.metrics import deletion_curve

from ...data import AttributionsDataset
from ...masking import Masker
from ._activations import Outputs, Scores, over_activations, takes_all_methods
from ._plan import Plan, Result, check_names


def masked_plan(
    dataset: AttributionsDataset,
    maskers: Mapping[str, Masker],
    result: Result,
    score: Callable[..., Scores],
    **how: Any,
) -> Plan[Result]:
    """A score under every masker; `how` has the `activations`, and whether features are `segmented`."""
    metrics = {name: partial(_masked, score=score, masker=masker, **how) for name, masker in maskers.items()}
    return Plan(dataset, metrics, result, "masker")


def check_maskers(maskers: Mapping[str, Masker], dataset: AttributionsDataset, segmented: bool = False) -> None:
    """Maskers by name, that mask the features which the attributions are of; segments may be of any."""
    check_names("maskers", maskers, Masker)
    sample = dataset.sample(0)[None]
    for masker in maskers.values():
        masker.check(sample, None if segmented else dataset.maps(dataset.method_names[0], 0)[None])


@takes_all_methods(deletion_curve)
def _masked(
    forward_func: Outputs,
    inputs: Tensor,
    attributions: Any,
    target: Tensor,
    seed: Sequence[int],
    max_examples_per_batch: int | None = None,
    *,
    score: Callable[..., Scores],
    masker: Masker,
    activations: Sequence[str] = ("linear",),
    segmented: bool = False,
) -> Scores:
    """The score of features, elements or superpixels, that the masker replaces."""
    fixed: dict[str, Any] = {
        "baselines": masker(inputs, seed),
        "feature_mask": superpixels(inputs, slic_zero=True) if segmented else None,
        "target": target,
        "seed": seed,
        "max_examples_per_batch": max_examples_per_batch,
    }
    return over_activations(lambda f: score(f, inputs, attributions, **fixed), forward_func, activations)
