"""The samples that a model gets right, found by many workers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, default_collate

from captum_ext import evaluate
from captum_ext.evaluation.files import check_writable, written_aside

from ..data import HDF5DatasetWriter
from ._workers import workers


class SelectSamples:
    """The first `num_samples` samples that are classified correctly, in AttriBench's file; arguments as in
    `captum_ext.attribench.distributed.metrics`.

    The data set is looked through in portions that double, until there are enough.
    """

    def __init__(
        self,
        model_factory: Any,
        dataset: Any,
        num_samples: int,
        batch_size: int,
        address: str = "localhost",
        port: str | int = "12355",
        devices: Sequence[Any] | None = None,
        **options: Any,
    ):
        if num_samples < 1:
            raise ValueError(f"`num_samples` must be at least 1, got {num_samples}.")
        self.model_factory, self.dataset, self.num_samples, self.batch_size = (
            model_factory,
            dataset,
            num_samples,
            batch_size,
        )
        self.options = workers(address, port, devices, options)

    def run(self, path: str | os.PathLike[str], progress: bool = True) -> None:
        """Writes the samples and their labels to `path`; with a warning where there are fewer."""
        path = check_writable(path)
        chosen = self._correct(progress)[: self.num_samples]
        if len(chosen) < self.num_samples:
            warnings.warn(
                f"Only {len(chosen)} samples were classified correctly, {self.num_samples} were asked for.",
                stacklevel=2,
            )
        with written_aside(path) as aside:
            writer = HDF5DatasetWriter(aside, self.num_samples)
            for start in range(0, len(chosen), self.batch_size):
                rows = [self.dataset[i] for i in chosen[start : start + self.batch_size]]
                writer.write(*(default_collate(list(part)) for part in zip(*rows)))

    def _correct(self, progress: bool) -> list[int]:
        """Places in the data set, in order; enough of them, or all."""
        found: list[int] = []
        start, stop = 0, 2 * max(self.num_samples, self.batch_size * len(self.options["devices"]))
        while start < len(self.dataset) and len(found) < self.num_samples:
            portion = range(start, min(stop, len(self.dataset)))
            is_correct = evaluate(
                self.model_factory,
                Subset(self.dataset, portion),
                {"none": no_explanation},
                {"correct": _correct},
                batch_size=self.batch_size,
                show_progress=progress,
                **self.options,
            ).dataset.correct.values[0]
            found += [i for i, right in zip(portion, is_correct) if right]
            start, stop = stop, 2 * stop
        return found


def no_explanation(model: Any) -> Any:
    return lambda inputs: torch.zeros_like(inputs)


@torch.no_grad()
def _correct(forward_func: Any, inputs: Tensor, attributions: Tensor, target: Tensor) -> Tensor:
    return (forward_func(inputs).argmax(1) == target).float()
