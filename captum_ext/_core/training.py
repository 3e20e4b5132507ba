"""Warns of models in training mode, whose output may be random or depend on the other rows of its call."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import nn

from .checks import is_exported, module_of
from .guard import frames_of_package

# Where an explanation or a wrapper keeps what it calls: Captum's names, and the one that own objects usually have.
INNER = ("attribution_method", "forward_func", "model")
DEPTH = 10  # of wrappers within each other; an object may lead back to itself
# Modules that only call others, or are compiled: what matters is inside.
TRANSPARENT = ("torch.nn.", "torch.ao.nn.", "torch.optim.swa_utils", "torch._dynamo.")


def warn_of_training(function: Any, name: str = "`forward_func`") -> bool:
    """Warns if the model, or the model that a function or an explanation calls, changes in training mode and is in it.

    Returns whether it does. A model that is called by the code of a function is not seen.
    """
    model = model_behind(function)
    if model is None or is_exported(model):  # an exported module is in training mode whatever its graph does
        return False
    # A frozen module has no mode.
    found = next((m for m in model.modules() if getattr(m, "training", False) and may_change(m)), None)
    if found is not None:
        what = getattr(found, "original_name", type(found).__name__)
        warnings.warn(
            f"{name} is in training mode and has a {what}, so its output may be random or depend on the batch. "
            "Call model.eval() first.",
            stacklevel=frames_of_package(),
        )
    return found is not None


def model_behind(function: Any) -> nn.Module | None:
    """The module that is called by a partial, a bound method, a Captum object, or one that wraps another."""
    for _ in range(DEPTH):
        if isinstance(function, nn.Module):
            return function
        if isinstance(function, functools.partial):
            function = function.func
        elif (owner := getattr(function, "__self__", None)) is not None:
            function = owner
        else:
            function = next((getattr(function, inner) for inner in INNER if hasattr(function, inner)), None)
    return None


def may_change(module: nn.Module) -> bool:
    """Whether a module in training mode is random or depends on the batch, or has code of its own, which may be so.

    Code of its own may call `torch.nn.functional.dropout`. Submodules are not looked at.
    """
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    if isinstance(module, nn.MultiheadAttention):
        return module.dropout > 0
    if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.RReLU, torch.jit.ScriptModule)):
        return True
    return not module_of(module.forward).startswith(TRANSPARENT)
