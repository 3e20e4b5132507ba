"""What the report says in sentences: the verdict, and why it may not hold."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ..evaluation import comparison, display
from ..evaluation.statistics import MIN_PAIRS
from .records import Agreement, Column

MOST_NAMED = 4  # in a sentence
AGAINST = -0.2  # a correlation nearer to 0 is no order, neither the same nor the opposite


def verdict(methods: list[str], columns: list[Column], leads: list[int], examples: int) -> str:
    """One sentence."""
    noun = "metric" if all(c.axis is None for c in columns) else "column of the table"
    few = examples < MIN_PAIRS
    if len(methods) == 1:
        return f"Only {methods[0]} was evaluated, so there is nothing to compare it with."
    if few:
        leads = [sum(c.cells[i].best for c in columns) for i in range(len(methods))]
    most = max(leads)
    if most == 0:
        return "No method has a score."
    if not few and min(leads) == len(columns):
        return f"On these {examples} examples no method can be told from the best on any {noun}."
    leaders = [name for name, count in zip(methods, leads) if count == most]
    leading = f"{_listed(leaders)} leads: the best" if len(leaders) == 1 else f"{_listed(leaders)} lead: each the best"
    where = _share(most, len(columns), noun)
    if few:
        number = display.counted(examples, "example")
        start = f"With {number} no method can be told from another (that takes {MIN_PAIRS})"
        return f"{start}; by the means alone {leading} on {where}."
    alone = _alone(columns, methods.index(leaders[0])) if len(leaders) == 1 else 0
    if alone == most:
        return f"{leading} on {where}."
    return f"{leading}, or not distinguishable from the best, on {where}{f' (alone on {alone})' if alone else ''}."


def _alone(columns: list[Column], method: int) -> int:
    """On how many columns no other method can be taken for the best."""
    return sum([i for i, cell in enumerate(c.cells) if cell.tied] == [method] for c in columns)


def _share(part: int, whole: int, noun: str) -> str:
    plural = noun.replace("metric", "metrics").replace("column", "columns")
    if whole == 1:
        return f"the one {noun}"
    return f"all {whole} {plural}" if part == whole else f"{part} of {whole} {plural}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def caveats(dataset: xr.Dataset, table: pd.DataFrame | None, agreement: Agreement | None, baseline: str) -> list[str]:
    """Why the verdict may not hold, a sentence each."""
    methods = [str(name) for name in dataset["attribution"].values]
    found = []
    if table is not None and len(methods) > 1:
        found += _about_the_control(table, baseline, methods) + _about_undefined(table) + _about_agreement(agreement)
    if count := len(json.loads(dataset.attrs.get("failures", "[]"))):
        found.append(f"{display.counted(count, 'failure')} left scores undefined; they are listed at the end.")
    return found


def _about_the_control(table: pd.DataFrame, baseline: str, methods: list[str]) -> list[str]:
    if baseline not in methods:
        return [
            f"No control ({baseline}) was evaluated, so nothing shows that a metric can tell sense from noise here."
        ]
    rows = labelled(table)
    tied = rows[(rows["attribution"] == baseline) & rows["tied_with_best"] & (rows["examples"] >= MIN_PAIRS)]
    if tied.empty:
        return []
    return [
        f"The control {baseline} is the best or cannot be told from it on {_listed(list(tied['label']))}: "
        "there the scores do not tell these methods from noise."
    ]


def _about_undefined(table: pd.DataFrame) -> list[str]:
    worst = labelled(table).nlargest(1, "undefined").iloc[0]
    if not worst["undefined"]:
        return []
    where = f"{worst['undefined']:.0%} of {worst['attribution']} on {worst['label']}"
    return [f"Some scores are undefined and left out, at most {where}."]


def _about_agreement(found: Agreement | None) -> list[str]:
    if found is None:
        return []
    rows = np.array(found.rows)
    if not (rows < AGAINST).any():
        return []
    one, other = np.unravel_index(np.nanargmin(rows), rows.shape)
    return [
        f"Metrics disagree: {found.labels[one]} and {found.labels[other]} rank the methods against each other "
        f"(correlation {rows[one, other]:.2f}), so which is the best depends on the question."
    ]


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    places = zip(table["metric"], table["axis"], table["at"])
    return table.assign(label=[comparison.label(*place) for place in places])
