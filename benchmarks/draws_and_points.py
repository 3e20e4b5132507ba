"""How many points a curve needs, how many draws a mean over examples, and how many must carry a score's variance.

Run `python benchmarks/draws_and_points.py`, about four minutes on one core. The model, digits and explanations are
those of `benchmarks/certainty.py`. Tables are in Markdown, as docs/how-to/draws-and-points.md shows them.
"""

from __future__ import annotations

import argparse
import platform
import warnings
from functools import partial
from itertools import pairwise
from typing import Any

import captum
import numpy as np
import torch
from certainty import Problem, Scores, problem
from torch import Tensor

from captum_ext import metrics

FINE = 129  # points of the curve that others are compared with
TRAPEZOIDS = (5, 9, 13, 17, 33, 65)
MEANS = (33, 100)  # points of plain means
DRAWS = (5, 10, 20, 50, 200)
MEAN_OF, MEANS_TAKEN = 50, 200  # examples of a mean, and means of other examples by the same draws
INTERVAL = 1.96
EFFECTIVE = (0, 4, 8, 12, 20, 50)  # bins of the draws that carry a score's variance
SOFTMAX = partial(torch.softmax, dim=1)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rmse(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().sqrt().item()


# ---- points


def curves(p: Problem, n_steps: int) -> Tensor:
    """`[methods, examples, points]`"""
    call: dict[str, Any] = {"target": p.target, "activation": SOFTMAX, "max_examples_per_batch": 512}
    found = metrics.deletion_curve(p.net, p.images, p.maps, n_steps=n_steps, **call)
    return torch.stack([*found.values()]).double()


def points(p: Problem) -> None:
    fine = torch.trapezoid(curves(p, FINE), dx=1 / (FINE - 1))  # [methods, examples]
    areas = {f"trapezoid of {n}": torch.trapezoid(curves(p, n), dx=1 / (n - 1)) for n in TRAPEZOIDS}
    areas |= {f"plain mean of {n}": curves(p, n).mean(-1) for n in MEANS}
    print(f"deletion, softmax, {fine.numel()} curves: the areas have sd {fine.std(1).mean():.3f} between images\n")
    means = [[name, f"{rmse(a, fine):.4f}", f"{rmse(a.mean(1), fine.mean(1)):.4f}"] for name, a in areas.items()]
    print(table(["points", "rmse of an area", "rmse of a mean over the images"], means), flush=True)


# ---- draws


def scores(p: Problem, draws: int, seed: int, activation: Any, metric: Any = metrics.sensitivity_n) -> Any:
    call: dict[str, Any] = {"target": p.target, "activation": activation, "max_examples_per_batch": 512, "seed": seed}
    return metric(p.net, p.images, p.maps, 0.3, n_perturb_samples=draws, **call)


def covered(p: Problem, truth: Scores, draws: int, activation: Any, samples: int) -> tuple[float, float, float]:
    """How often an interval over examples holds the truth, its worst method, and the largest bias of a method.

    Each repeat scores all examples by new draws, and takes some at random, with replacement. The truth is the mean over
    all of them by many draws.
    """
    rng, hits, bias = np.random.default_rng(0), {name: [] for name in truth}, {name: [] for name in truth}
    for seed in range(samples):
        chosen = rng.integers(len(p.images), size=(MEANS_TAKEN, MEAN_OF))
        for name, found in scores(p, draws, seed + 1, activation).items():
            some = found.numpy()[chosen]  # [means, examples]
            width = INTERVAL * np.nanstd(some, 1, ddof=1) / MEAN_OF**0.5
            hits[name].append(np.abs(np.nanmean(some, 1) - truth[name].nanmean().item()) <= width)
            bias[name].append((found - truth[name]).nanmean().item())
    shares = [np.mean(of_method) for of_method in hits.values()]
    return float(np.mean(shares)), min(shares), max((np.mean(b) for b in bias.values()), key=abs)


def draws(p: Problem, truth_draws: int, samples: int) -> None:
    by_draws: list[list[list[str]]] = []
    for output, activation in (("logits", None), ("softmax", SOFTMAX)):
        truth = scores(p, truth_draws, 0, activation)
        rows = []
        for n in DRAWS:
            share, worst, bias = covered(p, truth, n, activation, samples)
            rows.append([str(n), f"{share:.3f}", f"{worst:.3f}", f"{bias:+.3f}"])
        sizes = f"means of {MEAN_OF} of {len(p.images)} examples, {samples} x {MEANS_TAKEN} repeats"
        print(f"\nsensitivity-n (30 %), {output}: {sizes}\n")
        print(table(["draws", "coverage", "of the worst method", "largest bias"], rows), flush=True)
        by_draws.append(by_effective_draws(p, truth, activation, samples))
    names = [*(f"{low} to {high}" for low, high in pairwise(EFFECTIVE)), f"{EFFECTIVE[-1]} or more"]
    print("\nsensitivity-n (30 %), intervals of single scores from 20, 50 and 100 draws, by n_eff\n")
    head = ["n_eff", *(f"{of} {output}" for output in ("logits", "softmax") for of in ("scores,", "coverage,"))]
    print(table(head, [[name, *one, *other] for name, one, other in zip(names, *by_draws)]), flush=True)


def by_effective_draws(p: Problem, truth: Scores, activation: Any, samples: int) -> list[list[str]]:
    """How often a score, give or take its standard error times 1.96, holds the truth: by the draws that carry it."""
    hits, n_eff = [], []
    for seed in range(samples):
        for draws in (20, 50, 100):
            found = scores(p, draws, seed + 1, activation, metrics.with_stderr(metrics.sensitivity_n))
            for name, score in found.score.items():
                hits.append((score - truth[name]).abs() <= INTERVAL * found.stderr[name])
                n_eff.append(found.n_eff[name])
    hit, effective = torch.cat(hits).numpy(), torch.cat(n_eff).numpy()
    known = np.isfinite(effective)
    hit, bins = hit[known], np.digitize(effective[known], EFFECTIVE) - 1
    return [_share_and_coverage(hit[bins == i], len(hit)) for i in range(len(EFFECTIVE))]


def _share_and_coverage(hit: Any, scores: int) -> list[str]:
    return [f"{len(hit) / scores:.0%}", f"{hit.mean():.3f}" if len(hit) else "–"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--truth-draws", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    np.random.seed(0)  # of which GradientShap draws
    warnings.filterwarnings("ignore", message=".*(backward hooks|required_grads|did not already|draws carry).*")
    print(f"torch {torch.__version__}, captum {captum.__version__}, {platform.machine()}, one thread")
    p = problem(options.examples)
    points(p)
    draws(p, options.truth_draws, options.samples)


if __name__ == "__main__":
    main()
