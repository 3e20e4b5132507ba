"""What the scores have decided so far, of that which a rule asks for, and how it is said."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from .certainty import EProcess, Ints
from .statistics import Floats, difference, rounding_of
from .stop_rule import Question, Rule, values_at

Bools = npt.NDArray[np.bool_]


class Decisions:
    """Takes the scores of example after example and says what is decided by then.

    With groups, a group counts once, with the mean of its differences, when all of its examples are there.
    """

    def __init__(self, rule: Rule):
        self.rule, self.examples, self.shards = rule, 0, 0
        rows = [(k, *c, rule.one_sided(q)) for k, q in enumerate(rule.questions) for c in rule.comparisons(q)]
        self.question, self.method, self.other = (np.array([row[k] for row in rows]) for k in range(3))
        self.share, one_sided = (np.array([row[k] for row in rows]) for k in (3, 4))
        self.process = EProcess(np.log(rule.pairs * np.where(one_sided, 2, 1)) - np.log(rule.alpha), one_sided)
        self.difference = np.zeros(len(rows))  # the sum of the differences without a share of the lead
        self.scored = np.zeros((len(rule.questions), len(rule.methods)), np.int64)  # how many examples have a score
        self.begun: dict[int, tuple[Floats, Ints, int]] = {}  # of groups: sums, numbers of terms, examples to come
        self.groups = None if rule.groups is None else np.array(rule.groups)
        self.sizes: Any = None if rule.groups is None else np.bincount(rule.groups)
        self.done = False

    def after(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Decisions:
        """What is decided after the examples of one more shard. This one stays as it is, as others may look at it."""
        later = copy.copy(self)
        later.process, later.begun = copy.copy(self.process), dict(self.begun)  # their arrays are never written into
        later.add(arrays)
        return later

    def add(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Takes `[methods, examples, ...]` scores of every metric, by its number."""
        values = self._values(arrays)
        self.scored = self.scored + np.isfinite(values).sum(-1)
        differences, at = self._tested(values, arrays)
        self.process.add(differences[0], at)
        self.difference = self.difference + np.nansum(differences[1], -1)
        self.examples, self.shards = self.examples + values.shape[-1], self.shards + 1
        self.done = self.open == 0

    def differences(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Floats, Ints]:
        """Of the examples, or groups, that these scores complete, as `_differences` has them, and their numbers."""
        return self._tested(self._values(arrays), arrays)

    def _values(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Floats:
        """`[questions, methods, examples]`"""
        return np.stack([values_at(arrays[str(q.index)], q) for q in self.rule.questions])

    def _tested(self, values: Floats, arrays: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Floats, Ints]:
        differences = self._differences(values, [rounding_of(arrays[str(q.index)].dtype) for q in self.rule.questions])
        if self.groups is not None:
            return self._of_groups(differences, self.groups[self.examples :].tolist())
        return differences, self.examples + 1 + np.arange(differences.shape[-1])

    def _differences(self, values: Floats, rounding: Sequence[float]) -> Floats:
        """`[2, comparisons, examples]`, from `[questions, methods, examples]`: as they are tested, and as they are."""
        of_method, of_other = values[self.question, self.method], values[self.question, self.other]
        with np.errstate(over="ignore"):
            margin = np.array(rounding)[self.question, None] * np.fmax(np.abs(of_method), np.abs(of_other))
            plain = difference(of_method, of_other, margin)
            lead = of_method - values[self.question, self.rule.control or 0]
            tested = plain + np.where(self.share[:, None] > 0, self.share[:, None] * lead, 0)
        known = np.isfinite(tested)
        return np.where(known, np.stack([tested, plain]), np.nan)

    def _of_groups(self, differences: Floats, groups: list[int]) -> tuple[Floats, Ints]:
        """The means of the groups that are completed by these examples, and the number of examples by then."""
        means, at = [], []
        for d, number, group in zip(np.moveaxis(differences, -1, 0), count(self.examples + 1), groups):
            total, terms, left = self.begun.pop(
                group, (np.zeros_like(d), np.zeros(d.shape, np.int64), self.sizes[group])
            )
            total, terms = total + np.nan_to_num(d), terms + np.isfinite(d)
            if left > 1:
                self.begun[group] = total, terms, left - 1
            else:
                means.append(np.divide(total, terms, out=np.full_like(total, np.nan), where=terms > 0))
                at.append(number)
        return np.stack(means, -1) if means else differences[..., :0], np.array(at, np.int64)

    # ---- what is decided

    @property
    def open(self) -> int:
        """How many pairs are still to be decided, at least."""
        return sum(self.open_pairs(k) for k in range(len(self.rule.questions)))

    def open_pairs(self, k: int) -> int:
        """Of question `k`; for the best method, those of the method that lacks the fewest."""
        if self.rule.questions[k].until == "best":
            return int((len(self.rule.methods) - 1 - self.better(k).sum(1)).min())
        return int((self.process.decided_at[self.question == k] == 0).sum())

    def better(self, k: int) -> Bools:
        """`[methods, methods]`: whether the first is certainly better, which no contradictory pair says."""
        return self.won((self.question == k) & ~self.process.contradictory)

    def won(self, rows: Bools) -> Bools:
        """`[methods, methods]`: by these comparisons, whether the first is better on a typical example."""
        found = np.zeros((len(self.rule.methods),) * 2, bool)
        for method, other, side in ((self.method, self.other, 1), (self.other, self.method, -1)):
            at = rows & (self.process.side == side)
            found[method[at], other[at]] = True
        return found

    def best(self, k: int) -> list[int]:
        """The methods that are certainly better than every other, or not much worse."""
        return np.flatnonzero(self.better(k).sum(1) == len(self.rule.methods) - 1).tolist()

    def decided_at(self, k: int) -> int:
        """The number of examples after which question `k` was decided; 0 if it is open."""
        if self.open_pairs(k):
            return 0
        rows = self.question == k
        if self.rule.questions[k].until != "best":
            return int(self.process.decided_at[rows].max())
        return min(int(self.process.decided_at[rows & self._about(method, k)].max()) for method in self.best(k))

    def _about(self, method: int, k: int) -> Bools:
        """The comparisons that make a method the best."""
        as_other = (self.other == method) & (not self.rule.one_sided(self.rule.questions[k]))
        about: Bools = (self.method == method) | as_other
        return about

    def questions(self) -> list[tuple[int, Question]]:
        return list(enumerate(self.rule.questions))
