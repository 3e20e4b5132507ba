"""What is to be computed, and the manifest by which a run is recognised."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from .._version import __version__
from .checksums import sum_of
from .fingerprint import described, digest
from .methods import is_stored, rows_of
from .model import device_of

PIECE, ELEMENTS = 1024, 2**18  # rows of stored attributions, and elements, that are read at a time
LAYOUT = 2  # of a shard's file: since 2 it has digests of its examples


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that determines the scores of an example, and how they are computed."""

    model: Any
    data: Any
    methods: Mapping[str, Any]
    metrics: Mapping[str, Callable[..., Any]]
    batch_size: int
    target: str | None = "data"  # what `evaluate` is asked to explain
    max_examples_per_batch: int | None = None
    device: torch.device | str | None = None
    threads: int | None = None  # of torch; None leaves the process's number
    seed: int = 0
    on_error: str = "raise"
    stderr: bool = False
    keep_attributions: bool = False
    maker: Callable[[], Any] | None = None  # the function that made the model, which other processes call again
    kept: tuple[int, ...] = ()  # the examples of which the maps are kept, for the report
    order: Sequence[int] | None = None  # the examples in the order of evaluation; None is the data set's own

    def examples(self, places: range) -> Sequence[int]:
        """The examples at these places of the order, which are those of a shard."""
        return places if self.order is None else self.order[places.start : places.stop]

    def batches(self, places: range) -> list[Sequence[int]]:
        """The examples of a shard as they are computed together."""
        examples = self.examples(places)
        return [examples[i : i + self.batch_size] for i in range(0, len(examples), self.batch_size)]


def manifest_of(job: Job, examples: int, shard_size: int) -> dict[str, Any]:
    """What the scores depend on, down to their last bits: a stored run is resumed only if all of it is the same."""
    import captum  # takes seconds, and who gives their own methods may do without it

    order = {} if job.order is None else {"order": f"shuffled {digest(numpy.array(job.order))}"}
    return {
        **order,
        "layout": LAYOUT,
        "examples": examples,
        "shard_size": shard_size,
        "batch_size": job.batch_size,
        "max_examples_per_batch": job.max_examples_per_batch,
        "seed": job.seed,
        "target": job.target,
        "on_error": job.on_error,
        "stderr": job.stderr,
        "keep_attributions": job.keep_attributions,
        "device": device_of(job.model, job.device).type,
        "threads": job.threads or torch.get_num_threads(),
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
    """Stored attributions are described by the contents of their file, or of an array that another package stores."""
    if isinstance(method, (str, os.PathLike)) and os.path.isfile(method):
        return f"{Path(method).name} {sum_of(Path(method)).hex()[:16]}"
    if isinstance(method, tuple):
        return [_described_method(part) for part in method]
    if is_stored(method) and not isinstance(method, (torch.Tensor, numpy.ndarray)):
        return f"{tuple(method.shape)} {_digest_of_rows(method)}"
    return described(method)


def _digest_of_rows(stored: Any) -> str:
    """Of attributions of which few rows are in memory at a time."""
    sha = hashlib.sha256()
    for rows in _pieces(stored):
        piece = rows_of(stored, rows)
        sha.update(f"{piece.dtype} {digest(piece)}".encode())
    return sha.hexdigest()[:16]


def _pieces(stored: Any) -> Iterator[list[int]]:
    elements = max(math.prod(stored.shape[1:]), 1)
    size = max(min(PIECE, ELEMENTS // elements), 1)
    rows = stored.shape[0]
    yield from (list(range(i, min(i + size, rows))) for i in range(0, rows, size))
