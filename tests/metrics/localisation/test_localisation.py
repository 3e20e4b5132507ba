"""Metrics of localisation: closed forms, scikit-learn, and naive loops over positions."""

from __future__ import annotations

import math
import warnings
from functools import partial
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.testing import assert_close

from captum_ext.metrics import (
    attribution_localisation,
    auc_roc,
    aup,
    aur,
    average_precision,
    energy_pointing_game,
    focus,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    top_k_intersection,
)

exactly = partial(assert_close, rtol=0, atol=0, equal_nan=True)
closely = partial(assert_close, rtol=1e-12, atol=1e-12, equal_nan=True)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(*values):
    """A batch of one, without channels: scores of positions."""
    return torch.tensor([values], dtype=torch.float64)


def true(*places, of):
    return torch.tensor([[p in places for p in range(of)]])


def score(metric, phi, truth, **arguments):
    return metric(phi, phi, truth, **arguments)


def some_truth(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed + 99)) < 0.4


# ---- naive loops: the scores of one example as lists of floats and bools


def mass(scores, truth, sign="positive"):
    values = [SIGNS[sign](s) for s in scores]
    total = math.fsum(values)
    return math.fsum(v for v, t in zip(values, truth) if t) / total if total else math.nan


def weighted_mass(scores, truth, sign="positive"):
    return mass(scores, truth, sign) * len(truth) / sum(truth)


def pointing(scores, truth, sign="all"):
    values = [SIGNS[sign](s) for s in scores]
    best = [t for v, t in zip(values, truth) if v == max(values)]
    return sum(best) / len(best)


def top(scores, truth, k, sign="all"):
    """The expected share of true ones among the first k, over random orders of equal scores."""
    values = [SIGNS[sign](s) for s in scores]
    hits, left = 0.0, k
    for v in sorted(set(values), reverse=True):
        group = [t for w, t in zip(values, truth) if w == v]
        taken = min(left, len(group))
        hits, left = hits + taken * sum(group) / len(group), left - taken
    return hits / k


def rank_accuracy(scores, truth, sign="all"):
    return top(scores, truth, sum(truth), sign)


def area_of_pairs(scores, truth, sign="all"):
    values = [SIGNS[sign](s) for s in scores]
    pairs = [(v, w) for v, t in zip(values, truth) if t for w, u in zip(values, truth) if not u]
    return sum((v > w) + (v == w) / 2 for v, w in pairs) / len(pairs) if pairs else math.nan


def precision(scores, truth, sign="all"):
    values = [SIGNS[sign](s) for s in scores]
    precisions = []
    for v, t in zip(values, truth):
        if t:
            called = [u for w, u in zip(values, truth) if w >= v]
            precisions.append(sum(called) / len(called))
    return sum(precisions) / len(precisions)


def at_every_threshold(part):
    """The mean over the thresholds from 0 to 1 of a share of those positions of the scaled map that reach them."""

    def area(scores, truth, sign="all"):
        values = [SIGNS[sign](s) for s in scores]
        least, most = min(values), max(values)
        if least == most:
            return math.nan
        scaled = [(v - least) / (most - least) for v in values]
        total, below = 0.0, 0.0
        for threshold in sorted(set(scaled)):
            called = [t for m, t in zip(scaled, truth) if m >= threshold]
            total, below = total + (threshold - below) * part(called, truth), threshold
        return total

    return area


SIGNS = {
    "all": lambda v: v,
    "positive": lambda v: max(v, 0),
    "negative": lambda v: max(-v, 0),
    "absolute_value": abs,
}
NAIVE = {
    "relevance_mass_accuracy": (relevance_mass_accuracy, mass),
    "energy_pointing_game": (energy_pointing_game, mass),
    "attribution_localisation": (attribution_localisation, mass),
    "attribution_localisation, weighted": (partial(attribution_localisation, weighted=True), weighted_mass),
    "focus": (focus, mass),
    "pointing_game": (pointing_game, pointing),
    "relevance_rank_accuracy": (relevance_rank_accuracy, rank_accuracy),
    "top_k_intersection": (partial(top_k_intersection, k=3), partial(top, k=3)),
    "auc_roc": (auc_roc, area_of_pairs),
    "average_precision": (average_precision, precision),
    "aup": (aup, at_every_threshold(lambda called, truth: sum(called) / len(called))),
    "aur": (aur, at_every_threshold(lambda called, truth: sum(called) / sum(truth))),
}
SCALED = ["aup", "aur"]
MASSES = [name for name in NAIVE if NAIVE[name][1] in (mass, weighted_mass)]
every_metric = pytest.mark.parametrize("name", NAIVE)


def naive(name, scores, truth, **sign):
    """`scores` and `truth` `[B, positions]`."""
    return torch.tensor(
        [
            NAIVE[name][1](s, t, **sign) if any(t) else math.nan
            for s, t in zip(scores.double().tolist(), truth.tolist())
        ],
        dtype=torch.float64,
    )


@every_metric
@given(st.integers(1, 4), st.integers(3, 12), st.integers(1, 6), st.integers(0, 10**6))
def test_scores_are_those_of_the_naive_loop_also_with_ties(name, batch, positions, levels, seed):
    draw = torch.Generator().manual_seed(seed)
    phi = torch.randint(-levels, levels + 1, (batch, positions), generator=draw).double() / 4
    truth = torch.rand(batch, positions, generator=draw) < 0.5
    closely(score(NAIVE[name][0], phi, truth), naive(name, phi, truth))


@pytest.mark.parametrize(("name", "sign"), [(n, s) for n in NAIVE for s in SIGNS if s != "all" or n not in MASSES])
def test_the_sign_says_which_part_of_an_attribution_counts(name, sign):
    phi, truth = normal(6, 9), some_truth(6, 9)
    closely(score(NAIVE[name][0], phi, truth, sign=sign), naive(name, phi, truth, sign=sign))


# ---------------------------------------------------------------- what a position is


@every_metric
def test_channels_are_summed_where_the_mask_has_one(name):
    phi, truth = normal(4, 3, 2, 5), some_truth(4, 1, 2, 5)
    metric = NAIVE[name][0]
    closely(score(metric, phi, truth), naive(name, phi.sum(1).flatten(1), truth.flatten(1)))
    closely(metric(phi, phi.sum(1, keepdim=True), truth), score(metric, phi, truth))


@every_metric
def test_elements_are_positions_where_the_mask_has_every_channel(name):
    phi, truth = normal(4, 2, 3, 2), some_truth(4, 2, 3, 2)
    closely(score(NAIVE[name][0], phi, truth), naive(name, phi.flatten(1), truth.flatten(1)))


@every_metric
def test_words_are_positions_where_the_mask_has_one_value_per_word(name):
    embeddings, truth = normal(3, 5, 7), some_truth(3, 5, 1)
    closely(score(NAIVE[name][0], embeddings, truth), naive(name, embeddings.sum(2), truth[..., 0]))


@every_metric
def test_a_mask_without_a_row_per_example_is_that_of_all(name):
    phi, truth = normal(3, 2, 2, 4), some_truth(2, 4)
    closely(score(NAIVE[name][0], phi, truth), score(NAIVE[name][0], phi, truth.expand(3, 1, 2, 4)))


@every_metric
def test_positions_of_all_tensors_of_a_tuple_are_scored_together(name):
    phi = normal(3, 2, 2, 3), normal(3, 4, seed=1)
    truth = some_truth(3, 1, 2, 3), some_truth(3, 4, seed=1)
    positions = torch.cat((phi[0].sum(1).flatten(1), phi[1]), 1)
    closely(NAIVE[name][0](phi, phi, truth), naive(name, positions, torch.cat((truth[0].flatten(1), truth[1]), 1)))


@every_metric
def test_methods_with_and_without_channels_share_a_mapping(name):
    x, truth = normal(3, 2, 2, 3), some_truth(3, 1, 2, 3)
    maps = {"all": normal(3, 2, 2, 3, seed=1), "one": normal(3, 1, 2, 3, seed=2)}
    together = NAIVE[name][0](x, maps, truth)
    for method, phi in maps.items():
        closely(together[method], NAIVE[name][0](x, phi, truth))


# ---------------------------------------------------------------- what is undefined


@every_metric
def test_an_example_without_truth_has_no_score_and_its_neighbours_have_theirs(name):
    phi, truth = normal(3, 6), some_truth(3, 6)
    truth[1] = False
    scores = score(NAIVE[name][0], phi, truth)
    assert scores.isnan().tolist() == [False, True, False]
    closely(scores[[0, 2]], score(NAIVE[name][0], phi[[0, 2]], truth[[0, 2]]))


@pytest.mark.parametrize("name", MASSES)
def test_without_mass_there_is_no_share_of_it(name):
    metric = NAIVE[name][0]
    assert score(metric, torch.zeros(1, 4), true(1, of=4)).isnan().all()
    assert score(metric, -torch.ones(1, 4), true(1, of=4)).isnan().all()
    assert score(metric, -torch.ones(1, 4), true(1, of=4), sign="negative").isfinite().all()


def test_where_everything_is_true_there_is_nothing_to_tell_it_from():
    phi, truth = normal(1, 5), torch.ones(1, 5, dtype=torch.bool)
    assert score(auc_roc, phi, truth).isnan().all()
    for metric in (average_precision, relevance_rank_accuracy, pointing_game, relevance_mass_accuracy):
        exactly(score(metric, phi, truth), rows(1.0)[0])


# ---------------------------------------------------------------- closed forms


@every_metric
def test_the_truth_itself_is_explained_perfectly_and_its_opposite_is_not(name):
    truth = some_truth(4, 1, 3, 4)
    truth[:, :, 0] = torch.tensor([True, True, True, False])  # at least k = 3 true ones
    best = NAIVE[name][0](truth.double(), truth.double(), truth)
    size = truth.sum((1, 2, 3)).double()
    closely(best, 12 / size if "weighted" in name else torch.ones_like(size))
    worst = NAIVE[name][0](truth.double(), 1.0 - truth.double(), truth)
    assert (worst < best).all()
    assert (worst < 1e-12).all() or name in ("average_precision", "relevance_rank_accuracy", "top_k_intersection")


CHANCE = {**dict.fromkeys(NAIVE, 0.25), "auc_roc": 0.5, "attribution_localisation, weighted": 1.0, "aur": 0.5}


@pytest.mark.parametrize("name", [n for n in NAIVE if n not in SCALED])
def test_a_constant_map_scores_what_chance_does(name):
    closely(score(NAIVE[name][0], torch.ones(1, 8).double(), true(2, 5, of=8)), rows(CHANCE[name])[0])


@every_metric
def test_chance_is_what_all_orders_score_on_average(name):
    """Every place for two true ones among eight: but for average precision, the score of a constant map."""
    phi = torch.arange(8.0).double().expand(28, 8)
    truth = torch.stack([true(*pair, of=8)[0] for pair in combinations(range(8), 2)])
    chance = score(NAIVE[name][0], phi, truth).mean()
    if name == "average_precision":
        assert CHANCE[name] < chance < 2 * CHANCE[name]  # "about": the more positions, the closer
    else:
        closely(chance, rows(CHANCE[name])[0, 0])


@pytest.mark.parametrize("name", [n for n in NAIVE if n not in MASSES + SCALED])
def test_ranks_alone_count_where_nothing_but_ranks_is_asked_for(name):
    phi, truth = normal(5, 9), some_truth(5, 9)
    metric = NAIVE[name][0]
    exactly(score(metric, phi.exp() * 3 - 7, truth), score(metric, phi, truth))


@pytest.mark.parametrize("name", MASSES)
def test_a_share_is_the_same_on_any_scale(name):
    phi, truth = normal(5, 9), some_truth(5, 9)
    closely(score(NAIVE[name][0], phi * 1e-200, truth), score(NAIVE[name][0], phi, truth))


# ---------------------------------------------------------------- the scaled map


@pytest.mark.parametrize("name", SCALED)
def test_neither_scale_nor_offset_count_where_the_map_is_scaled(name):
    phi, truth = normal(5, 9), some_truth(5, 9)
    wanted = score(NAIVE[name][0], phi, truth)
    for changed in (phi * 1e-300, phi * 1e300, 3 * phi - 7):
        closely(score(NAIVE[name][0], changed, truth), wanted)


@pytest.mark.parametrize("name", SCALED)
def test_a_map_without_a_range_has_no_area(name):
    for phi in (torch.ones(1, 5).double(), rows(1, 2, torch.inf, 3, 4), rows(-torch.inf, 2, 0, 3, 4)):
        assert score(NAIVE[name][0], phi, true(1, of=5)).isnan().all()


def test_recall_is_the_mean_of_the_scaled_map_on_the_truth_and_precision_sees_the_rest():
    phi, truth = rows(0, 1, 0.5, 0.25), true(1, 2, of=4)
    exactly(score(aur, phi, truth), rows(0.75)[0])
    closely(score(aup, phi, truth), rows(0.75 + 0.25 * 2 / 3)[0])  # one of three at thresholds up to 0.25 is false
    high = rows(0, 1, 1, 1)
    exactly(score(aur, high, truth), rows(1.0)[0])
    closely(score(aup, high, truth), rows(2 / 3)[0])


# ---------------------------------------------------------------- masses


def test_four_names_are_one_number():
    phi, truth = normal(5, 2, 3, 3), some_truth(5, 1, 3, 3)
    shares = [
        score(m, phi, truth) for m in (relevance_mass_accuracy, energy_pointing_game, attribution_localisation, focus)
    ]
    for share in shares[1:]:
        exactly(share, shares[0])
    closely(score(attribution_localisation, phi, truth, weighted=True), shares[0] * 9 / truth.sum((1, 2, 3)))


def test_mass_on_and_off_the_truth_make_one():
    phi, truth = normal(4, 7), true(0, 3, of=7)
    closely(score(focus, phi, truth) + score(focus, phi, ~truth), torch.ones(4).double())


# ---------------------------------------------------------------- pointing


def test_a_miss_within_the_tolerance_is_a_hit_and_one_beyond_is_not():
    truth = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    truth[..., 4, 4] = True
    for y in range(9):
        for x in range(9):
            phi = torch.zeros(1, 1, 9, 9).double()
            phi[..., y, x] = 1
            for tolerance in (0, 1, 1.5, 3, 5, 100):
                hit = math.hypot(y - 4, x - 4) <= tolerance
                exactly(score(pointing_game, phi, truth, tolerance=tolerance), rows(float(hit))[0])


@pytest.mark.parametrize("shape", [(1, 7), (1, 3, 4), (2, 3, 2, 3)], ids=["series", "image", "volume with channels"])
@pytest.mark.parametrize("tolerance", [1, 2, 2.3])
def test_the_distance_is_the_least_to_any_true_position_of_the_same_tensor(shape, tolerance):
    truth = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1)) < 0.1
    truth[:, 0].view(3, -1)[:, 0] = True
    phi = normal(3, *shape)
    wanted = []
    for a, t in zip(phi, truth):
        channel, *place = torch.unravel_index(a.argmax(), a.shape)
        other = [q[1:] for q in t.nonzero().tolist() if q[0] == channel]
        wanted.append(float(any(math.dist([float(p) for p in place], q) <= tolerance for q in other)))
    exactly(score(pointing_game, phi, truth, tolerance=tolerance), torch.tensor(wanted).double())


def test_a_tolerance_does_not_make_truth_where_there_is_none():
    phi = normal(1, 1, 3, 3)
    assert score(pointing_game, phi, torch.zeros(1, 1, 3, 3, dtype=torch.bool), tolerance=5).isnan().all()


def test_of_several_maxima_the_share_that_hits_counts():
    exactly(score(pointing_game, rows(3, 1, 3, 3), true(0, 1, of=4)), rows(1 / 3)[0])


# ---------------------------------------------------------------- the top


def test_rank_accuracy_is_the_intersection_at_the_size_of_the_truth():
    phi, truth = normal(1, 12), some_truth(1, 12)
    exactly(score(relevance_rank_accuracy, phi, truth), score(top_k_intersection, phi, truth, k=int(truth.sum())))


def test_several_k_are_columns_and_fractions_are_of_the_positions():
    phi, truth = normal(4, 2, 3, 4), some_truth(4, 1, 3, 4)
    several = score(top_k_intersection, phi, truth, k=[1, 0.5, 12, 0.01])
    for column, k in zip(several.T, [1, 6, 12, 1]):
        exactly(column, score(top_k_intersection, phi, truth, k=k))
    closely(several[:, 2], truth.double().mean((1, 2, 3)))  # of all positions


def test_concept_influence_is_in_relation_to_the_share_of_the_truth():
    phi, truth = normal(4, 10), some_truth(4, 10)
    at = partial(score, top_k_intersection, phi, truth)
    closely(at(k=[2, 5], concept_influence=True), at(k=[2, 5]) / truth.double().mean(1, keepdim=True))
    closely(at(k=10, concept_influence=True), torch.ones(4).double())


# ---------------------------------------------------------------- scikit-learn


@pytest.mark.parametrize("levels", [2, 3, 10, None])
@pytest.mark.parametrize(("metric", "theirs"), [(auc_roc, roc_auc_score), (average_precision, average_precision_score)])
def test_areas_are_those_of_scikit_learn(metric, theirs, levels):
    phi, truth = normal(20, 50), some_truth(20, 50)
    if levels:
        phi = (phi * levels / 4).round()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wanted = [theirs(t.numpy(), a.numpy()) for a, t in zip(phi, truth)]
    closely(score(metric, phi, truth), torch.tensor(wanted, dtype=torch.float64))


def test_an_infinite_attribution_is_only_the_highest():
    phi, truth = normal(3, 6), true(2, 4, of=6)
    infinite = phi.clone()
    infinite[:, 2] = torch.inf
    phi[:, 2] = 99
    for name in set(NAIVE) - set(MASSES) - set(SCALED):
        exactly(score(NAIVE[name][0], infinite, truth), score(NAIVE[name][0], phi, truth))


# ---- positions that are left out


@every_metric
def test_frozen_positions_are_as_if_the_example_did_not_have_them(name):
    phi, truth, ids = (
        normal(6, 9),
        some_truth(6, 9),
        torch.randint(4, (6, 9), generator=torch.Generator().manual_seed(1)),
    )
    phi[0, ids[0] == 2], phi[1, 0] = torch.inf, -torch.inf
    found = score(NAIVE[name][0], phi, truth, feature_mask=ids, frozen=[2, 3])
    for i, kept in enumerate(ids < 2):
        closely(found[i : i + 1], score(NAIVE[name][0], phi[i : i + 1, kept], truth[i : i + 1, kept]))


@every_metric
def test_a_position_of_several_elements_is_what_its_elements_that_count_add_up_to(name):
    phi, truth = normal(4, 3, 2, 5), some_truth(4, 1, 2, 5)
    ids = torch.randint(2, (4, 3, 2, 5), generator=torch.Generator().manual_seed(2))
    ids[:, :, 0, 0], ids[:, :, 1, 1] = 0, 1  # all elements are frozen, and none
    found = score(NAIVE[name][0], phi, truth, feature_mask=ids, frozen=0)
    for i, kept in enumerate(ids.bool().any(1).flatten(1)):
        left = (phi * ids)[i].sum(0).flatten()[kept]
        closely(found[i : i + 1], score(NAIVE[name][0], left[None], truth[i].flatten()[None, kept]))


def test_a_true_position_that_is_left_out_attracts_no_pointer():
    phi, truth = normal(1, 1, 1, 5).abs(), true(1, of=5)[:, None, None]
    phi[..., 2] = 9
    ids = torch.tensor([0, 7, 2, 3, 4])
    exactly(score(pointing_game, phi, truth, tolerance=1), torch.ones(1).double())
    assert score(pointing_game, phi, truth, tolerance=1, feature_mask=ids, frozen=7).isnan()
    truth[..., 4] = True
    exactly(score(pointing_game, phi, truth, tolerance=1, feature_mask=ids, frozen=7), torch.zeros(1).double())
