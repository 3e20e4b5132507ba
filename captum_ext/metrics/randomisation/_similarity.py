"""The similarity of two explanations of the same examples: one number per example, from two batches of maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..._core.arguments import Tensors, bare_if_single, flat
from ..._core.checks import check_flag, check_function, check_has_values, check_real, describe, shape
from ..._core.guard import called
from ..._core.statistics import between_rows, pearson, ratio, spearman, to_unit, wide

SimilarityType = str | Callable[[Any, Any], Tensor]
WINDOW, K1, K2 = 7, 0.01, 0.03  # of SSIM, as are scikit-image's defaults
# The side of HOG's cells in pixels, as in Adebayo et al. 2018; smaller if an image has fewer than three cells a side.
CELL = 16


@dataclass(frozen=True)
class Similarity:
    """Maps two batches of maps, or their absolute values, to similarities `[B]`."""

    measure: SimilarityType
    absolute: bool

    def __call__(self, a: Tensors, b: Tensors) -> Tensor:
        measure = SIMILARITIES[self.measure] if isinstance(self.measure, str) else partial(_by_function, self.measure)
        return measure(*(tuple(m.abs() for m in maps) if self.absolute else maps for maps in (a, b)))


def as_similarity(similarity: SimilarityType, absolute: bool) -> Similarity:
    absolute = check_flag("absolute", absolute)
    wanted = f"{', '.join(map(repr, SIMILARITIES))} or a function of two batches of maps"
    if not isinstance(similarity, str):
        check_function("similarity", similarity, wanted)
    elif similarity not in SIMILARITIES:
        raise ValueError(f"`similarity` must be {wanted}, got {describe(similarity)}.")
    return Similarity(similarity, absolute)


def similarities(arguments: dict[str, Any]) -> list[Similarity]:
    """What a metric measures, from its arguments."""
    return [as_similarity(arguments["similarity"], arguments["absolute"])]


def _by_function(function: Callable[[Any, Any], Tensor], a: Tensors, b: Tensors) -> Tensor:
    # copies, as the function may write into them, and the maps of the model are compared several times
    scores = called(function, "`similarity`", *(bare_if_single(tuple(m.clone() for m in maps)) for maps in (a, b)))
    if not isinstance(scores, Tensor) or shape(scores) != (len(a[0]),):
        got = shape(scores) if isinstance(scores, Tensor) else describe(scores)
        raise ValueError(f"`similarity` must return one number per example, of shape ({len(a[0])},); got {got}.")
    check_real("`similarity` must return", scores)
    check_has_values("similarity", scores, a[0])
    # Copied, because the function may return the same tensor again with the values of its next call.
    return wide(scores).clone()


def _correlation(correlate: Callable[..., Tensor], a: Tensors, b: Tensors) -> Tensor:
    """Over all elements, across the tensors of a tuple; nan where a map is constant."""
    return between_rows(correlate, flat(a), flat(b))


def _ssim(a: Tensors, b: Tensors) -> Tensor:
    """The mean over windows and channels; maps are divided by their largest absolute value. nan for equal constants."""
    return torch.cat([_ssim_of_channels(x, y) for x, y in zip(_images(a, WINDOW), _images(b, WINDOW))], 1).mean(1)


def _ssim_of_channels(a: Tensor, b: Tensor) -> Tensor:
    a, b = _to_unit(wide(a)), _to_unit(wide(b))
    pair = torch.stack((a, b)).transpose(0, 1).flatten(1)
    extent = (pair.amax(1) - pair.amin(1)).reshape(-1, 1, 1, 1)
    c1, c2 = (K1 * extent) ** 2, (K2 * extent) ** 2
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (avg_pool2d(t, WINDOW, stride=1) for t in (a, b, a * a, b * b, a * b))
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variances = (mean_aa - mean_a**2 + mean_bb - mean_b**2) * unbiased
    covariance = (mean_ab - mean_a * mean_b) * unbiased
    alike = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return alike.mean((2, 3))


def _to_unit(maps: Tensor) -> Tensor:
    return ratio(maps, maps.abs().amax((1, 2, 3), keepdim=True))


def _hog(a: Tensors, b: Tensors) -> Tensor:
    """Pearson correlation of the histograms of oriented gradients of all channels; nan where a map has no gradient."""
    return _correlation(pearson, tuple(map(_histograms, _images(a, 3))), tuple(map(_histograms, _images(b, 3))))


def _histograms(maps: Tensor) -> Tensor:
    """`[B, channels * histograms]`"""
    from skimage.feature import hog  # slow to import

    cell = (min(CELL, min(maps.shape[2:]) // 3),) * 2
    # On one scale, because `hog` adds a small number to the lengths of gradients.
    channels = to_unit(maps.flatten(1))[0].reshape(maps.shape).cpu().flatten(0, 1).numpy()
    histograms = [torch.from_numpy(hog(channel, pixels_per_cell=cell)) for channel in channels]
    return torch.stack(histograms).reshape(len(maps), -1).to(maps.device)


def _images(maps: Tensors, least: int) -> Tensors:
    for m in maps:
        if m.dim() != 4 or min(m.shape[2:]) < least:
            raise ValueError(
                f"This `similarity` needs maps of shape (B, C, H, W) with at least {least} x {least} pixels, "
                f"got {shape(m)}. For other maps use 'spearman' or 'pearson'."
            )
    return maps


SIMILARITIES: dict[str, Callable[[Tensors, Tensors], Tensor]] = {
    "spearman": partial(_correlation, spearman),
    "pearson": partial(_correlation, pearson),
    "ssim": _ssim,
    "hog": _hog,
}
