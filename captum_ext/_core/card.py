"""The card of a metric: what tables, plots and comparisons must know about it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .arguments import as_sequence
from .checks import check_count, module_of
from .checks import configured as configured
from .home import in_float64
from .references import over_references
from .signature import with_rows_explained

F = TypeVar("F", bound=Callable[..., Any])
# Makes the coordinates of an axis from the arguments of a metric.
Coordinates = Callable[[dict[str, Any]], Sequence[float] | Sequence[str] | None]

Measures = Callable[[dict[str, Any]], Sequence[Any]]


@dataclass(frozen=True)
class Card:
    """What is known about a metric.

    Args:
        higher_is_better: None for a curve, which has no better side.
        range: the smallest and the largest score.
        rows: how many model rows a batch of `B` examples costs, in words.
        flipped_by: `(argument, value)` that reverses the direction.
        undirected_by: `(argument, value)` that leaves the score without a better side.
        axis: for a score with several values per example, the name of their axis and a function that makes its
            coordinates from the arguments.
        outer_axis: for a score with several such rows of values per example, the same for the axis before it.
        takes_mappings: whether the function takes a mapping of methods, which then share the model's evaluations.
        relative: whether the score has no bounds and yet does not grow with the output, as a ratio of outputs.
        measures: makes, from the arguments, what the metric measures of things that are not kept, see `sharing`.
    """

    name: str
    family: str
    higher_is_better: bool | None
    range: tuple[float, float]
    rows: str
    reference: str
    flipped_by: tuple[str, str] | None = None
    axis: tuple[str, Coordinates] | None = None
    undirected_by: tuple[str, str] | None = None
    takes_mappings: bool = True
    relative: bool = False
    outer_axis: tuple[str, Coordinates] | None = None
    measures: Measures | None = None

    @property
    def on_scale_of_output(self) -> bool:
        return not self.relative and math.inf in map(abs, self.range)

    def direction(self, arguments: dict[str, Any]) -> bool | None:
        """Returns `higher_is_better` under these arguments."""
        if self.higher_is_better is None or _has(arguments, self.undirected_by):
            return None
        return self.higher_is_better != _has(arguments, self.flipped_by)


def _has(arguments: dict[str, Any], setting: tuple[str, str] | None) -> bool:
    return setting is not None and arguments.get(setting[0]) == setting[1]


def metric(
    *,
    higher_is_better: bool | None,
    range: tuple[float, float],
    rows: str,
    reference: str,
    family: str | None = None,
    flipped_by: tuple[str, str] | None = None,
    axis: tuple[str, Coordinates] | None = None,
    undirected_by: tuple[str, str] | None = None,
    takes_mappings: bool = True,
    relative: bool = False,
    outer_axis: tuple[str, Coordinates] | None = None,
    measures: Measures | None = None,
) -> Callable[[F], F]:
    """Gives a function its card. By default its family is the folder of its file.

    The docstrings of this package's own metrics also get what they all say of further arguments.
    """

    def with_card(function: F) -> F:
        function.card = Card(  # type: ignore[attr-defined]
            name=name_of(function),
            family=family or function.__module__.split(".")[-2],
            higher_is_better=higher_is_better,
            range=range,
            rows=rows,
            reference=reference,
            flipped_by=flipped_by,
            axis=axis,
            undirected_by=undirected_by,
            takes_mappings=takes_mappings,
            relative=relative,
            outer_axis=outer_axis,
            measures=measures,
        )
        if family is None:  # a metric of this package
            function.__doc__ = with_rows_explained(function)
            return in_float64(over_references(function))
        return function

    return with_card


def card_of(function: Callable[..., Any]) -> Card | None:
    """Returns the card of a metric, also of one configured by `functools.partial`; None where there is no card."""
    return getattr(configured(function), "card", None)


def measures_of(function: Callable[..., Any]) -> Sequence[Any]:
    """Returns what a configured metric measures; nothing where its arguments are wrong, which it says when called."""
    card = card_of(function)
    if card is None or card.measures is None:
        return []
    try:
        return card.measures(arguments_of_partial(function))
    except (TypeError, ValueError, KeyError):
        return []


def name_of(function: Callable[..., Any]) -> str:
    """Returns the name of a metric's function, also of one configured by `functools.partial`."""
    function = configured(function)
    return getattr(function, "__name__", type(function).__name__)


def arguments_of_partial(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the arguments of a configured metric: its defaults, and what `functools.partial` sets."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def of_seeds_alone(perturb_func: Any) -> bool:
    """Whether this is one of `captum_ext.perturbations`, whose results follow from rows, seeds and settings."""
    function = configured(perturb_func)
    return module_of(function) == "captum_ext.perturbations" and not hasattr(function, "__wrapped__")


def seed_set_in(perturb_func: Any) -> int | None:
    """The one seed for all rows that `functools.partial` has set in one of `captum_ext.perturbations`, if any."""
    seed = arguments_of_partial(perturb_func).get("seed") if of_seeds_alone(perturb_func) else None
    seeds, single = as_sequence("seed", seed) if seed is not None else ([], False)
    return check_count("seed", seeds[0], least=0, most=math.inf) if single else None
