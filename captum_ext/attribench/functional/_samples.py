"""The samples that a model gets right, and attributions of a data set."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..._core.checks import check_count
from ..data import AttributionsDatasetWriter, HDF5DatasetWriter, IndexDataset


def select_samples(
    model: nn.Module,
    dataset: Any,
    num_samples: int,
    batch_size: int,
    writer: HDF5DatasetWriter | None = None,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor] | None:
    """The first `num_samples` samples of `(sample, label)` that the model classifies correctly, and their labels.

    Exactly that many (AttriBench returns the last batch whole); where there are fewer, those there are, with a warning.

    Args:
        model: it is moved to `device` (by default the CPU), and in evaluation mode for the time.
        writer: takes the samples batch by batch; then nothing is returned.

    Returns:
        `(samples, labels)` on the device.
    """
    missing = check_count("num_samples", num_samples)
    selected: list[tuple[Tensor, Tensor]] = []
    with on_device(model, device) as place, torch.no_grad():
        for samples, labels in DataLoader(dataset, batch_size):
            samples, labels = samples.to(place), labels.to(place)
            correct = (predicted(model(samples)) == labels).nonzero()[:missing, 0]
            missing -= len(correct)
            if writer is None:
                selected.append((samples[correct], labels[correct]))
            elif len(correct):
                writer.write(samples[correct].cpu(), labels[correct].cpu())
            if not missing:
                break
    warn_of_few(num_samples - missing, num_samples)
    if writer is not None:
        return None
    if not selected:
        raise ValueError("`dataset` has no samples.")
    all_samples, all_labels = map(torch.cat, zip(*selected))
    return all_samples, all_labels


def predicted(outputs: Tensor) -> Tensor:
    """The class of the largest output of each row `[rows, classes]`; -1, which is no class, where an output is NaN."""
    return outputs.argmax(1).masked_fill(outputs.isnan().any(1), -1)


def warn_of_few(found: int, wanted: int) -> None:
    if found < wanted:
        warnings.warn(f"Only {found} samples were classified correctly, {wanted} were asked for.", stacklevel=3)


def compute_attributions(
    model: nn.Module,
    method_dict: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
    dataset: Any,
    batch_size: int,
    writer: AttributionsDatasetWriter | None = None,
    device: torch.device | None = None,
    *,
    show_progress: bool = False,
) -> dict[str, Tensor] | None:
    """Every method's attributions of every sample of `(sample, label)`; the label is what is explained.

    Args:
        model: the module that the methods hold. It is moved to `device` (by default the CPU), and in evaluation mode
            for the time.
        writer: takes the attributions batch by batch; then nothing is returned.

    Returns:
        name -> `[N, ...]` on the CPU, in the shape that the method gives.
    """
    if not method_dict:
        raise ValueError("`method_dict` must have at least one method, name -> method.")
    found: dict[str, list[Tensor]] = {name: [] for name in method_dict}
    write = writer.write if writer is not None else lambda indices, maps, name: found[name].append(maps)
    batches = DataLoader(IndexDataset(dataset), batch_size)
    with on_device(model, device) as place:
        for indices, samples, labels in tqdm(batches, unit="batch", disable=not show_progress):
            for name, method in method_dict.items():
                maps = method(samples.to(place), labels.to(place)).detach().cpu()
                if len(maps) != len(samples):
                    wanted = f"a row for each of {len(samples)} samples"
                    raise ValueError(f"`method_dict[{name!r}]` must give {wanted}, got {len(maps)}.")
                write(indices, maps, name)
    return {name: torch.cat(parts) for name, parts in found.items()} if writer is None else None


@contextmanager
def on_device(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """The model on the device (None: the CPU) and in evaluation mode; its modules get their modes back."""
    place = torch.device("cpu" if device is None else device)
    modes = {module: module.training for module in model.modules()}
    model.to(place).eval()
    try:
        yield place
    finally:
        for module, mode in modes.items():
            module.training = mode
