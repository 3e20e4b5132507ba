"""One thread of a process computes at a time: what it computes with belongs to the whole process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_COMPUTING = threading.RLock()  # held by the thread that computes, which may start a run inside a run


@contextmanager
def alone_in_process(wait: bool = False) -> Iterator[None]:
    """No other thread of this process computes meanwhile; if one does already, this one waits for it or is refused."""
    if not _COMPUTING.acquire(blocking=wait):
        raise RuntimeError(
            "Another thread of this process is computing a shard. The global random generators, the hooks on the model "
            "and torch's number of threads belong to that shard until it is finished. An engine must compute one shard "
            "at a time in a process: start a process for each worker, as engine='elastic' does."
        )
    try:
        yield
    finally:
        _COMPUTING.release()


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Torch computes with so many threads meanwhile; None leaves their number as it is."""
    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)
