"""Every table that the page reads, computed once from the scores."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import xarray as xr

from ..evaluation import comparison, display
from ..evaluation.score import GROUP, Score, labels, methods_of

ALPHA = 0.05  # of the comparison with the control


@dataclass(frozen=True)
class Tables:
    """The tables of `evaluation.comparison`, None where there is nothing to compare.

    `summary` and `against_control` also have a column `label`.
    """

    methods: list[str]
    examples: int
    noun: str  # what counts as an example
    baseline: str
    confidence: float
    scores: list[Score]
    families: dict[str, str]  # metric -> family, where the results say it
    summary: pd.DataFrame | None
    against_control: pd.DataFrame | None
    agreement: pd.DataFrame | None
    consistency: pd.DataFrame | None


def tables(dataset: xr.Dataset, baseline: str, confidence: float) -> Tables:
    found, methods = display.directed_scores(dataset), methods_of(dataset)
    has_control = bool(found) and baseline in methods and len(methods) > 1
    return Tables(
        methods,
        found[0].values.shape[1] if found else dataset.sizes["example"],
        "group" if GROUP in dataset.coords else "example",
        baseline,
        confidence,
        found,
        {str(name): str(v.attrs["family"]) for name, v in dataset.data_vars.items() if "family" in v.attrs},
        _labelled(comparison.summary_of(found, confidence)) if found else None,
        _labelled(comparison.compare_of(found, baseline, alpha=ALPHA)) if has_control else None,
        comparison.agreement_of(found) if len(found) > 1 and len(methods) > 2 else None,
        comparison.ranking_consistency_of(found) if found else None,
    )


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(label=labels(table))
