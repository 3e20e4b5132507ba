"""Sensitivity-n: recorded correlations from recorded sets, and the exact value on a linear model."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from captum_ext._core.subsets import RandomSubsets, Subsets
from captum_ext.attribench.data import AttributionsDataset
from captum_ext.attribench.functional.metrics import sensitivity_n
from captum_ext.attribench.masking import TabularMasker
from captum_ext.attribench.masking.image import ConstantImageMasker, RandomImageMasker

METRIC = sys.modules["captum_ext.metrics.effects.sensitivity_n"]
CASES = ["cnn/feature", "cnn/pixel", "cnn/seg", "gray/pixel", "gray/seg", "mlp"]


def recorded_sets(reference, case):
    """`[B, size, draw]` sets of numbers of features."""
    draws = [reference.golden.array(case["draws"][str(n)]).astype(int) for n in case["n_range"]]
    data = reference.golden.data(case["model"])
    if not case["call"]["segmented"]:
        return [draws] * len(data["labels"])
    ids = [np.unique(image) for image in data["segments"]]
    return [[np.searchsorted(ids[b], of_n[b]) for of_n in draws] for b in range(len(ids))]


def replaying(sets):
    """In place of `random_subsets`: these sets."""

    def subsets(counts, sizes, draws, seed, device):
        batch, n_sizes = sizes.shape
        width = int(counts.max())

        def ranks(example, ordering):
            rows = torch.full((len(example), width), width)
            for row, b, o in zip(rows, example.tolist(), ordering.tolist()):
                chosen = sets[b][o // draws][o % draws]
                row[chosen] = torch.arange(len(chosen))
            return rows

        per_example = 1 + n_sizes * draws
        of_size = torch.tensor([len(s[0]) for s in sets[0]]).repeat_interleave(draws)
        rows = Subsets(
            torch.arange(batch).repeat_interleave(per_example),
            torch.cat([torch.tensor([0]), torch.arange(n_sizes * draws)]).repeat(batch),
            torch.cat([torch.tensor([0]), of_size]).repeat(batch),
            ranks,
        )
        row = torch.arange(batch * per_example).reshape(batch, per_example)
        valid = torch.ones(batch, n_sizes, draws, dtype=torch.bool)
        return RandomSubsets(rows, row[:, 0], row[:, 1:].reshape(batch, n_sizes, draws), valid, ~valid.any(2))

    return subsets


@pytest.mark.parametrize("name", CASES)
def test_recorded_sets_give_the_recorded_correlations_and_nan_where_these_are_undefined(reference, monkeypatch, name):
    (case,) = (c for c in reference.golden.cases("sensitivity_n") if c["id"] == f"sensitivity_n/{name}")
    monkeypatch.setattr(METRIC, "random_subsets", replaying(recorded_sets(reference, case)))
    arguments = {k: v for k, v in case["call"].items() if k not in ("maskers", "masking_level")}
    result = sensitivity_n(
        reference.golden.model(case["model"]), reference.dataset(case), maskers=reference.maskers(case), **arguments
    )
    for row, wanted in reference.golden.rows(case["results"]).items():
        masker, activation = row.split("|")
        for method, correlations in zip(case["methods"], wanted):
            found = result.tree.get(masker=masker, activation_fn=activation, method=method)
            if method == "zero":
                assert np.isnan(found).all()
                assert not correlations.any()
            else:
                assert_allclose(found, correlations, atol=1e-4, rtol=0, err_msg=f"{row} {method}")


def test_sizes_are_those_of_attribench_and_equal_ones_are_evaluated_once(monkeypatch, cnn, dataset, rows):
    asked = []
    original = METRIC.random_subsets
    monkeypatch.setattr(
        METRIC, "random_subsets", lambda counts, sizes, *rest: asked.append(sizes) or original(counts, sizes, *rest)
    )
    result = sensitivity_n(cnn, dataset, 5, {"m": ConstantImageMasker("pixel")}, "linear", 0.05, 0.08, 4, 3, False)
    assert asked[0][0].tolist() == [3, 4, 5]  # 3.2, 3.84, 4.48 and 5.12 of 64, cut off
    assert sum(rows.calls) == 5 * (1 + 3 * 3)
    leaf = result.tree.get(masker="m", activation_fn="linear", method="a")
    assert_array_equal(leaf[:, 0], leaf[:, 1])


def test_segments_are_a_share_of_those_an_image_has(monkeypatch, cnn, dataset):
    asked = []
    original = METRIC.random_subsets
    monkeypatch.setattr(
        METRIC,
        "random_subsets",
        lambda counts, sizes, *rest: asked.append((counts, sizes)) or original(counts, sizes, *rest),
    )
    sensitivity_n(cnn, dataset, 5, {"m": ConstantImageMasker("pixel")}, "linear", 0.25, 0.5, 2, 4, True)
    counts, sizes = asked[0]
    assert_array_equal(sizes, torch.stack([(0.25 * counts).round(), (0.5 * counts).round()], 1))


def test_gradient_times_input_of_a_linear_model_correlates_perfectly_at_every_size():
    x, model = torch.randn(4, 7), torch.nn.Linear(7, 2)
    labels = torch.tensor([0, 1, 1, 0])
    dataset = AttributionsDataset(
        x,
        labels,
        attributions={"exact": x * model.weight.detach()[labels], "negated": -x * model.weight.detach()[labels]},
    )
    result = sensitivity_n(model, dataset, 3, {"m": TabularMasker()}, ["linear"], 1 / 7, 6 / 7, 6, 20, False)
    table, higher_is_better = result.get_df("m", "linear")
    assert higher_is_better
    assert_allclose(table["exact"], 1, atol=1e-4)
    assert_allclose(table["negated"], -1, atol=1e-4)


def test_scores_depend_on_the_seed_and_not_on_the_batch_size_or_the_other_methods(
    cnn, dataset, images, labels, pixel_maps
):
    def run(data, batch_size, seed):
        maskers = {"m": RandomImageMasker("pixel")}
        return sensitivity_n(cnn, data, batch_size, maskers, "softmax", 0.1, 0.5, 2, 6, False, seed=seed).tree.leaves[
            ("softmax", "m", "b")
        ]

    alone = AttributionsDataset(images, labels, attributions=pixel_maps, methods=["b"])
    assert_allclose(run(dataset, 2, 0), run(alone, 5, 0), atol=1e-4)
    assert not np.allclose(run(dataset, 5, 0), run(dataset, 5, 1), atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_subset_size": 0.0}, "`min_subset_size` is a fraction of the features, above 0"),
        ({"min_subset_size": 0.001}, "`min_subset_size` 0.001 of 64 features is none: it must be at least 0.0156"),
        ({"max_subset_size": 1.5}, "`max_subset_size` is a fraction of the features"),
        ({"num_subsets": 1}, "`num_subsets` must be at least 2, got 1"),
        ({"num_steps": 2.5}, "`num_steps` must be an integer, got float 2.5"),
        ({"activation_fns": []}, "`activation_fns` must be among"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(cnn, dataset, arguments, message):
    good = {
        "activation_fns": "linear",
        "min_subset_size": 0.1,
        "max_subset_size": 0.5,
        "num_steps": 2,
        "num_subsets": 5,
        "segmented": False,
    }
    with pytest.raises(TypeError if arguments.get("num_steps") == 2.5 else ValueError, match=message):
        sensitivity_n(cnn, dataset, 5, {"m": ConstantImageMasker("pixel")}, **good | arguments)


def test_one_subset_more_than_there_are_is_all_of_them(cnn, images, labels):
    dataset = AttributionsDataset(images, labels, attributions={"a": torch.randn(5, 1, 8, 8)})
    of_one, of_more = (
        sensitivity_n(
            cnn, dataset, 5, {"m": ConstantImageMasker("pixel")}, "linear", 1 / 64, 1 / 64, 1, draws, False, seed=draws
        )
        for draws in (64, 65)
    )
    assert_allclose(of_one.tree.leaves[("linear", "m", "a")], of_more.tree.leaves[("linear", "m", "a")], atol=1e-6)
    assert math.prod(of_one.shape) == 5
