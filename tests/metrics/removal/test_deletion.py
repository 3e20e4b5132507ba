from __future__ import annotations

import inspect
from functools import partial
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.baselines import channel_mean
from captum_ext.metrics import deletion, deletion_curve, insertion, insertion_curve

from ... import oracles
from ...conftest import smooth_model
from ...oracles import Recorder

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-12, atol=1e-12)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------- identities


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_a_linear_model_loses_the_sorted_attributions_one_by_one(linear, w, x, baseline):
    phi = w * (x - baseline)
    curve = deletion_curve(linear, x, phi, baselines=baseline, n_steps=7)
    lost = phi.sort(1, descending=True).values.cumsum(1)
    closely(curve, linear(x)[:, None] - torch.cat((torch.zeros(3, 1, dtype=x.dtype), lost), 1))


@given(
    features=st.integers(1, 11),
    n_steps=st.integers(2, 14),
    levels=st.integers(1, 4),
    mode=st.sampled_from(["morf", "lerf"]),
)
def test_insertion_is_deletion_of_the_opposite_order_turned_around(features, n_steps, levels, mode):
    x = normal(2, features)
    phi = (normal(2, features, seed=1) * levels).round()  # few values, so many ties
    opposite = {"morf": "lerf", "lerf": "morf"}[mode]
    shown = insertion_curve(smooth_model, x, phi, mode=mode, n_steps=n_steps)
    exactly(shown, deletion_curve(smooth_model, x, phi, mode=opposite, n_steps=n_steps).flip(-1))


@given(
    features=st.integers(1, 11),
    n_steps=st.integers(2, 14),
    ends=st.sampled_from([(0.0, 1.0), (0.25, 0.75), (1.0, 0.0), (0.0, 0.5)]),
)
def test_insertion_shows_what_deletion_leaves_at_one_minus_the_fraction(features, n_steps, ends):
    x, phi = normal(2, features), normal(2, features, seed=1)
    start, stop = ends
    shown = insertion_curve(smooth_model, x, phi, start=start, stop=stop, n_steps=n_steps)
    exactly(shown, deletion_curve(smooth_model, x, phi, mode="lerf", start=1 - start, stop=1 - stop, n_steps=n_steps))


def test_the_area_under_insertion_is_that_under_deletion_of_the_opposite_order(smooth, x, phi):
    closely(insertion(smooth, x, phi), deletion(smooth, x, phi, mode="lerf"))
    closely(insertion(smooth, x, phi, mode="lerf"), deletion(smooth, x, phi))


@pytest.mark.parametrize("n_steps", [13, 7, 5, 4])  # no count falls between two integers
def test_on_an_additive_model_deletion_and_insertion_add_up_to_both_ends(n_steps):
    x, phi, b = normal(3, 12) + 1, normal(3, 12, seed=1), 0.3

    def additive(rows):
        return (rows**3 + torch.sin(rows * torch.arange(12))).sum(1)

    areas = [area(additive, x, phi, baselines=b, n_steps=n_steps) for area in (deletion, insertion)]
    closely(sum(areas), additive(x) + additive(torch.full_like(x, b)))


def test_over_all_orders_least_first_and_most_first_have_the_same_mean_area(smooth):
    orders = torch.tensor(list(permutations(range(4))), dtype=torch.float64)  # [24, 4]
    x = normal(1, 4).expand(24, 4)
    difference = deletion(smooth, x, orders, mode="lerf", n_steps=5) - deletion(smooth, x, orders, n_steps=5)
    assert difference.abs().max() > 0.1
    assert abs(difference.mean()) < 1e-12


@given(n_steps=st.integers(2, 12), mode=st.sampled_from(["morf", "lerf"]))
def test_only_the_order_of_the_attributions_counts(n_steps, mode):
    x, phi = normal(3, 7), normal(3, 7, seed=1)
    for metric in (deletion_curve, insertion_curve, deletion, insertion):
        score = partial(metric, smooth_model, x, mode=mode, n_steps=n_steps)
        exactly(score(phi.exp() * 3 + 1), score(phi))


def test_turning_the_attributions_around_turns_the_order_around(smooth, x, phi):
    exactly(deletion_curve(smooth, x, -phi), deletion_curve(smooth, x, phi, mode="lerf"))


def test_a_straight_line_from_1_to_0_has_area_one_half():
    x, phi = torch.ones(1, 10, dtype=torch.float64), torch.arange(10.0).double()[None]
    closely(deletion(lambda rows: rows.mean(1), x, phi, n_steps=11), expected([0.5]))


# ---------------------------------------------------------------- against the naive loop

METRICS = {deletion_curve: oracles.removal_curve, insertion_curve: oracles.reveal_curve}
CURVES = pytest.mark.parametrize("curve", METRICS, ids=lambda c: c.__name__)
SETTINGS = {
    "features": st.integers(1, 9),
    "batch": st.integers(1, 3),
    "n_steps": st.integers(2, 12),
    "mode": st.sampled_from(["morf", "lerf"]),
    "ends": st.sampled_from([("0", "1"), ("1", "0"), ("0.25", "0.75"), ("0", "0.5"), ("0.75", "0.5")]),
}


@CURVES
@given(**SETTINGS, levels=st.sampled_from([1, 2, 50]), baseline=st.sampled_from([0, 0.5, "tensor", "row"]))
def test_elements_as_features_give_the_values_of_the_naive_loop(
    curve, features, batch, n_steps, mode, ends, levels, baseline
):
    x, phi = normal(batch, features), (normal(batch, features, seed=1) * levels).round()
    b = {"tensor": normal(batch, features, seed=2), "row": normal(1, features, seed=2)}.get(baseline, baseline)
    got = curve(smooth_model, x, phi, b, mode=mode, start=float(ends[0]), stop=float(ends[1]), n_steps=n_steps)
    grid = oracles.grid(*ends, n_steps)
    closely(got, expected(METRICS[curve](smooth_model, x, phi, b, oracles.features_of(x), mode, grid)))


@CURVES
@given(**SETTINGS, ids=st.integers(1, 4), own=st.booleans(), aggregate=st.sampled_from(["sum", "mean"]))
def test_groups_as_features_give_the_values_of_the_naive_loop(
    curve, features, batch, n_steps, mode, ends, ids, own, aggregate
):
    x, phi = normal(batch, features), normal(batch, features, seed=1)
    generator = torch.Generator().manual_seed(ids)
    mask = torch.randint(ids, (batch if own else 1, features), generator=generator) * 7 - 5  # unequal, not consecutive
    keywords = {"mode": mode, "start": float(ends[0]), "stop": float(ends[1]), "n_steps": n_steps}
    got = curve(smooth_model, x, phi, feature_mask=mask, aggregate=aggregate, **keywords)
    grid = oracles.grid(*ends, n_steps)
    features = oracles.features_of(x, mask)
    closely(got, expected(METRICS[curve](smooth_model, x, phi, 0, features, mode, grid, aggregate)))


IMAGE_MASKS = {
    "none": None,
    "shared": torch.tensor([[[[5, 5, 1], [1, 9, 1]]]]),
    "own, as many groups as they like": torch.tensor([[[[5, 5, 1], [1, 9, 1]]], [[[3, 3, 3], [3, 3, -8]]]]),
    "without batch and channel": torch.tensor([[5, 5, 1], [1, 9, 1]]),
    "rows": torch.tensor([[[[4], [2]]]]),
}


@CURVES
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("mask", IMAGE_MASKS.values(), ids=IMAGE_MASKS)
def test_images_give_the_values_of_the_naive_loop(curve, channels, aggregate, mask, smooth):
    x, phi = normal(2, 2, 2, 3), normal(2, channels, 2, 3, seed=1)
    grid = oracles.grid(0, 1, 5)
    features = oracles.features_of(x, mask, positions=channels == 1)
    got = curve(smooth, x, phi, feature_mask=mask, aggregate=aggregate, n_steps=5)
    wanted = METRICS[curve](smooth, x, phi, 0, features, "morf", grid, aggregate, one_channel=channels == 1)
    closely(got, expected(wanted))


def test_a_mask_that_separates_the_channels_gives_the_values_of_the_naive_loop(smooth):
    x, phi = normal(2, 2, 2, 2), normal(2, 2, 2, 2, seed=1)
    mask = torch.tensor([0, 3]).reshape(1, 2, 1, 1) + torch.tensor([[0, 1], [1, 1]])
    features = oracles.features_of(x, mask)
    assert [len(f) for f in features[0]] == [1, 3, 1, 3]
    wanted = oracles.removal_curve(smooth, x, phi, 0, features, "morf", oracles.grid(0, 1, 5))
    closely(deletion_curve(smooth, x, phi, feature_mask=mask, n_steps=5), expected(wanted))


TUPLE_MASKS = {
    "elements": None,
    "own ids": (torch.tensor([[0, 1, 1]]), torch.tensor([[[2, 3], [3, 3]]])),
    "an id in both": (torch.tensor([[0, 1, 1]]), torch.tensor([[[1, 0], [7, 7]]])),
    "one of them with a row per example": (torch.tensor([[0, 1, 1], [4, 4, 4]]), torch.tensor([[[1, 0], [7, 7]]])),
}


@CURVES
@pytest.mark.parametrize("mode", ["morf", "lerf"])
@pytest.mark.parametrize("mask", TUPLE_MASKS.values(), ids=TUPLE_MASKS)
def test_tuples_are_ranked_together_as_in_the_naive_loop(curve, mode, mask, smooth):
    x = normal(2, 3), normal(2, 2, 2, seed=1)
    phi = normal(2, 3, seed=2), normal(2, 2, 2, seed=3)
    b = 0.5, normal(1, 2, 2, seed=4)
    got = curve(smooth, x, phi, b, mask, mode=mode, n_steps=6)
    wanted = METRICS[curve](smooth, x, phi, b, oracles.features_of(x, mask), mode, oracles.grid(0, 1, 6))
    closely(got, expected(wanted))


@pytest.mark.parametrize("area", [deletion, insertion])
@pytest.mark.parametrize("ends", [(0, 1), (1, 0), (0.25, 0.75), (0.5, 0)])
def test_areas_are_trapezoids_over_the_fractions_divided_by_their_range(area, ends, smooth, x, phi):
    curve = METRICS[{deletion: deletion_curve, insertion: insertion_curve}[area]]
    grid = oracles.grid(*ends, 7)
    wanted = [oracles.trapezoid(c, grid) for c in curve(smooth, x, phi, 0, oracles.features_of(x), "morf", grid)]
    closely(area(smooth, x, phi, start=ends[0], stop=ends[1], n_steps=7), expected(wanted))


# ---------------------------------------------------------------- ties and counts


def test_equal_attributions_are_removed_by_place_and_backwards_under_lerf():
    x, phi = torch.tensor([[1.0, 10.0, 100.0]]).double(), torch.ones(1, 3, dtype=torch.float64)
    total = partial(deletion_curve, lambda rows: rows.sum(1), x, phi, n_steps=4)
    exactly(total(), expected([[111, 110, 100, 0]]))
    exactly(total(mode="lerf"), expected([[111, 11, 1, 0]]))


def test_a_group_with_a_lower_id_comes_first_among_equals():
    x, phi = torch.tensor([[1.0, 10.0, 100.0]]).double(), torch.ones(1, 3, dtype=torch.float64)
    curve = deletion_curve(lambda rows: rows.sum(1), x, phi, feature_mask=torch.tensor([[9, -2, 4]]), n_steps=4)
    exactly(curve, expected([[111, 101, 1, 0]]))


def test_infinite_attributions_are_ranked():
    x = torch.tensor([[1.0, 10.0, 100.0]]).double()
    phi = torch.tensor([[-torch.inf, torch.inf, 0.0]]).double()
    exactly(deletion_curve(lambda rows: rows.sum(1), x, phi, n_steps=4), expected([[111, 101, 1, 0]]))


def test_negative_infinity_does_not_rank_behind_the_features_that_an_example_lacks():
    x = torch.tensor([[1.0, 10.0, 100.0], [1.0, 10.0, 100.0]]).double()
    phi = torch.tensor([[3.0, 2.0, 1.0], [-torch.inf, -torch.inf, 0.0]]).double()
    mask = torch.tensor([[0, 1, 2], [1, 1, 0]])
    curve = deletion_curve(lambda rows: rows.sum(1), x, phi, feature_mask=mask, n_steps=3, aggregate="sum")
    exactly(curve[1], expected([111, 11, 0]))


def test_each_example_is_cut_by_its_own_number_of_features():
    x = torch.ones(2, 6, dtype=torch.float64)
    mask = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]])
    curve = deletion_curve(lambda rows: rows.sum(1), x, x, feature_mask=mask, n_steps=7)
    exactly(
        curve, expected([[6, 5, 4, 3, 2, 1, 0], [6, 6, 3, 3, 3, 0, 0]])
    )  # counts 0, 1/3, 2/3, 1, 4/3, 5/3, 2 rounded


def test_the_ends_are_the_whole_and_the_empty_example(smooth, x, phi):
    b = normal(3, 6, seed=7)
    curve = deletion_curve(smooth, x, phi, baselines=b, n_steps=5)
    exactly(curve[:, 0], smooth(x))
    exactly(curve[:, -1], smooth(b))


# ---------------------------------------------------------------- what the model is asked


@pytest.mark.parametrize("curve", [deletion_curve, insertion_curve, deletion, insertion])
def test_the_model_sees_no_row_twice(curve, smooth, x, phi):
    model = Recorder(smooth)
    curve(model, x, phi, baselines=normal(3, 6, seed=5), n_steps=40)  # 40 steps, but 7 different counts
    rows = torch.cat([call[0] for call in model.calls])
    assert len(rows) == 3 * 7
    assert len(rows.unique(dim=0)) == len(rows)


@pytest.mark.parametrize("methods", [1, 3])
def test_methods_share_the_whole_and_the_empty_example(methods, smooth):
    x = normal(2, 20)
    phi = {f"method {m}": normal(2, 20, seed=m) for m in range(methods)}
    model = Recorder(smooth)
    curves = deletion_curve(model, x, phi, n_steps=6)
    assert model.rows == 2 * 2 + methods * 2 * (6 - 2)
    for name, values in phi.items():
        exactly(curves[name], deletion_curve(smooth, x, values, n_steps=6))


def test_a_grid_inside_asks_for_neither_end(smooth):
    x, phi = normal(2, 20), normal(2, 20, seed=1)
    model = Recorder(smooth)
    deletion_curve(model, x, phi, start=0.25, stop=0.75, n_steps=5)
    assert model.rows == 2 * 5


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 64])
def test_the_limit_holds_and_changes_nothing(limit, smooth, x, phi):
    model = Recorder(smooth)
    exactly(deletion_curve(model, x, phi, max_examples_per_batch=limit), deletion_curve(smooth, x, phi))
    assert all(size == limit for size in model.sizes[:-1])
    assert model.sizes[-1] <= limit


# ---------------------------------------------------------------- arguments


def test_a_mapping_gives_each_method_the_scores_it_gets_alone(smooth, x, phi):
    methods = {"a": phi, "b": phi.flip(1)}
    for metric in (deletion, insertion, insertion_curve):
        scores = metric(smooth, x, methods)
        assert list(scores) == ["a", "b"]
        for name, values in methods.items():
            exactly(scores[name], metric(smooth, x, values))


def test_beside_a_map_with_one_channel_positions_are_the_features_of_all(smooth):
    x, full, one = normal(2, 3, 2, 2), normal(2, 3, 2, 2, seed=1), normal(2, 1, 2, 2, seed=2)
    curves = deletion_curve(smooth, x, {"full": full, "one": one}, n_steps=5)
    exactly(curves["one"], deletion_curve(smooth, x, one, n_steps=5))
    features = oracles.features_of(x, positions=True)
    closely(
        curves["full"], expected(oracles.removal_curve(smooth, x, full, 0, features, "morf", oracles.grid(0, 1, 5)))
    )


def test_mean_and_sum_rank_unequal_groups_differently():
    x = torch.tensor([[1.0, 1.0, 1.0, 10.0]]).double()
    phi, mask = torch.tensor([[2.0, 2.0, 2.0, 5.0]]).double(), torch.tensor([[0, 0, 0, 1]])
    curve = partial(deletion_curve, lambda rows: rows.sum(1), x, phi, feature_mask=mask, n_steps=3)
    exactly(curve(aggregate="sum"), expected([[13, 10, 0]]))
    exactly(curve(aggregate="mean"), expected([[13, 3, 0]]))
    exactly(curve(), curve(aggregate="mean"))


def test_the_activation_comes_before_the_target_is_picked(x, phi):
    def logits(rows):
        return rows[:, :3]

    target = torch.tensor([0, 2, 1])
    curve = deletion_curve(logits, x, phi, target=target, activation=partial(torch.softmax, dim=1), n_steps=7)
    probability = [lambda rows, t=t: rows[:, :3].softmax(1)[:, t] for t in target]
    for b, model in enumerate(probability):
        exactly(curve[b : b + 1], deletion_curve(model, x[b : b + 1], phi[b : b + 1], n_steps=7))


def test_baselines_may_be_a_function_of_the_inputs(smooth):
    x, phi = normal(2, 3, 2, 2), normal(2, 1, 2, 2, seed=1)
    exactly(deletion(smooth, x, phi, baselines=channel_mean), deletion(smooth, x, phi, baselines=channel_mean(x)))


def test_permuting_the_examples_permutes_the_scores_and_a_batch_is_its_two_halves(smooth):
    x, phi, order = normal(4, 6), normal(4, 6, seed=1), torch.tensor([2, 0, 3, 1])
    for metric in (deletion, insertion, deletion_curve, insertion_curve):
        whole = metric(smooth, x, phi)
        exactly(metric(smooth, x[order], phi[order]), whole[order])
        exactly(torch.cat([metric(smooth, x[:2], phi[:2]), metric(smooth, x[2:], phi[2:])]), whole)


def test_the_four_functions_have_one_signature():
    signatures = {inspect.signature(f) for f in (deletion, insertion, deletion_curve, insertion_curve)}
    assert len(signatures) == 1


def test_a_missing_argument_is_named_with_the_function_that_was_called(smooth, x):
    with pytest.raises(TypeError, match=r"insertion\(\).*attributions"):
        insertion(smooth, x)


@pytest.mark.parametrize("metric", [deletion, insertion, deletion_curve, insertion_curve])
@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"mode": "most"}, ValueError, "`mode`.*'morf', 'lerf'.*'most'"),
        ({"start": -0.1}, ValueError, "`start`.*0 to 1.*-0.1"),
        ({"stop": 1.5}, ValueError, "`stop`.*0 to 1.*1.5"),
        ({"start": 0.5, "stop": 0.5}, ValueError, "`start` and `stop` must differ"),
        ({"n_steps": 1}, ValueError, "`n_steps` must be at least 2"),
        ({"n_steps": 4.0}, TypeError, "`n_steps` must be an integer"),
        ({"aggregate": "max"}, ValueError, "`aggregate`.*'sum', 'mean'"),
    ],
)
def test_a_wrong_setting_is_named(metric, wrong, error, words, smooth, x, phi):
    with pytest.raises(error, match=words):
        metric(smooth, x, phi, **wrong)


def test_nan_attributions_name_the_example(smooth, x, phi):
    phi[1, 2] = torch.nan
    with pytest.raises(ValueError, match="`attributions` is NaN in example 1"):
        deletion(smooth, x, phi)
