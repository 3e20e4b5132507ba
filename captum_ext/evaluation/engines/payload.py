"""A job for other processes: a file in a folder that only the user can read, and its digest, handed over separately."""

from __future__ import annotations

import hashlib
import json
import os
import sys
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
            "picklable; a data set should hold a path, not an open file."
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
    return {"manifest": manifest, "store": folder, "sys_path": sys.path, "cwd": os.getcwd(), **settings}


def write(folder: Path, content: bytes, settings: dict[str, Any]) -> None:
    (folder / ATTEMPTS).mkdir()
    (folder / JOB).write_bytes(content)
    (folder / SETTINGS).write_text(json.dumps(settings))


def made_again(job: Job, manifest: dict[str, Any]) -> Job:
    """The job with its model; what a function makes must be the model that the run began with."""
    job = replace(job, model=made(job.model))
    if isinstance(job.model, nn.Module) and described(job.model) != manifest["model"]:
        raise ValueError(
            "The function given as `model` made another model in a worker than at first: its weights differ. Let it "
            "load them, or seed it (torch.manual_seed), or give the module itself."
        )
    return job
