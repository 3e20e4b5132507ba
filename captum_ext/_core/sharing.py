"""Work that several metrics share: while `sharing()` is open, equal calls of a function marked `shared` give one and the same object.

Nothing is kept afterwards, and without `sharing()` a marked function is the function itself.
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
    """Within it, equal calls share; one inside another starts anew."""
    token = _memory.set({})
    try:
        yield
    finally:
        _memory.reset(token)


def forget() -> None:
    """What was shared so far is not shared any more: of a result that was drawn at random, everyone needs an own one."""
    memory = _memory.get()
    if memory is not None:
        memory.clear()


def shared(function: Callable[P, R]) -> Callable[P, R]:
    """Equal calls: tensors, models and functions are the same objects, settings and short tensors of integers have the same values."""

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
    """Equal to itself alone. It keeps the object alive, so that no other one gets its place in memory."""

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
    """Targets and seeds may be made anew for every call."""
    integers = not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_meta)
    return (Tensor, tensor.dtype, tensor.device, str(tensor.tolist())) if integers and tensor.dim() < 2 else None
