"""Adversarial patches, each trained by one of many workers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from captum_ext import evaluate
from captum_ext.evaluation.files import written_aside

from ..functional._train_adversarial_patches import classes_of, trained, value_range
from ._select_samples import no_explanation
from ._workers import workers


class TrainAdversarialPatches:
    """`captum_ext.attribench.functional.train_adversarial_patches`, class by class; arguments as in
    `captum_ext.attribench.distributed.metrics`.
    """

    def __init__(
        self,
        model_factory: Any,
        dataset: Any,
        num_patches: int,
        batch_size: int,
        path: str,
        labels: Sequence[int] | None = None,
        address: str = "localhost",
        port: str | int = "12355",
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ):
        self.model_factory, self.classes = model_factory, classes_of(num_patches, labels)
        loader = DataLoader(dataset, batch_size)
        self.train = partial(_train, loader=loader, limits=value_range(loader), path=path, first_seed=seed)
        self.options = workers(address, port, devices, options)

    def run(self, progress: bool = True) -> None:
        """Writes the patches to `<path>_<class>.pt`."""
        numbered = [(torch.tensor([float(i)]), label) for i, label in enumerate(self.classes)]
        options = {"batch_size": 1, "show_progress": progress, **self.options}
        evaluate(self.model_factory, numbered, {"none": no_explanation}, {"patch": self.train}, **options)


def _train(
    forward_func: Any,
    inputs: Tensor,
    attributions: Tensor,
    target: Tensor,
    *,
    loader: Any,
    limits: tuple[float, float],
    path: str,
    first_seed: int,
) -> Tensor:
    """Of the one patch that `inputs` numbers."""
    label, seed = int(target), first_seed + int(inputs)
    patch = trained(forward_func, loader, label, limits, seed, inputs.device)
    with written_aside(Path(f"{path}_{label}.pt")) as aside:
        torch.save(patch, aside)
    return inputs[:, 0]
