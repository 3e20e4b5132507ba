"""Checks what the caller wants to compute with, and completes it by what a launcher says of this process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..._core.checks import check_count, check_number
from ..._core.guard import frames_of_package
from ..kept_run import run_to_end
from ..model import device_of
from ..npz import Arrays
from ..store import IncompleteRun
from ..verification import verify_run
from . import Engine, Job, Rank, Resources, ShardStore, engine_named
from .members import first_of_launch
from .ranks import launched, launched_rank

Device = torch.device | str | int


class Workers(NamedTuple):
    """The engine of a run, and with what it computes."""

    engine: Engine
    resources: Resources

    def complete(self, job: Job, store: ShardStore, show_progress: bool, verify: str) -> None:
        """Has finished shards verified and the missing ones computed.

        Of several launched processes, only the first shows progress, and only the first to come verifies.
        """

        def compute(missing: list[int]) -> Mapping[int, str]:
            return self.engine.run(job, missing, store, self.resources)

        def check(missing: list[int]) -> None:
            with first_of_launch(store.folder, self.resources.rank) as first:
                if first:
                    verify_run(job, store, missing, verify, lambda shards: self._again(job, store, shards))

        run_to_end(store, show_progress and self.resources.rank.index == 0, compute, check)

    def _again(self, job: Job, store: ShardStore, shards: list[int]) -> dict[int, Arrays]:
        """Finished shards as they are computed now: by the same engine, in a store of their own."""
        resources = replace(self.resources, devices=self.resources.devices[: len(shards)], rank=Rank())
        with store.for_comparison() as other:
            reasons = self.engine.run(job, shards, other, resources)
            if lost := [s for s in shards if not other.has(s)]:
                raise IncompleteRun(
                    f"Finished shards could not be computed again for a comparison: examples "
                    f'{store.spans(lost, reasons)}. Fix the problem, or resume without a comparison by verify="off".',
                    [store.edges(s) for s in lost],
                )
            return {s: other.read(s) for s in shards}

    def write_result(self, path: Path) -> bool:
        """Whether this process writes the result: the first of several, or any if it is not there."""
        return self.resources.rank.index == 0 or not path.exists()


def workers_of(
    model: Any,
    *,
    device: torch.device | str | None,
    devices: Sequence[Device] | None,
    engine: Any,
    max_restarts: int,
    shard_timeout: float | None,
    threads_per_worker: int | None,
    shared: bool,
) -> Workers:
    """Checks the arguments; `shared` says whether other processes that a launcher started can see the store."""
    max_restarts = check_count("max_restarts", max_restarts, least=0)
    if threads_per_worker is not None:
        threads_per_worker = check_count("threads_per_worker", threads_per_worker)
    if shard_timeout is not None:
        shard_timeout = check_number("shard_timeout", shard_timeout, "a number of seconds above 0", lambda v: v > 0)
    named = None if engine == "auto" else engine_named(engine)
    rank = _rank(shared) if named is None or getattr(named, "joins_launched", False) else Rank()
    chosen = _devices(model, device, devices, rank)
    runner = named or engine_named("elastic" if len(chosen) > 1 else "inline")
    threads = threads_per_worker or (None if getattr(runner, "in_process", False) else 1)
    return Workers(runner, Resources(chosen, threads, max_restarts, shard_timeout, rank))


def _rank(shared: bool) -> Rank:
    if shared:
        return launched_rank(os.environ) or Rank()
    if launched(os.environ):
        warnings.warn(
            "Several processes were launched, and each computes everything: give all of them one `path`, on storage "
            'that all see, to share the work, or engine="inline" if that is meant.',
            stacklevel=frames_of_package(),
        )
    return Rank()


def _devices(
    model: Any, device: torch.device | str | None, devices: Sequence[Device] | None, rank: Rank
) -> tuple[torch.device, ...]:
    if devices is None:
        if device is None and rank.local is not None and torch.cuda.is_available():
            return (torch.device("cuda", rank.local % torch.cuda.device_count()),)
        return (_numbered(device_of(model, None if device is None else _as_device(device, "device"))),)
    if device is not None:
        raise ValueError("Give `device` for one worker or `devices` for several, not both.")
    if isinstance(devices, (str, torch.device)) or not isinstance(devices, Sequence) or not devices:
        raise TypeError(
            f"`devices` must be a sequence of devices with at least one, such as ['cuda:0', 'cuda:1']; got {devices!r}."
        )
    chosen = tuple(map(_as_device, devices))
    if len({d.type for d in chosen}) > 1:
        raise ValueError(
            f"`devices` must be of one type, for scores to be the same on each; got {', '.join(map(str, chosen))}."
        )
    return chosen if rank.local is None else (chosen[rank.local % len(chosen)],)


def _as_device(device: Device, name: str = "devices") -> torch.device:
    try:
        return _numbered(torch.device("cuda", device) if isinstance(device, int) else torch.device(device))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"`{name}` has {device!r}, which is no device: {error}") from error


def _numbered(device: torch.device) -> torch.device:
    return torch.device("cuda", 0) if device == torch.device("cuda") else device
