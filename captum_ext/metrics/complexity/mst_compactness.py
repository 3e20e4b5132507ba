"""Minimum spanning tree compactness (Mesgari et al. 2026): how closely the most important positions lie together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..._core.arguments import AttributionsType, Scores, TensorOrTuple, Tensors, as_attributions, as_tuple, check_sums
from ..._core.card import metric
from ..._core.checks import check_number, shape
from ..._core.geometry import area_of_hull, shortest_tree
from ..._core.statistics import wide


@metric(
    higher_is_better=True,
    range=(0, float("inf")),
    rows="none",
    reference="Mesgari et al. 2026, arXiv:2603.29491",
    relative=True,
)
def mst_compactness(inputs: TensorOrTuple, attributions: AttributionsType, salient: float = 0.2) -> Scores:
    r"""How small and how well connected the area of the most important positions of an image is (MST-C).

    .. math:: 100\, \sqrt{H^2 + W^2} \cdot \frac{1}{\sqrt{A}} \cdot \frac{|V|}{L}

    where `V` are the positions whose absolute attribution is among the largest, `A` is the area of their convex hull
    and `L` the length of the shortest tree that connects them, both in pixels. A few compact clusters score high,
    scattered positions low.

    Args:
        attributions: in the shape of `inputs`, images `(B, C, H, W)`, or with one channel, or a mapping name ->
            attributions. Channels are added up before the absolute value is taken.
        salient: the share of the positions in `V`: those at or above the quantile `1 - salient`, with all that are
            equal to it, but none whose attribution is 0.

    Returns:
        `[B]`, without a unit, or a mapping name -> `[B]`. Higher is better (more compact); scattered noise has the
        lowest scores. Compare maps of one size with the same `salient`. NaN where `V` lies on one line, so that there
        is no area, and where all attributions are 0. No model rows.

    Raises:
        ValueError, TypeError: inputs that are not one tensor of images, NaN attributions, a `salient` outside 0..1.

    Quantus looks for the tree among the 20 nearest neighbours of each position, and leaves out what lies between
    clusters that are farther apart. In place of the root of an area that is 0 it takes the diagonal of the image, and
    it counts positions with an attribution of 0 where fewer than the share have another.

    Reference: Mesgari et al. 2026, "Structural Compactness as a Complementary Criterion for Explanation Quality",
    arXiv:2603.29491.

    Example:
        >>> phi = torch.zeros(1, 1, 6, 8)
        >>> phi[..., 1:4, 2:5] = 1.0  # 9 positions; a square of 2 x 2 between their centres; a tree of 8 steps
        >>> mst_compactness(phi, phi)  # 100 * 10 / 2 * 9 / 8
        tensor([562.5000])
    """
    x, methods = as_tuple(inputs), as_attributions(attributions, inputs)
    salient = check_number("salient", salient, "a share above 0 and at most 1", lambda v: 0 < v <= 1)
    if len(x) > 1 or x[0].dim() != 4:
        raise ValueError(f"`inputs` must be one tensor of images (B, C, H, W), got {[shape(t) for t in x]}.")
    for m, label in zip(methods.maps, methods.labels):
        check_sums(label, _positions(m, x[0]))
    scores = [[_compactness(one, salient) for one in _positions(m, x[0]).abs().cpu().numpy()] for m in methods.maps]
    return methods.unpack(wide(torch.tensor(scores, dtype=torch.float64, device="cpu")).to(x[0].device))


def _positions(maps: Tensors, x: Tensor) -> Tensor:
    """`[B, H, W]`: the sums over the channels."""
    return wide(maps[0]).sum(1).expand(len(x), *x.shape[2:])


def _compactness(size: npt.NDArray[Any], salient: float) -> float:
    """Of the absolute attributions `[H, W]` of one image."""
    points = np.argwhere((size >= np.quantile(size, 1 - salient)) & (size > 0))
    area = area_of_hull(points)
    if area == 0:
        return np.nan
    return float(100 * np.hypot(*size.shape) / np.sqrt(area) * len(points) / shortest_tree(points))
