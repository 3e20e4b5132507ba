"""Impact coverage."""

from __future__ import annotations

import itertools
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...result import ImpactCoverageResult
from .._samples import predicted
from ._plan import CPU, Method, Plan, Seeds, computed, explanations
from ._scores import Outputs

ATTEMPTS = 51  # AttriBench's
PATCH_FILE = re.compile(r".*_[0-9]+\.pt")
Attacked = tuple[Tensor, Tensor, Tensor]  # images, where the patch is, its class


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
    coverage = partial(_coverage, attack=Attack(read_patches(patch_folder)))
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


@dataclass
class Attack:
    """Patched images, once for all methods."""

    patches: Mapping[int, Tensor]
    last: tuple[Any, Any] = (None, None)

    def __call__(self, model: Outputs, images: Tensor, labels: Tensor, seeds: Seeds) -> Attacked:
        """The images under a patch, where it is `[B, 1, H, W]`, and its class `[B]`."""
        if self.last[0] != tuple(seeds):
            with torch.no_grad():
                self.last = tuple(seeds), self._attacked(model, images, labels, seeds)
        return self.last[1]

    def _attacked(self, model: Outputs, images: Tensor, labels: Tensor, seeds: Seeds) -> Attacked:
        tries = [attempts(self.patches, images.shape[2:], seed) for seed in seeds]
        before, attacked = predicted(model(images)), images.clone()
        under, classes = torch.zeros_like(images[:, :1], dtype=torch.bool), torch.zeros_like(labels)
        rows = torch.arange(len(images), device=images.device)
        for _ in range(ATTEMPTS):
            for row in rows.tolist():
                classes[row], top, left = next(tries[row])
                self._put(int(classes[row]), top, left, images[row], attacked[row], under[row])
            now, wanted = predicted(model(attacked[rows])), classes[rows]
            rows = rows[(now != wanted) | (before[rows] == wanted) | (labels[rows] == wanted)]
            if not len(rows):
                break
        else:
            warnings.warn(f"No patch changed the prediction of {len(rows)} of {len(images)} images.", stacklevel=2)
        return attacked, under, classes

    def _put(self, label: int, top: int, left: int, image: Tensor, attacked: Tensor, under: Tensor) -> None:
        patch = self.patches[label].to(image)
        place = (..., slice(top, top + patch.shape[1]), slice(left, left + patch.shape[2]))
        attacked.copy_(image)[place] = patch
        under.zero_()[place] = True


def attempts(patches: Mapping[int, Tensor], size: Sequence[int], seed: int) -> Iterator[tuple[int, int, int]]:
    """The patch's class, its top and its left, class after class for ever."""
    stream = np.random.default_rng(seed)
    for label, patch in itertools.cycle(patches.items()):
        room = [side - extent for side, extent in zip(size, patch.shape[1:])]
        if min(room) < 0:
            large = f"The patch of class {label}, {tuple(patch.shape[1:])},"
            raise ValueError(f"{large} is larger than the images, {tuple(size)}.")
        yield label, int(stream.integers(room[0] + 1)), int(stream.integers(room[1] + 1))


def _coverage(
    forward_func: Outputs,
    explanation_func: Method,
    inputs: Tensor,
    target: Tensor,
    seed: Seeds,
    *,
    attack: Attack,
) -> Tensor:
    """`[B]`"""
    attacked, under, classes = attack(forward_func, inputs, target, seed)
    phi = explanation_func(attacked.clone(), classes.clone()).detach()
    if phi.shape[1] not in (1, inputs.shape[1]) or phi.shape[2:] != inputs.shape[2:]:
        wanted = f"attributions of images {tuple(inputs.shape)}, with as many channels or one"
        raise ValueError(f"Impact coverage needs {wanted}; got {tuple(phi.shape)}.")
    patch = under.expand_as(phi).flatten(1)
    order = phi.flatten(1).argsort(dim=1, descending=True, stable=True)
    first = torch.arange(patch.shape[1], device=patch.device) < patch.sum(1, keepdim=True)
    top = torch.zeros_like(patch).scatter_(1, order, first)
    return (patch & top).sum(1).double() / (patch | top).sum(1)
