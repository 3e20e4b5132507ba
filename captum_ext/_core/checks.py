"""Checks of single arguments, so that the same mistake raises the same error in metrics and in `evaluate`."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

# What errors of torch say where a gradient of integers is wanted, or where Captum made floats of them.
OF_GRADIENTS = ("require grad", "require gradients", "scalar types: Long, Int")
OF_TARGETS = ("out of bounds", "target")  # what errors say where a target does not fit the output
EXPLANATIONS = ("attributions", "explanation_func", "explanation_factory")  # a metric takes at least one of these
INT64 = range(-(2**63), 2**63)


def shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def is_exact(tensor: Tensor) -> bool:
    """Whether the type is that of integers or of booleans, such as token ids, images of bytes and fingerprints."""
    return not (tensor.is_floating_point() or tensor.is_complex())


def check_floating(tensors: Iterable[Tensor], why: str) -> None:
    types = [t.dtype for t in tensors]
    if not all(t.is_floating_point for t in types):
        raise TypeError(
            f"`inputs` must be of a floating point type, as {why}, got {[str(t) for t in types]}. "
            "For token ids give the embeddings, for images of bytes `inputs.float()`."
        )


def check_exact(name: str, value: float | Tensor, x: Tensor) -> None:
    """Checks that inputs of an integer type, or booleans, can take a value as it is."""
    if not is_exact(x) or x.is_meta:
        return
    low, high = (0, 1) if x.dtype == torch.bool else (torch.iinfo(x.dtype).min, torch.iinfo(x.dtype).max)
    high = min(high, INT64[-1])  # the largest that tensors are compared with
    if not isinstance(value, Tensor):
        wrong = [] if low <= value <= high and value == int(value) else [value]
    elif is_exact(value):
        wrong = value[(value.long() < low) | (value.long() > high)][:1].tolist()
    else:
        wrong = value[~((value >= low) & (value < float(high + 1)) & (value == value.round()))][:1].tolist()
    if wrong:
        raise ValueError(
            f"`{name}` must be a value that `inputs` of type {x.dtype} can hold, got {wrong[0]}. "
            "Give such a value, or floating point inputs."
        )


def describe(value: object) -> str:
    if isinstance(value, (tuple, list)):
        inner = ", ".join(sorted({type(v).__name__ for v in value})) or "nothing"
        return f"a {type(value).__name__} of {inner}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, np.ndarray):
        return f"{type(value).__name__} of {value.dtype}"
    return f"{type(value).__name__} {value!r}" if isinstance(value, (str, int, float)) else type(value).__name__


def check_real(must: str, *tensors: Tensor) -> None:
    """Refuses complex numbers, and tensors of other layouts. The errors begin with `must`, as in "`inputs` must be"."""
    for t in tensors:
        if t.layout != torch.strided or t.is_nested or t.is_quantized:
            kind = "a nested tensor" if t.is_nested else t.dtype if t.is_quantized else t.layout
            raise TypeError(f"{must} plain dense tensors, got {kind}. Convert it first, as by .to_dense().")
        if t.is_floating_point() and t.dtype.itemsize < 2:
            raise TypeError(f"{must} of a type that can be computed with, got {t.dtype}. Use .float().")
        if t.is_complex():
            raise TypeError(
                f"{must} real numbers, got {t.dtype}. Give real and imaginary parts as separate numbers, "
                "as torch.view_as_real does."
            )


def is_exported(module: object) -> bool:
    """Whether a module was made by `torch.export`: a graph, without the layers that it was made from."""
    return any(module_of(kind).startswith("torch.export.") for kind in type(module).__mro__)


def check_has_values(name: str, tensor: Tensor, like: Tensor) -> None:
    """Refuses a tensor on the device `meta`, unless all is there."""
    if tensor.is_meta and not like.is_meta:
        raise ValueError(f"`{name}` is on the device 'meta', so it has no values. Give a tensor that has.")


def plain(value: Any) -> Any:
    """Returns Python's number for one of numpy's and for a tensor or an array without axes; else the value itself."""
    if isinstance(value, np.floating):
        return float(value)
    without_axes = isinstance(value, (np.ndarray, Tensor)) and value.ndim == 0
    if isinstance(value, np.generic) or (without_axes and not getattr(value, "is_meta", False)):
        return value.item()
    return value


def is_integer(value: Any) -> bool:
    """Whether a plain value is an integer, of any size. A tensor or an array with axes is none, nor is a class."""
    return hasattr(value, "__index__") and not isinstance(value, (bool, type, np.ndarray, Tensor))


def check_integer(must: str, value: Any) -> int:
    """The error begins with `must`, as in "`frozen` must be an id of `feature_mask`, an integer"."""
    value = plain(value)
    if not is_integer(value):
        raise TypeError(f"{must}; got {describe(value)}.")
    if operator.index(value) not in INT64:
        raise ValueError(f"{must}, of at most 64 bits; got {value}.")
    return operator.index(value)


def check_count(name: str, value: Any, least: int = 1, most: float = INT64[-1]) -> int:
    value = plain(value)
    if not is_integer(value):
        raise TypeError(f"`{name}` must be an integer, got {describe(value)}.")
    if operator.index(value) < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    if operator.index(value) > most:
        raise ValueError(f"`{name}` must be at most {most}, got {value}.")
    return operator.index(value)


def check_flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False, got {describe(value)}.")
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    choices = tuple(choices)
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {describe(value)}.")
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_number(name: str, value: Any, wanted: str, holds: Callable[[float], bool]) -> float:
    """Checks the type of a value first and then the value itself. `wanted` says what `holds` asks for."""
    value = plain(value)
    if not is_number(value):
        raise TypeError(f"`{name}` must be {wanted}, got {describe(value)}.")
    if not holds(value):
        raise ValueError(f"`{name}` must be {wanted}, got {value!r}.")
    return float(value)


def check_finite(name: str, value: Any) -> float:
    return check_number(name, value, "a finite number", lambda v: abs(v) <= sys.float_info.max)


def check_positive(name: str, value: Any) -> float:
    return check_number(name, value, "a number above 0", lambda v: 0 < v <= sys.float_info.max)


def check_not_negative(name: str, value: Any) -> float:
    return check_number(name, value, "a number of at least 0", lambda v: 0 <= v <= sys.float_info.max)


def check_fraction(name: str, value: Any, open_ends: bool = False) -> float:
    """From 0 to 1; with open ends neither 0 nor 1, as for a level of confidence or significance."""
    if open_ends:
        return check_number(name, value, "a number between 0 and 1, neither included", lambda v: 0 < v < 1)
    return check_number(name, value, "a fraction from 0 to 1", lambda v: 0 <= v <= 1)


def check_function(name: str, value: Any, what: str) -> None:
    """Refuses what cannot be called, and classes, which return objects instead of values."""
    if isinstance(value, type):
        raise TypeError(
            f"`{name}` must be {what}, got the class {value.__name__}. Make an object of it, `{value.__name__}(...)`."
        )
    if not callable(value):
        raise TypeError(f"`{name}` must be {what}, got {describe(value)}.")


def missing_arguments(function: Callable[..., Any], given: Collection[str]) -> list[str]:
    """Returns the arguments that an explanation needs, beside the inputs, and that are not given."""
    try:
        _, *others = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a built-in without a signature, or one that takes nothing
        return []
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in others if p.kind in by_name and p.default is p.empty and p.name not in given]


def configured(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function inside any number of `functools.partial`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def module_of(value: Any) -> str:
    """The name of the module that defines a function or a class; "" for code that ran outside of any module."""
    return str(getattr(value, "__module__", None) or "")


def is_of_captum(function: Callable[..., Any]) -> bool:
    """Whether this is the method of an object of Captum's, rather than a function with a `target` of its own."""
    return module_of(type(getattr(configured(function), "__self__", None))).startswith("captum.attr.")


def as_captum_takes(function: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Puts a further argument of the model into a tuple: Captum's Lime and KernelShap take a bare tensor apart."""
    args = kwargs.get("additional_forward_args")
    bare = isinstance(args, Tensor) and is_of_captum(function)
    return kwargs | {"additional_forward_args": (args,)} if bare else kwargs


def explained(function: Callable[..., Any], inputs: Any, kwargs: dict[str, Any], name: str) -> Any:
    """Calls an explanation and returns a tensor or a tuple of tensors, with a row for each row of the inputs.

    Says what to do where it needs gradients that inputs such as token ids do not have.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    try:
        return _checked(function(inputs, **kwargs), tensors[0], name)
    except (AssertionError, IndexError) as error:  # of Captum's, where a target does not fit the output
        if kwargs.get("target") is None or not any(sign in str(error) for sign in OF_TARGETS):
            raise
        raise ValueError(f"{name} cannot explain `target`, which does not fit the model's output: {error}.") from error
    except RuntimeError as error:
        discrete = [t.dtype for t in tensors if not t.is_floating_point()]
        if not discrete or not any(sign in str(error) for sign in OF_GRADIENTS):
            raise
        raise TypeError(
            f"{name} needs gradients, which `inputs` of type {discrete[0]} do not have. Explain the embeddings, by a "
            "layer method of Captum such as LayerIntegratedGradients or with embeddings as inputs, or take a method "
            "without gradients such as FeatureAblation."
        ) from error


def _checked(result: Any, like: Tensor, name: str) -> Any:
    """Returns what an explanation gave for the rows `like`, as tensors on their device."""
    listed = isinstance(result, list) and all(isinstance(part, Tensor) for part in result)
    result = as_tensors(tuple(result) if listed and result else result)
    parts = result if isinstance(result, tuple) else (result,)
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        raise TypeError(f"{name} must return a tensor or a tuple of tensors, got {describe(result)}.")
    for part in parts:
        if part.dim() == 0 or len(part) != len(like):
            raise ValueError(
                f"{name} must return a row for each of its {len(like)} input rows, got shape {shape(part)}."
            )
    if not any(part[0].numel() for part in parts):
        raise ValueError(f"{name} must return attributions, got none: shapes {[shape(part) for part in parts]}.")
    check_real(f"{name} must return", *parts)
    return tuple(part.to(like.device) for part in parts) if isinstance(result, tuple) else result.to(like.device)


def as_tensors(value: Any) -> Any:
    """Returns tensors in place of numpy's arrays, as packages such as lime and shap give; anything else stays as it is.

    The tensors are copies, so the arrays may have any strides and byte order.
    """
    if isinstance(value, tuple):
        return tuple(map(as_tensors, value))
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray) or value.dtype.kind not in "biufc":
        return value
    try:
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    except TypeError:  # a type that torch does not have, such as long doubles
        return torch.from_numpy(np.array(value, np.float64, order="C"))
