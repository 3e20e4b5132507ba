"""Methods by metrics as a table for a text: Markdown, or LaTeX with the package booktabs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import xarray as xr

from .._core.checks import check_flag
from .._core.printing import printable
from . import comparison, display
from .score import labels

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
MARKDOWN = {character: f"\\{character}" for character in "\\`*_{}[]<>|#~$"}


@dataclass(frozen=True)
class Form:
    """How one format writes a text of the user, an arrow, and a mean: the best, one tied with it, an undecided one."""

    special: dict[str, str]
    arrows: dict[str, str]
    best: str
    tied: str
    undecided: str
    marks: str

    def text(self, text: str) -> str:
        return "".join(self.special.get(character, character) for character in printable(text))

    def cell(self, row: Any, mark: str, number: Callable[[float], str], intervals: bool) -> str:
        known = intervals and pd.notna(row.low) and pd.notna(row.high)
        return mark.format(number(row.mean)) + (f" [{number(row.low)}, {number(row.high)}]" if known else "")

    def mark(self, row: Any, alone: bool) -> str:
        """Of the best only where it is `alone`: some method is distinguishable from it."""
        if row.rank == 1 and alone:
            return self.best
        return self.undecided if row.undecided else self.tied if row.tied_with_best else "{}"


IN_MARKDOWN = Form(
    MARKDOWN,
    {"↑": "↑", "↓": "↓"},
    "**{}**",
    "{} =",
    "{} ?",
    "bold: best mean; =: not distinguishable from the best; ?: too few examples to tell",
)
IN_LATEX = Form(
    LATEX,
    {"↑": r"$\uparrow$", "↓": r"$\downarrow$"},
    r"\textbf{{{}}}",
    r"\underline{{{}}}",
    "{} ?",
    "bold: best mean; underlined: not distinguishable from the best; ?: too few examples to tell",
)


def to_markdown(dataset: xr.Dataset, intervals: bool, options: dict[str, Any]) -> str:
    head, *rows, key = _cells(dataset, IN_MARKDOWN, intervals, options)
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
    return "\n".join([*lines, "", *key])


def to_latex(dataset: xr.Dataset, intervals: bool, options: dict[str, Any]) -> str:
    head, *rows, key = _cells(dataset, IN_LATEX, intervals, options)
    lines = [f"  {' & '.join(row)} \\\\" for row in (head, *rows)]
    columns = "l" + "r" * (len(head) - 1)
    return "\n".join(
        [
            *(f"% {line}" for line in key),
            f"\\begin{{tabular}}{{{columns}}}",
            r"  \toprule",
            lines[0],
            r"  \midrule",
            *lines[1:],
            r"  \bottomrule",
            r"\end{tabular}",
        ]
    )


def _cells(dataset: xr.Dataset, form: Form, intervals: bool, options: dict[str, Any]) -> list[list[str]]:
    """The head, a row per method, and the sentence that explains the marks."""
    check_flag("intervals", intervals)
    table = comparison.summary(dataset, **options)
    table = table.assign(label=labels(table))
    columns = [_column(name, rows, form, intervals) for name, rows in table.groupby("label", sort=False)]
    methods = ["method", *(form.text(name) for name in dict.fromkeys(table["attribution"]))]
    confidence = f"{options.get('confidence', 0.95):.0%}"
    told = f"Means with {confidence} intervals over examples" if intervals else "Means over examples"
    key = f"{display.headline(dataset)}. {told}; an arrow points to the better side; {form.marks}."
    return [*(list(row) for row in zip(methods, *columns)), [key]]


def _column(name: Any, rows: pd.DataFrame, form: Form, intervals: bool) -> list[str]:
    number = display.number_format(rows[["mean", "low", "high"]])
    to_better = form.arrows[display.arrow(bool(rows["higher_is_better"].iloc[0]))]
    alone = len(rows) == 1 or not bool(rows["tied_with_best"].all())
    cells = [form.cell(row, form.mark(row, alone), number, intervals) for row in rows.itertuples()]
    return [f"{form.text(str(name))} {to_better}", *cells]
