"""What is to be decided before an evaluation stops, as plain values that JSON can hold."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import xarray as xr

from .._core.card import arguments_of_partial, card_of, configured
from .._core.checks import check_choice, check_fraction, describe
from .axes import place_label
from .methods import random_attribution
from .score import label, own_axes

KINDS = ("best", "ranking", "control")
ALPHA, WITHIN = 0.05, 0.05
Comparison = tuple[int, int, float]  # a method, another, and the share of the first one's lead over the control


@dataclass(frozen=True)
class Question:
    """What is to be decided for a score: a metric, at one place of its own axes if it has any."""

    metric: str
    index: int  # of the metric among all
    place: tuple[int, ...]
    axis: str | None  # and the place in the axis's own unit, as tables have them
    at: float | None
    higher_is_better: bool
    until: str = "best"

    @property
    def label(self) -> str:
        return label(self.metric, self.axis, self.at)


@dataclass(frozen=True)
class Rule:
    """What is to be decided, how surely, and of which methods; `control` is the number of one of them."""

    until: str  # as it was asked for: one of `KINDS`, or a mapping in JSON
    questions: tuple[Question, ...]
    methods: tuple[str, ...]
    control: int | None
    alpha: float
    within: float
    pairs: int  # by which alpha is divided
    groups: tuple[int, ...] | None = None  # the number of each example's group, in the order of evaluation

    @property
    def near_ties(self) -> bool:
        """Whether a best method may be worse than another by a share of its lead over the control."""
        return self.control is not None and self.within > 0

    def one_sided(self, question: Question) -> bool:
        return question.until == "best" and self.near_ties

    def comparisons(self, question: Question) -> list[Comparison]:
        methods, control = range(len(self.methods)), self.control
        if question.until == "control" and control is not None:
            return [(i, control, 0.0) for i in methods if i != control]
        if not self.one_sided(question):
            return [(i, j, 0.0) for i, j in combinations(methods, 2)]
        return [(i, j, 0.0 if control in (i, j) else self.within) for i, j in permutations(methods, 2)]

    def tests(self) -> set[tuple[Any, ...]]:
        """Every test that the rule makes, by the order of its methods if it has one."""
        return {
            (q.label, one_sided, *((i, j) if one_sided else sorted((i, j))), share)
            for q in self.questions
            for one_sided in [self.one_sided(q)]
            for i, j, share in self.comparisons(q)
        }

    def covers(self, other: Rule) -> bool:
        """Whether the chance of a false decision by this rule includes that of the other one."""
        return other.alpha <= self.alpha and other.groups == self.groups and other.tests() <= self.tests()

    def as_plain(self) -> dict[str, Any]:
        return asdict(self)


def rule_from(plain: Mapping[str, Any]) -> Rule:
    """The rule that `as_plain` described, also after JSON has made lists of its tuples."""
    questions = tuple(Question(**{**q, "place": tuple(q["place"])}) for q in plain["questions"])
    groups = None if plain["groups"] is None else tuple(plain["groups"])
    return Rule(**{**plain, "questions": questions, "methods": tuple(plain["methods"]), "groups": groups})


def rule_of(
    until: Any, alpha: Any, within: Any, open: Sequence[Question], methods: Sequence[str], control: int | None
) -> Rule:
    """The rule that a caller asks for, of the scores that may be asked for."""
    alpha, within = check_fraction("alpha", alpha, open_ends=True), check_fraction("within", within)
    if not isinstance(until, str) and not (isinstance(until, Mapping) and until):
        raise TypeError(
            f"`until` must be {', '.join(map(repr, KINDS))}, a mapping from metrics to one of these, or None; "
            f"got {describe(until)}."
        )
    if not open:
        raise ValueError(
            "`until` needs a metric with a better side (`higher_is_better`), and `metrics` has none. Curves have none: "
            "evaluate their areas too, such as `deletion` beside `deletion_curve`."
        )
    if len(methods) < 2:
        raise ValueError(f"`until` needs at least two of `methods` to compare, got {methods[0]!r} alone.")
    questions = tuple(dict.fromkeys(_questions(until, open)))  # a metric and one of its values may both be named
    if control is None and any(q.until == "control" for q in questions):
        raise ValueError(
            '`until` asks for a comparison with the "control", but `methods` has none. Add it: '
            '{..., "random": captum_ext.random_attribution}.'
        )
    asked = until if isinstance(until, str) else json.dumps(dict(until))
    rule = Rule(asked, questions, tuple(methods), control, alpha, within, pairs=0)
    return replace(rule, pairs=sum(_pairs(rule, q) for q in questions))


def _pairs(rule: Rule, question: Question) -> int:
    """Two one-sided comparisons are one pair, as their thresholds allow each half of alpha."""
    return len(rule.comparisons(question)) // (2 if rule.one_sided(question) else 1)


def _questions(until: str | Mapping[Any, Any], open: Sequence[Question]) -> Iterator[Question]:
    if isinstance(until, str):
        check_choice("until", until, KINDS)
        yield from (replace(q, until=until) for q in open)
        return
    known = list(dict.fromkeys(name for q in open for name in (q.metric, q.label)))
    for name, kind in until.items():
        if name not in known:
            raise ValueError(
                f"`until` must name metrics with a better side, or one of their values, {', '.join(map(repr, known))}; "
                f"got {name!r}."
            )
        check_choice(f"until[{name!r}]", kind, KINDS)
        yield from (replace(q, until=kind) for q in open if name in (q.metric, q.label))


def questions_of_metrics(metrics: Mapping[str, Callable[..., Any]]) -> list[Question]:
    """Every score with a direction that these metrics will have, as far as their cards say it."""
    found: list[Question] = []
    for index, (name, metric) in enumerate(metrics.items()):
        card, arguments = card_of(metric), arguments_of_partial(metric)
        direction = None if card is None else card.direction(arguments)
        if card is not None and direction is not None:
            axes = [(axis, places(arguments)) for axis, places in filter(None, (card.outer_axis, card.axis))]
            known = [] if any(places is None for _, places in axes) else axes
            found += _at_each_place(name, index, direction, known)
    return found


def questions_of_dataset(dataset: xr.Dataset) -> list[Question]:
    """Every score with a direction of these results; the numbers of metrics are those of the variables."""
    found: list[Question] = []
    for index, (name, variable) in enumerate(dataset.data_vars.items()):
        if (direction := variable.attrs.get("higher_is_better")) is not None:
            axes = [(axis, variable[axis].values.tolist()) for axis in own_axes(variable)]
            found += _at_each_place(str(name), index, bool(direction), axes)
    return found


def _at_each_place(name: str, index: int, direction: bool, axes: Sequence[tuple[str, Any]]) -> Iterator[Question]:
    if not axes:
        yield Question(name, index, (), None, None, direction)
        return
    *outer, last = [axis for axis, _ in axes]
    for places in itertools.product(*(enumerate(places) for _, places in axes)):
        axis = ", ".join(filter(None, [place_label(outer, [at for _, at in places[:-1]]), last]))
        yield Question(name, index, tuple(i for i, _ in places), axis, float(places[-1][1]), direction)


def control_of(methods: Mapping[str, Any]) -> int | None:
    """The number of the method that is `random_attribution`, or else of the one that is called "random"."""
    is_control = [configured(m) is random_attribution if callable(m) else False for m in methods.values()]
    return is_control.index(True) if any(is_control) else control_named("random", methods)


def control_named(name: str | None, methods: Iterable[str]) -> int | None:
    found = list(methods)
    return found.index(name) if name in found else None


def values_at(scores: np.ndarray[Any, Any], question: Question) -> np.ndarray[Any, Any]:
    """`[methods, examples]`, from `[methods, examples, ...]`: NaN where undefined, turned so that more is better."""
    own = scores.shape[2:]
    if not own and question.place:  # the metric failed for all methods, so its axes are missing
        return np.full(scores.shape, np.nan)
    if len(own) != len(question.place) or any(i >= n for i, n in zip(question.place, own)):
        raise ValueError(
            f"`until` asks for metric {question.metric!r}, which has {own} values an example that its card does not "
            "name. Give it an `axis` whose places the arguments tell, or name other metrics in `until`."
        )
    at: Any = (..., *question.place)
    values = scores[at].astype(np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    return values if question.higher_is_better else -values
