"""Relative stability against the input, the output and a representation: identities, the naive loop, hooks and rows."""

import math
from functools import partial

import pytest
import torch
from captum.attr import Saliency
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from captum_ext.metrics import relative_input_stability, relative_output_stability, relative_representation_stability

from ... import oracles
from ...oracles import Recorder, RecordingPerturbation

closely = partial(assert_close, rtol=1e-9, atol=1e-12)
ALL = (relative_input_stability, relative_output_stability, relative_representation_stability)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def curved(rows):
    return torch.sin(rows * 3) * rows + rows.flatten(1).sum(1).reshape(-1, *[1] * (rows.dim() - 1))


class Net(nn.Module):
    """Six elements to three classes; the hidden layer's output is overwritten by the next."""

    def __init__(self):
        super().__init__()
        self.hidden, self.relu, self.out = nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)
        for seed, p in enumerate(self.parameters()):
            p.data = normal(*p.shape, seed=seed)

    def forward(self, x):
        return self.out(self.relu(self.hidden(x.flatten(1))))


NET = Net()


def call(metric, *arguments, **options):
    layer = {"layer": "hidden"} if metric is relative_representation_stability else {}
    return metric(*arguments, **layer, **options)


def relative(after, before):
    return [(a - b) / (b or 1.0) for a, b in zip(after, before)]


def naive(metric, x, draws, order, same_class=True):
    scores = []
    for b, copies in enumerate(draws):
        phi, seen = curved(x[[b]]).flatten().tolist(), observed(metric, x[b])
        values = []
        for (copy,) in copies:
            if same_class and NET(copy[None]).argmax() != NET(x[[b]]).argmax():
                continue
            after = observed(metric, copy)
            plain = [p - q for p, q in zip(after, seen)]
            change = plain if metric is relative_output_stability else relative(after, seen)
            explained = oracles.norm(relative(curved(copy[None]).flatten().tolist(), phi), order)
            values.append(explained / max(oracles.norm(change, order), 1e-6))
        scores.append(max(values) if values else math.nan)
    return expected(scores)


def observed(metric, example):
    """What the denominator is about, of one example."""
    with torch.no_grad():
        if metric is relative_input_stability:
            return example.flatten().tolist()
        if metric is relative_output_stability:
            return NET(example[None]).flatten().tolist()
        return NET.hidden(example[None].flatten(1)).flatten().tolist()


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("same_class", [True, False])
@given(
    batch=st.integers(1, 3),
    n=st.integers(1, 6),
    limit=st.sampled_from([None, 1, 5]),
    norm_ord=st.sampled_from(["fro", 1, math.inf]),
)
def test_values_are_those_of_the_naive_loop(metric, same_class, batch, n, limit, norm_ord):
    x, perturb = normal(batch, 2, 3), RecordingPerturbation(0.8)
    options = {"norm_ord": norm_ord, "n_perturb_samples": n, "max_examples_per_batch": limit, "same_class": same_class}
    score = call(metric, NET, curved, x, perturb_func=perturb, **options)
    order = 2 if norm_ord == "fro" else norm_ord
    assert_close(
        score, naive(metric, x, perturb.draws(batch), order, same_class), rtol=1e-9, atol=1e-12, equal_nan=True
    )


def test_a_proportional_explanation_is_as_stable_as_the_input(x):
    for search in ("random", "vertices", "block"):
        score = relative_input_stability(lambda rows: rows.sum(1), lambda rows: -4 * rows, x, search=search)
        closely(score, expected([1.0] * 3))


def test_the_identity_as_layer_is_the_input(x):
    layer = nn.Identity()
    model = lambda rows: NET(layer(rows))  # noqa: E731
    against = {"perturb_radius": 0.4, "seed": 1}
    closely(
        relative_representation_stability(model, curved, x, layer, **against),
        relative_input_stability(model, curved, x, **against),
    )


def test_an_explanation_that_does_not_move_scores_0(x):
    for metric in ALL:
        closely(call(metric, NET, torch.ones_like, x), expected([0.0] * 3))


def test_an_output_that_does_not_move_leaves_the_least_denominator(x):
    still = lambda rows: torch.ones(len(rows), 2).double()  # noqa: E731
    step = lambda rows: rows * 1.1  # noqa: E731
    score = partial(relative_output_stability, still, lambda rows: rows, x, step)
    closely(score(), expected([0.1 * math.sqrt(6) / 1e-6] * 3))
    closely(score(eps_min=0.5), expected([0.1 * math.sqrt(6) / 0.5] * 3))


def test_an_element_of_0_counts_as_1():
    x = expected([[0.0, 2.0]])
    score = relative_input_stability(lambda rows: rows.sum(1), lambda rows: rows + 0, x, lambda rows: rows + 1)
    closely(score, expected([1.0]))  # both change by (1, 1/2)


def test_copies_of_another_class_are_left_out_and_nan_is_where_none_is_left():
    x = expected([[1.0, 3.0], [4.0, 3.0]])

    def swapped(rows):  # the second copy of each example has the elements, so the classes, turned around
        copies = rows.clone() * 1.1
        copies[1::2] = rows[1::2].flip(1)
        return copies

    arguments = (lambda rows: rows, torch.square, x, swapped)
    kept = relative_input_stability(*arguments, n_perturb_samples=2)
    closely(kept, expected([2.1, 2.1]))
    everything = relative_input_stability(*arguments, n_perturb_samples=2, same_class=False)
    assert (everything > kept).all()
    alone = relative_input_stability(*arguments[:3], lambda rows: rows.flip(1), n_perturb_samples=2)
    assert alone.isnan().all()


def test_a_model_with_one_output_predicts_no_class(x):
    one = lambda rows: rows.sum(1, keepdim=True)  # noqa: E731
    opposite = lambda rows: -rows  # noqa: E731
    assert relative_input_stability(one, lambda rows: rows, x, opposite).isfinite().all()


def test_activation_is_applied_to_the_output(x):
    softmax = partial(torch.softmax, dim=1)
    score = partial(relative_output_stability, explanation_func=curved, inputs=x, seed=0)
    closely(score(NET, activation=softmax), score(lambda rows: softmax(NET(rows))))


def test_a_layer_may_be_given_by_name_or_itself_and_keeps_no_hook(x):
    score = partial(relative_representation_stability, NET, curved, x, seed=0)
    closely(score("hidden"), score(NET.hidden))
    assert not any(m._forward_hooks for m in NET.modules())
    with pytest.raises(ValueError, match="the layer was not"):
        score(nn.Linear(2, 2))
    with pytest.raises(RuntimeError):
        relative_representation_stability(lambda rows: NET(rows[:, :1]), curved, x, NET.hidden)
    assert not any(m._forward_hooks for m in NET.modules())


def test_a_layer_of_several_tensors_or_calls_is_all_of_them_side_by_side(x):
    class Pair(nn.Module):
        def forward(self, rows):
            return rows[:, :2], rows[:, 2:]

    pair, same = Pair(), nn.Identity()
    score = partial(relative_representation_stability, explanation_func=curved, inputs=x, seed=0, perturb_radius=0.3)
    whole = score(lambda rows: same(rows).sum(1), layer=same)
    closely(score(lambda rows: sum(part.sum(1) for part in pair(rows)), layer=pair), whole)
    twice = score(lambda rows: same(rows[:, :2]).sum(1) + same(rows[:, 2:]).sum(1), layer=same)
    closely(twice, whole)


def test_arguments_of_the_explanation_reach_the_model_where_they_are_its_own(x):
    scale = expected([1.0, 2.0, 3.0])[:, None]
    model = lambda rows, scale: NET(rows * scale)  # noqa: E731
    together = relative_output_stability(
        model,
        Saliency(model),
        x,
        seed=[1, 2, 3],
        target=[0, 1, 2],
        additional_forward_args=scale,
        max_examples_per_batch=4,
        perturb_radius=0.5,
    )
    for b in range(3):
        of_b = lambda rows, b=b: NET(rows * scale[b])  # noqa: E731
        alone = relative_output_stability(of_b, Saliency(of_b), x[[b]], seed=[b + 1], target=b, perturb_radius=0.5)
        closely(together[[b]], alone)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("search", ["random", "block"])
@pytest.mark.parametrize("limit", [None, 2])
def test_each_row_costs_one_evaluation_and_one_explanation(metric, search, limit, x):
    model, explain = Recorder(NET), Recorder(curved)
    layer = {"layer": NET.hidden} if metric is relative_representation_stability else {}
    metric(model, explain, x, n_perturb_samples=5, search=search, max_examples_per_batch=limit, **layer)
    for recorded in (model, explain):
        assert recorded.rows == 3 + 3 * 5
        assert max(recorded.sizes) <= (limit or 64)
