from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from captum_ext.baselines import gaussian_noise, uniform_noise
from captum_ext.feature_masks import pixels
from captum_ext.metrics import monotonicity_correlation, non_sensitivity, sensitivity_n

from ... import oracles
from ...conftest import smooth_model
from ...oracles import Recorder

exactly = partial(assert_close, rtol=0, atol=0, equal_nan=True)
closely = partial(assert_close, rtol=1e-9, atol=1e-9, equal_nan=True)
both = pytest.mark.parametrize("metric", [monotonicity_correlation, non_sensitivity])


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def effects_by_hand(model, x, features, baselines):
    """`effects[b][i]`: the mean squared change without feature `i` of example `b`, over the baselines."""
    effects = []
    for b, features_b in enumerate(features):
        example = oracles.example_of(x, b)
        f_x = oracles.score(model, example)
        changes = [
            [f_x - oracles.score(model, oracles.without(example, [s], oracles.example_of(r, b))) for r in baselines]
            for s in features_b
        ]
        effects.append([math.fsum(d * d for d in of_feature) / len(of_feature) for of_feature in changes])
    return effects


def monotonicity_by_hand(phi, features, effects, aggregate="sum", one_channel=False):
    scores = []
    for b, features_b in enumerate(features):
        phi_b = oracles.example_of(phi, b)
        sizes = [abs(oracles.attribution_of(s, phi_b, aggregate, one_channel)) for s in features_b]
        scores.append(float(stats.spearmanr(sizes, effects[b])[0]))
    return expected(scores)


def mismatches_by_hand(phi, features, effects, tolerance, aggregate="sum", one_channel=False):
    scores = []
    for b, features_b in enumerate(features):
        phi_b = oracles.example_of(phi, b)
        sizes = [abs(oracles.attribution_of(s, phi_b, aggregate, one_channel)) for s in features_b]
        changes = [math.sqrt(e) for e in effects[b]]
        pairs = [(p <= tolerance * max(sizes), e <= tolerance * max(changes)) for p, e in zip(sizes, changes)]
        scores.append(sum(p != e for p, e in pairs))
    return expected(scores)


# ---------------------------------------------------------------- identities


def test_the_effects_themselves_are_ranked_perfectly_on_any_model(smooth, x):
    effects = torch.stack([smooth(x) - smooth(x.index_fill(1, torch.tensor(i), 0.5)) for i in range(6)], 1)
    for phi in (effects, -effects, effects.abs() ** 3):
        closely(monotonicity_correlation(smooth, x, phi, 0.5), expected([1.0] * 3))
    closely(monotonicity_correlation(smooth, x, 1 / effects, 0.5), expected([-1.0] * 3))
    exactly(non_sensitivity(smooth, x, effects, 0.5), expected([0.0] * 3))


@pytest.mark.parametrize("segments", [[4, 4, 9, 9, 9, 1], [7, 7, 7, 7, 8, 6]])
def test_leaving_out_segments_ranks_segments_perfectly(smooth, x, segments):
    mask = torch.tensor([segments])
    phi = torch.zeros_like(x)
    for s in mask.unique():
        inside = mask == s
        phi += inside * ((smooth(x) - smooth(x.masked_fill(inside, 0))) / inside.sum())[:, None]
    closely(monotonicity_correlation(smooth, x, phi, feature_mask=mask), expected([1.0] * 3))


def test_where_nothing_is_negative_it_is_the_rank_correlation_of_sensitivity_1(x):
    """A model that falls whatever is removed, and positive attributions."""
    rising = lambda rows: (rows.clamp(min=0) ** 1.5).sum(1) + rows.clamp(min=0).prod(1).sqrt()  # noqa: E731
    phi, x = normal(3, 6, seed=1).abs(), x.abs() + 0.1
    ours = monotonicity_correlation(rising, x, phi)
    closely(ours, sensitivity_n(rising, x, phi, 1, n_perturb_samples=6, correlation="spearman"))
    assert ours.abs().max() < 1


def test_on_a_linear_model_drawn_replacements_give_the_expected_squared_change(w):
    """`w_i^2 (x_i^2 + s^2)` for noise around 0: with this noise another order than without."""
    x = expected([[0.1, -1.0, 4.0, 0.2, 2.0, 3.0]])
    effects = w**2 * (x**2 + 4)
    drawn = partial(monotonicity_correlation, lambda rows: rows @ w, x, baselines=partial(gaussian_noise, std=2.0))
    closely(drawn(effects, n_perturb_samples=4000, seed=0), expected([1.0]))
    assert monotonicity_correlation(lambda rows: rows @ w, x, effects) < 0.99


def test_features_that_the_model_does_not_see_and_the_attribution_does_not_name_are_counted():
    w = expected([1.0, 0.0, 2.0, 0.0, 0.0, -3.0])
    score = partial(non_sensitivity, lambda rows: rows @ w, normal(2, 6) + 5)
    phi = normal(2, 6, seed=1)
    closely(score(phi), expected([3.0, 3.0]))  # as any attribution that is nowhere 0
    closely(score(phi * (w != 0)), expected([0.0, 0.0]))
    closely(score(phi * (w == 0)), expected([6.0, 6.0]))
    closely(score(torch.zeros(2, 6)), expected([3.0, 3.0]))
    closely(score(phi * expected([1, 0, 1, 1, 0, 0])), expected([2.0, 2.0]))


def test_a_draw_finds_what_a_fixed_replacement_misses():
    """An element that is 0 already does nothing when it is set to 0."""
    x, w = expected([[0.0, 1.0, 2.0]]), expected([1.0, 1.0, 0.0])
    score = partial(non_sensitivity, lambda rows: rows @ w, x, w[None])
    assert score() == 1
    assert score(baselines=gaussian_noise, seed=0) == 0


def test_rounding_of_the_output_is_no_effect():
    def constant_but_for_rounding(rows):
        return 1 + torch.finfo(torch.float64).eps * (rows.sum(1) > 2).double()

    x = normal(2, 6) + 1
    assert non_sensitivity(constant_but_for_rounding, x, torch.zeros(2, 6)).tolist() == [0, 0]
    assert monotonicity_correlation(constant_but_for_rounding, x, x).isnan().all()


def test_what_rounding_is_depends_on_the_example_and_not_on_its_neighbour():
    x = torch.stack([normal(6) + 3, (normal(6, seed=1) + 3) * 1e20])
    mask = torch.stack([torch.arange(6) // 3, torch.arange(6)])  # 2 and 6 groups
    score = partial(non_sensitivity, lambda rows: rows.sum(1), attributions=0 * x, feature_mask=mask)
    assert score(x).tolist() == [2, 6]


@given(scale=st.floats(0.01, 100), power=st.integers(1, 3))
def test_only_the_order_of_the_sizes_counts_and_for_the_other_their_zeros(scale, power):
    x, phi = normal(2, 8), normal(2, 8, seed=1)
    score = partial(monotonicity_correlation, smooth_model, x)
    closely(score(scale * phi.abs() ** power), score(phi))
    count = partial(non_sensitivity, smooth_model, x, tolerance=0.1)
    exactly(count(-scale * phi), count(phi))


# ---------------------------------------------------------------- against the naive loop

MASKS = {
    "elements": None,
    "shared": torch.tensor([[[[5, 5, 1], [-1, 9, 3]]]]),
    "own, as many groups as they like": torch.tensor([[[[5, 5, 1], [1, 9, 0]]], [[[3, 3, 3], [2, 3, -8]]]]),
}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("drawn", [False, True])
def test_images_give_the_values_of_the_naive_loop(channels, aggregate, mask, drawn):
    x, phi = normal(2, 2, 2, 3), normal(2, channels, 2, 3, seed=1)
    noise, seen = normal(3, 2, 2, 2, 3, seed=2), []

    def from_the_list(inputs, seed=None):
        exactly(inputs, x)
        seen.append(list(seed))
        return noise[len(seen) - 1]

    baselines = from_the_list if drawn else noise[0]
    arguments = {"feature_mask": mask, "aggregate": aggregate, "n_perturb_samples": 3, "seed": 0}
    features = oracles.features_of(x, mask, positions=channels == 1)
    effects = effects_by_hand(smooth_model, x, features, noise if drawn else noise[:1])
    ours = monotonicity_correlation(smooth_model, x, phi, baselines, **arguments)
    closely(ours, monotonicity_by_hand(phi, features, effects, aggregate, channels == 1))
    assert len(seen) == 3 * drawn
    del seen[:]
    ours = non_sensitivity(smooth_model, x, phi, baselines, tolerance=0.4, **arguments)
    wanted = mismatches_by_hand(phi, features, effects, 0.4, aggregate, channels == 1)
    exactly(ours, wanted)
    assert wanted.sum() > 0


TUPLE_MASKS = {
    "elements": None,
    "an id in both": (torch.tensor([[0, 1, 1]]), torch.tensor([[[1, 0], [7, -7]]])),
    "one of them with a row per example": (torch.tensor([[0, 1, 1], [4, 4, 4]]), torch.tensor([[[1, 0], [7, 8]]])),
}


@pytest.mark.parametrize("mask", TUPLE_MASKS.values(), ids=TUPLE_MASKS)
def test_the_tensors_of_a_tuple_are_ranked_together_as_in_the_naive_loop(mask):
    x, phi = (normal(2, 3), normal(2, 2, 2, seed=1)), (normal(2, 3, seed=2), normal(2, 2, 2, seed=3))
    b = 0.5, normal(2, 2, 2, seed=4)
    features = oracles.features_of(x, mask)
    by_hand = [(torch.full((2, 3), 0.5, dtype=torch.float64), b[1])]
    wanted = monotonicity_by_hand(phi, features, effects_by_hand(smooth_model, x, features, by_hand))
    closely(monotonicity_correlation(smooth_model, x, phi, b, mask), wanted)


# ---------------------------------------------------------------- draws and rows


@both
def test_a_fixed_replacement_is_evaluated_once_and_a_drawn_one_as_often_as_asked(metric):
    x, mask = normal(2, 12), torch.stack([torch.arange(12) // 3, torch.arange(12) // 6])  # 4 and 2 groups

    def rows(baselines):
        model = Recorder(smooth_model)
        metric(model, x, {"a": x, "b": -x}, baselines, mask, n_perturb_samples=5, seed=0)
        return model.rows

    assert rows(0) == rows(uniform_noise(x, seed=0)) == rows(partial(uniform_noise, seed=3)) == 2 + 4 + 2
    assert rows(uniform_noise) == 2 + 5 * (4 + 2)


@both
def test_draws_belong_to_the_example_whatever_its_batch_and_the_limit(metric):
    x, phi, seeds = normal(4, 8), normal(4, 8, seed=1), torch.tensor([5, 6, 7, 8])
    score = partial(metric, smooth_model, baselines=uniform_noise, n_perturb_samples=3)
    whole, order = score(x, phi, seed=seeds), torch.tensor([2, 0, 3, 1])
    closely(score(x[order], phi[order], seed=seeds[order]), whole[order])
    for limit in (1, 3, 5, 64):
        model = Recorder(smooth_model)
        limited = metric(model, x, phi, uniform_noise, n_perturb_samples=3, seed=seeds, max_examples_per_batch=limit)
        closely(limited, whole)
        assert all(size == limit for size in model.sizes[:-1])


def test_a_single_draw_is_the_score_of_its_noise():
    from captum_ext._core.draws import draw_seeds

    x, phi = normal(2, 8), normal(2, 8, seed=1)
    noise = uniform_noise(x, seed=draw_seeds(4, 2, 1)[:, 0])
    ours = monotonicity_correlation(smooth_model, x, phi, uniform_noise, n_perturb_samples=1, seed=4)
    exactly(ours, monotonicity_correlation(smooth_model, x, phi, noise))


@both
def test_frozen_groups_are_never_replaced_and_do_not_count(metric, x, phi):
    mask = torch.tensor([[0, 1, 1, 2, 3, 3]])
    model = Recorder(smooth_model)
    frozen = metric(model, x, phi, feature_mask=mask, frozen=[1, 3])
    assert model.rows == 3 + 3 * 2
    for (rows,) in model.calls:
        assert all(any(torch.equal(row[[1, 2, 4, 5]], e[[1, 2, 4, 5]]) for e in x) for row in rows)
    other = torch.where(torch.isin(mask, torch.tensor([1, 3])), 7.0, phi)
    exactly(metric(smooth_model, x, other, feature_mask=mask, frozen=[1, 3]), frozen)


def test_pixels_of_colour_images_are_single_features():
    x, phi = normal(2, 3, 2, 2), normal(2, 3, 2, 2, seed=1)
    ours = monotonicity_correlation(smooth_model, x, phi, feature_mask=pixels)
    exactly(ours, monotonicity_correlation(smooth_model, x, phi.sum(1, keepdim=True)))


# ---------------------------------------------------------------- undefined scores


def test_attributions_of_one_size_have_no_order(smooth, x):
    assert monotonicity_correlation(smooth, x, torch.full_like(x, 0.1)).isnan().all()
    assert monotonicity_correlation(smooth, x, x, feature_mask=torch.zeros(1, 6).long()).isnan().all()


def test_where_the_output_is_nan_so_is_the_score(x, phi):
    def model(rows):
        return torch.where(rows[:, 0] == 0, torch.nan, rows.sum(1))

    for metric in (monotonicity_correlation, non_sensitivity):
        assert metric(model, x, phi).isnan().all()


def test_an_infinite_attribution_leaves_zeros_what_they_are(x):
    phi = torch.tensor([[torch.inf, 1.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    model = lambda rows: rows[:, 0]  # noqa: E731
    assert non_sensitivity(model, x[:1], phi, tolerance=0.0) == 1
