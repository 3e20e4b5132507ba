"""The checks of `evaluate` and `attribute_dataset` before any work."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .._core.card import configured, name_of
from .._core.checks import EXPLANATIONS, check_choice, check_count, describe
from .examples import Examples
from .methods import set_arguments
from .names import check_names

FILLED_IN = {"forward_func", *EXPLANATIONS, "inputs", "target", "additional_forward_args", "seed"}
ON_ERROR = ("raise", "record")


def check_arguments(metrics: Any, on_error: Any, examples: Examples) -> None:
    _check_names("metrics", metrics)
    check_choice("on_error", on_error, ON_ERROR)
    for name, metric in metrics.items():
        _check_metric(name, metric, examples)


def check_numbers(batch_size: Any, max_examples_per_batch: Any, seed: Any) -> tuple[int, int | None, int]:
    batch_size, seed = check_count("batch_size", batch_size), check_count("seed", seed, least=0)
    if max_examples_per_batch is not None:
        max_examples_per_batch = check_count("max_examples_per_batch", max_examples_per_batch)
    return batch_size, max_examples_per_batch, seed


def check_first(examples: Examples) -> None:
    """Checks the first example, so that data of a wrong form is refused before the model is called."""
    for name in {*FILLED_IN, "max_examples_per_batch"} & {*examples.extra()}:
        raise ValueError(
            f"`data` must not give `{name}` in its fourth part: evaluate fills it in for every metric. Targets and "
            "further arguments of the model are the second and third part; anything else needs another name."
        )


def check_methods(methods: Any) -> None:
    _check_names("methods", methods)


def _check_names(name: str, mapping: Any) -> None:
    if not isinstance(mapping, Mapping) or not mapping or not all(isinstance(k, str) for k in mapping):
        raise TypeError(f"`{name}` must be a mapping from names to {name}, with at least one; got {mapping!r}.")
    check_names(name, mapping)


def _check_metric(name: str, metric: Any, examples: Examples) -> None:
    if not callable(metric) or isinstance(metric, type):
        raise TypeError(f"Metric {name!r} must be a function, got {describe(metric)}.")
    if hasattr(configured(metric), "returns_estimates"):
        raise TypeError(
            f"Metric {name!r} must return scores alone, but `with_stderr` made it. Give the metric itself, and "
            "`stderr=True`."
        )
    takes = _parameters(name, configured(metric))
    try:
        parameters = inspect.signature(metric).parameters
    except ValueError as error:
        unknown = ", ".join(map(repr, sorted(set_arguments(metric) - takes)))
        raise TypeError(f"Metric {name!r}: {name_of(metric)} takes no argument {unknown or error}.") from error
    if not set(EXPLANATIONS) & set(parameters):
        wanted = " or ".join(f"`{e}`" for e in EXPLANATIONS)
        raise TypeError(f"Metric {name!r} must take {wanted}; it takes {', '.join(parameters)}.")
    required = {
        k for k, p in parameters.items() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    unset = sorted(required - FILLED_IN - set_arguments(metric))
    if unset:  # only then is an example loaded, which may take long
        unset = sorted(set(unset) - set(examples.extra()))
    if unset:
        raise TypeError(
            f"Metric {name!r} needs {', '.join(f'`{u}`' for u in unset)}: set it with functools.partial(metric, "
            f"{unset[0]}=...), or give each example its own, as {{{unset[0]!r}: ...}} in the fourth part of `data`."
        )


def _parameters(name: str, function: Any) -> set[str]:
    try:
        return {*inspect.signature(function).parameters}
    except ValueError as error:  # a built-in, or a scripted function
        raise TypeError(
            f"Metric {name!r} must be a function whose arguments have names that can be read; {describe(function)} has "
            "no signature. Wrap it, as in `lambda attributions: function(attributions)`."
        ) from error
