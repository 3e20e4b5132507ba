"""In which order examples are evaluated, which of them belong together, and what is decided before the run stops."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from .._core.checks import check_choice, check_fraction, check_integer, describe, plain
from .names import cannot_be_stored
from .score import GROUP
from .stop_rule import Rule, control_of, questions_of_metrics, rule_of
from .store import ShardStore
from .verdict import UNFINISHED, attributes_of

ORDERS = ("given", "shuffled")
Label = int | str


@dataclass(frozen=True)
class Course:
    """The course of a run through its data set; None for what the caller left out."""

    rule: Rule | None
    labels: list[Label] | None  # of each example's group
    order: list[int] | None
    control: str | None  # a method's name

    def labelled(self, dataset: xr.Dataset, store: ShardStore) -> xr.Dataset:
        """The results with the examples' own numbers, their groups, and what was decided."""
        done, examples = dataset.sizes["example"], store.manifest["examples"]
        order = list(range(examples)) if self.order is None else self.order
        dataset = dataset.assign_coords(example=np.array(order[:done]))
        if self.labels is not None:
            labels = [self.labels[i] for i in order]
            dataset = dataset.assign_coords({GROUP: ("example", np.array(labels[:done]))})
            to_come = {*labels[done:]}
            unfinished = [label for label in dict.fromkeys(labels[:done]) if label in to_come]
            dataset = dataset.assign_attrs({UNFINISHED: json.dumps(unfinished)} if unfinished else {})
        if self.control is not None:  # whoever asks the results later compares with the same control
            dataset = dataset.assign_attrs(control=self.control)
        decided = {} if store.decisions is None else attributes_of(store.decisions, examples)
        return dataset.assign_attrs(decided)


def course_of(
    *,
    until: Any,
    alpha: Any,
    within: Any,
    groups: Any,
    order: Any,
    examples: int,
    seed: int,
    methods: Mapping[str, Any],
    metrics: Mapping[str, Callable[..., Any]],
) -> Course:
    """Checks what the caller wants."""
    check_fraction("alpha", alpha, open_ends=True)
    check_fraction("within", within)
    labels = groups_of(groups, examples, list(metrics))
    found = order_of(order, labels, examples, seed)
    control, names = control_of(methods), list(methods)
    named = None if control is None else names[control]
    if until is None:
        return Course(None, labels, found, named)
    rule = rule_of(until, alpha, within, questions_of_metrics(metrics), names, control)
    if labels is not None and len({*labels}) < len(labels):  # groups of one example are none
        numbers = numbered(labels)
        rule = replace(rule, groups=tuple(numbers if found is None else [numbers[i] for i in found]))
    return Course(rule, labels, found, named)


def groups_of(groups: Any, examples: int, metrics: Sequence[str]) -> list[Label] | None:
    """A label for each example, from a sequence of them or a function of the example's index."""
    if groups is None:
        return None
    if GROUP in metrics:
        raise ValueError(f"`metrics` has the name {GROUP!r}, but that of examples is kept so. Choose another name.")
    unordered = isinstance(groups, (str, bytes, Mapping, Set))  # a mapping gives its keys
    if unordered or not (callable(groups) or hasattr(groups, "__len__")):
        raise TypeError(
            f"`groups` must be a sequence with a label per example, or a function of its index; got {describe(groups)}."
        )
    labels = [plain(v) for v in (map(groups, range(examples)) if callable(groups) else groups)]
    if len(labels) != examples:
        raise ValueError(
            f"`groups` must have a label for each of the {examples} examples of `data`, got {len(labels)}."
        )
    _check_labels(labels)
    return labels


def _check_labels(labels: Sequence[Any]) -> None:
    for i, label in enumerate(labels):
        if isinstance(label, str) != isinstance(labels[0], str):
            raise TypeError(
                f"`groups` must be all integers or all strings, got {describe(label)} for example {i} and "
                f"{describe(labels[0])} for example 0."
            )
        if not isinstance(label, str):
            check_integer(f"`groups` must be all integers or all strings, also for example {i}", label)
        elif why := cannot_be_stored(label):
            raise ValueError(f"`groups` has the label {label!r} for example {i}, {why}. Choose another label.")


def numbered(labels: Sequence[Label]) -> list[int]:
    """The number of each example's group, in the order in which they come."""
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return [numbers[label] for label in labels]


def order_of(order: Any, labels: Sequence[Label] | None, examples: int, seed: int) -> list[int] | None:
    """The examples in the order of evaluation, or None for the data set's own. Groups are shuffled as wholes."""
    check_choice("order", order, ORDERS)
    if order == "given":
        return None
    group = np.arange(examples) if labels is None else np.array(numbered(labels))
    places = np.random.default_rng(seed).permutation(int(group.max()) + 1)
    found: list[int] = np.argsort(places[group], kind="stable").tolist()
    return found
