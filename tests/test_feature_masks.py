from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.feature_masks import patches, pixels, superpixels, token_map, tokens, windows, words
from captum_ext.metrics import deletion_curve, sensitivity_n

exactly = partial(assert_close, rtol=0, atol=0)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def blocks():
    """Two images of flat colours: four quarters, and two halves."""
    quarters, halves = torch.zeros(3, 16, 16), torch.zeros(3, 16, 16)
    quarters[0, :8, :8], quarters[1, :8, 8:], quarters[2, 8:, :8] = 1, 1, 1
    halves[0, :, 8:] = 1
    return torch.stack([quarters, halves])


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 2, 5), (4, 1, 2, 3, 4)])
def test_pixels_number_the_positions_once_for_all_channels_and_examples(shape):
    mask = pixels(torch.zeros(shape))
    assert mask.shape == (1, 1, *shape[2:])
    assert mask.flatten().tolist() == list(range(mask.numel()))


@given(height=st.integers(1, 9), width=st.integers(1, 9), size=st.integers(1, 10))
def test_patches_are_the_squares_of_a_grid_numbered_in_reading_order(height, width, size):
    mask = patches(torch.zeros(2, 3, height, width), size)
    assert mask.shape == (1, 1, height, width)
    across = -(-width // size)
    for h in range(height):
        for w in range(width):
            assert mask[0, 0, h, w] == (h // size) * across + w // size
    assert mask.unique().tolist() == list(range(across * -(-height // size)))


def test_patches_of_series_are_windows_and_of_volumes_cubes():
    assert patches(torch.zeros(1, 2, 5), 2).tolist() == [[[0, 0, 1, 1, 2]]]
    cubes = patches(torch.zeros(1, 1, 2, 4, 4), 2)
    assert (
        cubes[0, 0, 0].tolist() == cubes[0, 0, 1].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    )
    assert patches(torch.zeros(1, 1, 4, 4, 4), 2)[0, 0, 2, 0, 0] == 4


def test_patches_of_size_1_are_pixels():
    x = torch.zeros(2, 3, 4, 5)
    exactly(patches(x, 1), pixels(x))


@pytest.mark.parametrize("make", [pixels, partial(patches, size=2), partial(windows, size=2)])
def test_the_tensors_of_a_tuple_get_numbers_of_their_own(make):
    first, second = make((torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 5)))
    exactly(first, make(torch.zeros(2, 3, 4, 4)))
    assert not set(first.flatten().tolist()) & set(second.flatten().tolist())
    exactly(second - second.min(), make(torch.zeros(2, 1, 5)))


def test_superpixels_follow_the_colours_and_differ_in_number():
    mask = superpixels(blocks(), n_segments=4, compactness=0.1)
    assert mask.shape == (2, 1, 16, 16)
    for image, segments in zip(blocks(), mask[:, 0]):
        for s in segments.unique():
            colours = image[:, segments == s].T
            assert len(colours.unique(dim=0)) == 1


def test_superpixels_are_numbered_from_0_in_each_image_without_gaps():
    for segments in superpixels(torch.rand(3, 3, 24, 24), n_segments=20):
        assert segments.unique().tolist() == list(range(int(segments.max()) + 1))


def test_superpixels_are_those_of_skimage_on_the_scaled_image():
    from skimage.segmentation import slic

    x = normal(1, 3, 20, 20)
    image = x[0].permute(1, 2, 0).numpy()
    wanted = slic((image - image.min()) / (image.max() - image.min()), n_segments=12, compactness=10.0, channel_axis=-1)
    got = superpixels(x, n_segments=12)[0, 0].numpy()
    pairs = np.unique(np.stack([got.ravel(), wanted.ravel()]), axis=1)
    assert len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1]  # the same segments under other numbers


def test_superpixels_of_an_image_depend_on_neither_its_neighbours_nor_its_normalisation():
    x = torch.rand(2, 3, 20, 20, dtype=torch.float64)
    whole = superpixels(x, n_segments=12)
    exactly(superpixels(x[1:], n_segments=12), whole[1:])
    exactly(superpixels(4 * x - 2, n_segments=12), whole)


def test_an_image_of_one_colour_has_superpixels_too():
    assert superpixels(torch.full((1, 1, 8, 8), 3.0), n_segments=4).shape == (1, 1, 8, 8)


def test_further_arguments_reach_slic():
    x = torch.rand(1, 3, 24, 24)
    assert not torch.equal(superpixels(x, 12, sigma=3), superpixels(x, 12))


@pytest.mark.parametrize(("axis", "wanted"), [(-1, (1, 1, 5)), (2, (1, 1, 5)), (1, (1, 3, 1)), (-2, (1, 3, 1))])
def test_windows_run_along_one_axis_and_span_the_others(axis, wanted):
    mask = windows(torch.zeros(4, 3, 5), 2, axis)
    assert mask.shape == wanted
    assert mask.flatten().tolist() == [step // 2 for step in range(max(wanted))]


def test_windows_of_a_series_without_channels_are_of_its_steps():
    assert windows(torch.zeros(4, 5), 3).tolist() == [[0, 0, 0, 1, 1]]


@given(size=st.integers(1, 6), channels=st.integers(1, 3), axis=st.sampled_from([1, 2]))
def test_windows_apart_are_numbered_channel_by_channel(size, channels, axis):
    mask = windows(torch.zeros(2, channels, 5).movedim(-1, axis), size, axis, together=False)
    across = -(-5 // size)
    wanted = [[channel * across + step // size for step in range(5)] for channel in range(channels)]
    assert mask.movedim(axis, -1)[0].tolist() == wanted
    assert mask.shape == torch.zeros(1, channels, 5).movedim(-1, axis).shape


def test_windows_of_series_with_channels_first_are_patches():
    exactly(windows(torch.zeros(2, 3, 7), 2), patches(torch.zeros(2, 3, 7), 2))


def test_words_number_the_tokens_and_special_ones_are_minus_1(smooth):
    mask = words([[None, 0, 1, 1, None], [None, 0, None, None, None]])
    assert mask.shape == (2, 5, 1)
    assert mask[..., 0].tolist() == [[-1, 0, 1, 1, -1], [-1, 0, -1, -1, -1]]
    x = normal(2, 5, 4) + 5
    curve = deletion_curve(lambda rows: (rows == 0).flatten(1).sum(1), x, x, feature_mask=mask, n_steps=3, frozen=-1)
    assert curve.tolist() == [[0, curve[0, 1], 12], [0, 0, 4]]  # half of one word rounds to none


def test_removing_one_patch_removes_it_in_all_channels(smooth):
    x = normal(1, 3, 4, 4) + 5
    seen = []

    def model(rows):
        seen.append(rows)
        return smooth(rows)

    deletion_curve(model, x, x, feature_mask=patches(x, 2), n_steps=5)
    removed = (torch.cat(seen) == 0).flatten(1).sum(1)
    assert sorted(removed.tolist()) == [0, 12, 24, 36, 48]


def test_a_linear_model_is_explained_perfectly_in_superpixels():
    x, w = blocks().double() + 0.1 * normal(2, 3, 16, 16), normal(3, 16, 16)
    score = sensitivity_n(lambda rows: (rows * w).flatten(1).sum(1), x, x * w, 0.5, feature_mask=superpixels(x, 9))
    assert_close(score, torch.ones(2, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [0, -1])
def test_patches_need_a_size(size):
    with pytest.raises(ValueError, match="`size` must be at least 1"):
        patches(torch.zeros(1, 1, 4, 4), size)


@pytest.mark.parametrize("make", [pixels, partial(patches, size=2)])
def test_inputs_without_positions_are_refused(make):
    with pytest.raises(ValueError, match=r"must have positions.*\(2, 3\)"):
        make(torch.zeros(2, 3))


def test_superpixels_need_images():
    with pytest.raises(ValueError, match=r"shape \(B, C, H, W\), got \[\(2, 3, 8\)\]"):
        superpixels(torch.zeros(2, 3, 8))
    with pytest.raises(ValueError, match="`n_segments` must be at least 1"):
        superpixels(torch.zeros(1, 3, 8, 8), n_segments=0)


def test_tokens_number_what_is_neither_padding_nor_special():
    attention, special = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]), torch.tensor([[1, 0, 0, 0], [1, 0, 0, 1]])
    exactly(tokens(attention), torch.tensor([[0, 1, 2, -1], [0, 1, 2, 3]]))
    exactly(tokens(attention, special), torch.tensor([[-1, 1, 2, -1], [-1, 1, 2, -1]]))


def test_padding_is_never_removed():
    attention = torch.tensor([[1, 1, 0], [1, 1, 1]])
    ids, phi = torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([[2.0, 1.0, 9.0], [1.0, 3.0, 2.0]])
    curve = deletion_curve(lambda rows: rows.sum(1).double(), ids, phi, None, tokens(attention), frozen=-1, n_steps=2)
    exactly(curve, torch.tensor([[11.0, 0.0], [24.0, 0.0]]).double())
    first = deletion_curve(
        lambda rows: rows.sum(1).double(), ids[:1], phi[:1], None, tokens(attention[:1]), frozen=-1, n_steps=3
    )
    exactly(first, torch.tensor([[11.0, 6.0, 0.0]]).double())


def test_a_token_map_has_the_values_of_the_patches_in_their_places():
    maps = torch.arange(14.0).reshape(2, 7)
    placed = token_map(maps, (2, 3))
    exactly(placed, maps[:, 1:].reshape(2, 1, 2, 3))
    exactly(token_map(maps[:, 1:], (2, 3), prefix=0), placed)
    exactly(token_map(torch.stack((maps, maps), -1), (2, 3)), 2 * placed)
    large = token_map(maps, (2, 3), (4, 9))
    assert large.shape == (2, 1, 4, 9)
    exactly(large[:, :, ::2, ::3], placed)
    exactly(large[:, :, 1::2, 2::3], placed)
