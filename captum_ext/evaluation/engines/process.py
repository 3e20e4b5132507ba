"""A worker process, started by an engine, which watches it."""

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

from ..scorer import Worker
from ..store import ShardStore
from . import payload
from .deaths import OUT, Strikes
from .errors import noted
from .places import Place, walk

LOOKS_EVERY = 1.0  # seconds between two looks at whether the engine's process still lives


def main(name: str, digest: str) -> None:
    """Works on the job in that folder, if it is the one with that digest."""
    folder, rank = Path(name), int(os.environ["LOCAL_RANK"])
    settings = json.loads((folder / payload.SETTINGS).read_text())
    strikes = Strikes(folder / "strikes")
    _die_with(settings["driver"], strikes, folder)
    try:
        _work(folder, digest, rank, settings, strikes)
    except Exception as error:  # the same would happen again: said once, not tried again
        note_error(folder, rank, error)


def _work(folder: Path, digest: str, rank: int, settings: dict[str, Any], strikes: Strikes) -> None:
    start = f"start-{rank}"
    if strikes.against(start) >= OUT:
        raise RuntimeError(f"A worker on {settings['devices'][rank]} died {OUT} times while it was starting.")
    with strikes.at(start):
        worker = started((folder / payload.JOB).read_bytes(), digest, settings["devices"][rank], settings)
    store = ShardStore(Path(settings["store"]), settings["manifest"])
    order = walk(len(store), Place(*settings["place"]).within(rank, len(settings["devices"])))
    for shard in sorted(order, key=lambda s: strikes.against(name_of(s))):  # what killed a worker comes last
        if errors_in(folder):
            return
        if not store.has(shard) and strikes.against(name_of(shard)) < OUT:
            with strikes.at(name_of(shard)):
                store.write(shard, worker.compute(store.edges(shard)))


def started(content: bytes, digest: str, device: str, settings: dict[str, Any]) -> Worker:
    sys.path[:] = [*settings["sys_path"], *(p for p in sys.path if p not in settings["sys_path"])]
    if os.path.isdir(settings["cwd"]):
        os.chdir(settings["cwd"])
    torch.set_num_threads(settings["threads"])
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    job = payload.made_again(payload.unpacked(content, digest), settings["manifest"])
    if isinstance(job.model, torch.nn.Module):
        job.model.to(device)  # in place: a Captum object in the job holds the same module
    return Worker(replace(job, device=device))


def name_of(shard: int) -> str:
    return f"{shard:08d}"


def note_error(folder: Path, rank: int, error: Exception) -> None:
    aside, name = folder / f"error-{rank}.tmp", f"error-{rank}"
    try:
        aside.write_text(json.dumps(noted(error)))
        aside.rename(folder / f"{name}.json")
    except OSError as full:  # a name needs no room
        (folder / f"{name}.{getattr(error, 'errno', None) or full.errno}").touch()


def errors_in(folder: Path) -> list[Path]:
    return sorted(f for f in folder.glob("error-*") if f.suffix != ".tmp")


def _die_with(driver: int, strikes: Strikes, folder: Path) -> None:
    """Ends this process when it is told to, or when the engine's process is gone, even in the midst of a long computation."""
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == driver:
            if select.select([told], [], [], LOOKS_EVERY)[0] and signal.SIGTERM in os.read(told, 64):
                break
        else:
            shutil.rmtree(folder, ignore_errors=True)  # nobody else is left to
        strikes.forgive()
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
