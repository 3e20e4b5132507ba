"""`attribute_dataset`: attributions of a whole data set in one file, so that methods run once for all metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from .._core.checks import check_choice, check_flag
from .._version import __version__
from .attributions_file import DATA
from .checks import check_first, check_methods, check_numbers
from .checksums import in_checked_pieces
from .engines.resources import Device, workers_of
from .examples import Examples
from .files import MEBIBYTE, as_path, escaped, written_aside
from .job import Job, manifest_of
from .kept_run import is_there, kept_beside
from .labels import check_target
from .methods import with_absolute_paths
from .model import made
from .store import IncompleteRun, ShardStore, other_size
from .verification import LEVELS, check_data, shards_to_compare


@torch.inference_mode(False)
def attribute_dataset(
    model: Any,
    data: Any,
    methods: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    target: str | None = "data",
    batch_size: int = 16,
    max_examples_per_batch: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    verify: str = "sample",
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
    complete, except by processes that a launcher started, of which others may still read them. Under `verify`, a file
    that is complete is compared by its data only.

    Raises:
        ValueError, TypeError, IncompleteRun, OSError: in the same cases as `evaluate`.
        FileExistsError: `path` exists and is not the result of this very call; raised before any work.
    """
    place = as_path(path).absolute()
    check_target(target)
    check_methods(methods)
    methods = with_absolute_paths(methods)
    batch_size, max_examples_per_batch, seed = check_numbers(batch_size, max_examples_per_batch, seed)
    show_progress = check_flag("show_progress", show_progress)
    check_choice("verify", verify, LEVELS)
    examples = Examples(data, target)
    check_first(examples)
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
        data=examples,
        methods=methods,
        metrics={},
        batch_size=batch_size,
        target=target,
        max_examples_per_batch=max_examples_per_batch,
        device=workers.resources.devices[0],
        threads=workers.resources.threads,
        seed=seed,
        keep_attributions=True,
    )
    store = kept_beside(place, manifest_of(job, len(examples), batch_size), examples)
    if is_there(place, lambda: _holds(place, store)):
        digests = _digests(place)
        check_data(job, store, {s: [digests[s]] for s in shards_to_compare(store, range(len(store)), verify)})
    else:
        try:
            workers.complete(job, store, show_progress, verify)
            if workers.write_result(place):
                _export(store, list(methods), place)
        except (IncompleteRun, OSError):
            if not _holds(place, store):
                raise  # else another call has finished the run meanwhile, and removed its shards
    if workers.resources.rank.count == 1:  # else another process may still read the shards
        store.remove()


def _holds(path: Path, store: ShardStore) -> bool:
    """Whether a file is the result of this very run."""
    try:
        with h5py.File(path) as file:
            return bool(file.attrs.get("run") == store.digest) and DATA in file
    except OSError:
        return False


def _digests(path: Path) -> list[str]:
    """Of the examples of each shard, which is one batch."""
    with h5py.File(path) as file:
        return [digest.decode() for digest in file[DATA][:]]


def _export(store: ShardStore, methods: list[str], path: Path) -> None:
    room = store.size() + len(methods) * MEBIBYTE
    with written_aside(path, room=room) as aside, h5py.File(aside, "w", libver="latest") as file:  # has checksums
        file.attrs["captum_ext"], file.attrs["run"] = __version__, store.digest
        digests = []
        for shard in range(len(store)):
            arrays = store.read(shard)
            digests += json.loads(str(arrays["data"]))
            for key, rows in arrays.items():
                if "." in key:
                    number, tensor = key.split(".")
                    method, at = methods[int(number)], store.edges(shard)
                    array = _array_of(file, f"{escaped(method)}/{tensor}", rows[0], store.manifest["examples"])
                    if array.shape[1:] != rows.shape[2:]:
                        raise ValueError(other_size(method, array.shape[1:], rows.shape[2:], at.start))
                    array[at.start : at.stop] = rows[0]
        file.create_dataset(DATA, data=np.array(digests, "S"), chunks=True, fletcher32=True)


def _array_of(file: h5py.File, name: str, rows: np.ndarray[Any, Any], examples: int) -> Any:
    if name not in file:
        file.create_dataset(name, (examples, *rows.shape[1:]), rows.dtype, **in_checked_pieces(rows[0], examples))
    return file[name]
