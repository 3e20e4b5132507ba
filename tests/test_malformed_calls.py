"""Of calls with one malformed argument, none gives a number, and the error names the argument."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from captum_ext.metrics import deletion, pointing_game, sensitivity_n

from .calls import METRICS, OF_ORDERS, Case, groups_of, takes, tiny
from .malformed import ANYTHING, GOOD, Malformed, complaints, drawn, labels, malformed_labels

CALLS = 2500


def test_every_argument_of_every_metric_has_malformed_values():
    arguments = {name for metric in METRICS.values() for name in inspect.signature(metric).parameters}
    assert arguments - ANYTHING == set(GOOD)
    assert all(len(malformed_labels(good)) > 15 for good in GOOD.values())


def test_a_malformed_argument_is_named_and_never_scored():
    found = {str(call): wrong for call, wrong in complaints(drawn(CALLS))}
    assert {call: wrong for call, wrong in found.items() if wrong.startswith("silent")} == {}
    assert len(found) <= CALLS // 100, found


def test_a_complaint_is_made_of_scores_and_of_errors_that_name_nothing():
    def unnamed(inputs, attributions):
        raise ValueError("something is wrong")

    for metric, words in ((unnamed, "unnamed"), (lambda inputs, attributions: inputs, "silent")):
        assert (
            Malformed(Case("own", metric), "attributions", labels()[0], GOOD["attributions"])
            .complaint()
            .startswith(words)
        )
    assert Malformed(Case("deletion", deletion), "n_steps", labels()[0], GOOD["n_steps"]).complaint() is None


# ---- numbers of numpy are numbers


KINDS = {
    int: (np.int64, np.uint8, torch.tensor),
    float: (np.float32, np.float16),
    bool: (np.bool_,),
}
NUMBERS = {
    **dict.fromkeys(("n_perturb_samples", "n_steps", "max_examples_per_batch", "n_bins", "n_top", "n", "k"), 3),
    **{"n_classes": 3, "weights_seed": 5, "seed": 7, "target": 1, "norm_ord": 1, "frozen": 5},
    **dict.fromkeys(("perturb_radius", "eps_min", "noise_level", "shift", "baselines", "shares", "tolerance"), 0.5),
    **{"start": 0.25, "stop": 0.75},
    **dict.fromkeys(("normalize", "show_progress", "absolute", "weighted", "concept_influence", "same_class"), False),
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_number_of_numpy_scores_as_the_number(metric):
    for name in NUMBERS.keys() & inspect.signature(metric).parameters.keys():
        value = 1 if metric is pointing_game and name == "tolerance" else NUMBERS[name]
        beside = {"feature_mask": groups_of(tiny())} if name == "frozen" or metric in OF_ORDERS else {}
        expected = tiny().call(metric, **beside | {name: value})
        for kind in KINDS[type(value)]:
            score = tiny().call(metric, **beside | {name: kind(value)})
            assert torch.equal(score.nan_to_num(), expected.nan_to_num()), (name, kind)


def test_several_numbers_of_numpy_are_numbers():
    lists = {"n": [np.int64(2), np.float32(0.5)], "seed": np.arange(5), "target": list(np.arange(5) % 3)}
    plain = {"n": [2, 0.5], "seed": list(range(5)), "target": [i % 3 for i in range(5)]}
    assert torch.equal(tiny().call(sensitivity_n, **lists), tiny().call(sensitivity_n, **plain))


def test_a_seed_may_have_any_number_of_digits():
    def score(seed):
        return tiny().call(sensitivity_n, seed=seed)

    assert not torch.equal(score(2**70), score(2**70 + 1))
    assert not torch.equal(score([2**70] * 5), score([2**70 + 1] * 5))


# ---- inputs that are NaN


@pytest.mark.parametrize(
    "metric", [m for m in METRICS.values() if takes(m, "forward_func") or takes(m, "explanation_func")]
)
def test_an_example_that_is_nan_has_no_number_for_a_score(metric):
    """Whatever its metric takes from the model or from an explanation is NaN."""
    setting = tiny()
    given = setting.of(metric)  # the attributions are made of inputs that are numbers
    given["inputs"][2] = torch.nan
    assert metric(**given)[2].isnan().all()
