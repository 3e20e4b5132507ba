"""Summary, comparison, agreement and reliability.

They are held against scipy, statsmodels, krippendorff and naive loops, and on cases made by hand.
"""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from captum_ext.evaluation import comparison, statistics
from captum_ext.evaluation.comparison import (
    agreement,
    compare,
    corrected,
    krippendorff_alpha,
    mean_ranks,
    ranking_consistency,
    ranks_of,
    reliability,
    scores,
    summary,
    tie_with_best,
)
from captum_ext.evaluation.score import label
from captum_ext.evaluation.statistics import (
    Ranked,
    bca,
    fisher_mean,
    leads,
    resampled_means,
    signed_ranks,
)

METHODS = ["best", "good", "poor", "random"]
GRID = {"n": [2, 5], "fraction": [0.0, 0.5, 1.0]}


def dataset(methods=METHODS, **metrics):
    """`name=(values, higher_is_better)`, values [methods, examples(, axis)]; None for a curve."""
    variables = {}
    for name, (values, higher) in metrics.items():
        values = np.asarray(values, dtype=float)
        axis = [] if values.ndim == 2 else ["fraction" if higher is None else "n"]
        attrs = {} if higher is None else {"higher_is_better": higher, "metric": name, "arguments": "{}"}
        variables[name] = (["attribution", "example", *axis], values, attrs)
    examples = next(iter(variables.values()))[1].shape[1]
    used = {dim for dims, _, _ in variables.values() for dim in dims}
    coords = {"attribution": list(methods), "example": np.arange(examples)}
    return xr.Dataset(variables, coords={**coords, **{axis: places for axis, places in GRID.items() if axis in used}})


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def ordered(rng):
    """In `up` best > good > poor > random on each of 20 examples; `down` is the same where less is better."""
    values = np.array([3.0, 2.0, 1.0, 0.0])[:, None] + rng.uniform(0, 0.9, (4, 20)) + 10 * rng.normal(size=20)
    return dataset(up=(values, True), down=(-values, False))


@pytest.fixture
def noisy(rng):
    quality = np.array([0.5, 0.4, 0.2, 0.0])[:, None]
    up, down = quality + rng.normal(size=(4, 40)), -quality + rng.normal(size=(4, 40))
    sized = quality[..., None] + rng.normal(size=(4, 40, 2))
    return dataset(up=(up, True), down=(down, False), sized=(sized, True), curve=(rng.normal(size=(4, 40, 3)), None))


def row(table, attribution, metric="up", **where):
    found = table[(table["attribution"] == attribution) & (table["metric"] == metric)]
    for name, value in where.items():
        found = found[found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


# ---- summary


def test_a_method_that_always_wins_has_rank_1_and_no_doubt_about_it(ordered):
    for metric in ("up", "down"):
        best = row(summary(ordered), "best", metric)
        assert (best["rank"], best["rank_low"], best["rank_high"], best["p_best"]) == (1, 1, 1, 1)
        assert best["tied_with_best"]
        assert not row(summary(ordered), "good", metric)["tied_with_best"]


def test_examples_are_resampled_jointly_so_what_is_hard_about_them_does_not_blur_the_ranks(ordered):
    """The intervals of the means overlap by far, the ranks are certain."""
    table = summary(ordered)
    assert row(table, "best")["low"] < row(table, "random")["high"]
    assert table["p_best"].isin([0.0, 1.0]).all()
    assert table.query("metric == 'up'")["rank"].tolist() == [1, 2, 3, 4]


def test_mean_median_and_counts_are_pandas_own(noisy):
    table = summary(noisy)
    frame = noisy["up"].to_pandas().T
    up = table[table["metric"] == "up"].set_index("attribution")
    pd.testing.assert_series_equal(up["mean"], frame.mean(), check_names=False)
    pd.testing.assert_series_equal(up["median"], frame.median(), check_names=False)
    assert (up["examples"] == 40).all()
    assert (up["undefined"] == 0).all()
    assert table.groupby("metric")["higher_is_better"].first().to_dict() == {"down": False, "sized": True, "up": True}


def test_curves_are_left_out_and_sizes_have_a_row_each(noisy):
    table = summary(noisy)
    assert set(table["metric"]) == {"up", "down", "sized"}
    sized = table[table["metric"] == "sized"]
    assert (sized["axis"] == "n").all()
    assert sized["at"].tolist() == [2] * 4 + [5] * 4
    assert table[table["metric"] == "up"][["axis", "at"]].isna().all(axis=None)
    assert row(table, "poor", "sized", at=5)["mean"] == pytest.approx(float(noisy["sized"].sel(n=5)[2].mean()))


@pytest.mark.parametrize("skew", ["normal", "exponential", "lognormal"])
def test_the_interval_is_scipys_bca_bootstrap_up_to_chance(skew, rng):
    values = getattr(rng, skew)(size=60)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    ours = bca(values, resampled_means(values[None], 20_000, 0)[:, 0], 0.95)
    width = theirs.high - theirs.low
    assert ours == pytest.approx(tuple(theirs), abs=0.1 * width)


def test_the_interval_is_scipys_to_rounding_from_the_same_resamples(rng):
    values = rng.exponential(size=25)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=999, method="BCa", rng=1)
    ours = bca(values, theirs.bootstrap_distribution, 0.95)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), rel=1e-9)


def test_a_resampled_mean_is_a_mean_over_examples_drawn_with_replacement():
    """Powers of ten show which examples were drawn, and the same for both rows."""
    values = np.stack([10.0 ** np.arange(4), 2 * 10.0 ** np.arange(4)])
    means = resampled_means(values, 500, 0)
    counts = np.array([[int(c) for c in f"{round(m * 4):04d}"] for m in means[:, 0]])
    assert (counts.sum(1) == 4).all()
    assert stats.chisquare(counts.sum(0)).pvalue > 0.01
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0])


def test_blocks_of_resamples_change_nothing(rng, monkeypatch):
    values = rng.normal(size=(2, 30))
    whole = resampled_means(values, 50, 0)
    monkeypatch.setattr(statistics, "BLOCK", 100)
    np.testing.assert_allclose(resampled_means(values, 50, 0), whole, rtol=1e-12)


@pytest.mark.parametrize("gaps", [False, True])
def test_resampled_groups_of_many_examples_give_the_same_intervals_up_to_chance(gaps, rng, monkeypatch):
    """Skewed scores in the order of their size, as where the data is sorted."""
    resamples, units = 2000, 2500  # groups of three and of four
    values = np.sort(rng.lognormal(size=(2, 9_000)))
    values[1, rng.random(9_000) < 0.3 * gaps] = np.nan
    each = resampled_means(values, resamples, 0)
    monkeypatch.setattr(statistics, "MOST_UNITS", units)
    groups = resampled_means(values, resamples, 0)
    error = np.sqrt(1 / resamples + 1 / (2 * units))  # of the ratio of two spreads, each of so many resamples
    np.testing.assert_allclose(groups.std(0), each.std(0), rtol=3 * error)
    np.testing.assert_allclose(groups.mean(0), np.nanmean(values, 1), atol=4 * each.std(0).max() / resamples**0.5)
    for row, a, b in zip(values, each.T, groups.T):
        row = row[np.isfinite(row)]
        of_quantiles = 0.1 * a.std()  # the difference that chance alone makes
        np.testing.assert_allclose(bca(row, a, 0.95), bca(row, b, 0.95), atol=4 * of_quantiles)


def test_the_interval_of_many_examples_is_that_of_few_from_the_same_resamples(rng, monkeypatch):
    values, means = rng.lognormal(size=500), rng.normal(1.6, 0.1, size=1000)
    few = bca(values, means, 0.95)
    monkeypatch.setattr(statistics, "MOST_UNITS", 499)
    assert bca(values, means, 0.95) == pytest.approx(few, rel=1e-12)


def test_groups_of_examples_are_of_one_size_and_the_same_for_all_rows(rng, monkeypatch):
    monkeypatch.setattr(statistics, "MOST_UNITS", 4)
    values = np.stack([np.arange(10.0), 2 * np.arange(10.0), np.where(np.arange(10) < 5, np.nan, 1.0)])
    means = resampled_means(values, 300, 0)
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0])
    assert set(means[np.isfinite(means[:, 2]), 2]) == {1.0}
    sums, present = statistics._of_units(values, np.random.default_rng(0))
    assert sorted(present[:, 0]) == [2, 2, 3, 3]
    assert sums.sum(0).tolist() == [45, 90, 5]


def test_as_many_examples_as_units_are_resampled_one_by_one(rng, monkeypatch):
    values = rng.normal(size=(2, 30))
    each = resampled_means(values, 50, 0)
    monkeypatch.setattr(statistics, "MOST_UNITS", 30)
    np.testing.assert_array_equal(resampled_means(values, 50, 0), each)


def test_a_seed_repeats_and_another_differs(noisy):
    pd.testing.assert_frame_equal(summary(noisy, seed=1), summary(noisy, seed=1))
    assert not summary(noisy, seed=1)["low"].equals(summary(noisy, seed=2)["low"])


def test_more_confidence_is_a_wider_interval(noisy):
    wide, narrow = summary(noisy, confidence=0.99), summary(noisy, confidence=0.5)
    assert (wide["low"] < narrow["low"]).all()
    assert (wide["high"] > narrow["high"]).all()


def test_a_constant_score_is_its_own_interval_and_two_scores_have_none():
    values = np.full((3, 12), 0.1)
    values[1, 2:] = np.nan
    values[2] = np.nan
    table = summary(dataset(["constant", "two", "none"], up=(values, True)))
    constant, two, none = (row(table, name) for name in ("constant", "two", "none"))
    assert (constant["low"], constant["mean"], constant["high"]) == pytest.approx((0.1, 0.1, 0.1))
    assert math.isnan(two["low"])
    assert two["mean"] == pytest.approx(0.1)
    assert none[["mean", "low", "high", "median", "rank", "rank_low", "p_best"]].isna().all()
    assert (none["undefined"], none["examples"], none["tied_with_best"]) == (1, 0, False)
    assert two["undefined"] == pytest.approx(10 / 12)


def test_nan_infinite_and_too_large_scores_are_left_out_and_counted(noisy):
    values = noisy["up"].values.copy()
    values[0, :9], values[0, 9:11] = np.nan, [1e301, np.inf]  # the mean of few such large numbers is infinite
    first = row(summary(dataset(up=(values, True))), "best")
    assert first["mean"] == pytest.approx(values[0, 11:].mean())
    assert (first["examples"], first["undefined"]) == (29, 11 / 40)
    assert math.isfinite(first["low"])


def test_methods_with_equal_scores_share_rank_and_probability(rng):
    values = rng.normal(size=30)
    table = summary(dataset(["a", "b", "c"], up=([values, values, values - 5], True)))
    assert table["rank"].tolist() == [1, 1, 3]
    assert table["p_best"].tolist() == [0.5, 0.5, 0]
    assert table["tied_with_best"].tolist() == [True, True, False]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=7))
def test_ranks_are_scipys_with_the_better_rank_for_equal_ones(values):
    expected = stats.rankdata([-v for v in values], method="min")
    np.testing.assert_array_equal(ranks_of(np.array(values, float)), expected)


def test_rounding_does_not_rank():
    assert ranks_of(np.array([0.1 + 0.2, 0.3, np.nan, 0.0])).tolist()[:2] == [1, 1]
    assert np.isnan(ranks_of(np.array([1.0, np.nan]))[1])


@pytest.mark.parametrize("slack", [0.0, 0.05, 0.5])
def test_ranks_are_those_of_all_pairs(slack):
    rng = np.random.default_rng(0)
    means = rng.normal(size=(200, 9))
    means[::3] = means[::3].round(1)
    means[rng.random(means.shape) < 0.05] = np.nan
    means[0], means[1, 2], means[2, 3] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        found, one = ranks_of(means, slack), ranks_of(means[5], slack)
        tolerance = [max(slack, 1e-12 * np.nanmax(abs(row), initial=0)) for row in means]
        wanted = [
            [np.nan if np.isnan(a) else 1 + sum(b - a > t for b in row) for a in row]
            for row, t in zip(means, tolerance)
        ]
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(one, wanted[5])


def test_the_ranks_of_hundreds_of_methods_need_no_table_of_their_pairs():
    means = np.random.default_rng(0).normal(size=(200, 300))
    tracemalloc.start()
    ranks_of(means)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 * means.nbytes


def test_rank_probabilities_add_up_to_one(noisy):
    sums = summary(noisy).groupby(["metric", "at"], dropna=False)["p_best"].sum()
    np.testing.assert_allclose(sums, 1)


def test_an_interval_of_ranks_is_of_ranks(noisy):
    table = summary(noisy)
    assert (table[["rank_low", "rank_high"]] % 1 == 0).all(axis=None)
    assert table["rank"].between(table["rank_low"], table["rank_high"]).all()


def test_the_rank_of_close_methods_is_as_doubtful_as_a_naive_bootstrap_says(noisy):
    values, generator = noisy["up"].values, np.random.default_rng(9)
    firsts = np.zeros(4)
    for _ in range(2000):
        firsts[values[:, generator.integers(40, size=40)].mean(1).argmax()] += 1
    ours = summary(noisy).query("metric == 'up'")["p_best"].to_numpy()
    np.testing.assert_allclose(ours, firsts / 2000, atol=0.05)


# ---- compare


def test_a_method_that_always_wins_has_effect_1_and_one_that_always_loses_minus_1(ordered):
    for metric in ("up", "down"):
        table = compare(ordered, metric, baseline="good")
        assert row(table, "best", metric)["effect"] == 1
        assert row(table, "best", metric)["median_difference"] > 0
        assert row(table, "best", metric)["better"]
        assert row(table, "poor", metric)["effect"] == -1
        assert not row(table, "poor", metric)["better"]


def test_the_baseline_itself_has_no_row(ordered):
    table = compare(ordered)
    assert set(table["attribution"]) == {"best", "good", "poor"}
    assert set(table["baseline"]) == {"random"}


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_p_is_scipys_wilcoxon_of_the_paired_differences(noisy, alternative):
    table = compare(noisy, alternative=alternative)
    for metric, sign in (("up", 1), ("down", -1)):
        d = sign * (noisy[metric][1] - noisy[metric][3]).values
        expected = stats.wilcoxon(d, zero_method="zsplit", alternative=alternative).pvalue
        found = row(table, "good", metric)
        assert found["p"] == pytest.approx(expected)
        assert found["median_difference"] == pytest.approx(np.median(d))
        assert found["pairs"] == 40


def test_greater_asks_for_better_than_the_baseline_in_either_direction(ordered):
    greater, less = (compare(ordered, alternative=a)["p"] for a in ("greater", "less"))
    assert (greater < 0.001).all()
    assert (less > 0.99).all()


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=12))
def test_the_effect_is_the_share_of_rank_sums_by_a_naive_loop(differences):
    d = np.array(differences, float)
    ranks = stats.rankdata(np.abs(d))
    plus = sum(r for r, v in zip(ranks, d) if v > 0)
    minus = sum(r for r, v in zip(ranks, d) if v < 0)
    assert signed_ranks(d).effect == pytest.approx((plus - minus) / ranks.sum())


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("pairs", [6, 50, 51, 400])
@pytest.mark.parametrize("step", [None, 0.5])  # without ties, and with many, some of them at zero
def test_signed_ranks_give_scipys_p_and_its_sums_of_ranks(alternative, pairs, step, rng):
    d = rng.normal(0.1, 1, size=pairs)
    d = d if step is None else step * np.round(d / step)
    found = signed_ranks(np.append(d, [np.nan, np.inf]))
    theirs = stats.wilcoxon(d, zero_method="zsplit", alternative=alternative)
    assert found.p(alternative) == pytest.approx(theirs.pvalue, rel=1e-12)
    assert (min(found.plus, found.minus) if alternative == "two-sided" else found.plus) == theirs.statistic


def test_no_difference_is_effect_0_and_p_1():
    found = row(compare(dataset(["same", "random"], up=(np.ones((2, 20)), True))), "same")
    assert (found["effect"], found["p"], found["median_difference"], found["better"]) == (0, 1, 0, False)


def test_only_examples_with_both_scores_are_pairs(noisy):
    values = noisy["up"].values.copy()
    values[0, :5], values[3, 3:9] = np.nan, np.nan
    found = row(compare(dataset(up=(values, True))), "best")
    d = values[0, 9:] - values[3, 9:]
    assert found["pairs"] == 31
    assert found["p"] == pytest.approx(stats.wilcoxon(d, zero_method="zsplit").pvalue)
    assert found["effect"] == pytest.approx(signed_ranks(d).effect)


def test_fewer_than_6_pairs_have_no_p_and_do_not_count_in_the_correction(ordered):
    values = ordered["up"].values.copy()
    values[0, 5:], values[1] = np.nan, np.nan
    table = compare(dataset(up=(values, True)), alternative="greater")
    five, none, all_pairs = (row(table, name) for name in ("best", "good", "poor"))
    assert (five["effect"], five["pairs"], five["better"]) == (1, 5, False)
    assert math.isnan(five["p"])
    assert math.isnan(five["p_corrected"])
    assert none["pairs"] == 0
    assert math.isnan(none["effect"])
    assert all_pairs["p_corrected"] == all_pairs["p"]


def test_five_pairs_can_not_be_significant_and_six_can(ordered):
    """Why 6 is the least."""
    assert compare(ordered.isel(example=slice(5)))["p"].isna().all()
    assert (compare(ordered.isel(example=slice(6)))["p"] < 0.05).all()
    assert stats.wilcoxon(np.arange(1.0, 6)).pvalue > 0.05
    assert stats.wilcoxon(np.arange(1.0, 7)).pvalue < 0.05


def test_p_is_corrected_over_all_methods_metrics_and_sizes_of_the_call(noisy):
    table = compare(noisy)
    assert len(table) == 3 * 4
    np.testing.assert_allclose(table["p_corrected"], holm_by_hand(table["p"]))
    alone = compare(noisy, "up")
    np.testing.assert_allclose(alone["p_corrected"], holm_by_hand(alone["p"]))
    two = compare(noisy, ["up", "down"], correction="bh")
    np.testing.assert_allclose(two["p_corrected"], stats.false_discovery_control(two["p"]))


def holm_by_hand(p):
    ordered = sorted(p)
    return [min(1, max((len(p) - i) * q for i, q in enumerate(ordered) if q <= one)) for one in p]


@pytest.mark.parametrize(("ours", "theirs"), [("holm", "holm"), ("bh", "fdr_bh")])
def test_corrections_are_those_of_statsmodels(ours, theirs, rng):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for size in (1, 2, 7, 30):
        p = np.round(rng.uniform(size=size) ** 3, 2)  # with ties
        np.testing.assert_allclose(corrected(p, ours), multitest.multipletests(p, method=theirs)[1])


def test_nothing_to_correct_is_no_obstacle():
    for correction in ("holm", "bh"):
        assert np.isnan(corrected(np.array([np.nan, np.nan]), correction)).all()
        assert len(corrected(np.array([]), correction)) == 0


def test_better_needs_both_significance_and_the_right_side(ordered):
    table = compare(with_random_best(ordered), correction="bh")
    assert (table["p_corrected"] < 0.05).all()
    assert not table["better"].any()
    table = compare(ordered)
    assert table["better"].all()
    assert not compare(ordered, alpha=(table["p"][0] + table["p_corrected"][0]) / 2)["better"].any()


def with_random_best(data):
    return data.map(lambda scores: -scores, keep_attrs=True)


# ---- ties with the best


def test_a_close_second_is_tied_and_a_far_last_is_not(rng):
    base = rng.normal(size=50)
    values = [base + 0.02 + rng.normal(size=50) * 0.5, base + rng.normal(size=50) * 0.5, base - 3]
    for data in (dataset("abc", up=(values, True)), dataset("abc", up=(np.negative(values), False))):
        table = tie_with_best(data)
        assert table["best"].sum() == 1
        assert table["tied_with_best"].tolist() == [True, True, False]


def test_ties_are_wilcoxon_and_holm_against_the_best(noisy):
    table = tie_with_best(noisy, metric="up")
    values = noisy["up"].values
    best = values.mean(1).argmax()
    others = [i for i in range(4) if i != best]
    p = [stats.wilcoxon(values[i] - values[best], zero_method="zsplit").pvalue for i in others]
    np.testing.assert_allclose(table["p_corrected"].to_numpy()[others], holm_by_hand(p))
    assert math.isnan(table["p_corrected"][best])


def test_too_few_examples_tell_no_method_from_the_best(ordered):
    table = tie_with_best(ordered.isel(example=slice(5)))
    assert table["tied_with_best"].all()


def test_one_method_is_the_best_and_without_scores_none_is():
    assert tie_with_best(dataset(["a"], up=(np.ones((1, 3)), True)))["tied_with_best"].tolist() == [True]
    nothing = tie_with_best(dataset(["a", "b"], up=(np.full((2, 3), np.nan), True)))
    assert not nothing[["best", "tied_with_best"]].any(axis=None)


# ---- too few examples to tell


@pytest.mark.parametrize("correction", ["holm", "bh"])
@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
@pytest.mark.parametrize("examples", range(1, 11))
def test_what_is_undecided_is_what_even_the_clearest_result_could_not_show(examples, alternative, correction, ordered):
    few = ordered.isel(example=slice(examples))
    table = compare(few, correction=correction, alternative=alternative)
    assert table["undecided"].tolist() == (~table["better"]).tolist()
    assert table["undecided"].all() or not table["undecided"].any()


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("examples", range(1, 11))
def test_a_tie_that_is_undecided_is_one_that_even_the_clearest_result_would_be(examples, confidence, ordered):
    few = ordered.isel(example=slice(examples))
    table = tie_with_best(few, confidence)
    others = table[~table["best"]]
    assert others["undecided"].tolist() == others["tied_with_best"].tolist()
    assert (table["undecided"] == others["undecided"].iloc[0]).all()  # also of the best itself
    pd.testing.assert_series_equal(summary(few, confidence, n_resamples=10)["undecided"], table["undecided"])


@pytest.mark.parametrize("examples", range(1, 8))
def test_whether_there_are_too_few_examples_does_not_depend_on_the_scores(examples, ordered, noisy):
    ours, others = (
        tie_with_best(data.isel(example=slice(examples)), metric="up")["undecided"].tolist()
        for data in (ordered, noisy)
    )
    assert ours == others == [examples < 7] * 4  # three tests: 3 * 2 / 2^6 is not below 0.05


def test_five_examples_of_one_method_are_too_few_and_twenty_of_another_are_not(ordered):
    values = ordered["up"].values.copy()
    values[0] += 100  # so that it has the best mean, whichever examples the others are scored on
    values[1, 5:] = np.nan
    ties, against = tie_with_best(dataset(up=(values, True))), compare(dataset(up=(values, True)))
    assert ties["undecided"].tolist() == [False, True, False, False]
    assert ties["tied_with_best"].tolist() == [True, True, False, False]
    assert against["undecided"].tolist() == [False, True, False]


def test_equal_scores_on_many_examples_are_a_tie_and_not_undecided():
    ties = tie_with_best(dataset(["a", "b"], up=(np.ones((2, 20)), True)))
    assert ties["tied_with_best"].all()
    assert not ties["undecided"].any()
    assert not tie_with_best(dataset(["a"], up=(np.ones((1, 3)), True)))["undecided"].any()


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_the_least_p_is_scipys_of_the_clearest_outcome(alternative):
    sign = -1 if alternative == "less" else 1
    for n in range(6, 20):
        p = stats.wilcoxon(sign * np.arange(1.0, n + 1), alternative=alternative).pvalue
        assert statistics.least_p(n, alternative) == pytest.approx(p)
    assert np.isnan(statistics.least_p(5, alternative))


def test_the_number_of_pairs_needed_is_the_least_that_is_not_undecided():
    for tests in (1, 2, 3, 6, 40):
        enough = statistics.pairs_needed(tests, 0.05)
        for n, expected in ((enough - 1, True), (enough, False)):
            least = np.full(tests, statistics.least_p(n, "two-sided"))
            assert statistics.undecided(np.full(tests, 0.5), least, "holm", 0.05).tolist() == [expected] * tests


# ---- ranks and agreement


def test_mean_ranks_are_the_mean_of_each_examples_ranks(noisy):
    for metric, sign in (("up", -1), ("down", 1)):
        values = sign * noisy[metric].values
        expected = np.mean([stats.rankdata(example) for example in values.T], 0)
        np.testing.assert_allclose(mean_ranks(noisy, metric)["rank"], expected)


def test_metrics_with_the_same_ranking_agree_fully_whatever_their_directions(ordered):
    (found,) = agreement(ordered).to_dict("records")
    assert (found["metric"], found["other"], found["examples"]) == ("up", "down", 20)
    assert found["correlation"] == pytest.approx(1)


def test_metrics_with_opposite_rankings_disagree_fully(ordered):
    up = ordered["up"].values
    assert agreement(dataset(up=(up, True), other=(-up, True)))["correlation"][0] == pytest.approx(-1)


def test_agreement_is_the_fisher_mean_of_scipys_spearman_per_example(noisy):
    table = agreement(noisy)
    assert len(table) == 6  # pairs of up, down, sized at 2, sized at 5
    found = table[(table["metric"] == "up") & (table["other"] == "down")].iloc[0]
    r = [stats.spearmanr(a, -b)[0] for a, b in zip(noisy["up"].values.T, noisy["down"].values.T)]
    inside = 1 - 6 / (4**3 - 4)
    assert found["correlation"] == pytest.approx(math.tanh(np.mean(np.arctanh(inside * np.array(r)))) / inside)
    assert table["other_at"].dropna().tolist().count(5) == 3


def test_an_example_without_a_score_counts_with_the_methods_that_are_left(rng):
    one, other = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    one[0, 0] = np.nan  # four methods left
    one[:3, 1] = np.nan  # two left: none
    other[:, 2] = 7.0  # no ranking
    found = agreement(dataset("abcde", up=(one, True), other=(other, True))).iloc[0]
    assert found["examples"] == 1
    assert found["correlation"] == pytest.approx(stats.spearmanr(one[1:, 0], other[1:, 0])[0])


def test_agreement_in_blocks_of_examples_is_that_of_all_at_once(noisy, monkeypatch):
    noisy["up"][0, :9] = np.nan
    whole = agreement(noisy)
    monkeypatch.setattr(comparison, "BLOCK", 7)
    pd.testing.assert_frame_equal(agreement(noisy), whole, rtol=1e-12)


@given(st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.nan]), min_size=5, max_size=5), max_size=6))
def test_a_lead_is_twice_the_centred_rank(examples):
    values = np.array(examples, float).reshape(-1, 5).T
    ranks = stats.rankdata(values, axis=0, nan_policy="omit")
    centred = 2 * ranks - (np.isfinite(values).sum(0) + 1)
    with pytest.MonkeyPatch.context() as patched:  # parts of four examples, so that six take two
        patched.setattr(statistics, "IN_CACHE", 4)
        np.testing.assert_array_equal(leads(values, np.zeros(values.shape)), np.nan_to_num(centred))


def test_correlations_are_over_the_methods_that_both_score(rng):
    one, other = rng.integers(5, size=(2, 6, 200)).astype(float)
    one[rng.random(one.shape) < 0.2] = np.nan
    other[rng.random(one.shape) < 0.1] = np.nan
    no_rounding = np.zeros(one.shape)
    found = Ranked(one, no_rounding).spearman(Ranked(other, no_rounding))
    for k, (a, b) in enumerate(zip(one.T, other.T)):
        both = np.isfinite(a) & np.isfinite(b)
        known = both.sum() >= 3 and np.ptp(a[both]) and np.ptp(b[both])
        expected = stats.spearmanr(a[both], b[both])[0] if known else np.nan
        np.testing.assert_allclose(found[k], expected, atol=1e-12)


def test_the_fisher_mean_of_one_value_is_the_value_and_stays_within_1():
    for r in (-1.0, -0.3, 0.0, 0.8, 1.0):
        assert fisher_mean(np.array([r]), 5) == pytest.approx(r)
    assert 0 < fisher_mean(np.array([1.0, 1.0, -1.0]), 5) < 1
    assert fisher_mean(np.array([1.0, -1.0]), 5) == pytest.approx(0)
    assert math.isnan(fisher_mean(np.array([]), 5))


def test_the_factor_for_perfect_correlation_is_half_a_step_of_spearmans():
    reachable = sorted({round(stats.spearmanr(range(5), p)[0], 9) for p in itertools.permutations(range(5))})
    assert (reachable[-1] + reachable[-2]) / 2 == pytest.approx(1 - 6 / (5**3 - 5))


def test_the_same_ranking_on_every_example_has_alpha_1_and_chance_has_0(ordered, rng):
    assert ranking_consistency(ordered)["alpha"].tolist() == [1, 1]
    chance = ranking_consistency(dataset(up=(rng.normal(size=(4, 3000)), True)))
    assert chance["alpha"][0] == pytest.approx(0, abs=0.01)
    assert chance[["methods", "examples"]].iloc[0].tolist() == [4, 3000]


@pytest.mark.parametrize(("methods", "examples"), [(2, 2), (3, 10), (6, 5), (10, 40)])
def test_alpha_is_that_of_the_krippendorff_package(methods, examples, rng):
    krippendorff = pytest.importorskip("krippendorff")
    for values in (rng.normal(size=(methods, examples)), rng.integers(0, 3, (methods, examples))):
        ranks = stats.rankdata(values + np.arange(methods)[:, None], axis=0)
        expected = krippendorff.alpha(reliability_data=ranks.T, level_of_measurement="ordinal")
        assert krippendorff_alpha(ranks) == pytest.approx(expected, abs=1e-12)


def test_alpha_is_over_complete_examples_and_methods_with_scores(ordered):
    values = ordered["up"].values.copy()
    values[1, :4] = np.nan
    values[2] = np.nan
    found = ranking_consistency(dataset(up=(values, True))).iloc[0]
    assert (found["methods"], found["examples"], found["alpha"]) == (3, 16, 1)


def test_alpha_is_undefined_for_one_example_one_method_and_no_ranking():
    assert math.isnan(krippendorff_alpha(np.array([[1.0], [2.0]])))
    assert math.isnan(krippendorff_alpha(np.array([[1.0, 1.0]])))
    assert math.isnan(krippendorff_alpha(np.full((3, 4), 2.0)))


# ---- reliability


def test_reliability_finds_the_share_of_noise_that_was_put_in(rng):
    """Signal of variance 1, noise of variance 1 in a half, so 0.5 in the mean of both: a third."""
    halves = rng.normal(size=(1, 20_000, 1)) + rng.normal(size=(1, 20_000, 2))
    found = reliability(halves).iloc[0]
    assert found["noise"] == pytest.approx(0.5, abs=0.02)
    assert found["total"] == pytest.approx(1.5, abs=0.05)
    assert found["share"] == pytest.approx(1 / 3, abs=0.02)


def test_equal_halves_have_no_noise_and_halves_without_signal_nothing_else(rng):
    signal, noise = np.repeat(rng.normal(size=(1, 50, 1)), 2, -1), rng.normal(size=(1, 50, 2))
    assert reliability(signal)["share"][0] == 0
    assert 0.6 < reliability(noise)["share"][0] <= 1
    opposite = np.stack([noise[..., 0], -noise[..., 0] + 1e-3 * noise[..., 1]], -1)
    assert reliability(opposite)["share"][0] == 1


def test_reliability_leaves_out_examples_without_both_halves(rng):
    halves = rng.normal(size=(2, 30, 2))
    halves[0, :3, 0], halves[0, 3, 1] = np.nan, np.inf
    halves[1, 1:] = np.nan
    first, second = reliability(halves).to_dict("records")
    assert first["examples"] == 26
    assert first["share"] == pytest.approx(reliability(halves[:1, 4:])["share"][0])
    assert second["examples"] == 1
    assert math.isnan(second["noise"])
    assert math.isnan(second["share"])


@pytest.mark.filterwarnings("error")
def test_a_constant_score_has_no_reliability():
    assert math.isnan(reliability(np.ones((1, 9, 2)))["share"][0])


def test_reliability_takes_named_dims_in_any_order_and_a_dataset_with_halves(rng):
    values = rng.normal(size=(2, 30, 2, 3))
    array = xr.DataArray(values, dims=["attribution", "example", "half", "n"], coords={"attribution": ["a", "b"]})
    expected = [reliability(values[..., k])["share"].tolist() for k in range(3)]
    found = reliability(array.transpose("n", "half", "example", "attribution"))
    assert found["attribution"].tolist() == ["a", "b"] * 3
    assert found["at"].tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(found["share"], np.ravel(expected))
    data = xr.Dataset({"score:halves": array.assign_attrs(halves_of="score"), "score": array.mean("half")})
    assert set(reliability(data)["metric"]) == {"score"}
    np.testing.assert_allclose(reliability(data)["share"], found["share"])


def test_the_draws_share_is_that_of_the_squared_standard_errors_in_the_variance(rng):
    """Scores of variance 1 + 0.25, of which 0.25 is noise of the draws with this standard error."""
    axes = ("attribution", "example")
    values = rng.normal(size=(1, 20_000)) + 0.5 * rng.normal(size=(1, 20_000))
    data = xr.Dataset(
        {
            "s": (axes, values, {"higher_is_better": True}),
            "s stderr": (axes, np.full_like(values, 0.5), {"stderr_of": "s"}),
            "quiet": (axes, values, {"higher_is_better": True}),
        },
        {"attribution": ["a"], "example": range(20_000)},
    )
    assert reliability(data)["share"].tolist() == [pytest.approx(0.2, abs=0.01)]
    found = summary(data, n_resamples=10).set_index("metric")["share_of_draws"]
    assert found["s"] == reliability(data)["share"][0]
    assert math.isnan(found["quiet"])


# ---- the dataset


def test_an_axis_with_a_metrics_name_is_labelled_without_it(noisy):
    labels = [score.label for score in scores(noisy.rename({"n": "n (sized)"}))]
    assert labels == ["up", "down", "sized (n=2)", "sized (n=5)"]


def test_halves_and_messages_are_not_scores(ordered):
    data = ordered.assign(
        {"up:halves": (("attribution", "example", "half"), np.zeros((4, 20, 2)), {"halves_of": "up"})}
    )
    assert {score.metric for score in scores(data)} == {"up", "down"}


def test_the_order_of_dims_does_not_matter(noisy):
    pd.testing.assert_frame_equal(summary(noisy.transpose()), summary(noisy))


def test_scores_of_other_dtypes_are_compared_as_floats(ordered):
    whole = ordered.map(np.round, keep_attrs=True)
    pd.testing.assert_frame_equal(compare(whole.astype("int32")), compare(whole))


def test_an_unknown_name_is_an_error_that_lists_the_known_ones(noisy):
    with pytest.raises(ValueError, match=r"`metric` must be one of 'up', 'down', 'sized', got 'curve'"):
        compare(noisy, "curve")
    with pytest.raises(ValueError, match=r"`metric` .* got 'left'"):
        summary(noisy, metric=["up", "left"])
    with pytest.raises(
        ValueError, match=r"`baseline` must be one of the methods 'best'.*got 'Random'.*random_attribution"
    ):
        compare(noisy, baseline="Random")
    with pytest.raises(ValueError, match=r"`correction` must be one of 'holm', 'bh', got 'bonferroni'"):
        compare(noisy, correction="bonferroni")
    with pytest.raises(ValueError, match=r"`alternative` must be one of 'two-sided', 'greater', 'less', got 'better'"):
        compare(noisy, alternative="better")


@pytest.mark.parametrize("value", [0, 1, 95, -0.1, float("nan"), "high", None, True])
def test_a_confidence_or_level_outside_0_to_1_is_an_error(noisy, value):
    error = ValueError if isinstance(value, (int, float)) and value is not True else TypeError
    with pytest.raises(error, match="`confidence` must be a number between 0 and 1, neither included, got"):
        summary(noisy, confidence=value)
    with pytest.raises(error, match="`confidence`"):
        tie_with_best(noisy, confidence=value)
    with pytest.raises(error, match="`alpha`"):
        compare(noisy, alpha=value)


def test_no_resamples_are_an_error(noisy):
    with pytest.raises(ValueError, match="`n_resamples` must be at least 1, got 0"):
        summary(noisy, n_resamples=0)
    with pytest.raises(TypeError, match=r"`n_resamples` must be an integer, got float 10\.0"):
        summary(noisy, n_resamples=10.0)


def test_an_empty_choice_of_metrics_is_an_error(noisy):
    for table in (summary, compare, tie_with_best, mean_ranks):
        with pytest.raises(ValueError, match=r"`metric` must name at least one metric, got \[\]"):
            table(noisy, metric=[])


def test_what_is_not_a_dataset_of_scores_is_an_error(noisy):
    with pytest.raises(TypeError, match=r"`dataset` must be an xarray.Dataset, such as `Evaluation.dataset`, got dict"):
        summary({})
    with pytest.raises(ValueError, match="must have the coordinates `attribution` and `example`"):
        summary(noisy.rename(attribution="method"))
    with pytest.raises(ValueError, match="neither of them empty"):
        summary(noisy.isel(example=slice(0)))
    with pytest.raises(ValueError, match=r"no metric with a direction.*Curves have none"):
        summary(noisy[["curve"]])


def test_a_score_with_two_axes_is_a_score_at_each_place(noisy):
    two = xr.concat([noisy["up"] + i for i in range(6)], "at").data.reshape(2, 3, *noisy["up"].shape)
    dims = ("order", "n", *noisy["up"].dims)
    coords = {**noisy["up"].coords, "order": ["morf", "lerf"], "n": [1, 2, 4]}
    table = summary(xr.Dataset({"up": (dims, two, noisy["up"].attrs)}, coords))
    assert list(dict.fromkeys(zip(table["axis"], table["at"]))) == [
        (f"order={order}, n", n) for order in ("morf", "lerf") for n in (1, 2, 4)
    ]
    last = table[(table["axis"] == "order=lerf, n") & (table["at"] == 4)]
    once = summary(noisy[["up"]])
    np.testing.assert_allclose(last["mean"].to_numpy(), once["mean"].to_numpy() + 5)
    assert label("up", "order=lerf, n", 4.0) == "up (order=lerf, n=4)"


def test_agreement_needs_three_methods(noisy):
    with pytest.raises(ValueError, match="needs at least 3, got 2"):
        agreement(noisy.isel(attribution=slice(2)))


def test_halves_of_another_shape_are_an_error(noisy, rng):
    with pytest.raises(ValueError, match=r"`results` must have shape \(methods, examples, 2\), got \(3, 4\)"):
        reliability(rng.normal(size=(3, 4)))
    with pytest.raises(ValueError, match=r"`results` must have the dims attribution, example, half, two of half; got"):
        reliability(rng.normal(size=(3, 4, 3)))
    with pytest.raises(ValueError, match="`results` must have standard errors"):
        reliability(noisy)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("examples", [1, 2, 7])
def test_few_examples_and_gaps_give_tables_without_warnings(examples, rng):
    values = rng.normal(size=(4, examples, 2))
    values[1, 0] = np.nan
    values[2] = np.nan
    data = dataset(up=(values[..., 0], True), down=(values[..., 1], False), sized=(values, True))
    for table in (summary(data), compare(data), tie_with_best(data), mean_ranks(data), agreement(data)):
        assert len(table)
    assert len(ranking_consistency(data)) == 4
