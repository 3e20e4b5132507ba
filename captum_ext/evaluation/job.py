"""What is to be computed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .._version import __version__
from .fingerprint import described
from .model import device_of


@dataclass(frozen=True)
class Job:
    """Everything that determines the scores of an example, and how they are computed."""

    model: Any
    data: Any
    methods: Mapping[str, Any]
    metrics: Mapping[str, Callable[..., Any]]
    batch_size: int
    max_examples_per_batch: int | None
    device: torch.device | str | None
    seed: int
    on_error: str
    halves: bool = False
    keep_attributions: bool = False
    maker: Callable[[], Any] | None = None  # what made the model, where a function did: other processes call it again


def manifest_of(job: Job, examples: int, shard_size: int, threads: int | None = None) -> dict[str, Any]:
    """What the scores depend on, down to their last bits: a stored run goes on only if all of it is the same."""
    import captum
    import numpy

    return {
        "examples": examples,
        "shard_size": shard_size,
        "batch_size": job.batch_size,
        "max_examples_per_batch": job.max_examples_per_batch,
        "seed": job.seed,
        "on_error": job.on_error,
        "halves": job.halves,
        "keep_attributions": job.keep_attributions,
        "device": device_of(job.model, job.device).type,
        "threads": threads or torch.get_num_threads(),
        "model": described(job.model),
        "methods": {name: _described_method(m) for name, m in job.methods.items()},
        "metrics": {name: described(m) for name, m in job.metrics.items()},
        "versions": {
            "captum_ext": __version__,
            "torch": torch.__version__,
            "captum": captum.__version__,
            "numpy": numpy.__version__,
        },
    }


def _described_method(method: Any) -> Any:
    """Stored attributions by the contents of their file."""
    if isinstance(method, (str, os.PathLike)) and os.path.isfile(method):
        with open(method, "rb") as file:
            return f"{Path(method).name} {hashlib.sha256(file.read()).hexdigest()[:16]}"
    return described(method)
