"""Model scores after removing the k most, or k least, relevant features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arguments import Scores, Tensors
from .checks import check_choice, check_count, check_fraction
from .devices import rows_at, sent
from .features import Features, Totals, warn_of_many_rows
from .forward import Forward, Read
from .setting import Setting
from .sharing import is_sharing, most_kept, shared, shared_as
from .statistics import area, wide
from .subsets import Subsets, distributions_without, scores_without

ROUNDINGS = {"round": torch.round, "floor": torch.floor}  # of fractions of the features to numbers of them
OPPOSITE = {"morf": "lerf", "lerf": "morf"}  # "most relevant first" and "least relevant first"


class Removals:
    """The orders of several methods on a batch, and the scores computed so far, so that none is computed twice.

    A row lacks the first `count` features of an ordering. Ordering `2 * method` has the most relevant feature first,
    `2 * method + 1` the least relevant. All orderings of an example share the rows that lack nothing or everything.
    """

    def __init__(self, x: Features, f: Forward, totals: Tensor | Totals, outputs: Outputs | None = None):
        self.x, self.f, self.sizes = x, f, x.counts  # [B]: the number of features of each example
        self.totals = Totals.kept(totals) if isinstance(totals, Tensor) else totals
        self._ranked = range(0), torch.empty(0, device="cpu")  # pairs of an example and a method, and their ranks
        self.keys = torch.empty(0, dtype=torch.long, device="cpu")  # ascending; example, ordering and count
        self.scores = wide(torch.empty(0, device=x.inputs[0].device))  # the score of each key
        self.outputs = outputs or Outputs([0])

    def counts(self, fractions: Tensor, rounding: str = "round") -> Tensor:
        """`[B, points]`: fractions of the features as numbers of features of each example."""
        return ROUNDINGS[rounding](fractions * self.sizes[:, None]).long()

    def shares(self, counts: Tensor) -> Tensor:
        """`[B, points]`: numbers of features as fractions of each example's features, on the device of the scores."""
        return sent((counts.double() / self.sizes[:, None]).to(self.scores.dtype), self.scores.device)

    def every_count(self, most: Tensor | None = None) -> Tensor:
        """`[B, points]`: 0, 1, ... up to the number of features of each example, or `most [B]`, which then repeats."""
        most = self.sizes if most is None else most
        warn_of_many_rows(int(most.max()))
        return torch.minimum(torch.arange(int(most.max()) + 1, device="cpu"), most[:, None])

    def curves(self, counts: Tensor, *modes: str) -> Tensor:
        """`[methods, B, modes, points]`: scores without the first `counts [B, points]` features of each order."""
        keys = self._keys(counts, *modes)
        self._evaluate(keys.unique())
        return rows_at(self.scores, torch.searchsorted(self.keys, keys))

    def curve(self, counts: Tensor, mode: str) -> Tensor:
        """`[methods, B, points]`: the curves of one mode."""
        return self.curves(counts, mode)[:, :, 0]

    def distributions(self, counts: Tensor, mode: str) -> Tensor:
        """`[methods, B, points, classes]`: the whole outputs for the rows of a curve, which are distributions."""
        keys, place = self._keys(counts, mode)[:, :, 0].unique(return_inverse=True)
        found = self._made_of(keys, distributions_without, self.f.read_distribution)
        return rows_at(found, place)

    def unpack(self, scores: Tensor) -> Scores:
        """Returns scores `[methods, B, ...]` as a tensor, or by name where the attributions were given by name."""
        return self.x.attributions.unpack(scores, self.f.dtype)

    def _keys(self, counts: Tensor, *modes: str) -> Tensor:
        """`[methods, B, modes, points]`: numbers of rows; equal rows have the same."""
        counts = counts[:, None]
        least_first = torch.tensor([list(OPPOSITE).index(mode) for mode in modes], device="cpu")[:, None]
        methods, batch, width = self.totals.methods, len(self.sizes), self.x.width
        shared_rows = (counts == 0) | (counts == self.sizes[:, None, None])
        ordering = (2 * torch.arange(methods, device="cpu")[:, None, None, None] + least_first) * ~shared_rows
        example = torch.arange(batch, device="cpu")[:, None, None]
        return (example * 2 * methods + ordering) * (width + 1) + counts

    def _evaluate(self, keys: Tensor) -> None:
        missing = keys[~torch.isin(keys, self.keys)]
        if len(missing):
            scores = self._made_of(missing, scores_without, self.f.read)
            self.keys, order = torch.cat((self.keys, missing)).sort()
            self.scores = rows_at(torch.cat((self.scores.to(scores.device), scores)), order)

    def _made_of(self, keys: Tensor, computed: Callable[..., Tensor], read: Read) -> Tensor:
        """`[keys, ...]`: read from the outputs of rows where these are kept, and else computed."""
        known = torch.isin(keys, self.outputs.keys)
        parts = [read(self.outputs.of(keys[known]), self._rows(keys[known]).example)] if known.any() else []
        if not known.all():
            rows = self._rows(keys[~known])
            with self.outputs.seen(keys[~known][rows.lacking]) as see:
                parts.append(computed(rows, self.x, self.f, see))
        order = torch.cat((known.nonzero(), (~known).nonzero()))[:, 0].argsort()
        return rows_at(torch.cat(parts), order)

    def _rows(self, keys: Tensor) -> Subsets:
        methods, width = self.totals.methods, self.x.width
        pair, count = keys // (width + 1), keys % (width + 1)
        return Subsets(pair // (2 * methods), pair % (2 * methods), count, self._ranks_of)

    def _ranks_of(self, example: Tensor, ordering: Tensor) -> Tensor:
        """`[rows, F]`. Rows are sorted by example and ordering, so that each pair is ranked once for all its rows."""
        pair, least_first = example * self.totals.methods + ordering // 2, ordering % 2
        ranks = torch.empty(len(pair), self.x.width, dtype=torch.int32, device=self.x.inputs[0].device)
        blocks, sizes = (pair // self.x.sorted_at_a_time).unique_consecutive(return_counts=True)
        for block, out, own in zip(blocks.tolist(), ranks.split(sizes.tolist()), pair.split(sizes.tolist())):
            pairs, ranked = self._block(block)
            torch.index_select(ranked, 0, sent(own - pairs.start, ranked.device), out=out)
        # The other order counts from the last rank. In place, as ranks are as large as the rows themselves.
        last = least_first * (self.sizes[example] - 1)
        sign, last = (sent(numbers.int()[:, None], ranks.device) for numbers in (1 - 2 * least_first, last))
        return ranks.mul_(sign).add_(last)

    def _block(self, number: int) -> tuple[range, Tensor]:
        """Returns some pairs of an example and a method, in this order, and their ranks, of which the last are kept."""
        size, methods = self.x.sorted_at_a_time, self.totals.methods
        pairs = range(number * size, min((number + 1) * size, len(self.sizes) * methods))
        if self._ranked[0] != pairs:
            self._ranked = range(0), torch.empty(0, device="cpu")  # the memory of the block before
            example = torch.tensor(pairs, device="cpu") // methods
            self._ranked = pairs, self.x.ranks_of_rows(self._totals(pairs), example)
        return self._ranked

    def _totals(self, pairs: range) -> Tensor:
        """`[pairs, F]`"""
        methods = self.totals.methods
        examples = slice(pairs.start // methods, -(-pairs.stop // methods))
        start = examples.start * methods
        if examples.stop * methods - start > 2 * len(pairs):  # few of many pairs: each by itself, to save memory
            each = ((pair % methods, pair // methods) for pair in pairs)
            return torch.cat([self.totals.of(method, slice(b, b + 1)) for method, b in each])
        of_all = torch.stack([self.totals.of(method, examples) for method in range(methods)], 1).flatten(0, 1)
        return of_all[pairs.start - start : pairs.stop - start]


class Outputs:
    """Outputs of rows that lack features, by their keys, for metrics that read them in another way.

    They are kept while there is room for them: `room` has one number, of those that may still be kept.
    """

    def __init__(self, room: list[int]):
        self.room, self.keys = room, torch.empty(0, dtype=torch.long, device="cpu")
        self.values = torch.empty(0, device="cpu")

    def of(self, keys: Tensor) -> Tensor:
        return rows_at(self.values, torch.searchsorted(self.keys, keys))

    @contextmanager
    def seen(self, keys: Tensor) -> Iterator[Callable[[Tensor], None]]:
        """Yields what is to be called with the outputs of these rows; they are kept if they all came and fit."""
        parts: list[Tensor] = []

        def see(output: Tensor) -> None:
            if output[0].numel() * len(keys) <= self.room[0]:
                parts.append(output.clone())

        yield see
        if len(keys) and sum(map(len, parts)) == len(keys):
            self.room[0] -= sum(part.numel() for part in parts)
            self.keys, order = torch.cat((self.keys, keys)).sort()
            self.values = rows_at(torch.cat((self.values, *parts) if len(self.values) else parts), order)


@shared
def removals(**arguments: Any) -> Removals:
    """Makes `Removals` from the arguments of a `Setting`. The model is not called yet.

    Those that differ in the activation or the target alone share the outputs of their rows.
    """
    given = Setting(**arguments)
    outputs = None if given.f.changes or not is_sharing() else _outputs_of(given.x.inputs, arguments)
    return Removals(given.x, given.f, given.totals, outputs)


def _outputs_of(inputs: Tensors, arguments: dict[str, Any]) -> Outputs:
    room = shared_as("room for outputs", lambda: [most_kept(inputs)])
    rest = {name: value for name, value in arguments.items() if name not in ("activation", "target")}
    return shared_as(("outputs", rest), lambda: Outputs(room))


def fractions(start: float, stop: float, n_steps: int, rounding: str = "round") -> Tensor:
    """Returns evenly spaced points from `start` to `stop`. From 0 to 1 they are exactly those from 1 to 0, reversed.

    To be rounded down they are those of numpy to the last bit, as in AttriBench, since that bit may decide the number.
    """
    check_choice("rounding", rounding, ROUNDINGS)
    start, stop = check_fraction("start", start), check_fraction("stop", stop)
    if start == stop:
        raise ValueError(f"`start` and `stop` must differ, got {start} for both.")
    points = check_count("n_steps", n_steps, least=2)
    if rounding == "floor":
        return torch.from_numpy(np.linspace(start, stop, points))
    step = torch.arange(points, dtype=torch.float64, device="cpu")
    return (start * step.flip(0) + stop * step) / step[-1]


def fractions_of(arguments: dict[str, Any]) -> Tensor:
    return fractions(arguments["start"], arguments["stop"], arguments["n_steps"])


def area_between(arguments: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """Makes a function that gives the area under curves `[..., n_steps]` from `start` to `stop`, as a mean height."""
    grid = wide(fractions_of(arguments))
    return lambda curve: area(wide(curve), sent(grid, curve.device)).to(curve.dtype)
