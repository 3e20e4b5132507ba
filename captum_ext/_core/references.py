"""A distribution of references: metrics average their scores over its rows."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from .arguments import TensorOrTuple, as_given, as_tuple
from .estimates import Noise, depends_on_draws, is_asked, noted, of_mean, unknown_for, with_noise
from .sharing import sharing_outputs

F = TypeVar("F", bound=Callable[..., Any])


class Distribution:
    """Rows that are equally likely to replace what is removed: a tensor `(R, ...)`, or a tuple of them.

    They are the same objects each time, so that metrics with equal settings share work for each reference.
    """

    def __init__(self, references: TensorOrTuple):
        tensors = as_tuple(references, "references")
        self.rows = [as_given(row, references) for row in zip(*(t.split(1) for t in tensors))]


def over_references(function: F) -> F:
    """Has a metric that takes `baselines` average its scores over a `Distribution`."""
    signature = inspect.signature(function)
    if "baselines" not in signature.parameters:
        return function

    @functools.wraps(function)
    def averaged(*args: Any, **kwargs: Any) -> Any:
        if not any(isinstance(value, Distribution) for value in (*args, *kwargs.values())):
            return function(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        references = given.arguments.get("baselines")
        if not isinstance(references, Distribution):
            return function(*args, **kwargs)
        with sharing_outputs():
            found = [_of_reference(function, given, reference) for reference in references.rows]
        return _mean([scores for scores, _ in found], [noise for _, noise in found])

    return averaged  # type: ignore[return-value]


def _of_reference(function: F, given: inspect.BoundArguments, reference: TensorOrTuple) -> tuple[Any, Noise | None]:
    given.arguments["baselines"] = reference
    if not is_asked():  # the noise of the draws may take longer than the score
        return function(*given.args, **given.kwargs), None
    scores, noise = with_noise(function)(*given.args, **given.kwargs)
    return scores, unknown_for(scores) if noise is None and depends_on_draws(function) else noise


def _mean(scores: list[Any], noises: list[Any]) -> Any:
    """The mean over references, by name if the scores are; its noise is that of the references and of the draws."""
    if isinstance(scores[0], Mapping):
        by_name = {name: torch.stack([s[name] for s in scores], -1) for name in scores[0]}
        mean: Any = {name: values.mean(-1) for name, values in by_name.items()}
        return noted(mean, lambda: _by_name({name: _noise(values, noises, name) for name, values in by_name.items()}))
    values = torch.stack(scores, -1)
    return noted(values.mean(-1), lambda: _noise(values, noises, None))


def _by_name(noise: dict[str, Noise]) -> Noise:
    return Noise({name: n.stderr for name, n in noise.items()}, {name: n.n_eff for name, n in noise.items()})


def _noise(values: Tensor, noises: list[Any], name: str | None) -> Noise:
    """Of the mean of `values [..., references]`. References may share their draws, whose errors then do not cancel."""
    of_references = of_mean(values.double())
    of_draws = [n.stderr if name is None else n.stderr[name] for n in noises if n is not None]
    if not of_draws:
        return of_references.map(lambda part: part.to(values.dtype))
    common = torch.stack([s.to(of_references.stderr) for s in of_draws]).mean(0)
    both = of_references._replace(stderr=(of_references.stderr**2 + common**2).sqrt())
    return both.map(lambda part: part.to(values.dtype))
