"""Functions that take the arguments of another function, so that a shared signature is written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

R = TypeVar("R")
LIMIT = "max_examples_per_batch"
OF_ROWS = """

    A tensor in `additional_forward_args` whose first axis is as long as the batch is taken to have a row per example,
    which goes with each copy of the example. What all examples share, such as the edges of a graph, may happen to be as
    long: set it in the model, ``functools.partial(model, edges=edges)``."""


def arguments_like(
    model: Callable[..., Any], without: Collection[str] = (), after: Mapping[str, str] | None = None, **defaults: Any
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Lets the decorated function take the arguments of `model` beside its own.

    The function itself is called with all of them by name, with defaults filled in. An argument that both have keeps
    its place in `model`, and also its default, unless the function has one. An argument of only the function goes where
    this package usually has it: `forward_func` first, a required one after the last required one, and one with a
    default before `max_examples_per_batch`.

    Args:
        without: arguments of `model` that the function does not take.
        after: other places for the function's own arguments, own name -> name of the argument before it.
        defaults: other defaults for arguments of `model`.
    """

    def decorator(function: Callable[..., R]) -> Callable[..., R]:
        signature = _merged(inspect.signature(model), inspect.signature(function), without, after or {}, defaults)
        rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")

        @functools.wraps(function)
        def with_arguments(*args: Any, **kwargs: Any) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}(): {error}") from None
            bound.apply_defaults()
            further = bound.arguments.pop(rest, {})
            return function(**bound.arguments, **further)

        with_arguments.__signature__ = signature  # type: ignore[attr-defined]
        return with_arguments

    return decorator


def with_rows_explained(function: Callable[..., Any]) -> str | None:
    """Returns the docstring of a metric, with what happens to further arguments of the model if it takes them."""
    takes, doc = inspect.signature(function).parameters, function.__doc__
    if doc is None or not {"additional_forward_args", "kwargs"} & takes.keys() or OF_ROWS in doc:
        return doc
    above, returns, below = doc.partition("\n\n    Returns:")
    return above + OF_ROWS + returns + below


def _merged(
    model: inspect.Signature,
    function: inspect.Signature,
    without: Collection[str],
    after: Mapping[str, str],
    defaults: dict[str, Any],
) -> inspect.Signature:
    merged = [p.replace(default=defaults.get(p.name, p.default)) for p in model.parameters.values()]
    merged = [p for p in merged if p.name not in without]
    shared = _names(merged)
    for own in function.parameters.values():
        if own.name in shared:
            place = _names(merged).index(own.name)
            merged[place] = merged[place] if own.default is own.empty else merged[place].replace(default=own.default)
        elif own.kind is not own.VAR_KEYWORD:
            merged.insert(_names(merged).index(after[own.name]) + 1 if own.name in after else _place(own, merged), own)
    return inspect.Signature(sorted(merged, key=lambda p: p.kind), return_annotation=function.return_annotation)


def _place(own: inspect.Parameter, among: list[inspect.Parameter]) -> int:
    if own.kind is own.KEYWORD_ONLY:
        return len(among)  # sorting by kind puts it after the positional ones anyway
    if own.name == "forward_func":
        return 0
    if own.default is own.empty:
        return 1 + max((i for i, p in enumerate(among) if p.default is p.empty and p.kind is own.kind), default=-1)
    return _names(among).index(LIMIT) if LIMIT in _names(among) else len(among)


def _names(parameters: list[inspect.Parameter]) -> list[str]:
    return [p.name for p in parameters]
