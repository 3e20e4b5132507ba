from __future__ import annotations

import math
from collections import Counter
from functools import partial
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from captum_ext.metrics import sensitivity_n

from ... import oracles
from ...conftest import smooth_model
from ...oracles import Recorder, identified

exactly = partial(assert_close, rtol=0, atol=0, equal_nan=True)
closely = partial(assert_close, rtol=1e-9, atol=1e-9)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def recorded(x, phi, n, model=smooth_model, **keywords):
    """The scores, and what the model was shown, the number of the example as last argument."""
    model = Recorder(identified(model))
    example = torch.arange(len(x[0] if isinstance(x, tuple) else x))
    return sensitivity_n(model, x, phi, n, additional_forward_args=example, **keywords), model


# ---------------------------------------------------------------- identities


@pytest.mark.parametrize(("correlation", "draws"), [("pearson", 12), ("pearson", 20), ("spearman", 20)])
@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_a_linear_model_is_explained_perfectly_at_every_size(linear, w, x, baseline, correlation, draws):
    score = partial(sensitivity_n, linear, x, w * (x - baseline), range(1, 6), baseline, seed=0)
    closely(score(n_perturb_samples=draws, correlation=correlation), torch.ones(3, 5, dtype=torch.float64))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_on_a_linear_model_every_size_has_the_correlation_of_the_attributions_themselves(linear, w, x, phi, n):
    wanted = [stats.pearsonr(p, w * (e - 0.5))[0] for p, e in zip(phi, x)]
    closely(sensitivity_n(linear, x, phi, n, 0.5, n_perturb_samples=math.comb(6, n)), expected(wanted))


def test_sampled_sets_come_near_that_correlation(linear, w, x, phi):
    draws = 4000  # a sample correlation is off by less than 1 / sqrt(draws) in standard deviation
    wanted = expected([stats.pearsonr(p, w * e)[0] for p, e in zip(phi, x)])
    big = torch.cat([x, x, x], 1), torch.cat([phi, phi, phi], 1)  # 18 features, too many sets to take them all
    score = sensitivity_n(lambda rows: rows @ w.repeat(3), *big, n=9, n_perturb_samples=draws, seed=0)
    assert (score - wanted).abs().max() < 4 / math.sqrt(draws)
    assert (score - wanted).abs().min() > 0


def test_leaving_one_out_explains_single_features_of_any_model(smooth, x):
    phi = torch.stack([smooth(x) - smooth(x.index_fill(1, torch.tensor(i), 0.5)) for i in range(6)], 1)
    closely(sensitivity_n(smooth, x, phi, 1, 0.5), torch.ones(3, dtype=torch.float64))


SEGMENTS = torch.tensor([[4, 4, 9, 9, 9, 1], [2, 0, 2, 0, 1, 5], [7, 7, 7, 7, 8, 6]])  # 3, 4 and 3 groups


@pytest.mark.parametrize("aggregate", ["sum", "mean"])
def test_leaving_out_segments_explains_single_segments_of_any_model(smooth, x, aggregate):
    phi = torch.zeros_like(x)
    for b, segments in enumerate(SEGMENTS):
        for s in segments.unique():
            inside = segments == s
            effect = smooth(x[b : b + 1]) - smooth(x[b : b + 1].masked_fill(inside, 0))
            phi[b, inside] = effect / inside.sum() if aggregate == "sum" else effect
    score = sensitivity_n(smooth, x, phi, 1, feature_mask=SEGMENTS, aggregate=aggregate)
    closely(score, torch.ones(3, dtype=torch.float64))


def test_on_unequal_segments_a_linear_model_is_explained_by_sums_and_not_by_means(linear, w, x):
    score = partial(sensitivity_n, linear, x, w * x, [1, 2], feature_mask=SEGMENTS)
    closely(score(aggregate="sum"), torch.ones(3, 2, dtype=torch.float64))
    exactly(score(), score(aggregate="sum"))
    assert score(aggregate="mean").max() < 0.9999


@given(
    scale=st.floats(0.01, 100),
    shift=st.floats(-10, 10),
    n=st.integers(1, 7),
    correlation=st.sampled_from(["pearson", "spearman"]),
)
def test_positive_affine_maps_keep_the_score_and_the_negative_negates_it(scale, shift, n, correlation):
    x, phi = normal(2, 8), normal(2, 8, seed=1)
    score = partial(sensitivity_n, smooth_model, x, n=n, seed=3, correlation=correlation, n_perturb_samples=9)
    closely(score(scale * phi + shift), score(phi))
    closely(score(-phi), -score(phi))


# ---------------------------------------------------------------- against the naive loop


def compare(
    x, phi, sizes, mask=None, baseline=0, one_channel=False, aggregate="sum", correlation="pearson", **keywords
):
    """Our score of several sizes against the naive loop over the sets that our own run showed the model."""
    keywords |= {"feature_mask": mask, "aggregate": aggregate, "correlation": correlation}
    score, model = recorded(x, phi, sizes, baselines=baseline, **keywords)
    features = oracles.features_of(x, mask, positions=one_channel)
    drawn = oracles.drawn_subsets(model.calls, x, features)
    for k, n in enumerate(sizes):
        wanted = oracles.sensitivity_n(
            smooth_model, x, phi, baseline, features, drawn, [n] * len(features), aggregate, one_channel, correlation
        )
        closely(score[:, k], expected(wanted), equal_nan=True)
    return features, drawn


@given(
    features=st.integers(3, 7),
    batch=st.integers(1, 2),
    draws=st.integers(3, 8),
    correlation=st.sampled_from(["pearson", "spearman"]),
    baseline=st.sampled_from([0, 0.5, "row"]),
)
def test_elements_as_features_give_the_values_of_the_naive_loop(features, batch, draws, correlation, baseline):
    x, phi = normal(batch, features), normal(batch, features, seed=1)
    b = normal(1, features, seed=2) if baseline == "row" else baseline
    sizes = list(range(1, features))
    _, drawn = compare(
        x, phi, sizes, baseline=b, correlation=correlation, n_perturb_samples=draws, max_examples_per_batch=200, seed=0
    )
    for subsets in drawn.values():
        assert {n: len(subsets[n]) for n in sizes} == {n: min(draws, math.comb(features, n)) for n in sizes}


IMAGE_MASKS = {
    "none": None,
    "shared": torch.tensor([[[[5, 5, 1], [-1, 9, 3]]]]),
    "own, as many groups as they like": torch.tensor([[[[5, 5, 1], [1, 9, 0]]], [[[3, 3, 3], [2, 3, -8]]]]),
    "columns": torch.tensor([[8, 2, 3]]),
}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("correlation", ["pearson", "spearman"])
@pytest.mark.parametrize("mask", IMAGE_MASKS.values(), ids=IMAGE_MASKS)
def test_images_give_the_values_of_the_naive_loop(channels, aggregate, correlation, mask):
    x, phi = normal(2, 2, 2, 3), normal(2, channels, 2, 3, seed=1)
    compare(
        x,
        phi,
        [1, 2],
        mask,
        one_channel=channels == 1,
        aggregate=aggregate,
        correlation=correlation,
        n_perturb_samples=5,
        seed=1,
    )


TUPLE_MASKS = {
    "elements": None,
    "own ids": (torch.tensor([[0, 1, 1]]), torch.tensor([[[2, 3], [3, 3]]])),
    "an id in both": (torch.tensor([[0, 1, 1]]), torch.tensor([[[1, 0], [7, -7]]])),
    "one of them with a row per example": (torch.tensor([[0, 1, 1], [4, 4, 4]]), torch.tensor([[[1, 0], [7, 8]]])),
}


@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("mask", TUPLE_MASKS.values(), ids=TUPLE_MASKS)
def test_tuples_are_drawn_together_as_in_the_naive_loop(aggregate, mask):
    x = normal(2, 3), normal(2, 2, 2, seed=1)
    phi = normal(2, 3, seed=2), normal(2, 2, 2, seed=3)
    b = 0.5, normal(2, 2, 2, seed=4)
    compare(x, phi, [1, 2], mask, b, aggregate=aggregate, n_perturb_samples=6, seed=2)


def test_tied_attributions_share_their_rank_as_in_scipy():
    x, phi = normal(2, 7), normal(2, 7, seed=1).round()
    compare(x, phi, [1, 2, 5], correlation="spearman", n_perturb_samples=15, seed=0)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("n", [0.5, 0.3, 1e-9, 0.34])
def test_a_fraction_counts_the_features_that_each_example_has(smooth, n):
    x = normal(3, 12)
    mask = torch.stack([torch.arange(12) // size * 3 for size in (1, 2, 4)])
    _, model = recorded(x, x, n, feature_mask=mask, n_perturb_samples=5)
    drawn = oracles.drawn_subsets(model.calls, x, oracles.features_of(x, mask))
    for subsets, count in zip(drawn.values(), [12, 6, 3]):
        assert set(subsets) == {0, max(round(n * count), 1)}


def test_one_size_gives_a_column_of_what_several_give(smooth, x, phi):
    several = sensitivity_n(smooth, x, phi, [2, 0.5, 5], seed=4, n_perturb_samples=10)
    assert several.shape == (3, 3)
    exactly(sensitivity_n(smooth, x, phi, 2, seed=4, n_perturb_samples=10), several[:, 0])
    exactly(sensitivity_n(smooth, x, phi, 0.5, seed=4, n_perturb_samples=10), several[:, 1])
    exactly(sensitivity_n(smooth, x, phi, torch.tensor([2, 3, 5]), seed=4, n_perturb_samples=10), several)


@pytest.mark.parametrize(
    ("n", "error", "words"),
    [
        (0, ValueError, "`n` must be from 1 to the number of features, 3 in example 0; got 0"),
        (4, ValueError, "`n` must be from 1 to the number of features, 3 in example 0; got 4"),
        (0.0, ValueError, "fraction of the features.*got 0.0"),
        (1.5, ValueError, "fraction of the features.*got 1.5"),
        (True, TypeError, "`n` must be an integer or a fraction"),
        ("2", TypeError, "`n` must be an integer or a fraction"),
        ([], ValueError, "`n` must have at least one size"),
    ],
)
def test_an_impossible_size_is_refused(n, error, words, smooth, x):
    with pytest.raises(error, match=words):
        sensitivity_n(smooth, x, x, n, feature_mask=SEGMENTS)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"correlation": "cosine"}, "`correlation`.*'pearson', 'spearman'.*'cosine'"),
        ({"aggregate": "max"}, "`aggregate`.*'max'"),
        ({"n_perturb_samples": 0}, "`n_perturb_samples` must be at least 1"),
    ],
)
def test_a_wrong_setting_is_named(wrong, words, smooth, x, phi):
    with pytest.raises(ValueError, match=words):
        sensitivity_n(smooth, x, phi, 2, **wrong)


# ---------------------------------------------------------------- the draws


@pytest.mark.parametrize("spare", [0, 1, 100])
@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_where_there_are_no_more_sets_than_draws_each_is_shown_once(smooth, n, spare):
    x = normal(2, 5)
    _, model = recorded(x, x, n, n_perturb_samples=math.comb(5, n) + spare)
    for subsets in oracles.drawn_subsets(model.calls, x, oracles.features_of(x)).values():
        assert sorted(subsets[n]) == list(combinations(range(5), n))


def test_an_example_with_few_groups_takes_all_its_sets_beside_one_that_samples(smooth):
    x = normal(2, 12)
    mask = torch.stack([torch.arange(12), torch.arange(12) // 4 * 5])  # 12 and 3 groups
    score, model = recorded(x, x, [1, 2], feature_mask=mask, n_perturb_samples=20, seed=0)
    features = oracles.features_of(x, mask)
    drawn = oracles.drawn_subsets(model.calls, x, features)
    assert [[len(drawn[b][n]) for n in (1, 2)] for b in (0, 1)] == [[12, 20], [3, 3]]
    for k, n in enumerate([1, 2]):
        closely(score[:, k], expected(oracles.sensitivity_n(smooth, x, x, 0, features, drawn, [n, n])))


def test_drawn_sets_have_the_asked_size_and_no_feature_twice_or_in_part():
    x = normal(2, 30)
    _, model = recorded(x, x, [3, 17, 29], n_perturb_samples=8, seed=0)  # 30 sets of 29 exist, more than 8
    for subsets in oracles.drawn_subsets(model.calls, x, oracles.features_of(x)).values():
        assert {size: len(s) for size, s in subsets.items()} == {0: 1, 3: 8, 17: 8, 29: 8}


def test_every_set_is_drawn_equally_often():
    x = torch.ones(150, 8, dtype=torch.float64)
    _, model = recorded(x, x, 2, lambda rows: rows[:, 0], n_perturb_samples=27, seed=11)  # 28 sets exist
    drawn = oracles.drawn_subsets(model.calls, x, oracles.features_of(x))
    counts = Counter(s for subsets in drawn.values() for s in subsets[2])
    assert len(counts) == 28
    assert oracles.chi_square_p(list(counts.values())) > 0.001


def sets_of(x, seed, **keywords):
    """`{example: {size: sets in the order they were shown}}`."""
    _, model = recorded(x, x, [2, 5], seed=seed, **{"n_perturb_samples": 6} | keywords)
    return oracles.drawn_subsets(model.calls, x, oracles.features_of(x))


def test_the_draws_of_an_example_depend_on_its_seed_alone():
    x, seeds = normal(4, 10), [40, 41, 42, 43]
    whole = sets_of(x, seeds)
    assert len({str(s) for s in whole.values()}) == 4
    order = [2, 0, 3, 1]
    permuted = sets_of(x[order], [seeds[b] for b in order])
    assert [permuted[i] for i in range(4)] == [whole[b] for b in order]
    assert sets_of(x[2:], seeds[2:]) == {0: whole[2], 1: whole[3]}
    for limit in (1, 3, 50):
        assert sets_of(x, seeds, max_examples_per_batch=limit) == whole


def test_a_longer_run_begins_with_the_draws_of_a_shorter_one():
    x = normal(2, 10)
    short, long = sets_of(x, 7, n_perturb_samples=4), sets_of(x, 7, n_perturb_samples=9)
    for b in range(2):
        assert {n: sets[:4] for n, sets in long[b].items()} == short[b]


def test_one_seed_gives_every_example_draws_of_its_own_and_repeats_them():
    x = normal(1, 10).expand(3, 10)
    drawn = sets_of(x, 7)
    assert drawn == sets_of(x, 7)
    assert drawn != sets_of(x, 8)
    assert len({str(sets) for sets in drawn.values()}) == 3
    assert sets_of(x[:2], 7) == {0: drawn[0], 1: drawn[1]}


def test_without_a_seed_the_global_one_governs():
    x = normal(2, 10)
    torch.manual_seed(5)
    first, second = sets_of(x, None), sets_of(x, None)
    torch.manual_seed(5)
    assert sets_of(x, None) == first != second


def test_with_a_seed_the_global_generator_is_left_alone(smooth, x, phi):
    state = torch.get_rng_state()
    sensitivity_n(smooth, x, phi, 2, seed=0)
    exactly(torch.get_rng_state(), state)


# ---------------------------------------------------------------- what the model is asked


@pytest.mark.parametrize("sizes", [[3], [3, 5, 8]])
def test_the_model_is_asked_for_the_example_once_and_for_each_draw_of_each_size(smooth, sizes):
    x = normal(2, 12)
    model = Recorder(smooth)
    methods = {"a": x, "b": -x, "c": x**2}
    sensitivity_n(model, x, methods, sizes, n_perturb_samples=9)
    assert model.rows == 2 + 2 * 9 * len(sizes)
    rows = torch.cat([call[0] for call in model.calls])
    assert [(rows == e).all(1).sum() for e in x] == [1, 1]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 64])
def test_the_limit_holds_and_changes_nothing(limit, smooth, x, phi):
    model = Recorder(smooth)
    score = sensitivity_n(model, x, phi, [1, 2, 3], n_perturb_samples=10, max_examples_per_batch=limit, seed=1)
    closely(score, sensitivity_n(smooth, x, phi, [1, 2, 3], n_perturb_samples=10, seed=1))
    assert all(size == limit for size in model.sizes[:-1])
    assert model.sizes[-1] <= limit


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 16])
def test_a_set_that_is_drawn_twice_is_a_tie_whatever_the_limit(limit, smooth):
    x, phi = normal(30, 6), normal(30, 6, seed=1)  # 19 draws of 20 sets, so almost every example has one twice
    score = partial(sensitivity_n, smooth, n=3, n_perturb_samples=19, correlation="spearman", seed=0)
    closely(score(x, phi, max_examples_per_batch=limit), score(x, phi, max_examples_per_batch=1000))


def test_permuting_the_examples_permutes_the_scores_and_a_batch_is_its_two_halves(smooth):
    x, phi, order = normal(4, 8), normal(4, 8, seed=1), torch.tensor([2, 0, 3, 1])
    seeds = torch.tensor([5, 6, 7, 8])
    score = partial(sensitivity_n, smooth, n=[2, 4], n_perturb_samples=10)
    whole = score(x, phi, seed=seeds)
    closely(score(x[order], phi[order], seed=seeds[order]), whole[order])
    closely(torch.cat([score(x[h], phi[h], seed=seeds[h]) for h in (slice(2), slice(2, 4))]), whole)


def test_methods_are_compared_on_the_same_sets(smooth, x, phi):
    score = partial(sensitivity_n, smooth, x, n=[2, 3], seed=0, n_perturb_samples=10)
    both = score({"a": phi, "b": phi**2})
    closely(both["a"], score(phi))
    closely(both["b"], score(phi**2))


# ---------------------------------------------------------------- undefined scores


def test_all_features_together_have_no_correlation(smooth, x, phi):
    assert sensitivity_n(smooth, x, phi, [6, 1.0]).isnan().all()


@pytest.mark.parametrize("correlation", ["pearson", "spearman"])
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_attributions_that_are_all_alike_have_no_correlation(smooth, x, value, correlation):
    for mask in (None, torch.tensor([[0, 0, 1, 1, 2, 2]])):
        alike = torch.full_like(x, value)
        score = sensitivity_n(
            smooth, x, alike, [1, 2], feature_mask=mask, correlation=correlation, n_perturb_samples=12
        )
        assert score.isnan().all()


@pytest.mark.parametrize("correlation", ["pearson", "spearman"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_that_differs_by_rounding_alone_has_no_correlation(dtype, correlation):
    x = normal(2, 8).to(dtype)

    def constant_but_for_rounding(rows):
        return 1 + torch.finfo(dtype).eps * (rows.sum(1) > 0).to(dtype)

    outputs = Recorder(constant_but_for_rounding)
    score = sensitivity_n(outputs, x, x, [2, 4], correlation=correlation, seed=0)
    assert len(torch.cat([constant_but_for_rounding(*call) for call in outputs.calls]).unique()) == 2
    assert score.isnan().all()


def test_a_small_effect_above_rounding_keeps_its_correlation(w, x):
    closely(
        sensitivity_n(lambda rows: 1 + 1e-6 * (rows @ w), x, w * x, [2, 3], seed=0),
        torch.ones(3, 2, dtype=torch.float64),
    )


def test_one_undefined_example_leaves_its_neighbours_alone(smooth, x, phi):
    whole = sensitivity_n(smooth, x, phi, 2, seed=0)
    score = sensitivity_n(smooth, x, phi * torch.tensor([1, 0, 1])[:, None], 2, seed=0)
    assert score.isnan().tolist() == [False, True, False]
    exactly(score[::2], whole[::2])


def test_tensors_and_tuples_of_one_agree(smooth, x, phi):
    exactly(sensitivity_n(smooth, (x,), (phi,), 2, seed=0), sensitivity_n(smooth, x, phi, 2, seed=0))
