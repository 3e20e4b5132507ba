"""The verdict says what the table shows, and no more; what limits it is said beside it."""

from __future__ import annotations

import numpy as np
import pytest

from captum_ext import Evaluation
from captum_ext.evaluation import comparison
from captum_ext.report.findings import findings
from captum_ext.report.tables import tables

from .runs import page_of, result, scored

N = 20
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(4, N))
CLEAR = NOISE + np.array([30.0, 20.0, 10.0, 0.0])[:, None]  # a is the best on every example, then b, c, random


def found(dataset, baseline="random"):
    return findings(dataset, tables(dataset, baseline, 0.95))


def overview(dataset, baseline="random"):
    return found(dataset, baseline).overview


def verdict(dataset):
    return overview(dataset).verdict


def test_who_is_clearly_the_best_on_all_metrics_leads():
    assert verdict(scored(one=CLEAR, two=CLEAR)) == "a leads: the best on all 2 metrics."
    assert verdict(scored(one=CLEAR)) == "a leads: the best on the one metric."


def test_who_is_the_best_on_some_is_said_to_be_so():
    assert verdict(scored(one=CLEAR, two=CLEAR, three=CLEAR[[1, 0, 2, 3]])) == "a leads: the best on 2 of 3 metrics."


def test_not_distinguishable_is_no_better_and_no_worse():
    close = CLEAR.copy()
    close[1] = (
        close[0] + 0.01 * (NOISE[3] - NOISE[3].mean()) - 1e-4
    )  # a is better, but b can't be distinguished from it
    assert verdict(scored(one=close, two=CLEAR)) == (
        "a leads: the best, or not distinguishable from the best, on all 2 metrics (alone on 1)."
    )
    assert verdict(scored(one=close)) == (
        "a and b lead: each the best, or not distinguishable from the best, on the one metric."
    )


def test_where_none_can_be_told_from_the_best_none_is_named():
    assert verdict(scored(one=NOISE)) == (
        "On these 20 examples no method can be distinguished from the best on any metric."
    )


def test_the_headline_counts_only_metrics_that_tell_methods_apart():
    alike, lost = NOISE, CLEAR[[1, 0, 3, 2]]  # on the last, the control is better than c
    three = scored(one=CLEAR, two=CLEAR[[1, 0, 2, 3]], three=alike)
    assert verdict(three) == (
        "a and b lead: each the best, or not distinguishable from the best, on 1 of 2 metrics that tell methods apart."
    )
    assert verdict(scored(one=CLEAR, three=alike)) == "a leads: the best on the one metric that tells methods apart."
    best = CLEAR[[3, 1, 2, 0]]
    found = overview(scored(one=CLEAR, two=best, three=lost))
    assert [column.tells for column in found.columns] == [True, False, True]
    assert (found.leads, found.counted) == ([1, 1, 0, 0], 2)
    assert verdict(scored(two=best)) == (
        "On these 20 examples the control random is among the best on every metric on which methods differ."
    )


def test_marks_are_where_something_is_distinguishable(tmp_path):
    dataset = scored(one=CLEAR, two=NOISE)
    page = page_of(Evaluation(dataset), tmp_path, n_examples=0)
    one, two = ([row.all("td")[i] for row in page.all("table", class_="sortable")[0].all("tr")[1:]] for i in (1, 2))
    assert [cell.attributes.get("class") for cell in one] == ["best", None, None, None]
    assert [cell.text.strip()[0] for cell in two] == ["="] * 4
    assert not any("class" in cell.attributes for cell in two)
    assert "≈" not in page.text
    (tmp_path / "alike").mkdir()
    alike = page_of(Evaluation(scored(one=NOISE)), tmp_path / "alike", n_examples=0)
    heads = [node.text.split()[0] for node in alike.all("table", class_="sortable")[0].all("th", scope="col")]
    assert heads == ["Method", "one"]  # the same for all is not said of each
    assert "★" not in alike.text


def test_metrics_stand_by_their_families():
    dataset = scored(one=CLEAR, two=CLEAR, three=CLEAR)
    assert [(name, len(columns)) for name, columns in overview(dataset).families] == [("", 3)]
    for name, family in (("one", "removal"), ("two", "effects"), ("three", "removal")):
        dataset[name].attrs["family"] = family
    found = overview(dataset)
    assert [(name, [c.label for c in of]) for name, of in found.families] == [
        ("removal", ["one", "three"]),
        ("effects", ["two"]),
    ]
    assert [c.label for c in found.columns] == ["one", "two", "three"]
    assert found.columns[0].ranking == [0, 1, 2, 3]


def test_a_few_examples_tell_nothing():
    few = {"one": CLEAR[:, :4], "two": CLEAR[[1, 0, 2, 3], :4], "three": CLEAR[:, :4]}
    assert verdict(scored(4, **few)) == (
        "With 4 examples no two methods can be distinguished (at least 7 examples are needed); "
        "by the means alone a leads: the best on 2 of 3 metrics."
    )
    assert verdict(scored(1, one=CLEAR[:, :1])).startswith("With 1 example no two methods")
    two = verdict(scored(5, one=CLEAR[::3, :5]))
    assert two.startswith("With 5 examples no two methods can be distinguished (at least 6 examples are needed)")


@pytest.mark.parametrize("values", [CLEAR, NOISE], ids=["clear", "noise"])
@pytest.mark.parametrize("examples", range(1, 8))
def test_too_few_examples_are_neither_a_tie_nor_no_better_than_the_control(examples, values):
    """Three tests per metric against the best need 7 examples; six tests in all against the control need 8."""
    few = values[:, :examples]
    found = overview(scored(examples, one=few, two=few))
    cells = [cell for c in found.columns for cell in c.cells]
    assert not any(cell.as_control for cell in cells)
    assert [cell.control_undecided for cell in cells] == [True, True, True, False] * 2
    assert found.control_undecided
    assert found.undecided == (examples < 7)
    if examples < 7:
        assert all(cell.undecided for cell in cells)
        assert not any(cell.tied for cell in cells)
        assert sorted(found.leads) == [0, 0, 0, 2]
        assert "no two methods can be distinguished (at least 7 examples are needed)" in found.verdict
    assert found.caveats == [
        "There are too few examples to show that any method is better than the control random "
        "(at least 8 with scores are needed)."
    ]


def test_what_the_draws_add_is_a_caveat_with_what_to_do():
    dataset = scored(one=CLEAR + NOISE)
    noisy, quiet = (
        dataset.assign({"one stderr": (dataset["one"].dims, np.full(CLEAR.shape, error), {"stderr_of": "one"})})
        for error in (10.0, 1e-3)
    )
    assert (
        "Of the differences between examples, up to 100% are noise of a metric's random draws"
        in overview(noisy).caveats[0]
    )
    assert overview(noisy).caveats[0].endswith("more draws would narrow the intervals.")
    assert overview(quiet).caveats[0].endswith("so more draws would help little.")


def test_enough_examples_are_a_finding():
    """One more than in the test above."""
    clear, noise = (overview(scored(8, one=values[:, :8], two=values[:, :8])) for values in (CLEAR, NOISE))
    assert not any(found.undecided or found.control_undecided for found in (clear, noise))
    assert not any(cell.as_control for c in clear.columns for cell in c.cells)
    assert all(cell.as_control for c in noise.columns for cell in c.cells[:3])
    assert clear.verdict == "a leads: the best on all 2 metrics."


def test_a_method_with_too_few_scores_is_not_called_tied_and_the_best_not_alone():
    holes = CLEAR.copy()
    holes[1, 5:] = np.nan
    found = overview(scored(one=holes))
    assert [cell.tied for cell in found.columns[0].cells] == [True, False, False, False]
    assert [cell.undecided for cell in found.columns[0].cells] == [False, True, False, False]
    assert [cell.control_undecided for cell in found.columns[0].cells] == [False, True, False, False]
    assert found.verdict == "a leads: the best, or not distinguishable from the best, on the one metric."
    holes[:2, 5:] = holes[2:, :5] = np.nan
    assert verdict(scored(one=holes)).startswith(
        "No two methods can be distinguished (at least 7 examples with scores of both are needed); by the means alone"
    )


def test_the_control_is_not_called_among_the_best_where_too_few_examples_have_scores():
    few = CLEAR.copy()
    few[:, 5:] = np.nan
    assert caveats(scored(one=CLEAR, two=few)) == ["Some scores are undefined and left out, at most 75% of a on two."]


def test_a_few_examples_are_no_disagreement():
    assert any("Metrics disagree" in caveat for caveat in caveats(scored(6, one=CLEAR[:, :6], two=-CLEAR[:, :6])))
    for n in range(1, 6):
        told = caveats(scored(n, one=CLEAR[:, :n], two=-CLEAR[:, :n]))
        assert not any("Metrics disagree" in caveat for caveat in told)


def test_one_method_or_no_score_is_no_contest():
    assert verdict(scored(one=CLEAR[:1])) == "Only random was evaluated, so there is nothing to compare it with."
    assert verdict(scored(one=np.full((3, N), np.nan))) == "No method has a score."


def test_many_leaders_are_counted():
    tied = np.concatenate([CLEAR[:1] + 0.01 * RNG.normal(size=(6, N)), CLEAR[3:]])
    assert verdict(scored(one=tied)).startswith("a, b, c, d and 2 more lead: each the best")


def test_a_metric_of_several_sizes_is_several_columns():
    assert verdict(result().dataset) == "IntegratedGradients leads: the best on all 4 columns of the table."


def test_the_columns_are_those_of_the_summary():
    dataset = result().dataset
    table = comparison.summary(dataset)
    columns = overview(dataset).columns
    assert [c.label for c in columns] == ["up", "down", "sized (n=1)", "sized (n=5)"]
    assert [cell.value for c in columns for cell in c.cells] == table["mean"].tolist()
    assert [cell.tied for c in columns for cell in c.cells] == table["tied_with_best"].tolist()
    assert [c.higher_is_better for c in columns] == [True, False, True, True]
    assert columns[2].cells[1].undefined == "5% undefined"
    assert columns[0].cells[1].undefined == ""
    for column in columns:
        low, at, high = np.array([cell.bar for cell in column.cells]).T
        assert (low <= at).all()
        assert (at <= high).all()
        assert low.min() == 0
        assert high.max() == pytest.approx(100)


def test_who_is_not_shown_to_beat_the_control_is_marked():
    doubtful = [[cell.as_control for cell in c.cells] for c in overview(scored(one=CLEAR, two=NOISE)).columns]
    assert doubtful == [[False] * 4, [True, True, True, False]]
    assert not overview(scored(one=NOISE), baseline="nobody").has_control


def caveats(dataset, baseline="random"):
    return overview(dataset, baseline).caveats


def test_a_clear_result_has_no_caveat():
    assert caveats(scored(one=CLEAR, two=CLEAR)) == []


def test_a_control_among_the_best_is_a_caveat():
    (caveat,) = caveats(scored(one=CLEAR, two=CLEAR + 100 * NOISE))
    assert caveat == (
        "The control random is the best or cannot be distinguished from it on two: "
        "there the scores do not tell these methods from noise."
    )
    (caveat,) = caveats(scored(one=CLEAR), baseline="nobody")
    assert caveat.startswith("No control (nobody) was evaluated")


def test_undefined_scores_failures_and_disagreement_are_caveats():
    holes = CLEAR.copy()
    holes[1, :5] = np.nan
    dataset = scored(one=holes, two=-CLEAR).assign_attrs(failures='[{"metric": "one"}]')
    control, undefined, disagree, failures = caveats(dataset)
    assert control.startswith("The control random is the best")
    assert undefined == "Some scores are undefined and left out, at most 25% of b on one."
    assert disagree.startswith("Metrics disagree: one and two rank the methods against each other (correlation -1.00)")
    assert failures == "1 failure left scores undefined; they are listed at the end."


def test_agreement_is_symmetric_with_ones_on_the_diagonal():
    grid = np.array(found(result().dataset).agreement.rows)
    np.testing.assert_array_equal(grid, grid.T)
    np.testing.assert_array_equal(np.diag(grid), 1)
    np.testing.assert_allclose(grid[np.triu_indices(4, 1)], comparison.agreement(result().dataset)["correlation"])
    assert found(scored(one=CLEAR)).agreement is None
    assert found(scored(one=CLEAR[:2], two=CLEAR[:2])).agreement is None


def test_a_metric_says_how_it_was_configured_and_whether_examples_agree():
    up, down, sized, *curves = found(result().dataset).metrics
    assert down.arguments == [("n_steps", "5"), ("mode", "<b>morf</b>")]
    assert (up.direction, down.direction, curves[0].direction) == (True, False, None)
    assert up.reference == "Ada 2020, arXiv:1806.07421"
    assert [text.split(":")[0] for text in sized.consistency] == ["n=1", "n=5"]
    assert curves[0].consistency == []
