"""The list of metrics says what the functions themselves say."""

from __future__ import annotations

import dataclasses
import inspect

import pandas as pd
import pytest

import captum_ext.metrics as exported
from captum_ext.metrics.available import Catalogue, catalogue

ENTRIES = {entry.name: entry for entry in exported.available()}


def test_every_exported_metric_is_listed_once():
    metrics = [name for name in exported.__all__ if hasattr(getattr(exported, name), "card")]
    assert sorted(metrics) == [entry.name for entry in exported.available()]
    assert len(ENTRIES) == len(metrics) > 20


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_says_what_card_and_signature_say(entry):
    metric = getattr(exported, entry.name)
    card = metric.card
    assert (entry.family, entry.range, entry.rows, entry.reference) == (
        card.family,
        card.range,
        card.rows,
        card.reference,
    )
    assert entry.better == {True: "higher", False: "lower", None: None}[card.higher_is_better]
    parameters = inspect.signature(metric).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    assert len(entry.needs) == len(required) - 1  # all but the inputs
    assert entry.summary.endswith(".")
    assert "\n" not in entry.summary


def test_needs_are_in_words():
    assert ENTRIES["deletion"].needs == ("model", "attributions")
    assert ENTRIES["sensitivity_max"].needs == ("explanation function",)
    assert ENTRIES["sensitivity_n"].needs == ("model", "attributions", "n")
    assert ENTRIES["pointing_game"].needs == ("attributions", "truth mask")


def test_the_list_shows_itself_by_family():
    shown = repr(exported.available()).splitlines()
    assert [line[:-1] for line in shown if not line.startswith(" ")] == sorted({e.family for e in ENTRIES.values()})
    (deletion,) = [line.split() for line in shown if line.split()[0] == "deletion"]
    assert deletion == ["deletion", "↓", "-∞", "…", "∞", "model,", "attributions"]
    assert repr(Catalogue()) == ""


def test_the_list_is_a_table_for_pandas():
    table = pd.DataFrame(exported.available()).set_index("name")
    assert list(table.columns) == [f.name for f in dataclasses.fields(ENTRIES["deletion"]) if f.name != "name"]
    assert table.loc["insertion", "better"] == "higher"


def test_what_has_no_card_is_no_metric():
    assert catalogue({"default_perturb_func": exported.default_perturb_func}) == []
