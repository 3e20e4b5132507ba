"""Explanation methods: every form in which a caller may give one, and the random control."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .examples import Batch, Tensors


def random_attribution(forward_func: Any = None, *, seed: int = 0) -> Callable[..., Any]:
    """The control: attributions that are standard normal noise, for `methods={"random": random_attribution, ...}`.

    The map of an example depends on the example's values and on `seed` alone, so batches, processes and order do not matter; several
    controls are ``partial(random_attribution, seed=1)`` and so on. `forward_func` is not used.

    Returns:
        a function with Captum's arguments that gives noise in the shape of the inputs.

    Example:
        >>> explain = random_attribution()
        >>> x = torch.ones(2, 3)
        >>> explain(x, target=0).shape, bool((explain(x)[0] == explain(x[1:])[0]).all())
        (torch.Size([2, 3]), True)
    """
    return functools.partial(_random_maps, seed=seed)


def _random_maps(inputs: Tensor | Tensors, *, seed: int, **_: Any) -> Tensor | Tensors:
    tensors = (inputs,) if isinstance(inputs, Tensor) else inputs
    contents = zip(*([_checksum(row) for row in x.detach().cpu()] for x in tensors))
    generators = [torch.Generator().manual_seed(zlib.crc32(repr((seed, row)).encode())) for row in contents]
    maps = tuple(torch.stack([torch.randn(x.shape[1:], generator=g) for g in generators]).to(x) for x in tensors)
    return maps[0] if isinstance(inputs, Tensor) else maps


def _checksum(row: Tensor) -> int:
    return zlib.crc32(row.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())


class Method:
    """A named explanation of the model: a function with Captum's arguments, or attributions stored for every example.

    One that draws at random explains each example by itself, so that its draws belong to the example and not to the batch.
    """

    def __init__(self, name: str, explain: Callable[..., Any] | None, stored: Any = None):
        self.name, self.explain, self.stored = name, explain, stored
        self.alone = explain is not None and draws_at_random(explain)

    def split(self, batch: Batch, size: int) -> list[Batch]:
        return batch.split(1 if self.alone else size)

    def attributions(self, batch: Batch) -> Any:
        if self.explain is None:
            device = (batch.inputs if isinstance(batch.inputs, Tensor) else batch.inputs[0]).device
            return _map(lambda a: torch.as_tensor(a[batch.indices]).to(device), self.stored)
        arguments = accepted(self.explain, target=batch.target, additional_forward_args=batch.additional_forward_args)
        result = self.explain(batch.inputs, **arguments)
        return _map(lambda t: t.detach(), tuple(result) if isinstance(result, list) else result)


def draws_at_random(explain: Callable[..., Any]) -> bool:
    """Whether this is a method of Captum's that draws from global generators."""
    while isinstance(explain, functools.partial):
        explain = explain.func
    attr = sys.modules.get("captum.attr")  # an object of Captum's exists only if Captum was imported
    names = [k + "GradientShap" for k in ("", "Layer", "Neuron")] + ["NoiseTunnel", "LimeBase", "ShapleyValueSampling"]
    kinds = tuple(getattr(attr, n) for n in names if hasattr(attr, n))
    return isinstance(getattr(explain, "__self__", None), kinds)


def as_method(name: str, method: Any, model: Any, examples: int) -> Method:
    """A Captum class, a function of the model, a ready Captum object, or stored attributions."""
    if isinstance(method, (str, os.PathLike)):
        from .stored_attributions import open_attributions

        method = open_attributions(Path(method), name)
    if _is_stored(method):
        for a in method if isinstance(method, tuple) else (method,):
            if len(a) != examples:
                raise ValueError(
                    f"The attributions of method {name!r} have {len(a)} rows, but `data` has {examples} examples."
                )
        return Method(name, None, method)
    if not callable(method) and not hasattr(method, "attribute"):
        raise TypeError(
            f"Method {name!r} must be a Captum class or object, a function of the model, a tensor or a path, got {type(method).__name__}."
        )
    return Method(name, _explanation(method, model, name))


def _explanation(method: Any, model: Any, name: str) -> Callable[..., Any]:
    ready = method.func if isinstance(method, functools.partial) else method
    if hasattr(
        getattr(ready, "__self__", None), "attribute"
    ):  # a bound `attribute`, with or without some arguments set
        return method
    if hasattr(method, "attribute") and not isinstance(method, type):
        return method.attribute
    made = method(model)
    if hasattr(made, "attribute"):
        return made.attribute
    if not callable(made):
        raise TypeError(
            f"Method {name!r} must make an explanation of the model, a Captum object or a function, got {type(made).__name__}. "
            "A function of inputs and target is given as `lambda model: function`."
        )
    return made


def accepted(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Those of the arguments that have a value and that the function takes."""
    parameters = inspect.signature(function).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {k: v for k, v in arguments.items() if v is not None and (takes_all or k in parameters)}


def _is_stored(value: Any) -> bool:
    parts = value if isinstance(value, tuple) and value else (value,)
    return all(hasattr(p, "shape") and hasattr(p, "__getitem__") for p in parts)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    return tuple(function(v) for v in value) if isinstance(value, tuple) else function(value)
