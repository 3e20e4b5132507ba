"""IROF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ...data import AttributionsDataset
from ...masking import Masker
from ...result import DeletionResult
from ._plan import CPU, Plan
from .deletion import deletion_plan


def irof(
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
    """The model's output while superpixels are masked in the order of their mean attribution: `captum_ext.metrics.deletion_curve`.

    Superpixels are SLIC's, about 100 an image; the number masked is the rounded fraction of those the image has (AttriBench cuts it off, masks
    all of them where that comes to none, and does not return its result). These are curves, as AttriBench's: the area over the curve, relative to
    the unmasked image, is `captum_ext.metrics.irof`.

    Arguments as in `deletion`; `start` and `stop` are fractions of the segments.
    """
    plan = irof_plan(attributions_dataset, maskers, activation_fns, mode, start, stop, num_steps)
    return plan.run(model, batch_size, device, seed=seed, show_progress=show_progress)


def irof_plan(
    dataset: AttributionsDataset,
    maskers: Mapping[str, Masker],
    activation_fns: str | Sequence[str],
    mode: str,
    start: float,
    stop: float,
    num_steps: int,
) -> Plan[DeletionResult]:
    return deletion_plan(dataset, maskers, activation_fns, mode, start, stop, num_steps, segmented=True)
