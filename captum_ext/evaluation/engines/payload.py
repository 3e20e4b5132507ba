"""A job for other processes: a file that only the user can read, and its digest, handed over separately."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
from torch import nn

from ..fingerprint import described
from ..job import Job
from ..model import made
from ..store import ShardStore

JOB, SETTINGS, ATTEMPTS = "job.pickle", "settings.json", "attempts"


def packed(job: Job) -> bytes:
    """The job in cloudpickle's form, so that classes and functions of a notebook or a script go along.

    In place of a model that a function made goes the function, which each worker calls again.
    """
    try:
        content: bytes = cloudpickle.dumps(replace(job, model=job.maker or job.model))
    except Exception as error:
        raise TypeError(
            f"The job could not be sent to other processes: {error} Models, data, methods and metrics must be "
            "picklable; a data set should hold a path, not an open file. In place of a scripted or exported model, "
            "give a function that loads it."
        ) from error
    return content


def unpacked(content: bytes, digest: str) -> Job:
    """The job, if the content is what the digest was made of."""
    if digest_of(content) != digest:
        raise ValueError("The job's file is not what was handed over: its digest differs.")
    job: Job = cloudpickle.loads(content)
    return job


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def settings_of(store: ShardStore, **settings: Any) -> dict[str, Any]:
    """What a worker must know beside the job, as values that JSON can hold."""
    manifest, folder = store.manifest, str(store.folder.absolute())
    shared = {"manifest": manifest, "store": folder, "kept": store.kept}
    return {**shared, "sys_path": sys.path, "cwd": os.getcwd(), **settings}


def store_of(settings: dict[str, Any]) -> ShardStore:
    return ShardStore(Path(settings["store"]), settings["manifest"], kept=settings["kept"])


@contextmanager
def written(folder: Path, content: bytes, settings: dict[str, Any]) -> Iterator[None]:
    """Writes the job and the settings to the folder, for as long as workers may be started.

    Where the system gives open files a path, the job's has no other name, so that nothing of it is left on the disk
    even if all processes are killed at once.
    """
    (folder / ATTEMPTS).mkdir()
    with open(folder / JOB, "wb") as file:
        path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        if path.exists():
            (folder / JOB).unlink()
        else:
            path = folder / JOB
        file.write(content)
        file.flush()
        (folder / SETTINGS).write_text(json.dumps({"job": str(path), **settings}))
        yield


def read(folder: Path) -> dict[str, Any]:
    """The settings in the folder."""
    try:
        settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text())
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"The settings of the workers in {folder} are gone or damaged: {error!r}. No worker can be started without "
            f"them. Set TMPDIR to a folder from which nothing is removed while a run lasts, and repeat the call."
        ) from error
    return settings


def made_again(job: Job, manifest: dict[str, Any]) -> Job:
    """The job with its model; what a function makes must be the model that the run began with."""
    given, job = job.model, replace(job, model=made(job.model))
    was_made = isinstance(job.model, nn.Module) and job.model is not given
    if was_made and described(job.model) != manifest["model"]:
        raise ValueError(
            "The function given as `model` made another model in a worker than at first: its weights differ. Let it "
            "load them, or seed it (torch.manual_seed), or give the module itself."
        )
    return job
