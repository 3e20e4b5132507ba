"""How far random draws leave a score uncertain. A metric says it with its score, and it is computed if asked for."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from .devices import generators_of
from .home import in_float64
from .statistics import at_least_float32, to_unit, wide

S = TypeVar("S")
DRAWS = ("n_perturb_samples", "seed", "weights_seed")  # arguments of metrics whose scores depend on draws
MOST_GROUPS = 100  # of draws that the jackknife leaves out in turn
FEWEST = 12  # effective draws, below which an interval of two standard errors is often too short
VARIANCE_OF_Z = {"spearman": (1.06, 3), "kendall": (0.437, 4)}  # Fieller, Hartley and Pearson 1957
FEW = (
    "Fewer than 12 draws carry the variance of {what}, so standard errors may be too small there. Take the model's "
    "logits instead of probabilities, larger sets, or more draws: `n_perturb_samples`, or rows of "
    "`baselines.distribution`."
)


class Estimate(NamedTuple):
    """A score, its standard error over the random draws, and how many draws carry it; each as the metric returns it."""

    score: Any
    stderr: Any
    n_eff: Any


class Noise(NamedTuple):
    """What the draws add to a score: its standard error, the effective draws, and for maxima scores of two halves."""

    stderr: Any
    n_eff: Any
    halves: Any = None  # [..., 2]

    def map(self, function: Callable[[Any], Any]) -> Noise:
        return Noise(
            function(self.stderr), function(self.n_eff), None if self.halves is None else function(self.halves)
        )

    def defined(self, scores: Tensor, exact: Tensor) -> Noise:
        """Nothing where the score is exact, as every set was taken; nan where the score is."""
        noise = Noise(self.stderr.masked_fill(exact, 0), self.n_eff.masked_fill(exact, torch.inf))
        return noise.map(lambda values: values.masked_fill(scores.isnan(), torch.nan))


class _Noted:
    """The noise that was noted last, and the scores it belongs to."""

    scores: Any = None
    noise: Noise | None = None


_noted: ContextVar[_Noted | None] = ContextVar("_noted", default=None)


def noted(scores: S, noise: Callable[[], Noise], as_scores: Callable[[Any], Any] = lambda values: values) -> S:
    """Returns the scores; if somebody asked, notes the noise of these, each part of it in the form of the scores."""
    note = _noted.get()
    if note is not None:
        note.scores, note.noise = scores, noise().map(as_scores)
    return scores


def is_asked() -> bool:
    """Whether somebody asked for the noise of scores."""
    return _noted.get() is not None


@contextmanager
def _asked() -> Iterator[_Noted]:
    note = _Noted()
    token = _noted.set(note)
    try:
        yield note
    finally:
        _noted.reset(token)


def with_noise(metric: Callable[..., Any]) -> Callable[..., tuple[Any, Noise | None]]:
    """A function of the metric's arguments that returns its scores, and their noise if it noted any.

    Of noise that was noted for other scores, from which these were made, nothing follows.
    """
    if isinstance(metric, functools.partial):
        return functools.partial(with_noise(metric.func), *metric.args, **metric.keywords)

    @in_float64
    @functools.wraps(metric)
    def of_arguments(*args: Any, **kwargs: Any) -> tuple[Any, Noise | None]:
        with _asked() as note:
            scores = metric(*args, **kwargs)
        return scores, note.noise if note.noise is None or note.scores is scores else unknown_for(scores)

    return of_arguments


def depends_on_draws(metric: Callable[..., Any]) -> bool:
    """Whether the metric's scores may depend on draws, by the arguments that it takes."""
    try:
        return bool(set(DRAWS) & set(inspect.signature(metric).parameters))
    except ValueError:  # a built-in, which has no signature
        return False


def generator_states(*devices: torch.device) -> list[Any]:
    """The states of the global generators: two lists are equal if nothing was drawn in between."""
    numpy_state: Any = np.random.get_state()
    states = [g.get_state().numpy().tobytes() for g in generators_of(*devices)]
    return [*states, numpy_state[1].tobytes(), *numpy_state[2:], random.getstate()]


def none_for(scores: Any) -> Noise:
    """Of scores that nothing was drawn for: no standard error, and endlessly many draws."""
    return Noise(_in_place_of(scores, 0.0), _in_place_of(scores, torch.inf))


def unknown_for(scores: Any) -> Noise:
    """Of scores that depend on draws, nobody knows how much."""
    return Noise(_in_place_of(scores, torch.nan), _in_place_of(scores, torch.nan))


def _in_place_of(scores: Any, value: float) -> Any:
    """The value in place of every score, and nan in place of nan."""
    if isinstance(scores, dict):
        return {name: _in_place_of(s, value) for name, s in scores.items()}
    if not isinstance(scores, Tensor):
        got = type(scores).__name__
        raise TypeError(f"`metric` must return a tensor of scores, or a mapping name -> tensors; got {got}.")
    return torch.full_like(at_least_float32(scores), value).masked_fill(scores.isnan(), torch.nan)


def of_mean(values: Tensor) -> Noise:
    """Of the mean of `values [..., draws]`: their standard deviation, divided by the root of their number."""
    draws = values.shape[-1]
    stderr = values.std(-1) / draws**0.5 if draws > 1 else torch.full_like(values[..., 0], torch.nan)
    return _carried_by(values, stderr)


def _carried_by(values: Tensor, stderr: Tensor) -> Noise:
    """The standard error with the effective draws of the values `[..., draws]`; both are nan where it is."""
    return Noise(stderr, effective_draws(values).expand_as(stderr).masked_fill(stderr.isnan(), torch.nan))


def of_maximum(values: Tensor, independent: bool = True) -> Noise:
    """Of the largest of `values [..., draws]`, which has no standard error: two halves of the draws tell of its noise.

    A search, in which a draw depends on those before it, has no halves.
    """
    draws = values.shape[-1]
    halves = [values[..., first::2].amax(-1) for first in range(min(draws, 2))]
    return of_halves(torch.stack([halves[0], halves[-1]], -1), draws if independent else 1)


def of_halves(scores: Tensor, draws: int) -> Noise:
    """Of a score for which only the scores `[..., 2]` of two halves of the draws are known, if there are two draws."""
    undefined = torch.full_like(scores[..., 0], torch.nan)
    return Noise(undefined, undefined, scores if draws > 1 else torch.full_like(scores, torch.nan))


def of_each_left_out(scores: Tensor, drops: Tensor | None = None, fewest: int = 1) -> Noise:
    """The jackknife: `scores [..., draws]` are those of all draws but one.

    The effective draws are those of `drops`, or of the scores' own deviations. A score of less than the `fewest` draws
    is the same whatever they are, as a correlation of two is 1 or -1; so there is no error of a score of that many.
    """
    draws = scores.shape[-1]
    deviations, power = to_unit(_centred(scores))
    stderr = (deviations.square().sum(-1) * (draws - 1) / draws).sqrt() * power[..., 0]
    stderr = stderr if draws > fewest else torch.full_like(stderr, torch.nan)
    return _carried_by(scores if drops is None else drops, stderr)


def jackknife(score: Callable[[list[int]], Tensor], draws: int, drops: Tensor | None = None, fewest: int = 1) -> Noise:
    """Of a function that scores some of the draws. Of many draws, a group is left out at a time."""
    groups = min(draws, MOST_GROUPS)
    left = [[j for j in range(draws) if j % groups != group] or [0] for group in range(groups)]
    return of_each_left_out(torch.stack([score(some) for some in left], -1), drops, fewest)


def among(some: list[int], where: Tensor) -> Tensor:
    """`[draws]`: whether a draw, of the last axis of `where`, is one of some."""
    return torch.zeros(where.shape[-1], dtype=torch.bool, device=where.device).index_fill(
        0, torch.tensor(some, device=where.device), True
    )


def of_correlation(kind: str, scores: Tensor, a: Tensor, b: Tensor) -> Noise:
    """Of a correlation `scores [...]` over the draws of `a` and `b [..., draws]`, of which `b` are drops of the output.

    Pearson's by the jackknife, those of ranks by Fisher's z, whose variance is about `factor / (draws - fewer)`.
    """
    draws = b.shape[-1]
    if kind == "pearson":
        stderr = of_each_left_out(_pearson_without_each(a, b), fewest=3).stderr
    else:
        factor, fewer = VARIANCE_OF_Z[kind]
        variance = factor / (draws - fewer) if draws > fewer else torch.nan
        stderr = (1 - scores.square()) * variance**0.5
    return _carried_by(b, stderr)


def _pearson_without_each(a: Tensor, b: Tensor) -> Tensor:
    """`[..., draws]`: the correlation of all draws but one. Nan where one side is constant without that draw."""
    (a, _), (b, _), draws = to_unit(_centred(a)), to_unit(_centred(b)), a.shape[-1]

    def without_each(products: Tensor) -> Tensor:
        return products.sum(-1, keepdim=True) - products * draws / max(draws - 1, 1)

    parts = [(without_each(v), v.sum(-1, keepdim=True)) for v in (a * a, b * b)]
    constant = functools.reduce(torch.logical_or, (left <= torch.finfo(a.dtype).eps * draws * of for left, of in parts))
    r = without_each(a * b) / (parts[0][0] * parts[1][0]).sqrt()
    return r.clamp(-1, 1).masked_fill(constant, torch.nan)


def effective_draws(values: Tensor) -> Tensor:
    r"""How many draws carry the variance of the values: (sum d^2)^2 / sum d^4 of their deviations from the mean.

    It is the number of draws if all deviate equally far, and 2 if two of them differ equally from the rest.
    """
    squares = to_unit(_centred(values))[0].square()
    fourth = squares.square().sum(-1)
    return torch.where(fourth == 0, values.shape[-1], squares.sum(-1).square() / fourth)


def few_draws(noise: Noise) -> float:
    """The share of scores whose standard error is above 0 and rests on few draws."""
    stderr, n_eff = (torch.cat([p.flatten() for p in tree_leaves(part)]) for part in (noise.stderr, noise.n_eff))
    return 0.0 if stderr.is_meta else float(((stderr > 0) & (n_eff < FEWEST)).double().mean())


def _centred(values: Tensor) -> Tensor:
    values = wide(values)
    return values - values.mean(-1, keepdim=True)
