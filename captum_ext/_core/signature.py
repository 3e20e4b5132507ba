"""Functions that take exactly another's arguments: the signature is written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

from typing_extensions import ParamSpec

P = ParamSpec("P")
R = TypeVar("R")


def arguments_of(model: Callable[P, R]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """The decorated function is called with all of `model`'s arguments by name, its defaults filled in."""
    signature = inspect.signature(model)

    def decorator(function: Callable[..., R]) -> Callable[P, R]:
        @functools.wraps(function)
        def with_arguments(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}(): {error}") from None
            bound.apply_defaults()
            return function(**bound.arguments)

        with_arguments.__signature__ = signature  # type: ignore[attr-defined]
        return with_arguments

    return decorator
