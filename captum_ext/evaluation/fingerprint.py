"""Describes what a run is made of, as plain values.

A resumed run is compared by them, and they are attributes of the results.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from types import CodeType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._core.checks import module_of

LIBRARIES = {"captum_ext", "captum", "torch", "numpy"}  # their versions are in the manifest


def described(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """Any argument as values that JSON can hold.

    Numbers are kept as they are. Functions are described by name, code and settings, tensors and models by a digest of
    their contents, other objects by their attributes. `inside` has the objects that this one was found in.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if id(value) in inside:
        return f"{_name_of(value)} (itself)"
    of_part = functools.partial(described, inside=(*inside, id(value)))
    if isinstance(value, (tuple, list)):
        return [of_part(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, Mapping):
        return {str(k): of_part(v) for k, v in value.items()}
    if isinstance(value, functools.partial):
        return {"function": of_part(value.func), "args": of_part(value.args), **of_part(value.keywords)}
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{type(value).__name__}{tuple(value.shape)} {value.dtype} {digest(value)}"
    if isinstance(value, nn.Module):
        return f"{_name_of(value)} {digest(value)}"
    if isinstance(value, (os.PathLike, torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, MethodType):
        return {"method": of_part(value.__func__), "of": of_part(value.__self__)}
    return _described_function(value, of_part) if hasattr(value, "__qualname__") else _described_object(value, of_part)


def _described_function(value: Any, of_part: Callable[[Any], Any]) -> str:
    """A function's name, with a digest of code, closure and defaults unless a library's version stands for these."""
    code = getattr(value, "__code__", None)
    if code is None or module_of(value).split(".")[0] in LIBRARIES:
        return _name_of(value)
    settings = (
        [of_part(c.cell_contents) for c in value.__closure__ or ()],
        of_part(value.__defaults__),
        of_part(value.__kwdefaults__),
    )
    contents = f"{_digest_of_code(code)} {json.dumps(settings)}"
    return f"{hashlib.sha256(contents.encode()).hexdigest()[:16]} {_name_of(value)}"


def _described_object(value: Any, of_part: Callable[[Any], Any]) -> Any:
    attributes = {k: of_part(v) for k, v in sorted(getattr(value, "__dict__", {}).items())}
    return {"object": _name_of(value), **attributes} if attributes else _name_of(value)


def digest(value: Tensor | np.ndarray[Any, Any] | nn.Module) -> str:
    """Sixteen hexadecimal digits of the contents' SHA-256."""
    if isinstance(value, np.ndarray):  # some have strides or types that torch does not take
        return hashlib.sha256(_bytes_of(value)).hexdigest()[:16]
    sha = hashlib.sha256(repr(value).encode() if isinstance(value, nn.Module) else b"")  # the architecture
    state = value.state_dict() if isinstance(value, nn.Module) else {"": value}
    for name, tensor in state.items():
        sha.update(name.encode())
        if isinstance(tensor, (Tensor, np.ndarray)):
            sha.update(_bytes_of(tensor))
    return sha.hexdigest()[:16]


def digest_of_examples(batch: Any) -> str:
    """Of everything that the data set says of them: inputs, targets, further arguments and metrics' arguments."""
    parts = described([batch.inputs, batch.target, batch.additional_forward_args, batch.extra])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _bytes_of(value: Tensor | np.ndarray[Any, Any]) -> bytes | memoryview:
    """The contents in the order of their indices, which are not copied where they lie so already."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return repr(value.tolist()).encode()
        return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data if value.size else b""
    dense = value.detach() if value.layout == torch.strided else value.detach().to_dense()
    return dense.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _digest_of_code(code: CodeType) -> str:
    constants = [_digest_of_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return hashlib.sha256(repr((code.co_code, constants, code.co_names)).encode()).hexdigest()[:16]


def _name_of(value: Any) -> str:
    """The names of the module and the object; a metric has its exported name, which stays if its file is moved."""
    if (card := getattr(value, "card", None)) is not None and module_of(value).split(".")[0] == "captum_ext":
        return f"captum_ext.metrics.{card.name}"
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{module_of(named)}.{named.__qualname__}"
