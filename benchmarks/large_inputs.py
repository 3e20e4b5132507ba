"""What one large input costs each metric with its default settings. Run `python benchmarks/large_inputs.py`.

The inputs are an image of 3 x 1024 x 1024 and a volume of 128 x 128 x 128, the model is tiny. The memory is what a
metric takes in addition, in copies of the input, `(!)` where it is more than 4 of each row of its largest call, or 16,
as calls of such rows have 4. Seconds are those of the processor; a metric that takes more than `--seconds` is stopped.
`--metrics` measures only some. Linux only.
"""

from __future__ import annotations

import argparse
import inspect
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from cases import calls
from measuring import counted, in_fresh_process, peak
from overhead import COPIES_LIMIT, machine, marked, table
from torch import Tensor, nn

from captum_ext._core.memory import FEWEST

SHAPES = {"image": (1, 3, 1024, 1024), "volume": (1, 1, 128, 128, 128)}
SMALL = {"image": (1, 3, 32, 32), "volume": (1, 1, 32, 32, 32)}  # for the warm-up
HEADER = ["metric", "rows", "at most at a time", "seconds", "copies", "what it says"]


class Tiny(nn.Module):
    """A convolution whose results take next to no memory, and three outputs."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        convolution = nn.Conv2d if len(shape) == 4 else nn.Conv3d
        self.hidden, self.out = convolution(shape[1], 4, 16, stride=16), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.hidden(x)).flatten(2).mean(2))


@dataclass(frozen=True)
class Measured:
    rows: int
    most: int  # rows in a call
    seconds: float
    bytes: int
    said: str

    def cells(self, name: str, of_input: int) -> list[str]:
        copies = marked(self.bytes / of_input, COPIES_LIMIT * max(self.most, FEWEST))
        return [name, f"{self.rows:,}", str(self.most), f"{self.seconds:.1f}", copies, self.said]


def setting(shape: tuple[int, ...]) -> calls.Setting:
    torch.manual_seed(0)
    model, x = Tiny(shape).eval(), torch.randn(shape)
    patch = torch.rand(shape[1], *(side // 8 for side in shape[2:]))
    own = {"truth_mask": torch.rand(1, 1, *shape[2:]) > 0.7, "patches": {0: patch, 1: -patch}}
    return calls.Setting(model, x, torch.arange(1), model, everyone=x, own=own)


def by_default(s: calls.Setting, name: str) -> dict[str, Any]:
    """The arguments that a metric must have; all others stay at their defaults."""
    metric = calls.METRICS[name]
    parameters = inspect.signature(metric).parameters
    given = {
        n: v for n, v in s.of(metric).items() if n not in parameters or parameters[n].default is inspect.Parameter.empty
    }
    return given | ({"target": torch.zeros(1, dtype=torch.long)} if calls.takes(metric, "target") else {})


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"stopped after {seconds} s")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def measured(s: calls.Setting, name: str, seconds: int) -> Measured:
    given, said = by_default(s, name), []

    def run() -> None:
        try:
            with at_most(seconds):
                calls.METRICS[name](**given)
        except (TimeoutError, ValueError) as error:  # a refusal is what a large input may get
            said.append(str(error))

    with warnings.catch_warnings(record=True) as warned, counted(s.model) as rows:
        warnings.simplefilter("always")
        start = time.process_time()
        size = peak(run)
        took = time.process_time() - start
    said += [str(w.message) for w in warned if "did not already require gradients" not in str(w.message)]
    return Measured(sum(rows), max(rows, default=0), took, size, " ".join(said).replace("\n", " ")[:160])


def lines(kind: str, names: list[str], seconds: int) -> list[list[str]]:
    torch.set_num_threads(1)
    small, large = setting(SMALL[kind]), setting(SHAPES[kind])
    found = []
    for name in names:
        measured(small, name, 5)
        found.append(measured(large, name, seconds).cells(name, large.inputs.nbytes))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=[*SHAPES, "both"], default="both")
    parser.add_argument("--seconds", type=int, default=60, help="after which a metric is stopped")
    parser.add_argument("--metrics", nargs="+", choices=calls.METRICS, default=[*calls.METRICS], metavar="metric")
    chosen = parser.parse_args()
    for kind in SHAPES if chosen.kind == "both" else [chosen.kind]:
        found = in_fresh_process(lines, kind, chosen.metrics, chosen.seconds)
        print(table([f"{kind} {SHAPES[kind]}: {HEADER[0]}", *HEADER[1:]], found), flush=True)
    print(machine())


if __name__ == "__main__":
    main()
