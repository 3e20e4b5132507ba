"""Who computes the shards. An engine only places the work: how a shard is computed is the scorer's business, and what is kept the store's.

An engine of your own is an object with a method `run`, as `Engine` describes; it is given as ``evaluate(..., engine=...)``,
or registered as an entry point of the group ``captum_ext.engines``. This module has what it needs.
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
GROUP = "captum_ext.engines"  # entry points of packages that add one: functions without arguments that return an engine
ONLY_ONE = Rank()


@dataclass(frozen=True)
class Resources:
    """With what to compute: a worker for each device, and when to give up on one.

    `threads` is the number of torch's threads in a worker, for engines that reserve cores; the scorer sets it. None leaves
    the process's own number. `rank` is this process's among those that a launcher started.
    """

    devices: Sequence[torch.device]
    threads: int | None = None
    max_restarts: int = 100
    shard_timeout: float | None = None
    rank: Rank = ONLY_ONE


class Engine(Protocol):
    """Has the shards of a job computed and written to the store, in whatever processes, on whatever machines.

    A worker makes a scorer once, ``scorer = Scorer(replace(job, device=device))``, and computes each of its shards with
    ``store.write(shard, scorer.compute(store.edges(shard)))``. Which worker computes which shard, in which order and how
    often is without effect on the scores. What an engine must keep:

    - **One shard at a time in a process.** While a scorer computes, the global generators of torch, numpy and Python, the
      hooks on a model and torch's number of threads belong to it; afterwards they are as before. So workers are processes.
      Where another thread of the process computes already, `Scorer` raises a RuntimeError; threads that only take turns do so
      inside ``with alone_in_process(wait=True)``.
    - **Only the store counts.** A shard is done when it is in the store, whoever wrote it. A shard of `shards` that is
      missing when `run` returns makes the run an `IncompleteRun`, whatever `run` returns.
    - **What `resources` says.** A worker for each entry of `devices`, no more than `max_restarts` restarts, none longer at a
      shard than `shard_timeout` seconds. An engine that cannot keep one of these should say so where it is documented.
    - **What comes back.** `run` returns the shards that it gave up, each with the reason in words, and raises what a
      worker raised, as an exception of the same built-in type.

    Two attributes may say more of an engine; one that does not have them counts as False:

    - `in_process`: it computes in the caller's process. Then torch keeps its number of threads, if `threads_per_worker` is
      not given; else each worker has one.
    - `joins_launched`: processes that a launcher (torchrun, SLURM, Kubernetes) started share the run, each of which takes
      the missing shards in the order ``shard_order(len(store), resources.rank)``. Else each computes all of them.
    """

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]: ...


def engine_named(engine: Any) -> Engine:
    """An engine by its name, of this package or of another that has an entry point; or the engine itself."""
    if not isinstance(engine, str):
        if not callable(getattr(engine, "run", None)):
            raise TypeError(f"`engine` must be a name or an object with a method `run`, got {type(engine).__name__}.")
        return engine
    others = {entry.name: entry for entry in entry_points(group=GROUP)}
    if engine in OWN:
        module, name = OWN[engine].split(":")
        maker = getattr(import_module(module, __name__), name)
    elif engine in others:
        maker = others[engine].load()
    else:
        names = ", ".join(map(repr, ["auto", *OWN, *sorted(others)]))
        raise ValueError(f"`engine` must be one of {names}, or an engine, got {engine!r}.")
    made: Engine = maker()
    return made
