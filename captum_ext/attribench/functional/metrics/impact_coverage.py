"""Impact coverage."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext import metrics

from ...result import ImpactCoverageResult
from ._plan import CPU, Method, Plan, computed, explanations

PATCH_FILE = re.compile(r".*_[0-9]+\.pt")


@computed
def impact_coverage(
    model: nn.Module,
    samples_dataset: Any,
    batch_size: int,
    method_dict: Mapping[str, Method],
    patch_folder: str | os.PathLike[str],
    device: torch.device | None = CPU,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> Plan[ImpactCoverageResult]:
    r"""Overlap of a patch that changes the prediction and the most relevant features.

    From Lin et al. 2019, arXiv:1910.07387.

    .. math:: \frac{|P \cap T|}{|P \cup T|}

    where `P` are the features under the patch and `T` as many features of the largest attributions, of the patched
    image for the patch's class.

    Every image gets patches at places of its own, class after class, until the prediction becomes the patch's class, at
    most 51 times (in AttriBench a batch shares the places, and the first patch depends on the batches before). An image
    that no patch fools keeps the last one, and there is a warning. All methods see the same patched images.

    Args:
        samples_dataset: of `(image, label)`.
        batch_size: images scored together, and the most rows of a call of the model or a method.
        method_dict: name -> method.
        patch_folder: with files `<name>_<class>.pt`, as `train_adversarial_patches` writes them.
        device: where the samples go; the methods' models must be there.
        seed: of the places, by image.

    Returns:
        a number from 0 to 1 for each image and method. Higher is better.
    """
    methods = explanations(method_dict)
    if not methods:
        raise ValueError("`method_dict` must have at least one method, name -> method.")
    coverage = partial(metrics.impact_coverage, patches=read_patches(patch_folder), fooled_only=False)
    samples = SimpleNamespace(samples_dataset=samples_dataset, num_samples=len(samples_dataset))
    result = ImpactCoverageResult(list(methods), samples.num_samples)
    return Plan(samples, {"impact_coverage": coverage}, result, methods=methods)


def read_patches(folder: str | os.PathLike[str]) -> dict[int, Tensor]:
    """`[C, height, width]` by class."""
    files = sorted(file for file in Path(folder).iterdir() if file.suffix == ".pt" and not file.name.startswith("."))
    unknown = [file.name for file in files if not PATCH_FILE.fullmatch(file.name)]
    if unknown or not files:
        wanted = "files of patches, named <name>_<class>.pt"
        raise ValueError(f"`patch_folder` {folder} must have {wanted}; got {unknown or 'none'}.")
    read = {int(file.stem.split("_")[-1]): _patch(file) for file in files}
    return dict(sorted(read.items()))


def _patch(file: Path) -> Tensor:
    try:
        patch = torch.load(file, "cpu", weights_only=True)
        channels, height, width = patch.shape[-3:]
        return patch.detach().float().reshape(channels, height, width)
    except Exception as error:
        raise ValueError(
            f"`patch_folder`: {file} is not a patch [C, height, width], or it is damaged: {error!r}."
        ) from error
