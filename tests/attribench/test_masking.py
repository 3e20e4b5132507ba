"""Maskers: the recorded baselines, and masking by relevance, at random and by segments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from captum_ext import metrics
from captum_ext.attribench.masking import Masker, TabularMasker, image
from captum_ext.attribench.masking.image import (
    BlurringImageMasker,
    ConstantImageMasker,
    ImageMasker,
    RandomImageMasker,
    SampleAverageImageMasker,
)
from captum_ext.feature_masks import superpixels

from .conftest import make_masker


@pytest.mark.parametrize("model", ["cnn", "gray"])
def test_recorded_baselines_are_met(reference, model):
    data = reference.golden.data(model)
    for name, wanted in data["baselines"].items():
        masker = make_masker(data["maskers"][name], "pixel")
        assert_allclose(masker(torch.tensor(data["samples"])), wanted, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("model", ["cnn", "gray"])
def test_superpixels_are_the_recorded_segments(reference, model):
    data = reference.golden.data(model)
    found = superpixels(torch.tensor(data["samples"]), slic_zero=True)
    for ours, recorded in zip(found, data["segments"]):
        assert_array_equal(ours[0], np.unique(recorded, return_inverse=True)[1].reshape(16, 16))


def masked_naively(x, phi, k, top, channels_together, value):
    """One image and feature at a time."""
    masked = x.clone()
    for b in range(len(x)):
        order = sorted(range(phi[b].numel()), key=lambda i: float(phi[b].flatten()[i]), reverse=top)
        for i in order[:k]:
            where = masked[b].flatten(1)[:, i : i + 1] if channels_together else masked[b].view(-1)[i : i + 1]
            where[...] = value
    return masked


@pytest.mark.parametrize("k", [0, 1, 5, 64])
@pytest.mark.parametrize("level", ["pixel", "feature"])
def test_the_most_and_the_least_relevant_features_are_masked(images, level, k):
    phi = torch.randn(5, 1 if level == "pixel" else 3, 8, 8)
    masker = ConstantImageMasker(level, 0.5)
    masker.set_batch(images, phi)
    assert masker.get_num_features() == phi[0].numel()
    assert_array_equal(masker.mask_top(k), masked_naively(images, phi, k, True, level == "pixel", 0.5))
    assert_array_equal(masker.mask_bot(k), masked_naively(images, phi, k, False, level == "pixel", 0.5))


def test_ties_are_ordered_as_in_the_deletion_curve():
    x, phi = torch.ones(1, 6), torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0, 1.0]])
    masker = TabularMasker()
    masker.set_batch(x, phi)
    place = 2.0 ** torch.arange(6)
    for mode, mask in (("morf", masker.mask_top), ("lerf", masker.mask_bot)):
        curve = metrics.deletion_curve(lambda z: z @ place, x, phi, n_steps=7, mode=mode)
        assert_array_equal(curve[0], torch.cat([mask(k) @ place for k in range(7)]))


@pytest.mark.parametrize("segmented", [False, True])
def test_random_masking_takes_as_many_as_asked_and_every_sample_its_own(images, segmented):
    segments = (torch.arange(64) // 4).view(1, 1, 8, 8).expand(5, 1, 8, 8)
    masker = ConstantImageMasker("pixel", -1.0)
    masker.set_batch(images, segmented_samples=segments if segmented else None)
    masked, indices = masker.mask_rand(7, return_indices=True)
    assert len({tuple(sorted(row.tolist())) for row in indices}) == 5
    for image_, row, numbers in zip(
        masked, indices, segments if segmented else torch.arange(64).view(1, 1, 8, 8).expand(5, 1, 8, 8)
    ):
        assert len(row.unique()) == 7
        assert_array_equal((image_ == -1).all(0), torch.isin(numbers[0], row))
    assert_array_equal(masker.mask_rand(0), images)


def test_segments_are_ordered_by_their_mean_and_a_share_of_none_masks_none():
    segments = torch.tensor([[[[7, 7, 7, 2, 4, 9]]]])
    phi = torch.tensor([[[[1.0, 1.0, 1.0, 2.0, -9.0, 0.0]]]])  # the means: 7 has 1, 2 has 2, 4 has -9, 9 has 0
    x = torch.ones(1, 3, 1, 6)
    masker = ConstantImageMasker("pixel", 0.0)
    masker.set_batch(x, phi, segments)
    assert [order.tolist() for order in masker.sorted_indices] == [[4, 9, 7, 2]]
    assert_array_equal(masker.mask_top(0.2), x)
    assert_array_equal(masker.mask_bot(0.2), x)
    assert masker.mask_top(0.5)[0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1]
    assert masker.mask_bot(0.5)[0, 2, 0].tolist() == [1, 1, 1, 1, 0, 0]
    assert not masker.mask_top(1.0).any()


@pytest.mark.parametrize(
    "masker", [BlurringImageMasker("pixel", 0.5), SampleAverageImageMasker("pixel"), ConstantImageMasker("pixel", 2)]
)
def test_a_masker_is_a_function_of_the_inputs_for_every_metric(cnn, images, labels, pixel_maps, masker):
    scores = metrics.deletion_curve(cnn, images, pixel_maps["a"], baselines=masker, target=labels, n_steps=3)
    masker.set_batch(images, pixel_maps["a"])
    with torch.no_grad():
        by_hand = [cnn(masker.mask_top(k)).gather(1, labels[:, None]) for k in (0, 32, 64)]
    assert_allclose(scores, torch.cat(by_hand, 1), rtol=1e-4, atol=1e-6)


def test_noise_belongs_to_the_example_and_has_its_width(images):
    masker = RandomImageMasker("pixel", std=3)
    noise = masker(images, seed=[1, 2, 3, 4, 5])
    assert_array_equal(masker(images[2:4], seed=[3, 4]), noise[2:4])
    assert 2.5 < noise.std() < 3.5
    assert (masker(images) != masker(images)).any()


def test_a_masker_of_ones_own_sets_its_baseline(cnn, images, pixel_maps):
    class Brightest(ImageMasker):
        def _initialize_baselines(self, samples):
            self.baseline = samples.amax((2, 3), keepdim=True).expand_as(samples)

    masker = Brightest("pixel")
    masker.set_batch(images, pixel_maps["a"])
    assert_array_equal(masker.mask_top(64), images.amax((2, 3), keepdim=True).expand_as(images))
    assert isinstance(masker, Masker)


def test_columns_of_a_table_may_have_values_of_their_own():
    masker = TabularMasker([1.0, 2.0, 3.0])
    masker.set_batch(torch.zeros(2, 3), torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]))
    assert masker.mask_top(1).tolist() == [[1, 0, 0], [0, 0, 3]]
    with pytest.raises(ValueError, match="`mask_value` must be a number, or one for each of the columns"):
        masker.set_batch(torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: image.ConstantImageMasker("colour"),
            "`masking_level` must be one of 'feature', 'pixel', got 'colour'",
        ),
        (lambda x: BlurringImageMasker("pixel", 1.0), "`kernel_size` is a fraction of the width"),
        (
            lambda x: ConstantImageMasker("pixel").set_batch(x, x),
            "`attributions` of shape .* do not fit .* at level 'pixel'",
        ),
        (lambda x: ConstantImageMasker("pixel").set_batch(x, None, x), "`segmented_samples` must have shape"),
        (lambda x: ConstantImageMasker("pixel").mask_top(1), "call `set_batch` first|`attributions` are needed"),
        (lambda x: ConstantImageMasker("pixel").mask_rand(1), "call `set_batch` first"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(images, call, message):
    with pytest.raises(ValueError, match=message):
        call(images)


def test_more_features_than_there_are_cannot_be_masked(images, pixel_maps):
    masker = ConstantImageMasker("pixel")
    masker.set_batch(images, pixel_maps["a"])
    for mask in (masker.mask_top, masker.mask_bot, masker.mask_rand):
        with pytest.raises(ValueError, match="`k` must be from 0 to the number of features, 64; got 65"):
            mask(65)
    masker.set_batch(images, pixel_maps["a"], torch.zeros(5, 1, 8, 8))
    with pytest.raises(ValueError, match="`k` is a fraction of the segments"):
        masker.mask_top(2)
    with pytest.raises(ValueError, match="no one number of features"):
        masker.get_num_features()
