"""Who computes the shards. An engine only places the work: what a shard holds is the worker's business, what is kept the store's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

import torch

from ..job import Job
from ..store import ShardStore
from .places import Place

OWN = {"inline": ".inline:Inline", "elastic": ".elastic:Elastic", "ray": ".ray:Ray"}
ALONE = Place()
GROUP = "captum_ext.engines"  # entry points of packages that add one: functions without arguments that return an engine


@dataclass(frozen=True)
class Resources:
    """With what to compute: a worker for each device, and when to give up on one."""

    devices: Sequence[torch.device]
    threads: int | None = None  # of a worker; None leaves this process's, and is one in a process of its own
    max_restarts: int = 100
    shard_timeout: float | None = None
    place: Place = ALONE


class Engine(Protocol):
    """Computes shards of a job into a store. Returns what it gave up on, and why; raises what a worker raised."""

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]: ...


def engine_named(engine: Any, devices: int) -> Engine:
    """An engine by its name: of this package, or of another that has an entry point; an engine itself; or what suits the devices."""
    if engine == "auto":
        engine = "elastic" if devices > 1 else "inline"
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
