"""The decorator that turns a user's function into a metric."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .._core.card import Coordinates, name_of
from .._core.card import metric as with_card
from .._core.checks import EXPLANATIONS
from .._core.guard import Guard

F = TypeVar("F", bound=Callable[..., Any])


def metric(
    *,
    higher_is_better: bool | None,
    range: tuple[float, float] = (float("-inf"), float("inf")),
    family: str = "own",
    rows: str = "not stated",
    reference: str = "not stated",
    axis: tuple[str, Coordinates] | None = None,
    takes_mappings: bool = False,
    outer_axis: tuple[str, Coordinates] | None = None,
) -> Callable[[F], F]:
    """Turns your own function into a metric: it takes several methods, and tables and plots know which way is better.

    `captum_ext.evaluate` runs any function with such arguments over a data set, on many devices, and keeps its scores.
    With the decorator, the scores are also ranked, compared and drawn like those of the package's own metrics.

    The function takes `inputs` and `attributions` (or `explanation_func`, `explanation_factory`) by name, and whatever
    else it needs of Captum's arguments (`forward_func`, `target`, `additional_forward_args`). It returns a tensor with
    a row per example. If it uses random numbers it takes a `seed`, which may be a list with one seed for each example.

    Args:
        higher_is_better: True or False, or None for a curve, which is drawn but not ranked.
        range: the smallest and the largest possible score.
        family: the heading to list the metric under.
        rows: what a batch of `B` examples costs in model rows, in words.
        reference: the paper or other source of the metric.
        axis: for several values per example `[B, points]`: the name of the axis, and a function that maps the arguments
            to the positions of the points.
        takes_mappings: whether the function itself takes a mapping name -> attributions. By default it is called once
            per method.
        outer_axis: for `[B, curves, points]`: the same for the axis of the curves, whose positions may be names.

    Returns:
        A decorator. The decorated function takes the same arguments. Its `attributions` may also be a mapping name ->
        attributions, for which it returns a mapping name -> scores.

    Raises:
        TypeError: a function that takes no explanation; a `higher_is_better` other than True, False or None.

    Example:
        >>> @metric(higher_is_better=False, range=(0, 1))
        ... def largest_share(inputs, attributions):
        ...     size = attributions.abs().flatten(1)
        ...     return size.amax(1) / size.sum(1)
        >>> phi = torch.tensor([[1.0, 3.0]])
        >>> largest_share(phi, {"given": phi, "even": torch.ones(1, 2)})
        {'given': tensor([0.7500]), 'even': tensor([0.5000])}
    """
    if not (higher_is_better is None or isinstance(higher_is_better, bool)):
        raise TypeError(f"`higher_is_better` must be True, False or, for a curve, None; got {higher_is_better!r}.")
    card = with_card(
        family=family,
        higher_is_better=higher_is_better,
        range=range,
        rows=rows,
        reference=reference,
        axis=axis,
        takes_mappings=takes_mappings,
        outer_axis=outer_axis,
    )

    def decorator(function: F) -> F:
        takes = inspect.signature(function).parameters
        if not set(EXPLANATIONS) & set(takes):
            raise TypeError(
                f"A metric must take {' or '.join(f'`{name}`' for name in EXPLANATIONS)} by name; "
                f"{name_of(function)} takes {', '.join(takes) or 'nothing'}."
            )
        return card(function if takes_mappings or "attributions" not in takes else _one_method_at_a_time(function))

    return decorator


def _one_method_at_a_time(function: F) -> F:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def of_one_or_several(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs)
        guarded = Guard(function, f"The metric {name_of(function)}", args, kwargs)
        several = arguments.arguments.get("attributions")
        if not isinstance(several, Mapping):
            return guarded(*args, **kwargs)
        scores = {}
        for name, attributions in several.items():
            arguments.arguments["attributions"] = attributions
            scores[name] = guarded(*arguments.args, **arguments.kwargs)
        return scores

    of_one_or_several.__name__ = name_of(function)  # which an object with `__call__` does not have
    return of_one_or_several  # type: ignore[return-value]
