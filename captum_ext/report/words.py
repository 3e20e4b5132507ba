"""What the report says in sentences: the verdict, and why it may not hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from .._core.printing import printable
from ..evaluation.cost import sentence
from ..evaluation.display import counted, decided
from ..evaluation.score import label
from ..evaluation.statistics import MIN_PAIRS, pairs_needed
from ..evaluation.verdict import listed
from .records import Column, Overview
from .tables import ALPHA, Tables

MOST_NAMED = 4  # in a sentence
MUCH = 1 / 3  # of the variance between examples, if it is noise of draws
AGAINST = -0.2  # a correlation nearer to 0 is no order, neither the same nor the opposite


def verdict(tables: Tables, columns: list[Column], leads: list[int]) -> str:
    """One sentence."""
    noun = "metric" if all(c.axis is None for c in columns) else "column of the table"
    methods, most = tables.methods, max(leads)
    if len(methods) == 1:
        return f"Only {methods[0]} was evaluated, so there is nothing to compare it with."
    if not any(np.isfinite(cell.value) for c in columns for cell in c.cells):
        return "No method has a score."
    leaders = [name for name, count in zip(methods, leads) if count == most]
    leading = f"{_listed(leaders)} leads: the best" if len(leaders) == 1 else f"{_listed(leaders)} lead: each the best"
    if _nothing_decided(columns):
        where = _share(most, len(columns), noun)
        return f"{_too_few(tables, columns)}; by the means alone {leading} on {where}."
    told = [c for c in columns if c.tells]
    if not told:
        return f"On these {tables.examples} {tables.noun}s {_untold(tables, columns, noun)}."
    where = _share(most, len(told), noun) + (" that tell methods apart" if len(told) < len(columns) else "")
    where = where.replace(f"the one {noun} that tell ", f"the one {noun} that tells ")
    alone = _alone(told, methods.index(leaders[0])) if len(leaders) == 1 else 0
    if alone == most:
        return f"{leading} on {where}."
    return f"{leading}, or not distinguishable from the best, on {where}{f' (alone on {alone})' if alone else ''}."


def _untold(tables: Tables, columns: list[Column], noun: str) -> str:
    """What is said where no column tells methods apart: all are alike, or the control is among the best."""
    if any(cell.worse for c in columns for cell in c.cells):
        return f"the control {tables.baseline} is among the best on every {noun} on which methods differ"
    return f"no method can be distinguished from the best on any {noun}"


def _nothing_decided(columns: list[Column]) -> bool:
    """Whether no test on any column could have told a method from the best."""
    cells = [cell for c in columns for cell in c.cells if np.isfinite(cell.value)]
    return any(cell.undecided for cell in cells) and all(cell.undecided or cell.best for cell in cells)


def _too_few(tables: Tables, columns: list[Column]) -> str:
    scored = [sum(bool(np.isfinite(cell.value)) for cell in c.cells) for c in columns]
    needed = min(pairs_needed(count - 1, 1 - tables.confidence) for count in scored if count > 1)
    if tables.examples < needed:
        number = counted(tables.examples, tables.noun)
        return f"With {number} no two methods can be distinguished (at least {needed} {tables.noun}s are needed)"
    return f"No two methods can be distinguished (at least {needed} {tables.noun}s with scores of both are needed)"


def _alone(columns: list[Column], method: int) -> int:
    """On how many columns every other method is known not to be the best."""
    return sum([i for i, cell in enumerate(c.cells) if cell.tied or cell.undecided] == [method] for c in columns)


def _share(part: int, whole: int, noun: str) -> str:
    plural = noun.replace("metric", "metrics").replace("column", "columns")
    if whole == 1:
        return f"the one {noun}"
    return f"all {whole} {plural}" if part == whole else f"{part} of {whole} {plural}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
    return listed(names)


def with_decisions(view: Overview, dataset: xr.Dataset) -> Overview:
    """Says first what was decided where the run looked at its scores, and that no other test knows of these looks."""
    said = decided(dataset)
    if not said:
        return view
    examples, of = dataset.sizes["example"], dataset.attrs.get("examples_of_data", dataset.sizes["example"])
    caveats = [f"By the tests in the table: {view.verdict}", *view.caveats]
    if examples < of:
        caveats.append(
            "The run stopped when the scores decided, which intervals and tests in the table do not know of."
        )
    if len(said) == 1:
        return replace(view, verdict=said[0], caveats=caveats)
    sure = len(said) - len(json.loads(dataset.attrs.get("undecided", "[]")))
    verdict = f"{sure} of {len(said)} scores are decided after {examples} of {counted(of, 'example')}."
    return replace(view, verdict=verdict, caveats=[*said, *caveats])


def caveats(tables: Tables, n_failures: int) -> list[str]:
    """Why the verdict may not hold, a sentence each."""
    found = []
    if tables.summary is not None and len(tables.methods) > 1:
        found += _about_the_control(tables, tables.summary) + _about_undefined(tables.summary)
        found += _about_draws(tables.summary) + _about_agreement(tables.agreement)
    if n_failures:
        found.append(f"{counted(n_failures, 'failure')} left scores undefined; they are listed at the end.")
    return found


def _about_the_control(tables: Tables, summary: pd.DataFrame) -> list[str]:
    control, compared = tables.baseline, tables.against_control
    if compared is None:
        return [f"No control ({control}) was evaluated, so nothing shows that a metric can tell sense from noise here."]
    if compared["undecided"].all() and (compared["pairs"] > 0).any():
        needed = pairs_needed(int((compared["pairs"] > 0).sum()), ALPHA)
        return [
            f"There are too few {tables.noun}s to show that any method is better than the control {control} "
            f"(at least {needed} with scores are needed)."
        ]
    tied = summary[(summary["attribution"] == control) & summary["tied_with_best"] & ~summary["undecided"]]
    if tied.empty:
        return []
    return [
        f"The control {control} is the best or cannot be distinguished from it on {_listed(list(tied['label']))}: "
        "there the scores do not tell these methods from noise."
    ]


def _about_undefined(summary: pd.DataFrame) -> list[str]:
    worst = summary.nlargest(1, "undefined").iloc[0]
    if not worst["undefined"]:
        return []
    where = f"{worst['undefined']:.0%} of {worst['attribution']} on {worst['label']}"
    return [f"Some scores are undefined and left out, at most {where}."]


def _about_draws(summary: pd.DataFrame) -> list[str]:
    """Where the random draws make the largest part of what differs between examples."""
    largest = summary.dropna(subset="share_of_draws").nlargest(1, "share_of_draws")
    return [
        f"Of the differences between examples, up to {row.share_of_draws:.0%} are noise of a metric's random draws "
        f"({row.attribution} on {row.label})"
        + (
            ": more draws would narrow the intervals."
            if row.share_of_draws > MUCH
            else ", so more draws would help little."
        )
        for row in largest.itertuples()
    ]


def _about_agreement(pairs: pd.DataFrame | None) -> list[str]:
    """The two metrics that disagree most; a few examples show no disagreement."""
    if pairs is None:
        return []
    against = pairs[(pairs["correlation"] < AGAINST) & (pairs["examples"] >= MIN_PAIRS)].nsmallest(1, "correlation")
    return [
        f"Metrics disagree: {label(pair.metric, pair.axis, pair.at)} and "
        f"{label(pair.other, pair.other_axis, pair.other_at)} rank the methods against each other "
        f"(correlation {pair.correlation:.2f}), so which is the best depends on the question."
        for pair in against.itertuples()
    ]


def costs(table: pd.DataFrame) -> tuple[str, list[tuple[str, str, str, str]]]:
    """The whole in a sentence, and a row for each metric and method: names, seconds and model rows."""
    rows = [
        (
            printable(str(row.metric)) or "explanations",
            printable(str(row.attribution)),
            f"{row.seconds:.3g}",
            f"{row.rows:,.0f}" if np.isfinite(row.rows) else "–",
        )
        for row in table.itertuples()
    ]
    return sentence(table), rows
