"""The explanations of a batch and of its perturbed copies, which the metrics of robustness share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count, islice
from typing import Any, Protocol

import torch
from torch import Tensor

from .arguments import TensorOrTuple, Tensors, as_tuple, flat
from .captum import Explanation
from .checks import check_choice, check_count, check_floating, check_not_negative
from .devices import rows_at
from .draws import SeedType, draw_seeds
from .estimates import noted, of_maximum
from .forward import Batches, Forward, Rows, copies_of, whole
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
from .sharing import shared_as, wanted
from .statistics import at_least_float32, norm, ratio
from .training import warn_of_training

OfRows = Callable[[Tensors, Tensor], Tensor]  # from rows and their examples to a value per row
Seen = tuple[Tensor, ...]  # what is compared of rows, `[rows, ...]` each
COMPARED = 2**18  # elements of an explanation that are compared with that of its example at a time
SEARCHES = ("random", "vertices", "block")


@dataclass(frozen=True)
class Change:
    """How far `of` a copy is from that of its example: the norm of the difference, or of its ratio to the latter.

    What is compared is the "explanation", the "inputs", or what a metric observes itself.
    """

    of: str
    order: float
    relative: bool = False

    def __call__(self, after: Seen, before: Seen) -> Tensor:
        """`[rows]`, from what was seen of copies and of their examples."""
        one, other = at_least_float32(after[0]), at_least_float32(before[0])
        return norm(ratio(one - other, other) if self.relative else one - other, self.order)


class Measure(Protocol):
    """A number for each copy, such as a `Change`. Equal measures are taken once for all metrics, so it is hashable."""

    @property
    def of(self) -> str: ...

    def __call__(self, after: Seen, before: Seen) -> Tensor: ...


@dataclass(frozen=True)
class Observer:
    """Sees something of rows, such as their explanation, which is compared with the same of their examples.

    `settings` are equal where the same is seen.
    """

    of_rows: Callable[[Tensors, Tensor], Seen]
    of_examples: Callable[[], Seen]
    settings: Any


class PerturbedExplanations:
    """Checks the arguments, makes perturbed copies, and measures how they differ from their examples.

    No call gets more rows than the limit. `explain` is the explanation as a function of rows.
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
        self.batches = Batches.of_explanations(max_examples_per_batch, self.inputs)
        self.explain = Explanation(explanation_func, inputs, kwargs)
        warn_of_training(explanation_func, "The model of `explanation_func`")
        # With seed None, torch's global generator is not advanced for a `perturb_func` of the caller's.
        self.seeds = draw_seeds(seed if own or seed is not None else 0, self.batch, self.draws)
        self.calls = [self.draws] if own else draws_per_call(self.draws, self.batch, max_examples_per_batch)
        # Copies that somebody else draws, or that nobody could draw again, are measured for one metric alone.
        self.copied = (inputs, perturb_radius, self.draws, search, seed, max_examples_per_batch)
        self.repeatable = own and seed is not None
        explained = self.explain.made_by, sorted(kwargs.items())
        self._seen: dict[str, Seen] = {}
        self.observers = {
            "inputs": Observer(lambda rows, _: (flat(rows),), lambda: (flat(self.inputs),), "inputs"),
            "explanation": Observer(lambda *rows: (self.explain(*rows),), lambda: (self.phi,), explained),
        }

    @cached_property
    def phi(self) -> Tensor:
        """`[B, elements]`: the explanation of every example."""
        return self.explain.of_examples(self.batches)

    def observe(
        self,
        name: str,
        f: Forward,
        output: Callable[[Tensors, Tensor], Seen],
        settings: tuple[Any, ...],
        of_examples: Callable[[], Iterable[Seen]] | None = None,
    ) -> None:
        """Lets changes be those of what `output` sees by calls of the model, of which the last is the model's output.

        `of_examples` makes the same of the examples, where that takes other calls. Call it before `measured`.
        """

        def seen(rows: Tensors, example: Tensor) -> Seen:
            return _joined(f.batches.map(output, [(tuple(r.clone() for r in rows), example)]))

        of_whole = (lambda: seen(*whole(self.inputs))) if of_examples is None else (lambda: _joined(of_examples()))
        self.observers[name] = Observer(seen, of_whole, settings)

    def measured(self, score: Callable[..., Tensor], *measures: Measure) -> Tensor:
        """`[B, draws]`: a score of the copies, from their measures. A search looks for copies with large scores."""
        with torch.no_grad():
            for measure in measures:
                self.seen(measure.of)
            if self.search == "block":
                return self._by_blocks(lambda rows, example: score(*self._measures(measures, rows, example)))
            found = self._of_copies(measures)
            return by_example(score(*(found[measure] for measure in measures)), self.batch, self.calls)

    def _of_copies(self, measures: Sequence[Measure]) -> Mapping[Measure, Tensor]:
        """Takes what was not yet measured of the copies; while they are there, also what other metrics will want."""
        tables = {name: self._table(name) for name in self.observers}
        missing = [m for m in measures if m not in tables[m.of]]
        if missing:
            seen = {"inputs", *(m.of for m in missing)}
            others = (m for m in wanted(Change) if m.of in seen and m not in tables[m.of])
            taken = list(dict.fromkeys((*missing, *others)))
            parts = self.batches.map(partial(self._measures, taken), self._copies())
            for measure, values in zip(taken, map(torch.cat, zip(*parts))):
                tables[measure.of][measure] = values
        return {m: tables[m.of][m] for m in measures}

    def _table(self, name: str) -> dict[Measure, Tensor]:
        """The measures so far, `[rows]` each."""
        if not self.repeatable:
            return {}
        return shared_as(("measures", self.copied, self.observers[name].settings), dict)

    def _measures(self, measures: Sequence[Measure], rows: Tensors, example: Tensor) -> list[Tensor]:
        found: dict[Measure, Tensor] = {}
        # The explanation comes last, as it may write into the rows.
        for name in sorted({m.of for m in measures}, key=lambda name: (name == "explanation", name)):
            own = [m for m in measures if m.of == name]
            after = self.observers[name].of_rows(rows, example)
            found |= dict(zip(own, _compared(own, after, self.seen(name), example)))
        return [found[m] for m in measures]

    def seen(self, name: str) -> Seen:
        """What is seen of the examples."""
        if name not in self._seen:
            observer = self.observers[name]
            key = "seen", self.copied[0], self.copied[-1], observer.settings
            self._seen[name] = observer.of_examples() if name == "explanation" else shared_as(key, observer.of_examples)
        return self._seen[name]

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
                up = rows_at(corner, example).split([x[0].numel() for x in self.inputs], 1)
                steps = (u.reshape(-1, *x.shape[1:]) for u, x in zip(up, self.inputs))
                rows = copies_of(self.inputs, example)[0]
                yield tuple(x + step_to(s, self.radius, x) for s, x in zip(steps, rows)), example

        return torch.cat(list(self.batches.map(function, copies())))


def _compared(measures: Sequence[Measure], after: Seen, before: Seen, example: Tensor) -> Iterator[Tensor]:
    """Each measure of the rows; few large ones at a time, as what is seen of their examples is a copy for each row."""
    size = max(COMPARED // max(1, after[0][0].numel()), 1)
    parts = []
    for of_rows, own in zip(zip(*(t.split(size) for t in after)), example.split(size)):
        of_examples = tuple(rows_at(t, own) for t in before)
        parts.append([m(of_rows, of_examples) for m in measures])
    return map(torch.cat, zip(*parts))


def _joined(parts: Iterable[Seen]) -> Seen:
    # Cloned, because a model may return the same tensor again with the values of its next call.
    return tuple(map(torch.cat, zip(*([p.clone() for p in part] for part in parts))))


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
