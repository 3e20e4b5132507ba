"""From the scores of a pilot run: the draws, points and examples that a wanted certainty takes."""

from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from captum.attr import InputXGradient, Saliency
from scipy import stats
from torch import nn

from captum_ext import Evaluation, evaluate, metrics, random_attribution
from captum_ext.evaluation.advice import Replays, best_draws, examples_for, variances
from captum_ext.evaluation.certainty import fewest
from captum_ext.evaluation.decisions import Decisions
from captum_ext.evaluation.verdict import opened

METHODS = ("good", "near", "random")
RNG = np.random.default_rng(5)
BEGUN = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def draws_that_depend_on_no_other_test():
    RNG.bit_generator.state = BEGUN


def dataset_of(values, stderr=None, arguments=None, methods=METHODS, direction=True, part=" stderr"):
    """Scores `[methods, examples]` of a metric "score", as `evaluate` stores them."""
    dims = ("attribution", "example")
    about = {"higher_is_better": direction, "arguments": json.dumps(arguments or {})}
    coords = {"attribution": list(methods)[: len(values)], "example": np.arange(values.shape[1])}
    dataset = xr.Dataset({"score": (dims, values, about)}, coords)
    if stderr is not None:
        of = {" stderr": "stderr_of", ":halves": "halves_of"}[part]
        dataset[f"score{part}"] = (*dims, "half")[: stderr.ndim], stderr, {of: "score"}
    return dataset


def drawn(within, between, draws=50, examples=4000, methods=1):
    """Scores whose variances are known."""
    stderr = np.full((methods, examples), math.sqrt(within / draws))
    values = RNG.normal(0, math.sqrt(between), stderr.shape) + RNG.normal(0, stderr)
    return dataset_of(values, stderr, {"n_perturb_samples": draws})


def row(dataset, half_width=None, **options):
    """The only row of the advice, by default without a decision; None for what is missing among counts."""
    options = {"least_draws": 1, "half_width": half_width or 1.0} | options
    (found,) = Evaluation(dataset).advice(**options).to_dict("records")
    return {name: None if value is pd.NA else value for name, value in found.items()}


def numbers(found):
    """Of a row, in place of which a missing one is nan."""
    return {k: math.nan if v is None else v for k, v in found.items() if not isinstance(v, str)}


def spread(methods=3, examples=40):
    return np.arange(methods)[:, None] * 0.1 + RNG.normal(size=(methods, examples))


# ---- draws


@pytest.mark.parametrize(("other", "unit"), [(10, 1), (31, 1), (200, 4), (3, 2)])
@pytest.mark.parametrize("ratio", [1.0, 20.0, 300.0])
def test_the_best_draws_are_the_closed_form_and_the_cheapest_of_all(other, unit, ratio):
    found = best_draws(np.array([ratio * 0.1]), np.array([0.1]), other, unit)
    assert abs(found - math.sqrt(other / unit * ratio)) <= 1
    rows = {n: (0.1 + ratio * 0.1 / n) * (other + unit * n) for n in range(1, 2000)}
    assert found == min(rows, key=rows.get)


def test_variances_that_are_known_are_found():
    dataset = drawn(within=4.0, between=0.2)
    found = row(dataset, 0.01, other_rows=20)
    assert abs(found["best_draws"] / math.sqrt(20 * 4 / 0.2) - 1) < 0.1
    z, n = stats.norm.ppf(0.975), found["best_draws"]
    assert abs(found["examples"] / ((z / 0.01) ** 2 * (0.2 + 4 / 50)) - 1) < 0.1
    assert abs(found["best_examples"] / ((z / 0.01) ** 2 * (0.2 + 4 / n)) - 1) < 0.1
    assert abs(found["share_of_draws"] - 4 / 50 / (0.2 + 4 / 50)) < 0.05
    assert (found["example_rows"], found["best_example_rows"]) == (70, 20 + n)
    assert found["times_fewer"] == pytest.approx(found["rows"] / found["best_rows"], rel=1e-3)


def test_as_many_examples_as_are_advised_give_an_interval_of_that_width():
    dataset = drawn(within=1.0, between=0.3)
    found = row(dataset, 0.1)
    means = RNG.choice(dataset["score"].values[0], (4000, found["examples"])).mean(1)
    assert abs(np.mean(np.abs(means - dataset["score"].values.mean()) < 0.1) - 0.95) < 0.02


def test_an_explanation_that_costs_more_takes_more_draws():
    dataset = drawn(within=4.0, between=0.2)
    cheap, costly = (row(dataset, other_rows=rows)["best_draws"] for rows in (10, 40))
    assert abs(costly / cheap - 2) < 0.1
    assert row(dataset)["best_draws"] == row(dataset, other_rows=1 + 3)["best_draws"]
    assert row(dataset, other_rows=40, unit_rows={"score": 4})["best_draws"] == cheap
    assert row(dataset, other_rows=10, least_draws=77)["best_draws"] == 77


@pytest.mark.parametrize(("n_eff", "least"), [(2.5, 96), (60.0, 7), (math.inf, 7), (math.nan, 7)])
def test_enough_draws_carry_the_variance(n_eff, least):
    dataset = dataset_of(spread(), np.full((3, 40), 0.01), {"n_perturb_samples": 20})
    dataset["score n_eff"] = dataset["score"].dims, np.full((3, 40), n_eff), {"n_eff_of": "score"}
    assert row(dataset, other_rows=1, least_draws=7)["best_draws"] == least


def test_methods_share_the_draws_and_the_least_certain_decides():
    values, stderr = np.tile(RNG.normal(size=1000), (3, 1)), np.full((3, 1000), 0.5)
    stderr[1] = 0.1
    three = dataset_of(values * np.array([[1], [1], [0.2]]), stderr, {"n_perturb_samples": 10})
    first = dataset_of(values[:1], stderr[:1], {"n_perturb_samples": 10})
    of_three, of_first = (row(dataset, 0.1, other_rows=9) for dataset in (three, first))
    for name in ("best_draws", "examples", "best_examples"):
        assert of_three[name] == of_first[name]
    assert row(three)["share_of_draws"] > row(first)["share_of_draws"]  # that of the third


def test_scale_and_direction_do_not_matter():
    one = drawn(within=2.0, between=0.1, examples=50)
    times = one.copy(deep=True)
    for name in one.data_vars:
        times[name] = one[name] * (-7 if name == "score" else 7)
        times[name].attrs = one[name].attrs | ({"higher_is_better": False} if name == "score" else {})
    assert numbers(row(one, 0.1) | {"half_width": 0.7}) == pytest.approx(numbers(row(times, 0.7)), nan_ok=True)


def test_half_the_width_takes_four_times_the_examples():
    dataset = drawn(within=2.0, between=0.1)
    assert abs(row(dataset, 0.001)["examples"] / row(dataset, 0.002)["examples"] - 4) < 1e-3
    assert row(dataset, 0.001, confidence=0.99)["examples"] > row(dataset, 0.001)["examples"]
    assert row(dataset, {"score": 0.001})["examples"] == row(dataset, 0.001)["examples"]
    assert row(dataset, 1e6)["examples"] == 3
    assert math.isnan(examples_for(1.0, math.nan))


def test_more_noise_than_differences_leaves_a_small_share_between_examples():
    values = RNG.normal(size=(1, 30))
    within, between = variances(values, np.full_like(values, 5.0), 10)
    assert within == [50]
    assert between == pytest.approx([0.05 * values.var(ddof=1)])


def test_draws_without_noise_stay_as_they_are():
    found = row(dataset_of(spread(), np.zeros((3, 40)), {"n_perturb_samples": 30}))
    assert (found["draws"], found["best_draws"], found["times_fewer"], found["share_of_draws"]) == (30, 30, 1, 0)


def test_scores_that_are_missing_are_left_out():
    values, stderr = spread(1, 40), np.full((1, 40), 0.3)
    gaps = [np.insert(v, [3, 7], np.nan, axis=1) for v in (values, stderr)]
    about = {"n_perturb_samples": 20}
    with_gaps, without = row(dataset_of(*gaps, about)), row(dataset_of(values, stderr, about))
    assert numbers(with_gaps) == pytest.approx(numbers(without), nan_ok=True)
    values[0, 4:] = np.nan
    found = row(dataset_of(values, stderr, about))
    assert math.isnan(found["times_fewer"])
    assert "too few scores" in found["advice"]


def test_a_draw_of_several_sizes_takes_a_row_for_each():
    dims = ("attribution", "example", "n")
    values, about = RNG.normal(size=(3, 40, 2)), {"higher_is_better": True, "arguments": '{"n_perturb_samples": 30}'}
    dataset = xr.Dataset(coords={"attribution": list(METHODS), "example": np.arange(40), "n": [1, 5]})
    dataset["score"] = dims, values, about
    dataset["score stderr"] = dims, np.full(values.shape, 0.4), {"stderr_of": "score"}
    table = Evaluation(dataset).advice({"score (n=5)": 0.2}, other_rows=10)
    assert table["example_rows"].tolist() == [70, 70]
    assert table["unit_rows"].tolist() == [2, 2]
    assert table["at"].tolist() == [1, 5]
    assert table["examples"].isna().tolist() == [True, False]
    assert table["advice"][1].startswith("score (n=5): ")


# ---- other metrics


def test_a_metric_without_draws_has_only_examples():
    values = spread()
    found = row(dataset_of(values), 0.2)
    assert found["examples"] == math.ceil((stats.norm.ppf(0.975) / 0.2) ** 2 * values.var(1, ddof=1).max())
    assert found["best_examples"] == found["examples"]
    assert found["draws"] is found["best_draws"] is found["points"]
    assert found["advice"] == f"score: a mean ± 0.2 takes {found['examples']} examples."


def test_a_maximum_has_no_best_number_of_draws():
    halves = RNG.normal(size=(3, 40, 2))
    found = row(dataset_of(halves.max(-1), halves, {"n_perturb_samples": 10}, part=":halves"))
    assert (found["draws"], found["best_draws"], found["times_fewer"]) == (10, None, 1)
    assert "the largest of some draws has no best number of draws" in found["advice"]


@pytest.mark.parametrize(("points", "best"), [(33, 13), (100, 13), (13, 13), (9, 9)])
def test_an_area_takes_thirteen_points_or_what_it_had(points, best):
    area = {"n_steps": points, "start": 0.0, "stop": 1.0}
    found = row(dataset_of(spread(), arguments=area), other_rows=20)
    assert (found["points"], found["best_points"]) == (points, best)
    assert found["times_fewer"] == pytest.approx((20 + 3 * points) / (20 + 3 * best))
    assert row(dataset_of(spread(), arguments=area), other_rows=0, unit_rows={"score": 6})["example_rows"] == 6 * points


def test_points_that_are_the_resolution_of_a_score_stay():
    assert row(dataset_of(spread(), arguments={"n_steps": 33, "tolerance": 0.1}))["best_points"] == 33


def test_groups_count_as_examples():
    values, stderr = spread(3, 20), np.full((3, 20), 0.5)
    about = {"n_perturb_samples": 10}
    plain = row(dataset_of(values, stderr, about), 0.1, until="control")
    grouped = dataset_of(values.repeat(2, 1), stderr.repeat(2, 1) * math.sqrt(2), about)
    found = row(grouped.assign_coords(group=("example", np.arange(20).repeat(2))), 0.1, until="control")
    for name in ("examples", "best_draws", "decided_after"):
        assert found[name] == plain[name]
    assert found["example_rows"] == 2 * plain["example_rows"]


# ---- decisions


def dataset_to_decide(examples=25):
    good, bad = 1 + 0.3 * RNG.normal(size=examples), 0.3 * RNG.normal(size=(2, examples))
    return dataset_of(np.stack([good, good - 0.01, *bad]), methods=("good", "near", "bad", "random"))


def assert_replays_stop_as_the_rule_does(dataset, drawn, **options):
    """`drawn [steps, replays]` are the examples of each; returns the replays that are decided in the end."""
    decisions, arrays = opened(dataset, **options)
    differences = decisions.differences(arrays)[0][0]
    replays, found = Replays(decisions, 0, drawn.shape[1]), np.zeros(drawn.shape, bool)
    for t, examples in enumerate(drawn):
        replays.add(differences[:, examples])
        found[t] = replays.decided
    for i, examples in enumerate(drawn.T):
        by_hand, done = Decisions(decisions.rule), False
        for t, example in enumerate(examples):
            by_hand.add({name: scores[:, [example]] for name, scores in arrays.items()})
            done = done or by_hand.done
            assert found[t, i] == done
    return found[-1]


@pytest.mark.parametrize(
    ("until", "within", "ends"),
    [
        ("best", 0.05, True),
        ("best", 0.0, True),
        ("best", 0.5, True),
        ("ranking", None, False),
        ("control", None, False),
    ],
)
def test_a_replay_stops_where_the_stop_rule_does(until, within, ends):
    drawn = RNG.integers(25, size=(60, 4))
    decided = assert_replays_stop_as_the_rule_does(dataset_to_decide(), drawn, until=until, within=within)
    assert decided.all() == ends


@pytest.mark.parametrize("within", [0.0, 0.05])
def test_a_replay_takes_no_method_for_the_best_that_is_in_a_contradictory_pair(within):
    """The first is better than the second until its mean falls below, and only later than the control."""
    steps = np.arange(80)
    first = np.where(steps < 30, steps % 2, 5.0)
    second = first - np.where(steps == 25, -600.0, 1.0)
    dataset = dataset_of(np.stack([first, second, np.full(80, 0.5)]))
    assert not assert_replays_stop_as_the_rule_does(dataset, steps[:, None], until="best", within=within).any()
    assert Evaluation(dataset).certainty(until="best", within=within)["contradictory"].any()


def test_differences_of_one_size_are_decided_by_the_fewest_examples():
    found = row(dataset_of(np.arange(3.0)[:, None].repeat(9, 1)), until="ranking")
    assert found["decided_after"] == fewest(math.log(3 / 0.05))
    assert f"the ranking is certain after {found['decided_after']} examples" in found["advice"]


def test_what_most_replays_leave_open_has_no_number():
    found = row(dataset_of(np.ones((3, 9))), until="best", most_examples=40)
    assert found["decided_after"] is None
    assert "the best method is not certain after 40 examples in most replays" in found["advice"]


def test_a_decision_is_asked_by_default_and_repeats():
    dataset = dataset_to_decide()
    one, two, other = (Evaluation(dataset).advice(seed=seed) for seed in (0, 0, 1))
    assert one.equals(two)
    assert abs(one["decided_after"][0] - other["decided_after"][0]) <= 3
    assert "examples" not in one
    assert "decided_after" not in Evaluation(dataset).advice(half_width=0.1)


def test_the_replay_says_when_a_run_stops():
    """Of many runs on new examples, about half have stopped by then."""
    said = np.median([Evaluation(dataset_to_decide(40)).advice()["decided_after"][0] for _ in range(5)])
    stops = []
    for _ in range(40):
        decisions, arrays = opened(dataset_to_decide(80))
        decisions.add(arrays)
        stops.append(decisions.decided_at(0) or np.inf)
    assert abs(np.median(stops) - said) <= 4


# ---- a run


def test_a_pilot_run_is_advised():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    data = [(example, 0) for example in torch.randn(12, 12)]
    pilot = evaluate(
        model,
        data,
        {"ixg": InputXGradient, "saliency": Saliency, "random": random_attribution},
        {
            "deletion": metrics.deletion,
            "curve": metrics.deletion_curve,
            "sensitivity": partial(metrics.sensitivity_n, n=3),
            "largest": metrics.sensitivity_max,
        },
        stderr=True,
    )
    table = pilot.advice(half_width=0.1, other_rows=40).set_index("metric")
    assert table.index.tolist() == ["deletion", "sensitivity", "largest"]
    assert (table["draws"]["sensitivity"], table["points"]["deletion"]) == (50, 33)
    assert table["example_rows"].tolist() == [40 + 3 * 33, 40 + 50, 40 + 10]
    assert table["best_draws"]["sensitivity"] >= 20
    assert table["best_draws"].isna().tolist() == [True, False, True]
    share = pilot.summary(metric="sensitivity")["share_of_draws"].max()
    assert table["share_of_draws"]["sensitivity"] == pytest.approx(share, abs=0.01)


# ---- errors


def test_a_pilot_without_standard_errors_is_refused():
    with pytest.raises(ValueError, match=r"standard errors .*'score'.*evaluate\(\.\.\., stderr=True\)"):
        row(dataset_of(spread(), arguments={"n_perturb_samples": 10}))
    unknown = dataset_of(spread(), np.full((3, 40), np.nan), {"n_perturb_samples": 10})
    with pytest.raises(ValueError, match="standard errors"):
        row(unknown)


def test_a_metric_of_which_the_noise_is_not_known_is_said_to_be_so():
    dataset = dataset_of(spread(), np.full((3, 40), 0.1), {"n_perturb_samples": 10})
    dataset["own"] = dataset["score"]
    assert "how much its draws add is not known" in Evaluation(dataset).advice(0.1)["advice"][1]


def test_too_few_examples_are_refused():
    with pytest.raises(ValueError, match="at least 5 examples, or groups; got 4"):
        row(dataset_of(spread(3, 4)))
    of_two = dataset_of(spread(3, 8)).assign_coords(group=("example", np.arange(8) // 2))
    with pytest.raises(ValueError, match="got 4"):
        row(of_two)


def test_a_decision_needs_two_methods():
    with pytest.raises(ValueError, match="`until` needs at least two of `methods`"):
        Evaluation(dataset_of(spread(1))).advice()
