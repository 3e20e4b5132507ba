"""Attributions of a data set, by many workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py

from captum_ext import attribute_dataset
from captum_ext.evaluation.files import check_writable, escaped, written_aside

from ..data import AttributionsDatasetWriter
from ..functional.metrics.max_sensitivity import explanation
from ._workers import workers
from .metrics import methods_of

ROWS = 256  # copied at a time


class ComputeAttributions:
    """Every method's attributions of every sample, in AttriBench's file; arguments as in `captum_ext.attribench.distributed.metrics`."""

    def __init__(
        self,
        model_factory: Any,
        method_factory: Any,
        dataset: Any,
        batch_size: int,
        address: str = "localhost",
        port: str | int = "12355",
        devices: Sequence[Any] | None = None,
        **options: Any,
    ):
        self.model_factory, self.method_factory, self.dataset, self.batch_size = (
            model_factory,
            method_factory,
            dataset,
            batch_size,
        )
        self.options = workers(address, port, devices, options)

    def run(self, path: str | os.PathLike[str], progress: bool = True) -> None:
        """Writes the file at `path`. What is computed is kept beside it until then, so the same call goes on where it was interrupted."""
        path, kept = check_writable(path), Path(f"{path}.run")
        methods = {name: explanation(make) for name, make in methods_of(self.method_factory).items()}
        options = {"batch_size": self.batch_size, "show_progress": progress, **self.options}
        attribute_dataset(self.model_factory, self.dataset, methods, kept, **options)
        with written_aside(path, room=kept.stat().st_size) as aside, h5py.File(kept) as file:
            writer = AttributionsDatasetWriter(aside, len(self.dataset))
            for name in methods:
                for start in range(0, len(self.dataset), ROWS):
                    rows = file[escaped(name)]["0"][start : start + ROWS]
                    writer.write(range(start, start + len(rows)), rows, name)
        kept.unlink()
