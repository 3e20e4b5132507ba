"""What the metrics cost beside the bare model: model rows and calls, time, memory. Run `python benchmarks/overhead.py`.

Rows and calls are counted and must be those of the formula, else the exit status is 1. Times and memory are printed,
`(!)` where above their limit. Time is measured by turns within one run, memory in a fresh process for each case.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import captum
import torch
from cases import CASES, FULL, QUICK, Case, Setting, Work
from measuring import counted, in_fresh_process, peak, time_ratio

COPIES_LIMIT = 4  # of extra memory, in copies of a batch

# for memory: 16 images of 224 x 224, a model that needs next to none, one method
TILES = Setting("tiles", 224, batch=16, limit=16, draws=3, sizes=10, steps=9, methods=1)
SENSITIVITY_N = CASES[1]
LARGE = {
    "ten sizes of a hundred subsets": replace(TILES, draws=100),
    "EfficientNet-Lite0, ten sizes of one subset": replace(TILES, model="lite0", draws=1),
    "three methods": replace(TILES, methods=3),
}


@dataclass(frozen=True)
class Peaks:
    """Bytes above what rested before: of the bare work on one full batch, and of the metric."""

    bare: int
    metric: int

    @property
    def ratio(self) -> str:
        return f"{self.metric / self.bare:.2f}"

    def copies(self, setting: Setting) -> str:
        return marked((self.metric - self.bare) / setting.bytes, COPIES_LIMIT)


@dataclass(frozen=True)
class Measured:
    case: Case
    setting: Setting
    calls: list[int]
    time: float
    peaks: Peaks | None

    @property
    def counts_are_right(self) -> bool:
        return self.calls == self.case.calls(self.setting)

    @property
    def cells(self) -> list[str]:
        wrong = "" if self.counts_are_right else f" (!) wanted {self.case.calls(self.setting)}, got {self.calls}"
        work = f"{sum(self.calls)} in {len(self.calls)}{wrong}"
        return [work, marked(self.time, self.case.time_limit(self.setting)), self.peaks.ratio if self.peaks else "-"]


def measure(case: Case, setting: Setting, repeats: int, with_memory: bool) -> Measured:
    w = Work(setting)
    with counted(w.model) as calls:
        case.run(w)  # the warm-up too
    bare = partial(case.bare, w, list(calls))
    bare()
    time = time_ratio(partial(case.run, w), bare, repeats)
    return Measured(case, setting, list(calls), time, peaks_of(case, setting) if with_memory else None)


def beside_captum(case: Case, setting: Setting, repeats: int) -> list[str]:
    """Rows of both and Captum's time in ours, for one method."""
    w = Work(replace(setting, methods=1))
    rows = []
    for run in (case.run, case.captums):
        with counted(w.model) as calls:
            run(w)
        rows.append(str(sum(calls)))
    time = time_ratio(partial(case.captums, w), partial(case.run, w), repeats)
    return [case.name, setting.model, *rows, marked(time)]


def peaks_of(case: Case, setting: Setting) -> Peaks:
    return in_fresh_process(peaks_here, CASES.index(case), setting)


def peaks_here(case: int, setting: Setting) -> Peaks:
    warnings.simplefilter("ignore")
    w, few = Work(setting), Work(replace(setting, draws=2, sizes=1, steps=3))
    bare = partial(CASES[case].bare, w, [setting.limit])
    bare()
    CASES[case].run(few)
    return Peaks(peak(bare), peak(partial(CASES[case].run, w)))


def marked(value: float, limit: float = float("inf")) -> str:
    return f"{value:.2f}{' (!)' if round(value, 2) > limit else ''}"


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows]) + "\n"


def memory_table(quick: bool) -> str:
    """`sensitivity_n` at its largest."""
    cases = {"ten sizes of three subsets": TILES} if quick else LARGE
    rows = [
        [name, f"{sum(SENSITIVITY_N.calls(s)):,}", peaks_of(SENSITIVITY_N, s).copies(s)] for name, s in cases.items()
    ]
    return table(["memory of sensitivity_n, 16 images of 224 x 224", "rows", "extra copies of the images"], rows)


def captum_table(settings: list[Setting], repeats: int) -> str:
    header = ["beside Captum, one method", "model", "rows", "Captum's rows", "Captum's time / ours"]
    return table(header, [beside_captum(case, s, repeats) for case in CASES if case.captums for s in settings])


def cost_table(measured: list[list[Measured]], copies: list[str]) -> str:
    """A line for each metric, with every model's rows, calls, time and memory."""
    of_model = ("rows in calls", "time / bare", "peak / bare")
    columns = [f"{m.setting.model}: {column}" for m in measured[0] for column in of_model]
    lines = [
        [ms[0].case.name, ms[0].case.formula, *(cell for m in ms for cell in m.cells), extra]
        for ms, extra in zip(measured, copies)
    ]
    return table(["metric", "model rows", *columns, "extra copies of the batch"], lines)


def machine() -> str:
    versions = f"torch {torch.__version__}, captum {captum.__version__}, Python {platform.python_version()}"
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores in use"
    return f"{processor()}, {threads}; {versions}; {platform.system()} {platform.machine()}"


def processor() -> str:
    """The name of its model, which Linux tells in a file."""
    file = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", file.read_text(), re.MULTILINE) if file.exists() else None
    return named[1] if named else platform.processor()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less work, and one case of memory")
    parser.add_argument("--model", choices=[*FULL, "both"], default="both")
    parser.add_argument("--repeats", type=int, help="pairs of runs for each ratio of times")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    warnings.simplefilter("ignore")
    repeats = chosen.repeats or (2 if chosen.quick else 5)
    settings = [s for name, s in (QUICK if chosen.quick else FULL).items() if chosen.model in (name, "both")]
    linux = sys.platform == "linux"  # where peaks can be read
    every_peak = linux and not chosen.quick

    measured = [[measure(case, s, repeats, every_peak) for s in settings] for case in CASES]
    copies = [peaks_of(case, TILES).copies(TILES) if every_peak else "-" for case in CASES]
    print(captum_table(settings, repeats))
    if linux:
        print(memory_table(chosen.quick))
    print(cost_table(measured, copies))
    print(machine())
    sys.exit(not all(m.counts_are_right for ms in measured for m in ms))


if __name__ == "__main__":
    main()
