"""Patches that make a model predict a class wherever they are put."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from ..._core.checks import check_count
from ._samples import on_device

SHARE, EPOCHS, RATE = 0.1, 5, 0.05  # of the image's area; AttriBench's


def train_adversarial_patches(
    model: nn.Module,
    dataset: Any,
    num_patches: int,
    batch_size: int,
    path: str | None,
    labels: Sequence[int] | None = None,
    device: torch.device | None = None,
    *,
    seed: int = 0,
) -> list[Tensor] | None:
    """A square patch of a tenth of the image for each class, trained for five epochs at random places of the images.

    Patches are those of the epoch of least loss, may lie anywhere, and the model's parameters stay as they are
    (AttriBench returns the last epoch's, never puts them at the far borders, leaves the parameters without gradient,
    and does not end where `labels` are given).

    Args:
        model: it is moved to `device` (by default the CPU), and in evaluation mode for the time.
        dataset: of `(image, label)`.
        num_patches: how many to train.
        path: saves each to `<path>_<class>.pt`; with None they are returned.
        labels: the classes, one after another as often as needed; by default 0, 1, and so on.
        seed: of the first values and the places.

    Returns:
        the patches `[1, C, side, side]` on the CPU, unless they were saved.
    """
    classes, path = classes_of(num_patches, labels), None if path is None else os.path.abspath(path)
    with on_device(model, device) as place:
        loader = DataLoader(dataset, batch_size)
        limits = value_range(loader)
        patches = [trained(model, loader, label, limits, seed + i, place) for i, label in enumerate(classes)]
    if path is None:
        return patches
    for label, patch in zip(classes, patches):
        torch.save(patch, f"{path}_{label}.pt")
    return None


def classes_of(num_patches: int, labels: Sequence[int] | None) -> list[int]:
    check_count("num_patches", num_patches)
    if labels is not None and not len(labels):
        raise ValueError("`labels` must have at least one class, or be None for 0, 1, and so on; got none.")
    return list(itertools.islice(itertools.count() if labels is None else itertools.cycle(labels), num_patches))


def value_range(loader: Any) -> tuple[float, float]:
    """The least and the largest value of any image."""
    ranges = [images.aminmax() for images, _ in loader]
    return min(float(r.min) for r in ranges), max(float(r.max) for r in ranges)


def trained(
    model: nn.Module, loader: DataLoader[Any], label: int, limits: tuple[float, float], seed: int, place: torch.device
) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    _, channels, height, width = next(iter(loader))[0].shape
    side = max(int((SHARE * height * width) ** 0.5), 1)
    first = torch.rand(1, channels, side, side, generator=stream) * (limits[1] - limits[0]) + limits[0]
    patch = first.to(place).requires_grad_()
    optimiser = torch.optim.Adam([patch], lr=RATE)
    best, least = patch.detach().clone(), torch.inf
    for _ in range(EPOCHS):
        total, images_seen = 0.0, 0
        for images, _ in loader:
            loss = _loss(model, images.to(place), label, patch, stream)
            total, images_seen = total + _step(patch, loss, optimiser, limits) * len(images), images_seen + len(images)
        if total / images_seen < least:
            best, least = patch.detach().clone(), total / images_seen
    return best.cpu()


def _loss(model: nn.Module, images: Tensor, label: int, patch: Tensor, stream: torch.Generator) -> Tensor:
    """Of the images under the patch, for its class."""
    patched = torch.stack([_patched(image, patch, stream) for image in images])
    return cross_entropy(model(patched), torch.full((len(images),), label, device=patch.device))


def _step(patch: Tensor, loss: Tensor, optimiser: torch.optim.Optimizer, limits: tuple[float, float]) -> float:
    patch.grad = torch.autograd.grad(loss, patch)[0]
    optimiser.step()
    with torch.no_grad():
        patch.clamp_(*limits)
    return float(loss.detach())


def _patched(image: Tensor, patch: Tensor, stream: torch.Generator) -> Tensor:
    side = patch.shape[-1]
    top, left = (int(torch.randint(size - side + 1, (), generator=stream)) for size in image.shape[1:])
    patched = image.clone()
    patched[:, top : top + side, left : left + side] = patch[0]
    return patched
