"""Results at a glance, for a terminal and for a notebook."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .._core.printing import printable
from . import comparison
from .score import Score, failures_of, labels, methods_of, metrics_of, presentable, scores
from .statistics import Floats, ranks_of

MOST_DECIMALS = 5
# The attributes with what was decided, and of how many methods and examples.
SENTENCES, DECIDED_OF = "verdict", "verdict_of"
TOO_FEW = ", ? too few examples to tell"
LEGEND = "Means over examples; an arrow points to the better side, * marks the best."


@dataclass(frozen=True)
class Numbers:
    """A number of each method by one score, such as its mean: also as text, and whether it is the best."""

    label: str
    higher_is_better: bool
    values: list[float]
    texts: list[str]
    best: list[bool]

    @property
    def head(self) -> str:
        """The label with an arrow to the better side."""
        return f"{self.label} {arrow(self.higher_is_better)}"


def counted(number: int, noun: str) -> str:
    """As in "1 method", "2 methods"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def arrow(higher_is_better: bool) -> str:
    return "↑" if higher_is_better else "↓"


def number_format(values: Any) -> Callable[[float], str]:
    """A common format for the numbers of one column: three digits of the largest, a dash where one is undefined."""
    finite = np.abs(np.asarray(values, dtype=np.float64))
    largest = finite[np.isfinite(finite)].max(initial=0)
    decimals = max(0, 2 - int(np.floor(np.log10(largest)))) if largest > 0 else 2
    form = f".{decimals}f" if decimals <= MOST_DECIMALS and largest < 1e6 else ".2e"
    return lambda value: f"{value:{form}}" if np.isfinite(value) else "–"


def directed_scores(dataset: xr.Dataset) -> list[Score]:
    """The scores that can be ranked; an empty list where `scores` refuses because there are none."""
    try:
        return scores(dataset)
    except ValueError:
        return []


def headline(dataset: xr.Dataset) -> str:
    """As in "6 methods on 100 examples, 8 metrics", or "on 31 of 200 examples" where the run stopped early."""
    sizes, metrics = dataset.sizes, metrics_of(dataset)
    examples, of = sizes.get("example", 0), dataset.attrs.get("examples_of_data", 0)
    number = f"{examples} of {counted(of, 'example')}" if examples < of else counted(examples, "example")
    return f"{counted(sizes.get('attribution', 0), 'method')} on {number}, {counted(len(metrics), 'metric')}"


def decided(dataset: xr.Dataset) -> list[str]:
    """What the scores have decided and what not, a sentence each; nothing if it was not asked, or of other scores."""
    sizes = [dataset.sizes.get(axis) for axis in ("attribution", "example")]
    if json.loads(dataset.attrs.get(DECIDED_OF, "null")) not in (None, sizes):  # some were selected since
        return []
    return [printable(str(sentence)) for sentence in json.loads(dataset.attrs.get(SENTENCES, "[]"))]


def numbers(score: Score, values: Floats, form: Callable[[float], str], stderr: Floats | None = None) -> Numbers:
    best = ranks_of(score.turned(values), score.margin_of_means) == 1
    errors = [""] * len(values) if stderr is None else [f" ± {form(e)}" if np.isfinite(e) else "" for e in stderr]
    texts = [form(value) + error for value, error in zip(values, errors)]
    return Numbers(score.label, score.higher_is_better, values.tolist(), texts, best.tolist())


def means(dataset: xr.Dataset) -> list[Numbers]:
    """The mean over examples, of each score that can be ranked."""
    return [_means(score) for score in directed_scores(dataset)]


def _means(score: Score) -> Numbers:
    means = pd.DataFrame(score.values.T).mean().to_numpy()  # skips nan
    return numbers(score, means, number_format(means))


def without_direction(dataset: xr.Dataset) -> list[str]:
    """Metrics with no better side, such as curves."""
    return [name for name in metrics_of(dataset) if dataset[name].attrs.get("higher_is_better") is None]


def as_text(dataset: xr.Dataset, width: int | None = None) -> str:
    """Methods by metrics in columns, as many side by side as the terminal has room for."""
    dataset, width = presentable(dataset), width or shutil.get_terminal_size((120, 0)).columns
    lines = [f"Evaluation: {headline(dataset)}", *decided(dataset), *_table_lines(dataset, width)]
    if unranked := without_direction(dataset):
        lines.append(f"Without a better side: {', '.join(unranked)}.")
    return "\n".join([*lines, *_failure_lines(dataset)])


def _table_lines(dataset: xr.Dataset, width: int) -> list[str]:
    found = means(dataset)
    if not found:
        return []
    names = _aligned(["method", *methods_of(dataset)])
    blocks: list[list[list[str]]] = [[names]]
    for column in found:
        cells = _aligned([column.head + " ", *(c + ("*" if b else " ") for c, b in zip(column.texts, column.best))])
        if len(blocks[-1]) > 1 and sum(len(c[0]) + 2 for c in [*blocks[-1], cells]) > width:
            blocks.append([names])
        blocks[-1].append(cells)
    return [*("\n".join("  ".join(row).rstrip() for row in zip(*block)) for block in blocks), LEGEND]


def _aligned(cells: Sequence[str]) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def _failure_lines(dataset: xr.Dataset) -> list[str]:
    failures = failures_of(dataset)
    return [f"{counted(len(failures), 'failure')}, see `failures`."] if failures else []


def summary_text(dataset: xr.Dataset, **options: Any) -> str:
    """A block per metric: mean, interval and rank of each method, the best first."""
    table = comparison.summary(dataset, **options)
    blocks = [_summary_block(str(name), rows) for name, rows in table.groupby(labels(table), sort=False)]
    legend = (
        f"{headline(dataset)}. Mean with its {options.get('confidence', 0.95):.0%} interval over examples; "
        f"* best mean, = not distinguishable from the best{TOO_FEW if table['undecided'].any() else ''}."
    )
    if table["share_of_draws"].notna().any():
        legend += "\nBy draws: the share of the variance between examples that is noise of the metric's random draws."
    return "\n\n".join([*blocks, "\n".join([*decided(dataset), legend, *_failure_lines(dataset)])])


def _summary_block(name: str, rows: pd.DataFrame) -> str:
    rows = rows.sort_values("rank", kind="stable")
    form = number_format(rows[["mean", "low", "high"]])
    alone = len(rows) == 1 or not rows["tied_with_best"].all()
    marks = [_mark(row, alone) for row in rows.itertuples()]
    intervals = [f"[{form(low)}, {form(high)}]" for low, high in zip(rows["low"], rows["high"])]
    missing = [f"{share:.0%} undefined" if share else "" for share in rows["undefined"]]
    draws = [f"{share:.0%} by draws" if np.isfinite(share) else "" for share in rows["share_of_draws"]]
    cells = (_aligned(list(rows["attribution"])), marks, _aligned(list(map(form, rows["mean"]))), _aligned(intervals))
    lines = ["  ".join(["", *row]).rstrip() for row in zip(*cells, _aligned(draws), missing)]
    return "\n".join([f"{name} {arrow(rows['higher_is_better'].iloc[0])}", *lines])


def _mark(row: Any, alone: bool) -> str:
    """A star only if some method is distinguishable from the best."""
    if row.rank == 1 and alone:
        return "*"
    return "?" if row.undecided else "=" if row.tied_with_best else " "


def as_html(dataset: xr.Dataset) -> str:
    """The table of `as_text` for a notebook, above the data set itself."""
    dataset = presentable(dataset)
    html = (
        f"<div><p><strong>Evaluation</strong>: {escape(headline(dataset))}</p>"
        f"{''.join(f'<p>{escape(line)}</p>' for line in decided(dataset))}{_html_table(dataset)}"
        f"<p>{escape(' '.join(_failure_lines(dataset)))}</p>"
        f"<details><summary>dataset</summary>{dataset._repr_html_()}</details></div>"
    )
    return printable(html, keep="\n")  # attributes, too


def _html_table(dataset: xr.Dataset) -> str:
    found = means(dataset)
    if not found:
        return ""
    head = "".join(f'<th scope="col">{escape(column.head)}</th>' for column in found)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(_html_cell(c.texts[i], c.best[i]) for c in found)}</tr>'
        for i, name in enumerate(methods_of(dataset))
    )
    caption = f'<caption style="caption-side: bottom">{escape(LEGEND)}</caption>'
    return f'<table>{caption}<thead><tr><th scope="col">method</th>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _html_cell(text: str, best: bool) -> str:
    return f"<td><strong>{escape(text)}*</strong></td>" if best else f"<td>{escape(text)}</td>"
