"""What the metrics cost beside the bare model: model rows and calls, time, memory. Run `python benchmarks/overhead.py`.

Rows and calls are counted and must be those of the formula, else the exit status is 1. Times and memory are printed, `(!)` where above
their limit. Time is measured by turns within one run, memory in a fresh process for each case.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import captum
import torch
from cases import CASES, FULL, QUICK, Case, Setting, Work
from measuring import MEMORY_IS_MEASURED, counted, in_fresh_process, peak, time_ratio

COPIES_LIMIT = 4  # of extra memory, in copies of a batch

TILES = Setting("tiles", 224, batch=16, limit=16, draws=100, sizes=10, steps=33, methods=1)
FEW = replace(TILES, draws=5)
SENSITIVITY_N = CASES[1]
MEMORY = (
    (SENSITIVITY_N, TILES),
    (SENSITIVITY_N, replace(FEW, model="lite0", draws=1)),
    *((case, FEW) for case in CASES),
    *((case, replace(FEW, methods=3)) for case in CASES),
)
MEMORY_QUICK = ((SENSITIVITY_N, replace(TILES, draws=2)),)


@dataclass(frozen=True)
class Measured:
    case: Case
    setting: Setting
    calls: list[int]
    time: float

    @property
    def counts_are_right(self) -> bool:
        return self.calls == self.case.calls(self.setting)

    @property
    def work(self) -> str:
        wrong = "" if self.counts_are_right else f" (wrong: {self.case.calls(self.setting)} wanted, got {self.calls})"
        return f"{sum(self.calls)} in {len(self.calls)}{wrong}"


def measure(case: Case, setting: Setting, repeats: int) -> Measured:
    w = Work(setting)
    with counted(w.model) as calls:
        case.run(w)  # the warm-up too
    bare = partial(case.bare, w, list(calls))
    bare()
    return Measured(case, setting, list(calls), time_ratio(partial(case.run, w), bare, repeats))


def beside_captum(case: Case, setting: Setting, repeats: int) -> list[str]:
    """Rows of both and Captum's time in ours, for one method."""
    w = Work(replace(setting, methods=1))
    rows = []
    for run in (case.run, case.captums):
        with counted(w.model) as calls:
            run(w)
        rows.append(str(sum(calls)))
    return [
        case.name,
        setting.model,
        *rows,
        f"{time_ratio(partial(case.captums, w), partial(case.run, w), repeats):.2f}",
    ]


def peaks(case: int, setting: Setting) -> tuple[int, int]:
    """Bytes: of the bare work on one full batch, and of the metric."""
    warnings.simplefilter("ignore")
    w, few = Work(setting), Work(replace(setting, draws=2, sizes=1, steps=3))
    bare = partial(CASES[case].bare, w, [setting.limit])
    bare()
    CASES[case].run(few)
    return peak(bare), peak(partial(CASES[case].run, w))


def memory(case: Case, setting: Setting) -> tuple[float, float] | None:
    """The metric's peak in that of the bare work, and what it has more, in copies of a batch."""
    if not MEMORY_IS_MEASURED:
        return None
    bare, metric = in_fresh_process(peaks, CASES.index(case), setting)
    return metric / bare, (metric - bare) / setting.bytes


def marked(value: float, limit: float = float("inf")) -> str:
    return f"{value:.2f}{' (!)' if round(value, 2) > limit else ''}"


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def cost_table(measured: list[list[Measured]]) -> str:
    """A line per metric; for each model its rows, calls and time."""
    columns = [f"{m.setting.model}: {what}" for m in measured[0] for what in ("rows in calls", "time / bare")]
    return table(["metric", "model rows", *columns], map(cost_line, measured))


def cost_line(of_metric: list[Measured]) -> list[str]:
    cells = [(m.work, marked(m.time, m.case.time_limit(m.setting))) for m in of_metric]
    return [of_metric[0].case.name, of_metric[0].case.formula, *(cell for pair in cells for cell in pair)]


def captum_table(settings: list[Setting], repeats: int) -> str:
    header = ["metric, one method", "model", "rows", "Captum's rows", "Captum's time / ours"]
    return table(header, [beside_captum(c, s, repeats) for c in CASES if c.captums for s in settings])


def memory_table(cases: Iterable[tuple[Case, Setting]]) -> str:
    header = ["metric", "model", "methods", "rows", "peak / bare", "extra copies of the batch"]
    return table(header, [memory_line(case, setting) for case, setting in cases])


def memory_line(case: Case, setting: Setting) -> list[str]:
    of_bare, copies = memory(case, setting)
    rows = f"{sum(case.calls(setting)):,}"
    return [case.name, setting.model, str(setting.methods), rows, f"{of_bare:.2f}", marked(copies, COPIES_LIMIT)]


def machine() -> str:
    versions = f"torch {torch.__version__}, captum {captum.__version__}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {torch.get_num_threads()} threads; {versions}; {platform.system()} {platform.machine()}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less work and one memory case: under a minute")
    parser.add_argument("--model", choices=[*FULL, "both"], default="both")
    parser.add_argument("--repeats", type=int, help="pairs of runs for each time ratio")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    repeats = chosen.repeats or (3 if chosen.quick else 7)
    settings = [s for name, s in (QUICK if chosen.quick else FULL).items() if chosen.model in (name, "both")]
    warnings.filterwarnings("ignore", "Input Tensor 0 did not already require gradients")

    measured = [[measure(case, setting, repeats) for setting in settings] for case in CASES]
    print(cost_table(measured), captum_table(settings, repeats), sep="\n\n", end="\n\n", flush=True)
    if MEMORY_IS_MEASURED:
        print(memory_table(MEMORY_QUICK if chosen.quick else MEMORY), end="\n\n")
    print(machine())
    sys.exit(not all(m.counts_are_right for of_metric in measured for m in of_metric))


if __name__ == "__main__":
    main()
