"""How certain scores are, and what makes them more certain at the same cost.

Run `python benchmarks/certainty.py estimators`, about ten minutes on one core. A CNN learns scikit-learn's digits,
enlarged to 16 x 16 pixels, and its explanations by eight methods are scored. Cost is counted in model rows. A gradient
counts as `GRADIENT` rows: one forward and one backward pass of about twice the work.

The other parts are `decisions`, `falsepositives` and `coverage`, some minutes each, on the same digits, and
`photographs`, half an hour, on EfficientNet-Lite0. What they have computed is kept in `--folder`: repeat the command to
resume an interrupted run, and remove the folder to start again.
"""

from __future__ import annotations

import argparse
import platform
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any

import captum
import intervals
import numpy as np
import pandas as pd
import photographs
import stopping
import torch
from captum.attr import DeepLift, GradientShap, InputXGradient, IntegratedGradients, Occlusion, Saliency
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from captum_ext import metrics
from captum_ext.feature_masks import grid
from captum_ext.perturbations import gaussian

GRADIENT = 3
LAST = 300  # digits that the model does not learn from
FOLDER = Path("certainty")  # of what is kept, so that an interrupted run goes on
OUTPUTS: dict[str, Any] = {"logits": None, "softmax": partial(torch.softmax, dim=1)}
Scores = dict[str, Tensor]  # `[examples, ...]` by method
Estimator = Callable[..., Scores]  # takes the number of rows to spend on an example, and a seed


def digits() -> tuple[Tensor, Tensor]:
    """Images from 0 to 1 and their classes, in an order that does not depend on the classes."""
    images, classes = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return interpolate(images, scale_factor=2, mode="bilinear")[order], torch.tensor(classes)[order]


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)),
        )


def trained(images: Tensor, classes: Tensor, epochs: int = 15) -> Net:
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            cross_entropy(net(images[rows]), classes[rows]).backward()
            optimizer.step()
    return net.eval().requires_grad_(False)


def maps_of(net: nn.Module, images: Tensor, target: Tensor) -> Scores:
    """Attributions by eight methods."""
    torch.manual_seed(0)
    np.random.seed(0)  # which GradientShap draws from, too
    zero = torch.zeros_like(images)
    made = {
        "gradient": Saliency(net).attribute(images, target, abs=False),
        "saliency": Saliency(net).attribute(images, target),
        "input x gradient": InputXGradient(net).attribute(images, target),
        "integrated gradients": IntegratedGradients(net).attribute(images, zero, target),
        "gradient shap": GradientShap(net).attribute(images, zero, target=target),
        "deeplift": DeepLift(net).attribute(images, zero, target),
        "occlusion": Occlusion(net).attribute(images, (1, 3, 3), target=target, baselines=0),
        "random": torch.randn(images.shape),
    }
    return {name: value.detach() for name, value in made.items()}


@dataclass(frozen=True)
class Problem:
    """A model, examples of which it says the target, and their explanations."""

    net: nn.Module
    images: Tensor
    target: Tensor
    maps: Scores
    accuracy: float


@cache
def problem(examples: int) -> Problem:
    images, classes = digits()
    net = trained(images[:-LAST], classes[:-LAST])
    said = net(images[-LAST:]).argmax(1)
    shown, target = images[-LAST:][:examples], said[:examples]
    return Problem(net, shown, target, maps_of(net, shown, target), (said == classes[-LAST:]).float().mean().item())


# ---- estimators of the same quantity at the same cost


def sensitivity_n(p: Problem, n: float, activation: Any, estimator: str, rows: int, seed: int) -> Scores:
    draws = rows - (GRADIENT if estimator == "regression" else 0)
    call = {"target": p.target, "activation": activation, "seed": seed, "max_examples_per_batch": 512}
    return metrics.sensitivity_n(p.net, p.images, p.maps, n, n_perturb_samples=draws, estimator=estimator, **call)


def infidelity(p: Problem, std: float, control_variate: str | None, rows: int, seed: int) -> Scores:
    draws = rows - (GRADIENT if control_variate else 0)
    call = {"target": p.target, "n_perturb_samples": draws, "seed": seed, "control_variate": control_variate}
    noise = partial(gaussian, std=std)
    return metrics.infidelity(p.net, noise, p.images, p.maps, max_examples_per_batch=512, **call)


@dataclass(frozen=True)
class Comparison:
    """Two estimators of the same quantity."""

    name: str
    now: Estimator
    other: Estimator
    rows: int


def comparisons(p: Problem) -> Iterator[Comparison]:
    for output, activation in OUTPUTS.items():
        for n in (0.1, 0.3, 0.5):
            kinds = [partial(sensitivity_n, p, n, activation, kind) for kind in ("sample", "regression")]
            yield Comparison(f"sensitivity-n, {output}, n = {n:.0%}", *kinds, rows=50)
    for std in (0.1, 0.3):
        kinds = [partial(infidelity, p, std, variate) for variate in (None, "gradient")]
        yield Comparison(f"infidelity, noise of {std}", *kinds, rows=50)


def shares_of_range(p: Problem, search: str) -> Tensor:
    """`[examples]`: how much of the range from the worst to the best of all orders a search finds.

    It is the ratio of the differences of two methods on the scales of all orders and of the search.
    """
    two = {name: p.maps[name] for name in ("integrated gradients", "random")}
    call = {"target": p.target, "lower": "worst", "feature_mask": partial(grid, cells=3), "score": metrics.aopc}
    every, found = (metrics.oracle_normalized(p.net, p.images, two, search=s, **call) for s in ("exact", search))
    return (every["random"] - every["integrated gradients"]) / (found["random"] - found["integrated gradients"])


def mean_squared_errors(estimate: Estimator, truth: Scores, rows: int, repeats: int) -> Scores:
    """`[examples]` by method, over several seeds that the truth does not have."""
    found = [estimate(rows=rows, seed=1 + i) for i in range(repeats)]
    return {name: torch.stack([(scores[name] - truth[name]) ** 2 for scores in found]).mean(0) for name in truth}


def compared(c: Comparison, truth_rows: int, repeats: int) -> dict[str, Any]:
    """The ratio of mean squared errors, over all methods and the lowest and highest of a method."""
    truth = c.now(rows=truth_rows, seed=0)
    now, other = (mean_squared_errors(e, truth, c.rows, repeats) for e in (c.now, c.other))
    ratios = {name: (now[name].mean() / other[name].mean()).item() for name in truth}
    total = torch.stack([*now.values()]).mean() / torch.stack([*other.values()]).mean()
    least, most = (choose(ratios, key=ratios.__getitem__) for choose in (min, max))
    return {
        "estimate": c.name,
        "MSE now": torch.stack([*now.values()]).mean().item(),
        "times smaller": total.item(),
        "least": f"{ratios[least]:.1f} ({least})",
        "most": f"{ratios[most]:.1f} ({most})",
    }


def estimators(examples: int = 20, truth_rows: int = 10_000, repeats: int = 20) -> None:
    """Compares the errors of two estimators of the same score at equal rows."""
    p = problem(examples)
    print(f"accuracy {p.accuracy:.1%}, {examples} examples, {repeats} repeats, truth from {truth_rows} draws")
    for search in ("greedy", "beam"):
        shares = shares_of_range(p, search)
        least = shares[~shares.isnan()].min()
        print(f"{search} search: {shares.nanmean():.3f} of the range of AOPC, at worst {least:.3f}")
    for c in comparisons(p):
        print(pd.DataFrame([compared(c, truth_rows, repeats)]).to_string(index=False, float_format="%.4g"), flush=True)


# ---- the other parts, each in a file of its own


def study(examples: int) -> stopping.Study:
    p = problem(examples)
    return stopping.Study.of(p.net, p.images, p.target, lambda *of: {**maps_of(*of), **stopping.two_more(*of)})


def decisions(folder: Path = FOLDER, examples: int = LAST, orders: int = 20) -> None:
    """Counts the model rows until the best of ten methods is certain."""
    stopping.decisions(study(examples), folder / f"{examples} digits", orders)


def falsepositives(folder: Path = FOLDER, examples: int = LAST, runs: int = 2000, bests: int = 200) -> None:
    """Counts how often the stop rule decides wrongly."""
    stopping.falsepositives(study(examples), folder / f"{examples} digits", runs, bests)


def coverage(folder: Path = FOLDER, examples: int = 20, truth_draws: int = 4000, repeats: int = 40) -> None:
    """Counts the 95 % intervals that hold the truth."""
    p = problem(examples)
    known: dict[str, Any] = {"inputs": p.images, "attributions": p.maps, "target": p.target}
    of_model = {**known, "forward_func": p.net, "max_examples_per_batch": 512}
    noise = partial(gaussian, std=0.1)
    scores = partial(metrics.sensitivity_n, **of_model), partial(metrics.infidelity, perturb_func=noise, **of_model)
    intervals.run(intervals.cases(*scores, OUTPUTS), folder / f"{examples} digits", truth_draws, repeats)


def on_photographs(
    folder: Path = FOLDER, images: int = 8, crops: int = 2, side: int = 160, truth_draws: int = 500, repeats: int = 5
) -> None:
    """Compares two estimators of sensitivity-n on EfficientNet-Lite0."""
    setting = photographs.Setting(side, truth_draws, repeats)
    photographs.run(folder, setting, photographs.SHARES[:crops], images)


PARTS: dict[str, Callable[..., None]] = {
    "estimators": estimators,
    "decisions": decisions,
    "falsepositives": falsepositives,
    "coverage": coverage,
    "photographs": on_photographs,
}


def arguments() -> dict[str, Any]:
    """The part and its sizes; every part has those of its function, with their defaults."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = parser.add_subparsers(dest="part", required=True)
    for name, run in PARTS.items():
        of_part = parts.add_parser(name, help=str(run.__doc__).replace("%", "%%"))
        for size, parameter in signature(run).parameters.items():
            of_part.add_argument(f"--{size.replace('_', '-')}", type=type(parameter.default), default=parameter.default)
    return vars(parser.parse_args())


def main() -> None:
    chosen = arguments()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*(backward hooks|required_grads).*")
    versions = f"torch {torch.__version__}, captum {captum.__version__}, Python {platform.python_version()}"
    print(f"{versions}, {platform.system()} {platform.machine()}, one thread")
    PARTS[chosen.pop("part")](**chosen)


if __name__ == "__main__":
    main()
