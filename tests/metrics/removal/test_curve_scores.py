"""Scores that are functions of removal curves, against naive loops and in closed form."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise, permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext import metrics
from captum_ext.metrics import (
    abpc,
    aopc,
    comprehensiveness,
    deletion,
    deletion_curve,
    insertion,
    irof,
    log_odds,
    minimal_subset,
    monotonicity,
    removal_curves,
    srg,
    sufficiency,
)

from ... import oracles
from ...conftest import smooth_model
from ...oracles import Recorder

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-12, atol=1e-12)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def positive_model(*tensors):
    return smooth_model(*tensors).exp()


def classes_model(rows):
    """`[rows, 3]`, whose largest output changes often."""
    return torch.stack([torch.sin((k + 1) * smooth_model(rows)) for k in range(3)], 1)


MASK = torch.tensor([[4, 4, 0, 9, 9, 9, 2], [1, 1, 1, 1, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6]])  # 4, 2 and 7 groups
SETTINGS = {
    "elements": lambda: (normal(3, 7), normal(3, 7, seed=1), None),
    "equal attributions": lambda: (normal(3, 7), normal(3, 7, seed=1).round(), None),
    "groups": lambda: (normal(3, 7), normal(3, 7, seed=1), MASK),
    "one feature": lambda: (normal(2, 1), normal(2, 1, seed=1), None),
    "positions of images": lambda: (normal(2, 2, 2, 3), normal(2, 1, 2, 3, seed=1), None),
    "a tuple": lambda: (
        (normal(2, 3), normal(2, 2, 2, seed=1)),
        (normal(2, 3, seed=2), normal(2, 2, 2, seed=3)),
        (torch.tensor([[0, 1, 1]]), torch.tensor([[[1, 0], [7, 5]]])),
    ),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
every_mode = pytest.mark.parametrize("mode", ["morf", "lerf"])


def curves_by_hand(model, x, phi, mask, mode, counts_of):
    """`[[a value per count] per example]`, the counts a function of the example's number of features."""
    positions = torch.is_tensor(x) and x.dim() > 2
    for b, features in enumerate(oracles.features_of(x, mask, positions)):
        one = [tuple(t[b : b + 1] for t in oracles.tensors_of(v)) for v in (x, phi)]
        shares = [k / len(features) for k in counts_of(len(features))]
        yield oracles.removal_curve(model, *one, (0, 0), [features], mode, shares, one_channel=positions)[0]


def every(n):
    return range(n + 1)


# ---------------------------------------------------------------- removal_curves


@every_setting
def test_removal_curves_are_both_deletion_curves(setting, smooth):
    x, phi, mask = setting()
    both = removal_curves(smooth, x, phi, feature_mask=mask, n_steps=6)
    for i, mode in enumerate(("morf", "lerf")):
        exactly(both[:, i], deletion_curve(smooth, x, phi, feature_mask=mask, n_steps=6, mode=mode))


def test_removal_curves_of_methods_share_the_ends_of_all(smooth):
    x, phi = normal(2, 20), {str(m): normal(2, 20, seed=m + 1) for m in range(3)}
    model = Recorder(smooth)
    curves = removal_curves(model, x, phi, n_steps=6)
    assert model.rows == 2 * (2 + 2 * 3 * (6 - 2))
    for name, maps in phi.items():
        exactly(curves[name], removal_curves(smooth, x, maps, n_steps=6))


@pytest.mark.parametrize("limit", [1, 4, 64])
def test_the_limit_changes_nothing(limit, smooth, x, phi):
    model = Recorder(smooth)
    exactly(removal_curves(model, x, phi, max_examples_per_batch=limit), removal_curves(smooth, x, phi))
    assert max(model.sizes) <= limit


# ---------------------------------------------------------------- aopc


@every_setting
@every_mode
def test_aopc_is_the_mean_drop_over_the_points(setting, mode, smooth):
    x, phi, mask = setting()
    found = aopc(smooth, x, phi, feature_mask=mask, mode=mode, n_steps=5)
    curves = curves_by_hand(smooth, x, phi, mask, mode, lambda n: [round(i * n / 4) for i in range(5)])
    closely(found, expected([sum(c[0] - v for v in c) / len(c) for c in curves]))


def test_aopc_of_a_part_of_the_curve_is_still_against_the_whole_example(smooth, x, phi):
    part = {"start": 0.5, "stop": 1.0, "n_steps": 3}
    model = Recorder(smooth)
    curve = deletion_curve(smooth, x, phi, **part)
    closely(aopc(model, x, phi, **part), smooth(x) - curve.mean(1))
    assert model.rows == 3 * (3 + 1)


def test_aopc_of_the_straight_line_is_one_half():
    x, phi = torch.ones(1, 10, dtype=torch.float64), torch.arange(10.0).double()[None]
    closely(aopc(lambda rows: rows.mean(1), x, phi, n_steps=11), expected([0.5]))


def test_aopc_over_all_orders_of_an_additive_model_is_half_the_whole_drop():
    orders = expected(list(permutations(range(4))))
    x = normal(1, 4).expand(24, 4)
    closely(aopc(lambda r: (r**3).sum(1), x, orders, n_steps=5).mean(), (x[0] ** 3).sum() / 2)


# ---------------------------------------------------------------- srg


@every_setting
def test_srg_is_the_area_between_the_curves(setting, smooth):
    x, phi, mask = setting()
    found = srg(smooth, x, phi, feature_mask=mask, n_steps=5)
    fractions = [i / 4 for i in range(5)]
    areas = {}
    for mode in ("morf", "lerf"):
        curves = curves_by_hand(smooth, x, phi, mask, mode, lambda n: [round(s * n) for s in fractions])
        areas[mode] = expected([oracles.trapezoid(c, fractions) for c in curves])
    closely(found, areas["lerf"] - areas["morf"])


def test_srg_is_the_gain_of_insertion_too_and_turns_with_the_attributions(smooth, x, phi):
    gain = srg(smooth, x, phi)
    closely(gain, deletion(smooth, x, phi, mode="lerf") - deletion(smooth, x, phi))
    closely(gain, insertion(smooth, x, phi) - insertion(smooth, x, phi, mode="lerf"))
    closely(srg(smooth, x, -phi), -gain)


def test_srg_is_0_in_the_mean_over_all_orders_of_any_model(smooth):
    orders = expected(list(permutations(range(4))))
    gains = srg(smooth, normal(1, 4).expand(24, 4), orders, n_steps=5)
    assert gains.abs().max() > 0.1
    assert abs(gains.mean()) < 1e-12


def test_srg_of_an_additive_model_is_a_weighted_sum_of_the_sorted_attributions(w, linear):
    x = normal(2, 6)
    phi = w * x
    k = torch.arange(1, 7, dtype=torch.float64)
    closely(srg(linear, x, phi, n_steps=7), 2 / 6 * ((3.5 - k) * phi.sort(1, descending=True).values).sum(1))


def test_abpc_is_another_name():
    assert abpc is srg
    assert "abpc" in metrics.__all__


# ---------------------------------------------------------------- comprehensiveness, sufficiency, log-odds


def sizes(n, shares):
    return [k if isinstance(k, int) else max(round(k * n), 1) for k in shares]


@every_setting
@pytest.mark.parametrize("shares", [(0.01, 0.05, 0.1, 0.2, 0.5), (1, 0.6)])
def test_rationales_are_those_of_the_naive_loop(setting, shares):
    x, phi, mask = setting()
    call = {"feature_mask": mask, "shares": shares}
    model = positive_model
    without = list(curves_by_hand(model, x, phi, mask, "morf", lambda n: [0, *sizes(n, shares)]))
    kept = list(curves_by_hand(model, x, phi, mask, "lerf", lambda n: [0, *(n - k for k in sizes(n, shares))]))
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    closely(comprehensiveness(model, x, phi, **call), expected([mean([c[0] - v for v in c[1:]]) for c in without]))
    closely(sufficiency(model, x, phi, **call), expected([mean([c[0] - v for v in c[1:]]) for c in kept]))
    closely(log_odds(model, x, phi, **call), expected([mean([math.log(v / c[0]) for v in c[1:]]) for c in without]))


def test_the_default_shares_are_those_of_eraser(smooth):
    x, phi = normal(2, 100), normal(2, 100, seed=1)
    for metric in (comprehensiveness, sufficiency):
        exactly(metric(smooth, x, phi), metric(smooth, x, phi, shares=[1, 5, 10, 20, 50]))


def test_of_all_features_comprehensiveness_is_the_whole_drop_and_sufficiency_nothing(smooth, x, phi):
    exactly(comprehensiveness(smooth, x, phi, shares=1.0), smooth(x) - smooth(torch.zeros_like(x)))
    exactly(sufficiency(smooth, x, phi, shares=6), torch.zeros(3).double())


def test_on_an_additive_model_what_is_removed_and_what_is_kept_add_up(linear, x, phi):
    share = {"shares": [2, 0.5]}
    both = comprehensiveness(linear, x, phi, **share) + sufficiency(linear, x, phi, **share)
    closely(both, linear(x) - linear(torch.zeros_like(x)))


def test_log_odds_are_those_of_the_probabilities():
    x, phi, w = normal(3, 5), normal(3, 5, seed=1), normal(5, 4, seed=2)
    found = log_odds(lambda r: r @ w, x, phi, target=[0, 2, 3], activation=partial(torch.softmax, dim=1), shares=2)
    log_p = deletion_curve(lambda r: (r @ w).log_softmax(1), x, phi, target=[0, 2, 3], n_steps=6)
    closely(found, log_p[:, 2] - log_p[:, 0])


def test_log_odds_of_what_is_not_above_0_are_nan():
    x = expected([[3.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    found = log_odds(lambda rows: rows.sum(1) - 0.5, x, x, shares=[1])
    closely(found[1], torch.log(expected(0.5 / 1.5)))
    assert found.isnan().tolist() == [False, False, True]
    assert log_odds(lambda rows: rows.sum(1), x, x, shares=[2]).isnan().all()


@pytest.mark.parametrize(("metric", "rows"), [(comprehensiveness, 5), (sufficiency, 5), (log_odds, 5)])
def test_rationales_cost_a_row_for_each_share_and_the_whole_example(metric, rows, x, phi):
    model = Recorder(positive_model)
    metric(model, x, {"a": phi, "b": -phi}, shares=[1, 2])
    assert model.rows == 3 * rows


# ---------------------------------------------------------------- irof


@every_setting
@every_mode
def test_irof_is_the_area_over_the_relative_curve(setting, mode):
    x, phi, mask = setting()
    areas = []
    for curve in curves_by_hand(positive_model, x, phi, mask, mode, every):
        ratio = [v / curve[0] for v in curve]
        areas.append(1 - sum((a + b) / 2 for a, b in pairwise(ratio)) / (len(ratio) - 1))
    closely(irof(positive_model, x, phi, feature_mask=mask, mode=mode), expected(areas))


def test_irof_of_the_straight_line_is_one_half_and_of_a_flat_one_0():
    x, phi = torch.ones(1, 10, dtype=torch.float64), torch.arange(10.0).double()[None]
    closely(irof(lambda rows: rows.mean(1), x, phi), expected([0.5]))
    closely(irof(lambda rows: rows[:, 0] * 0 + 3, x, phi), expected([0.0]))


def test_irof_does_not_depend_on_the_scale_of_the_output(x, phi):
    closely(irof(lambda r: 7 * positive_model(r), x, phi), irof(positive_model, x, phi))


def test_irof_is_nan_where_there_is_nothing_to_lose():
    x = expected([[0.0, 0.0], [1.0, 2.0]])
    assert irof(lambda rows: rows.sum(1), x, x).isnan().tolist() == [True, False]


def test_irof_asks_for_every_segment_once(x, phi):
    model = Recorder(positive_model)
    irof(model, normal(3, 7), normal(3, 7, seed=1), feature_mask=MASK)
    assert model.rows == sum(n + 1 for n in (4, 2, 7))


# ---------------------------------------------------------------- minimal_subset


@every_setting
@pytest.mark.parametrize("mode", ["deletion", "insertion"])
@pytest.mark.parametrize("n_steps", [2, 4, 9])
def test_minimal_subset_is_that_of_the_naive_loop(setting, mode, n_steps):
    x, phi, mask = setting()

    def model(*rows):
        return classes_model(torch.cat([r.flatten(1) for r in rows], 1))

    def predicted(*rows):
        return model(*rows).argmax(1)

    wanted = []
    for b, n in enumerate(len(f) for f in oracles.features_of(x, mask, torch.is_tensor(x) and x.dim() > 2)):
        counts = [round(i * n / (n_steps - 1)) for i in range(n_steps)]
        hidden = counts if mode == "deletion" else [n - k for k in counts]
        order = "morf" if mode == "deletion" else "lerf"
        classes = list(curves_by_hand(predicted, x, phi, mask, order, lambda _, hidden=hidden: hidden))[b]
        whole = int(predicted(*(t[b : b + 1] for t in oracles.tensors_of(x))))
        deciding = [k for k, c in zip(counts, classes) if (c == whole) == (mode == "insertion")]
        wanted.append(min([*deciding, n]) / n)
    closely(minimal_subset(model, x, phi, feature_mask=mask, mode=mode, n_steps=n_steps), expected(wanted))


def test_a_prediction_that_never_changes_needs_all_features(x, phi):
    constant = lambda rows: torch.eye(3).double()[torch.zeros(len(rows)).long()]  # noqa: E731
    exactly(minimal_subset(constant, x, phi), torch.ones(3).double())
    exactly(minimal_subset(constant, x, phi, mode="insertion"), torch.zeros(3).double())


def test_minimal_subset_in_half_precision_has_classes_beyond_its_integers():
    """The class 2049 is not a number of float16."""
    x = torch.tensor([[2049.0, 1.0]]).half()

    def model(rows):
        return torch.nn.functional.one_hot(2047 + (rows > 0).sum(1), 2050).half()

    assert minimal_subset(model, x, x, n_steps=3).tolist() == [0.5]


# ---------------------------------------------------------------- monotonicity


@every_setting
def test_monotonicity_is_that_of_the_naive_loop(setting):
    x, phi, mask = setting()
    for model in (smooth_model, lambda *rows: sum(r.abs().flatten(1).sum(1) for r in rows)):
        curves = list(curves_by_hand(model, x, phi, mask, "morf", every))
        rising = [float(all(a >= b for a, b in pairwise(c))) for c in curves]
        exactly(monotonicity(model, x, phi, feature_mask=mask), expected(rising))


def test_one_feature_that_lowers_the_output_is_enough():
    x, phi = torch.ones(2, 3).double(), normal(2, 3)
    w = expected([1.0, 0.0, 2.0])
    exactly(monotonicity(lambda rows: rows @ w, x, phi), torch.ones(2).double())
    exactly(monotonicity(lambda rows: rows @ (w - 0.5), x, phi), torch.zeros(2).double())


# ---------------------------------------------------------------- all of them


SCORES = [aopc, srg, irof, comprehensiveness, sufficiency, log_odds, minimal_subset, monotonicity]


def call(metric, model, x, phi, **changes):
    if metric is minimal_subset:
        return metric(lambda r: torch.stack((model(r), model(0.9 * r)), 1), x, phi, **changes)
    return metric(model, x, phi, **changes)


@pytest.mark.parametrize("metric", SCORES)
@given(scale=st.floats(0.1, 10), features=st.integers(1, 6))
def test_only_the_order_of_the_attributions_counts(metric, scale, features):
    x, phi = normal(2, features), normal(2, features, seed=1)
    exactly(call(metric, positive_model, x, (phi * scale).exp() + 1), call(metric, positive_model, x, phi))


@pytest.mark.parametrize("metric", SCORES)
def test_methods_of_a_mapping_and_parts_of_a_batch_score_as_alone(metric):
    x, phi, order = normal(4, 6), normal(4, 6, seed=1), torch.tensor([2, 0, 3, 1])
    whole = call(metric, positive_model, x, {"a": phi, "b": -phi})
    for name, maps in {"a": phi, "b": -phi}.items():
        exactly(whole[name], call(metric, positive_model, x, maps))
        exactly(whole[name][order], call(metric, positive_model, x[order], maps[order]))
        parts = [call(metric, positive_model, x[rows], maps[rows]) for rows in (slice(0, 1), slice(1, 4))]
        exactly(whole[name], torch.cat(parts))


@pytest.mark.parametrize("metric", SCORES)
def test_frozen_groups_stay(metric):
    x, phi, mask = normal(2, 5), normal(2, 5, seed=1), torch.tensor([[0, 1, 2, 3, 3]])
    free = call(
        metric, lambda r: positive_model(torch.cat((r, x[:1, 3:].expand(len(r), 2)), 1)), x[:1, :3], phi[:1, :3]
    )
    exactly(call(metric, positive_model, x[:1], phi[:1], feature_mask=mask, frozen=3), free)
