"""What large results cost. Run `python benchmarks/large.py`, at a hundredth of the size; `--full`: a million examples.

The time of `summary`, `compare` and `report`, the report's size and the memory, for ten methods by twelve metrics, in a
fresh process; times are those of this machine, also as processor time, which does not count what others compute on it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from measuring import in_fresh_process, resident
from overhead import machine
from scaling import folder, timed

from captum_ext import Evaluation

METHODS, METRICS = 10, 12
EXAMPLES = 1_000_000


def results(examples: int) -> Evaluation:
    """Scores of methods that differ a little, the last of them the random control."""
    draw = np.random.default_rng(0)
    names = [*(f"method {i}" for i in range(METHODS - 1)), "random"]
    difficulty = draw.normal(size=examples)
    lead = np.linspace(0.1, 0, METHODS)[:, None]
    scores = {
        f"metric {i}": (
            ("attribution", "example"),
            (lead + difficulty + draw.normal(size=(METHODS, examples))).astype(np.float32),
            {"higher_is_better": True, "metric": "deletion", "arguments": "{}", "reference": ""},
        )
        for i in range(METRICS)
    }
    about = {"seed": 0, "run_id": "", "failures": "[]", "torch": torch.__version__}
    return Evaluation(xr.Dataset(scores, {"attribution": names, "example": np.arange(examples)}, about))


def of_results(examples: int) -> dict[str, float]:
    result = results(examples)
    rest = resident("VmRSS")
    with folder() as path:
        spent = {
            **seconds_of("summary", result.summary),
            **seconds_of("compare", result.compare),
            **seconds_of("report", lambda: result.report(path / "page.html")),
        }
        size = (path / "page.html").stat().st_size
    peak = resident("VmHWM") - rest
    return spent | {"report, MB": size / 1e6, "result, MB": result.dataset.nbytes / 1e6, "peak, MB": peak / 1e6}


def seconds_of(name: str, function: Callable[[], Any]) -> dict[str, float]:
    began = time.process_time()
    _, wall = timed(function)
    return {f"{name}, s": wall, f"{name}, processor s": time.process_time() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="a million examples")
    examples = EXAMPLES if parser.parse_args().full else EXAMPLES // 100
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    torch.set_num_threads(1)
    print(machine())
    measured = {k: round(v, 2) for k, v in in_fresh_process(of_results, examples).items()}
    print(f"{examples:,} examples: {json.dumps(measured)}")


if __name__ == "__main__":
    main()
