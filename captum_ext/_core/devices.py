"""What devices are asked for: tables of the host that go there without it waiting, and their random generators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

WAIT = ["mps"]  # types of devices to which a copy may still read the host's memory when it is used again


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. What goes there from the host does not wait for the device's other work."""
    return tensor.to(device, non_blocking=tensor.device.type == "cpu" and device.type not in WAIT)


def rows_at(tensor: Tensor, example: Tensor) -> Tensor:
    """The rows of these examples, whose numbers may be on the host."""
    return tensor[sent(example, tensor.device)]


def generators_of(*devices: torch.device) -> list[torch.Generator]:
    """The generators that draws come from without one of their own: the CPU's, then those of the devices."""
    return [torch.default_generator, *(g for device in devices if (g := _own_generator(device)) is not None)]


def _own_generator(device: torch.device) -> torch.Generator | None:
    module: Any = getattr(torch, device.type, None)
    if device.type == "mps":
        found: torch.Generator = module._get_default_mps_generator()
        return found
    if hasattr(module, "init"):
        module.init()  # before it there are none
    generators = getattr(module, "default_generators", ())
    return generators[device.index or 0] if generators else None
