"""The axes that scores have of their own, beside methods and examples, and the shapes that can be stored."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .._core.card import arguments_of_partial, card_of
from .._core.checks import check_real
from .names import cannot_be_stored

NAMED = 8  # examples in a message
Metric = Callable[..., Any]
Places = list[Any]


def named_axes(metric: Metric, lengths: Sequence[int]) -> list[tuple[str, Places]]:
    """The name and the places of each axis, from the metric's card, or numbered where the card does not know them."""
    card, arguments = card_of(metric), arguments_of_partial(metric)
    axes = [axis for axis in (card.outer_axis, card.axis) if axis is not None] if card is not None and lengths else []
    if len(axes) != len(lengths):
        return [(f"point {i + 1}" if i else "point", list(range(length))) for i, length in enumerate(lengths)]
    made = [(name, places(arguments)) for name, places in axes]
    return [(name, list(range(n) if places is None else places)) for (name, places), n in zip(made, lengths)]


def check_scores(name: str, scores: Any, rows: int, several: bool) -> None:
    """Refuses all but a tensor of real numbers with a row for each example, or a dict of these for several methods."""
    for s in scores.values() if several and isinstance(scores, dict) else [scores]:
        if isinstance(s, Tensor):
            check_real(f"Metric {name!r} of `metrics` must return", s)
        if not isinstance(s, Tensor) or s.dim() == 0 or len(s) != rows or s.numel() == 0:
            got = f"{tuple(s.shape)} of {s.dtype}" if isinstance(s, Tensor) else type(s).__name__
            raise TypeError(
                f"Metric {name!r} of `metrics` must return a tensor of real numbers with a row for each of {rows} "
                f"examples, got {got}."
            )


class SameShapes:
    """Checks, batch by batch, that all methods and examples have equally many values of a metric."""

    def __init__(self, metrics: Mapping[str, Metric]):
        self.metrics = metrics
        self.lengths: dict[str, tuple[int, ...]] = {}

    def check(self, name: str, scores: Mapping[str, Tensor], examples: Sequence[int]) -> None:
        for method, of_method in scores.items():
            lengths = tuple(of_method.shape[1:])
            if name not in self.lengths:
                axes = named_axes(self.metrics[name], lengths)
                check_places(name, axes, lengths)
                self._check_labels(name, axes)
            if lengths != self.lengths.setdefault(name, lengths):
                raise other_lengths(name, self.lengths[name], lengths, f"method {method!r} on {spanned(examples)}")

    def _check_labels(self, name: str, axes: Sequence[tuple[str, Places]]) -> None:
        """Refuses a metric that is named like this one at one of its places, as tables and figures name it."""
        likely = [other for other in self.metrics if other.startswith(f"{name} (")]
        for places in itertools.product(*(places for _, places in axes)) if likely else ():
            label = with_place(name, place_label([axis for axis, _ in axes], places))
            if label in likely:
                raise ValueError(
                    f"`metrics` has the name {label!r}, by which tables and figures show one of the values of metric "
                    f"{name!r}. Choose another name."
                )


def check_places(name: str, axes: Sequence[tuple[str, Places]], lengths: Sequence[int]) -> None:
    """Refuses axes of a metric's card that do not fit its scores, or that cannot be stored."""
    for i, ((axis, places), length) in enumerate(zip(axes, lengths)):
        kinds = "iufU" if i < len(axes) - 1 else "iuf"  # only the last axis must be one to draw
        array = np.array(places)
        if len(places) != length or array.ndim != 1 or array.dtype.kind not in kinds:
            raise TypeError(
                f"Metric {name!r} of `metrics` has {length} values on its axis {axis!r}, so its card must give "
                f"{length} numbers as their places, got {places!r}."
            )
        for text in (axis, *(places if array.dtype.kind == "U" else ())):
            if why := cannot_be_stored(text):
                raise ValueError(f"Metric {name!r} of `metrics` has the axis or place {text!r}, {why}.")


def common_lengths(name: str, shapes: Sequence[tuple[int, ...]], examples: Sequence[range]) -> None:
    """Refuses scores whose shards, of these shapes and examples, have different numbers of values."""
    for lengths, at in zip(shapes, examples):
        if lengths != shapes[0]:
            raise other_lengths(name, shapes[0], lengths, spanned(at))


def other_lengths(name: str, before: tuple[int, ...], lengths: tuple[int, ...], where: str) -> TypeError:
    return TypeError(
        f"Metric {name!r} of `metrics` must return equally many values for all examples and methods: for each "
        f"example it gave values of shape {before} at first, and of shape {lengths} for {where}. Fill up what is short "
        "with NaN."
    )


def plain_axis(axis: str) -> str:
    """Without the metric's name, which an axis has where two metrics are on different grids."""
    return axis.split(" (")[0]


def place_label(axes: Sequence[str], places: Sequence[Any]) -> str:
    """As in "order=morf"."""
    return ", ".join(f"{plain_axis(axis)}={_text(place)}" for axis, place in zip(axes, places))


def _text(place: Any) -> str:
    """Whole numbers with all their digits."""
    return place if isinstance(place, str) else f"{place:.15g}" if place % 1 == 0 else f"{place:g}"


def with_place(name: str, place: str) -> str:
    """As in "curves (order=morf)"."""
    return f"{name} ({place})" if place else name


def spanned(examples: Sequence[int]) -> str:
    """As in "examples 4 to 7", or "examples 4, 17, 9" where their order was shuffled."""
    if list(examples) == list(range(examples[0], examples[0] + len(examples))):
        return f"examples {examples[0]} to {examples[-1]}"
    more = f" and {len(examples) - NAMED} more" if len(examples) > NAMED else ""
    return f"examples {', '.join(map(str, examples[:NAMED]))}{more}"
