"""What `evaluate` costs, for 5 methods and 4 metrics on photographs and on small images.

Run `python benchmarks/evaluate.py`.

Model rows are compared with the sum of separate calls, one for each method and metric. Time is compared with the bare
work, which is every explanation once and the metrics' forwards with the same rows a call; both are measured by turns
within one run, and `(!)` marks a median above its limit.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from captum.attr import GuidedBackprop, InputXGradient, IntegratedGradients, Saliency
from cases import CLASSES, gaussian, model_of
from measuring import counted, time_ratio
from overhead import machine, marked, table
from torch import Tensor, nn

from captum_ext import evaluate, metrics, random_attribution
from captum_ext.demo.pictures import photographs
from captum_ext.evaluation.examples import Examples


@dataclass(frozen=True)
class Setting:
    """`batch` examples explained together, `limit` rows a call; and what time is allowed, in that of the bare work."""

    model: str
    data: Callable[[], list[tuple[Tensor, int]]]
    batch: int
    limit: int
    draws: int
    steps: int
    path_steps: int  # of integrated gradients
    allowed: float


def photographs_and_classes() -> list[tuple[Tensor, int]]:
    """Four photographs with the class that the model sees."""
    inputs = photographs()
    with torch.no_grad():
        return list(zip(inputs, model_of("lite0")(inputs).argmax(1).tolist()))


def small_images(number: int = 256) -> list[tuple[Tensor, int]]:
    torch.manual_seed(0)
    return [(x, i % CLASSES) for i, x in enumerate(torch.randn(number, 3, 32, 32))]


FULL = (
    Setting("lite0", photographs_and_classes, batch=4, limit=16, draws=8, steps=6, path_steps=10, allowed=1.1),
    Setting("cnn", small_images, batch=16, limit=64, draws=5, steps=5, path_steps=10, allowed=1.5),
)
QUICK = (
    replace(FULL[0], draws=2, steps=3, path_steps=2),
    replace(FULL[1], data=partial(small_images, 32), draws=5, steps=4),
)


def methods_of(s: Setting, model: nn.Module) -> dict[str, Any]:
    return {
        "saliency": Saliency(model),
        "input x gradient": InputXGradient(model),
        "integrated gradients": partial(IntegratedGradients(model).attribute, n_steps=s.path_steps),
        "guided backpropagation": GuidedBackprop(model),
        "random": random_attribution,
    }


def metrics_of(s: Setting) -> dict[str, Callable[..., Any]]:
    return {
        "infidelity": partial(metrics.infidelity, perturb_func=gaussian, n_perturb_samples=s.draws),
        "sensitivity_n": partial(metrics.sensitivity_n, n=[0.25, 0.5], n_perturb_samples=s.draws),
        "deletion": partial(metrics.deletion, n_steps=s.steps),
        "insertion": partial(metrics.insertion, n_steps=s.steps),
    }


def run(s: Setting, model: nn.Module, data: Any, methods: Any = None, some: Any = None) -> Any:
    options = {"batch_size": s.batch, "max_examples_per_batch": s.limit}
    return evaluate(model, data, methods or methods_of(s, model), some or metrics_of(s), **options)


# ---- rows


class StandIn(nn.Module):
    """How many rows a model gets does not depend on the model, so a quick one counts."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.ReLU(), nn.LazyLinear(1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def stand_in(data: Any) -> nn.Module:
    model = StandIn().eval()
    model(data[0][0][None])
    return model


def rows(s: Setting, data: Any) -> tuple[int, int]:
    """Of one call for all methods and metrics, and of one for each."""
    model = stand_in(data)
    with counted(model) as together:
        run(s, model, data)
    with counted(model) as apart:
        for method, metric in pairs(methods_of(s, model), metrics_of(s)):
            run(s, model, data, method, metric)
    return sum(together), sum(apart)


def pairs(methods: dict[str, Any], some: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    return (({m: methods[m]}, {k: some[k]}) for m in methods for k in some)


def calls_of_metrics(s: Setting, data: Any) -> list[int]:
    """The rows of each call: what is left when every attribution is stored."""
    model = stand_in(data)
    stored = {name: torch.stack([x for x, _ in data]) for name in methods_of(s, model)}
    with counted(model) as calls:
        run(s, model, data, stored)
    return calls


# ---- time


class Bare:
    """Every explanation once, batch by batch, and the metrics' forwards, with the rows of each call."""

    def __init__(self, s: Setting, model: nn.Module, data: Any):
        examples, starts = Examples(data), range(0, len(data), s.batch)
        self.setting, self.model, self.calls = s, model, calls_of_metrics(s, data)
        self.batches = [examples.batch(range(i, min(i + s.batch, len(data))), torch.device("cpu")) for i in starts]
        self.rows = self.batches[0].inputs.repeat(-(-s.limit // s.batch), 1, 1, 1)

    def explain(self) -> None:
        for method in methods_of(self.setting, self.model).values():
            attribute = random_attribution() if method is random_attribution else getattr(method, "attribute", method)
            for b in self.batches:
                attribute(b.inputs, target=b.target)

    def forward(self) -> None:
        with torch.no_grad():
            for rows in self.calls:
                self.model(self.rows[:rows])

    def __call__(self) -> None:
        self.explain()
        self.forward()


def line(s: Setting, repeats: int) -> list[str]:
    model, data = model_of(s.model), s.data()
    together, apart = rows(s, data)
    ratio = time_ratio(partial(run, s, model, data), Bare(s, model, data), repeats)
    counts = [str(len(data)), f"{together:,}", f"{apart:,}", f"{apart / together:.2f}"]
    return [s.model, *counts, marked(ratio, s.allowed), str(s.allowed)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less work: under a minute")
    parser.add_argument("--model", choices=["lite0", "cnn", "both"], default="both")
    parser.add_argument("--repeats", type=int, help="pairs of runs for the time ratio")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    repeats = chosen.repeats or (1 if chosen.quick else 3)
    warnings.filterwarnings("ignore", "Input Tensor 0 did not already require gradients|Setting (forward, )?backward")
    settings = [s for s in (QUICK if chosen.quick else FULL) if chosen.model in (s.model, "both")]
    header = ["model", "examples", "model rows", "of separate calls", "times as many", "time / bare", "allowed"]
    print(table(header, [line(s, repeats) for s in settings]), machine(), sep="\n")


if __name__ == "__main__":
    main()
