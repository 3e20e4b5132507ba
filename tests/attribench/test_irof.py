"""IROF: recorded curves of segments, and that it returns them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from captum_ext.attribench.data import AttributionsDataset
from captum_ext.attribench.functional.metrics import irof
from captum_ext.attribench.masking.image import ConstantImageMasker
from captum_ext.attribench.result import DeletionResult

MODULE = sys.modules["captum_ext.attribench.functional.metrics._scores"]


def dataset_of(reference, model):
    data = reference.golden.data(model)
    maps = {m: torch.tensor(a) for m, a in data["attributions_pixel"].items()}
    return AttributionsDataset(torch.tensor(data["samples"]), torch.tensor(data["labels"]), attributions=maps)


@pytest.mark.parametrize(("model", "points"), [("cnn", 50), ("gray", 20)])
def test_recorded_curves_are_met_wherever_as_many_segments_are_masked(reference, monkeypatch, model, points):
    compared, data = 0, reference.golden.data(model)
    monkeypatch.setattr(MODULE, "superpixels", lambda inputs, slic_zero: torch.tensor(data["segments"]))
    for case in reference.golden.cases("irof", model):
        if "num_segments_masked" not in case:
            continue
        call = {k: v for k, v in case["call"].items() if k != "maskers"}
        maskers = reference.maskers({**case, "call": {**case["call"], "masking_level": "pixel"}})
        result = irof(reference.golden.model(model), dataset_of(reference, model), 64, maskers, **call)
        fractions = np.linspace(call["start"], call["stop"], call["num_steps"])
        ours = np.round(fractions * np.array(data["num_segments"])[:, None])
        same = ours == np.array(case["num_segments_masked"])
        compared += same.sum()
        for row, recorded in reference.golden.rows(case["results"]).items():
            masker, activation = row.split("|")
            for method, wanted in zip(data["methods"], recorded):
                found = result.tree.get(masker=masker, activation_fn=activation, method=method)
                assert_allclose(found[same], wanted[same], rtol=1e-4, atol=1e-5)
    assert compared >= points


def test_few_segments_start_with_the_whole_image_and_end_with_none_of_it(cnn, dataset, images, labels):
    result = irof(cnn, dataset, 5, {"zero": ConstantImageMasker("pixel")}, num_steps=30)
    assert isinstance(result, DeletionResult)
    whole, none = (cnn(x).gather(1, labels[:, None])[:, 0].detach() for x in (images, torch.zeros_like(images)))
    for method in dataset.method_names:
        curve = result.tree.get(masker="zero", activation_fn="linear", method=method)
        assert curve.shape == (5, 30)
        assert_allclose(curve[:, 0], whole, rtol=1e-5, atol=1e-6)
        assert_allclose(curve[:, -1], none, rtol=1e-5, atol=1e-6)
    assert result.get_df("zero", "linear", "aoc")[1]


def test_the_batch_size_changes_nothing(cnn, dataset):
    curves = [irof(cnn, dataset, size, {"zero": ConstantImageMasker("pixel")}, num_steps=4) for size in (2, 5)]
    for key, leaf in curves[0].tree.leaves.items():
        assert_allclose(curves[1].tree.leaves[key], leaf, rtol=1e-5, atol=1e-6)


def test_a_masker_of_another_level_serves_too(cnn, dataset):
    levels = [irof(cnn, dataset, 5, {"zero": ConstantImageMasker(at)}, num_steps=4) for at in ("pixel", "feature")]
    for key, leaf in levels[0].tree.leaves.items():
        assert_array_equal(levels[1].tree.leaves[key], leaf)
