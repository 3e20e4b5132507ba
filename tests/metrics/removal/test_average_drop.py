from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from captum_ext import evaluate
from captum_ext.metrics import average_drop, average_gain, increase_in_confidence

from ... import oracles
from ...conftest import smooth_model
from ...oracles import Recorder

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-12, atol=1e-12)
METRICS = (average_drop, average_gain, increase_in_confidence)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def probability(*tensors):
    return smooth_model(*tensors).sigmoid()


def shown_by_hand(x, phi, baseline, b):
    """The example seen through its map, element by element; a map with one channel serves all channels."""
    example, maps = oracles.example_of(x, b), oracles.example_of(phi, b)
    values = [v for m in maps for v in m.flatten().tolist()]
    least, most = min(values), max(values)
    rows = []
    for t, m, base in zip(example, maps, baseline):
        m = m.expand(t.shape)
        places = zip(t.flatten().tolist(), m.flatten().tolist())
        shown = [base + (v - least) / (most - least) * (e - base) for e, v in places]
        rows.append(torch.tensor(shown, dtype=torch.float64).reshape(t.shape))
    return tuple(rows)


INPUTS = {
    "elements": (normal(3, 5), normal(3, 5, seed=1), (0.0,)),
    "a baseline": (normal(3, 5), normal(3, 5, seed=1), (0.7,)),
    "images": (normal(2, 2, 2, 3), normal(2, 2, 2, 3, seed=1), (0.0,)),
    "maps with one channel": (normal(2, 2, 2, 3), normal(2, 1, 2, 3, seed=1), (0.2,)),
    "a tuple": ((normal(2, 3), normal(2, 2, 2, seed=1)), (normal(2, 3, seed=2), normal(2, 2, 2, seed=3)), (0.0, 0.5)),
}


@pytest.mark.parametrize(("x", "phi", "baseline"), INPUTS.values(), ids=INPUTS)
def test_scores_are_those_of_the_naive_loop(x, phi, baseline):
    wanted = {metric: [] for metric in METRICS}
    for b in range(len(oracles.tensors_of(x)[0])):
        y = oracles.score(probability, oracles.example_of(x, b))
        o = oracles.score(probability, shown_by_hand(x, phi, baseline, b))
        wanted[average_drop].append(max(0.0, y - o) / y)
        wanted[average_gain].append(max(0.0, o - y) / (1 - y))
        wanted[increase_in_confidence].append(float(o > y))
    for metric, values in wanted.items():
        closely(metric(probability, x, phi, baseline), torch.tensor(values, dtype=torch.float64))


def test_a_drop_a_gain_and_an_increase_exclude_or_go_with_each_other():
    x, phi = normal(40, 6), normal(40, 6, seed=1)
    drop, gain, increase = (metric(probability, x, phi) for metric in METRICS)
    assert 0 < increase.sum() < 40
    exactly(increase == 1, gain > 0)
    exactly(increase == 0, drop > 0)


def test_a_linear_model_drops_by_what_the_map_hides():
    w, x = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)
    phi = torch.tensor([[0.0, 5.0, 10.0]], dtype=torch.float64)
    closely(average_drop(lambda rows: rows @ w, x, phi), torch.tensor([(0.1 + 0.5 * 0.2) / 0.6], dtype=torch.float64))


@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_scores_do_not_change_with_the_scale_and_the_level_of_the_map(scale, shift):
    x, phi = normal(3, 6), normal(3, 6, seed=1)
    for metric in METRICS:
        assert_close(metric(probability, x, phi * scale + shift), metric(probability, x, phi), rtol=1e-9, atol=1e-9)


def test_a_constant_map_and_an_impossible_probability_are_nan():
    x = normal(2, 3)
    constant = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]]).double()
    for metric in METRICS:
        assert metric(probability, x, constant).isnan().tolist() == [True, False]
    assert average_drop(lambda rows: 0 * rows[:, 0], x, x).isnan().all()
    assert average_gain(lambda rows: 0 * rows[:, 0] + 1, x, x).isnan().all()


@pytest.mark.parametrize("limit", [None, 1, 2, 5])
def test_each_example_is_evaluated_once_and_once_for_each_method(limit):
    x, phi = normal(3, 6), {"a": normal(3, 6, seed=1), "b": normal(3, 6, seed=2)}
    for metric in METRICS:
        model = Recorder(probability)
        scores = metric(model, x, phi, max_examples_per_batch=limit)
        assert model.rows == 3 + 2 * 3
        assert max(model.sizes) <= (limit or 64)
        for name, maps in phi.items():
            exactly(scores[name], metric(probability, x, maps))


def test_evaluate_runs_the_rows_of_all_three_once():
    class Net(nn.Module):
        rows = 0

        def forward(self, x):
            Net.rows += len(x)
            return probability(x)

    x = normal(4, 6)
    methods = {"a": x.cos(), "b": x.sin()}
    result = evaluate(Net(), list(x), methods, {m.__name__: m for m in METRICS}, batch_size=4).dataset
    assert Net.rows == 4 + 2 * 4
    for metric in METRICS:
        exactly(torch.tensor(result[metric.__name__].values[0]), metric(probability, x, methods["a"]))


def test_integers_are_refused():
    with pytest.raises(TypeError, match="`inputs` must be of a floating point type, as maps scale them"):
        average_drop(probability, torch.ones(2, 3).long(), torch.ones(2, 3))
