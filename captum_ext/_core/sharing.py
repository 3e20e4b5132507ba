"""Lets metrics share work: within `sharing()`, equal calls of a function marked `shared` return the same object.

Nothing is kept afterwards. Outside of `sharing()`, a marked function runs at every call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import Tensor
from typing_extensions import ParamSpec

P = ParamSpec("P")
R = TypeVar("R")

_memory: ContextVar[dict[Hashable, Any] | None] = ContextVar("_memory", default=None)


@contextmanager
def sharing() -> Iterator[None]:
    """Lets equal calls share their result within the block. A block inside another one shares nothing with it."""
    token = _memory.set({})
    try:
        yield
    finally:
        _memory.reset(token)


def forget() -> None:
    """Drops what was shared so far, for results that were drawn at random: each caller needs a draw of its own."""
    memory = _memory.get()
    if memory is not None:
        memory.clear()


def shared(function: Callable[P, R]) -> Callable[P, R]:
    """Marks a function whose result equal calls share within `sharing()`.

    Calls are equal if tensors, models and functions are the same objects, and if settings and integer tensors with at
    most one axis have equal values.
    """

    @functools.wraps(function)
    def once(*args: P.args, **kwargs: P.kwargs) -> R:
        memory = _memory.get()
        if memory is None:
            return function(*args, **kwargs)
        key = (function, _identity(args), _identity(kwargs))
        if key not in memory:
            memory[key] = function(*args, **kwargs)
        result: R = memory[key]
        return result

    return once


class _Same:
    """A key that is equal only for the same object. It keeps the object alive, so that its id is not used again."""

    def __init__(self, value: object):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value


def _identity(value: Any) -> Hashable:
    if isinstance(value, (list, tuple)):
        return type(value), *map(_identity, value)
    if isinstance(value, Mapping):
        return type(value), *((name, _identity(v)) for name, v in value.items())
    if isinstance(value, functools.partial):
        return functools.partial, _identity(value.func), _identity(value.args), _identity(value.keywords)
    if isinstance(value, Tensor):
        return _value_of_indices(value) or _Same(value)
    try:
        return type(value), hash(value), value
    except TypeError:
        return _Same(value)


def _value_of_indices(tensor: Tensor) -> Hashable:
    """Returns a key by value for tensors such as targets and seeds, which may be new objects in every call."""
    integers = not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_meta)
    return (Tensor, tensor.dtype, tensor.device, str(tensor.tolist())) if integers and tensor.dim() < 2 else None
