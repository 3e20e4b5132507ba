"""A caller's model for the time of a computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


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
