"""Attributions of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..data import AttributionsDatasetWriter, IndexDataset
from ._model import on_device, progress


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
        model: the module that the methods hold. It is moved to `device` (by default the CPU), and in evaluation mode for the time.
        writer: takes the attributions batch by batch; then nothing is returned.

    Returns:
        name -> `[N, ...]` on the CPU, in the shape that the method gives.
    """
    if not method_dict:
        raise ValueError("`method_dict` must have at least one method, name -> method.")
    found: dict[str, list[Tensor]] = {name: [] for name in method_dict}
    with on_device(model, device) as place:
        for indices, samples, labels in progress(DataLoader(IndexDataset(dataset), batch_size), show_progress):
            for name, method in method_dict.items():
                maps = method(samples.to(place), labels.to(place)).detach().cpu()
                if len(maps) != len(samples):
                    raise ValueError(
                        f"`method_dict[{name!r}]` must give a row for each of {len(samples)} samples, got {len(maps)}."
                    )
                if writer is None:
                    found[name].append(maps)
                else:
                    writer.write(indices, maps, name)
    return {name: torch.cat(parts) for name, parts in found.items()} if writer is None else None
