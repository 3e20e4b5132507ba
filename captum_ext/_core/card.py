"""A metric's card: what a table, a plot or a comparison must know about it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
Coordinates = Callable[[dict[str, Any]], Sequence[float] | None]  # from a metric's arguments


@dataclass(frozen=True)
class Card:
    """`range` is that of the scores; `higher_is_better` is None for a curve, which has no better side; `rows` is what a batch of `B`
    examples costs in model rows, in words.
    """

    name: str
    family: str
    higher_is_better: bool | None
    range: tuple[float, float]
    rows: str
    reference: str
    flipped_by: tuple[str, str] | None = None  # (argument, value) that turns the direction around
    axis: tuple[str, Coordinates] | None = None  # of a score with several values, and where these are
    undirected_by: tuple[str, str] | None = None  # (argument, value) that leaves the score without a better side
    takes_mappings: bool = (
        True  # whether the function takes a mapping of methods, which then share the model's evaluations
    )

    def direction(self, arguments: dict[str, Any]) -> bool | None:
        """`higher_is_better` under these arguments."""
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
) -> Callable[[F], F]:
    """Gives a function its card; the function itself stays as it is. Its family is the folder of its file, if no other is given."""

    def with_card(function: F) -> F:
        name, directions = function.__name__, (flipped_by, axis, undirected_by)
        card = Card(
            name,
            family or function.__module__.split(".")[-2],
            higher_is_better,
            range,
            rows,
            reference,
            *directions,
            takes_mappings,
        )
        function.card = card  # type: ignore[attr-defined]
        return function

    return with_card


def card_of(function: Callable[..., Any]) -> Card | None:
    """The card of a metric, however it is configured; None for a function without one."""
    return getattr(configured(function), "card", None)


def name_of(function: Callable[..., Any]) -> str:
    """The name of a metric's function, however it is configured."""
    function = configured(function)
    return getattr(function, "__name__", type(function).__name__)


def configured(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside `functools.partial`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def arguments_of_partial(function: Callable[..., Any]) -> dict[str, Any]:
    """A configured metric's arguments: defaults, and what `functools.partial` set."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
