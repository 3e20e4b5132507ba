"""How many draws, points and examples a run needs, by the scores of a pilot run.

Of a metric with n random draws, the mean over N examples has the variance (between + within / n) / N: `between` is how
much examples differ, and `within / n` is the mean squared standard error of a score over its draws. N examples cost
N (other + unit n) model rows, if a draw costs `unit` rows and an example `other` rows besides. For any precision of the
mean, rows are least at n = sqrt(other / unit * within / between).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import special

from .._core.checks import check_count, check_fraction, check_not_negative, check_positive, describe
from .._core.estimates import FEWEST
from .._core.printing import printable
from .certainty import EProcess
from .decisions import Decisions
from .names import HALVES, N_EFF, STDERR
from .score import Score, label, own_axes, part_of, scores
from .statistics import MIN_EXAMPLES, Floats
from .verdict import WANTED, opened

GRADIENT = 3  # model rows: a forward pass, and a backward pass of about twice the work
LEAST_EXAMPLES = 5  # of a pilot, as a variance of fewer says little
LEAST_DRAWS, MOST_DRAWS = 20, 10_000
LEAST_BETWEEN = 0.05  # of the variance: what is left of it without the draws may come out as nothing by chance
POINTS = 13  # that an area under a curve needs: see docs/how-to/draws-and-points.md
REPLAYS = 100
COUNTS = ("draws", "best_draws", "points", "best_points", "examples", "best_examples", "decided_after")


@dataclass(frozen=True)
class Wanted:
    """What the caller wants, and what it costs."""

    half_width: Any  # a number, or numbers by metric or score; None for no interval
    confidence: float
    other_rows: float
    unit_rows: Mapping[str, float]
    least_draws: int
    most_examples: int

    def half_width_of(self, score: Score) -> float:
        if not isinstance(self.half_width, Mapping):
            return math.nan if self.half_width is None else float(self.half_width)
        return float(self.half_width.get(score.label, self.half_width.get(score.metric, math.nan)))


@dataclass(frozen=True)
class Setting:
    """How a metric was set in the pilot; None for what it does not have."""

    draws: int | None
    points: int | None
    best_points: int | None
    noise: str  # "known", "maximum", "unknown" or "none"
    least_draws: int
    unit_rows: float  # of a draw, or of a point
    size: float  # examples of a group; 1 without groups

    def rows(self, other_rows: float, draws: float | None, points: float | None) -> float:
        """Model rows of an example, or of a group of them."""
        return self.size * (other_rows + self.unit_rows * (draws or points or 0))


def advice(
    dataset: xr.Dataset,
    half_width: float | Mapping[str, float] | None = None,
    until: str | Mapping[str, str] | None = None,
    *,
    alpha: float | None = None,
    within: float | None = None,
    confidence: float = 0.95,
    other_rows: float | None = None,
    unit_rows: Mapping[str, float] | None = None,
    least_draws: int = LEAST_DRAWS,
    most_examples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """The draws, points and examples with which a run is as certain as wanted, at least cost in model rows.

    The scores are those of a pilot run, `evaluate(..., stderr=True)` on some twenty examples. A row per metric, `axis`
    and `at`, which the column `advice` says in a sentence:

    - `share_of_draws`: the share of the variance between examples that is noise of the draws, of the method with the
      largest; missing for a metric that draws nothing.
    - `draws` of the pilot and `best_draws`. Methods share the draws, so these are the best for the method whose mean is
      the least certain. Maxima over draws have no best number, as they grow with each draw.
    - `points` of the pilot's curves and `best_points`: 13 for an area, of which the rest of its error is far below the
      differences between examples.
    - `unit_rows` that a draw, or a point, is taken to cost; `example_rows`, `best_example_rows`: model rows of an
      example with the pilot's setting, and with the best one.
      `times_fewer`: the ratio of all rows that equally certain means take.
    - With `half_width`: the `examples` that the mean of the least certain method needs by the pilot's setting, and
      `best_examples` by the best one, and the model rows of all, `rows` and `best_rows`.
    - With `until`: `decided_after`, the examples after which the score is decided in half of 100 replays of the stop
      rule, which draw examples of the pilot with replacement. Its scores have the pilot's draws. It is missing if fewer
      are decided after `most_examples`. A run looks at the ends of its shards, and stops when all scores are decided.

    Groups count as examples, and are drawn as wholes.

    Args:
        dataset: the pilot's scores.
        half_width: half the width of the interval of a method's mean; or a mapping from metrics, or single scores such
            as "sensitivity_n (n=5)", to theirs.
        until, alpha, within: a decision, as in `evaluate`. By default that of the pilot, or "best", if there is no
            `half_width` either.
        confidence: the level of the interval.
        other_rows: model rows that an example costs besides the metric's own draws or points: its explanations, in
            which a gradient counts as 3 rows, and the other metrics of the call. By default one gradient for each
            method, and the clean input.
        unit_rows: by metric, the model rows of one draw, or of one point of a curve. By default a draw takes one for
            each value of the metric, and a point one for each method. Some metrics take more: twice as many points for
            `srg` and `abpc`; a row for each method and draw for `soft_sufficiency` and `soft_comprehensiveness`; an
            explanation by each method for each draw of those that explain perturbed inputs, such as `sensitivity_avg`.
        least_draws: the fewest draws to advise. A correlation over few draws is off on average, which more examples do
            not mend. Set it to 2 for a mean over draws, such as `infidelity`. At least 12 draws should also carry the
            variance (`n_eff`) of the typical score, as far as the pilot tells.
        most_examples: where a replay ends.
        seed: of the replays.

    Raises:
        ValueError: metrics draw, and the scores have no standard errors; there are fewer than 5 examples; or an
            argument does not fit.
    """
    found = scores(dataset)
    wanted = _wanted(found, half_width, confidence, other_rows, unit_rows, least_draws, most_examples)
    examples = found[0].values.shape[1]
    settings = {score.metric: _setting(dataset, score.metric, wanted, examples) for score in found}
    _check_noise(settings)
    if examples < LEAST_EXAMPLES:
        raise ValueError(
            f"`advice` needs a pilot run of at least {LEAST_EXAMPLES} examples, or groups; got {examples}."
        )
    rows = [_advised(score, settings[score.metric], wanted) for score in found]
    if until is not None or half_width is None:
        decided = _decided(dataset, until, alpha, within, wanted.most_examples, check_count("seed", seed, least=0))
        rows = [row | decided.get(score.label, {}) for row, score in zip(rows, found)]
    table = pd.DataFrame([row | {"advice": _sentence(row)} for row in rows])
    table = table.astype({name: "Int64" for name in COUNTS if name in table})
    return table.drop(columns=["noise", "until", "most_examples"], errors="ignore")


def _wanted(
    found: list[Score],
    half_width: Any,
    confidence: Any,
    other_rows: Any,
    unit_rows: Any,
    least_draws: Any,
    most_examples: Any,
) -> Wanted:
    """Checks the arguments, and fills in what was left out."""
    names = list(dict.fromkeys(name for score in found for name in (score.metric, score.label)))
    if isinstance(half_width, Mapping):
        half_width = _by_metric("half_width", half_width, names)
    elif half_width is not None:
        half_width = check_positive("half_width", half_width)
    return Wanted(
        half_width=half_width,
        confidence=check_fraction("confidence", confidence, open_ends=True),
        other_rows=1 + GRADIENT * len(found[0].methods)
        if other_rows is None
        else check_not_negative("other_rows", other_rows),
        unit_rows=_by_metric("unit_rows", {} if unit_rows is None else unit_rows, [score.metric for score in found]),
        least_draws=check_count("least_draws", least_draws),
        most_examples=check_count("most_examples", most_examples),
    )


def _by_metric(argument: str, numbers: Any, names: list[str]) -> dict[str, float]:
    if not isinstance(numbers, Mapping):
        raise TypeError(f"`{argument}` must be a mapping from metrics to numbers, got {describe(numbers)}.")
    for name in numbers:
        if name not in names:
            raise ValueError(
                f"`{argument}` must name metrics with a better side, {', '.join(map(repr, dict.fromkeys(names)))}; "
                f"got {name!r}."
            )
    return {name: check_positive(f"{argument}[{name!r}]", number) for name, number in numbers.items()}


def _setting(dataset: xr.Dataset, metric: str, wanted: Wanted, examples: int) -> Setting:
    """Of so many examples, or groups of them."""
    variable = next(v for name, v in dataset.data_vars.items() if printable(str(name)) == metric)
    stored = variable.attrs.get("arguments", "{}")
    arguments = json.loads(stored) if isinstance(stored, str) else stored
    draws, points = (_count(arguments.get(name)) for name in ("n_perturb_samples", "n_steps"))
    is_area = {"start", "stop"} <= arguments.keys()  # the points of others are the resolution of the score
    values = math.prod(variable.sizes[axis] for axis in own_axes(variable))
    return Setting(
        draws=draws,
        points=points,
        best_points=min(points, POINTS) if points and is_area else points,
        noise=_noise(dataset, metric, draws),
        least_draws=max(wanted.least_draws, _fewest(dataset, metric, draws or 1)),
        unit_rows=wanted.unit_rows.get(metric, dataset.sizes["attribution"] if points and not draws else values),
        size=dataset.sizes["example"] / examples,
    )


def _fewest(dataset: xr.Dataset, metric: str, draws: int) -> int:
    """The draws of which enough carry the variance, if as large a share does as in the pilot's typical score."""
    n_eff = part_of(dataset, metric, N_EFF)
    if n_eff is None or not (n_eff > 0).any():
        return 1
    return min(MOST_DRAWS, math.ceil(draws * FEWEST / float(n_eff.where(n_eff > 0).median())))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _noise(dataset: xr.Dataset, metric: str, draws: int | None) -> str:
    if part_of(dataset, metric, HALVES) is not None:
        return "maximum"
    if draws is None:
        return "none"
    stderr = part_of(dataset, metric, STDERR)
    return "unknown" if stderr is None or not np.isfinite(stderr.values).any() else "known"


def _check_noise(settings: Mapping[str, Setting]) -> None:
    """Refuses a pilot that kept no standard error of any metric, if one of them draws."""
    draw = [name for name, setting in settings.items() if setting.draws]
    if draw and all(settings[name].noise == "unknown" for name in draw):
        raise ValueError(
            f"`advice` needs the standard errors of metrics that draw, such as {draw[0]!r}, and these results have "
            "none. Evaluate the pilot with `evaluate(..., stderr=True)`, which costs no model row."
        )


# ---- means


def variances(values: Floats, noise: Floats, draws: int) -> tuple[Floats, Floats]:
    """`[methods]` each, from `[methods, examples]`: the variance within an example by one draw, and between examples.

    `noise` are the scores' variances by `draws` draws. Nan for a method with fewer than 5 scores.
    """
    both = np.isfinite(values) & np.isfinite(noise)
    enough = both.sum(-1) >= LEAST_EXAMPLES
    of_draws = pd.DataFrame(np.where(both, noise, np.nan).T).mean().to_numpy()
    total = pd.DataFrame(np.where(both, values, np.nan).T).var().to_numpy()
    between = np.maximum(total - of_draws, LEAST_BETWEEN * total)
    return np.where(enough, draws * of_draws, np.nan), np.where(enough, between, np.nan)


def variance_of(within: Floats, between: Floats, draws: Any) -> Floats:
    """`[*draws]`: of the scores, of the method where it is the largest."""
    return np.asarray(np.nanmax(between[:, None] + within[:, None] / np.atleast_1d(draws), 0))


def best_draws(within: Floats, between: Floats, other_rows: float, unit_rows: float = 1.0, least: int = 1) -> int:
    """The number of draws with which means that are equally certain take the fewest model rows.

    It is sqrt(other_rows / unit_rows * within / between) for one method, rounded, and at least `least`.
    """
    draws = np.arange(least, max(least, MOST_DRAWS) + 1)
    return int(draws[(variance_of(within, between, draws) * (other_rows + unit_rows * draws)).argmin()])


def examples_for(half_width: float, variance: float, confidence: float = 0.95) -> float:
    """The fewest examples with which an interval of a mean is as narrow; nan where that is undefined."""
    needed = (special.ndtri((1 + confidence) / 2) / half_width) ** 2 * variance
    return max(MIN_EXAMPLES, math.ceil(needed)) if math.isfinite(needed) else math.nan


def _advised(score: Score, setting: Setting, wanted: Wanted) -> dict[str, Any]:
    known = setting.noise == "known"
    draws = setting.draws if known else 1
    noise = score.noise if known and score.noise is not None else np.zeros_like(score.values)
    within, between = variances(score.values, noise, draws or 1)
    defined = bool(np.isfinite(between).any())
    best = setting.draws
    if known and defined and np.nansum(within):
        best = best_draws(within, between, wanted.other_rows, setting.unit_rows, setting.least_draws)
    now, then = (float(variance_of(within, between, n or 1)[0]) if defined else math.nan for n in (draws, best))
    rows = setting.rows(wanted.other_rows, setting.draws, setting.points)
    best_rows = setting.rows(wanted.other_rows, best, setting.best_points)
    width = wanted.half_width_of(score)
    table = {
        "metric": score.metric,
        "axis": score.axis,
        "at": score.at,
        "share_of_draws": _share(within / (draws or 1), between) if known and defined else math.nan,
        "draws": setting.draws,
        "best_draws": None if setting.noise in ("maximum", "unknown") else best,
        "points": setting.points,
        "best_points": setting.best_points,
        "unit_rows": setting.unit_rows,
        "example_rows": rows,
        "best_example_rows": best_rows,
        "times_fewer": now * rows / (then * best_rows) if then > 0 and best_rows > 0 else math.nan,
        "noise": setting.noise,
    }
    if wanted.half_width is None:
        return table
    examples, best_examples = (examples_for(width, v, wanted.confidence) for v in (now, then))
    return table | {
        "half_width": width,
        "examples": examples,
        "best_examples": best_examples,
        "rows": examples * rows,
        "best_rows": best_examples * best_rows,
    }


def _share(noise: Floats, between: Floats) -> float:
    with np.errstate(invalid="ignore"):
        share = noise / (noise + between)
    return float(np.nanmax(share)) if np.isfinite(share).any() else math.nan


# ---- decisions


def _decided(
    dataset: xr.Dataset, until: Any, alpha: Any, within: Any, most: int, seed: int
) -> dict[str, dict[str, Any]]:
    """By score, the examples until it is decided."""
    decisions, arrays = opened(dataset, until, alpha, within)
    differences = decisions.differences(arrays)[0][0]
    return {
        printable(q.label): {
            "decided_after": decided_after(decisions, k, differences, most, seed),
            **{"until": q.until, "most_examples": most},
        }
        for k, q in decisions.questions()
    }


def decided_after(decisions: Decisions, k: int, differences: Floats, most: int, seed: int) -> float:
    """The number of examples after which question `k` is decided in half of the replays, or nan.

    `differences [comparisons, examples]` are those of the pilot; each replay draws examples with replacement.
    """
    d, examples = differences[decisions.question == k], differences.shape[1]
    if not examples:
        return math.nan
    drawn = np.random.default_rng(seed).integers(examples, size=(most, REPLAYS))
    replays = Replays(decisions, k, REPLAYS)
    for number, of_replays in enumerate(drawn, 1):
        replays.add(d[:, of_replays])
        if replays.decided.mean() >= 0.5:
            return number
    return math.nan


class Replays:
    """The stop rule for one question, on several sequences of examples side by side."""

    def __init__(self, decisions: Decisions, k: int, replays: int):
        rows, methods = decisions.question == k, np.arange(len(decisions.rule.methods))[:, None]
        self.until = decisions.rule.questions[k].until
        self.as_method, self.as_other = methods == decisions.method[rows], methods == decisions.other[rows]
        thresholds, one_sided = (
            v[rows].repeat(replays) for v in (decisions.process.thresholds, decisions.process.one_sided)
        )
        self.process = EProcess(thresholds, one_sided)
        self.decided = np.zeros(replays, bool)

    def add(self, differences: Floats) -> None:
        """Takes `[comparisons, replays]`, the differences on one more example of each."""
        self.process.add(differences.reshape(-1, 1))
        self.decided = self.decided | self._done()

    def _done(self) -> Any:
        """`[replays]`: whether nothing is open now, as `Decisions.open_pairs` has it."""
        process, shape = self.process, (-1, len(self.decided))
        if self.until != "best":
            return (process.decided_at.reshape(shape) > 0).all(0)
        side = np.where(process.contradictory, 0, process.side).reshape(shape)
        wins = self.as_method.astype(int) @ (side == 1) + self.as_other.astype(int) @ (side == -1)
        return (wins == len(wins) - 1).any(0)


# ---- in words


def _sentence(row: Mapping[str, Any]) -> str:
    parts = filter(None, (say(row) for say in (_on_draws, _on_points, _on_rows, _on_examples, _on_decision)))
    return f"{label(row['metric'], row['axis'], row['at'])}: {'; '.join(parts) or 'nothing to change'}."


def _on_draws(row: Mapping[str, Any]) -> str:
    if row["noise"] == "maximum":
        return "the largest of some draws has no best number of draws"
    if row["noise"] == "unknown":
        return "how much its draws add is not known"
    return _instead("draws", row["best_draws"], row["draws"])


def _on_points(row: Mapping[str, Any]) -> str:
    return _instead("points", row["best_points"], row["points"])


def _instead(noun: str, best: int | None, now: int | None) -> str:
    if best is None or best == now:
        return "" if now is None else f"{now} {noun}, as in the pilot"
    return f"{best} {noun} instead of {now}"


def _on_rows(row: Mapping[str, Any]) -> str:
    fewer = row["times_fewer"]
    return f"{fewer:.1f} times fewer model rows for the same certainty" if fewer >= 1.05 else ""


def _on_examples(row: Mapping[str, Any]) -> str:
    width = row.get("half_width", math.nan)
    if math.isnan(width):
        return ""
    if math.isnan(row["best_examples"]):
        return "too few scores to tell the examples"
    return f"a mean ± {width:g} takes {row['best_examples']} examples"


def _on_decision(row: Mapping[str, Any]) -> str:
    if "until" not in row:
        return ""
    if math.isnan(row["decided_after"]):
        return f"{WANTED[row['until']]} is not certain after {row['most_examples']} examples in most replays"
    return f"{WANTED[row['until']]} is certain after {row['decided_after']} examples in half of the replays"
