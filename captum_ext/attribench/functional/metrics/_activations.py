"""One metric under several activations for one evaluation of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
Outputs = Callable[[Tensor], Tensor]  # of rows of inputs
Scores = Tensor | dict[str, Tensor]

ACTIVATIONS: dict[str, Outputs] = {
    "linear": lambda output: output,
    "softmax": partial(torch.softmax, dim=1),
    "sigmoid": torch.sigmoid,
}


def activation_names(activation_fns: str | Sequence[str]) -> list[str]:
    names = [activation_fns] if isinstance(activation_fns, str) else list(activation_fns)
    unknown = [name for name in names if name not in ACTIVATIONS]
    if unknown or not names:
        raise ValueError(f"`activation_fns` must be among {', '.join(map(repr, ACTIVATIONS))}; got {unknown or names}.")
    return list(dict.fromkeys(names))


def over_activations(score: Callable[[Outputs], Scores], model: Outputs, names: Sequence[str]) -> Scores:
    """`[B, activations * points]` of a score that asks the model for the same rows in the same order each time."""
    first, *others = (ACTIVATIONS[name] for name in names)
    outputs: list[Tensor] = []

    def recorded(rows: Tensor) -> Tensor:
        output = model(rows)
        if others:
            outputs.append(output)
        return first(output)

    scores: list[Any] = [score(recorded)]
    scores += [score(_replayed(torch.cat(outputs), activation)) for activation in others]
    if isinstance(scores[0], dict):
        return {name: torch.cat([s[name] for s in scores], 1) for name in scores[0]}
    return torch.cat(scores, 1)


def _replayed(outputs: Tensor, activation: Outputs) -> Outputs:
    """A model whose outputs are there already."""
    rest = [outputs]

    def replayed(rows: Tensor) -> Tensor:
        output, rest[0] = rest[0][: len(rows)], rest[0][len(rows) :]
        return activation(output)

    return replayed


def each(function: Callable[[Any], Any], values: Any) -> Any:
    """A function of a tensor, or of every method's in a mapping."""
    return {name: function(v) for name, v in values.items()} if isinstance(values, Mapping) else function(values)


def takes_all_methods(metric: Callable[..., Any]) -> Callable[[Function], Function]:
    """Marks a function that takes the attributions of all methods at once, as a metric of the package does.

    The several values of its score lie on an axis of its own.
    """

    def marked(function: Function) -> Function:
        function.card = dataclasses.replace(getattr(metric, "card"), axis=None)  # type: ignore[attr-defined]  # noqa: B009
        return function

    return marked
