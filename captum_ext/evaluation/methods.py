"""Explanation methods in every form in which a caller may give one, and the random control."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from .._core.checks import as_captum_takes, as_tensors, describe, is_exact, missing_arguments
from .._core.memory import ExplainedWithinMemory
from .attributions_file import StoredArray, by_rows, open_attributions, rows_of_dataset
from .examples import Batch, Tensors

METHOD = "a Captum class or object, a function of the model, a tensor or a path"


def random_attribution(forward_func: Any = None, *, seed: int = 0) -> Callable[..., Any]:
    """The control: attributions that are standard normal noise, for `methods={"random": random_attribution, ...}`.

    The map of an example depends on the example's values and on `seed` alone, so batches, processes and order do not
    matter; for several controls use ``partial(random_attribution, seed=1)`` and so on. Inputs of an integer type, such
    as token ids, get maps of the default floating point type. Of `forward_func` no output is used; if it is a
    `captum_ext.llm.LogProbability`, whose inputs are all ones, the number of the prompt is in place of the values.

    Returns:
        a function with Captum's arguments that gives noise in the shape of the inputs.

    Example:
        >>> explain = random_attribution()
        >>> x = torch.ones(2, 3)
        >>> explain(x, target=0).shape, bool((explain(x)[0] == explain(x[1:])[0]).all())
        (torch.Size([2, 3]), True)
    """
    return functools.partial(_random_maps, seed=seed, of_prompts=hasattr(forward_func, "interpretable_inputs"))


def _random_maps(
    inputs: Tensor | Tensors, *, seed: int, of_prompts: bool = False, additional_forward_args: Any = None, **_: Any
) -> Tensor | Tensors:
    tensors = (inputs,) if isinstance(inputs, Tensor) else inputs
    generators = generators_of(tensors, seed, additional_forward_args if of_prompts else None)
    noise = (torch.stack([_noise(x, g) for g in generators]) for x in tensors)
    maps = tuple(e.to(x.device if is_exact(x) else x) for e, x in zip(noise, tensors))
    return maps[0] if isinstance(inputs, Tensor) else maps


def generators_of(inputs: Tensors, seed: int, numbers: Any = None) -> list[torch.Generator]:
    """One for each example, by its contents and the seed; `numbers` tell apart what has the same contents."""
    numbers = numbers if isinstance(numbers, tuple) else (numbers,)
    telling = (*inputs, *numbers) if isinstance(numbers[0], Tensor) else inputs
    contents = zip(*([_checksum(row) for row in x.detach().cpu()] for x in telling))
    return [generator_of(seed, row) for row in contents]


def generator_of(*drawn_by: Any) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(repr(drawn_by).encode()))


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Of one example, with the resolution of float64 where that is the type of the inputs."""
    dtype = torch.float64 if x.dtype == torch.float64 else None
    return torch.randn(x.shape[1:], generator=generator, device="cpu", dtype=dtype)


def _checksum(row: Tensor) -> int:
    return zlib.crc32(row.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())


OF_A_DISTRIBUTION = ("DeepLiftShap", "GradientShap")  # Captum's methods whose baselines all examples share


class Method:
    """A named explanation of the model: a function with Captum's arguments, or attributions stored for every example.

    `factory` makes the function from a model; it is None if a ready-made explanation was given.
    """

    def __init__(
        self,
        name: str,
        explain: Callable[..., Any] | None,
        stored: Any = None,
        factory: Callable[..., Any] | None = None,
    ):
        self.name, self.explain, self.stored, self.factory = name, explain, stored, factory
        self.explained = ExplainedWithinMemory(explain)
        self.draws = explain is not None and draws_at_random(explain)
        # FeaturePermutation swaps the values of examples, so it cannot be called for one alone.
        self.compares_examples = explain is not None and is_captums(explain, ["FeaturePermutation"])

    def lacks(self, parameters: Collection[str]) -> str | None:
        """Why a metric with such parameters cannot score the method."""
        if "explanation_func" in parameters and self.explain is None:
            return "stored attributions cannot be computed for other inputs"
        if "explanation_factory" in parameters and self.factory is None:
            return (
                "a ready-made explanation cannot be rebuilt for another model: "
                "give a Captum class or `lambda model: ...`"
            )
        return None

    def attributions(self, batch: Batch, limit: int | None) -> Any:
        if self.explain is None:
            device = (batch.inputs if isinstance(batch.inputs, Tensor) else batch.inputs[0]).device
            return _map(lambda a: rows_of(a, batch.indices).detach().to(device, copy=True), self.stored)
        parts = []
        for part in batch.split(limit or len(batch)):
            arguments = explanation_arguments(self.explain, part, limit, len(part))
            result = self.explained(self.explain, part.inputs, arguments, f"Method {self.name!r}")
            # Copied, as stored rows are, because code of others may return the same memory again with other values.
            parts.append(_map(lambda t: t.detach().clone(), result))
        return joined(parts)


def explanation_arguments(explain: Callable[..., Any], batch: Batch, limit: int | None, rows: int) -> dict[str, Any]:
    """The batch's arguments for an explanation, and those that keep Captum's copies of `rows` within the limit."""
    fixed, named = set_arguments(explain), inspect.signature(explain).parameters
    arguments = {name: batch.extra[name] for name in own_arguments(explain, batch.extra)}
    arguments |= accepted(explain, target=batch.target, additional_forward_args=batch.additional_forward_args)
    if limit is not None:
        copies = {"internal_batch_size": limit, "nt_samples_batch_size": max(limit // rows, 1)}
        arguments |= {name: value for name, value in copies.items() if name in named}
    return as_captum_takes(explain, {name: value for name, value in arguments.items() if name not in fixed})


def own_arguments(explain: Callable[..., Any], extra: Mapping[str, Any]) -> set[str]:
    """The names of an example's own values that reach the explanation: of arguments that it takes by name.

    Some take `baselines` as a distribution, which all examples share. A mask of which some ids are `frozen` would mean
    something else without these.
    """
    names = {name for name, value in extra.items() if value is not None} & {*inspect.signature(explain).parameters}
    if is_captums(explain, [kind + name for kind in ("", "Layer", "Neuron") for name in OF_A_DISTRIBUTION]):
        names -= {"baselines"}
    return names - ({"feature_mask"} if "frozen" in extra and "frozen" not in names else set())


def joined(parts: list[Any]) -> Any:
    """Concatenates the rows of tensors, of the tensors of tuples, or of the entries of mappings."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], dict):
        return {name: joined([p[name] for p in parts]) for name in parts[0]}
    return torch.cat(parts) if isinstance(parts[0], Tensor) else tuple(map(torch.cat, zip(*parts)))


def draws_at_random(explain: Callable[..., Any]) -> bool:
    """Whether this is a method of Captum's that draws from global generators."""
    random = [kind + "GradientShap" for kind in ("", "Layer", "Neuron")] + [
        "NoiseTunnel",
        "LimeBase",
        "ShapleyValueSampling",
    ]
    return is_captums(explain, random)


def is_captums(explain: Callable[..., Any], classes: list[str]) -> bool:
    """Whether this is the `attribute` of an object of one of Captum's classes."""
    explain = _innermost(explain)
    attr = sys.modules.get("captum.attr")  # an object of Captum's exists only if Captum was imported
    kinds = tuple(getattr(attr, name) for name in classes if hasattr(attr, name))
    return isinstance(getattr(explain, "__self__", None), kinds)


def set_arguments(function: Callable[..., Any]) -> set[str]:
    """The names that `functools.partial` has set."""
    return {*function.keywords, *set_arguments(function.func)} if isinstance(function, functools.partial) else set()


def with_absolute_paths(methods: Mapping[str, Any]) -> dict[str, Any]:
    """The methods, where a stored one keeps its file though the working folder may change, and tables are arrays.

    Arrays of open files are read row by row, here and in other processes.
    """
    arrays = {name: _map(as_rows, m) for name, m in methods.items()}
    return {name: os.path.abspath(m) if _is_file(m) else m for name, m in arrays.items()}


def as_rows(value: Any) -> Any:
    """An array in place of a table; what may lie in a file is not read yet."""
    is_table = hasattr(value, "to_numpy") and not isinstance(value, xr.DataArray)
    return value.to_numpy() if is_table else by_rows(value)


def _is_file(method: Any) -> bool:
    return isinstance(method, (str, os.PathLike)) and os.path.isfile(method)


def as_method(
    name: str, method: Any, model: Any, examples: int, extra: Callable[[], Mapping[str, Any]] = dict
) -> Method:
    """A Captum class, a function of the model, a ready Captum object, or stored attributions.

    `extra` tells the values that an example has of its own.
    """
    if isinstance(method, str) and method.isidentifier() and not os.path.exists(method):
        raise ValueError(
            f"Method {name!r}: there is no file {method!r}. A string is the path of stored attributions; for a method "
            "of Captum give its class, such as captum.attr.IntegratedGradients."
        )
    if isinstance(method, (str, os.PathLike)):
        method = open_attributions(Path(method), name)
    if is_stored(method):
        for a in method if isinstance(method, tuple) else (method,):
            if a.shape[0] != examples:
                raise ValueError(
                    f"The attributions of method {name!r}{f' in {a.path}' if isinstance(a, StoredArray) else ''} have "
                    f"{a.shape[0]} rows, but `data` has {examples} examples."
                )
        return Method(name, None, method)
    if not callable(method) and not hasattr(method, "attribute"):
        raise TypeError(f"Method {name!r} must be {METHOD}, got {describe(method)}.")
    if (ready := ready_explanation(method)) is not None:
        return Method(name, _complete(ready, name, extra))
    return Method(name, _complete(explanation_made(method, model, name), name, extra), factory=method)


def _complete(explain: Callable[..., Any], name: str, extra: Callable[[], Mapping[str, Any]]) -> Callable[..., Any]:
    """Checks that the explanation needs nothing but what a batch has."""
    missing = missing_arguments(explain, ("target", "additional_forward_args"))
    if missing:  # only then is an example loaded, which may take long
        own = own_arguments(explain, extra())
        missing = [argument for argument in missing if argument not in own]
    if not missing:
        return explain
    of_captum = type(getattr(explain, "__self__", None)).__name__
    made = f"{of_captum}(model).attribute" if hasattr(explain, "__self__") else "function"
    raise TypeError(
        f"Method {name!r} needs `{missing[0]}`, which no batch has. Set it: "
        f"`lambda model: partial({made}, {missing[0]}=...)`, or give each example its own, as "
        f"{{{missing[0]!r}: ...}} in the fourth part of `data`."
    )


def ready_explanation(method: Any) -> Callable[..., Any] | None:
    """The explanation of a ready-made object, or of its `attribute`; None if it must be made from the model."""
    if hasattr(method, "attribute") and not isinstance(method, type):
        return method.attribute
    of_object = hasattr(getattr(_innermost(method), "__self__", None), "attribute")
    return method if of_object else None  # with or without some arguments set


def _innermost(function: Any) -> Any:
    """What a partial function calls, or maps that are changed."""
    while hasattr(function, "func"):
        function = function.func
    return function


def explanation_made(method: Any, model: Any, name: str) -> Callable[..., Any]:
    try:
        made = method(model)
    except Exception as error:
        raise TypeError(
            f"Method {name!r} could not be made from the model: {error} Give a Captum class, a ready object, or a "
            "function of the model that returns one (`lambda model: ...`)."
        ) from error
    if hasattr(made, "attribute") and not isinstance(made, type):
        return made.attribute
    if not callable(made) or isinstance(made, type) or made is model:
        got = f"the class {made.__name__}" if isinstance(made, type) else type(made).__name__
        raise TypeError(
            f"Method {name!r} must make an explanation of the model, a Captum object or a function, got {got}. "
            "A function of inputs and target is given as `lambda model: function`."
        )
    return made


def accepted(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """The arguments that have a value and that the function takes."""
    parameters = inspect.signature(function).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {k: v for k, v in arguments.items() if v is not None and (takes_all or k in parameters)}


def rows_of(stored: Any, rows: Sequence[int]) -> Tensor:
    """Some rows of stored attributions, of which no more are read."""
    found = rows_of_dataset(stored, rows) if isinstance(stored, h5py.Dataset) else stored[rows]
    return torch.as_tensor(as_tensors(found.to_numpy() if isinstance(found, xr.DataArray) else found))


def is_stored(value: Any) -> bool:
    parts = value if isinstance(value, tuple) and value else (value,)
    return all(hasattr(p, "shape") and hasattr(p, "__getitem__") and _has_rows_of_numbers(p) for p in parts)


def _has_rows_of_numbers(value: Any) -> bool:
    if isinstance(value, xr.DataArray):
        value = np.empty(value.shape[:1], value.dtype)
    return len(value.shape) > 0 and (not isinstance(value, np.ndarray) or isinstance(as_tensors(value[:1]), Tensor))


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    return tuple(function(v) for v in value) if isinstance(value, tuple) else function(value)
