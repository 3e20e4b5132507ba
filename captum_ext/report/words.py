"""What the report says in sentences: the verdict, and why it may not hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..evaluation import display
from ..evaluation.statistics import MIN_PAIRS
from .records import Column
from .tables import Tables

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


def caveats(tables: Tables, n_failures: int) -> list[str]:
    """Why the verdict may not hold, a sentence each."""
    found = []
    if tables.summary is not None and len(tables.methods) > 1:
        found += _about_the_control(tables, tables.summary) + _about_undefined(tables.summary)
        found += _about_agreement(tables.agreement)
    if n_failures:
        found.append(f"{display.counted(n_failures, 'failure')} left scores undefined; they are listed at the end.")
    return found


def _about_the_control(tables: Tables, summary: pd.DataFrame) -> list[str]:
    control = tables.baseline
    if control not in tables.methods:
        return [f"No control ({control}) was evaluated, so nothing shows that a metric can tell sense from noise here."]
    rows = summary[summary["attribution"] == control]
    tied = rows[rows["tied_with_best"] & (rows["examples"] >= MIN_PAIRS)]
    if tied.empty:
        return []
    return [
        f"The control {control} is the best or cannot be told from it on {_listed(list(tied['label']))}: "
        "there the scores do not tell these methods from noise."
    ]


def _about_undefined(table: pd.DataFrame) -> list[str]:
    worst = table.nlargest(1, "undefined").iloc[0]
    if not worst["undefined"]:
        return []
    where = f"{worst['undefined']:.0%} of {worst['attribution']} on {worst['label']}"
    return [f"Some scores are undefined and left out, at most {where}."]


def _about_agreement(matrix: pd.DataFrame | None) -> list[str]:
    if matrix is None or not (matrix < AGAINST).any(axis=None):
        return []
    one, other = np.unravel_index(np.nanargmin(matrix), matrix.shape)
    return [
        f"Metrics disagree: {matrix.index[one]} and {matrix.columns[other]} rank the methods against each other "
        f"(correlation {matrix.iloc[one, other]:.2f}), so which is the best depends on the question."
    ]
