"""Similarities of maps against scipy and scikit-image, and where they are undefined."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.feature import hog
from skimage.metrics import structural_similarity
from torch.testing import assert_close

from captum_ext.metrics.randomisation._similarity import SIMILARITIES, as_similarity


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def similar(name, a, b, absolute=False):
    a, b = (m if isinstance(m, tuple) else (m,) for m in (a, b))
    return as_similarity(name, absolute)(a, b)


PEERS = {"spearman": scipy.stats.spearmanr, "pearson": scipy.stats.pearsonr}


@given(
    name=st.sampled_from(sorted(PEERS)), batch=st.integers(1, 4), elements=st.integers(3, 12), seed=st.integers(0, 9)
)
def test_correlations_are_those_of_scipy(name, batch, elements, seed):
    a, b = maps(batch, elements, seed=seed).mul(2).round(), maps(batch, elements, seed=seed + 99)
    for score, x, y in zip(similar(name, a, b), a, b):
        if len(x.unique()) == 1:
            assert score.isnan()
        else:
            assert_close(score.item(), float(PEERS[name](x, y).statistic), rtol=1e-9, atol=1e-12)


def test_the_tensors_of_a_tuple_lie_side_by_side():
    a, b = maps(2, 3, 4, 4), maps(2, 3, 4, 4, seed=1)
    for name in PEERS:
        assert_close(similar(name, (a[:, :1], a[:, 1:]), (b[:, :1], b[:, 1:])), similar(name, a, b))


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 7, 7), (3, 9, 12), (2, 20, 8)])
def test_ssim_is_that_of_scikit_image_on_maps_divided_by_their_largest_absolute_value(channels, height, width):
    a, b = maps(3, channels, height, width), maps(3, channels, height, width, seed=1) * 50
    b[1] = a[1] + 0.1 * b[1] / 50
    for score, x, y in zip(similar("ssim", a, b), a, b):
        x, y = x / x.abs().max(), y / y.abs().max()
        extent = float(torch.stack((x, y)).max() - torch.stack((x, y)).min())
        wanted = structural_similarity(x.numpy(), y.numpy(), channel_axis=0, data_range=extent)
        assert_close(score.item(), float(wanted), rtol=1e-9, atol=1e-12)


def test_ssim_is_computed_in_float64_where_maps_are_not():
    a, b = maps(1, 1, 8, 8).float(), maps(1, 1, 8, 8, seed=1).float()
    assert_close(similar("ssim", a, b), similar("ssim", a.double(), b.double()))


@pytest.mark.parametrize("side", [9, 60])
def test_hog_is_the_correlation_of_scikit_images_histograms(side):
    a, b = maps(2, 2, side, side + 3), maps(2, 2, side, side + 3, seed=1)
    cell = (min(16, side // 3),) * 2
    for score, x, y in zip(similar("hog", a, b), a, b):
        u, v = (np.concatenate([hog(c.numpy(), pixels_per_cell=cell) for c in m]) for m in (x, y))
        assert_close(score.item(), float(np.corrcoef(u, v)[0, 1]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SIMILARITIES))
def test_a_map_is_wholly_like_itself_and_like_any_positive_multiple(name):
    a = maps(2, 2, 12, 12)
    assert_close(similar(name, a, a), torch.ones(2, dtype=torch.float64))
    assert_close(similar(name, a, 1e3 * a), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("name", sorted(SIMILARITIES))
def test_two_constant_maps_have_no_similarity_and_leave_their_neighbours_alone(name):
    a, b = maps(3, 1, 12, 12), maps(3, 1, 12, 12, seed=1)
    a[1], b[1] = 0.1, 0.7
    scores = similar(name, a, b)
    assert scores[1].isnan()
    assert_close(scores[[0, 2]], similar(name, a[[0, 2]], b[[0, 2]]))
    a[1] = b[1] = 0  # no division by a largest value of 0
    assert_close(similar(name, a, b), scores, equal_nan=True)


@pytest.mark.parametrize("elements", [3, 1000, 150_528])
def test_a_constant_map_has_no_correlation_however_many_elements_it_has(elements):
    for value in (0.1, -1e30, 1e-30):
        constant = torch.full((1, elements), value, dtype=torch.float64)
        assert similar("pearson", constant, maps(1, elements)).isnan().all()


def test_absolute_values_are_compared_where_that_is_asked():
    a, b = maps(2, 5), maps(2, 5, seed=1)
    assert_close(similar("spearman", a, b, absolute=True), similar("spearman", a.abs(), b.abs()))
    assert_close(similar("spearman", a, -a, absolute=True), torch.ones(2, dtype=torch.float64))
    assert_close(similar("spearman", a, -a), -torch.ones(2, dtype=torch.float64))


def test_a_function_gets_the_maps_as_they_are_and_gives_a_number_an_example():
    seen = []

    def overlap(a, b):
        seen.append((a, b))
        return torch.ones(2, dtype=torch.float32)

    a = maps(2, 3, 4)
    assert similar(overlap, a, a).dtype == torch.float64
    assert similar(overlap, (a, a), (a, a)).shape == (2,)
    assert isinstance(seen[0][0], torch.Tensor)
    assert isinstance(seen[1][0], tuple)


@pytest.mark.parametrize("similarity", ["spearman", "pearson", "ssim", "hog"])
def test_maps_of_any_scale_are_as_similar_as_those_around_1(similarity):
    a, b = maps(2, 3, 24, 24), maps(2, 3, 24, 24, seed=1) + maps(2, 3, 24, 24)
    for scale, other in ((2.0**-30, 2.0**-30), (2.0**-80, 1), (2.0**40, 2.0**-40)):
        assert_close(similar(similarity, a * scale, b * other), similar(similarity, a, b), rtol=1e-9, atol=0)
