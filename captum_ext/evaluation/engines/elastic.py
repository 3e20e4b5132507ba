"""Several devices of one machine: torch's elastic agent starts a worker for each of them and restarts them."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from torch import distributed
from torch.distributed.elastic.agent.server.api import WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.rendezvous.api import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

from ..files import is_alive, temporary_folder
from . import Job, Resources, ShardStore, payload
from .deaths import MOST_DEATHS, Attempts
from .errors import again
from .process import errors_in, name_of
from .signals import END, handlers_given_back, ignored

# The agent sets handlers for these, and leaves them behind.
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
SIGNALS = "TORCHELASTIC_SIGNALS_TO_HANDLE"
# A command and not a function, so that nothing imports the user's script again: it may be a notebook, and needs no
# `__main__` guard.
ENTRY = (
    "import sys; sys.path.append(sys.argv[3]); "
    "from captum_ext.evaluation.engines.process import main; main(*sys.argv[1:3])"
)


class Elastic:
    """An agent for each machine, and none between machines.

    Each worker goes through all shards and skips the finished ones, so nobody waits for a machine that is lost or late.
    """

    joins_launched = True

    def run(self, job: Job, shards: Sequence[int], store: ShardStore, resources: Resources) -> Mapping[int, str]:
        content = payload.packed(job)
        with own_signal_handlers(), temporary_folder() as folder:
            settings = payload.settings_of(
                store,
                driver=os.getpid(),
                shards=list(shards),
                devices=[str(d) for d in resources.devices],
                rank=astuple(resources.rank),
                ignored=ignored(HANDLED),
            )
            watching = Watch(Attempts(folder / payload.ATTEMPTS), resources.shard_timeout)
            with payload.written(folder, content, settings), watching as watch:
                failed = agent_of(folder, payload.digest_of(content), resources).run().is_failed()
            raise_noted(folder, store)
            restarted = f"more than {resources.max_restarts} restarts"
            return watch.reasons(shards) or (dict.fromkeys(shards, restarted) if failed else {})


def agent_of(folder: Path, digest: str, resources: Resources) -> LocalElasticAgent:
    spec = WorkerSpec(
        role="captum_ext",
        local_world_size=len(resources.devices),
        entrypoint=sys.executable,
        args=("-c", ENTRY, str(folder), digest, str(Path(__file__).parents[3])),
        rdzv_handler=OneNode(),
        max_restarts=resources.max_restarts,
        monitor_interval=0.1,
    )
    return Agent(spec, folder)


class Agent(LocalElasticAgent):
    """Ends its workers by SIGTERM alone; they ignore SIGINT, which a keyboard's interrupt sends to them as well.

    Signals that this process ignores stay ignored, as `nohup` wants it.
    """

    def __init__(self, spec: WorkerSpec, folder: Path):
        super().__init__(spec, DefaultLogsSpecs(log_dir=str(folder)))
        self.folder, self.ignored = folder, ignored(HANDLED)

    def _start_workers(self, *args: Any, **kwargs: Any) -> Any:
        """Each start sets torch's handlers again: for the signals that a variable names, where torch knows it."""
        wanted = [s.name for s in HANDLED if s not in self.ignored]
        with handlers_given_back(*self.ignored), variable_set(SIGNALS, ",".join(wanted)):
            return super()._start_workers(*args, **kwargs)

    def _restart_workers(self, *args: Any, **kwargs: Any) -> None:
        payload.read(self.folder)  # raises if they are gone: each worker would fail again
        super()._restart_workers(*args, **kwargs)

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, *args: Any, **kwargs: Any) -> None:
        super()._shutdown(END if signal.SIGTERM in self.ignored else signal.SIGTERM, *args, **kwargs)


class OneNode(RendezvousHandler):
    """A rendezvous of one agent with itself; it is kept in memory, so that no port is opened."""

    def get_backend(self) -> str:
        return "one node"

    def next_rendezvous(self) -> RendezvousInfo:
        store = distributed.HashStore()  # type: ignore[attr-defined]
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo("127.0.0.1", 0))

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None: ...

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return "captum_ext"

    def shutdown(self) -> bool:
        return True


class Watch:
    """A context manager that ends workers which take too long for a shard, and knows afterwards what was given up."""

    def __init__(self, attempts: Attempts, timeout: float | None):
        self.attempts, self.timeout = attempts, timeout
        self.late: set[str] = set()
        self.ended = threading.Event()

    def __enter__(self) -> Watch:
        if self.timeout is not None:
            self.thread = threading.Thread(target=self._look, daemon=True)
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        if self.timeout is not None:
            self.thread.join()

    def _look(self) -> None:
        timeout = self.timeout or 0.0
        while not self.ended.wait(min(timeout / 4, 1.0)):
            for work, pid in self.attempts.overdue(timeout):
                self.late.add(work)
                end(pid)

    def reasons(self, shards: Sequence[int]) -> dict[int, str]:
        """The shards that were set aside, each with the reason."""
        return {s: self._reason(name_of(s)) for s in shards if self.attempts.deaths(name_of(s)) >= MOST_DEATHS}

    def _reason(self, work: str) -> str:
        cause = f"took longer than shard_timeout={self.timeout:g} s" if work in self.late else "killed its worker"
        return f"{cause} {self.attempts.deaths(work)} times"


def end(pid: int) -> None:
    if is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def raise_noted(folder: Path, store: ShardStore) -> None:
    """Raises the first error that a worker noted; if it had no room for a note, only the error's number is known."""
    for file in errors_in(folder):
        if file.suffix == ".json":
            raise again(json.loads(file.read_text()))
        number = int(file.suffix[1:])
        raise OSError(
            number, f"{os.strerror(number)}: {store.folder} or {folder.parent} cannot be written to. {store.advice}"
        )


@contextmanager
def variable_set(name: str, value: str) -> Iterator[None]:
    """An environment variable has that value meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def own_signal_handlers() -> Iterator[None]:
    """Gives the caller's handlers back, and hands on to them the signal that ended the run."""
    ended_by = None
    with handlers_given_back(*HANDLED):
        try:
            yield
        except SignalException as error:
            ended_by = error.sigval
    if ended_by is not None:
        signal.raise_signal(ended_by)
        raise KeyboardInterrupt(f"ended by {ended_by.name}")  # the caller's handler returned
