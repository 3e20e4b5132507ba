"""What the report says, as plain records: tables, cells and findings, ready for the page."""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True)
class Column:
    label: str
    axis: str | None  # of a metric with several scores
    higher_is_better: bool
    cells: list[Cell]


@dataclass(frozen=True)
class Overview:
    """The scores in one table, what follows from them, and what does not."""

    verdict: str
    caveats: list[str]
    methods: list[str]
    columns: list[Column]
    leads: list[int]  # of each method: on how many columns it is the best or tied with it
    has_control: bool

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
    failures: list[dict[str, str]]
