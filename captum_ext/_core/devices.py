"""Tables of the host, such as draws and numbers of examples, that go to a device without the host waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor

WAIT = ["mps"]  # types of devices to which a copy may still read the host's memory when it is used again


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. What goes there from the host does not wait for the device's other work."""
    return tensor.to(device, non_blocking=tensor.device.type == "cpu" and device.type not in WAIT)


def rows_at(tensor: Tensor, example: Tensor) -> Tensor:
    """The rows of these examples, whose numbers may be on the host."""
    return tensor[sent(example, tensor.device)]
