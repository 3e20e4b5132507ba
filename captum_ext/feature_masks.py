"""What a feature is: makers of Captum's `feature_mask`, whose elements with the same number are one feature.

Each takes a tensor or a tuple; the tensors of a tuple get numbers of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._core.arguments import TensorOrTuple, as_given, as_tuple, check_count, shape

__all__ = ["patches", "pixels", "superpixels"]


def pixels(inputs: TensorOrTuple) -> TensorOrTuple:
    """Every position of `(B, C, ...)` is a feature, its channels together: `(1, 1, ...)`.

    Example:
        >>> pixels(torch.zeros(5, 3, 2, 2))
        tensor([[[[0, 1],
                  [2, 3]]]])
    """
    return _numbered(
        inputs, lambda x: torch.arange(math.prod(_positions(x)), device=x.device).reshape(1, 1, *_positions(x))
    )


def patches(inputs: TensorOrTuple, size: int) -> TensorOrTuple:
    """Every square of `size` positions a side is a feature (a window of a series, a cube of a volume): `(1, 1, ...)`.

    Patches at the far borders are smaller where `size` does not divide the side.

    Example:
        >>> patches(torch.zeros(1, 1, 3, 4), size=2)
        tensor([[[[0, 0, 1, 1],
                  [0, 0, 1, 1],
                  [2, 2, 3, 3]]]])
    """
    check_count("size", size)

    def mask(x: Tensor) -> Tensor:
        places = torch.zeros((), dtype=torch.long, device=x.device)
        for side in _positions(x):
            places = places[..., None] * -(-side // size) + torch.arange(side, device=x.device) // size
        return places[None, None]

    return _numbered(inputs, mask)


def superpixels(
    images: TensorOrTuple, n_segments: int = 100, compactness: float = 10.0, **slic_arguments: Any
) -> TensorOrTuple:
    """SLIC superpixels of each image `(B, C, H, W)`, by `skimage.segmentation.slic`: `(B, 1, H, W)`, numbered from 0 in each image.

    An image is scaled to 0..1 by its own least and largest value, so normalised images may be given. Images differ in how many segments
    they get; `n_segments` is about that number.

    Args:
        slic_arguments: further ones of `skimage.segmentation.slic`, such as ``slic_zero=True`` or ``sigma=1``.

    Example:
        >>> images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> superpixels(images, n_segments=16).shape
        torch.Size([2, 1, 32, 32])
    """
    check_count("n_segments", n_segments)
    if any(x.dim() != 4 for x in as_tuple(images, "images")):
        raise ValueError(f"`images` must have shape (B, C, H, W), got {[shape(x) for x in as_tuple(images)]}.")

    def segment(image: Tensor) -> Tensor:
        from skimage.segmentation import slic  # slow to import

        pixel_values = image.movedim(0, -1).double().cpu().numpy()
        least, range_ = pixel_values.min(), np.ptp(pixel_values)
        scaled = (pixel_values - least) / (range_ or 1.0)
        segments = slic(scaled, n_segments=n_segments, compactness=compactness, channel_axis=-1, **slic_arguments)
        return torch.from_numpy(np.unique(segments, return_inverse=True)[1].reshape(segments.shape))[None]

    return _numbered(images, lambda x: torch.stack([segment(image) for image in x]).to(x.device))


def _positions(x: Tensor) -> tuple[int, ...]:
    if x.dim() < 3:
        raise ValueError(f"`inputs` must have positions, shape (B, C, ...) with at least three axes; got {shape(x)}.")
    return shape(x)[2:]


def _numbered(inputs: TensorOrTuple, mask_of: Callable[[Tensor], Tensor]) -> TensorOrTuple:
    masks: list[Tensor] = []
    for x in as_tuple(inputs):
        masks.append(mask_of(x) + (int(masks[-1].max()) + 1 if masks else 0))
    return as_given(tuple(masks), inputs)
