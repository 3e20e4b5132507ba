"""Calls of functions that may write into what they are given, so that no tensor of the caller's changes by it."""

from __future__ import annotations

import inspect
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from .home import CPU, HOME, away_from_home, moved

T = TypeVar("T")


class Guard:
    """Calls a function with copies in place of tensors that must stay as they are, such as those that all calls get.

    A copy that a call wrote into is made anew for the next call, so every call gets the same values, and the write is
    warned of once. Other tensors are passed as they are. Where `torch.inference_mode` is on, it is off in the function,
    so that explanations can have gradients.
    """

    def __init__(self, function: Callable[..., Any], name: str, *kept: Any, warned: set[str] | None = None):
        self.function, self.name = function, name
        self.warned = set() if warned is None else warned  # names that were warned of, perhaps by several guards
        self.kept = {id(t): t for t in tensors_in(kept)}
        self.copies: dict[int, tuple[Tensor, int]] = {}  # each with its version when it was made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(replaced(self._passed, a) for a in args)
        kwargs = {name: replaced(self._passed, value) for name, value in kwargs.items()}
        try:
            return without_inference_mode(called, self.function, self.name, *args, **kwargs)
        finally:
            written = [key for key, (copy, made) in self.copies.items() if copy._version != made]
            for key in written:
                del self.copies[key]
            self.note(bool(written))

    def note(self, written: bool) -> None:
        """Warns if something was written to, the first time."""
        if written and self.name not in self.warned:
            self.warned.add(self.name)
            warnings.warn(
                f"{self.name} writes into a tensor that it is given. Your own tensors stay as they are, but what calls "
                "it again with the same tensor may get wrong values. Let it work on a copy (`x = x.clone()`).",
                stacklevel=frames_of_package(),
            )

    def _passed(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self.kept:
            return copied(tensor) if tensor.is_inference() else tensor
        if id(tensor) not in self.copies:
            copy = copied(tensor)
            self.copies[id(tensor)] = copy, copy._version
        return self.copies[id(tensor)][0]


def called(function: Callable[..., T], name: str, /, *args: Any, **kwargs: Any) -> T:
    """Calls the function, and says what it is called with where it does not take that."""
    if (home := HOME.get()) is not None:
        return _called_at(home, function, name, *args, **kwargs)
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        at_the_call = error.__traceback__ is not None and error.__traceback__.tb_next is None
        if wrong := str(error) if at_the_call else _mismatch(function, args, kwargs):
            given = [type(a).__name__ for a in args] + [f"{key}={type(v).__name__}" for key, v in kwargs.items()]
            raise TypeError(f"{name} must take the arguments ({', '.join(given)}), but: {wrong}.") from error
        raise


def _called_at(home: torch.device, function: Callable[..., T], name: str, /, *args: Any, **kwargs: Any) -> T:
    """Calls a function of the caller's on its own device, for a metric that computes on the CPU instead."""
    with away_from_home():  # what the function itself calls is on its device already
        args, kwargs = moved((args, kwargs), home)
        return moved(called(function, name, *args, **kwargs), CPU)


def _mismatch(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Why the arguments do not fit the signature, where a wrapper passes them on; nothing where they do."""
    if isinstance(function, nn.Module):
        function = function.forward
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a built-in
        return ""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return ""


def without_inference_mode(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Calls the function with `torch.inference_mode` off, and leaves it to the caller whether gradients are on."""
    gradients = torch.is_grad_enabled()
    if not torch.is_inference_mode_enabled():
        return function(*args, **kwargs)
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        return function(*args, **kwargs)


def copied(tensor: Tensor) -> Tensor:
    """Returns a copy that has a version counter, which tensors made in `torch.inference_mode` lack."""
    with torch.inference_mode(False), torch.no_grad():
        return tensor.detach().clone().requires_grad_(tensor.requires_grad and tensor.is_leaf)


def replaced(function: Callable[[Tensor], Tensor], value: T) -> T:
    """Returns a value with the tensors in its tuples, lists and dicts replaced; what has none is returned as it is."""
    leaves, form = tree_flatten(value)
    others = [function(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return value if all(a is b for a, b in zip(leaves, others)) else tree_unflatten(others, form)


def tensors_in(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def versions(value: Any) -> list[int]:
    """Returns numbers that grow with every write into the tensors of a value. Those without a counter have none."""
    return [t._version for t in tensors_in(value) if not t.is_inference()]


def frames_of_package() -> int:
    """Returns the `stacklevel` at which a warning points to the line that called this package."""
    return next(
        level
        for level, (frame, _) in enumerate(traceback.walk_stack(sys._getframe(1)), 1)
        if not frame.f_globals.get("__name__", "").startswith(("captum_ext.", "contextlib", "torch.utils._contextlib"))
    )
