"""The parts of an example, and whether every example has the same ones, so that no score depends on the batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

NAMES = ("inputs", "target", "additional_forward_args", "extra")
PARTS = "(inputs, target[, additional_forward_args[, extra]])"
LABELS = ("label", "labels", "target", "targets", "y", "class")  # what data sets of dicts call the target
NUMBERS = "biufc"  # numpy's kinds of numbers
Parts = tuple[Any, ...]


def parts_of(example: Any, where: str) -> Parts:
    """Returns the parts of an example, or of a batch; `where` says of which, as in "example 3"."""
    if isinstance(example, (Tensor, np.ndarray)):
        return (example,)
    if isinstance(example, Mapping):
        raise TypeError(f"`data` must give {PARTS}, but {where} is a dict with {_listed(example)}. {_named(example)}")
    if not isinstance(example, (tuple, list)):
        raise TypeError(f"`data` must give {PARTS}, but {where} is of type {type(example).__name__}.")
    if not 1 <= len(example) <= 4:
        raise ValueError(f"`data` must give {PARTS}, got {len(example)} parts in {where}.")
    if len(example) == 4 and not isinstance(example[3], Mapping):
        raise TypeError(
            "The fourth part of `data` must be a mapping from names of arguments to the example's values, "
            f"got {type(example[3]).__name__} in {where}."
        )
    return tuple(example)


def check_inputs(inputs: Any, where: str) -> None:
    several = isinstance(inputs, (tuple, list)) and len(inputs) > 0
    for value in inputs if several else (inputs,):
        if not (is_array(value) or (_is_number(value) and not several)):
            raise TypeError(
                f"`data` must give inputs as a tensor or a tuple of tensors, but those of {where} are "
                f"{_described(inputs)}. {_as_tensors(inputs)}"
            )


def check_further(arguments: Any, where: str) -> None:
    """Checks that further arguments for the model can follow the copies of an example."""
    for name, value in leaves("additional_forward_args", arguments):
        if value is not None and not is_array(value) and not _is_number(value):
            raise TypeError(
                f"`data` must give `{name}` as tensors or numbers, so that each copy of an example gets its own, but "
                f"that of {where} is of type {_kind(value)}. Give a number by which the model finds it, or set it for "
                "all examples with functools.partial(model, ...)."
            )


def _described(inputs: Any) -> str:
    if isinstance(inputs, Mapping):
        return f"a dict with {_listed(inputs)}"
    kinds = ", ".join(sorted({_kind(v) for v in inputs})) if isinstance(inputs, (tuple, list)) else ""
    return f"a {type(inputs).__name__} of {kinds or 'nothing'}" if isinstance(inputs, (tuple, list)) else _kind(inputs)


def _as_tensors(inputs: Any) -> str:
    if isinstance(inputs, Mapping):
        return "Give a tuple of its values, and a model that takes them in this order."
    return "Make them tensors: numbers by torch.as_tensor, pictures by a transform, words by a tokenizer."


def leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields everything in a part that is no collection, with its name, as in `extra['mask']`."""
    if isinstance(value, Mapping):
        items = [(f"{name}[{key!r}]", v) for key, v in value.items()]
    elif isinstance(value, (tuple, list)):
        items = [(f"{name}[{i}]", v) for i, v in enumerate(value)]
    else:
        yield name, value
        return
    for inner, v in items:
        yield from leaves(inner, v)


def difference(first: Parts, other: Parts) -> str | None:
    """Says in what the parts of two examples differ beside their sizes and values; None if they do not."""
    if len(first) != len(other):
        return f"it has {len(other)} parts, not {len(first)}"
    return next(filter(None, map(_difference, NAMES, first, other)), None)


def _difference(name: str, first: Any, other: Any) -> str | None:
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        if first.keys() != other.keys():
            return f"they have different names, {[*first]} and {[*other]}"
        return next(filter(None, (_difference(f"{name}[{k!r}]", v, other[k]) for k, v in first.items())), None)
    if isinstance(first, (tuple, list)) and isinstance(other, (tuple, list)):
        if len(first) != len(other):
            return f"its `{name}` has {len(other)} parts, not {len(first)}"
        return next(filter(None, (_difference(f"{name}[{i}]", *v) for i, v in enumerate(zip(first, other)))), None)
    return None if _kind(first) == _kind(other) else f"its `{name}` is {_kind(other)}, not {_kind(first)}"


def other_size(rows: Sequence[Parts]) -> tuple[int, str] | None:
    """The first of several examples with another size than the first one, and in what; None if all have one size."""
    for i, parts in enumerate(rows):
        for first, other in zip(zip(NAMES, rows[0]), zip(NAMES, parts)):
            for (name, a), (_, b) in zip(leaves(*first), leaves(*other)):
                if is_array(a) and is_array(b) and tuple(a.shape) != tuple(b.shape):
                    return i, f"its `{name}` has shape {tuple(b.shape)}, not {tuple(a.shape)}"
    return None


def is_array(value: Any) -> bool:
    if isinstance(value, np.ma.MaskedArray):  # a tensor would hold what is masked
        return False
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in NUMBERS)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number, np.bool_))


def _kind(value: Any) -> str:
    """The type of the elements of a tensor or an array, and of the number that stacked numbers become."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)) and not isinstance(value, np.ma.MaskedArray):
        return str(value.dtype).removeprefix("torch.")
    return {type(None): "None", int: "int64", float: "float64"}.get(type(value), type(value).__name__)


def _listed(mapping: Mapping[Any, Any]) -> str:
    return ", ".join(map(repr, mapping)) or "nothing"


def _named(example: Mapping[Any, Any]) -> str:
    """The two lines that make a data set of dicts one of tuples."""
    target = next((k for k in example if str(k).lower() in LABELS), None)
    inputs = next((k for k in example if k != target), "inputs")
    mask = ', row["attention_mask"]' if "attention_mask" in example and inputs != "attention_mask" else ""
    label = "None" if target is None else f"row[{target!r}]"
    return (
        "Name its parts, inputs first:\n"
        f"    data = [(row[{inputs!r}], {label}{mask}) for row in data]\n"
        "    evaluate(model, data, ...)"
    ).replace("'", '"')
