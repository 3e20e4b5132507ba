"""Masks of boxes, and mosaics."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from captum_ext import evaluate
from captum_ext.metrics import focus
from captum_ext.truth_masks import mask_of_boxes, mosaics


def test_whole_numbers_are_a_slice():
    mask = mask_of_boxes([[2, 1, 5, 3]], (4, 6))
    wanted = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    wanted[..., 1:3, 2:5] = True
    assert mask.dtype == torch.bool
    assert torch.equal(mask, wanted)


def test_a_pixel_belongs_to_a_box_if_its_centre_does():
    inside = lambda x1, x2: mask_of_boxes([[x1, 0, x2, 1]], (1, 4)).flatten().nonzero().flatten().tolist()  # noqa: E731
    assert inside(0.4, 2.6) == [0, 1, 2]
    assert inside(0.6, 2.4) == [1]
    assert inside(0.5, 2.5) == [0, 1]  # a centre on a border is of the box to the right


def test_several_boxes_are_one_mask_and_none_is_empty():
    boxes = [[[0, 0, 1, 1], [2, 1, 3, 2], [0, 0, 1, 1]], [], torch.tensor([1.0, 0, 2, 2])]
    masks = mask_of_boxes(boxes, (2, 3))[:, 0].int().tolist()
    assert masks == [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 1, 0]]]


@pytest.mark.parametrize("nothing", [[0, 0, 0, 0], [2, 0, 2, 3], [-5, -5, 0, 9], [3, 0, 9, 9]])
def test_what_has_no_area_in_the_picture_counts_for_nothing(nothing):
    assert not mask_of_boxes([nothing], (3, 3)).any()


def test_a_tensor_filled_up_with_zeros_is_the_list_without_them():
    ragged = [[[0, 0, 2, 2]], [[1, 1, 3, 2], [0, 0, 1, 1]]]
    padded = torch.tensor([[[0, 0, 2, 2], [0, 0, 0, 0]], ragged[1]])
    assert torch.equal(mask_of_boxes(padded, (3, 3)), mask_of_boxes(ragged, (3, 3)))
    assert torch.equal(mask_of_boxes(padded[:, 0], (3, 3)), mask_of_boxes([b[:1] for b in ragged], (3, 3)))


# ---- mosaics

LABELS = torch.tensor([3, 3, 5, 5, 5, 8])
IMAGES = torch.arange(6.0)[:, None, None, None] * torch.ones(6, 2, 2, 3)  # an image is its number


def test_a_mosaic_is_its_images_and_the_mask_is_where_the_target_is():
    inputs, target, truth, indices = mosaics(IMAGES, LABELS, 50, seed=1)
    assert inputs.shape == (50, 2, 4, 6)
    assert truth.shape == (50, 1, 4, 6)
    for x, t, mask, numbers in zip(inputs, target, truth, indices):
        for number, (row, column) in zip(numbers.tolist(), [(0, 0), (0, 3), (2, 0), (2, 3)]):
            assert (x[:, row : row + 2, column : column + 3] == number).all()
            assert (mask[0, row : row + 2, column : column + 3] == (LABELS[number] == t)).all()
        assert (LABELS[numbers] == t).sum() == 2
        assert len(numbers.unique()) == 4


def test_every_class_with_two_images_and_every_place_comes():
    _, target, truth, indices = mosaics(IMAGES, LABELS, 200)
    assert set(target.tolist()) == {3, 5}  # 8 has one image
    assert len(truth[:, 0, ::2, ::3].flatten(1).unique(dim=0)) == 6
    assert set(indices.flatten().tolist()) == set(range(6))


def test_an_image_keeps_its_values_whatever_they_are():
    images = torch.rand(6, 3, 4, 5)
    inputs, _, _, indices = mosaics(images, LABELS, 3)
    for x, (a, b, c, d) in zip(inputs, indices):
        assert torch.equal(
            x, torch.cat((torch.cat((images[a], images[b]), 2), torch.cat((images[c], images[d]), 2)), 1)
        )


def test_the_seed_repeats_and_a_longer_run_begins_with_a_shorter_one():
    before = torch.get_rng_state()
    short, long, other = mosaics(IMAGES, LABELS, 4), mosaics(IMAGES, LABELS, 9), mosaics(IMAGES, LABELS, 9, seed=1)
    for a, b in zip(short, long):
        assert torch.equal(a, b[:4])
    assert not torch.equal(long.indices, other.indices)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_target_is_of_a_class_with_two_images_that_leaves_two_others():
    assert set(mosaics(IMAGES[:5], [0, 0, 1, 1, 1], 30).target.tolist()) == {0, 1}
    assert mosaics(IMAGES, [7, 7, 7, 7, 1, 1], 30).target.unique().tolist() == [1, 7]
    assert mosaics(IMAGES[:4], [0, 0, 1, 2], 5).target.tolist() == [0] * 5


def test_mosaics_are_data_of_an_evaluation():
    made = mosaics(IMAGES, LABELS, 6)
    data = [(x, t, None, {"truth_mask": m}) for x, t, m, _ in zip(*made)]
    model = lambda x: torch.stack([x.flatten(1).sum(1)] * 9, 1)  # noqa: E731
    maps = made.truth_mask * 3.0 + 1.0
    result = evaluate(model, data, {"partly": maps}, {"focus": focus}, batch_size=4)
    assert_close(torch.from_numpy(result.dataset["focus"].values), torch.full((1, 6), 0.8))


def test_the_default_device_changes_nothing():
    images, labels = torch.arange(6.0).reshape(6, 1, 1, 1), torch.tensor([0, 0, 0, 1, 1, 2])
    expected = mosaics(images, labels, n_mosaics=4, seed=1)
    with torch.device("meta"):
        found = mosaics(images, labels, n_mosaics=4, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
