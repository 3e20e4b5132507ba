"""Functions that take exactly another's arguments: the signature is written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from typing_extensions import ParamSpec

P = ParamSpec("P")
R = TypeVar("R")


def arguments_of(model: Callable[P, R]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """The decorated function is called with all of `model`'s arguments by name, its defaults filled in."""
    return _with_signature(inspect.signature(model))


def arguments_with_defaults(model: Callable[..., R], **defaults: Any) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """As `arguments_of`, with other defaults for some of the arguments."""
    signature = inspect.signature(model)
    parameters = [p.replace(default=defaults.get(p.name, p.default)) for p in signature.parameters.values()]
    return _with_signature(signature.replace(parameters=parameters))


def _with_signature(signature: inspect.Signature) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_arguments(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}(): {error}") from None
            bound.apply_defaults()
            return function(**bound.arguments)

        with_arguments.__signature__ = signature  # type: ignore[attr-defined]
        return with_arguments

    return decorator
