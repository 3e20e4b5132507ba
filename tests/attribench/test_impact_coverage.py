"""Impact coverage: recorded attempts give the recorded attacks and overlaps; patches are trained, saved and read."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.utils.data import TensorDataset

from captum_ext.attribench.functional import train_adversarial_patches
from captum_ext.attribench.functional.metrics import impact_coverage

MODULE = sys.modules["captum_ext.attribench.functional.metrics.impact_coverage"]

METRIC = sys.modules["captum_ext.metrics.localisation.impact_coverage"]


def save(patches, folder):
    for label, patch in patches.items():
        torch.save(patch, folder / f"patch_{label}.pt")
    return folder


@pytest.mark.filterwarnings("ignore:No patch changed the prediction")
@pytest.mark.parametrize(
    "case", ["impact_coverage/cnn/feature", "impact_coverage/cnn/pixel", "impact_coverage/gray/pixel"]
)
def test_recorded_attempts_give_the_recorded_attacks_and_overlaps(reference, monkeypatch, tmp_path, case):
    golden = reference.golden
    (case,) = [c for c in golden.cases("impact_coverage") if c["id"] == case]
    patches = {int(k): torch.tensor(golden.array(a)) for k, a in case["draws"]["patches"].items()}
    recorded = [(a["patch"], a["axis2"], a["axis3"]) for a in case["attempts"]]
    monkeypatch.setattr(METRIC, "attempts", lambda patches, size, seed: iter(recorded))
    data, maps = golden.data(case["model"]), golden.rows(case["attributions"])
    seen = []

    def method_of(name):
        def method(batch_x, batch_target):
            seen.append((batch_x, batch_target))
            return torch.tensor(maps[name])

        return method

    samples = TensorDataset(torch.tensor(data["samples"]), torch.tensor(data["labels"]))
    methods = {name: method_of(name) for name in case["methods"]}
    model, folder = golden.model(case["model"]), save(patches, tmp_path)
    result = impact_coverage(model, samples, case["call"]["batch_size"], methods, folder)
    for attacked, classes in seen[len(methods) :]:  # first the images as they are
        assert_allclose(attacked, golden.array(case["attacked_samples"]), rtol=1e-6)
        assert_array_equal(classes, golden.array(case["targets"]))
    table, higher_is_better = result.get_df()
    assert higher_is_better is case["higher_is_better"]
    assert_allclose(table.to_numpy().T, golden.rows(case["results"])["iou"], rtol=1e-6)


class BrightestClass(nn.Module):
    """Class `c` is as strong as the sum of channel `c`; a patch of one channel decides."""

    def forward(self, x):
        return x.sum((2, 3))


def bright_patches():
    """A patch of 3 x 2 that makes its class win."""
    return {c: 100 * torch.eye(3)[c].reshape(1, 3, 1, 1).expand(1, 3, 3, 2).clone() for c in range(3)}


@pytest.fixture
def scene(images, labels, tmp_path):
    return TensorDataset(images, BrightestClass()(images).argmax(1)), save(bright_patches(), tmp_path)


METHODS = {
    "patch": lambda x, target: (x > 1).any(1, keepdim=True).float() + 0.1 * torch.rand_like(x[:, :1]),
    "elsewhere": lambda x, target: (x <= 1).all(1, keepdim=True).float(),
    "all channels": lambda x, target: (x > 1).any(1, keepdim=True).float().expand_as(x),
}


def test_an_explanation_of_the_patch_scores_1_and_one_of_all_else_0(scene):
    table, _ = impact_coverage(BrightestClass(), scene[0], 5, METHODS, scene[1]).get_df()
    assert (table["patch"] == 1).all()
    assert (table["all channels"] == 1).all()
    assert (table["elsewhere"] == 0).all()


def test_the_patch_is_put_once_for_all_methods_and_its_class_is_neither_predicted_nor_the_label(scene, images):
    seen = {}

    def noting(name):
        def method(x, target):
            seen.setdefault(name, []).append((x, target))
            return x

        return method

    impact_coverage(BrightestClass(), scene[0], 2, {n: noting(n) for n in ("a", "b")}, scene[1])
    seen = {name: calls[1::2] for name, calls in seen.items()}  # every other one is of the images as they are
    for (x, target), (other_x, other_target) in zip(seen["a"], seen["b"], strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(target, other_target)
        assert torch.equal(BrightestClass()(x).argmax(1), target)
    x, target = (torch.cat(parts) for parts in zip(*seen["a"]))
    assert (target != BrightestClass()(images).argmax(1)).all()
    assert ((x != images).any(1).flatten(1).sum(1) == 6).all()
    places = (x != images).any(1).flatten(1).int().argmax(1)
    assert len(places.unique()) > 1


def test_scores_belong_to_the_image_and_the_seed(scene):
    away = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0)).sub(3.6).square().sum(1).reshape(1, 1, 8, 8)
    cut = {"centre": lambda x, target: -away.expand(len(x), 1, 8, 8)}
    tables = [impact_coverage(BrightestClass(), scene[0], size, cut, scene[1]).get_df()[0] for size in (1, 2, 5)]
    assert_array_equal(tables[0], tables[1])
    assert_array_equal(tables[0], tables[2])
    other = impact_coverage(BrightestClass(), scene[0], 5, cut, scene[1], seed=1).get_df()[0]
    assert (other != tables[0]).any(axis=None)


def test_images_that_no_patch_fools_keep_the_last_one_with_a_warning(scene, tmp_path):
    weak = tmp_path / "weak"
    weak.mkdir()
    save({c: p * 0 + 0.5 for c, p in bright_patches().items()}, weak)
    with pytest.warns(UserWarning, match=r"No patch changed the prediction of \d of 5 images"):
        result = impact_coverage(BrightestClass(), scene[0], 5, {"a": lambda x, target: x}, weak)
    assert result.get_df()[0]["a"].between(0, 1).all()


def test_what_does_not_fit_is_refused(scene, tmp_path):
    empty, wrong, large = (tmp_path / name for name in ("empty", "wrong", "large"))
    for folder in (empty, wrong, large):
        folder.mkdir()
    torch.save(torch.zeros(1), wrong / "patch.pt")
    save({0: torch.zeros(1, 3, 9, 9)}, large)
    run = lambda folder, methods=METHODS: impact_coverage(BrightestClass(), scene[0], 5, methods, folder)  # noqa: E731
    with pytest.raises(ValueError, match=r"must have files of patches, named <name>_<class>\.pt; got none"):
        run(empty)
    with pytest.raises(ValueError, match=r"named <name>_<class>.pt; got \['patch.pt'\]"):
        run(wrong)
    with pytest.raises(ValueError, match=r"The patch of class 0, \(9, 9\), is larger than the images, \(8, 8\)"):
        run(large)
    with pytest.raises(ValueError, match=r"attributions of images \(5, 3, 8, 8\), .* or one; got \(5, 2, 8, 8\)"):
        run(scene[1], {"a": lambda x, target: x[:, :2]})
    with pytest.raises(ValueError, match="`method_dict` must have at least one method"):
        run(scene[1], {})


# ---------------------------------------------------------------- training


def test_trained_patches_fool_the_model_they_are_trained_for(images, labels):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with torch.no_grad():  # every pixel of channel c speaks for class c
        model[1].weight.copy_(torch.eye(3).repeat_interleave(64, 1))
        model[1].bias.zero_()
    dataset = TensorDataset(images, labels)
    patches = train_adversarial_patches(model, dataset, 3, 2, None)
    assert [tuple(p.shape) for p in patches] == [(1, 3, 2, 2)] * 3
    untrained = torch.full((3,), 1 / 3)
    for c, patch in enumerate(patches):
        assert patch.min() >= images.min()
        assert patch.max() <= images.max()
        assert patch.mean((0, 2, 3)).argmax() == c
        assert patch[0, c].mean() > untrained[c]


def test_saved_patches_are_read_and_the_model_is_left_as_it_was(cnn, dataset, images, labels, tmp_path):
    cnn.train()
    samples = TensorDataset(images, labels)
    assert train_adversarial_patches(cnn, samples, 3, 2, str(tmp_path / "patch"), labels=[2, 0, 1]) is None
    assert sorted(f.name for f in tmp_path.iterdir()) == [f"patch_{c}.pt" for c in range(3)]
    assert cnn.training
    assert all(p.requires_grad and p.grad is None for p in cnn.parameters())
    again = train_adversarial_patches(cnn, samples, 1, 2, None, labels=[2])
    assert torch.equal(torch.load(tmp_path / "patch_2.pt", weights_only=True), again[0])
    assert list(MODULE.read_patches(tmp_path)) == [0, 1, 2]


def test_labels_are_taken_one_after_another_as_often_as_needed(cnn, images, labels):
    samples = TensorDataset(images, labels)
    assert len(train_adversarial_patches(cnn, samples, 3, 5, None, labels=[1])) == 3
    with pytest.raises(ValueError, match="`num_patches` must be at least 1, got 0"):
        train_adversarial_patches(cnn, samples, 0, 5, None)
    with pytest.raises(ValueError, match="`labels` must have at least one class"):
        train_adversarial_patches(cnn, samples, 1, 5, None, labels=[])


def test_the_seed_governs_training(cnn, images, labels):
    samples = TensorDataset(images, labels)
    first, again, other = (train_adversarial_patches(cnn, samples, 1, 5, None, seed=s)[0] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert np.isfinite(first.numpy()).all()


def test_a_patch_of_the_predicted_class_or_of_the_label_counts_as_no_attack(scene, images):
    predicted = BrightestClass()(images).argmax(1)
    mislabelled, seen = TensorDataset(images, (predicted + 1) % 3), []
    impact_coverage(BrightestClass(), mislabelled, 5, {"a": lambda x, target: seen.append(target) or x}, scene[1])
    assert torch.equal(seen[-1], (predicted + 2) % 3)
