"""`attribute_dataset`: attributions of a whole data set in one file, so that methods run once for all metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from .._core.checks import check_flag
from .._version import __version__
from .checks import check_methods, check_numbers
from .engines.resources import Device, workers_of
from .examples import Examples
from .files import as_path, check_writable, escaped, written_aside
from .job import Job, manifest_of
from .kept_run import kept_beside
from .model import made
from .store import ShardStore, other_size


@torch.inference_mode(False)
def attribute_dataset(
    model: Any,
    data: Any,
    methods: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    batch_size: int = 16,
    max_examples_per_batch: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    devices: Sequence[Device] | None = None,
    engine: Any = "auto",
    max_restarts: int = 100,
    shard_timeout: float | None = None,
    threads_per_worker: int | None = None,
    show_progress: bool = False,
) -> None:
    """Explains every example of a data set with every method and writes the attributions to `path` (HDF5).

    Takes the same arguments as `evaluate`, which in turn takes the path in place of a method:
    ``methods={"ig": "attributions.h5", ...}`` is the method of that name in the file, or its only one. Finished batches
    are kept in `<path>.parts/`; repeat the call to resume a run that was interrupted. They are removed when the file is
    complete, except by processes that a launcher started, of which others may still read them.

    Raises:
        ValueError, TypeError, IncompleteRun, OSError: in the same cases as `evaluate`.
        FileExistsError: `path` exists and is not the result of this very call; raised before any work.
    """
    target = as_path(path)
    check_methods(methods)
    batch_size, max_examples_per_batch, seed = check_numbers(batch_size, max_examples_per_batch, seed)
    show_progress = check_flag("show_progress", show_progress)
    built = made(model)
    workers = workers_of(
        built,
        device=device,
        devices=devices,
        engine=engine,
        max_restarts=max_restarts,
        shard_timeout=shard_timeout,
        threads_per_worker=threads_per_worker,
        shared=True,
    )
    job = Job(
        model=built,
        maker=None if built is model else model,
        data=data,
        methods=dict(methods),
        metrics={},
        batch_size=batch_size,
        max_examples_per_batch=max_examples_per_batch,
        device=workers.resources.devices[0],
        threads=workers.resources.threads,
        seed=seed,
        keep_attributions=True,
    )
    examples = Examples(data)
    store = kept_beside(target, manifest_of(job, len(examples), batch_size), examples)
    if _holds(target, store):
        return
    check_writable(target)
    workers.complete(job, store, show_progress)
    if workers.write_result(target):
        _export(store, list(methods), target)
    if workers.resources.rank.count == 1:  # else another process may still read the shards
        store.remove()


def _holds(path: Path, store: ShardStore) -> bool:
    """Whether a file is the result of this very run."""
    try:
        with h5py.File(path) as file:
            return bool(file.attrs.get("run") == store.digest)
    except OSError:
        return False


def _export(store: ShardStore, methods: list[str], path: Path) -> None:
    with written_aside(path, room=store.size()) as aside, h5py.File(aside, "w") as file:
        file.attrs["captum_ext"], file.attrs["run"] = __version__, store.digest
        for shard in range(len(store)):
            for key, rows in store.read(shard).items():
                if key != "failures":
                    number, tensor = key.split(".")
                    method, at = methods[int(number)], store.edges(shard)
                    array = _array_of(file, f"{escaped(method)}/{tensor}", rows[0], store.manifest["examples"])
                    if array.shape[1:] != rows.shape[2:]:
                        raise ValueError(other_size(method, array.shape[1:], rows.shape[2:], at.start))
                    array[at.start : at.stop] = rows[0]


def _array_of(file: h5py.File, name: str, rows: np.ndarray[Any, Any], examples: int) -> Any:
    return file[name] if name in file else file.create_dataset(name, (examples, *rows.shape[1:]), rows.dtype)
