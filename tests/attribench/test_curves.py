"""Deletion and insertion: recorded curves, areas and directions, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from captum_ext import metrics
from captum_ext.attribench.data import AttributionsDataset
from captum_ext.attribench.functional.metrics import deletion, insertion
from captum_ext.attribench.masking import TabularMasker
from captum_ext.attribench.masking.image import ConstantImageMasker, RandomImageMasker

from .conftest import fail_above_two_rows

CURVES = {"deletion": deletion, "insertion": insertion}


def run(reference, case, **other):
    arguments = {k: v for k, v in case["call"].items() if k not in ("maskers", "masking_level")} | other
    model, maskers = reference.golden.model(case["model"]), reference.maskers(case)
    return CURVES[case["metric"]](model, reference.dataset(case), maskers=maskers, **arguments)


def counts_that_agree(case, features):
    """The points at which rounding the fraction, as here, masks as many features as AttriBench's rounding down."""
    call = case["call"]
    fractions = np.linspace(call["start"], call["stop"], call["num_steps"])
    fractions = fractions if case["metric"] == "deletion" else 1 - fractions
    return np.round(fractions * features).astype(int) == np.array(case["num_masked"])


@pytest.mark.parametrize("metric", CURVES)
@pytest.mark.parametrize(("model", "points", "areas"), [("cnn", 100, 8), ("gray", 34, 2), ("mlp", 24, 2)])
def test_recorded_curves_are_met_wherever_as_many_features_are_masked(reference, metric, model, points, areas):
    compared, whole = 0, 0
    for case in reference.golden.cases(metric, model):
        result = run(reference, case, batch_size=64)
        same = counts_that_agree(case, int(np.prod(reference.dataset(case).attributions_shape)))
        compared, whole = compared + same.sum(), whole + same.all()
        check_curves(result, reference.golden.rows(case["results"]), same, case["id"])
        for agg_fn in ("auc", "aoc"):
            table, higher_is_better = result.get_df(*case["auc_of"], agg_fn=agg_fn)
            assert higher_is_better is case["higher_is_better"][agg_fn]
            if same.all():
                assert_allclose(table.to_numpy().T, reference.golden.array(case[agg_fn]), rtol=1e-4, atol=1e-5)
    assert compared >= points
    assert whole >= areas


def check_curves(result, recorded, same, case):
    for row, wanted in recorded.items():
        masker, activation = row.split("|")
        for method, curve in zip(result.method_names, wanted):
            found = result.tree.get(masker=masker, activation_fn=activation, method=method)
            assert_allclose(found[:, same], curve[:, same], rtol=1e-4, atol=1e-5, err_msg=f"{case} {row} {method}")


@pytest.mark.parametrize("metric", CURVES)
def test_the_batch_size_changes_nothing_and_limits_the_rows_of_a_call(metric, cnn, dataset, rows):
    maskers = {"random": RandomImageMasker("pixel"), "zero": ConstantImageMasker("pixel")}
    results = []
    for batch_size in (1, 3, 5):
        rows.calls.clear()
        results.append(CURVES[metric](cnn, dataset, batch_size, maskers, num_steps=4))
        assert max(rows.calls) == batch_size
    for key, leaf in results[0].tree.leaves.items():
        assert_allclose(results[1].tree.leaves[key], leaf, rtol=1e-5, atol=1e-6)
        assert_allclose(results[2].tree.leaves[key], leaf, rtol=1e-5, atol=1e-6)


def test_activations_cost_no_further_evaluation_and_methods_share_the_ends(cnn, dataset, rows):
    maskers = {"zero": ConstantImageMasker("pixel")}
    one = deletion(cnn, dataset, 5, maskers, "softmax", num_steps=4)
    of_one = sum(rows.calls)
    assert of_one == 5 * (2 + 2 * 2)  # the ends, and two points of two methods
    three = deletion(cnn, dataset, 5, maskers, ["linear", "softmax", "sigmoid"], num_steps=4)
    assert sum(rows.calls) == 2 * of_one
    assert_array_equal(*(r.tree.get(masker="zero", activation_fn="softmax", method="b") for r in (one, three)))


def test_a_batch_that_was_halved_for_want_of_memory_scores_the_same_under_every_activation(cnn, dataset):
    arguments = (dataset, 5, {"zero": ConstantImageMasker("pixel")}, ["linear", "softmax"], "morf", 0.0, 1.0, 4)
    wanted = deletion(cnn, *arguments)
    cnn.register_forward_pre_hook(fail_above_two_rows)
    with pytest.warns(UserWarning, match="Out of memory"):
        found = deletion(cnn, *arguments)
    for key, leaf in wanted.tree.leaves.items():
        assert_allclose(found.tree.leaves[key], leaf, rtol=1e-4, atol=1e-6)


def test_a_single_method_and_masker_is_the_metric_called_by_hand(cnn, images, labels, pixel_maps):
    dataset = AttributionsDataset(images, labels, attributions=pixel_maps, methods=["b"])
    found = insertion(cnn, dataset, 2, {"m": ConstantImageMasker("pixel", 0.3)}, "sigmoid", "lerf", 0.25, 0.75, 5)
    wanted = metrics.insertion_curve(
        cnn,
        images,
        pixel_maps["b"],
        0.3,
        target=labels,
        mode="lerf",
        start=0.25,
        stop=0.75,
        n_steps=5,
        activation=torch.sigmoid,
    )
    assert_allclose(found.tree.get(masker="m", activation_fn="sigmoid", method="b"), wanted, rtol=1e-5)


def test_the_recorded_batch_size_gives_the_same(reference):
    (case,) = (c for c in reference.golden.cases("insertion") if c["id"] == "insertion/mlp/morf/g0")
    for key, leaf in run(reference, case).tree.leaves.items():
        assert_allclose(leaf, run(reference, case, batch_size=64).tree.leaves[key], rtol=1e-5, atol=1e-6)


def test_noise_of_a_random_masker_follows_the_seed(cnn, dataset):
    first, again, other = (
        deletion(cnn, dataset, 5, {"m": RandomImageMasker("pixel")}, num_steps=3, seed=s) for s in (0, 0, 1)
    )
    leaf = ("linear", "m", "a")
    assert_array_equal(first.tree.leaves[leaf], again.tree.leaves[leaf])
    assert (first.tree.leaves[leaf][:, 1:] != other.tree.leaves[leaf][:, 1:]).all()
    assert_array_equal(
        first.tree.leaves[leaf][:, -1], first.tree.get(masker="m", activation_fn="linear", method="b")[:, -1]
    )


def test_the_model_keeps_its_mode_and_runs_in_evaluation_mode(images, labels, pixel_maps):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9), torch.nn.Linear(192, 3)).train()
    dataset = AttributionsDataset(images, labels, attributions=pixel_maps)
    curve = deletion(model, dataset, 5, {"m": ConstantImageMasker("pixel")}, num_steps=2).tree.leaves[
        ("linear", "m", "a")
    ]
    assert all(module.training for module in model.modules())
    assert_allclose(curve[:, 0], model.eval()(images).detach().gather(1, labels[:, None])[:, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "best"}, "`mode` must be one of"),
        ({"start": -0.1}, "`start` must be a fraction"),
        ({"num_steps": 1}, "`num_steps` must be at least 2, got 1"),
        ({"activation_fns": "relu"}, "`activation_fns` must be among 'linear', 'softmax', 'sigmoid'; got \\['relu'\\]"),
        (
            {"maskers": {"m": ConstantImageMasker("feature")}},
            "`attributions` of shape .* do not fit .* at level 'feature'",
        ),
        ({"maskers": {"m": TabularMasker()}}, "`attributions` of shape .* do not fit .* for TabularMasker"),
        ({"batch_size": 0}, "`batch_size` must be"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(cnn, dataset, arguments, message):
    good = {"batch_size": 5, "maskers": {"m": ConstantImageMasker("pixel")}}
    with pytest.raises(ValueError, match=message):
        deletion(cnn, dataset, **good | arguments)


def test_what_is_no_masker_is_refused_by_name(cnn, dataset):
    with pytest.raises(TypeError, match=r"`maskers\['m'\]` must be a Masker, got float"):
        deletion(cnn, dataset, 5, {"m": 0.0})


def test_labels_out_of_range_and_samples_that_cannot_be_loaded_are_named(cnn, images, pixel_maps):
    maskers = {"m": ConstantImageMasker("pixel")}
    with pytest.raises(ValueError, match="`target` is out of range"):
        deletion(cnn, AttributionsDataset(images, torch.full((5,), 9), attributions=pixel_maps), 5, maskers)

    class Broken(torch.utils.data.TensorDataset):
        def __getitem__(self, index):
            if index == 3:
                raise OSError("unreadable")
            return super().__getitem__(index)

    broken = AttributionsDataset(Broken(images, torch.zeros(5, dtype=torch.long)), attributions=pixel_maps)
    with pytest.raises(ValueError, match=r"Example 3 .*unreadable"):
        deletion(cnn, broken, 5, maskers)
