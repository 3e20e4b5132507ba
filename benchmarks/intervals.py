"""How many 95 % intervals of `metrics.with_stderr` hold the score that very many draws give."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kept import kept, markdown

from captum_ext import metrics

ENOUGH = 12  # draws that carry the variance
NORMAL = 1.96  # standard errors on either side


@dataclass(frozen=True)
class Case:
    """A score by its number of draws and seed, and the one that stands for the truth."""

    name: str
    estimate: Callable[..., Any]  # takes `n_perturb_samples` and `seed`
    of_many: Callable[..., Any]
    draws: int

    @property
    def label(self) -> str:
        return f"{self.name}, {self.draws} draws"


def cases(sensitivity_n: Callable[..., Any], infidelity: Callable[..., Any], outputs: dict[str, Any]) -> Iterator[Case]:
    """The two metrics, of a model and its examples that they have already."""
    for output, activation in outputs.items():
        for n in (0.1, 0.3, 0.5):
            score = partial(sensitivity_n, n=n, activation=activation)
            for kind in ("sample", "regression"):
                found = partial(score, estimator=kind)
                yield Case(f"sensitivity-n, {output}, n = {n:.0%}, {kind}", found, score, 50)
    with_variate = partial(infidelity, control_variate="gradient")
    for variate in (None, "gradient"):
        for draws in (10, 50, 200):
            found = partial(infidelity, control_variate=variate)
            yield Case(f"infidelity, {'with' if variate else 'no'} control variate", found, with_variate, draws)


@cache
def truth_of(of_many: Callable[..., Any], draws: int) -> Any:
    """Several cases have the same truth."""
    return metrics.with_stderr(of_many)(n_perturb_samples=draws, seed=0)


def measured(case: Case, truth_draws: int, repeats: int) -> pd.DataFrame:
    """A line for each estimate of an example, a method and a seed."""
    truth = truth_of(case.of_many, truth_draws)
    lines = []
    for seed in range(1, repeats + 1):
        found = metrics.with_stderr(case.estimate)(n_perturb_samples=case.draws, seed=seed)
        for method, score in found.score.items():
            columns = {"error": score - truth.score[method], "of_truth": truth.stderr[method]}
            columns |= {"stderr": found.stderr[method], "n_eff": found.n_eff[method]}
            lines.append(pd.DataFrame(columns).assign(method=method, seed=seed))
    return pd.concat(lines, ignore_index=True)


def line(name: str, found: pd.DataFrame) -> dict[str, str]:
    """Intervals are of the estimate's standard error and the truth's, which is much smaller."""
    found = found[found.stderr.notna() & found.error.notna()]
    held, enough = found.error.abs() <= NORMAL * np.hypot(found.stderr, found.of_truth), found.n_eff >= ENOUGH
    of_method = held[enough].groupby(found.method[enough]).mean()
    return {
        "score": name,
        "intervals that hold the truth": f"{held.mean():.3f}",
        f"n_eff >= {ENOUGH}": f"{held[enough].mean():.3f}" if enough.any() else "-",
        "least and most of a method": f"{of_method.min():.3f}, {of_method.max():.3f}" if enough.any() else "-",
        f"share of n_eff >= {ENOUGH}": f"{enough.mean():.0%}",
        "bias": f"{found.error.mean():+.4f}",
    }


def run(all_cases: Iterator[Case], folder: Path, truth_draws: int, repeats: int) -> pd.DataFrame:
    lines = []
    for case in all_cases:
        name = f"intervals, {case.label}, truth of {truth_draws} draws, {repeats} repeats"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*draws carry the variance.*")
            found = kept(folder, name, partial(measured, case, truth_draws, repeats))
        lines.append(line(case.label, found))
        print(case.label, "done", flush=True)
    table = pd.DataFrame(lines)
    print(markdown(table))
    return table
