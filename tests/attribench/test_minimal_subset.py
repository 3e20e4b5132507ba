"""Minimal subset: recorded numbers where the prediction is clear, and its ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from captum_ext.attribench.functional.metrics import minimal_subset
from captum_ext.attribench.masking.image import ConstantImageMasker

ZERO = {"zero": ConstantImageMasker("pixel")}


@pytest.mark.parametrize("model", ["cnn", "gray", "mlp"])
def test_recorded_numbers_are_met_where_the_prediction_is_clear(reference, model):
    compared = 0
    for case in reference.golden.cases("minimal_subset", model):
        call = case["call"]
        dataset, maskers = reference.dataset(case), reference.maskers(case)
        arguments = dataset, 64, maskers, call["mode"], call["num_steps"]  # of any batch size, as shown below
        result = minimal_subset(reference.golden.model(model), *arguments)
        margins = reference.golden.array(case["margin"])
        for (masker, recorded), margin in zip(reference.golden.rows(case["results"]).items(), margins):
            table, higher_is_better = result.get_df(masker)
            assert not higher_is_better
            clear = np.array(margin).reshape(np.array(recorded).shape) > 1e-4
            assert_array_equal(table.to_numpy().T[clear], np.array(recorded)[clear])
            compared += clear.sum()
    assert compared > 20


def test_the_numbers_are_of_features_and_the_result_remembers_its_mode(cnn, dataset, tmp_path):
    result = minimal_subset(cnn, dataset, 5, ZERO, "insertion", 8)
    assert result.shape == [5, 1]
    numbers = result.tree.get(masker="zero", method="a")
    assert set(np.unique(numbers)) <= set(range(0, 65, 8))
    result.save(tmp_path / "result")
    loaded = type(result).load(tmp_path / "result")
    assert loaded.mode == "insertion"
    assert_array_equal(loaded.get_df("zero")[0], result.get_df("zero")[0])


def test_a_prediction_that_never_changes_takes_all_features(dataset):
    always = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    with torch.no_grad():
        always[1].weight.zero_()
    table, _ = minimal_subset(always, dataset, 5, ZERO, num_steps=4).get_df("zero")
    assert (table == 64).all(axis=None)
    table, _ = minimal_subset(always, dataset, 5, ZERO, "insertion", 4).get_df("zero")
    assert (table == 0).all(axis=None)


def test_the_batch_size_limits_the_rows_of_a_call_and_changes_nothing(cnn, dataset, rows):
    tables = []
    for batch_size in (2, 5):
        rows.calls.clear()
        tables.append(minimal_subset(cnn, dataset, batch_size, ZERO, num_steps=8).get_df("zero")[0])
        assert max(rows.calls) == batch_size
    assert_array_equal(*tables)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"mode": "morf"}, "`mode` must be one of 'deletion', 'insertion', got 'morf'"),
        ({"num_steps": 1}, "`num_steps` must be at least 2, got 1"),
        ({"num_steps": 65}, "`num_steps` must be at most the number of features, 64; got 65"),
    ],
)
def test_what_does_not_fit_is_refused(cnn, dataset, change, match):
    with pytest.raises(ValueError, match=match):
        minimal_subset(cnn, dataset, 5, ZERO, **change)
