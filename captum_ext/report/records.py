"""What the report says, as plain records: tables, cells and findings, ready for the page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

import numpy as np

WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[_/.])(?=\w)")  # where a name may be broken
MANY = 7  # columns, beyond which a table is set closer


@dataclass(frozen=True)
class Cell:
    """What a method scores on a metric, and what the tests say of it.

    `bar` is the interval's low end, the mean and the high end, in percent of the column's span.
    """

    value: float
    mean: str
    interval: str
    bar: tuple[float, float, float] | None
    best: bool
    tied: bool  # not distinguishable from the best, where a difference could have shown
    undecided: bool  # too few examples to tell it from the best
    as_control: bool  # not shown to be better than the control, where that could have been shown
    control_undecided: bool  # too few examples to tell it from the control
    undefined: str

    @property
    def worse(self) -> bool:
        """Whether it is known to be worse than the best."""
        return bool(np.isfinite(self.value)) and not (self.best or self.tied or self.undecided)


@dataclass(frozen=True)
class Column:
    label: str
    axis: str | None  # of a metric with several scores
    higher_is_better: bool
    family: str  # of the metric, empty where the results do not say
    cells: list[Cell]
    tells: bool  # whether a method is known to be worse than the best, and the control is not among the best

    @property
    def ranking(self) -> list[int]:
        """The methods' places, the best mean first and those without a score last."""
        turned = [-cell.value if self.higher_is_better else cell.value for cell in self.cells]
        return np.argsort(np.nan_to_num(turned, nan=np.inf), kind="stable").tolist()


@dataclass(frozen=True)
class Overview:
    """The scores in one table, what follows from them, and what does not."""

    verdict: str
    caveats: list[str]
    methods: list[str]
    columns: list[Column]
    leads: list[int]  # of each method: on how many of the counted columns it is the best or tied with it
    counted: int  # the columns that tell methods apart, or all if none does
    has_control: bool

    @property
    def leads_differ(self) -> bool:
        """Whether a column with the leads would say anything."""
        return len(set(self.leads)) > 1 and any(column.tells for column in self.columns)

    @property
    def dense(self) -> bool:
        return len(self.columns) + self.leads_differ > MANY

    @property
    def width(self) -> float:
        """About how wide the table is at least, in rem: below that a ranking for each metric takes its place."""
        letter, least, beside = (0.48, 5.3, 0.7) if self.dense else (0.53, 6.8, 2.2)
        columns = [max(least, letter * longest_piece(f"{c.label}00") + beside) for c in self.columns]  # with an arrow
        names = max(7.0, letter * max(map(longest_piece, self.methods)) + 3)
        return names + sum(columns) + least * self.leads_differ

    @property
    def families(self) -> list[tuple[str, list[Column]]]:
        """The columns by family, in the order in which the families come; all in one if there is but one family."""
        names = list(dict.fromkeys(column.family for column in self.columns))
        ordered = sorted(self.columns, key=lambda column: names.index(column.family))
        return [(name if len(names) > 1 else "", list(of)) for name, of in groupby(ordered, lambda c: c.family)]

    @property
    def undecided(self) -> bool:
        return any(cell.undecided for column in self.columns for cell in column.cells)

    @property
    def control_undecided(self) -> bool:
        return any(cell.control_undecided for column in self.columns for cell in column.cells)


@dataclass(frozen=True)
class Agreement:
    labels: list[str]
    rows: list[list[float]]


@dataclass(frozen=True)
class Metric:
    name: str
    function: str
    direction: bool | None
    arguments: list[tuple[str, str]]
    reference: str
    consistency: list[str]  # of its score, or of each of its scores


@dataclass(frozen=True)
class Findings:
    """All that the page says but its charts and its gallery."""

    headline: str
    confidence: str  # as in "95%"
    baseline: str
    overview: Overview
    agreement: Agreement | None
    metrics: list[Metric]
    settings: list[tuple[str, str]]
    call: str  # of `evaluate`, as Python
    failures: list[dict[str, str]]


def longest_piece(name: str) -> int:
    """The letters of the longest part of a name that a line break cannot divide."""
    return max(len(part) for word in re.split(r"(?<=-)|\s", name) for part in WORD_START.split(word))
