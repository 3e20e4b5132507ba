"""A metric's card: what a table, a plot or a comparison must know about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Card:
    name: str
    higher_is_better: bool | None  # None: a curve, which has no better side
    range: tuple[float, float]
    reference: str
    flipped_by: tuple[str, str] | None = None  # (argument, value) that turns the direction around

    def direction(self, **arguments: Any) -> bool | None:
        """`higher_is_better` under these arguments."""
        flipped = self.flipped_by is not None and arguments.get(self.flipped_by[0]) == self.flipped_by[1]
        return self.higher_is_better if self.higher_is_better is None else self.higher_is_better != flipped


def metric(
    higher_is_better: bool | None, range: tuple[float, float], reference: str, flipped_by: tuple[str, str] | None = None
) -> Callable[[F], F]:
    """Gives a function its card; the function itself stays as it is."""

    def with_card(function: F) -> F:
        function.card = Card(function.__name__, higher_is_better, range, reference, flipped_by)  # type: ignore[attr-defined]
        return function

    return with_card
