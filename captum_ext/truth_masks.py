"""Functions that make a `truth_mask`, which says where the evidence is, for the metrics of localisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._core.arguments import as_sequence, as_tuple
from ._core.checks import check_count, check_integer, check_real, describe, shape

__all__ = ["Mosaics", "mask_of_boxes", "mosaics"]


def mask_of_boxes(boxes: Tensor | Sequence[Any], size: tuple[int, int]) -> Tensor:
    """Makes a boolean mask `(B, 1, H, W)` that is true inside any of an example's boxes.

    A pixel belongs to a box if its centre does, so whole numbers mean ``mask[y1:y2, x1:x2]``. Add 1 to `x2` and `y2`
    for data sets that include the last pixel, such as Pascal VOC. Parts of a box outside of the image are ignored, and
    so are boxes without area, so `(B, n, 4)` may be padded with zeros.

    Args:
        boxes: the boxes `[x1, y1, x2, y2]` of each example in pixels: a tensor `(B, 4)` or `(B, n, 4)`, or a list with
            `(4)` or `(n, 4)` for each example, where n may be 0.
        size: height and width of the mask.

    Example:
        >>> mask_of_boxes([[[0, 0, 2, 1], [3, 1, 4, 2]]], size=(2, 4)).int()
        tensor([[[[1, 1, 0, 0],
                  [0, 0, 0, 1]]]], dtype=torch.int32)
    """
    sides, _ = as_sequence("size", size)
    if len(sides) != 2:
        raise ValueError(f"`size` must be two numbers, height and width, got {describe(size)}.")
    height, width = (check_count("size", s) for s in sides)
    without_axes = isinstance(boxes, (Tensor, np.ndarray)) and boxes.ndim == 0
    if without_axes or not isinstance(boxes, (Tensor, np.ndarray, Sequence)) or isinstance(boxes, (str, bytes)):
        raise TypeError(f"`boxes` must be a tensor or a list with the boxes of each example, got {describe(boxes)}.")
    masks = [_mask(_as_boxes(b), height, width) for b in boxes]
    if not masks:
        raise ValueError(
            "`boxes` must have an entry for each example, got none. Use an empty list for an example without a box."
        )
    return torch.stack(masks)[:, None]


def _as_boxes(boxes: Any) -> Tensor:
    """`[n, 4]`: the boxes of one example."""
    if isinstance(boxes, Tensor):
        check_real("`boxes` must be", boxes)
    try:
        corners = (boxes if isinstance(boxes, Tensor) else torch.as_tensor(boxes, device="cpu")).double()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"`boxes` of an example must be a tensor or lists of 4 numbers, got {describe(boxes)}."
        ) from None
    corners = corners.reshape(0, 4) if corners.numel() == 0 else corners.reshape(-1, *shape(corners)[-1:])
    if corners.dim() != 2 or corners.shape[1] != 4:
        raise ValueError(f"`boxes` of an example must have shape (n, 4), got {shape(torch.as_tensor(boxes))}.")
    if not (corners[:, 2:] >= corners[:, :2]).all():  # false for nan too
        raise ValueError(
            f"`boxes` are [x1, y1, x2, y2] with x1 <= x2 and y1 <= y2, got {corners.tolist()}. "
            "For boxes [x, y, width, height], add the first two numbers to the last two."
        )
    return corners


def _mask(boxes: Tensor, height: int, width: int) -> Tensor:
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)  # [n, 1]
    x, y = (torch.arange(side, device=boxes.device) + 0.5 for side in (width, height))
    columns, rows = (x1 <= x) & (x < x2), (y1 <= y) & (y < y2)
    return (rows[:, :, None] & columns[:, None, :]).any(0)


class Mosaics(NamedTuple):
    """Mosaics of four images, and where the images of the target's class are.

    `inputs (n, C, 2 H, 2 W)`, `target (n)`, `truth_mask (n, 1, 2 H, 2 W)`, and `indices (n, 4)`, the numbers of the
    images in each mosaic, row by row.
    """

    inputs: Tensor
    target: Tensor
    truth_mask: Tensor
    indices: Tensor


def mosaics(images: Tensor, labels: Tensor | Sequence[int], n_mosaics: int, seed: int = 0) -> Mosaics:
    """Makes mosaics of two by two images for `focus`: two of the target's class, and two of other classes.

    The truth mask covers the two images of the target's class. Images have random places. The class is drawn from
    those with at least two images. Images are drawn without replacement within a mosaic. A call for more mosaics with
    the same seed begins with the mosaics of a call for fewer.

    As data for `captum_ext.evaluate` use
    ``[(x, t, None, {"truth_mask": m}) for x, t, m, _ in zip(*mosaics(images, labels, 100))]``.

    Args:
        images: `(B, C, H, W)`. A mosaic is twice as high and twice as wide, and the model must accept that size.
        labels: the class of each image.

    Reference: Arias-Duart et al. 2022, "Focus! Rating XAI Methods and Finding Biases", arXiv:2109.15035.

    Example:
        >>> images = torch.arange(4.0).reshape(4, 1, 1, 1)
        >>> made = mosaics(images, [0, 0, 1, 2], n_mosaics=5)
        >>> made.inputs.shape, made.target.tolist(), made.truth_mask.sum((1, 2, 3)).tolist()
        (torch.Size([5, 1, 2, 2]), [0, 0, 0, 0, 0], [2, 2, 2, 2, 2])
    """
    (images, *_), labels = as_tuple(images, "images"), _as_labels(labels)
    if images.dim() != 4 or shape(labels) != (len(images),):
        raise ValueError(
            f"`images` must have shape (B, C, H, W) and `labels` (B), got {shape(images)} and {shape(labels)}."
        )
    classes, counts = labels.unique(return_counts=True)
    classes = classes[(counts >= 2) & (len(labels) - counts >= 2)]
    if not len(classes):
        raise ValueError(
            "`labels` must have a class with two images or more, and two images of other classes, "
            f"got {labels.tolist()}."
        )
    draw = torch.Generator("cpu").manual_seed(check_count("seed", seed, least=0))
    drawn = [_mosaic(labels.cpu(), classes.cpu(), draw) for _ in range(check_count("n_mosaics", n_mosaics))]
    target, indices = (torch.stack(part).to(images.device) for part in zip(*drawn))
    truth = (labels.to(images.device)[indices] == target[:, None])[:, :, None, None, None]
    return Mosaics(_tiled(images[indices]), target, _tiled(truth.expand(-1, -1, 1, *images.shape[2:])), indices)


def _as_labels(labels: Tensor | Sequence[int]) -> Tensor:
    found, _ = as_sequence("labels", labels)
    return torch.tensor(
        [check_integer("`labels` must be a class for each image, an integer", c) for c in found], device="cpu"
    )


def _mosaic(labels: Tensor, classes: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws the target's class, and the numbers of the four images in the order of their places."""
    target = classes[torch.randint(len(classes), (), generator=draw, device="cpu")]
    of_class, others = (
        where.nonzero().flatten()[torch.randperm(int(where.sum()), generator=draw, device="cpu")[:2]]
        for where in (labels == target, labels != target)
    )
    return target, torch.cat((of_class, others))[torch.randperm(4, generator=draw, device="cpu")]


def _tiled(parts: Tensor) -> Tensor:
    """Arranges `[n, 4, C, H, W]` as `[n, C, 2 H, 2 W]`."""
    n, _, channels, height, width = parts.shape
    grid = parts.reshape(n, 2, 2, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(n, channels, 2 * height, 2 * width)
