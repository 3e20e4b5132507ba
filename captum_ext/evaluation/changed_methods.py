"""Methods whose maps are changed on purpose, to see how a metric takes it: shuffled, or by a function."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._core.checks import as_captum_takes, as_tensors, check_count, check_function, describe, explained, shape
from .attributions_file import open_attributions
from .examples import Tensors
from .methods import (
    METHOD,
    as_rows,
    explanation_made,
    generator_of,
    generators_of,
    is_stored,
    ready_explanation,
    rows_of,
)

Change = Callable[[Tensors, list[torch.Generator]], Tensors]  # of the maps, with a generator for each example


def shuffled_attribution(method: Any, *, seed: int = 0) -> Any:
    """The same method with the values of each map in random order: as large, and at other places.

    It is a method for `evaluate`, as `method` is. A metric that takes notice of where the values are scores it lower
    than the method itself: see :meth:`Evaluation.meta_evaluation`. The order depends on `seed` and on the example
    alone: on its values, as in `random_attribution`, or on its index where the attributions are stored. Batches,
    processes and order do not matter. The values of each tensor of a tuple stay in that tensor.

    A metric that explains other inputs too, such as `sensitivity_max`, finds them shuffled in another order, so it sees
    maps that change at random. Of stored attributions it can have none.

    Args:
        method: any form of a method that `evaluate` takes. Attributions in memory are shuffled at once, those in a
            file when rows are read: then what is returned has a `shape`, and gives rows as a tensor for a list of
            indices.
        seed: a whole number; another one gives another order.

    Example:
        >>> mixed = shuffled_attribution(torch.arange(6.0).reshape(2, 3))
        >>> mixed.sort(1).values
        tensor([[0., 1., 2.],
                [3., 4., 5.]])
    """
    return _changed(method, _shuffled, check_count("seed", seed, least=0))


def changed_attribution(method: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same method with a function applied to its maps, such as ``functools.partial(torch.mul, other=3)``.

    It is a method for `evaluate`, as `method` is: what a metric should not take notice of, for
    :meth:`Evaluation.meta_evaluation`, or any step that comes after an explanation, such as a threshold.

    Args:
        method: any form of a method that `evaluate` takes. Stored attributions are changed when
            `shuffled_attribution` would shuffle them.
        change: gets a tensor of maps with a row per example, each tensor of a tuple by itself, and returns as many
            rows. Worker processes need a function that can be pickled, one of a module.

    Example:
        >>> changed_attribution(torch.tensor([[-1.0, 2.0]]), torch.abs)
        tensor([[1., 2.]])
    """
    check_function("change", change, "a function of maps")
    return _changed(method, functools.partial(_each, function=change), 0)


class ChangedMaps:
    """An explanation whose maps are changed; to callers it has the arguments of the explanation `func`."""

    def __init__(self, func: Callable[..., Any], change: Change, seed: int, of_prompts: bool):
        self.func, self.change, self.seed, self.of_prompts = func, change, seed, of_prompts

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.func)

    def __call__(self, inputs: Tensor | Tensors, **kwargs: Any) -> Tensor | Tensors:
        maps = explained(self.func, inputs, as_captum_takes(self.func, kwargs), "The method whose maps are changed")
        numbers = kwargs.get("additional_forward_args") if self.of_prompts else None
        x = inputs if isinstance(inputs, tuple) else (inputs,)
        return _of_maps(maps, self.change, generators_of(x, self.seed, numbers))


class ChangedRows:
    """One tensor of stored attributions, of which rows are read and changed when they are needed."""

    def __init__(self, stored: tuple[Any, ...], change: Change, seed: int, tensor: int):
        self.stored, self.change, self.seed, self.tensor = stored, change, seed, tensor
        self.shape = (len(self), *self[[0]].shape[1:])

    def __len__(self) -> int:
        return int(self.stored[0].shape[0])

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        maps = tuple(rows_of(tensor, rows) for tensor in self.stored)
        return self.change(maps, [generator_of(self.seed, int(row)) for row in rows])[self.tensor]


def _changed(method: Any, change: Change, seed: int) -> Any:
    if isinstance(method, (str, os.PathLike)):
        method = open_attributions(Path(method), Path(method).stem)
    method = tuple(map(as_rows, method)) if isinstance(method, tuple) else as_rows(method)
    if is_stored(method):
        return _of_stored(method, change, seed)
    if (ready := ready_explanation(method)) is not None:
        return ChangedMaps(ready, change, seed, False)
    if not callable(method):
        raise TypeError(f"`method` must be {METHOD}, got {describe(method)}.")
    return functools.partial(_made_and_changed, method=method, change=change, seed=seed)


def _of_stored(stored: Any, change: Change, seed: int) -> Any:
    parts = stored if isinstance(stored, tuple) else (stored,)
    if all(isinstance(part, (Tensor, np.ndarray)) for part in parts):
        generators = [generator_of(seed, index) for index in range(len(parts[0]))]
        return _of_maps(as_tensors(stored), change, generators)
    changed = tuple(ChangedRows(parts, change, seed, number) for number in range(len(parts)))
    return changed[0] if len(changed) == 1 else changed


def _made_and_changed(model: Any, *, method: Any, change: Change, seed: int) -> ChangedMaps:
    explain = explanation_made(method, model, "whose maps are changed")
    return ChangedMaps(explain, change, seed, hasattr(model, "interpretable_inputs"))


def _of_maps(maps: Tensor | Tensors, change: Change, generators: list[torch.Generator]) -> Tensor | Tensors:
    return change(maps, generators) if isinstance(maps, tuple) else change((maps,), generators)[0]


def _shuffled(maps: Tensors, generators: list[torch.Generator]) -> Tensors:
    return tuple(torch.stack([_in_random_order(row, g) for row, g in zip(m, generators)]) for m in maps)


def _in_random_order(values: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(values.numel(), generator=generator, device="cpu").to(values.device)
    return values.reshape(-1)[order].reshape(values.shape)


def _each(maps: Tensors, generators: list[torch.Generator], *, function: Callable[[Tensor], Tensor]) -> Tensors:
    return tuple(_of_rows(function(m.clone()), m) for m in maps)


def _of_rows(changed: Any, maps: Tensor) -> Tensor:
    if not isinstance(changed, Tensor):
        raise TypeError(f"`change` must return a tensor of maps, got {describe(changed)}.")
    if shape(changed)[:1] != (len(maps),):
        raise ValueError(f"`change` must return a row for each of the {len(maps)} that it got, got {shape(changed)}.")
    return changed
