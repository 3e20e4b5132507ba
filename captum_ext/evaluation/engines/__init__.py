"""Engines decide where shards are computed; how they are computed is the scorer's part, keeping them the store's.

An engine of your own is an object with a method `run`, as `Engine` describes. Give it as ``evaluate(..., engine=...)``,
or register it as an entry point of the group ``captum_ext.engines``. This module has everything that it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

import torch

from ..alone import alone_in_process as alone_in_process
from ..job import Job as Job
from ..scorer import Scorer as Scorer
from ..store import ShardStore as ShardStore
from .ranks import Rank as Rank
from .ranks import shard_order as shard_order

__all__ = ["Engine", "Job", "Rank", "Resources", "Scorer", "ShardStore", "alone_in_process", "shard_order"]

OWN = {"inline": ".inline:Inline", "elastic": ".elastic:Elastic", "ray": ".ray:Ray"}
GROUP = "captum_ext.engines"  # entry points of other packages: functions without arguments that return an engine
ONLY_ONE = Rank()


@dataclass(frozen=True)
class Resources:
    """With what to compute: a worker for each device, and when to give up on one.

    `threads` is the number of torch's threads in a worker, which the scorer sets, and by which an engine may reserve
    cores; None leaves the process's own number. `rank` is that of this process among those that a launcher started.
    """

    devices: Sequence[torch.device]
    threads: int | None = None
    max_restarts: int = 100
    shard_timeout: float | None = None
    rank: Rank = ONLY_ONE


class Engine(Protocol):
    """Has the shards of a job computed and written to the store, in whatever processes, on whatever machines.

    A worker makes a scorer once, ``scorer = Scorer(replace(job, device=device))``, and computes each of its shards with
    ``store.write(shard, scorer.compute(store.edges(shard)))``. Which worker computes which shard, in which order and
    how often has no effect on the scores. What an engine must keep:

    - **One shard at a time in a process.** While a scorer computes, the global generators of torch, numpy and Python,
      the hooks on a model and torch's number of threads belong to it; afterwards they are as before. So workers are
      processes. If another thread of the process computes already, `Scorer` raises a RuntimeError; threads that are
      meant to take turns compute inside ``with alone_in_process(wait=True)``.
    - **Only the store counts.** A shard is done when it is in the store, whoever wrote it. If one of `shards` is
      missing when `run` has returned, the run ends as `IncompleteRun`, whatever `run` returned.
    - **The shards that are asked for.** `run` computes these and no others. Where a run is resumed it is called twice:
      first with two finished shards and a store of their own, for a comparison, then with the missing ones.
    - **A run may stop early.** Where ``store.rule`` is not None, the scores decide how many shards are needed, from the
      first on. ``store.has(shard)`` is then also true of a shard that need not be computed, so an engine that asks
      before each shard, and takes them in order, stops soon. One that computes all of them gives the same result.
    - **The limits of resources.** There is a worker for each entry of `devices`, workers are restarted `max_restarts`
      times at most, and none is longer at a shard than `shard_timeout` seconds. An engine that cannot keep one of these
      limits should say so in its documentation.
    - **What comes back.** `run` returns the shards that it gave up, each with the reason in words. It raises an error
      of a worker as an exception of the same built-in type.

    An engine may have two attributes; each counts as False where it is missing:

    - `in_process` says that it computes in the caller's process. Then torch keeps its present number of threads if
      `threads_per_worker` is not given; otherwise each worker has one thread.
    - `joins_launched` says that the processes which a launcher (torchrun, SLURM, Kubernetes) started share a run. Each
      of them takes the missing shards in the order ``shard_order(len(store), resources.rank, store.rule is not None)``.
      Otherwise each process computes all shards.
    """

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]: ...


def engine_named(engine: Any) -> Engine:
    """An engine by its name, of this package or of another that has an entry point; or the engine itself."""
    if not isinstance(engine, str):
        if not callable(getattr(engine, "run", None)):
            raise TypeError(f"`engine` must be a name or an object with a method `run`, got {type(engine).__name__}.")
        return engine
    if engine in OWN:
        module, name = OWN[engine].split(":")
        made: Engine = getattr(import_module(module, __name__), name)()
        return made
    others = {entry.name: entry for entry in entry_points(group=GROUP)}
    if engine not in others:
        names = ", ".join(map(repr, ["auto", *OWN, *sorted(others)]))
        raise ValueError(f"`engine` must be one of {names}, or an engine, got {engine!r}.")
    made = others[engine].load()()
    return made
