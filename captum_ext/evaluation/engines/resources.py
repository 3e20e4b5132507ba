"""With what to compute: checked, and completed by what a launcher says of this process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from ..._core.checks import check_count
from ..model import device_of
from . import Engine, Resources, engine_named
from .inline import Inline
from .places import Place, launched, place_of

Device = torch.device | str | int


def resources_of(
    model: Any,
    device: torch.device | str | None,
    devices: Sequence[Device] | None,
    engine: Any,
    max_restarts: int,
    shard_timeout: float | None,
    threads_per_worker: int | None,
    shared: bool,
) -> tuple[Engine, Resources]:
    """The engine and what it gets; `shared`: whether other processes that a launcher started can see the store."""
    check_count("max_restarts", max_restarts, least=0)
    if threads_per_worker is not None:
        check_count("threads_per_worker", threads_per_worker)
    if shard_timeout is not None and not (isinstance(shard_timeout, (int, float)) and shard_timeout > 0):
        raise ValueError(f"`shard_timeout` must be a number of seconds above 0, got {shard_timeout!r}.")
    place = _place(engine, shared)
    chosen = _devices(model, device, devices, place)
    runner = engine_named(engine, len(chosen))
    threads = threads_per_worker or (None if isinstance(runner, Inline) else 1)
    return runner, Resources(chosen, threads, max_restarts, shard_timeout, place)


def _place(engine: Any, shared: bool) -> Place:
    if engine not in ("auto", "elastic"):
        return Place()
    if not shared:
        if launched(os.environ):
            warnings.warn(
                "Several processes were launched, and each computes everything: give all of them one `path`, on storage that all see, to "
                'share the work, or engine="inline" if that is meant.',
                stacklevel=5,
            )
        return Place()
    return place_of(os.environ) or Place()


def _devices(
    model: Any, device: torch.device | str | None, devices: Sequence[Device] | None, place: Place
) -> tuple[torch.device, ...]:
    if devices is None:
        if device is None and place.local is not None and torch.cuda.is_available():
            return (torch.device("cuda", place.local % torch.cuda.device_count()),)
        return (_numbered(device_of(model, device)),)
    if device is not None:
        raise ValueError("Give `device` for one worker or `devices` for several, not both.")
    if isinstance(devices, (str, torch.device)) or not isinstance(devices, Sequence) or not devices:
        raise TypeError(
            f"`devices` must be a sequence of devices with at least one, such as ['cuda:0', 'cuda:1']; got {devices!r}."
        )
    chosen = tuple(map(_as_device, devices))
    if len({d.type for d in chosen}) > 1:
        raise ValueError(
            f"`devices` must be of one type, for scores to be the same on each; got {', '.join(map(str, chosen))}."
        )
    return chosen if place.local is None else (chosen[place.local % len(chosen)],)


def _as_device(device: Device) -> torch.device:
    try:
        return _numbered(torch.device("cuda", device) if isinstance(device, int) else torch.device(device))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"`devices` has {device!r}, which is no device: {error}") from error


def _numbered(device: torch.device) -> torch.device:
    return torch.device("cuda", 0) if device == torch.device("cuda") else device
