"""Writes the table of metrics in README.md from `metrics.available()`: `python -m tests.readme_metrics`."""

from __future__ import annotations

import re
from pathlib import Path

from captum_ext import metrics

README = Path(__file__).parents[1] / "README.md"
MARKED = re.compile(r"(<!-- metrics: .*? -->\n).*?(<!-- /metrics -->)", re.DOTALL)
HEAD = "| metric | what it says | better | range | model rows | needs | paper |\n|---|---|---|---|---|---|---|"


def table() -> str:
    lines = [HEAD]
    for family, entries in metrics.available().families().items():
        lines += [f"| **{family}** | | | | | | |", *map(line, entries)]
    return "\n".join(lines) + "\n"


def line(entry) -> str:
    cells = (
        f"`{entry.name}`",
        entry.summary,
        entry.arrow,
        entry.range_text,
        entry.rows,
        ", ".join(entry.needs),
        paper(entry.reference),
    )
    return f"| {' | '.join(cell.replace('|', '&#124;').strip() for cell in cells)} |"


def paper(reference: str) -> str:
    """Authors and year, linked."""
    name, _, place = reference.partition(", ")
    found = re.match(r"(arXiv|doi):([^\s,]+)", place)
    address = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}
    return f"[{name}]({address[found.group(1)]}{found.group(2)})" if found else reference


def with_table(readme: str) -> str:
    made, places = MARKED.subn(lambda found: found.group(1) + table() + found.group(2), readme)
    if places != 1:
        raise ValueError(f"README.md must have the two markers of the table once, found {places} such places.")
    return made


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
