"""Whether one method is better than another on a typical example, by an e-process, which may be looked at any time.

Of every pair of methods there are paired differences d_1, d_2, ..., the better side up. Under the null, that the two
are exchangeable on an example, their signs are fair coins given their sizes. With y_t = d_t / rms(d_1, ..., d_t),

    E = mean over lambda and both signs of prod_t (1 + tanh(lambda y_t))

is then a nonnegative martingale of mean 1, whatever the sizes, so that it ever reaches 1 / alpha with a probability of
at most alpha. All of it is computed example by example, so it does not depend on the blocks in which scores come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .statistics import Floats

Ints = npt.NDArray[np.int64]
LAMBDAS = np.geomspace(0.05, 2, 12)
SIGNED = np.stack([LAMBDAS, -LAMBDAS])[..., None]  # [signs, lambdas, 1]


class EProcess:
    """The e-processes of several pairs, which are decided where log E reaches their threshold, and stay so.

    One-sided ones take the positive half of the mixture alone. A difference that is NaN or infinite leaves the example
    out of its pair, and is counted.
    """

    def __init__(self, thresholds: Any, one_sided: Any = False):
        self.thresholds = np.atleast_1d(np.asarray(thresholds, np.float64))
        pairs = len(self.thresholds)
        self.one_sided = np.broadcast_to(one_sided, (pairs,))
        self.logs = np.zeros((2, len(LAMBDAS), pairs))  # [signs, lambdas, pairs]
        self.size, self.total = np.zeros(pairs), np.zeros(pairs)  # the root of the sum of squares, and the sum
        self.used, self.left_out = np.zeros(pairs, np.int64), np.zeros(pairs, np.int64)
        self.decided_at, self.side = np.zeros(pairs, np.int64), np.zeros(pairs, np.int64)  # 0: not decided

    def add(self, differences: Floats, at: Sequence[int] | Ints | None = None) -> None:
        """Takes `[pairs, new]` differences; `at` has the number of examples that are known with each of them."""
        begun = int((self.used + self.left_out).max(initial=0))
        for d, number in zip(differences.T, begun + 1 + np.arange(differences.shape[1]) if at is None else at):
            self._add(d)
            self._decide(int(number))

    def _add(self, d: Floats) -> None:
        known = np.isfinite(d)
        d = np.where(known, d, 0.0)
        self.used, self.left_out = self.used + known, self.left_out + ~known
        self.size, self.total = np.hypot(self.size, d), self.total + d
        y = np.divide(d, self.size, out=np.zeros_like(d), where=self.size > 0) * np.sqrt(self.used)
        self.logs = self.logs + (np.log(2) - np.logaddexp(0, -2 * SIGNED * y))  # log(1 + tanh(lambda y))

    def _decide(self, number: int) -> None:
        new = (self.decided_at == 0) & (self.log_e >= self.thresholds)
        self.decided_at = np.where(new, number, self.decided_at)
        self.side = np.where(new, self.larger_side, self.side)

    @property
    def log_e(self) -> Floats:
        """`[pairs]`"""
        positive, negative = _log_mean_exp(self.logs)
        return np.where(self.one_sided, positive, np.logaddexp(positive, negative) - np.log(2))

    @property
    def larger_side(self) -> Ints:
        """`[pairs]`: 1 where the positive half of the mixture is the larger one, else -1."""
        positive, negative = _log_mean_exp(self.logs)
        return np.where(self.one_sided | (positive >= negative), 1, -1)

    @property
    def mean(self) -> Floats:
        """`[pairs]`: of the differences; NaN without one."""
        with np.errstate(invalid="ignore"):
            return self.total / self.used

    @property
    def contradictory(self) -> npt.NDArray[np.bool_]:
        """`[pairs]`: decided for one side, while the mean is on the other."""
        return self.side * self.total < 0


def log_e_values(differences: Floats, one_sided: bool = False) -> Floats:
    """`[pairs]`, from `[pairs, examples]`: log E after all examples."""
    process = EProcess(np.full(len(differences), np.inf), one_sided)
    process.add(differences)
    return process.log_e


def fewest(threshold: float, one_sided: bool = False) -> int:
    """The number of examples that decide a pair if one method is better by the same on each of them."""
    process = EProcess(threshold, one_sided)
    while not process.decided_at.all():
        process.add(np.ones((1, 1)))
    return int(process.used[0])


def _log_mean_exp(logs: Floats) -> Floats:
    """`[signs, pairs]`, over the lambdas."""
    largest = logs.max(1, keepdims=True)
    mean: Floats = np.log(np.exp(logs - largest).mean(1)) + largest[:, 0]
    return mean
