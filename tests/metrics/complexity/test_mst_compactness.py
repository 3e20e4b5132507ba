"""Compactness by a minimum spanning tree: closed forms, and all pairs of positions in place of a triangulation."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform
from torch.testing import assert_close

from captum_ext.metrics import mst_compactness

closely = partial(assert_close, rtol=1e-12, atol=1e-12, equal_nan=True)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def score(points, shape=(12, 16)):
    phi = torch.zeros(1, 1, *shape, dtype=torch.float64)
    phi[0, 0, [p[0] for p in points], [p[1] for p in points]] = 1.0
    return mst_compactness(phi, phi, salient=len(points) / phi.numel()).item()


def block(rows, columns, top=0, left=0):
    return [(top + i, left + j) for i in range(rows) for j in range(columns)]


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 3), (4, 7), (12, 16)])
def test_a_full_rectangle(rows, columns):
    count, area = rows * columns, (rows - 1) * (columns - 1)
    assert score(block(rows, columns)) == pytest.approx(100 * 20 / math.sqrt(area) * count / (count - 1))
    if rows < 12:
        assert score(block(rows, columns, 5, 4)) == pytest.approx(score(block(rows, columns)))  # wherever it is


def test_two_squares_that_drift_apart():
    """The tree has one long edge, and the hull stretches from one to the other."""
    for gap in (1, 3, 6):
        points = block(2, 2) + block(2, 2, left=1 + gap)
        wanted = 100 * 20 / math.sqrt(2 + gap) * 8 / (6 + gap)
        assert score(points) == pytest.approx(wanted)


def test_a_triangle():
    assert score([(0, 0), (0, 4), (3, 0)]) == pytest.approx(100 * 20 / math.sqrt(6) * 3 / 7)


def test_values_are_those_of_the_tree_among_all_pairs():
    phi = normal(3, 2, 9, 11)
    phi[2] = phi[2].round()  # with ties
    scores = []
    for size in phi.sum(1).abs().numpy():
        points = np.argwhere(size >= np.percentile(size, 70))
        tree = minimum_spanning_tree(squareform(pdist(points))).sum()
        scores.append(100 * math.hypot(9, 11) / math.sqrt(ConvexHull(points).volume) * len(points) / tree)
    closely(mst_compactness(phi, phi, salient=0.3), torch.tensor(scores, dtype=torch.float64))


def test_it_does_not_depend_on_scale_sign_turns_or_how_channels_are_given():
    phi = normal(2, 3, 8, 8)
    wanted = mst_compactness(phi, phi)
    for other in (5 * phi, -phi, phi.flip(2), phi.transpose(2, 3), phi.sum(1, keepdim=True)):
        closely(mst_compactness(phi, other), wanted)


def test_scattered_positions_are_less_compact_than_a_block():
    assert score(block(4, 4)) > 3 * score([(i, j) for i in (0, 3, 7, 11) for j in (0, 5, 10, 15)])


def test_positions_without_attribution_are_not_salient():
    phi = torch.zeros(1, 1, 12, 16, dtype=torch.float64)
    phi[..., 3:6, 2:5] = 1.0
    closely(mst_compactness(phi, phi, salient=0.9), mst_compactness(phi, phi, salient=9 / 192))


def test_it_is_nan_where_the_positions_have_no_area():
    x = torch.zeros(3, 1, 6, 6)
    x[1, 0, 2], x[2, 0, 0, 0] = 1.0, 1.0  # nothing, a line, and one position
    assert mst_compactness(x, x, salient=1 / 36).isnan().all()
