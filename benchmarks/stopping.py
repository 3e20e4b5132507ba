"""How many model rows it takes until the best of ten methods is certain, and how often such a verdict is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import captum
import numpy as np
import pandas as pd
import torch
from captum.attr import GuidedBackprop, NoiseTunnel, Saliency
from kept import kept, markdown
from scipy.stats import binomtest, ttest_1samp
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_ext import evaluate, metrics
from captum_ext.evaluation.decisions import Decisions
from captum_ext.evaluation.stop_rule import ALPHA, WITHIN, Rule, control_named, questions_of_dataset, rule_of, values_at
from captum_ext.perturbations import gaussian

GRADIENT = 3  # model rows: a forward and a backward pass of about twice the work
FOUR = ("deletion", "insertion", "sensitivity-n", "SRG")
SIX = (*FOUR, "infidelity", "minimal subset")
SETS = {**{name: (name,) for name in SIX}, "four metrics": FOUR, "six metrics": SIX}
Explain = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]
Arrays = Mapping[str, np.ndarray[Any, Any]]  # `[methods, examples]` by the number of the metric


def settings(points: int, draws: int, cheaper: bool) -> dict[str, Callable[..., Any]]:
    """Name -> metric of the logit; `cheaper` has the estimators that take a gradient, and need fewer draws for it."""
    regression = {"estimator": "regression"} if cheaper else {}
    variate = {"control_variate": "gradient"} if cheaper else {}
    return {
        "deletion": partial(metrics.deletion, n_steps=points),
        "insertion": partial(metrics.insertion, n_steps=points),
        "sensitivity-n": partial(metrics.sensitivity_n, n=0.3, n_perturb_samples=draws, **regression),
        "SRG": partial(metrics.srg, n_steps=points),
        "infidelity": partial(
            metrics.infidelity, perturb_func=partial(gaussian, std=0.1), n_perturb_samples=draws, **variate
        ),
        "minimal subset": partial(metrics.minimal_subset, n_steps=points),
    }


OURS, DEFAULTS = settings(13, 20, cheaper=True), settings(100, 100, cheaper=False)


def two_more(net: nn.Module, images: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Explanations besides those of `maps_of`, which make ten."""
    torch.manual_seed(1)
    smooth = NoiseTunnel(Saliency(net)).attribute(images, target=target, nt_samples=10, stdevs=0.1, abs=False)
    return {"guided backprop": GuidedBackprop(net).attribute(images, target).detach(), "smoothgrad": smooth.detach()}


# ---- model rows


@contextmanager
def counted_rows(model: nn.Module) -> Iterator[list[int]]:
    """Yields a list that collects the model rows of every call, where a row with its gradient counts as `GRADIENT`.

    The model's parameters must not take gradients, so that the output does if and only if the input does.
    """
    calls: list[int] = []

    def note(_: nn.Module, __: Any, output: Tensor) -> None:
        calls.append(len(output) * (GRADIENT if output.requires_grad else 1))

    handle = model.register_forward_hook(note)
    try:
        yield calls
    finally:
        handle.remove()


@dataclass(frozen=True)
class Study:
    """A model, examples of which it says the target, a function that explains them by several methods, and its maps."""

    net: nn.Module
    images: Tensor
    target: Tensor
    explain: Explain
    maps: dict[str, Tensor]

    @classmethod
    def of(cls, net: nn.Module, images: Tensor, target: Tensor, explain: Explain) -> Study:
        return cls(net, images, target, explain, explain(net, images, target))

    def evaluated(self, metrics: Mapping[str, Any], examples: int | None = None, **options: Any) -> Any:
        part = slice(examples)
        data = TensorDataset(self.images[part], self.target[part])
        maps = {name: values[part] for name, values in self.maps.items()}
        return evaluate(self.net, data, maps, metrics, max_examples_per_batch=512, **options)

    def rows(self, metrics: Mapping[str, Any], examples: int = 4) -> int:
        """Model rows an example, without those of the explanations."""
        with counted_rows(self.net) as calls:
            self.evaluated(metrics, examples)
        return _each(calls, examples)

    def rows_of_explanations(self, examples: int = 4) -> int:
        with counted_rows(self.net) as calls:
            self.explain(self.net, self.images[:examples], self.target[:examples])
        return _each(calls, examples)

    def rows_of_captum(self, examples: int = 4) -> int:
        """Of Captum's infidelity with its defaults, for each method by itself."""
        images, target = self.images[:examples], self.target[:examples]
        with counted_rows(self.net) as calls:
            for maps in self.maps.values():
                captum.metrics.infidelity(self.net, gaussian, images, maps[:examples], target=target)
        return _each(calls, examples)

    def rows_of_quantus(self, names: Sequence[str]) -> int | None:
        """Of Quantus 0.6 with its defaults, as its source has it, for each method by itself; None without the metric.

        `PixelFlipping` removes one pixel after the other, and so does `SensitivityN`, which also takes the whole
        example. `Infidelity` takes ten times every patch of 4 x 4, and the whole example.
        """
        pixels = self.images[0].numel()
        of_metric = {"deletion": pixels, "sensitivity-n": 1 + pixels, "infidelity": 1 + 10 * (pixels // 16)}
        known = [of_metric[name] for name in names if name in of_metric]
        return len(self.maps) * sum(known) if len(known) == len(names) else None


def _each(calls: Sequence[int], examples: int) -> int:
    if sum(calls) % examples:
        raise RuntimeError(f"{sum(calls)} rows are not the same number for each of {examples} examples.")
    return sum(calls) // examples


# ---- the stop rule, replayed on scores that are known


@dataclass(frozen=True)
class Scores:
    dataset: Any

    @property
    def methods(self) -> list[str]:
        return self.dataset["attribution"].values.tolist()

    @property
    def examples(self) -> int:
        return self.dataset.sizes["example"]

    def rule(self, names: Sequence[str], until: str = "best", methods: Sequence[str] = (), **options: Any) -> Rule:
        known = list(methods) or self.methods
        asked = [q for q in questions_of_dataset(self.dataset) if q.metric in names]
        level, within = options.get("alpha", ALPHA), options.get("within", WITHIN)
        return rule_of(until, level, within, asked, known, control_named("random", known))

    def arrays(self, rule: Rule) -> Arrays:
        part = self.dataset.sel(attribution=list(rule.methods))
        return {
            str(q.index): part[q.metric].transpose("attribution", "example").values.astype(float)
            for q in rule.questions
        }


def stopped(rule: Rule, arrays: Arrays, order: Sequence[int]) -> Decisions:
    """What is decided when the rule stops, which looks after every example of this order."""
    found = Decisions(rule)
    for number in order:
        found.add({name: values[:, [number]] for name, values in arrays.items()})
        if found.done:
            break
    return found


def decided(scores: Scores, names: Sequence[str], orders: int) -> pd.DataFrame:
    """After how many examples, for several orders of all; `open` says that they were not enough."""
    rule = scores.rule(names)
    arrays, draw = scores.arrays(rule), np.random.default_rng(0)
    found = [stopped(rule, arrays, draw.permutation(scores.examples)) for _ in range(orders)]
    return pd.DataFrame({"examples": [f.examples for f in found], "open": [not f.done for f in found]})


def decisions(study: Study, folder: Path, orders: int = 20) -> None:
    scores = scored(study, folder)
    explained, every = study.rows_of_explanations(), scores.examples
    lines = []
    for label, names in SETS.items():
        found = kept(folder, f"decided on {label}, {orders} orders", partial(decided, scores, names, orders))
        rows, defaults = (study.rows({name: of[name] for name in names}) for of in (OURS, DEFAULTS))
        spent = found.examples.median()
        lines.append(
            {
                "until the best is certain": label,
                "example": f"{found.examples.median():.0f} ({found.examples.min()} to {found.examples.max()})",
                "open": f"{found.open.sum()} of {orders}",
                "rows an example": rows,
                "rows": thousands(rows * spent),
                "rows of AttriBench's defaults": thousands(defaults * every),
                "share": f"{rows * spent / (defaults * every):.3f}",
                "share with explanations": f"{(rows + explained) * spent / ((defaults + explained) * every):.3f}",
                "Captum's": thousands(study.rows_of_captum() * every) if label == "infidelity" else "-",
                "Quantus'": thousands((study.rows_of_quantus(names) or np.nan) * every),
            }
        )
    print(
        f"{len(scores.methods)} methods, {every} examples, {orders} orders; explanations: {explained} rows an example"
    )
    print(markdown(pd.DataFrame(lines)))


def thousands(rows: float) -> str:
    return "-" if np.isnan(rows) else f"{rows / 1000:,.1f} k"


def scored(study: Study, folder: Path) -> Scores:
    """All six metrics with the cheap settings, of all examples. Nothing of it is computed twice."""
    folder.mkdir(parents=True, exist_ok=True)
    return Scores(study.evaluated(OURS, path=folder / "scores.h5", batch_size=20).dataset)


# ---- wrong verdicts


def exchanged(arrays: Arrays, draw: np.random.Generator) -> Arrays:
    """The same scores under other names: which method has which is drawn for each example, for all metrics at once."""
    methods, examples = next(iter(arrays.values())).shape
    names = draw.permuted(np.tile(np.arange(methods)[:, None], examples), axis=0)
    order = draw.permutation(examples)
    return {name: np.take_along_axis(values, names, 0)[:, order] for name, values in arrays.items()}


def false_decisions(rule: Rule, arrays: Arrays, runs: int) -> pd.DataFrame:
    """Of methods that are exchangeable, the runs in which a pair is decided at any look; every example is a look."""
    draw, false = np.random.default_rng(1), []
    for _ in range(runs):
        found = Decisions(rule)
        found.add(exchanged(arrays, draw))
        false.append(bool(found.process.decided_at.any()))
    return pd.DataFrame({"false": false})


def false_t_tests(rule: Rule, arrays: Arrays, runs: int, every: int = 5) -> pd.DataFrame:
    """The same, where a t-test of each pair is looked at after every five examples."""
    draw, false = np.random.default_rng(1), []
    for _ in range(runs):
        values = np.stack([v[0] - v[1] for v in exchanged(arrays, draw).values()])
        looks = [ttest_1samp(values[:, :n], 0, axis=1).pvalue for n in range(every, values.shape[1] + 1, every)]
        false.append(bool((np.array(looks) * rule.pairs < rule.alpha).any()))
    return pd.DataFrame({"false": false})


def wrong_bests(scores: Scores, names: Sequence[str], runs: int) -> pd.DataFrame:
    """Examples are drawn with replacement, so that all of them are the population of which the truth is known."""
    rule = scores.rule(names)
    arrays, draw = scores.arrays(rule), np.random.default_rng(2)
    lines = []
    for run in range(runs):
        found = stopped(rule, arrays, draw.integers(scores.examples, size=scores.examples).tolist())
        for k, question in found.questions():
            values = values_at(arrays[str(question.index)], question)
            margins = [m for i in found.best(k) for m in _margins(rule, values, i)]
            lines.append(
                {
                    "run": run,
                    "metric": question.metric,
                    "decided": found.decided_at(k) > 0,
                    "wrong": any((m < 0).mean() > 0.5 for m in margins),
                    "mean disagrees": any(np.nanmean(m) < 0 for m in margins),
                }
            )
    return pd.DataFrame(lines)


def _margins(rule: Rule, values: np.ndarray[Any, Any], i: int) -> list[np.ndarray[Any, Any]]:
    """By how much a method is better than each other one, with its share of the lead over the control, by example."""
    control = rule.control or 0
    lead = values[i] - values[control]
    others = [j for j in range(len(values)) if j != i]
    return [values[i] - values[j] + (0 if control in (i, j) else rule.within) * lead for j in others]


def falsepositives(study: Study, folder: Path, runs: int = 2000, bests: int = 200) -> None:
    scores = scored(study, folder)
    two, ten = ("integrated gradients", "occlusion"), scores.methods
    cases = {
        "2 methods, deletion": (FOUR[:1], two, false_decisions),
        "2 methods, four metrics": (FOUR, two, false_decisions),
        "10 methods, four metrics": (FOUR, ten, false_decisions),
        "2 methods, deletion, by a t-test after every fifth": (FOUR[:1], two, false_t_tests),
    }
    lines = []
    for label, (names, methods, count) in cases.items():
        rule = scores.rule(names, "ranking", methods)
        make = partial(count, rule, scores.arrays(rule), runs)
        false = kept(folder, f"false decisions, {label}, {runs} runs", make).false
        low, high = binomtest(int(false.sum()), runs).proportion_ci()
        found = f"{false.mean():.3f} [{low:.3f}, {high:.3f}]"
        lines.append({"exchangeable": label, "pairs": rule.pairs, "runs": runs, "a false decision": found})
    print(f"{scores.examples} examples, a look at each, alpha {ALPHA}\n{markdown(pd.DataFrame(lines))}\n")
    for label in ("four metrics", "six metrics"):
        make = partial(wrong_bests, scores, SETS[label], bests)
        print(f"{label}, best within {WITHIN:.0%}, {bests} runs of up to {scores.examples} draws of an example")
        print(markdown(of_metrics(kept(folder, f"bests, {label}, {bests} runs", make))) + "\n")


def of_metrics(found: pd.DataFrame) -> pd.DataFrame:
    """In how many runs a metric was decided, and wrongly, and against the mean."""
    counts = found.groupby("metric", sort=False)[["decided", "wrong", "mean disagrees"]].sum()
    whole = found.groupby("run")[["decided", "wrong", "mean disagrees"]].agg(["all", "any"])
    ends = [whole["decided", "all"], whole["wrong", "any"], whole["mean disagrees", "any"]]
    counts.loc["any of them (decided: all)"] = [int(column.sum()) for column in ends]
    return counts.reset_index()
