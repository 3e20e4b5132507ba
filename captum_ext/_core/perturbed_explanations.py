"""The explanations of a batch and of its perturbed copies, which the metrics of robustness share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor

from .arguments import TensorOrTuple, Tensors, as_tuple, flat
from .captum import Explanation
from .checks import check_choice, check_count, check_floating, check_not_negative
from .draws import SeedType, draw_seeds
from .estimates import noted, of_maximum
from .forward import Batches, Rows, whole
from .guard import Guard
from .perturbations import (
    at_corners,
    by_example,
    call_by_call,
    check_moves,
    check_perturb_func,
    default_perturb_func,
    draws_per_call,
    in_ball,
    perturbed,
    signs,
    step_to,
    takes_radius,
)
from .training import warn_of_training

OfRows = Callable[[Tensors, Tensor], Tensor]  # from rows and their examples to a value per row
SEARCHES = ("random", "vertices", "block")


class PerturbedExplanations:
    """Checks the arguments, makes perturbed copies, and maps functions of rows over the examples or their copies.

    No call gets more rows than the limit. `explain` is the explanation as such a function. A function that also
    measures the rows must do so before it explains them.
    """

    def __init__(
        self,
        explanation_func: Any,
        inputs: TensorOrTuple,
        perturb_func: Callable[..., Any] = default_perturb_func,
        perturb_radius: float = 0.02,
        n_perturb_samples: int = 10,
        max_examples_per_batch: int | None = None,
        *,
        search: str = "random",
        seed: SeedType = None,
        **kwargs: Any,
    ):
        self.inputs = as_tuple(inputs)
        self.batch, self.draws = len(self.inputs[0]), check_count("n_perturb_samples", n_perturb_samples)
        check_perturb_func(perturb_func)
        own = perturb_func is default_perturb_func
        check_search(search, own)
        if own:
            check_floating(self.inputs, "noise is added to them")
            perturb_radius = check_not_negative("perturb_radius", perturb_radius)
            check_moves(self.inputs, perturb_radius)
        self.perturb_func, self.radius, self.search = None if own else perturb_func, perturb_radius, search
        self.batches = Batches(max_examples_per_batch, self.batch)
        self.explain = Explanation(explanation_func, inputs, kwargs)
        warn_of_training(explanation_func, "The model of `explanation_func`")
        # With seed None, torch's global generator is not advanced for a `perturb_func` of the caller's.
        self.seeds = draw_seeds(seed if own or seed is not None else 0, self.batch, self.draws)
        self.calls = [self.draws] if own else draws_per_call(self.draws, self.batch, max_examples_per_batch)

    def of_examples(self, function: OfRows) -> Tensor:
        """`[B, ...]`: the function's values of every example, unperturbed."""
        with torch.no_grad():
            # Cloned, because an explanation may return the same tensor again with the values of its next call.
            return torch.cat([value.clone() for value in self.batches.map(function, [whole(self.inputs)])])

    def pairs_of_examples(self, function: Callable[[Tensors, Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Returns the same for a function that returns two values."""
        with torch.no_grad():
            pairs = ((a.clone(), b.clone()) for a, b in self.batches.map(function, [whole(self.inputs)]))
            first, second = zip(*pairs)
        return torch.cat(first), torch.cat(second)

    def of_copies(self, function: OfRows) -> Tensor:
        """`[B, draws]`: the function's values of every perturbed copy. A search looks for copies with large values."""
        with torch.no_grad():
            if self.search == "block":
                return self._by_blocks(function)
            return by_example(torch.cat(list(self.batches.map(function, self._copies()))), self.batch, self.calls)

    def largest(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """`[B]`, in that type: the largest value of an example's copies `[B, n]`; nan if all are left out, as -inf."""

        def of_copies(values: Tensor) -> Tensor:
            return values.masked_fill(values == -torch.inf, torch.nan).to(dtype)

        scores = of_copies(values.amax(1))
        return noted(scores, lambda: of_maximum(values, self.search != "block"), of_copies)

    def _copies(self) -> Iterator[Rows]:
        if self.perturb_func is None:
            place = at_corners if self.search == "vertices" else in_ball
            yield from place(self.inputs, self.radius, self.seeds, lambda: self.batches.limit)
            return
        radius = (self.radius,) if takes_radius(self.perturb_func) else ()
        perturb = Guard(self.perturb_func, "`perturb_func`", radius)
        for copies in call_by_call(self.inputs, self.calls):
            yield perturbed(perturb, copies, *radius), copies[1]

    def _by_blocks(self, function: OfRows) -> Tensor:
        """Starts at a random corner and flips block after block, keeping a flip if it makes the value larger.

        Each flip costs one copy.
        """
        corner = flat(signs(self.seeds[:, 0], self.inputs))  # [B, E]
        values = [self._at(corner, function)]
        best = values[0]
        for block in islice(blocks(corner.shape[1]), self.draws - 1):
            other = corner.clone()
            other[:, block] ^= True
            values.append(self._at(other, function))
            larger = (values[-1] > best) | best.isnan()
            corner, best = torch.where(larger[:, None], other, corner), torch.where(larger, values[-1], best)
        return torch.stack(values, 1)

    def _at(self, corner: Tensor, function: OfRows) -> Tensor:
        def copies() -> Iterator[Rows]:
            for example in torch.arange(self.batch, device="cpu").split(self.batches.limit):
                up = corner[example].split([x[0].numel() for x in self.inputs], 1)
                steps = (u.reshape(-1, *x.shape[1:]) for u, x in zip(up, self.inputs))
                yield tuple(x[example] + step_to(s, self.radius, x) for s, x in zip(steps, self.inputs)), example

        return torch.cat(list(self.batches.map(function, copies())))


def blocks(elements: int) -> Iterator[slice]:
    """Yields halves, then quarters and so on down to single elements, which are then repeated without end."""
    for level in count(1):
        parts = min(2**level, elements)
        for i in range(parts):
            yield slice(i * elements // parts, (i + 1) * elements // parts)


def check_search(search: Any, own: bool) -> None:
    check_choice("search", search, SEARCHES)
    if search != "random" and not own:
        raise ValueError(
            f"`search` must be 'random' with a `perturb_func` of your own, got {search!r}: "
            "corners are those of the default's ball."
        )
