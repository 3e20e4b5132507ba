"""Functions that take another's arguments: the signature is written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from typing_extensions import ParamSpec

P = ParamSpec("P")
R = TypeVar("R")


def arguments_of(model: Callable[P, R]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """The decorated function is called with all of `model`'s arguments by name, its defaults filled in."""
    return _with_signature(lambda function: inspect.signature(model))


def arguments_with_defaults(model: Callable[..., R], **defaults: Any) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """As `arguments_of`, with other defaults for some of the arguments."""
    signature = inspect.signature(model)
    parameters = [p.replace(default=defaults.get(p.name, p.default)) for p in signature.parameters.values()]
    return _with_signature(lambda function: signature.replace(parameters=parameters))


def arguments_like(
    model: Callable[..., R], without: Collection[str] = ()
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """As `arguments_of`, without some of the arguments, and with those of the function itself that have a default, by keyword."""

    def signature(function: Callable[..., R]) -> inspect.Signature:
        kept = [p for p in inspect.signature(model).parameters.values() if p.name not in without]
        own = [p for p in inspect.signature(function).parameters.values() if p.default is not p.empty]
        return inspect.Signature([*kept, *(p.replace(kind=p.KEYWORD_ONLY) for p in own)])

    return _with_signature(signature)


def _with_signature(
    signature_of: Callable[[Callable[..., Any]], inspect.Signature],
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    def decorator(function: Callable[..., R]) -> Callable[..., R]:
        signature = signature_of(function)

        @functools.wraps(function)
        def with_arguments(*args: Any, **kwargs: Any) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}(): {error}") from None
            bound.apply_defaults()
            return function(**bound.arguments)

        with_arguments.__signature__ = signature  # type: ignore[attr-defined]
        return with_arguments

    return decorator
