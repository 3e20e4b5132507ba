"""An existing Ray cluster: an actor on each device, fed by this process with one shard at a time."""

from __future__ import annotations

import socket
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..job import Job
from ..store import ShardStore
from . import Resources, payload
from .deaths import OUT
from .errors import again, noted
from .process import started

try:
    import ray
    from ray.exceptions import RayActorError
except ImportError as error:
    raise ImportError("engine='ray' needs Ray: pip install captum_ext[ray]") from error

LOOKS_EVERY, WAITS_SILENTLY = 1.0, 60.0  # seconds


class Ray:
    """`address`: `"auto"`, the cluster that this machine belongs to, or `"host:port"`; a connection that is open is used as it is.

    An actor that dies is replaced, and its shard goes to another. Each has `num_gpus` of a GPU where the devices are such, and `num_cpus`.
    """

    def __init__(self, address: str = "auto", *, num_cpus: float = 1, num_gpus: float = 1, timeout: float = 10.0):
        self.address, self.num_cpus, self.num_gpus, self.timeout = address, num_cpus, num_gpus, timeout

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]:
        content = payload.packed(job)
        settings = payload.settings_of(store, threads=resources.threads or 1)
        with connected(self.address, self.timeout):
            pool = Pool(self._maker(content, settings, resources), resources, deque(shards))
            try:
                return pool.work()
            finally:
                pool.end()

    def _maker(self, content: bytes, settings: dict[str, Any], resources: Resources) -> Any:
        """A function of a device's type that starts an actor there."""
        gpus = self.num_gpus if resources.devices[0].type == "cuda" else 0
        kind = ray.remote(num_cpus=self.num_cpus, num_gpus=gpus, max_restarts=0)(Actor)
        sent, digest = ray.put(content), payload.digest_of(content)
        return lambda device: kind.remote(sent, digest, settings, device.type)


class Actor:
    """A worker in a process of Ray's. Errors come back as text, so that nothing of theirs is unpickled."""

    def __init__(self, content: bytes, digest: str, settings: dict[str, Any], device: str):
        self.arguments = (
            content,
            digest,
            "cuda:0" if device == "cuda" else device,
            settings,
        )  # Ray shows an actor only its own GPU

    def ready(self) -> dict[str, Any] | None:
        return self._noting(lambda: setattr(self, "worker", started(*self.arguments)))

    def compute(self, shard: int) -> dict[str, Any] | None:
        return self._noting(lambda: self._compute(shard))

    def _compute(self, shard: int) -> None:
        settings = self.arguments[-1]
        store = ShardStore(Path(settings["store"]), settings["manifest"])
        if not store.has(shard):
            store.write(shard, self.worker.compute(store.edges(shard)))  # type: ignore[attr-defined]

    def _noting(self, function: Any) -> dict[str, Any] | None:
        try:
            function()
        except Exception as error:
            return noted(error)
        return None


@dataclass
class Task:
    """What an actor is at: its start (None), or a shard."""

    actor: Any
    device: Any
    shard: int | None
    since: float = field(default_factory=time.monotonic)


class Pool:
    def __init__(self, maker: Any, resources: Resources, pending: deque[int]):
        self.maker, self.resources, self.pending = maker, resources, pending
        self.restarts = resources.max_restarts
        self.deaths: dict[int | None, int] = {}
        self.late: set[int | None] = set()
        self.tasks: dict[Any, Task] = {}
        self.began, self.warned = time.monotonic(), False
        for device in resources.devices[: len(pending)]:
            self._start(device)

    def work(self) -> dict[int, str]:
        while self.tasks and (self.pending or any(task.shard is not None for task in self.tasks.values())):
            done, _ = ray.wait(list(self.tasks), timeout=LOOKS_EVERY)
            for future in done:
                self._ended(self.tasks.pop(future), future)
            self._end_late()
            self._warn_of_waiting()
        out = {s: f"{self._what(s)} {n} times" for s, n in self.deaths.items() if s is not None and n >= OUT}
        return {**dict.fromkeys(self.pending, f"more than {self.resources.max_restarts} restarts"), **out}

    def end(self) -> None:
        for task in self.tasks.values():
            ray.kill(task.actor)

    def _start(self, device: Any) -> None:
        actor = self.maker(device)
        self.tasks[actor.ready.remote()] = Task(actor, device, None)

    def _ended(self, task: Task, future: Any) -> None:
        try:
            said = ray.get(future)
        except RayActorError:
            self._died(task)
            return
        if said is not None:
            raise again(said)
        self._feed(task)

    def _feed(self, task: Task) -> None:
        if self.pending:
            shard = self.pending.popleft()
            self.tasks[task.actor.compute.remote(shard)] = Task(task.actor, task.device, shard)
        else:
            ray.kill(task.actor)

    def _died(self, task: Task) -> None:
        self.deaths[task.shard] = self.deaths.get(task.shard, 0) + 1
        if task.shard is None and self.deaths[None] >= OUT * len(self.resources.devices):
            raise RuntimeError(f"Actors died {self.deaths[None]} times while they were starting.")
        if task.shard is not None and self.deaths[task.shard] < OUT:
            self.pending.append(task.shard)  # what killed an actor comes last
        if self.restarts > 0 and self.pending:
            self.restarts -= 1
            self._start(task.device)

    def _end_late(self) -> None:
        timeout = self.resources.shard_timeout
        for task in self.tasks.values():
            if timeout is not None and task.shard is not None and time.monotonic() - task.since > timeout:
                self.late.add(task.shard)
                ray.kill(task.actor)

    def _warn_of_waiting(self) -> None:
        if (
            not self.warned
            and time.monotonic() - self.began > WAITS_SILENTLY
            and all(t.shard is None for t in self.tasks.values())
        ):
            self.warned = True
            warnings.warn(
                "No actor could be started yet: the Ray cluster has no room for one. Waiting for it.", stacklevel=2
            )

    def _what(self, shard: int) -> str:
        return (
            f"took longer than shard_timeout={self.resources.shard_timeout} s"
            if shard in self.late
            else "killed its actor"
        )


@contextmanager
def connected(address: str, timeout: float) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    try:
        if ":" in address:  # Ray itself would wait for minutes
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout).close()
        ray.init(address=address, log_to_driver=False)
    except (OSError, ConnectionError, RuntimeError, ValueError) as error:
        raise ConnectionError(
            f"No Ray cluster at {address!r}: {error} Start one (`ray start --head`), or give its address: engine=Ray('host:port')."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
