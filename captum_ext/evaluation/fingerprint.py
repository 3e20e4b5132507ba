"""What a run was made of, as plain values: for the manifest that a resumed run is compared with, and for the results' attributes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def described(value: Any) -> Any:
    """JSON for any argument: numbers as they are, functions by name and code, tensors and models by a digest of their contents."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [described(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): described(v) for k, v in value.items()}
    if isinstance(value, functools.partial):
        return {"function": described(value.func), "args": described(value.args), **described(value.keywords)}
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{type(value).__name__}{tuple(value.shape)} {value.dtype} {digest(value)}"
    if isinstance(value, nn.Module):
        return f"{_name(type(value))} {digest(value)}"
    return _described_function(value)


def _described_function(value: Any) -> Any:
    if hasattr(value, "__func__"):  # a bound method
        return f"{_name(type(value.__self__))}.{value.__func__.__name__}"
    code = getattr(value, "__code__", None)
    if code is not None and "<" in value.__qualname__:  # a lambda or an inner function: the name says too little
        closure = [described(cell.cell_contents) for cell in value.__closure__ or ()]
        return f"{_name(value)} {_digest_of_code(code)}" + (f" {closure}" if closure else "")
    return _name(value) if hasattr(value, "__qualname__") else _name(type(value))


def digest(value: Tensor | np.ndarray[Any, Any] | nn.Module) -> str:
    """Sixteen hexadecimal digits of the contents' SHA-256."""
    sha = hashlib.sha256()
    state = value.state_dict() if isinstance(value, nn.Module) else {"": torch.as_tensor(value)}
    for name, tensor in state.items():
        sha.update(name.encode())
        if isinstance(tensor, Tensor):
            sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]


def _digest_of_code(code: CodeType) -> str:
    constants = [_digest_of_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return hashlib.sha256(repr((code.co_code, constants, code.co_names)).encode()).hexdigest()[:16]


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
