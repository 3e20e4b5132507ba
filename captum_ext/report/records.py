"""What the report says, as plain records: tables, cells and findings, ready for the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """What a method scores on a metric; `low`, `at` and `high` are percentages of the column's span, for a bar."""

    value: float
    mean: str
    interval: str
    bar: tuple[float, float, float] | None
    best: bool
    tied: bool
    as_control: bool  # not shown to be better than the control
    undefined: str


@dataclass(frozen=True)
class Column:
    label: str
    axis: str | None  # of a metric with several scores
    higher_is_better: bool
    cells: list[Cell]


@dataclass(frozen=True)
class Overview:
    """The scores in one table, what follows from them, and what doesn't."""

    verdict: str
    caveats: list[str]
    methods: list[str]
    columns: list[Column]
    leads: list[int]  # of each method: on how many columns it is the best or not told from it
    has_control: bool


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
