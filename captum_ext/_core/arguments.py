"""Brings every form in which Captum takes an argument into one form, and raises the errors about wrong ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from .checks import (
    as_tensors,
    check_count,
    check_exact,
    check_function,
    check_has_values,
    check_integer,
    check_real,
    describe,
    is_exact,
    is_number,
    plain,
    shape,
)
from .devices import rows_at
from .estimates import Noise, noted
from .guard import Guard, called, replaced, tensors_in
from .interpretable import InterpretableInput, LLMAttributionResult, as_present, is_result, map_of
from .sharing import is_sharing, shared_as
from .statistics import score_type

Tensors = tuple[Tensor, ...]
TensorOrTuple = Tensor | Tensors
Scores = Tensor | dict[str, Tensor]
MapsType = TensorOrTuple | Mapping[str, TensorOrTuple]
InputsType = TensorOrTuple | InterpretableInput
AttributionsType = TensorOrTuple | LLMAttributionResult | Mapping[str, TensorOrTuple | LLMAttributionResult]


@runtime_checkable
class Fill(Protocol):
    """Replaces removed elements by values that depend on which elements are removed."""

    def fill(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Returns copies of the rows `inputs`, filled in where `mask` is true. The mask has the shape of the rows."""


class References(Protocol):
    """What `captum_ext.baselines.distribution` returns."""

    rows: list[Any]


BaselinesType = None | float | Tensor | tuple[float | Tensor, ...] | Callable[..., Any] | Fill | References
FeatureMaskType = None | TensorOrTuple | Callable[..., Any]
FrozenType = None | int | Sequence[int] | Tensor

NORMS = {"fro": 2.0, "nuc": 2.0}  # for a vector, both are the Euclidean norm


def as_tuple(value: InputsType, name: str = "inputs") -> Tensors:
    """Returns a tuple of tensors that have the same number of examples, at least one, along the first axis."""
    value = as_present(value)
    tensors = (value,) if isinstance(value, Tensor) else value
    if not isinstance(tensors, tuple) or not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(f"`{name}` must be a tensor or a tuple of tensors, got {describe(value)}.")
    check_real(f"`{name}` must be", *tensors)
    if any(t.dim() == 0 for t in tensors):
        raise ValueError(f"`{name}` must have a first axis, the examples; got a tensor without axes. Use unsqueeze(0).")
    sizes = [len(t) for t in tensors]
    if len(set(sizes)) > 1:
        raise ValueError(f"All tensors of `{name}` must have the same number of rows, got {sizes}.")
    if sizes[0] == 0:
        raise ValueError(f"`{name}` must have at least one row, got shapes {[shape(t) for t in tensors]}.")
    if not any(t.numel() for t in tensors):
        raise ValueError(f"`{name}` must have at least one element per row, got shapes {[shape(t) for t in tensors]}.")
    return tuple(t.detach() for t in tensors)


def flat(tensors: Tensors) -> Tensor:
    """`[B, elements]`: flattens the tensors of a tuple and concatenates them, a row for each example."""
    parts = [t.reshape(len(t), -1) for t in tensors]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def stacked(parts: list[Tensor]) -> Tensor:
    """Stacks the parts along a new first axis. A single part is not copied."""
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)


def as_given(tensors: Tensors, like: TensorOrTuple) -> TensorOrTuple:
    """Returns a bare tensor where the caller gave a bare tensor, else a tuple."""
    return tensors if isinstance(like, tuple) else tensors[0]


def same_values(a: Tensors, b: Tensors) -> bool:
    """Whether these are the same tensors, or copies of them, also on another device."""
    return len(a) == len(b) and all(map(_is_copy, a, b))


def _is_copy(a: Tensor, b: Tensor) -> bool:
    if a.is_meta or b.is_meta or a.dtype != b.dtype or a.shape != b.shape:
        return False
    return (a.data_ptr(), a.stride()) == (b.data_ptr(), b.stride()) or torch.equal(a.to(b.device), b)


def bare_if_single(tensors: Tensors) -> TensorOrTuple:
    """Returns what Captum passes to a `perturb_func`: a bare tensor for one input, a tuple for several."""
    return tensors[0] if len(tensors) == 1 else tensors


def as_norm_order(norm_ord: Any) -> float:
    """Returns the order of a vector norm as a number."""
    order = plain(norm_ord)
    order = NORMS.get(order, math.nan) if isinstance(order, str) else order
    if not is_number(order):
        raise TypeError(f"`norm_ord` must be a number, 'fro' or 'nuc', got {describe(order)}.")
    if not (abs(order) <= sys.float_info.max or abs(order) == math.inf):
        raise ValueError(f"`norm_ord` must be a number, 'fro' or 'nuc', got {norm_ord!r}.")
    return float(order)


def batch_limit(max_examples_per_batch: int | None, batch: int) -> int:
    """Returns the largest number of rows in one call of the model.

    Without a limit it is the size of the batch, and at least 64, so that small batches are not slow.
    """
    if max_examples_per_batch is None:
        return max(batch, 64)
    return check_count("max_examples_per_batch", max_examples_per_batch)


@dataclass(frozen=True)
class Attributions:
    """The attributions of a batch by one or several methods.

    `maps[method][tensor]` has the shape of the input tensor, or size 1 along axes of which all elements share a value,
    such as the channels. `names` is None where the caller gave the attributions of one method without a name.
    """

    names: tuple[str, ...] | None
    maps: tuple[Tensors, ...]

    @property
    def labels(self) -> list[str]:
        """What errors call the attributions of each method."""
        return ["attributions"] if self.names is None else [f"attributions[{name!r}]" for name in self.names]

    def unpack(self, scores: Tensor, *outputs: torch.dtype, noise: Callable[[], Noise] | None = None) -> Scores:
        """Returns scores `[methods, B, ...]` as a tensor, or by name where the attributions were given by name.

        The scores get the type that attributions and model `outputs` promote to, see `score_type`. The `noise` of
        scores that depend on draws has their shape.
        """
        dtype = score_type(*(m.dtype for maps in self.maps for m in maps), *outputs)

        def as_scores(values: Tensor) -> Scores:
            values = values.to(dtype)
            return values[0] if self.names is None else dict(zip(self.names, values))

        return as_scores(scores) if noise is None else noted(as_scores(scores), noise, as_scores)


def as_attributions(attributions: AttributionsType, inputs: InputsType, target: Any = None) -> Attributions:
    """Returns the maps of each method. `target` says which values of an `LLMAttributionResult` are meant."""
    x = as_tuple(inputs)

    def maps_of(value: Any, name: str) -> Tensors:
        return attribution_maps(map_of(value, inputs, target, name) if is_result(value) else value, x, name)

    if not isinstance(attributions, Mapping):
        return Attributions(None, (maps_of(attributions, "attributions"),))
    if not attributions:
        raise ValueError("`attributions` must have at least one method, name -> attributions, got an empty mapping.")
    maps = tuple(maps_of(a, f"attributions[{name!r}]") for name, a in attributions.items())
    return Attributions(tuple(attributions), maps)


def attribution_maps(value: TensorOrTuple, inputs: Tensors, name: str) -> Tensors:
    maps = as_tuple(as_tensors(value), name)
    check_are_maps(maps, inputs, f"`{name}` must have")
    for a, x in zip(maps, inputs):
        check_has_values(name, a, x)
        check_not_nan(name, a)
    return tuple(
        (a if a.is_floating_point() else a.to(torch.get_default_dtype())).to(x.device) for a, x in zip(maps, inputs)
    )


def check_are_maps(maps: Tensors, inputs: Tensors, must: str) -> None:
    """Checks that there is a map for each tensor of the inputs, of its shape or of one with size 1 along some axes."""
    if len(maps) != len(inputs):
        raise ValueError(f"{must} one tensor for each of the {len(inputs)} tensors of `inputs`, got {len(maps)}.")
    for a, x in zip(maps, inputs):
        if not _is_map_of(a, x):
            spanned = f" or size 1 along some axes, such as {(len(x), 1, *x.shape[2:])}" if x.dim() > 2 else ""
            raise ValueError(f"{must} the shape of `inputs` {shape(x)}{spanned}, got {shape(a)}.{_other_shape(a, x)}")


def _is_map_of(a: Tensor, x: Tensor) -> bool:
    """Whether a map has the shape of its input, or size 1 along axes of which all elements share a value."""
    return a.shape == x.shape or (a.dim() == x.dim() > 2 and len(a) == len(x) and broadcasts(a, x))


def _other_shape(a: Tensor, x: Tensor) -> str:
    """Says how to bring a map into a shape that fits, where that is known."""
    if a.shape[:-1] == x.shape:
        return " For one value per token or position, add up the last axis: use .sum(-1)."
    axes = [axis for axis in range(1, x.dim()) if a.dim() == x.dim() - 1 and _is_map_of(a.unsqueeze(axis), x)]
    if axes:
        return f" For one value per position use .unsqueeze({axes[0]})."
    of_tokens = x.dim() == 4 and a.dim() in (2, 3) and len(a) == len(x)
    return " For the tokens of a vision transformer use feature_masks.token_map." if of_tokens else ""


def check_not_nan(name: str, tensor: Tensor) -> None:
    if examples := _with_nan(tensor):
        raise ValueError(f"`{name}` is NaN in example {examples}. Fix or drop these examples first.")


def check_sums(name: str, sums: Tensor) -> None:
    """Checks sums `[B, ...]` of attributions that are not NaN themselves."""
    if examples := _with_nan(sums):
        raise ValueError(
            f"`{name}` has inf and -inf in one feature of example {examples}, so that their sum is undefined. "
            "Make them finite first, as torch.nan_to_num does."
        )


def _with_nan(tensor: Tensor) -> str:
    """Returns the numbers of the first examples that have a NaN."""
    if tensor.is_meta:
        return ""
    return ", ".join(map(str, tensor.isnan().reshape(len(tensor), -1).any(1).cpu().nonzero().flatten().tolist()[:8]))


def as_baselines(baselines: BaselinesType, inputs: TensorOrTuple) -> tuple[float | Tensor, ...]:
    """Returns one replacement for each input tensor: a number, or a tensor with 1 or B rows."""
    return tuple(_baseline(b, x) for b, x in zip(baseline_values(baselines, inputs), as_tuple(inputs)))


def baseline_values(baselines: BaselinesType, inputs: TensorOrTuple) -> tuple[Any, ...]:
    """Returns what was given for each input tensor.

    A function is called on the inputs, None means 0, and a single number is used for all tensors.
    """
    tensors = as_tuple(inputs)
    if callable(baselines):
        check_function("baselines", baselines, "numbers, tensors or a function of the inputs")
        with torch.no_grad():
            baselines = Guard(baselines, "The function `baselines`", tensors)(as_given(tensors, inputs))
        if baselines is None:
            raise TypeError("The function `baselines` must return numbers or tensors, got None. Is a `return` missing?")
    baselines = plain(0 if baselines is None else baselines)
    if is_number(baselines):
        return (baselines,) * len(tensors)
    values = baselines if isinstance(baselines, tuple) else (baselines,)
    if len(values) != len(tensors):
        raise ValueError(
            f"`baselines` must have one entry for each of the {len(tensors)} tensors of `inputs`, got {len(values)}."
        )
    values = tuple(map(plain, values))
    for value in values:
        if not isinstance(value, Tensor) and not is_number(value):
            raise TypeError(f"`baselines` must be numbers, tensors or a function of the inputs, got {describe(value)}.")
    check_real("`baselines` must be", *(v for v in values if isinstance(v, Tensor)))
    return values


def _baseline(value: float | Tensor, x: Tensor) -> float | Tensor:
    if isinstance(value, Tensor):
        check_has_values("baselines", value, x)
    check_exact("baselines", value, x)
    if not isinstance(value, Tensor):
        return value if is_exact(x) else _as_float(value, x)
    if value.dim() not in (0, x.dim()) or not broadcasts(value, x):
        raise ValueError(
            f"`baselines` must broadcast to `inputs` {shape(x)} with 1 or {len(x)} rows, got {shape(value)}."
        )
    return value.detach().to(x).reshape(value.shape if value.dim() else (1,) * x.dim())


def _as_float(value: float, x: Tensor) -> float:
    most = torch.finfo(x.dtype).max
    if most < abs(value) < math.inf:
        raise ValueError(f"`baselines` must be a value that `inputs` of type {x.dtype} can hold, got {value}.")
    return float(value)


def as_replacements(baselines: BaselinesType, inputs: TensorOrTuple) -> tuple[float | Tensor | Fill, ...]:
    """Returns the same as `as_baselines`, or an object with `fill(inputs, mask)` for each input tensor.

    Such an object is tried here, on one row with nothing removed, so that a wrong one raises before any model call.
    """
    if not isinstance(baselines, Fill) or isinstance(baselines, (np.ndarray, np.generic)):
        return as_baselines(baselines, inputs)
    for x in as_tuple(inputs):
        row = x[:1].clone()
        with torch.no_grad():
            filled_in(baselines, row, torch.zeros_like(row, dtype=torch.bool))
    return (baselines,) * len(as_tuple(inputs))


def filled_in(baselines: Fill, rows: Tensor, mask: Tensor) -> Tensor:
    """Calls `fill` and checks what it returns."""
    check_function("baselines.fill", baselines.fill, "a function of rows and a mask")
    filled = called(baselines.fill, "`baselines.fill`", rows, mask)
    if not isinstance(filled, Tensor) or filled.shape != rows.shape:
        got = shape(filled) if isinstance(filled, Tensor) else describe(filled)
        raise ValueError(f"`baselines.fill` must return the rows it was given, {shape(rows)}, got {got}.")
    check_real("`baselines.fill` must return", filled)
    check_has_values("baselines.fill", filled, rows)
    check_exact("baselines.fill", filled, rows)
    return filled.to(rows)


def broadcasts(tensor: Tensor, to: Tensor) -> bool:
    return all(size in (1, wanted) for size, wanted in zip(reversed(tensor.shape), reversed(to.shape)))


def as_feature_mask(feature_mask: FeatureMaskType, inputs: TensorOrTuple) -> Tensors | None:
    """Returns masks of integer group ids.

    Each mask has as many axes as its input, and along each axis the size of the input or 1.
    """
    if feature_mask is None:
        return None
    if callable(feature_mask):
        check_function("feature_mask", feature_mask, "a tensor, a tuple of tensors or a function of the inputs")
        feature_mask = Guard(feature_mask, "The function `feature_mask`", inputs)(inputs)
    inputs = as_tuple(inputs)
    masks = (feature_mask,) if isinstance(feature_mask, Tensor) else feature_mask
    if not isinstance(masks, tuple) or not all(isinstance(m, Tensor) for m in masks):
        raise TypeError(f"`feature_mask` must be a tensor or a tuple of tensors, got {describe(feature_mask)}.")
    if len(masks) != len(inputs):
        raise ValueError(
            f"`feature_mask` must have one tensor for each of the {len(inputs)} tensors of `inputs`, got {len(masks)}."
        )
    for m, x in zip(masks, inputs):
        if m.is_floating_point() or m.is_complex():
            raise TypeError(
                f"`feature_mask` holds group ids and must be of an integer type, got {m.dtype}. Use mask.long()."
            )
        check_real("`feature_mask` must be", m)
        check_has_values("feature_mask", m, x)
        if m.dim() > x.dim() or not broadcasts(m, x):
            raise ValueError(
                f"`feature_mask` must broadcast to `inputs` {shape(x)}, got {shape(m)}. "
                "For one mask per position shared by channels give it shape (1, 1, H, W)."
            )
        check_unambiguous("feature_mask", m, x)
    return tuple(m.to(x.device).long().reshape((1,) * (x.dim() - m.dim()) + shape(m)) for m, x in zip(masks, inputs))


def of_batch(value: Any, inputs: TensorOrTuple, make: Callable[[Any, TensorOrTuple], Any]) -> Any:
    """Returns what a function makes of the inputs, once for all metrics that share; any other value as it is.

    Such a function may return something else at its next call, or the same tensor again with other values.
    """
    if not callable(value) or isinstance(value, Fill) or not is_sharing():
        return value
    return shared_as(("of batch", value, inputs, make), lambda: replaced(torch.clone, make(value, inputs)))


def check_unambiguous(name: str, mask: Tensor, x: Tensor) -> None:
    """Refuses `[B, H, W]` for inputs `[B, C, H, W]` with B = C, which may be a mask per example or per channel."""
    if mask.dim() == x.dim() - 1 > 1 and len(mask) == len(x) == x.shape[1] > 1:
        raise ValueError(
            f"`{name}` {shape(mask)} may have a mask for each example or for each index of axis 1 of `inputs` "
            f"{shape(x)}. Use .unsqueeze(1) for one per example, .unsqueeze(0) for the other."
        )


def as_frozen(frozen: FrozenType, masks: Tensors | None) -> Tensor:
    """Returns the given group ids as a tensor on the device of the masks."""
    if frozen is None:
        frozen = ()
    elif masks is None:
        raise ValueError(f"`frozen` holds ids of `feature_mask`, which is missing; got {frozen!r}. Give the mask too.")
    ids, _ = as_sequence("frozen", frozen)
    ids = [check_integer("`frozen` must be an id of `feature_mask`, an integer, or a list of them", v) for v in ids]
    return torch.tensor(ids, dtype=torch.long, device=masks[0].device if masks else None)


def as_args(additional_forward_args: Any, batch: int) -> tuple[Any, ...]:
    """Returns further arguments of the model as a tuple. Those with a row per example must be tensors."""
    if additional_forward_args is None:
        return ()
    args = additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)
    check_rows("additional_forward_args", args, batch)
    return args


def check_rows(name: str, values: tuple[Any, ...], batch: int) -> None:
    """Refuses lists and arrays as long as the batch, and dicts with such tensors: they would not follow the copies."""
    for value in values:
        found: list[Any] = [value] if isinstance(value, (list, np.ndarray)) else []
        found += tensors_in(dict(value)) if isinstance(value, Mapping) else []
        if any(_is_as_long(v, batch) for v in found):
            raise TypeError(
                f"`{name}` must be tensors where they have a row per example, got {describe(value)} with {batch} rows, "
                "as many as the examples. Make it a tensor, or, if all examples share it, set it in the model or in "
                "the function with functools.partial."
            )


def _is_as_long(value: Any, batch: int) -> bool:
    return getattr(value, "ndim", 1) > 0 and len(value) == batch > 1


def of_rows(value: Any, example: Tensor, batch: int) -> Any:
    """Returns a tensor that has a row per example with a row per copy; anything else is returned as it is."""
    if isinstance(value, Tensor) and value.dim() > 0 and len(value) == batch:
        return rows_at(value, example)
    return value


def as_sequence(name: str, value: Any) -> tuple[list[Any], bool]:
    """Returns the values as a list of Python's numbers, and whether the caller gave a single value."""
    if isinstance(value, Tensor):
        check_real(f"`{name}` must be", value)
        check_has_values(name, value, torch.zeros((), device="cpu"))
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.tolist()
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
    return (list(map(plain, value)), False) if several else ([plain(value)], True)


def each(function: Callable[[Tensor], Tensor], scores: Scores) -> Scores:
    """Applies a function to a tensor of scores, or to the scores of every method in a mapping."""
    return {name: function(s) for name, s in scores.items()} if isinstance(scores, dict) else function(scores)
