"""An existing Ray cluster: an actor for each device, to which this process hands one shard at a time."""

from __future__ import annotations

import random
import signal
import socket
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from . import Job, Resources, ShardStore, payload
from .deaths import MOST_DEATHS
from .errors import again, noted
from .process import started
from .signals import handlers_given_back, ignored

try:
    import ray
    from ray.exceptions import RayActorError
except ImportError as error:
    raise ImportError("engine='ray' needs Ray: pip install \"captum-ext[ray]\"") from error

LOOKS_EVERY, WAITS_SILENTLY = 1.0, 60.0  # seconds


class Ray:
    """Computes on a Ray cluster.

    An actor that dies is replaced, and its shard goes to another.

    Args:
        address: `"auto"`, the cluster that this machine belongs to, or `"host:port"`. An open connection is used as it
            is.
        num_cpus: cores that an actor reserves.
        num_gpus: GPUs, or the part of one, that an actor reserves where the devices are GPUs.
        timeout: seconds after which a cluster that does not answer is given up.
    """

    def __init__(self, address: str = "auto", *, num_cpus: float = 1, num_gpus: float = 1, timeout: float = 10.0):
        self.address, self.num_cpus, self.num_gpus, self.timeout = address, num_cpus, num_gpus, timeout

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]:
        content = payload.packed(job)
        settings = payload.settings_of(store)
        with connected(self.address, self.timeout):
            pool = Pool(self._maker(content, settings, resources), resources, deque(shards), store.rule is not None)
            try:
                return pool.work()
            finally:
                pool.end()

    def _maker(self, content: bytes, settings: dict[str, Any], resources: Resources) -> Any:
        """A function that starts an actor for a device."""
        gpus = self.num_gpus if resources.devices[0].type == "cuda" else 0
        kind = ray.remote(num_cpus=self.num_cpus, num_gpus=gpus, max_restarts=0)(Actor)
        sent, digest = ray.put(content), payload.digest_of(content)
        return lambda device: kind.remote(sent, digest, settings, device.type)


class Actor:
    """A worker in a process of Ray's. It returns errors as text, so that nothing of them is unpickled."""

    def __init__(self, content: bytes, digest: str, settings: dict[str, Any], device: str):
        device = "cuda:0" if device == "cuda" else device  # Ray shows an actor only its own GPU
        self.arguments = (content, digest, device, settings)
        self.store: ShardStore | None = None

    def ready(self) -> dict[str, Any] | None:
        return self._noting(lambda: setattr(self, "scorer", started(*self.arguments)))

    def compute(self, shard: int) -> dict[str, Any] | None:
        return self._noting(lambda: self._compute(shard))

    def _compute(self, shard: int) -> None:
        store = self.store = self.store or payload.store_of(self.arguments[-1])
        if not store.has(shard):
            store.write(shard, self.scorer.compute(store.edges(shard)))  # type: ignore[attr-defined]

    def _noting(self, function: Any) -> dict[str, Any] | None:
        try:
            function()
        except Exception as error:
            return noted(error)
        return None


@dataclass
class Task:
    """What an actor is at: a shard, or its start (None)."""

    actor: Any
    device: Any
    shard: int | None
    since: float = field(default_factory=time.monotonic)


class Pool:
    """The actors, what each of them is at, and the shards that wait for one."""

    def __init__(self, maker: Any, resources: Resources, pending: deque[int], in_order: bool = False):
        self.maker, self.resources, self.pending, self.in_order = maker, resources, pending, in_order
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
        aside = {s: f"{self._cause(s)} {n} times" for s, n in self.deaths.items() if s is not None and n >= MOST_DEATHS}
        return {**dict.fromkeys(self.pending, f"more than {self.resources.max_restarts} restarts"), **aside}

    def end(self) -> None:
        for task in self.tasks.values():
            ray.kill(task.actor)

    def _start(self, device: Any) -> None:
        actor = self.maker(device)
        self.tasks[actor.ready.remote()] = Task(actor, device, None)

    def _ended(self, task: Task, future: Any) -> None:
        try:
            error = ray.get(future)
        except RayActorError:
            self._died(task)
            return
        if error is not None:
            raise again(error)
        if task.shard is None:
            self.deaths.pop(None, None)
        self._feed(task)

    def _feed(self, task: Task) -> None:
        if self.pending:
            shard = self.pending.popleft()
            self.tasks[task.actor.compute.remote(shard)] = Task(task.actor, task.device, shard)
        else:
            ray.kill(task.actor)

    def _died(self, task: Task) -> None:
        self.deaths[task.shard] = self.deaths.get(task.shard, 0) + 1
        if task.shard is None and self.deaths[None] >= MOST_DEATHS * len(self.resources.devices):
            raise RuntimeError(f"Actors died {self.deaths[None]} times in a row while they were starting.")
        if task.shard is not None and self.deaths[task.shard] < MOST_DEATHS:
            put_back = self.pending.appendleft if self.in_order else self.pending.append
            put_back(task.shard)  # what killed an actor comes last, unless all before a stop are needed
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
        waiting = all(task.shard is None for task in self.tasks.values())
        if waiting and not self.warned and time.monotonic() - self.began > WAITS_SILENTLY:
            self.warned = True
            warnings.warn(
                "No actor could be started yet: the Ray cluster has no room for one. Waiting for it.", stacklevel=2
            )

    def _cause(self, shard: int) -> str:
        late = f"took longer than shard_timeout={self.resources.shard_timeout:g} s"
        return late if shard in self.late else "killed its actor"


@contextmanager
def connected(address: str, timeout: float) -> Iterator[None]:
    """A connection to the cluster, unless one is open; the caller's state is as before when it is closed."""
    if ray.is_initialized():
        yield
        return
    with handlers_given_back(signal.SIGTERM), python_generator_given_back():
        with handlers_given_back(*ignored([signal.SIGHUP, signal.SIGINT, signal.SIGTERM])):
            _connect(address, timeout)
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: str, timeout: float) -> None:
    try:
        if ":" in address:  # Ray itself would wait for minutes
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout).close()
        ray.init(address=address, log_to_driver=False)
    except (OSError, ConnectionError, RuntimeError, ValueError) as error:
        raise ConnectionError(
            f"No Ray cluster at {address!r}: {error} Start one (`ray start --head`), or give its address: "
            "engine=Ray('host:port')."
        ) from error


@contextmanager
def python_generator_given_back() -> Iterator[None]:
    """Ray draws from it when it connects."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
