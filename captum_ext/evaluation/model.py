"""The model of a run: made if a function makes it, put on its device, and in evaluation mode while it is used."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .._core.checks import is_exported
from .alone import alone_in_process


def made(model: Any) -> Any:
    """The model itself, or what it makes if it is a function without arguments."""
    if not isinstance(model, nn.Module) and _takes_nothing(model):
        with alone_in_process(wait=True):  # it may draw from global generators
            model = model()
    if not callable(model):
        raise TypeError(
            f"`model` must be a module, or a function without arguments that returns one; got {type(model).__name__}."
        )
    return model


def device_of(model: Any, device: torch.device | str | None) -> torch.device:
    """Where to compute: on the device that was asked for, else where the model is."""
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    own = tensors[0].device if tensors else torch.device("cpu")
    return own if device is None else torch.device(device)


def model_on(model: Any, device: torch.device | str | None) -> tuple[Any, torch.device]:
    """The model on its device, and that device; a model of the caller's that is elsewhere is copied, not moved."""
    there, device = device_of(model, None), device_of(model, device)
    return (copy.deepcopy(model).to(device) if isinstance(model, nn.Module) and there != device else model), device


def other_type(model: Any, inputs: Any, error: Exception) -> TypeError | None:
    """The error of inputs that are of another type than the model takes, if the model's own may be due to it."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    looks_up = "scalar types: Long, Int" in str(error)  # an embedding says so
    takes = "looks up embeddings by numbers" if looks_up else "has parameters"
    wanted = {torch.int64} if looks_up else {p.dtype for p in parameters if p.is_floating_point()}
    given = {x.dtype for x in (inputs if isinstance(inputs, tuple) else (inputs,))}
    if len(wanted) != 1 or given <= wanted or "type" not in str(error):
        return None
    got, dtype = ", ".join(sorted(map(str, given))), wanted.pop()
    return TypeError(
        f"`data` gives inputs of type {got}, but the model {takes} of type {dtype}, and it fails: "
        f"{error}. Convert the inputs:\n    data = [(torch.as_tensor(x).to({dtype}), *rest) for x, *rest in data]\n"
        "    evaluate(model, data, ...)"
    )


def _takes_nothing(function: Any) -> bool:
    """A class counts too if all its arguments have defaults, since a class cannot be the model itself."""
    try:
        parameters = inspect.signature(function).parameters.values() if callable(function) else ()
    except ValueError:  # built-ins without a signature
        return False
    return callable(function) and all(isinstance(function, type) and p.default is not p.empty for p in parameters)


@contextmanager
def in_eval_mode(model: Any) -> Iterator[None]:
    """Puts every module into evaluation mode, and back into its own mode afterwards.

    Modules without a mode of their own, which are exported or frozen, stay as they are.
    """
    with in_own_mode(model) as modes:
        if modes and len(modes) == len([*model.modules()]):
            model.eval()  # which a module may override
        else:
            _set(dict.fromkeys(modes, False))
        yield


@contextmanager
def in_own_mode(model: Any) -> Iterator[dict[nn.Module, bool]]:
    """After the block, every module is in the mode that it had before it, which is yielded."""
    modules = [*model.modules()] if isinstance(model, nn.Module) else []
    modes = {m: m.training for m in modules if hasattr(m, "training") and not is_exported(m)}
    try:
        yield modes
    finally:
        _set({module: mode for module, mode in modes.items() if module.training != mode})


def _set(modes: dict[nn.Module, bool]) -> None:
    for module, mode in modes.items():
        module.training = mode
