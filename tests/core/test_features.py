from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext._core.arguments import as_attributions, as_tuple
from captum_ext._core.features import Features

from .. import oracles

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-12, atol=1e-12)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def features(x, phi, mask=None, baselines=None):
    return Features(x, as_attributions(phi, as_tuple(x)), baselines, mask)


# inputs, attributions, mask, and whether the attributions have one channel
CASES = {
    "elements": (normal(2, 4), normal(2, 4, seed=1), None, False),
    "one element": (normal(2, 1), normal(2, 1, seed=1), None, False),
    "an example without axes": (normal(3), normal(3, seed=1), None, False),
    "elements of images": (normal(2, 3, 2, 2), normal(2, 3, 2, 2, seed=1), None, False),
    "positions": (normal(2, 3, 2, 2), normal(2, 1, 2, 2, seed=1), None, True),
    "positions of series": (normal(2, 3, 4), normal(2, 1, 4, seed=1), None, True),
    "groups": (normal(2, 4), normal(2, 4, seed=1), torch.tensor([[7, 7, -2, 7]]), False),
    "groups of every example": (normal(2, 4), normal(2, 4, seed=1), torch.tensor([[7, 5, -2, 7], [5, 5, 5, 5]]), False),
    "groups without a batch axis": (normal(2, 4), normal(2, 4, seed=1), torch.tensor([7, 5, -2, 7]), False),
    "image groups, channels together": (
        normal(2, 3, 2, 2),
        normal(2, 3, 2, 2, seed=1),
        torch.tensor([[[[1, 0], [1, 1]]]]),
        False,
    ),
    "image groups, channels apart": (
        normal(2, 2, 1, 2),
        normal(2, 2, 1, 2, seed=1),
        torch.tensor([[[[1, 0]], [[0, 2]]]]),
        False,
    ),
    "image groups, whole channels": (
        normal(2, 3, 2, 2),
        normal(2, 3, 2, 2, seed=1),
        torch.tensor([4, 0, 4]).reshape(1, 3, 1, 1),
        False,
    ),
    "image groups, one channel": (
        normal(2, 3, 2, 2),
        normal(2, 1, 2, 2, seed=1),
        torch.tensor([[[[1, 0], [1, 1]]], [[[5, 5], [5, 5]]]]),
        True,
    ),
    "image groups repeated over channels, one channel": (
        normal(2, 3, 2, 2),
        normal(2, 1, 2, 2, seed=1),
        torch.tensor([[[[1, 0], [1, 1]]]]).expand(1, 3, 2, 2),
        True,
    ),
    "tuples": (
        (normal(2, 3), normal(2, 2, 2, seed=1)),
        (normal(2, 3, seed=2), normal(2, 2, 2, seed=3)),
        None,
        False,
    ),
    "tuples with an id in both": (
        (normal(2, 3), normal(2, 2, 2, seed=1)),
        (normal(2, 3, seed=2), normal(2, 2, 2, seed=3)),
        (torch.tensor([[0, 1, 1]]), torch.tensor([[[1, 0], [9, 9]], [[0, 0], [0, 0]]])),
        False,
    ),
}
EACH = pytest.mark.parametrize(("x", "phi", "mask", "one_channel"), CASES.values(), ids=CASES)


@EACH
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
def test_totals_are_the_sums_or_means_over_the_elements(x, phi, mask, one_channel, aggregate):
    found = features(x, phi, mask)
    wanted = oracles.features_of(x, mask, one_channel)
    assert found.counts.tolist() == [len(f) for f in wanted]
    assert found.width == max(len(f) for f in wanted)
    totals = found.totals(aggregate)[0]
    for b, of_example in enumerate(wanted):
        phi_b = oracles.example_of(phi, b)
        values = [oracles.attribution_of(f, phi_b, aggregate, one_channel) for f in of_example]
        closely(totals[b, : len(values)], torch.tensor(values, dtype=torch.float64))


@EACH
@pytest.mark.parametrize("kind", ["number", "row", "batch"])
def test_without_replaces_all_of_a_feature_and_nothing_else(x, phi, mask, one_channel, kind):
    tensors = oracles.tensors_of(x)
    baseline = {
        "number": (0.5,) * len(tensors),
        "row": tuple(normal(1, *t.shape[1:], seed=8) for t in tensors),
        "batch": tuple(normal(*t.shape, seed=8) for t in tensors),
    }[kind]
    found = features(x, phi, mask, baseline)
    wanted = oracles.features_of(x, mask, one_channel)
    example = torch.tensor([1, 0, 1, 1, 0])
    removed = torch.rand(5, found.width, generator=torch.Generator().manual_seed(1)) < 0.5
    rows = found.without(removed, example)
    for r, b in enumerate(example.tolist()):
        taken = [f for i, f in enumerate(wanted[b]) if removed[r, i]]
        one = [v[b if len(v) > 1 else 0] if isinstance(v, torch.Tensor) else v for v in baseline]
        for got, expected in zip(rows, oracles.without(oracles.example_of(x, b), taken, one)):
            exactly(got[r], expected)


def test_without_leaves_the_inputs_as_they_were():
    x, phi = normal(2, 4), normal(2, 4, seed=1)
    before = x.clone()
    features(x, phi).without(torch.ones(2, 4, dtype=torch.bool), torch.tensor([0, 1]))
    exactly(x, before)


@given(width=st.integers(1, 9), levels=st.sampled_from([1, 3, 100]), seed=st.integers(0, 99))
def test_ranks_are_places_in_the_sorted_order(width, levels, seed):
    phi = (normal(3, width, seed=seed) * levels).round()
    found = features(phi, phi)
    ranks = found.ranks(found.totals("sum"))[0]
    for b in range(3):
        order = oracles.order(phi[b].tolist(), "morf")
        assert ranks[b].argsort().tolist() == order
        assert sorted(ranks[b].tolist()) == list(range(width))


def test_the_features_that_an_example_lacks_rank_behind_its_own():
    x = normal(2, 4)
    mask = torch.tensor([[0, 1, 2, 3], [0, 0, 0, 1]])
    phi = torch.tensor([[1.0, 2.0, 3.0, 4.0], [-1.0, -1.0, -1.0, -9.0]]).double()
    found = features(x, phi, mask)
    assert found.ranks(found.totals("sum"))[0].tolist() == [[3, 2, 1, 0], [0, 1, 2, 3]]


def test_methods_have_totals_and_ranks_of_their_own():
    x, phi = normal(2, 5), {"a": normal(2, 5, seed=1), "b": normal(2, 5, seed=2)}
    found = features(x, phi)
    totals = found.totals("sum")
    ranks = found.ranks(totals)
    for m, values in enumerate(phi.values()):
        alone = features(x, values)
        exactly(totals[m], alone.totals("sum")[0])
        exactly(ranks[m], alone.ranks(alone.totals("sum"))[0])


def test_attributions_in_half_precision_are_summed_in_float64():
    phi = torch.full((1, 4096), 0.1, dtype=torch.float16)
    total = features(torch.zeros(1, 4096), phi, torch.zeros(1, 4096, dtype=torch.long)).totals("sum")
    closely(total[0, 0, 0], phi[0].double().sum())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool])
def test_every_integer_type_may_name_groups(dtype):
    mask = torch.tensor([[1, 0, 1, 0]]).to(dtype)
    x = normal(2, 4)
    closely(features(x, x, mask).totals("sum")[0], torch.stack([x[:, 1] + x[:, 3], x[:, 0] + x[:, 2]], 1))


MISFITS = {
    "a float mask": (normal(2, 4), normal(2, 4), torch.zeros(1, 4), TypeError, "must be of an integer type"),
    "a mask of another size": (
        normal(2, 4),
        normal(2, 4),
        torch.zeros(1, 3, dtype=torch.long),
        ValueError,
        r"must broadcast to `inputs` \(2, 4\), got \(1, 3\)",
    ),
    "a mask with too many axes": (
        normal(2, 4),
        normal(2, 4),
        torch.zeros(1, 1, 4, dtype=torch.long),
        ValueError,
        "must broadcast",
    ),
    "a mask for another batch": (
        normal(2, 4),
        normal(2, 4),
        torch.zeros(3, 4, dtype=torch.long),
        ValueError,
        "must broadcast",
    ),
    "one mask for two tensors": (
        (normal(2, 4), normal(2, 4)),
        (normal(2, 4), normal(2, 4)),
        torch.zeros(1, 4, dtype=torch.long),
        ValueError,
        "one tensor for each of the 2 tensors",
    ),
    "channels apart for a map with one": (
        normal(2, 2, 1, 1),
        normal(2, 1, 1, 1),
        torch.tensor([0, 1]).reshape(1, 2, 1, 1),
        ValueError,
        "`attributions` have one value for all of axis 1, but `feature_mask` separates its elements",
    ),
}


@pytest.mark.parametrize(("x", "phi", "mask", "error", "words"), MISFITS.values(), ids=MISFITS)
def test_a_mask_that_does_not_fit_is_named(x, phi, mask, error, words):
    with pytest.raises(error, match=words):
        features(x, phi, mask)


@pytest.mark.parametrize(
    ("baselines", "error", "words"),
    [
        (torch.zeros(3, 4), ValueError, "`baselines` must broadcast.*with 1 or 2 rows, got"),
        (torch.zeros(4), ValueError, "`baselines` must broadcast"),
        ((0, 0), ValueError, "`baselines` must have one entry for each of the 1 tensors"),
        ("zero", TypeError, "`baselines` must be numbers, tensors or a function"),
    ],
)
def test_baselines_that_do_not_fit_are_named(baselines, error, words):
    with pytest.raises(error, match=words):
        features(normal(2, 4), normal(2, 4), None, baselines)


def test_an_unknown_aggregate_is_named():
    with pytest.raises(ValueError, match=r"`aggregate`.*'median'"):
        features(normal(2, 4), normal(2, 4)).totals("median")
