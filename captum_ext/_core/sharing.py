"""Lets metrics share work: within `sharing()`, what has an equal key is made once, and then the same object.

Nothing is kept afterwards. Outside of `sharing()`, everything is made at every call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from typing_extensions import ParamSpec

from .home import HOME
from .training import model_behind

P = ParamSpec("P")
R = TypeVar("R")

T = TypeVar("T")

KEPT = 2**18  # numbers of a batch's outputs, which are kept beside inputs of any size

_memory: ContextVar[dict[Hashable, Any] | None] = ContextVar("_memory", default=None)
_outputs: ContextVar[dict[Hashable, Any] | None] = ContextVar("_outputs", default=None)
_measures: ContextVar[tuple[Any, ...]] = ContextVar("_measures", default=())


@contextmanager
def sharing(measures: Iterable[Any] = ()) -> Iterator[None]:
    """Lets equal calls share their result within the block. A block inside another one shares nothing with it.

    `measures` says what metrics in the block will measure of things that are not kept, such as explanations of
    perturbed copies: the first one that makes them measures it for the others too.
    """
    with _set(_memory, {}), _set(_outputs, {}), _set(_measures, tuple(measures)):
        yield


@contextmanager
def sharing_outputs() -> Iterator[None]:
    """Lets the calls in the block share the model's outputs for inputs as they are, and nothing else.

    Within `sharing()` they are shared already.
    """
    with _set(_outputs, {} if _outputs.get() is None else _outputs.get()):
        yield


@contextmanager
def sharing_nothing() -> Iterator[None]:
    """Lets nothing in the block be shared: code of others may change a model or a tensor between two calls."""
    with _set(_memory, None), _set(_outputs, None), _set(_measures, ()):
        yield


@contextmanager
def _set(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def wanted(kind: type[T]) -> list[T]:
    """Returns the measures of this kind that metrics in the block will ask for."""
    return [measure for measure in dict.fromkeys(_measures.get()) if isinstance(measure, kind)]


def forget() -> None:
    """Drops what was shared so far, for results that were drawn at random: each caller needs a draw of its own."""
    for memory in (_memory.get(), _outputs.get()):
        if memory is not None:
            memory.clear()


def shared(function: Callable[P, R]) -> Callable[P, R]:
    """Marks a function whose result equal calls share within `sharing()`.

    Calls are equal if tensors, models and functions are the same objects, nothing was written into them or the models'
    weights, and settings and integer tensors with at most one axis have equal values.
    """

    @functools.wraps(function)
    def once(*args: P.args, **kwargs: P.kwargs) -> R:
        return shared_as((function, args, kwargs), lambda: function(*args, **kwargs))

    return once


def shared_by_seed(function: Callable[P, R]) -> Callable[P, R]:
    """The same for a function that draws: without a `seed`, which is given by name, each call has draws of its own."""
    once = shared(function)

    @functools.wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        return (function if kwargs["seed"] is None else once)(*args, **kwargs)

    return drawn


def shared_as(key: Any, make: Callable[[], T]) -> T:
    """Returns what was made for an equal key within `sharing()`, or else what `make` returns.

    Keys are equal as the arguments of calls are.
    """
    memory = _memory.get()
    if memory is None:
        return make()
    identity = _identity(key)
    if identity not in memory:
        memory[identity] = make()
    found: T = memory[identity]
    return found


def outputs_for(
    forward_func: Any, inputs: tuple[Tensor, ...], args: tuple[Any, ...], make: Callable[[], Iterator[Tensor]]
) -> Iterable[Tensor] | None:
    """Returns the model's outputs for these inputs, in one or several parts; None where outputs are not shared.

    They must not be written into. Tensors are equal here if they are the same memory. Outputs that are large beside the
    inputs are not kept for the next call, but made again, one part at a time.
    """
    memory = _outputs.get()
    if memory is None or HOME.get() is not None:  # each metric moves the inputs to the CPU anew
        return None
    given = [[SameValues(v) if isinstance(v, Tensor) else v for v in values] for values in (inputs, args)]
    identity = _identity((forward_func, *given))
    if identity not in memory:
        first = next(outputs := make())
        if first[0].numel() * len(inputs[0]) > most_kept(inputs):
            return chain([first], outputs)
        memory[identity] = [first, *outputs]
    found: list[Tensor] = memory[identity]
    return found


def most_kept(inputs: tuple[Tensor, ...]) -> int:
    """Returns how many numbers of outputs may be kept beside these inputs."""
    return max(KEPT, sum(t.numel() for t in inputs))


def is_sharing() -> bool:
    return _memory.get() is not None


def remember(key: Any, value: Any) -> None:
    """Shares a value that was made elsewhere."""
    shared_as(key, lambda: value)


def key_of(explanation: Any, inputs: Any, kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Returns the key under which the maps of `inputs` are shared."""
    return "explanation", explanation, inputs, sorted(kwargs.items())


def made_of(explanation_factory: Any, model: Any) -> tuple[Any, ...]:
    """Returns what stands in a key for the explanation that a factory makes of a model."""
    return "made of", explanation_factory, model


class _Same:
    """A key that is equal only for the same object. It keeps the object alive, so that its id is not used again."""

    def __init__(self, value: object):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value


class SameValues:
    """A key that is equal for tensors that are the same memory, such as a tensor and what `detach` makes of it.

    After a write into the memory it is another one. It keeps the memory alive, so that no other tensor gets its place.
    """

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        form = tensor.dtype, tensor.device, tensor.shape, tensor.layout
        known = not tensor.is_meta and tensor.layout == torch.strided and tensor.numel() > 0
        place = (tensor.data_ptr(), tensor.stride()) if known else id(tensor)
        self.key = form, place, None if tensor.is_inference() else tensor._version

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameValues) and other.key == self.key


def _identity(value: Any) -> Hashable:
    if isinstance(value, (list, tuple)):
        return type(value), *map(_identity, value)
    if isinstance(value, Mapping):
        return type(value), *((name, _identity(v)) for name, v in value.items())
    if isinstance(value, functools.partial):
        return functools.partial, _identity(value.func), _identity(value.args), _identity(value.keywords)
    if isinstance(value, Tensor):
        return _value_of_indices(value) or (_Same(value), None if value.is_inference() else value._version)
    try:
        return type(value), hash(value), value, _state_of(value)
    except TypeError:
        return _Same(value)


def _state_of(value: Any) -> Hashable:
    """The parameters and buffers of the model behind a function: after a write into them, the function is another."""
    model = model_behind(value) if callable(value) else None
    tensors = () if model is None else (*model.parameters(), *model.buffers())
    return tuple(SameValues(t) for t in tensors if not is_lazy(t))


def _value_of_indices(tensor: Tensor) -> Hashable:
    """Returns a key by value for tensors such as targets and seeds, which may be new objects in every call."""
    integers = not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_meta)
    return (Tensor, tensor.dtype, tensor.device, str(tensor.tolist())) if integers and tensor.dim() < 2 else None
