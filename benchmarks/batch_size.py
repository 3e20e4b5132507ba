"""How far the default number of rows in a call of the model is from the best. Run `python benchmarks/batch_size.py`.

For a model of each kind, `sensitivity_n` is run with fixed limits and without a limit, by turns within one run. The
table has the medians of the processor's times in that of the best fixed limit, and `(!)` marks a default above 1.15.
Time is the processor's, on one thread, as other processes on a busy machine do not count in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from cases import efficientnet_lite0, residual_like_cnn
from overhead import machine, marked, table
from torch import Tensor, nn

from captum_ext._core.memory import rows_per_call
from captum_ext.metrics import sensitivity_n

ALLOWED = 1.15


class SmallTransformer(nn.Module):
    """As large as ViT-Ti/16, with random weights."""

    def __init__(self, width: int = 192, depth: int = 12):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        layer = nn.TransformerEncoderLayer(width, 3, 4 * width, activation="gelu", batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.patches(x).flatten(2).mT).mean(1))


def perceptron(inputs: int, hidden: int) -> nn.Module:
    layers = nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Case:
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    draws: int
    limits: tuple[int, ...]


CASES = {
    "EfficientNet-Lite0, 224 x 224": Case(efficientnet_lite0, (2, 3, 224, 224), 32, (2, 4, 6, 8, 16, 32, 64)),
    "like ViT-Ti, 224 x 224": Case(SmallTransformer, (2, 3, 224, 224), 32, (2, 4, 6, 8, 16, 32, 64)),
    "CNN, 32 x 32": Case(residual_like_cnn, (8, 3, 32, 32), 256, (16, 32, 64, 128, 256, 512, 1024)),
    "MLP, 16 inputs": Case(partial(perceptron, 16, 64), (16, 16), 512, (16, 64, 256, 1024, 4096)),
    "MLP, 20,000 inputs": Case(partial(perceptron, 20_000, 512), (2, 20_000), 64, (4, 16, 32, 64, 128)),
}


def seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def times(case: Case, repeats: int) -> tuple[int, dict[int | None, float]]:
    """The default limit, and the median time with each limit; None is the default."""
    torch.manual_seed(0)
    model, x = case.make().eval(), torch.randn(case.shape)
    run = partial(sensitivity_n, model, x, x, n=0.5, target=0, n_perturb_samples=case.draws, seed=0)
    limits = (None, *case.limits)
    run(n_perturb_samples=2)
    rounds = [{limit: seconds(partial(run, max_examples_per_batch=limit)) for limit in limits} for _ in range(repeats)]
    return rows_per_call(model, (x,)), {limit: median(r[limit] for r in rounds) for limit in limits}


def line(name: str, case: Case, repeats: int) -> list[str]:
    default, found = times(case, repeats)
    best = min(case.limits, key=found.__getitem__)
    others = ", ".join(f"{limit}: {found[limit] / found[best]:.2f}" for limit in case.limits)
    return [name, str(default), str(best), marked(found[None] / found[best], ALLOWED), others]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds, each with every limit")
    parser.add_argument("--only", choices=list(CASES), action="append", help="one of the models")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    header = ["model", "default limit", "best fixed limit", "default / best", "time of each limit / best"]
    print(
        table(header, [line(name, CASES[name], chosen.repeats) for name in chosen.only or CASES]), machine(), sep="\n"
    )


if __name__ == "__main__":
    main()
