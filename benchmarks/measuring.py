"""Measures rows, time and peak memory."""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from statistics import median
from typing import Any

from torch import nn

Run = Callable[[], Any]


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Yields a list that collects the number of rows of every call of the model."""
    calls: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    try:
        yield calls
    finally:
        handle.remove()


def seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def time_ratio(run: Run, bare: Run, repeats: int) -> float:
    """The ratio of the time of `run` to that of `bare`. They take turns, so that a slow moment affects both."""
    pairs = [(seconds(bare), seconds(run)) for _ in range(repeats)]
    return median(b / a for a, b in pairs)


def peak(run: Run) -> int:
    """The bytes of resident memory that a run needs in addition to what was in use before it. Linux only."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak of resident memory
    rest = resident("VmRSS")
    run()
    return resident("VmHWM") - rest


def resident(field: str) -> int:
    with open("/proc/self/status") as file:
        return int(re.search(rf"{field}:\s+(\d+) kB", file.read())[1]) * 1024


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Runs a function in a process that returns freed memory at once, so that a peak counts only live memory."""
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.mmap_threshold=65536"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
