"""What many workers and many examples cost. Run `python benchmarks/scaling.py`; `--quick` for small numbers.

Times are of this machine, and medians where something is repeated; a simulated shard holds real arrays, but nothing was
computed for it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measuring import in_fresh_process, resident, seconds
from overhead import machine
from torch import Tensor, nn

from captum_ext import evaluate
from captum_ext.evaluation.engines import Resources
from captum_ext.evaluation.job import Job
from captum_ext.evaluation.store import ShardStore

METHODS, METRICS = 5, 4


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Numbers:
    """A data set that takes no memory."""

    def __init__(self, examples: int):
        self.examples = examples

    def __len__(self) -> int:
        return self.examples

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(index), 1.0]), 0


def no_explanation(model: Any) -> Callable[..., Tensor]:
    return lambda inputs: torch.zeros_like(inputs)


def no_score(attributions: Tensor) -> Tensor:
    return attributions.sum(1)


def busy_score(attributions: Tensor, seconds_of_work: int) -> Tensor:
    """The same work for every example, bound by one core."""
    a = torch.randn(160, 160)
    for _ in range(seconds_of_work * len(attributions)):
        a = torch.tanh(a @ a.T)
    return attributions.sum(1)


def run(examples: int, metric: Callable[..., Tensor], methods: int = 1, metrics: int = 1, **options: Any) -> Any:
    return evaluate(
        Nothing(),
        Numbers(examples),
        {f"method {i}": no_explanation for i in range(methods)},
        {f"metric {i}": metric for i in range(metrics)},
        **options,
    )


class Simulated:
    """An engine that writes shards which nobody computed, as fast as it can."""

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]:
        for shard in shards:
            scores = np.full((len(job.methods), len(store.edges(shard))), 0.5, np.float32)
            store.write(shard, {**{str(m): scores for m in range(len(job.metrics))}, "failures": np.array("[]")})
        return {}


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def start_up(devices: int) -> float:
    """Seconds of a run with one example a worker."""
    return seconds(lambda: run(devices, no_score, batch_size=1, devices=["cpu"] * devices, engine="elastic"))


def no_op(shards: int, devices: int) -> float:
    return seconds(lambda: run(shards, no_score, batch_size=1, devices=["cpu"] * devices, engine="elastic"))


def speed_up(work: int, examples: int, repeats: int) -> tuple[float, float, float]:
    """One and two workers, beyond their start-up, by turns; and the median of the ratios."""

    def beyond_start(devices: int) -> float:
        with folder() as path:
            began = time.time()
            run(
                examples,
                partial(busy_score, seconds_of_work=work),
                batch_size=1,
                devices=["cpu"] * devices,
                engine="elastic",
                path=path / "run.h5",
            )
            finished = sorted(f.stat().st_mtime for f in (path / "run.h5.parts").glob("*.npz"))
            assert finished[0] > began
            return finished[-1] - finished[0]

    pairs = [(beyond_start(1), beyond_start(2)) for _ in range(repeats)]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)


def many_examples(examples: int, shard_size: int) -> dict[str, float]:
    """In a fresh process: simulated shards, reading them again, exports, and memory beyond what rests before."""
    with folder() as path:
        options: dict[str, Any] = {
            "methods": METHODS,
            "metrics": METRICS,
            "shard_size": shard_size,
            "engine": Simulated(),
        }
        rest = resident("VmRSS")
        result, written = timed(lambda: run(examples, no_score, path=path / "run.h5", **options))
        peak = resident("VmHWM") - rest
        size = sum(v.nbytes for v in result.dataset.variables.values())
        again, resumed = timed(lambda: run(examples, no_score, path=path / "run.h5", **options))
        assert again.dataset.identical(result.dataset)
        _, hdf5 = timed(lambda: result.save(path / "copy.h5"))
        _, csv = timed(lambda: result.save(path / "copy", format="csv"))
        parts = [f.stat().st_size for f in (path / "run.h5.parts").iterdir()]
        return {
            "files": len(parts),
            "megabytes": sum(parts) / 1e6,
            "written and assembled, s": written,
            "resumed, s": resumed,
            "HDF5, s": hdf5,
            "CSV, s": csv,
            "result, MB": size / 1e6,
            "peak, MB": peak / 1e6,
        }


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    torch.set_num_threads(1)
    shards, repeats, largest = (100, 1, 20_000) if quick else (1_500, 3, 1_000_000)
    print(machine())
    starts = {devices: median(start_up(devices) for _ in range(repeats)) for devices in (1, 2)}
    print(f"start-up of elastic: {starts[1]:.1f} s with one worker, {starts[2]:.1f} s with two")
    beyond = no_op(shards, 2) - starts[2]
    print(
        f"{shards:,} shards without work, two workers: "
        f"{beyond:.2f} s beyond start-up, {1000 * beyond / shards:.2f} ms a shard"
    )
    one, two, ratio = speed_up(*((20, 8) if quick else (1500, 60)), repeats)
    print(f"work bound by the processor: {one:.1f} s with one worker, {two:.1f} s with two, {ratio:.2f} times as fast")
    for examples, size in (
        {(50_000, 16), (50_000, 1000), (largest // 10, 1000), (largest, 1000)} if not quick else {(largest, 100)}
    ):
        measured = {k: round(v, 2) for k, v in in_fresh_process(many_examples, examples, size).items()}
        print(f"{examples:,} examples in shards of {size}: {json.dumps(measured)}")


if __name__ == "__main__":
    main()
