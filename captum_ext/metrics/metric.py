"""The decorator that makes a function of one's own a metric of the package."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .._core.card import Coordinates
from .._core.card import metric as with_card

F = TypeVar("F", bound=Callable[..., Any])
EXPLANATIONS = ("attributions", "explanation_func", "explanation_factory")


def metric(
    *,
    higher_is_better: bool | None,
    range: tuple[float, float] = (float("-inf"), float("inf")),
    family: str = "own",
    rows: str = "not stated",
    reference: str = "not stated",
    axis: tuple[str, Coordinates] | None = None,
    takes_mappings: bool = False,
) -> Callable[[F], F]:
    """Makes a function of your own a metric: it takes several methods by name, and tables and plots know which way is better.

    `captum_ext.evaluate` runs any function with such arguments over a data set, on many devices, and keeps its scores. With this card the scores
    are ranked, compared and drawn as those of the package's own metrics are.

    The function takes `inputs` and `attributions` (or `explanation_func`, `explanation_factory`) by name, whatever else it needs of Captum's
    arguments (`forward_func`, `target`, `additional_forward_args`), and returns a tensor with a row per example. If it draws, it takes a
    `seed`, which may be a list with one for each example.

    Args:
        higher_is_better: True or False; None for a curve, which is drawn but not ranked.
        range: the least and the largest score.
        family: a heading to list it under.
        rows: what a batch of `B` examples costs in model rows, in words.
        reference: where it is from.
        axis: for several values an example `[B, points]`: the axis' name, and a function from the arguments to where the points are.
        takes_mappings: whether the function itself takes a mapping name -> attributions; by default it is called with one after the other.

    Returns:
        a decorator. The decorated function takes what the function takes, and for `attributions` also a mapping name -> attributions, which
        gives a mapping name -> scores.

    Raises:
        TypeError: a function that takes no explanation; `higher_is_better` that is neither a truth value nor None.

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
    )

    def decorator(function: F) -> F:
        takes = inspect.signature(function).parameters
        if not set(EXPLANATIONS) & set(takes):
            raise TypeError(
                f"A metric must take {' or '.join(f'`{name}`' for name in EXPLANATIONS)} by name; "
                f"{function.__name__} takes {', '.join(takes) or 'nothing'}."
            )
        return card(function if takes_mappings or "attributions" not in takes else _one_by_one(function))

    return decorator


def _one_by_one(function: F) -> F:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def of_one_or_several(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs)
        several = arguments.arguments.get("attributions")
        if not isinstance(several, Mapping):
            return function(*args, **kwargs)
        scores = {}
        for name, attributions in several.items():
            arguments.arguments["attributions"] = attributions
            scores[name] = function(*arguments.args, **arguments.kwargs)
        return scores

    return of_one_or_several  # type: ignore[return-value]
