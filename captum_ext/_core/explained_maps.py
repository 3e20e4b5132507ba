"""The maps of a batch: the explanation of every example, computed for a limited number of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import TensorOrTuple, Tensors, as_tuple
from .captum import Explanation, as_factory
from .devices import sent
from .forward import Batches, Rows, whole
from .guard import called
from .sharing import is_sharing, key_of, made_of
from .statistics import wide
from .swapped import own_hooks

# Makes copies of the inputs, at most `size()` rows at a time, where `size` is the second argument.
Copies = Callable[[Tensors, Callable[[], int]], Iterable[Rows]]


def each_once(x: Tensors, size: Callable[[], int]) -> Iterable[Rows]:
    return [whole(x)]


class MapsOfModels:
    """The maps of one batch for several models, by the explanations that a factory makes of the models."""

    def __init__(
        self,
        explanation_factory: Any,
        inputs: TensorOrTuple,
        max_examples_per_batch: int | None,
        kwargs: dict[str, Any],
        copies: Copies = each_once,
    ):
        self.given = explanation_factory
        self.factory, self.inputs, self.kwargs, self.copies = as_factory(explanation_factory), inputs, kwargs, copies
        self.x = as_tuple(inputs)
        self.batches = Batches.of_explanations(max_examples_per_batch, self.x)
        self.dtype = torch.float32  # of scores made from the maps; set by each call of `maps`
        self.warned: set[str] = set()  # explanations that write into what they are given

    def key_of(self, model: nn.Module) -> tuple[Any, ...]:
        """Returns the key under which the maps of a model are shared."""
        return key_of(made_of(self.given, model), self.inputs, self.kwargs)

    def maps(self, model: nn.Module, as_it_is: bool = False) -> Tensors:
        """Returns the maps of a model; metrics share those of a model `as_it_is`, without changes for a while."""
        # An explanation that is made anew each time may add hooks, which must not reach metrics that share with this.
        # In a call of one metric they stay, as the factory may keep an explanation that it made, which needs them.
        with own_hooks(model) if is_sharing() else nullcontext():
            explanation = called(self.factory, "`explanation_factory`", model)
            name, made_by = "What `explanation_factory` makes of a model", made_of(self.given, model)
            explain = Explanation(explanation, self.inputs, self.kwargs, name, self.warned, made_by)
            if as_it_is and self.copies is each_once:
                maps = explain.maps(wide(explain.of_examples(self.batches)))
            else:
                maps = mean_maps(explain, self.copies(self.x, lambda: self.batches.limit), self.batches)
        self.dtype = explain.dtype
        return maps


def mean_maps(explain: Explanation, copies: Iterable[Rows], batches: Batches) -> Tensors:
    """`[B, ...]`: the mean of the maps over the copies of each example, in the type of statistics.

    All examples must have the same number of copies.
    """
    examples: list[Tensor] = []

    def noted(rows: Tensors, example: Tensor) -> Tensor:
        phi = wide(explain(rows, example))
        examples.append(example)
        return phi

    total, rows = torch.zeros((), device="cpu"), 0
    for phi in batches.map(noted, copies):
        total = phi.new_zeros(explain.batch, phi.shape[1]) if rows == 0 else total
        total.index_add_(0, sent(examples.pop(), phi.device), phi)
        rows += len(phi)
    return explain.maps(total / (rows // explain.batch))
