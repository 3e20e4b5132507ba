"""A report computes each of its tables once, and all that it says is read from them."""

from __future__ import annotations

from collections import Counter

import pytest

from captum_ext.evaluation import comparison, display
from captum_ext.report.tables import tables

from .runs import images, maps, result

EXPENSIVE = {
    (display, "scores"),
    (comparison, "summary_of"),
    (comparison, "resampled_means"),
    (comparison, "compare_of"),
    (comparison, "agreement_of"),
    (comparison, "ranking_consistency_of"),
}


@pytest.fixture
def calls(monkeypatch):
    """How often each table is computed; a second reading of the scores counts wherever it happens."""
    counts = Counter()

    def counted(name, compute):
        def count(*arguments, **options):
            counts[name] += 1
            return compute(*arguments, **options)

        return count

    for module, name in EXPENSIVE | {(comparison, "scores")}:
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    return counts


def test_each_table_is_computed_once_per_report(calls, tmp_path):
    result().report(tmp_path / "page.html", images(), maps(), n_examples=3)
    assert calls == {name: 1 for _, name in EXPENSIVE}


def test_what_has_no_use_is_not_computed(calls):
    assert tables(result().dataset.isel(attribution=[0]), "random", 0.95).agreement is None
    assert calls == dict.fromkeys(("scores", "summary_of", "resampled_means", "ranking_consistency_of"), 1)
    calls.clear()
    assert tables(result().dataset[["a/curve $x"]], "random", 0.95).summary is None
    assert calls == {"scores": 1}


def test_the_tables_are_those_that_a_user_gets():
    dataset, columns = result().dataset, ["metric", "axis", "at", "attribution"]
    found = tables(dataset, "random", 0.9)
    for ours, theirs in (
        (found.summary, comparison.summary(dataset, 0.9)),
        (found.against_control, comparison.compare(dataset)),
    ):
        assert ours[columns].equals(theirs[columns])
        assert ours.drop(columns="label").equals(theirs)
        assert ours["label"].tolist()[-1] == "sized (n=5)"
    assert found.consistency.equals(comparison.ranking_consistency(dataset))
