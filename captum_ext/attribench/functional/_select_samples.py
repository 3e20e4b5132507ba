"""The samples that a model gets right."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..data import HDF5DatasetWriter
from ._model import on_device


def select_samples(
    model: nn.Module,
    dataset: Any,
    num_samples: int,
    batch_size: int,
    writer: HDF5DatasetWriter | None = None,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor] | None:
    """The first `num_samples` samples of `(sample, label)` that the model classifies correctly, and their labels.

    Exactly that many (AttriBench returns the last batch whole); where there are fewer, those there are, with a warning.

    Args:
        model: it is moved to `device` (by default the CPU), and in evaluation mode for the time.
        writer: takes the samples batch by batch; then nothing is returned.

    Returns:
        `(samples, labels)` on the device.
    """
    if num_samples < 1:
        raise ValueError(f"`num_samples` must be at least 1, got {num_samples}.")
    selected: list[tuple[Tensor, Tensor]] = []
    missing = num_samples
    with on_device(model, device) as place, torch.no_grad():
        for samples, labels in DataLoader(dataset, batch_size):
            samples, labels = samples.to(place), labels.to(place)
            correct = (model(samples).argmax(1) == labels).nonzero()[:missing, 0]
            missing -= len(correct)
            if writer is None:
                selected.append((samples[correct], labels[correct]))
            elif len(correct):
                writer.write(samples[correct].cpu(), labels[correct].cpu())
            if not missing:
                break
    if missing:
        warnings.warn(
            f"Only {num_samples - missing} samples were classified correctly, {num_samples} were asked for.",
            stacklevel=2,
        )
    if writer is not None:
        return None
    if not selected:
        raise ValueError("`dataset` has no samples.")
    all_samples, all_labels = map(torch.cat, zip(*selected))
    return all_samples, all_labels
