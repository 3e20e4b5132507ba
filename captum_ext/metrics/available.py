"""The table of all metrics, made from their cards, signatures and docstrings: nothing is listed here by hand."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .._core.card import Card

BETTER = {True: "higher", False: "lower", None: None}
# What a required argument is called in the table, if not by its name.
NEEDS = {
    "forward_func": "model",
    "explanation_func": "explanation function",
    "explanation_factory": "explanation as a function of the model",
    "truth_mask": "truth mask",
}


@dataclass(frozen=True)
class Entry:
    """`better` is "higher", "lower" or, for a curve, None; `rows` is the cost of a batch of `B` examples in model rows;
    `needs` are the required arguments except `inputs`.
    """

    name: str
    family: str
    summary: str
    better: str | None
    range: tuple[float, float]
    rows: str
    needs: tuple[str, ...]
    reference: str

    @property
    def arrow(self) -> str:
        return {"higher": "↑", "lower": "↓"}.get(self.better or "", " ")

    @property
    def range_text(self) -> str:
        low, high = (f"{end:g}".replace("inf", "∞") for end in self.range)
        return f"{low} … {high}"


class Catalogue(list[Entry]):
    """A list that prints itself by family; `pandas.DataFrame(available())` makes a table of it."""

    def families(self) -> dict[str, list[Entry]]:
        return {family: [e for e in self if e.family == family] for family in sorted({e.family for e in self})}

    def __repr__(self) -> str:
        longest = max((len(entry.name) for entry in self), default=0)
        lines = []
        for family, entries in self.families().items():
            lines.append(f"{family}:")
            lines += [f"  {e.name:{longest}} {e.arrow} {e.range_text:7} {', '.join(e.needs)}" for e in entries]
        return "\n".join(lines)


def available() -> Catalogue:
    """Every metric: name, family, summary, better direction, range, cost in model rows, what it needs, and its paper.

    The list prints itself by family; `pandas.DataFrame(available())` makes a table of it.

    Example:
        >>> deletion = next(entry for entry in available() if entry.name == "deletion")
        >>> deletion.family, deletion.better, deletion.needs
        ('removal', 'lower', ('model', 'attributions'))
    """
    exported = sys.modules[__name__.rpartition(".")[0]]
    return catalogue({name: getattr(exported, name) for name in exported.__all__})


def catalogue(exported: Mapping[str, Any]) -> Catalogue:
    """The metrics among the names that a package exports: all that have a card."""
    return Catalogue(_entry(name, exported[name]) for name in sorted(exported) if hasattr(exported[name], "card"))


def _entry(name: str, metric: Callable[..., Any]) -> Entry:
    card: Card = getattr(metric, "card")  # noqa: B009
    summary = " ".join((inspect.getdoc(metric) or "").split("\n\n")[0].split())
    better = BETTER[card.higher_is_better]
    return Entry(name, card.family, summary, better, card.range, card.rows, _needs(metric), card.reference)


def _needs(metric: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(metric).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return tuple(NEEDS.get(name, name) for name in required if name != "inputs")
