"""`evaluate(until=...)` stops where the scores decide, at the same example whoever computes and whatever is ended."""

from __future__ import annotations

import json
import os
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from captum_ext import Evaluation, evaluate, load, metrics, random_attribution
from captum_ext.__main__ import main
from captum_ext.evaluation.engines import Scorer
from captum_ext.evaluation.stop_rule import rule_from
from captum_ext.evaluation.store import ShardStore

from .runs import Killed, killed_at

N = 60
STOP = 14  # the example by which all is decided, which is also the end of a shard of two
METHODS = ("good", "near", "bad", "random")
RNG = np.random.default_rng(3)
HARD = RNG.normal(size=N)  # how hard an example is
GOOD, BAD, CHANCE = np.array([1.0, 0.3, 0.0])[:, None] + 0.2 * RNG.normal(size=(3, N))
SCORES = np.stack([GOOD, GOOD - 0.002 + 0.02 * RNG.normal(size=N), BAD, CHANCE]) + HARD


@metrics.metric(higher_is_better=True)
def score(attributions):
    return attributions.mean(1)


@metrics.metric(higher_is_better=False)
def cost(attributions):
    return -attributions.mean(1)


@metrics.metric(higher_is_better=True, axis=("size", lambda arguments: [1, 2]))
def sized(attributions):
    return torch.stack([attributions.mean(1), -attributions.mean(1)], 1)


@metrics.metric(higher_is_better=None)
def curve(attributions):
    return attributions


def undirected(attributions):
    return attributions.mean(1)


def shows(number):
    """A method whose attributions are a column of the inputs, so that its score is known beforehand."""
    return lambda model: lambda inputs, target=None: inputs[:, number : number + 1].expand(-1, 2)


def run(scores=SCORES, names=METHODS, measures=None, data=None, **options):
    """Metrics see just these scores `[methods, examples]`."""
    rows, until = torch.as_tensor(scores).T, options.get("until", "best")
    return evaluate(
        nn.Identity(),
        [(row, 0) for row in rows] if data is None else data,
        {name: shows(i) for i, name in enumerate(names)},
        {"score": score} if measures is None else measures,
        **{"batch_size": 2 if until or "path" in options else 20, **options, "until": until},
    )


def certain(scores=SCORES, names=METHODS, **options):
    """The table, by pair."""
    asked = {k: options.pop(k) for k in ("until", "alpha", "within") if k in options}
    return run(scores, names, until=None, **options).certainty(**asked).set_index(["method", "other"])


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    """Which takes most of the time of such small runs."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(scope="module")
def stopped():
    return run()


def assert_same(a, b):
    assert a.dataset.identical(b.dataset)
    for name in a.dataset.data_vars:
        assert a.dataset[name].values.tobytes() == b.dataset[name].values.tobytes()


# ---- what is decided


def test_near_ties_are_decided_within_a_share_of_the_lead_and_not_without(stopped):
    assert stopped.dataset.sizes["example"] == STOP
    assert stopped.verdict() == [
        "score: good and near are best within 5 % on a typical example, decided after 14 of 60 examples."
    ]
    strict = run(within=0.0, batch_size=20)
    assert strict.dataset.sizes["example"] == N
    assert strict.verdict() == ["score: the best method is not certain after 60 of 60 examples; 1 pair is open."]


def test_the_results_say_what_was_asked_and_decided(stopped):
    about = stopped.dataset.attrs
    assert (about["until"], about["alpha"], about["within"], about["control"]) == ("best", 0.05, 0.05, "random")
    assert (about["pairs"], about["decided_after"], about["examples_of_data"]) == (6, STOP, 60)
    assert (json.loads(about["undecided"]), json.loads(about["verdict"])) == ([], stopped.verdict())
    open_one = run(within=0.0, batch_size=20).dataset.attrs
    assert json.loads(open_one["undecided"]) == ["score"]
    assert "decided_after" not in open_one


def test_the_control_is_the_random_attribution_or_what_is_called_so():
    def control_of(methods):
        data = [(row, 0) for row in torch.randn(4, 2, generator=torch.Generator().manual_seed(0))]
        return evaluate(nn.Identity(), data, methods, {"score": score}, until="best").dataset.attrs.get("control")

    shown = {"a": shows(0), "b": shows(1)}
    assert control_of({**shown, "noise": random_attribution, "random": shows(0)}) == "noise"
    assert control_of({**shown, "noise": partial(random_attribution, seed=1)}) == "noise"
    assert control_of({**shown, "random": shows(1)}) == "random"
    assert control_of(shown) is None


def test_results_keep_their_control_for_later_questions():
    rows = [(row, 0) for row in torch.as_tensor(SCORES.T)]
    methods = {"good": shows(0), "near": shows(1), "bad": shows(2), "noise": random_attribution}
    asked, later = (
        evaluate(nn.Identity(), rows, methods, {"score": score}, until=until, batch_size=N) for until in ("best", None)
    )
    assert later.certainty().equals(asked.certainty())
    fifth = run(SCORES[3:], ("fifth",), until=None)
    assert (later.merge(fifth).certainty()["within"] > 0).any()


def test_results_are_asked_of_the_scores_that_they_still_have():
    result = run(measures={"score": score, "sized": sized}, until={"sized (size=1)": "best", "score": "control"})
    assert Evaluation(result.dataset[["score"]]).verdict() == result.verdict()[1:]
    second = Evaluation(result.dataset[["sized"]].isel(size=[1]))
    assert second.verdict()[0].startswith("sized (size=2): random is best")


def test_without_a_control_only_a_strictly_better_method_is_best():
    result = run(SCORES[[0, 2]], ("good", "bad"))
    assert result.verdict()[0].startswith("score: good is best on a typical example, decided after ")
    assert run(SCORES[:2], ("good", "near"), batch_size=20).dataset.sizes["example"] == N


def test_a_ranking_and_a_comparison_with_the_control():
    three = SCORES[[2, 0, 3]], ("bad", "good", "random")
    ranking = run(*three, until="ranking")
    assert ranking.verdict()[0].startswith("score: good > bad > random on a typical example, decided after ")
    undecided = run(until="ranking", batch_size=20).verdict()
    assert undecided == ["score: the ranking is not certain after 60 of 60 examples; 1 pair is open (good and near)."]
    control = run(until="control")
    assert control.verdict()[0].startswith("score: good, near and bad are better than random on a typical example")
    assert len(control.certainty()) == control.dataset.attrs["pairs"] == 3
    worse = run(np.stack([SCORES[3], SCORES[2]]), ("noise", "random"), until="control")
    assert worse.verdict()[0].startswith("score: noise is worse than random on a typical example, decided after ")


def test_less_is_better_where_the_metric_says_so(stopped):
    assert run(measures={"cost": cost}).verdict() == [stopped.verdict()[0].replace("score", "cost")]


def test_metrics_without_a_better_side_are_left_out(stopped):
    several = run(measures={"curve": curve, "score": score, "own": undirected})
    assert several.verdict() == stopped.verdict()
    assert several.dataset.sizes["example"] == STOP


def test_each_value_of_a_metric_counts_unless_one_is_named():
    every = run(measures={"sized": sized, "score": score})
    assert every.dataset.attrs["pairs"] == 18
    assert [s.split(":")[0] for s in every.verdict()] == ["sized (size=1)", "sized (size=2)", "score"]
    assert "random is best within 5 %" in every.verdict()[1]
    named = run(measures={"sized": sized, "score": score}, until={"sized (size=1)": "best", "score": "control"})
    assert named.dataset.attrs["pairs"] == 9
    assert [s.split(":")[0] for s in named.verdict()] == ["sized (size=1)", "score"]
    assert json.loads(named.dataset.attrs["until"]) == {"sized (size=1)": "best", "score": "control"}
    assert run(measures={"sized": sized, "score": score}, until={"sized": "best"}).dataset.attrs["pairs"] == 12
    twice = run(measures={"sized": sized}, until={"sized": "best", "sized (size=1)": "best"})
    assert twice.dataset.attrs["pairs"] == 12


def test_pairs_are_counted_over_all_metrics():
    """Twenty metrics that say the same take more examples than one."""
    many = run(measures={f"score {i}": score for i in range(20)})
    assert many.dataset.attrs["pairs"] == 120
    assert many.dataset.attrs["decided_after"] > STOP


def test_too_few_examples_are_said_to_be_so():
    (said,) = run(SCORES[:, :10]).verdict()
    assert said.endswith("pairs are open. At least 11 examples are needed.")
    (said,) = run(SCORES[:, :20], groups=np.arange(20) // 2).verdict()
    assert said.endswith("At least 11 groups are needed.")


@pytest.mark.parametrize("without", ["bad", "random"])
def test_a_method_without_scores_is_named(without):
    gaps = SCORES.copy()
    gaps[METHODS.index(without)] = np.nan
    (said,) = run(gaps, batch_size=20).verdict()
    assert said.endswith(f" No example has a score of {without}.")


def test_the_smallest_alpha_takes_finitely_many_examples():
    assert run(alpha=5e-324, batch_size=20).verdict()[0].endswith("examples are needed.")


def test_an_object_that_is_called_may_be_a_metric(stopped):
    class Score:
        def __call__(self, attributions):
            return attributions.mean(1)

    result = run(measures={"score": metrics.metric(higher_is_better=True)(Score())})
    assert result.verdict() == stopped.verdict()
    assert result.dataset["score"].attrs["metric"] == "Score"


def test_a_contradictory_pair_is_named_and_makes_no_best():
    skewed = np.where(np.arange(N) % 10 == 8, -2, 0.1)
    result = run(np.stack([skewed, np.zeros(N)]), ("typical", "mean"), batch_size=16)
    assert result.dataset.sizes["example"] == N
    assert result.verdict() == [
        "score: the best method is not certain after 60 of 60 examples; 1 pair is open. "
        "Contradictory, as the mean points the other way: typical and mean."
    ]
    (row,) = result.certainty().itertuples()
    assert (row.decided, row.contradictory) == ("better", True)
    assert row.mean_difference < 0


def test_the_table_has_a_row_for_each_comparison(stopped):
    table = stopped.certainty()
    assert len(table) == 12
    row = table.set_index(["method", "other"]).loc[("good", "random")]
    assert row["mean_difference"] == pytest.approx((SCORES[0] - SCORES[3])[:STOP].mean())
    assert (row["decided"], row["within"], row["examples"], row["left_out"]) == ("better", 0, STOP, 0)
    assert row["log_e_value"] >= row["threshold"] == pytest.approx(np.log(2 * 6 / 0.05))
    assert table["decided_at"].max() <= STOP


def test_results_without_a_rule_can_be_asked_as_well(stopped):
    """Over all examples, those pairs are decided at the same example that were decided when the run stopped."""
    before = stopped.certainty().set_index(["method", "other"])["decided_at"]
    later = certain()["decided_at"]
    assert (later[before > 0] == before[before > 0]).all()
    assert (later[before == 0] == 0).all() or (later[before == 0] > STOP).any()
    assert set(certain(until="ranking").index) == {
        ("good", "near"),
        *(("good", o) for o in ("bad", "random")),
        *(("near", o) for o in ("bad", "random")),
        ("bad", "random"),
    }
    assert certain(until="ranking", alpha=0.01)["threshold"].iloc[0] == pytest.approx(np.log(6 / 0.01))


def test_a_score_that_is_undefined_leaves_its_example_out_of_the_pair():
    gaps = SCORES.copy()
    gaps[0, [1, 5]] = np.nan
    table = certain(gaps, until="ranking")
    assert table.loc[("good", "bad"), "left_out"] == 2
    assert table.loc[("good", "bad"), "examples"] == N - 2
    assert table.loc[("bad", "random"), "left_out"] == 0
    kept = np.delete(np.arange(N), [1, 5])
    other = certain(SCORES[:, kept], until="ranking")
    assert table.loc[("good", "bad"), "log_e_value"] == other.loc[("good", "bad"), "log_e_value"]


def test_results_are_saved_with_what_was_decided(stopped, tmp_path):
    stopped.save(tmp_path / "run.h5")
    again = load(tmp_path / "run.h5")
    assert again.dataset.identical(stopped.dataset)
    assert again.certainty().equals(stopped.certainty())


def test_joined_results_say_nothing_of_what_one_of_them_decided(stopped):
    other = run(SCORES[:1], ("fifth",), until=None)
    merged = stopped.merge(Evaluation(other.dataset.isel(example=slice(STOP))))
    assert not {"until", "verdict", "pairs"} & set(merged.dataset.attrs)


def test_all_that_shows_results_says_what_was_decided(stopped, tmp_path, capsys):
    (said,) = stopped.verdict()
    assert repr(stopped).splitlines()[:2] == ["Evaluation: 4 methods on 14 of 60 examples, 1 metric", said]
    assert f"<p>{said}</p>" in stopped._repr_html_()
    stopped.save(tmp_path / "run.h5")
    assert main(["show", str(tmp_path / "run.h5")]) == 0
    assert said in capsys.readouterr().out.splitlines()
    stopped.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert f"<h1>{said}</h1>" in page
    assert "By the tests in the table: good and near lead" in page
    assert "The run stopped when the scores decided, which intervals and tests in the table do not know of." in page


@pytest.mark.parametrize("some", [{"attribution": [1, 2]}, {"example": [0, 1, 2]}], ids=str)
def test_a_part_of_the_results_does_not_show_what_all_of_them_decided(some, stopped):
    part = Evaluation(stopped.dataset.isel(some))
    assert stopped.verdict()[0] not in repr(part)
    assert "<p>score: " not in part._repr_html_()


def test_the_report_counts_what_was_decided_of_several_scores(tmp_path):
    result = run(measures={"score": score, "cost": cost}, until={"score": "best", "cost": "ranking"})
    result.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<h1>1 of 2 scores are decided after 60 of 60 examples.</h1>" in page
    assert all(f"<li>{sentence.replace('>', '&gt;')}</li>" in page for sentence in result.verdict())
    assert "The run stopped" not in page


# ---- groups and order


def test_tables_take_a_group_for_one_example(tmp_path):
    labels = np.arange(N) // 3
    result = run(until=None, groups=labels)
    means = run(SCORES.reshape(4, -1, 3).mean(-1), until=None)
    table, expected = result.summary(), means.summary()
    assert (table["examples"] == N // 3).all()
    np.testing.assert_allclose(table[["mean", "low", "high", "median"]], expected[["mean", "low", "high", "median"]])
    assert (result.compare()["pairs"] == N // 3).all()
    np.testing.assert_allclose(result.compare()["p"], means.compare()["p"])
    result.report(tmp_path / "page.html", n_examples=N)  # of single examples


def test_groups_without_a_score_are_undefined():
    gaps = SCORES.copy()
    gaps[0, :4], gaps[1, 0] = np.nan, np.nan
    table = run(gaps, until=None, groups=np.arange(N) // 4).summary().set_index("attribution")
    assert table["examples"].to_dict() == {"good": N // 4 - 1, "near": N // 4, "bad": N // 4, "random": N // 4}


@pytest.mark.parametrize("other", [None, lambda i: f"b{i}"])
def test_results_with_groups_are_joined(other):
    first = run(SCORES[:, :6], until=None, groups=lambda i: f"a{i // 2}")
    later = run(SCORES[:, :4], until=None, groups=other)
    later.dataset = later.dataset.assign_coords(example=[6, 7, 8, 9])
    merged = first.merge(later)
    assert (merged.summary()["examples"] == 3 + 4).all()


@pytest.mark.parametrize("label", [str, int])
@pytest.mark.parametrize("format", ["hdf5", "csv", "zarr"])
def test_examples_without_a_group_stay_without_when_joined_results_are_saved(label, format, tmp_path):
    grouped = run(SCORES[:, :6], until=None, groups=lambda i: label(i // 2))
    without = run(SCORES[:, :4], until=None)
    without.dataset = without.dataset.assign_coords(example=[6, 7, 8, 9])
    merged = grouped.merge(without)
    merged.save(tmp_path / "merged", format)
    again = load(tmp_path / "merged")
    assert again.dataset.identical(merged.dataset)
    assert (again.summary()["examples"] == 3 + 4).all()
    later = run(SCORES[:, :4], ("a", "b", "c", "d"), until=None, groups=lambda i: label(i % 2))
    later.dataset = later.dataset.assign_coords(example=[6, 7, 8, 9])
    assert (again.merge(later).summary()["examples"].iloc[:4] == 3).all()


def test_results_whose_groups_contradict_each_other_are_not_joined():
    ours = run(SCORES[:2], METHODS[:2], until=None, groups=lambda i: i // 2)
    with pytest.raises(ValueError, match="Both results have groups, which differ for example 2"):
        ours.merge(run(SCORES[2:], METHODS[2:], until=None, groups=lambda i: i // 3))
    with pytest.raises(TypeError, match="Both results have groups, with integers as labels in one and strings"):
        ours.merge(run(SCORES[2:], METHODS[2:], until=None, groups=lambda i: str(i // 2)))


def test_a_group_that_was_cut_stays_cut_when_results_are_joined():
    labels = [*range(STOP), *[99] * (N - STOP)]
    ours, other = run(groups=labels, batch_size=4), run(SCORES[:1], ("fifth",), until=None, groups=labels).dataset
    as_cut = ours.merge(Evaluation(other.isel(example=slice(16)))).certainty()
    assert (as_cut.loc[as_cut["other"] != "fifth", "examples"] == STOP).all()
    assert ours.merge(Evaluation(other)).certainty()["examples"].max() == STOP + 1


def test_groups_of_one_example_ask_for_nothing_more(tmp_path):
    first = run(path=tmp_path / "run.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(path=tmp_path / "run.h5", groups=range(N)).verdict() == first.verdict()


def test_copies_in_a_group_count_once():
    """Eight photographs by twelve crops that say the same are eight examples."""
    photographs = np.repeat(SCORES[:, :8], 12, axis=1)
    independent = run(photographs)
    assert independent.dataset.sizes["example"] < 30
    grouped = run(photographs, groups=lambda i: f"photograph {i // 12}")
    assert grouped.dataset.sizes["example"] == 96
    ones = run(SCORES[:, :8])
    columns = ["log_e_value", "examples", "mean_difference"]
    np.testing.assert_allclose(grouped.certainty()[columns], ones.certainty()[columns], rtol=1e-9)


def test_a_group_counts_with_its_mean_when_all_of_it_is_there():
    labels = [0, 1, 0, 2, 2, 1]
    d = np.array([1.0, 2, 3, 4, -6, 8])
    result = run(np.stack([d, 0 * d]), ("a", "b"), groups=labels, batch_size=1)
    assert result.dataset["group"].values.tolist() == labels
    (row,) = result.certainty().itertuples()
    in_order = run(np.stack([[2.0, -1, 5], [0.0] * 3]), ("a", "b")).certainty().iloc[0]  # of groups 0, 2 and 1
    assert (row.log_e_value, row.examples) == (in_order.log_e_value, 3)


def test_decided_at_counts_examples_and_not_groups():
    result = run(np.repeat(SCORES, 2, axis=1), groups=np.arange(2 * N) // 2)
    assert result.dataset.attrs["decided_after"] == 2 * STOP


def test_a_group_that_the_stop_cuts_does_not_count():
    labels = [*range(STOP), *[99] * (N - STOP)]
    result = run(groups=labels, batch_size=4)
    assert result.dataset.sizes["example"] == 16
    assert json.loads(result.dataset.attrs["unfinished_groups"]) == [99]
    assert (result.certainty()["examples"] == STOP).all()
    without_it = Evaluation(result.dataset.isel(example=slice(STOP)))
    assert without_it.certainty().equals(result.certainty())


def test_shuffled_examples_have_their_own_numbers_and_scores():
    result = run(until=None, order="shuffled", seed=4)
    order = result.dataset["example"].values
    assert sorted(order) == list(range(N)) != order.tolist()
    assert (result.dataset["score"].values == SCORES[:, order]).all()
    assert (run(until=None, order="shuffled", seed=5).dataset["example"].values != order).any()
    assert (run(until=None, order="shuffled", seed=4).dataset["example"].values == order).all()


def test_groups_are_shuffled_as_wholes():
    result = run(until=None, order="shuffled", groups=lambda i: i % 6)
    labels = result.dataset["group"].values
    assert (np.diff(labels) != 0).sum() == 5
    assert (result.dataset["example"].values % 6 == labels).all()


def test_an_order_changes_no_draws():
    drawn = {"sensitivity_n": partial(metrics.sensitivity_n, n=2, n_perturb_samples=4)}
    torch.manual_seed(0)
    model, data = nn.Linear(4, 3).double(), [(row, 0) for row in torch.as_tensor(SCORES.T[:12])]

    def of(order):
        names = {"shown": lambda model: lambda inputs, target=None: inputs, "random": random_attribution}
        return evaluate(model, data, names, drawn, order=order, batch_size=3).dataset.sortby("example")

    np.testing.assert_allclose(of("shuffled")["sensitivity_n"], of("given")["sensitivity_n"], rtol=1e-9)


def test_failures_name_the_examples_of_a_shuffled_order():
    def failing(model):
        def explain(inputs, target=None):
            if (inputs[:, 0] == torch.as_tensor(SCORES[0, 7])).any():
                raise ArithmeticError("this one")
            return inputs[:, :2]

        return explain

    result = evaluate(
        nn.Identity(),
        [(row, 0) for row in torch.as_tensor(SCORES.T)],
        {"failing": failing},
        {"score": score},
        order="shuffled",
        on_error="record",
        batch_size=3,
    )
    lost = result.dataset["example"].values[np.isnan(result.dataset["score"].values[0])].tolist()
    named = [i for f in result.failures for i in range(f["examples"][0], f["examples"][1] + 1)]
    assert sorted(named) == sorted(lost)
    assert 7 in named
    assert len(lost) == 3


def test_stored_attributions_follow_a_shuffled_order(tmp_path):
    from captum_ext import attribute_dataset

    data = [(row, 0) for row in torch.as_tensor(SCORES.T)]
    attribute_dataset(nn.Identity(), data, {"good": shows(0)}, tmp_path / "maps.h5")
    for stored in (tmp_path / "maps.h5", torch.as_tensor(SCORES[0])[:, None].expand(-1, 2)):
        result = evaluate(nn.Identity(), data, {"good": stored}, {"score": score}, order="shuffled")
        assert (result.dataset["score"].values[0] == SCORES[0, result.dataset["example"].values]).all()


# ---- the same stop, whoever computes


@pytest.mark.parametrize("batch_size", [1, 3, 5, 16])
def test_shards_do_not_change_what_is_decided_nor_when(batch_size, stopped):
    result = run(batch_size=batch_size)
    assert result.dataset.sizes["example"] == -(-STOP // batch_size) * batch_size
    assert result.dataset.attrs["decided_after"] == STOP
    assert result.verdict() == stopped.verdict()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("shard", [0, 3, 6])
def test_an_interrupted_run_stops_where_it_would_have(shard, moment, stopped, tmp_path):
    path = tmp_path / "run.h5"
    with killed_at(shard, moment):
        run(path=path)
    assert not path.exists()
    result = run(path=path)
    assert_same(result, run(path=tmp_path / "other.h5"))
    assert result.dataset.equals(stopped.dataset)
    assert load(path).dataset.identical(result.dataset)
    assert len(list((tmp_path / "run.h5.parts").glob("*.npz"))) == STOP // 2


class Backwards:
    """An engine of one's own that knows nothing of a stop and begins at the far end."""

    in_process = True

    def run(self, job, shards, store, resources):
        scorer = Scorer(job)
        for shard in reversed(shards):
            store.write(shard, scorer.compute(store.edges(shard)))
        return {}


def test_an_engine_that_ignores_the_stop_gives_the_same_result(stopped):
    assert run(engine=Backwards()).dataset.equals(stopped.dataset)


def test_two_workers_stop_at_the_same_example(stopped, tmp_path):
    """Of workers that are killed, `engines/test_elastic.py` has the same."""
    result = run(path=tmp_path / "run.h5", devices=["cpu", "cpu"])
    assert (result.dataset["score"].values == stopped.dataset["score"].values).all()
    assert result.verdict() == stopped.verdict()
    assert len(list((tmp_path / "run.h5.parts").glob("*.npz"))) < N // 2


def test_launched_processes_stop_at_the_same_example(monkeypatch, stopped, tmp_path):
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
    for number in (2, 0, 1):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(number))
        assert run(path=tmp_path / "run.h5").dataset.equals(stopped.dataset)
    assert load(tmp_path / "run.h5").dataset.equals(stopped.dataset)


# ---- going on


def test_a_stricter_rule_goes_on_from_the_stored_shards(tmp_path):
    path = tmp_path / "run.h5"
    first = run(path=path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        later = run(path=path, alpha=1e-4)
    assert STOP < later.dataset.sizes["example"] < N
    assert load(path).dataset.identical(later.dataset)
    assert later.dataset["score"].values[:, :STOP].tobytes() == first.dataset["score"].values.tobytes()
    everything = run(path=path, until=None)
    assert everything.dataset.sizes["example"] == N
    assert "until" not in everything.dataset.attrs
    assert everything.dataset.equals(run(until=None).dataset)
    assert_same(run(path=path), first)
    assert load(path).dataset.identical(first.dataset)


def test_a_rule_that_asks_for_less_keeps_the_pairs_of_the_first(tmp_path):
    path, measures = tmp_path / "run.h5", {"score": score, "cost": cost}
    run(path=path, measures=measures)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        later = run(path=path, measures=measures, until={"score": "best"})
    assert later.dataset.attrs["pairs"] == 12
    assert later.certainty()["threshold"].iloc[0] == pytest.approx(np.log(2 * 12 / 0.05))


@pytest.mark.parametrize(
    "more",
    [
        {"alpha": 0.1},
        {"until": "ranking"},
        {"within": 0.1},
        {"groups": [0, *range(N - 1)]},
        {"until": {"score": "best", "cost": "best"}},
    ],
    ids=str,
)
def test_a_rule_that_asks_for_more_is_told_that_the_guarantee_ends(more, tmp_path):
    def of(**options):
        return run(path=tmp_path / "run.h5", measures={"score": score, "cost": cost}, **options)

    of(until={"score": "best"})
    with pytest.warns(UserWarning, match="asks for more than the first call at this `path` did") as told:
        of(**{"until": {"score": "best"}, **more})
    assert len(told) == 1


def test_a_run_that_had_no_rule_may_be_stopped_by_one(stopped, tmp_path):
    path = tmp_path / "run.h5"
    run(path=path, until=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(path=path).dataset.equals(stopped.dataset)


def test_another_file_at_the_path_is_refused_as_ever(tmp_path):
    path = tmp_path / "run.h5"
    run(path=path, seed=1)
    with pytest.raises(ValueError, match="`path` holds another run"):
        run(path=path, seed=2)
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        run(path=path, seed=1, alpha=0.01)


def test_a_shuffled_run_is_another_run(tmp_path):
    run(path=tmp_path / "run.h5")
    with pytest.raises(ValueError, match="differs in:\n  order"):
        run(path=tmp_path / "run.h5", order="shuffled")


def test_a_shard_that_is_damaged_is_computed_again(stopped, tmp_path):
    path = tmp_path / "run.h5"
    run(path=path)
    (tmp_path / "run.h5.parts" / "00000003.npz").write_bytes(b"no")
    with pytest.warns(UserWarning, match="is damaged"):
        assert run(path=path).dataset.equals(stopped.dataset)


# ---- the store


def store_of(folder):
    return ShardStore(folder, json.loads((folder / "manifest.json").read_text()))


def test_every_process_finds_the_rule_in_the_store(tmp_path):
    run(path=tmp_path / "run.h5")
    store = store_of(tmp_path / "run.h5.parts")
    assert rule_from(json.loads(json.dumps(store.rule.as_plain()))) == store.rule
    assert (len(store), store.needed(), store.missing()) == (N // 2, STOP // 2, [])
    assert store.has(29)
    assert not (tmp_path / "run.h5.parts" / "00000029.npz").exists()
    run(path=tmp_path / "run.h5", until=None)
    assert store_of(tmp_path / "run.h5.parts").rule is None


def test_a_rule_of_another_run_is_not_taken(tmp_path):
    folder = tmp_path / "run.h5.parts"
    with killed_at(0, "before"):
        run(path=tmp_path / "run.h5")
    assert store_of(folder).rule is not None
    with killed_at(0, "before"):
        run(path=tmp_path / "run.h5", seed=1, until=None)
    assert store_of(folder).rule is None


def test_a_damaged_rule_is_refused(tmp_path):
    with killed_at(2, "before"):
        run(path=tmp_path / "run.h5")
    (tmp_path / "run.h5.parts" / "rule.json").write_text("{")
    with pytest.raises(ValueError, match=r"rule.json is damaged; remove .* to start over"):
        run(path=tmp_path / "run.h5")


def test_the_bar_shows_how_many_pairs_are_open(capsys):
    run(show_progress=True)
    err = capsys.readouterr().err
    assert f"evaluate: {STOP} of {STOP} examples, " in err
    progress, costs = err.rstrip().splitlines()[-2:]
    assert progress.endswith(", 0 pairs open")
    assert costs.startswith("evaluate: ")


# ---- refusals

REFUSED = {
    "unknown kind": (
        {"until": "worst"},
        ValueError,
        "`until` must be one of 'best', 'ranking', 'control', got 'worst'",
    ),
    "no kind": ({"until": 3}, TypeError, "`until` must be 'best', 'ranking', 'control', a mapping from metrics"),
    "empty mapping": ({"until": {}}, TypeError, "`until` must be 'best'"),
    "unknown metric": (
        {"until": {"scor": "best"}},
        ValueError,
        "`until` must name metrics with a better side, or one of their values, 'score'; got 'scor'",
    ),
    "unknown kind of a metric": (
        {"until": {"score": "first"}},
        ValueError,
        r"`until\['score'\]` must be one of 'best', 'ranking', 'control', got 'first'",
    ),
    "metric without direction": (
        {"until": {"curve": "best"}, "measures": {"score": score, "curve": curve}},
        ValueError,
        "`until` must name metrics with a better side, or one of their values, 'score'; got 'curve'",
    ),
    "no metric with a direction": (
        {"measures": {"curve": curve, "own": undirected}},
        ValueError,
        r"`until` needs a metric with a better side \(`higher_is_better`\), and `metrics` has none",
    ),
    "no control": (
        {"until": "control", "names": ("good", "near")},
        ValueError,
        '`until` asks for a comparison with the "control", but `methods` has none',
    ),
    "one method": ({"names": ("good",)}, ValueError, "`until` needs at least two of `methods` to compare, got 'good'"),
    "alpha": ({"alpha": 1.0}, ValueError, "`alpha` must be a number between 0 and 1"),
    "within": ({"within": -0.1}, ValueError, "`within` must be a fraction from 0 to 1"),
    "alpha without a rule": ({"until": None, "alpha": "5 %"}, TypeError, "`alpha` must be a number"),
    "groups of another kind": ({"groups": 3}, TypeError, "`groups` must be a sequence with a label per example"),
    "groups by example": ({"groups": dict.fromkeys(range(N), 0)}, TypeError, "`groups` must be a sequence .* got dict"),
    "groups in no order": ({"groups": {*range(N)}}, TypeError, "`groups` must be a sequence with a label per example"),
    "too few groups": ({"groups": [1, 2]}, ValueError, "`groups` must have a label for each of the 60 examples"),
    "labels of two types": (
        {"groups": [*range(N - 1), "a"]},
        TypeError,
        "`groups` must be all integers or all strings, got str 'a' for example 59 and int 0 for example 0",
    ),
    "labels that are none": (
        {"groups": [0.5] * N},
        TypeError,
        "`groups` must be all integers or all strings, also",
    ),
    "labels that cannot be stored": (
        {"groups": [""] * N},
        ValueError,
        "`groups` has the label '' for example 0, which",
    ),
    "a metric named like the groups": (
        {"groups": [0] * N, "measures": {"group": score}},
        ValueError,
        "`metrics` has the name 'group'",
    ),
    "order": ({"order": "random"}, ValueError, "`order` must be one of 'given', 'shuffled', got 'random'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_decided_is_refused_before_the_model_is_called(case, tmp_path):
    options, kind, message = REFUSED[case]

    def never(attributions):
        raise Killed

    with pytest.raises(kind, match=message):
        run(**{"path": tmp_path / "run.h5", "batch_size": 2, **options})
    assert not list(tmp_path.iterdir())


def test_an_axis_that_the_card_does_not_name_is_refused_at_the_first_look():
    two = metrics.metric(higher_is_better=True)(lambda attributions: attributions)
    with pytest.raises(ValueError, match=r"`until` asks for metric 'two', which has \(2,\) values an example"):
        run(measures={"two": two, "score": score})
    named = run(measures={"two": two, "score": score}, until={"score": "best"})
    assert named.dataset.sizes["example"] == STOP


def test_a_metric_that_fails_for_all_methods_decides_nothing():
    @metrics.metric(higher_is_better=True, axis=("size", lambda arguments: [1, 2]))
    def fails_at_first(attributions):
        if bool((attributions[:, 0] == torch.as_tensor(SCORES[:, :2])).any()):
            raise ArithmeticError
        return torch.stack([attributions.mean(1)] * 2, 1)

    result = run(measures={"sized": fails_at_first}, on_error="record", batch_size=1)
    assert (result.certainty()["left_out"] == 2).all()
    assert result.dataset.attrs["undecided"] == "[]"
