"""A worker process of `elastic`, which is started and watched by the engine."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..scorer import Scorer
from ..store import ShardStore
from . import payload
from .deaths import MOST_DEATHS, Attempts
from .errors import noted
from .ranks import Rank, shard_order
from .signals import END

LOOKS_EVERY = 1.0  # seconds between two looks at whether the engine's process still lives


def main(name: str, digest: str) -> None:
    """Works on the job in that folder, if it is the one with that digest."""
    folder, worker = Path(name), int(os.environ["LOCAL_RANK"])
    try:
        settings = payload.read(folder)
        attempts = Attempts(folder / payload.ATTEMPTS, int(os.environ["TORCHELASTIC_RESTART_COUNT"]))
        _die_with(settings, attempts, folder)
        _work(folder, digest, worker, settings, attempts)
    except Exception as error:  # it would happen again, so the run ends with it and no worker is started again
        note_error(folder, worker, error)


def _work(folder: Path, digest: str, worker: int, settings: dict[str, Any], attempts: Attempts) -> None:
    workers, start = len(settings["devices"]), f"start-{worker}"
    if attempts.deaths(start) >= MOST_DEATHS:
        device = settings["devices"][worker]
        raise RuntimeError(f"A worker on {device} died {MOST_DEATHS} times in a row while it was starting.")
    with attempts.at(start):
        scorer = started(Path(settings["job"]).read_bytes(), digest, settings["devices"][worker], settings)
    attempts.forget_deaths(start)
    store, wanted = payload.store_of(settings), set(settings["shards"])
    rank, in_order = Rank(*settings["rank"]).of_worker(worker, workers), store.rule is not None
    order = [s for s in shard_order(len(store), rank, in_order) if s in wanted]
    if not in_order:
        order.sort(key=lambda s: attempts.deaths(name_of(s)))  # what killed a worker comes last
    for shard in order:
        if errors_in(folder):
            return
        attempt(shard, scorer, store, attempts)


def attempt(shard: int, scorer: Scorer, store: ShardStore, attempts: Attempts) -> None:
    """Computes a shard, unless it is there, or another worker of this machine is at it, or it killed too many."""
    if store.has(shard) or attempts.deaths(name_of(shard)) >= MOST_DEATHS:
        return
    with attempts.at(name_of(shard)) as begun:
        if begun and not store.has(shard):
            store.write(shard, scorer.compute(store.edges(shard)))


def started(content: bytes, digest: str, device: str, settings: dict[str, Any]) -> Scorer:
    """A worker process's scorer, with the modules and the working folder of the process that sent the job."""
    sys.path[:] = [*settings["sys_path"], *(p for p in sys.path if p not in settings["sys_path"])]
    if os.path.isdir(settings["cwd"]):
        os.chdir(settings["cwd"])
    of_type: Any = getattr(torch, device.partition(":")[0], None)
    if hasattr(of_type, "set_device"):
        of_type.set_device(device)
    job = payload.made_again(payload.unpacked(content, digest), settings["manifest"])
    if isinstance(job.model, torch.nn.Module):
        job.model.to(device)  # in place, since a Captum object in the job holds the same module
    return Scorer(replace(job, device=device))


def name_of(shard: int) -> str:
    return f"{shard:08d}"


def note_error(folder: Path, worker: int, error: Exception) -> None:
    aside, name = folder / f"error-{worker}.tmp", f"error-{worker}"
    try:
        aside.write_text(json.dumps(noted(error)))
        aside.rename(folder / f"{name}.json")
    except OSError as full:  # an empty file whose name says the error's number needs no room
        (folder / f"{name}.{getattr(error, 'errno', None) or full.errno}").touch()


def errors_in(folder: Path) -> list[Path]:
    return sorted(f for f in folder.glob("error-*") if f.suffix != ".tmp")


def _die_with(settings: dict[str, Any], attempts: Attempts, folder: Path) -> None:
    """Ends this process at SIGTERM, or when the engine's process is gone, even in the midst of a long computation.

    Signals that the engine's process ignores are ignored here, too.
    """
    ending = {signal.SIGTERM, END} - set(settings["ignored"])
    received, sent = os.pipe()
    os.set_blocking(sent, False)
    signal.set_wakeup_fd(sent)
    for number in ending:
        signal.signal(number, lambda *_: None)
    for number in {signal.SIGINT, *settings["ignored"]} - {END}:
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == settings["driver"]:
            if select.select([received], [], [], LOOKS_EVERY)[0] and ending & {*os.read(received, 64)}:
                break
        else:
            shutil.rmtree(folder, ignore_errors=True)  # nobody else is left to
        attempts.end_process(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
