"""Calls the model on a stream of rows, never with more rows than the limit, and returns one number per row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .arguments import Tensors, as_args, batch_limit, of_rows, same_values
from .checks import check_flag, check_function, check_has_values
from .devices import rows_at
from .guard import Guard, called, copied, frames_of_package, versions
from .memory import is_out_of_memory, rows_explained, rows_per_call, warn_of_memory
from .sharing import outputs_for
from .statistics import wide
from .target import TargetType, as_distribution, as_target, check_output, logits_of, select_target
from .training import warn_of_training

T = TypeVar("T")
Rows = tuple[Tensors, Tensor]  # copies of examples, and which example each is a copy of (on the CPU)
Read = Callable[[Tensor, Tensor], Tensor]  # from outputs before activation and their examples to a value per row
See = Callable[[Tensor], Any]
OF_BACKWARD = ("requires grad", "derivative", "backward")  # what errors say where a model has no gradient


def ignored(output: Tensor) -> None:
    """Sees outputs of which nothing is kept."""


def whole(inputs: Tensors) -> Rows:
    """Returns every example once, unperturbed."""
    return copies_of(inputs, torch.arange(len(inputs[0]), device="cpu"))


def copies_of(inputs: Tensors, example: Tensor) -> Rows:
    return tuple(rows_at(x, example) for x in inputs), example


class Batches:
    """Cuts a stream of rows into full batches and maps a function over them; halves the batch when memory runs out."""

    def __init__(self, max_examples_per_batch: int | None, batch: int):
        self.limit = batch_limit(max_examples_per_batch, batch)

    @classmethod
    def of_explanations(cls, max_examples_per_batch: int | None, inputs: Tensors) -> Batches:
        """Those that explanations get, where fewer rows are taken at a time if they are large."""
        limit = rows_explained(inputs) if max_examples_per_batch is None else max_examples_per_batch
        return cls(limit, len(inputs[0]))

    def map(self, function: Callable[[Tensors, Tensor], T], stream: Iterable[Rows]) -> Iterator[T]:
        # A loop variable would keep a batch alive while the next one is made; `map` and `chain` do not.
        yield from chain.from_iterable(map(partial(self._within_memory, function), self.full(stream)))

    def full(self, stream: Iterable[Rows]) -> Iterator[Rows]:
        """Yields the same rows, `limit` at a time. Only the last batch may be shorter."""
        held: list[Rows] = []  # a queue, so that a yielded batch is not kept alive while the next one is made
        for block in filter(_has_rows, stream):
            held.append(_join(held.pop(), block) if held else block)
            del block
            while held and len(held[0][1]) >= self.limit:
                # An empty rest is dropped, because even an empty view would keep the batch alive.
                held = list(filter(_has_rows, _cut(held.pop(), self.limit)))
                yield held.pop(0)
        yield from held

    def _within_memory(self, function: Callable[[Tensors, Tensor], T], batch: Rows) -> Iterator[T]:
        rows, example = batch
        before = versions(rows)
        try:
            yield function(rows, example)
            return
        except RuntimeError as error:
            # Rows that the model wrote into cannot be tried again.
            if not is_out_of_memory(error) or len(example) == 1 or versions(rows) != before:
                raise
        half = -(-len(example) // 2)
        self._halve(half)
        for part in _cut((rows, example), half):
            yield from self._within_memory(function, part)

    def _halve(self, limit: int) -> None:
        if limit < self.limit:
            warn_of_memory(f"batches of {limit} rows", f"`max_examples_per_batch` to {limit} or less")
            self.limit = limit


def _has_rows(rows: Rows) -> bool:
    return len(rows[1]) > 0


def _join(a: Rows, b: Rows) -> Rows:
    return tuple(torch.cat(pair) for pair in zip(a[0], b[0])), torch.cat((a[1], b[1]))


def _cut(rows: Rows, at: int) -> tuple[Rows, Rows]:
    tensors, example = rows
    return (tuple(t[:at] for t in tensors), example[:at]), (tuple(t[at:] for t in tensors), example[at:])


class Forward:
    """Gives the model's score of each row of a stream: the output that `target` selects, after `activation`."""

    def __init__(
        self,
        forward_func: Callable[..., Any],
        inputs: Tensors,
        target: TargetType = None,
        additional_forward_args: Any = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        max_examples_per_batch: int | None = None,
        show_progress: bool = False,
    ):
        check_function("forward_func", forward_func, "a model or a function")
        if activation is not None:
            check_function("activation", activation, "a function of the model's output")
        self.forward_func, self.activation = forward_func, activation
        self.show_progress = check_flag("show_progress", show_progress)
        self.inputs, self.batch = inputs, len(inputs[0])
        if max_examples_per_batch is None:
            max_examples_per_batch = rows_per_call(forward_func, inputs)
        self.batches = Batches(max_examples_per_batch, self.batch)
        if additional_forward_args is None:
            additional_forward_args = _known_of(forward_func, inputs)
        self.args, self.target = as_args(additional_forward_args, self.batch), as_target(target, self.batch)
        if self.target is not None:
            check_has_values("target", self.target, inputs[0])
            # On the host, so that no call of the model waits for the check of its range.
            self.target = self.target if self.target.is_meta else self.target.cpu()
        self.model = Guard(forward_func, f"`forward_func` ({self._name})", self.args)
        self.dtype = inputs[0].dtype  # replaced by the type of the outputs as soon as the model was called
        self.changes = warn_of_training(forward_func)

    def __call__(self, stream: Iterable[Rows], total: int, see: See = ignored) -> Tensor:
        """`[total]`: the scores of all rows, in the type that statistics are computed in.

        `see` is called with the outputs before they are activated, which may then be written into.
        """
        return self._all(self.read, stream, total, see)

    def distributions(self, stream: Iterable[Rows], total: int, see: See = ignored) -> Tensor:
        """`[total, classes]`: the whole output of all rows, in the same type; no target is selected."""
        return self._all(self.read_distribution, stream, total, see)

    def beside_whole(self, stream: Iterable[Rows], total: int) -> tuple[Tensor, Tensor]:
        """`[B]` and `[total]`: the scores of the unperturbed examples, and of all rows."""
        f_x = self.of_whole(self.read)
        if f_x is not None:
            return f_x, self(stream, total)

        def rows() -> Iterator[Rows]:
            yield whole(self.inputs)
            yield from stream

        both = self(rows(), self.batch + total)
        return both[: self.batch], both[self.batch :]

    def of_whole(self, read: Read) -> Tensor | None:
        """`[B, ...]`: what is read from the outputs for the unperturbed examples, if metrics share them; else None."""
        return None if (parts := self._shared()) is None else torch.cat([read(*part) for part in parts])

    def outputs_of_whole(self) -> Iterator[Tensor]:
        """The outputs for the unperturbed examples, before a target is selected, for some rows at a time."""
        parts = self._shared()
        if parts is None:
            return self.batches.map(self.output, [whole(self.inputs)])
        return (self._activated(output).clone() for output, _ in parts)

    def _shared(self) -> Iterator[tuple[Tensor, Tensor]] | None:
        """The outputs for the unperturbed examples before activation, and their examples, where they are shared."""
        if self.changes:
            return None

        def made() -> Iterator[Tensor]:
            # Cloned, because a model may return the same tensor again with the values of its next call.
            return self.batches.map(torch.no_grad()(lambda *rows: self._logits(*rows).clone()), [whole(self.inputs)])

        outputs = outputs_for(self.forward_func, self.inputs, self.args, made)
        return None if outputs is None else self._of_examples(outputs)

    def _of_examples(self, outputs: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for output in outputs:
            example = torch.arange(start, start := start + len(output), device="cpu")
            yield output.clone(), example  # cloned, because an activation may write into it

    def _all(self, read: Read, stream: Iterable[Rows], total: int, see: See) -> Tensor:
        def function(rows: Tensors, example: Tensor) -> Tensor:
            see(output := self._logits(rows, example))
            return read(output, example)

        with torch.no_grad(), tqdm(total=total, unit="row", disable=not self.show_progress, desc=self._name) as bar:
            parts = []
            for batch in self.batches.map(function, stream):
                parts.append(batch)
                bar.update(len(batch))
            return torch.cat(parts)

    def score(self, rows: Tensors, example: Tensor) -> Tensor:
        return self._selected(self._activated(self._logits(rows, example)), example)

    @torch.no_grad()
    def read(self, output: Tensor, example: Tensor) -> Tensor:
        """`[rows]`: the scores of rows of these examples, from the model's outputs, which may be written into."""
        return self._selected(self._activated(output), example)

    @torch.no_grad()
    def read_distribution(self, output: Tensor, example: Tensor) -> Tensor:
        """`[rows, classes]`: the whole outputs, in the same way."""
        return as_distribution(wide(self._activated(output)))

    def output(self, rows: Tensors, example: Tensor) -> Tensor:
        """Returns the whole output of the model, before a target is selected."""
        # Cloned, because a model may return the same tensor again with the values of its next call.
        return self._activated(self._logits(rows, example)).clone()

    def _logits(self, rows: Tensors, example: Tensor) -> Tensor:
        args = (of_rows(a, example, self.batch) for a in self.args)
        return check_output(logits_of(self.model(*rows, *args)), len(example))

    def _activated(self, output: Tensor) -> Tensor:
        if self.activation is not None:
            output = check_output(called(self.activation, "`activation`", output), len(output), "activation")
        self.dtype = output.dtype
        return output

    def _selected(self, output: Tensor, example: Tensor) -> Tensor:
        target = None if self.target is None else rows_at(self.target, example)
        # Cloned, because a model may return the same tensor again with the values of its next call.
        return wide(select_target(output, target, len(example)).clone())

    def gradients(self, stream: Iterable[Rows], wanted_by: str) -> Iterator[tuple[Tensors | None, Tensor]]:
        """Yields the gradients of the scores by their rows, and the rows' examples, a batch at a time.

        They are None if the model takes no gradient of its inputs, such as token ids or rows that it detaches, or says
        so by `has_gradient`.
        `wanted_by` is the argument that errors name.
        """
        return self.batches.map(partial(self._gradients, wanted_by), stream)

    def _gradients(self, wanted_by: str, rows: Tensors, example: Tensor) -> tuple[Tensors | None, Tensor]:
        if not getattr(self.forward_func, "has_gradient", True):
            return None, example
        with torch.inference_mode(False), torch.enable_grad():
            leaves = tuple(copied(t).requires_grad_(t.is_floating_point()) for t in rows)
            try:
                score = self.score(tuple(t.clone() for t in leaves), example)  # the model may write into clones
                return _gradients_of(score, leaves), example
            except (RuntimeError, NotImplementedError) as error:
                if is_out_of_memory(error) or not any(sign in str(error) for sign in OF_BACKWARD):
                    raise
                raise ValueError(
                    f"{wanted_by} needs the gradient of {self.model.name}, which failed: {error} "
                    "Leave this argument out, or let the model detach its inputs if it has no gradient."
                ) from error

    @property
    def _name(self) -> str:
        return getattr(self.forward_func, "__name__", type(self.forward_func).__name__)


def _known_of(forward_func: Any, inputs: Tensors) -> Any:
    """The further arguments that a model knows which made the inputs itself, as `layers.at_layer` does."""
    own = getattr(forward_func, "inputs", None)
    own = (own,) if isinstance(own, Tensor) else own
    made = isinstance(own, tuple) and all(isinstance(t, Tensor) for t in own) and same_values(own, inputs)
    return getattr(forward_func, "arguments", {}).get("additional_forward_args") if made else None


def _gradients_of(score: Tensor, leaves: Tensors) -> Tensors | None:
    """The gradients of the sum of the scores, with zeros for leaves that it does not depend on if there are others."""
    floating = [t for t in leaves if t.requires_grad]
    if not (score.requires_grad and floating):
        return None
    found = torch.autograd.grad(score.sum(), floating, allow_unused=True)
    if all(g is None for g in found):
        return None
    of_floating = iter(found)
    of_leaves = (next(of_floating) if t.requires_grad else None for t in leaves)
    return tuple(torch.zeros_like(t) if g is None else g for g, t in zip(of_leaves, leaves))


def warn_of_logits(undefined: Tensor, outputs: str) -> None:
    """Warns if no example has a score because all `undefined` outputs are no probabilities."""
    if not undefined.is_meta and undefined.all():
        warnings.warn(
            f"All scores are NaN, as the output must be a probability and {outputs} in every example. If the model "
            "returns logits give `activation=partial(torch.softmax, dim=1)`, or torch.sigmoid for a single one.",
            stacklevel=frames_of_package(),
        )
