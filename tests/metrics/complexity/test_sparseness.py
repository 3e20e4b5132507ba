"""Sparseness and entropy: identities, the naive loops, groups."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import entropy, sparseness

from ... import oracles

closely = partial(assert_close, rtol=1e-9, atol=1e-12)


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def both(attributions, **arguments):
    return torch.stack([metric(attributions, attributions, **arguments) for metric in (sparseness, entropy)])


def gini(values):
    """Half the mean absolute difference of all pairs, over the mean."""
    n, total = len(values), math.fsum(values)
    return math.fsum(abs(a - b) for a in values for b in values) / (2 * n * total) if total else math.nan


def shannon(values):
    total = math.fsum(values)
    return -math.fsum(v / total * math.log(v / total) for v in values if v) if total else math.nan


def naive(function, x, phi, aggregate="sum", feature_mask=None, positions=False):
    """Over the features of every example."""
    features = oracles.features_of(x, feature_mask, positions)
    return expected(
        [
            function([abs(oracles.attribution_of(s, oracles.example_of(phi, b), aggregate, positions)) for s in of_b])
            for b, of_b in enumerate(features)
        ]
    )


# ---------------------------------------------------------------- identities


@pytest.mark.parametrize("features", [1, 2, 7, 100])
def test_equal_attributions_have_no_sparseness_and_all_entropy(features):
    phi = torch.full((1, features), -3.0, dtype=torch.float64)
    closely(both(phi), expected([[0.0], [math.log(features)]]))


@pytest.mark.parametrize("features", [1, 2, 7, 100])
def test_one_feature_with_everything_has_no_entropy_and_all_sparseness(features):
    phi = torch.zeros(1, features, dtype=torch.float64)
    phi[0, features // 2] = -2
    closely(both(phi), expected([[1 - 1 / features], [0.0]]))


def test_attributions_of_0_have_no_score():
    phi = normal(3, 4)
    phi[1] = 0
    assert both(phi).isnan().tolist() == [[False, True, False]] * 2


def test_they_do_not_change_with_scale_sign_or_order():
    phi = normal(3, 5)
    for other in (1e6 * phi, -phi, phi.flip(1), phi.abs()):
        closely(both(other), both(phi))


def test_giving_from_a_large_to_a_small_feature_lowers_sparseness_and_raises_entropy():
    (g, h) = both(expected([[5.0, 1.0, 2.0], [4.0, 2.0, 2.0]]))
    assert g[0] > g[1]
    assert h[0] < h[1]


def test_noise_scores_what_the_docstrings_say():
    g, h = both(normal(20, 20_000))
    assert abs(g.mean() - (math.sqrt(2) - 1)) < 0.002
    assert abs(h.mean() - (math.log(20_000) - 0.284)) < 0.005


# ---------------------------------------------------------------- against the naive loop


@given(
    shape=st.sampled_from([(1,), (5,), (2, 3), (2, 2, 3)]),
    batch=st.integers(1, 3),
    groups=st.sampled_from([None, 1, 2, 4]),
    aggregate=st.sampled_from(["sum", "mean"]),
    seed=st.integers(0, 99),
)
def test_values_are_those_of_the_naive_loop(shape, batch, groups, aggregate, seed):
    phi = normal(batch, *shape, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    mask = None if groups is None else 3 * torch.randint(groups, (batch, *shape), generator=draw)
    for metric, function in ((sparseness, gini), (entropy, shannon)):
        closely(metric(phi, phi, mask, aggregate=aggregate), naive(function, phi, phi, aggregate, mask))


def test_the_tensors_of_a_tuple_are_one_example_and_share_groups():
    phi = normal(2, 3), normal(2, 2, 2, seed=1)
    mask = torch.tensor([[0, 1, 1]]), torch.tensor([[[1, 2], [2, 5]]])
    for metric, function in ((sparseness, gini), (entropy, shannon)):
        closely(metric(phi, phi), naive(function, phi, phi))
        closely(metric(phi, phi, mask), naive(function, phi, phi, feature_mask=mask))


def test_one_channel_scores_positions():
    x, phi = normal(2, 3, 2, 2), normal(2, 1, 2, 2, seed=1)
    closely(sparseness(x, phi), naive(gini, x, phi, positions=True))
    closely(entropy(x, {"a": phi, "b": x})["b"], naive(shannon, x[:, :1], x.sum(1, keepdim=True)))


def test_half_precision_is_summed_in_full():
    phi = torch.full((1, 70_000), 2.0, dtype=torch.float16)
    phi[0, 0] = 3
    closely(both(phi).double(), both(phi.double()), rtol=1e-3, atol=1e-4)
