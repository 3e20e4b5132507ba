"""What metrics share: every masker, and several activations for one evaluation of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from captum_ext.feature_masks import superpixels
from captum_ext.metrics import deletion_curve

from ...data import AttributionsDataset
from ...masking import Masker
from ._plan import Plan, Result, Seeds, check_names

Function = TypeVar("Function", bound=Callable[..., Any])
Outputs = Callable[[Tensor], Tensor]  # of rows of inputs
Scores = Tensor | dict[str, Tensor]

SOFTMAX = partial(torch.softmax, dim=1)
ACTIVATIONS: dict[str, Outputs] = {"linear": lambda output: output, "softmax": SOFTMAX, "sigmoid": torch.sigmoid}


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
        outputs.append(model(rows))
        return first(outputs[-1])

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
        card = dataclasses.replace(getattr(metric, "card"), axis=None)  # noqa: B009
        function.card = card  # type: ignore[attr-defined]
        return function

    return marked


def masked_plan(
    dataset: AttributionsDataset,
    maskers: Mapping[str, Masker],
    result: Result,
    score: Callable[..., Scores],
    **how: Any,
) -> Plan[Result]:
    """A score under every masker; `how` has the `activations`, and whether features are `segmented`."""
    metrics = {name: partial(_masked, score=score, masker=masker, **how) for name, masker in maskers.items()}
    return Plan(dataset, metrics, result, "masker")


def check_maskers(maskers: Mapping[str, Masker], dataset: AttributionsDataset, segmented: bool = False) -> None:
    """Maskers by name, that mask the features which the attributions are of; segments may be of any."""
    check_names("maskers", maskers, Masker)
    sample = dataset.sample(0)[None]
    for masker in maskers.values():
        masker.check(sample, None if segmented else dataset.maps(dataset.method_names[0], 0)[None])


@takes_all_methods(deletion_curve)
def _masked(
    forward_func: Outputs,
    inputs: Tensor,
    attributions: Any,
    target: Tensor,
    seed: Seeds,
    max_examples_per_batch: int | None = None,
    *,
    score: Callable[..., Scores],
    masker: Masker,
    activations: Sequence[str] = ("linear",),
    segmented: bool = False,
) -> Scores:
    """The score of features, elements or superpixels, that the masker replaces."""
    segments = superpixels(inputs, slic_zero=True) if segmented else None
    masked = partial(score, baselines=masker(inputs, seed), feature_mask=segments, target=target, seed=seed)
    limited = partial(masked, max_examples_per_batch=max_examples_per_batch)
    return over_activations(lambda f: limited(f, inputs, attributions), forward_func, activations)
