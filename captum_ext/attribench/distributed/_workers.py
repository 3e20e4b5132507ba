"""AttriBench's `address`, `port` and `devices` as the engine and devices of `captum_ext.evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

HERE = ("localhost", "127.0.0.1")


def workers(address: str, port: str | int, devices: Sequence[Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    """Options of `evaluate`. No devices: every GPU, and one worker on the CPU where there is none."""
    if devices is None:
        devices = range(torch.cuda.device_count()) or ["cpu"]
    if address not in HERE:
        from captum_ext.evaluation.engines.ray import Ray

        options = {"engine": Ray(f"{address}:{port}"), **options}
    return {"devices": list(devices), **options}
