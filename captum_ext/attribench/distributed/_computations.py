"""Selecting samples, attributions of a data set and adversarial patches, each by many workers."""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from captum_ext import attribute_dataset, evaluate
from captum_ext.evaluation.files import check_writable, escaped, written_aside

from ..._core.checks import check_count
from ..data import AttributionsDatasetWriter, HDF5DatasetWriter
from ..functional import compute_attributions, select_samples, train_adversarial_patches
from ..functional._samples import predicted, warn_of_few
from ..functional._train_adversarial_patches import classes_of, trained, value_range
from ..functional.metrics._plan import explanations
from ._workers import Computation

BYTES = 2**24  # copied at a time, or one row


class ComputeAttributions(Computation, of=compute_attributions):
    """Every method's attributions of every sample, in AttriBench's file.

    The last arguments are as in `captum_ext.attribench.distributed.metrics`.
    """

    def run(self, path: str | os.PathLike[str], progress: bool = True) -> None:
        """Writes the file at `path`.

        What is computed is kept beside it until then, so the same call goes on where it was interrupted.
        """
        path = check_writable(path)
        kept = path.with_name(f"{path.name}.run")
        dataset, methods = self._given["dataset"], explanations(self._given["method_factory"])
        options = {"batch_size": self.batch_size, "show_progress": progress, **self.options}
        attribute_dataset(self.model_factory, dataset, methods, kept, **options)
        with written_aside(path, room=kept.stat().st_size) as aside, h5py.File(kept) as file:
            writer = AttributionsDatasetWriter(aside, len(dataset))
            for name in methods:
                array = file[escaped(name)]["0"]
                step = max(BYTES // max(array.dtype.itemsize * math.prod(array.shape[1:]), 1), 1)
                for start in range(0, len(dataset), step):
                    rows = array[start : start + step]
                    writer.write(range(start, start + len(rows)), rows, name)
        kept.unlink()


class SelectSamples(Computation, of=select_samples):
    """The first `num_samples` samples that are classified correctly, in AttriBench's file.

    The data set is looked through in portions that double, until there are enough. The last arguments are as in
    `captum_ext.attribench.distributed.metrics`.
    """

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.dataset, self.num_samples = self._given["dataset"], check_count("num_samples", self._given["num_samples"])

    def run(self, path: str | os.PathLike[str], progress: bool = True) -> None:
        """Writes the samples and their labels to `path`; with a warning where there are fewer."""
        path = check_writable(path)
        chosen = self._correct(progress)[: self.num_samples]
        warn_of_few(len(chosen), self.num_samples)
        with written_aside(path) as aside:
            writer = HDF5DatasetWriter(aside, self.num_samples)
            for samples, labels in DataLoader(Subset(self.dataset, chosen), self.batch_size):
                writer.write(samples, labels)

    def _correct(self, progress: bool) -> list[int]:
        """Places in the data set, in order; enough of them, or all."""
        found: list[int] = []
        start, stop = 0, 2 * max(self.num_samples, self.batch_size * len(self.options["devices"]))
        options = {"batch_size": self.batch_size, "show_progress": progress, **self.options}
        while start < len(self.dataset) and len(found) < self.num_samples:
            portion = range(start, min(stop, len(self.dataset)))
            data, metrics = _WithLabels(self.dataset, portion), {"correct": _correct}
            scores = evaluate(self.model_factory, data, {"none": _no_explanation}, metrics, **options)
            found += [i for i, right in zip(portion, scores.dataset.correct.values[0]) if right]
            start, stop = stop, 2 * stop
        return found


class TrainAdversarialPatches(Computation, of=train_adversarial_patches):
    """`captum_ext.attribench.functional.train_adversarial_patches`, class by class.

    The last arguments are as in `captum_ext.attribench.distributed.metrics`.
    """

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        given, loader = self._given, DataLoader(self._given["dataset"], self.batch_size)
        self.classes = classes_of(given["num_patches"], given["labels"])
        settings = {"loader": loader, "limits": value_range(loader), "first_seed": given["seed"]}
        self.train = partial(_train, path=os.path.abspath(given["path"]), **settings)

    def run(self, progress: bool = True) -> None:
        """Writes the patches to `<path>_<class>.pt`."""
        numbered = [(torch.tensor([float(i)]), label) for i, label in enumerate(self.classes)]
        options = {"batch_size": 1, "show_progress": progress, **self.options}
        evaluate(self.model_factory, numbered, {"none": _no_explanation}, {"patch": self.train}, **options)


class _WithLabels(Dataset[Any]):
    """A portion whose labels are for the metric alone, so they may be of classes that the model does not have."""

    def __init__(self, dataset: Any, portion: range):
        self.dataset, self.portion = dataset, portion

    def __len__(self) -> int:
        return len(self.portion)

    def __getitem__(self, index: int) -> Any:
        sample, label = self.dataset[self.portion[index]]
        return sample, None, None, {"label": label}


def _no_explanation(model: Any) -> Any:
    return lambda inputs: torch.zeros_like(inputs)


@torch.no_grad()
def _correct(forward_func: Any, inputs: Tensor, attributions: Tensor, label: Tensor) -> Tensor:
    return (predicted(forward_func(inputs)) == label).float()


def _train(
    forward_func: Any, inputs: Tensor, attributions: Tensor, target: Tensor, *, path: str, first_seed: int, **data: Any
) -> Tensor:
    """Of the one patch that `inputs` numbers; `data` are its `loader` and the `limits` of its values."""
    label = int(target)
    patch = trained(forward_func, label=label, seed=first_seed + int(inputs), place=inputs.device, **data)
    with written_aside(Path(f"{path}_{label}.pt")) as aside:
        torch.save(patch, aside)
    return inputs[:, 0]
