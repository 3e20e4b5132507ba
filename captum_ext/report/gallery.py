"""Some examples one by one: what was explained, each method's map of it, and the scores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup

from .._core.checks import describe
from .._core.printing import printable
from .._token_texts import as_html, as_values
from ..evaluation.attributions_file import open_attributions
from ..evaluation.display import Numbers, number_format, numbers
from ..evaluation.examples import Examples
from ..evaluation.kept_maps import Kept
from ..evaluation.methods import as_rows
from ..evaluation.score import Score, methods_of
from ..evaluation.statistics import Floats
from . import pictures
from .pictures import Picture

LONGEST_TARGET = 40  # letters


@dataclass(frozen=True)
class Example:
    number: int  # its place in the data set
    target: str
    image: Picture | None
    maps: list[Picture | None]  # of each method
    scores: list[Numbers]
    lines: list[tuple[str, Markup]]  # each method's name and its text, in place of pictures

    @property
    def has_pictures(self) -> bool:
        return self.image is not None or any(self.maps)


@dataclass(frozen=True)
class Shown:
    """What is given to show the examples, ready to be looked up by an example's number."""

    data: Examples | None
    tokens: Any
    maps: dict[str, tuple[Any, ...]]  # method -> its tensors, with a row per example
    class_names: Any
    feature_names: Any


def examples(
    dataset: xr.Dataset,
    scores: Sequence[Score],
    data: Any = None,
    attributions: Any = None,
    n_examples: int = 12,
    tokens: Any = None,
    *,
    class_names: Any = None,
    feature_names: Any = None,
    kept: Kept | None = None,
) -> tuple[list[Example], list[str]]:
    """`n_examples` of the examples, evenly spread over the data set or those of which maps are kept; what is missing.

    Maps that were kept with the results are shown unless `attributions` are given.
    """
    places, methods = dataset["example"].to_numpy(), methods_of(dataset)
    rows = None if data is None else Examples(data)
    stored = {} if attributions is None else _opened(attributions, methods)
    tokens = getattr(data, "token_texts", None) if tokens is None else tokens
    _check_lengths({"`data`": rows, "`tokens`": tokens}, stored, int(places.max()))
    _check_names(class_names, feature_names)
    candidates = np.arange(len(places))
    if kept is not None and attributions is None and (of_kept := np.flatnonzero(np.isin(places, kept.numbers))).size:
        candidates, stored = of_kept, kept.rows(methods)
    shown = candidates[_spread(len(candidates), n_examples)]
    forms = [number_format(score.values) for score in scores]
    of_scores = [[_numbers(s, i, form) for s, form in zip(scores, forms)] for i in shown]
    given = Shown(rows, tokens, stored, class_names, feature_names)
    found = [_example(dataset.isel(example=i), given, of_example) for i, of_example in zip(shown, of_scores)]
    return found, _missing(given, found, methods) if found else []


def _spread(count: int, wanted: int) -> Any:
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(int))


def _missing(given: Shown, found: list[Example], methods: list[str]) -> list[str]:
    """What is not shown, each with the argument that brings it."""
    said, without = [], [name for name in methods if name not in given.maps]
    if given.data is None and given.tokens is None:
        said.append("The inputs are not shown: give the data set that was evaluated, as in report(path, data).")
    elif given.data is not None and given.tokens is None and not any(example.image for example in found):
        said.append("The inputs have no picture. Texts are shown with tokens=, a list of tokens for each example.")
    if without:
        whose = "No map is shown" if len(without) == len(methods) else f"No map of {', '.join(without)} is shown"
        said.append(f"{whose}: give attributions=, tensors by method or a file that attribute_dataset wrote.")
    return said


def _check_names(class_names: Any, feature_names: Any) -> None:
    for name, value in (("class_names", class_names), ("feature_names", feature_names)):
        known = value is None or (isinstance(value, (Sequence, Mapping)) and not isinstance(value, str))
        if not known or (name == "feature_names" and isinstance(value, Mapping)):
            raise TypeError(f"`{name}` must be a list of names, got {describe(value)}.")


def _numbers(score: Score, example: int, form: Callable[[float], str]) -> Numbers:
    """Each method's score, and its standard error over the draws where there is one."""
    stderr = None if score.noise is None else np.sqrt(score.noise[:, example])
    return numbers(score, score.values[:, example], form, stderr)


def _example(of_one: xr.Dataset, given: Shown, scores: list[Numbers]) -> Example:
    number, methods = int(of_one["example"]), methods_of(of_one)
    inputs, label = _inputs_and_label(None if given.data is None else given.data.example(number))
    answers = getattr(given.data and given.data.data, "answer_texts", None)
    target = _explained(of_one, label if answers is None else answers[number], given)
    if given.tokens is not None:
        lines = _lines(given.tokens[number], number, given.maps)
        return Example(number, target, None, [None] * len(methods), scores, lines)
    part = next((i for i, x in enumerate(inputs) if pictures.kind_of(x)), 0)
    of = inputs[part] if part < len(inputs) else None
    if of is not None and pictures.kind_of(of) == "table" and given.feature_names is not None:
        _check_count_of_names(given.feature_names, len(of))
    image = None if of is None else pictures.of_input(of, f"Example {number}", given.feature_names)
    maps = [_map(given.maps.get(method), number, part, method, of) for method in methods]
    return Example(number, target, image, maps, scores, [])


def _check_count_of_names(names: Any, count: int) -> None:
    if len(names) != count:
        raise ValueError(f"`feature_names` must have a name for each of {count} features, got {len(names)}.")


def _lines(text: Any, number: int, stored: dict[str, Any]) -> list[tuple[str, Markup]]:
    """The text coloured by each map of the first of several inputs; as it is where there are no maps."""
    if not stored:
        return [("", Markup(as_html(text)))]
    rows = {name: _array(tensors[0][[number]])[0] for name, tensors in stored.items()}
    return [
        (name, Markup(as_html(text, as_values(row, text, f"attributions[{name!r}]")))) for name, row in rows.items()
    ]


def _explained(of_one: xr.Dataset, label: str, given: Shown) -> str:
    """The class that was explained: the predicted one where the results have it, else the label, unless ignored."""
    name = next((name for name in ("target", "predicted_target") if name in of_one.coords), None)
    if name is None:
        return "" if of_one.attrs.get("target") == "null" else _named(label, given.class_names)
    return "" if of_one[name].isnull() else f"{_named(str(int(of_one[name])), given.class_names)} (predicted)"


def _named(label: str, class_names: Any) -> str:
    """The name of a class that is given by its index."""
    if class_names is None or not label.isdigit():
        return label
    try:
        return _shortened(str(class_names[int(label)]))
    except (LookupError, TypeError) as error:
        raise ValueError(
            f"`class_names` must have a name for class {label}, got {len(class_names)} names. Leave it out to show "
            "numbers."
        ) from error


def _map(stored: Any, number: int, part: int, method: str, of: Floats | None) -> Picture | None:
    if stored is None or part >= len(stored):
        return None
    return pictures.of_attribution(_array(stored[part][[number]])[0], f"Map of {method} for example {number}", of)


def _inputs_and_label(example: Any) -> tuple[list[Floats], str]:
    """Of `(inputs, target, ...)`; a lone tensor is the inputs."""
    if example is None:
        return [], ""
    inputs, *rest = example if isinstance(example, (tuple, list)) else (example,)
    parts = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    target: Any = rest[0] if rest else None
    target = target.tolist() if hasattr(target, "tolist") else target
    return [_array(part) for part in parts], "" if target is None else _shortened(str(target))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TARGET else text[: LONGEST_TARGET - 1] + "…"


def _array(value: Any) -> Floats:
    try:
        return np.asarray(value.detach().cpu().double() if hasattr(value, "detach") else value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`data` and `attributions` must hold tensors or arrays, to be shown, got {describe(value)}: {error}."
        ) from error


def _opened(attributions: Any, methods: list[str]) -> dict[str, tuple[Any, ...]]:
    """Name -> its tensors, each with a row per example of the data set."""
    if isinstance(attributions, (str, os.PathLike)):
        return {name: open_attributions(Path(attributions), name) for name in methods}
    if not isinstance(attributions, Mapping):
        raise TypeError(
            "`attributions` must be a mapping from methods' names to attributions, or a path that "
            f"`attribute_dataset` wrote; got {type(attributions).__name__}."
        )
    given = {printable(str(name)): value for name, value in attributions.items()}
    if unknown := sorted(set(given) - set(methods)):
        raise ValueError(f"`attributions` has {', '.join(unknown)}, but the results are of {', '.join(methods)}.")
    return {name: _tensors(name, value) for name, value in given.items()}


def _tensors(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, os.PathLike)):
        return open_attributions(Path(value), name)
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return tuple(map(as_rows, parts))


def _check_lengths(given: dict[str, Any], stored: dict[str, tuple[Any, ...]], last: int) -> None:
    """Examples are numbered by their place in the data set, so all must reach to the last one's."""
    lengths = {name: len(value) for name, value in given.items() if value is not None}
    lengths |= {f"`attributions[{name!r}]`": len(tensor) for name, tensors in stored.items() for tensor in tensors}
    for name, length in lengths.items():
        if length <= last:
            raise ValueError(f"{name} has {length} examples, but the results are of examples up to number {last}.")
