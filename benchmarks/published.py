"""Numbers and orders that papers and packages have published, computed anew with the metrics of this package.

Run `python benchmarks/published.py`, about two minutes on one core. `--write` puts the table into
docs/concepts/published-numbers.md. `tests/test_published.py` runs the same with fewer examples, without the orders of
fills and without the recorded cases of AttriBench, which are tests already. A row is shown as it comes out: no setting
is chosen by its result, and `NOT_REPRODUCED` names the rows that do not come out.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations, pairwise
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, GuidedBackprop, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from certainty import LAST, Net, digits, trained
from scipy.signal import lfilter
from scipy.stats import spearmanr
from sklearn.metrics import auc, precision_recall_curve
from torch import Tensor
from torch.nn.functional import conv2d

from captum_ext import metrics
from captum_ext.baselines import NoisyLinear, box_blur, channel_mean, uniform_noise
from captum_ext.perturbations import gaussian, square_removal

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "concepts" / "published-numbers.md"
BEGIN, END = "<!-- made by `python benchmarks/published.py --write` -->", "<!-- /made -->"
RECORDED_CASES = ROOT / "tests" / "test_golden_attribench.py"


@dataclass(frozen=True)
class Size:
    """How much work is done."""

    series: int = 12  # seeds, each of ten series
    examples: int = 40
    draws: int = 200
    full: bool = True  # whether the groups run that take a minute


QUICK = Size(series=4, examples=6, draws=60, full=False)
NOT_REPRODUCED = {"rank correlation of MoRF and LeRF over methods, by fill"}


@dataclass(frozen=True)
class Row:
    what: str
    published: str
    found: str
    reproduced: bool


def equal(what: str, published: float, tolerance: float, found: float) -> Row:
    return Row(what, f"{published:.4f} ± {tolerance:.4f}", f"{found:.4f}", abs(found - published) <= tolerance)


def ordered(what: str, found: Mapping[str, float], better: str = ">") -> Row:
    """The values of `found`, in the published order."""
    up = 1 if better == "<" else -1
    holds = all(up * (right - left) > 0 for left, right in pairwise(found.values()))
    numbers = f" {better} " if holds else ", "
    return Row(what, f" {better} ".join(found), numbers.join(f"{value:.4f}" for value in found.values()), holds)


def below(what: str, bound: float, found: float) -> Row:
    return Row(what, f"below {bound:g}", f"{found:.4f}", found < bound)


def above(what: str, bound: float, found: float) -> Row:
    return Row(what, f"above {bound:g}", f"{found:.4f}", found > bound)


# ---- the Park function


def park(x: Tensor) -> Tensor:
    """Of four inputs; it ignores all others."""
    return 2 / 3 * torch.exp(x[:, 0] + x[:, 1]) - x[:, 3] * torch.sin(x[:, 2]) + x[:, 2]


PARK_INPUT = (0.24, 0.48, 0.56, 0.99, 0.68, 0.86)
PARK_NUMBERS = {  # method -> monotonicity correlation, non-sensitivity, entropy
    "gradient": (0.9852, 0, 1.1656),
    "input x gradient": (0.8235, 0, 1.2182),
    "integrated gradients": (0.5882, 0, 1.3492),
}


def park_function(size: Size) -> list[Row]:
    x = torch.tensor([PARK_INPUT], dtype=torch.float64)
    explained = (Saliency(park), InputXGradient(park), IntegratedGradients(park))
    maps = {name: method.attribute(x).detach() for name, method in zip(PARK_NUMBERS, explained)}
    effects = {"forward_func": park, "inputs": x, "attributions": maps, "baselines": uniform_noise, "seed": 0}
    found = {
        "monotonicity correlation": metrics.monotonicity_correlation(n_perturb_samples=1000, **effects),
        "non-sensitivity": metrics.non_sensitivity(n_perturb_samples=1000, **effects),
        "entropy": metrics.entropy(x, maps),
    }
    return [
        equal(f"{score}, {name}", PARK_NUMBERS[name][i], 1e-4, scores[name].item())
        for i, (score, scores) in enumerate(found.items())
        for name in maps
    ]


# ---- rare features and rare times

SERIES, TIMES, VARIABLES, RARE = 10, 50, 50, 5
RECORDED_AUR = {  # of time_interpret's five runs with occlusion; its AUP is 1.0 in each
    "rare features": (0.1354, 0.1334, 0.1349, 0.1266, 0.1378),
    "rare times": (0.1175, 0.1223, 0.1255, 0.1278, 0.1288),
}


def salient(kind: str) -> Tensor:
    """`[times, variables]`: some variables half of the time, or half of the variables at some times."""
    some, times, variables = torch.randperm(VARIABLES)[:RARE], torch.arange(TIMES), torch.arange(VARIABLES)
    if kind == "rare features":
        return middle(times)[:, None] & torch.isin(variables, some)
    first = np.random.randint(TIMES - RARE)
    return ((times >= first) & (times < first + RARE))[:, None] & middle(variables)


def middle(places: Tensor) -> Tensor:
    return (places >= len(places) // 4) & (places < 3 * len(places) // 4)


def occluded(series: Tensor, truth: Tensor) -> Tensor:
    """The absolute effects of the cells on the sum of the salient cells' squares, by occlusion with the mean."""

    def box(rows: Tensor) -> Tensor:  # each time has an output of its own, so all are occluded at once
        return (rows.square() * truth).sum(-1)

    effects = FeatureAblation(box).attribute(series, baselines=series.mean(0, keepdim=True)).abs()
    return effects / effects.max()


def rare_cells(kind: str, seed: int) -> tuple[Tensor, Tensor]:
    """The occlusion maps and the truth of ten autoregressive series."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    noise = np.random.standard_normal((SERIES, TIMES, VARIABLES))
    series = torch.tensor(lfilter([2], [2, 0.5, 0.2, 0.1], noise, axis=1))
    truth = torch.stack([salient(kind) for _ in series])
    return torch.stack([occluded(x, t) for x, t in zip(series, truth)]), truth


def joined_by_lines(maps: Tensor, truth: Tensor) -> tuple[float, float]:
    """The areas as the authors' code has them, over the values of the map."""
    precision, recall, thresholds = precision_recall_curve(truth.flatten(), maps.flatten())
    return auc(thresholds, precision[1:]), auc(thresholds, recall[1:])


def areas(kind: str, seed: int) -> tuple[float, float, float]:
    """Area under precision and recall over all cells of all series, and how far the authors' rule is from them."""
    maps, truth = rare_cells(kind, seed)
    together, one = maps.flatten(0, 1)[None], truth.flatten(0, 1)[None]
    exact = [area(together, together, one).item() for area in (metrics.aup, metrics.aur)]
    return *exact, max(abs(a - b) for a, b in zip(exact, joined_by_lines(maps, truth)))


def rare(size: Size) -> list[Row]:
    rows = []
    for kind, recorded in RECORDED_AUR.items():
        aup, aur, gaps = zip(*(areas(kind, seed) for seed in range(size.series)))
        error = (variance(recorded) / len(recorded) + variance(aur) / len(aur)) ** 0.5
        rows += [
            equal(f"{kind}, occlusion: AUP", 1, 5e-4, fmean(aup)),
            equal(f"{kind}, occlusion: AUR", fmean(recorded), 3 * error, fmean(aur)),
            below(f"{kind}: largest distance from the rule of the authors' code", 0.01, max(gaps)),
        ]
    return rows


# ---- digits


@dataclass(frozen=True)
class Digits:
    """A network, digits that it did not learn from, and the classes that it says."""

    net: Any
    images: Tensor
    target: Tensor

    def score(self, metric: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        return metric(self.net, *arguments, target=self.target, max_examples_per_batch=1024, **settings)

    def means(self, metric: Callable[..., Any], maps: Mapping[str, Tensor], **settings: Any) -> dict[str, float]:
        scores = self.score(metric, inputs=self.images, attributions=maps, **settings)
        return {name: score.mean().item() for name, score in scores.items()}


@cache
def network() -> Net:
    images, classes = digits()
    return trained(images[:-LAST], classes[:-LAST], epochs=4)


@cache
def shown(examples: int) -> Digits:
    images = digits()[0][-LAST:][:examples]
    return Digits(network(), images, network()(images).argmax(1))


@cache
def maps_of(examples: int) -> dict[str, Tensor]:
    d = shown(examples)
    torch.manual_seed(0)
    call: dict[str, Any] = {"inputs": d.images, "target": d.target}
    smooth = {"nt_samples": 50, "stdevs": 0.2, "abs": False}
    made = {
        "gradient": Saliency(d.net).attribute(**call, abs=False),
        "smoothgrad": NoiseTunnel(Saliency(d.net)).attribute(**call, **smooth),
        "input x gradient": InputXGradient(d.net).attribute(**call),
        "integrated gradients": IntegratedGradients(d.net).attribute(**call),
        "occlusion": FeatureAblation(d.net).attribute(**call, perturbations_per_eval=64),
        "random": torch.randn(d.images.shape),
    }
    return {name: a.detach() for name, a in made.items()}


def chosen(maps: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: maps[name] for name in names}


def linear_digits(examples: int) -> tuple[Digits, dict[str, Tensor]]:
    """A linear model of the same digits in float64, and three explanations of it, which are equal."""
    draw = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 10)).double().requires_grad_(False)
    model[1].weight.copy_(torch.randn(10, 256, generator=draw, dtype=torch.float64))
    d = Digits(model, shown(examples).images.double(), shown(examples).target)
    methods = {
        "input x gradient": InputXGradient(model),
        "integrated gradients": IntegratedGradients(model),
        "occlusion": FeatureAblation(model),
    }
    return d, {name: m.attribute(d.images, target=d.target).detach() for name, m in methods.items()}


def ancona(size: Size) -> list[Row]:
    d, maps = shown(size.examples), maps_of(size.examples)
    linear, equals = linear_digits(size.examples)
    draw = partial(d.means, metrics.sensitivity_n, maps, seed=0)
    single, many = draw(n=1, n_perturb_samples=256), draw(n=205, n_perturb_samples=size.draws)
    sizes = {"n": [1, 26, 128, 205], "n_perturb_samples": 50, "seed": 0, "inputs": linear.images}
    least = min(s.min().item() for s in linear.score(metrics.sensitivity_n, attributions=equals, **sizes).values())
    local = draw(n=26, n_perturb_samples=size.draws)
    return [
        equal("occlusion at n = 1", 1, 1e-4, single["occlusion"]),
        equal("a linear model: the least of three methods at n = 1, 26, 128, 205", 1, 1e-4, least),
        ordered("n = 1", chosen(single, "occlusion", "input x gradient", "random")),
        ordered("n = 1", chosen(single, "occlusion", "integrated gradients", "random")),
        ordered("n = 26: with the factor of the input", chosen(local, "input x gradient", "gradient", "random")),
        ordered("n = 205 of 256", chosen(many, "integrated gradients", "input x gradient", "random")),
        ordered("n = 205 of 256", chosen(many, "integrated gradients", "occlusion", "random")),
    ]


def yeh(size: Size) -> list[Row]:
    d, maps = shown(size.examples), maps_of(size.examples)
    linear, _ = linear_digits(size.examples)
    squares = {"perturb_func": partial(square_removal, size=5, multiply_by_inputs=True), "n_perturb_samples": 144}
    noise = {"n_perturb_samples": size.draws, "seed": 0, "normalize": True}
    best = {**maps, "the optimum": d.score(metrics.optimal_explanation, inputs=d.images, **squares)}
    of_squares = d.means(metrics.infidelity, best, normalize=True, **squares)
    of_noise = d.means(metrics.infidelity, maps, perturb_func=partial(gaussian, std=0.2), **noise)
    weights = {"gradient": linear.net[1].weight[linear.target].view_as(linear.images)}
    exact = linear.means(metrics.infidelity, weights, perturb_func=gaussian, n_perturb_samples=50, seed=0)
    return [
        equal("a linear model: its gradient under noise", 0, 1e-4, exact["gradient"]),
        equal("squares: the optimum", 0, 1e-4, of_squares["the optimum"]),
        ordered("squares", chosen(of_squares, "the optimum", "integrated gradients", "gradient", "random"), "<"),
        ordered("noise of 0.2", chosen(of_noise, "smoothgrad", "gradient", "random"), "<"),
    ]


def edges(model: Any) -> Callable[..., Tensor]:
    """An explanation that asks nothing of the model: Sobel's edges."""
    across = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    filters = torch.stack([across, across.T])[:, None]
    return lambda inputs, target=None: conv2d(inputs, filters, padding=1).abs().sum(1, keepdim=True)


def signed_gradient(model: Any) -> Callable[..., Tensor]:
    return partial(Saliency(model).attribute, abs=False)


def adebayo(size: Size) -> list[Row]:
    d = shown(size.examples)
    explained = {"edges": edges, "gradient": signed_gradient, "guided backpropagation": GuidedBackprop}
    curves = {
        name: d.score(metrics.parameter_randomization_curve, factory, d.images, weights_seed=0).mean(0)
        for name, factory in explained.items()
    }
    last = {name: curve[-1].item() for name, curve in curves.items()}
    return [
        equal("edges: the least similarity of four layers", 1, 1e-4, curves["edges"].min().item()),
        below("gradient: similarity with all layers random", 0.1, abs(last["gradient"])),
        above("guided backpropagation: similarity with all layers random", 0.4, last["guided backpropagation"]),
    ]


BLUR = partial(box_blur, kernel_size=0.25)
FILLS = {"zero": 0, "mean": channel_mean, "blur": BLUR, "noisy linear": NoisyLinear()}


def rankings(examples: int) -> dict[tuple[str, str], list[float]]:
    """The scores of eight methods, higher for the better, by score and fill."""
    d, maps = shown(examples), dict(maps_of(examples))
    maps["absolute gradient"] = maps["gradient"].abs()
    maps["guided backpropagation"] = GuidedBackprop(d.net).attribute(d.images, target=d.target).detach()
    torch.manual_seed(0)
    scores = {}
    for fill, baselines in FILLS.items():
        curve = {"baselines": baselines, "n_steps": 9, "activation": partial(torch.softmax, dim=1)}
        morf, lerf = (d.means(metrics.deletion, maps, mode=mode, **curve) for mode in ("morf", "lerf"))
        scores["MoRF", fill] = [-area for area in morf.values()]
        scores["LeRF", fill] = [*lerf.values()]
        scores["SRG", fill] = [lerf[name] - area for name, area in morf.items()]
    return scores


def removal(size: Size) -> list[Row]:
    if not size.full:
        return []
    scores = rankings(size.examples // 2)
    between = {
        score: fmean(spearmanr(scores[score, a], scores[score, b])[0] for a, b in combinations(FILLS, 2))
        for score in ("SRG", "MoRF", "LeRF")
    }
    orders = {fill: spearmanr(scores["MoRF", fill], scores["LeRF", fill])[0] for fill in ("noisy linear", "zero")}
    return [
        ordered("rank correlation over methods between two fills, mean of six pairs", chosen(between, "SRG", "MoRF")),
        ordered("rank correlation over methods between two fills, mean of six pairs", chosen(between, "SRG", "LeRF")),
        ordered(*NOT_REPRODUCED, orders),
    ]


# ---- AttriBench's recorded cases


class Counter:
    """A plugin of pytest that counts the outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.skipped:
            self.outcomes.append(report.outcome)


def attribench(size: Size) -> list[Row]:
    if not size.full:
        return []
    counter = Counter()
    pytest.main(["-q", "--no-header", "--no-summary", str(RECORDED_CASES)], plugins=[counter])
    if "skipped" in counter.outcomes:
        return [Row("recorded cases", "all", "not run: the reference data are not there", False)]
    passed, total = counter.outcomes.count("passed"), len(counter.outcomes)
    return [Row("tests on recorded cases within their tolerances", "all", f"{passed} of {total}", passed == total > 0)]


# ---- the table


@dataclass(frozen=True)
class Group:
    source: str
    rows: Callable[[Size], list[Row]]


def arxiv(number: str) -> str:
    return f"[arXiv:{number}](https://arxiv.org/abs/{number})"


GROUPS = {
    "Park function": Group(
        f"Nguyen and Rodríguez Martínez 2020, {arxiv('2007.07584')}, with the input and the numbers that torchxai's "
        "tests record",
        park_function,
    ),
    "Rare features and times": Group(
        f"Crabbe and van der Schaar 2021, {arxiv('2106.05303')}; AUR is the mean of five runs in time_interpret's "
        "`experiments/arma/results.csv`, give or take three standard errors of the difference from ours",
        rare,
    ),
    "Sensitivity-n on digits": Group(f"Ancona et al. 2018, {arxiv('1711.06104')}: orders, on other images", ancona),
    "Infidelity on digits": Group(f"Yeh et al. 2019, {arxiv('1901.09392')}: orders, on other images", yeh),
    "Random layers on digits": Group(f"Adebayo et al. 2018, {arxiv('1810.03292')}: orders, on other images", adebayo),
    "Removal on digits": Group(
        f"Blücher et al. 2024, {arxiv('2401.06654')}, on SRG, and Rong et al. 2022, {arxiv('2202.00449')}, on "
        "imputation: orders, on other images",
        removal,
    ),
    "AttriBench": Group("AttriBench 0.1.9, recorded on small models, `tests/test_golden_attribench.py`", attribench),
}


def results(size: Size) -> dict[str, list[Row]]:
    return {title: group.rows(size) for title, group in GROUPS.items()}


def table(title: str, rows: list[Row]) -> str:
    head = [["what", "published", "found", "reproduced"], ["---"] * 4]
    body = [[row.what, row.published, row.found, "yes" if row.reproduced else "**no**"] for row in rows]
    lines = "\n".join(f"| {' | '.join(line)} |" for line in head + body)
    return f"## {title}\n\n{GROUPS[title].source}.\n\n{lines}\n"


def tables(found: Mapping[str, list[Row]]) -> str:
    return "\n".join(table(title, rows) for title, rows in found.items() if rows)


def write(text: str, page: Path = PAGE) -> None:
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*(backward hooks|did not already).*")
    found = results(Size())
    print(tables(found))
    if options.write:
        write(tables(found))
    missed = {row.what for rows in found.values() for row in rows if not row.reproduced}
    if missed != NOT_REPRODUCED:
        raise SystemExit(f"Not as expected: {sorted(missed ^ NOT_REPRODUCED)}")


if __name__ == "__main__":
    main()
