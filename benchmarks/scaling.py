"""What many workers and many examples cost. Run `python benchmarks/scaling.py`; `--quick` for small numbers.

`--shards 100000` measures a folder of so many shards instead, and `--kill 50000` a run over so many examples whose
workers are killed at random. Times are those of this machine, and medians where something is repeated. A simulated
shard holds arrays as a real one does, but nothing was computed for it, so that nothing is verified (`verify="off"`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import threading
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
from captum.attr import Saliency
from measuring import in_fresh_process, resident, seconds
from overhead import machine
from torch import Tensor, nn

from captum_ext import evaluate, metrics, random_attribution
from captum_ext.evaluation.cost import COST
from captum_ext.evaluation.engines import Job, Resources, ShardStore
from captum_ext.perturbations import gaussian

METHODS, METRICS = 5, 4
WORKERS, SHARE = 4, 0.3  # of a run whose workers are killed, and how many of them at a time
COSTS = json.dumps([[f"method {i}", f"metric {k}", 0.01, 16.0] for i in range(METHODS) for k in range(METRICS)])


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
    """An engine that writes shards which nobody computed, as fast as it can; it waits for the disk if `durable`."""

    in_process = True

    def __init__(self, durable: bool = True):
        self.durable = durable

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]:
        store.kept = self.durable
        for shard in shards:
            examples = store.edges(shard)
            scores = np.full((len(job.methods), len(examples)), 0.5, np.float32)
            notes = {"failures": "[]", "data": json.dumps(["0" * 16 for _ in job.batches(examples)]), COST: COSTS}
            arrays = {str(m): scores for m in range(len(job.metrics))}
            store.write(shard, arrays | {name: np.array(note) for name, note in notes.items()})
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
            "verify": "off",
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


def many_shards(shards: int) -> dict[str, float]:
    """In a fresh process: a folder of so many shards of one example; processor time a shard, and memory."""
    with folder() as path:
        options: dict[str, Any] = {"methods": METHODS, "metrics": METRICS, "batch_size": 1, "verify": "off"}
        options |= {"engine": Simulated(durable=False), "path": path / "run.h5"}
        rest = resident("VmRSS")
        result, written = processor_time(lambda: run(shards, no_score, **options))
        (path / "run.h5").unlink()
        (path / "run.h5.parts" / f"{shards // 2:08d}.npz").unlink()
        again, resumed = processor_time(lambda: run(shards, no_score, **options))
        assert again.dataset.identical(result.dataset)
        return {
            "written and assembled, s": written,
            "resumed, s": resumed,
            "resumed, ms a shard": 1000 * resumed / shards,
            "peak, MB": (resident("VmHWM") - rest) / 1e6,
        }


class Killer:
    """A context manager that kills some of this process's workers at random times, after they have got something done.

    `started` and `killed` are their numbers.
    """

    def __init__(self, parts: Path, seed: int = 0):
        self.parts, self.draw = parts, random.Random(seed)
        self.started: set[int] = set()
        self.killed, self.rounds = 0, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._follow)

    def __enter__(self) -> Killer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _follow(self) -> None:
        while not self.ended.is_set():
            done = self._done()
            while self._done() == done and not self.ended.wait(0.05):
                self.started |= {*workers_of_this_process()}
            self.ended.wait(self.draw.uniform(0, 3))
            self._kill([pid for pid in workers_of_this_process() if self.draw.random() < SHARE])

    def _kill(self, workers: list[int]) -> None:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        self.killed, self.rounds = self.killed + len(workers), self.rounds + bool(workers)

    def _done(self) -> int:
        return len(list(self.parts.glob("*.npz")))


def workers_of_this_process() -> list[int]:
    children = [int(pid) for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
    return [pid for pid in children if b"captum_ext.evaluation.engines.process" in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def killed_at_random(examples: int) -> dict[str, float]:
    """In a fresh process: four workers that are killed, and then, without workers, the same run undisturbed."""

    def compute(**options: Any) -> Any:
        methods = {"saliency": Saliency, "random": random_attribution}
        scored = {"deletion": metrics.deletion, "infidelity": partial(metrics.infidelity, perturb_func=gaussian)}
        return evaluate(nn.Linear(2, 2), Numbers(examples), methods, scored, batch_size=64, shard_size=256, **options)

    torch.manual_seed(0)
    state = torch.get_rng_state()
    with folder() as path, Killer(path / "run.h5.parts") as killer:
        rest = resident("VmRSS")
        workers = {"devices": ["cpu"] * WORKERS, "engine": "elastic", "path": path / "run.h5"}
        result, wall = timed(lambda: compute(**workers))
        peak = resident("VmHWM") - rest
    torch.set_rng_state(state)  # the same model
    undisturbed, alone = timed(compute)
    assert undisturbed.dataset.drop_attrs().identical(result.dataset.drop_attrs())
    return {
        "workers started": len(killer.started),
        "killed": killer.killed,
        "rounds": killer.rounds,
        "s": wall,
        "undisturbed in one process, s": alone,
        "peak of the driver, MB": peak / 1e6,
    }


def processor_time(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("--shards", type=int, metavar="NUMBER", help="a folder of so many shards, and nothing else")
    parser.add_argument("--kill", type=int, metavar="EXAMPLES", help="a run whose workers are killed, and nothing else")
    given = parser.parse_args()
    quick = given.quick
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"
    torch.set_num_threads(1)
    shards, repeats, largest = (100, 1, 20_000) if quick else (1_500, 3, 1_000_000)
    print(machine())
    if given.shards or given.kill:
        import scaling  # by this name, and not as `__main__`, workers find what is defined here

        function, largest = (
            (scaling.many_shards, given.shards) if given.shards else (scaling.killed_at_random, given.kill)
        )
        for number in (largest // 10, largest):
            measured = {k: round(v, 2) for k, v in in_fresh_process(function, number).items()}
            print(f"{number:,} {'shards' if given.shards else 'examples'}: {json.dumps(measured)}", flush=True)
        return
    starts = {devices: median(start_up(devices) for _ in range(repeats)) for devices in (1, 2)}
    print(f"start-up of elastic: {starts[1]:.1f} s with one worker, {starts[2]:.1f} s with two")
    beyond = no_op(shards, 2) - starts[2]
    print(
        f"{shards:,} shards without work, two workers: {beyond:.2f} s beyond start-up, "
        f"{1000 * beyond / shards:.2f} ms a shard"
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
