"""Tables that say which features each row lacks, and the masks that are made from them one batch at a time.

A row lacks the first `count` features of an ordering. So one ordering is enough for all counts, and a mask is a
comparison of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations

import numpy as np
import torch
from torch import Tensor

from .devices import rows_at, sent
from .draws import SeedType, draw_seeds, generators
from .features import Features, Totals, warn_of_many_rows
from .forward import Forward, Read, Rows, See, ignored
from .statistics import sum_of_parts, summable


@dataclass(frozen=True)
class Subsets:
    """Rows that lack the first `count` features of `ordering`.

    `example`, `ordering` and `count` have shape `[R]` and lie on the CPU; rows are sorted by example.
    """

    example: Tensor
    ordering: Tensor
    count: Tensor
    ranks: Callable[[Tensor, Tensor], Tensor]  # examples and orderings [r] -> ranks [r, F]

    def __len__(self) -> int:
        return len(self.example)

    @property
    def lacking(self) -> Tensor:
        """The places of the rows that lack a feature."""
        return self.count.nonzero()[:, 0]

    def part(self, places: Tensor) -> Subsets:
        return Subsets(self.example[places], self.ordering[places], self.count[places], self.ranks)

    def batches(self, size: Callable[[], int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields `removed [r, F]` and `example [r]`, at most `size()` rows at a time."""
        start = 0
        while start < len(self):
            rows = slice(start, start := start + size())
            yield self._removed(rows), self.example[rows]

    def _removed(self, rows: slice) -> Tensor:
        ranks = self.ranks(self.example[rows], self.ordering[rows])
        count = self.count[rows, None].to(ranks.dtype)  # ranks of a wider type would be another copy of the rows
        return ranks < sent(count, ranks.device)


def scores_without(subsets: Subsets, x: Features, f: Forward, see: See = ignored) -> Tensor:
    """`[R]`: the model's score of every row; `see` is called with the outputs of those that are not known yet."""
    return _beside(f, f.read, subsets, lambda some: f(_rows_without(some, x, f), len(some), see))


def distributions_without(subsets: Subsets, x: Features, f: Forward, see: See = ignored) -> Tensor:
    """`[R, classes]`: the model's whole output for every row, which is a distribution."""
    made = lambda some: f.distributions(_rows_without(some, x, f), len(some), see)  # noqa: E731
    return _beside(f, f.read_distribution, subsets, made)


def _beside(f: Forward, read: Read, subsets: Subsets, make: Callable[[Subsets], Tensor]) -> Tensor:
    """`[R, ...]`: what is made of each row, and for rows that lack nothing what is read from outputs that are known."""
    known = None if subsets.count.all() else f.of_whole(read)
    if known is None:
        return make(subsets)
    found, lacking = known[subsets.example.to(known.device)], subsets.lacking
    if len(lacking):
        found[lacking.to(found.device)] = make(subsets.part(lacking))
    return found


def _rows_without(subsets: Subsets, x: Features, f: Forward) -> Iterator[Rows]:
    return ((x.without(removed, example), example) for removed, example in subsets.batches(lambda: f.batches.limit))


def scores_and_totals_without(subsets: Subsets, x: Features, f: Forward, phi: Tensor | Totals) -> tuple[Tensor, Tensor]:
    """`[R]` and `[methods, R]`: the model's score of every row, and the total attribution of the removed features."""
    totals, of_features = [], Totals.kept(phi) if isinstance(phi, Tensor) else phi

    def rows(some: Subsets) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        for removed, example in some.batches(lambda: f.batches.limit):
            totals.append(_dot(removed, of_features, example))
            yield x.without(removed, example), example

    scores, found = _beside(f, f.read, subsets, lambda some: f(rows(some), len(some))), torch.cat(totals, 1)
    if found.shape[1] < len(subsets):  # rows that lack nothing were not made
        found = found.new_zeros(len(found), len(subsets)).index_copy(1, subsets.lacking.to(found.device), found)
    return scores, found


def _dot(weights: Tensor, phi: Totals, example: Tensor) -> Tensor:
    """`[methods, r]`: the weighted sum over the features of each row.

    Rows are sorted by example, so a batch has few examples and one matrix product is enough for those of a method.
    """
    first, last = int(example[0]), int(example[-1]) + 1
    column = sent(example - first, weights.device)[:, None]

    def of_method(method: int) -> Tensor:
        of_each = sum_of_parts(lambda w, p: w @ p.T, weights, summable(phi.of(method, slice(first, last))))
        return of_each.gather(1, column)[:, 0]  # of [r, examples]

    return torch.stack([of_method(method) for method in range(phi.methods)])


@dataclass(frozen=True)
class RandomSubsets:
    """Random subsets of given sizes, and a row for each whole example: in row `whole[b]`, example `b` lacks nothing.

    `row[b, k, j]` is the row of draw `j` of size `k`, and `valid` says whether there is one: where an example has no
    more subsets of a size than there are draws, each subset is taken once, and `complete` says so. All sizes share a
    draw's random ordering.
    """

    rows: Subsets
    whole: Tensor  # [B]
    row: Tensor  # [B, K, draws]
    valid: Tensor  # [B, K, draws]
    complete: Tensor  # [B, K]


def random_subsets(counts: Tensor, sizes: Tensor, draws: int, seed: SeedType, device: torch.device) -> RandomSubsets:
    """Draws subsets of `sizes [B, K]` from the `counts [B]` features of each example."""
    batch, n_sizes = sizes.shape
    existing = torch.tensor(
        [[_subsets_up_to(f, n, draws + 1) for n in row] for f, row in zip(counts.tolist(), sizes.tolist())],
        device="cpu",
    )[..., None]
    exact, valid = existing <= draws, torch.arange(draws, device="cpu") < existing
    warn_of_many_rows(int((existing * exact).sum(1).max()))
    # Orderings from number `draws` on are enumerated, not random.
    ordering = torch.arange(draws, device="cpu") + exact * draws * (1 + torch.arange(n_sizes, device="cpu")[:, None])

    def table(first: int, rest: Tensor) -> Tensor:
        """`[B, 1 + draws * K]`: a column for the whole example, then all sizes of each draw in turn."""
        return torch.cat(
            (torch.full((batch, 1), first, device="cpu"), rest.expand(batch, n_sizes, draws).mT.reshape(batch, -1)), 1
        )

    kept = table(1, valid.long()).bool()
    example = torch.arange(batch, device="cpu")[:, None].expand_as(kept)
    ranks = _RandomRanks(counts, sizes, draw_seeds(seed, batch, draws), device)
    rows = Subsets(example[kept], table(0, ordering)[kept], table(0, sizes[..., None])[kept], ranks)
    place = kept.flatten().cumsum(0).reshape(kept.shape) - 1
    return RandomSubsets(rows, place[:, 0], place[:, 1:].reshape(batch, draws, n_sizes).mT, valid, exact[..., 0])


class _RandomRanks:
    """Gives the ranks of an ordering: a random one made from its seed, or one that begins with an enumerated subset."""

    def __init__(self, counts: Tensor, sizes: Tensor, seeds: Tensor, device: torch.device):
        self.counts, self.sizes, self.seeds, self.device = counts, sizes, seeds, device

    def __call__(self, example: Tensor, ordering: Tensor) -> Tensor:
        draws, n_sizes = self.seeds.shape[1], self.sizes.shape[1]
        pair, row = (example * (1 + n_sizes) * draws + ordering).unique_consecutive(return_inverse=True)
        example, ordering = pair // ((1 + n_sizes) * draws), pair % ((1 + n_sizes) * draws)
        width = int(self.counts.max())
        ranks = torch.full((len(pair), width), width, dtype=torch.int32, device="cpu")
        for fill, rows in ((self._draw, ordering < draws), (self._enumerate, ordering >= draws)):
            fill(ranks, rows.nonzero()[:, 0], example[rows], ordering[rows])
        ranks = sent(ranks, self.device)
        return ranks if len(pair) == len(row) else rows_at(ranks, row)

    def _draw(self, ranks: Tensor, rows: Tensor, example: Tensor, draw: Tensor) -> None:
        streams = generators(self.seeds[example, draw].tolist())
        for row, count, g in zip(rows.tolist(), self.counts[example].tolist(), streams):
            torch.randperm(count, generator=g, device="cpu", out=ranks[row, :count])

    def _enumerate(self, ranks: Tensor, rows: Tensor, example: Tensor, ordering: Tensor) -> None:
        """Subsets of one size of as many features are looked up at once."""
        block, place = ordering // self.seeds.shape[1] - 1, ordering % self.seeds.shape[1]
        kind = self.counts[example] * (1 + ranks.shape[1]) + self.sizes[example, block]
        for number in kind.unique().tolist():
            own, subsets = kind == number, _combinations(*divmod(number, 1 + ranks.shape[1]))
            ranks[rows[own][:, None], subsets[place[own]]] = 0


@lru_cache(maxsize=1024)
def _subsets_up_to(count: int, size: int, most: int) -> int:
    """Counts the subsets of a size, but not beyond `most`, as the whole number can have thousands of digits."""
    number = 1
    for i in range(min(size, count - size)):
        number = number * (count - i) // (i + 1)
        if number >= most:
            return most
    return number


@lru_cache(maxsize=64)
def _combinations(count: int, size: int) -> Tensor:
    features = np.fromiter(chain.from_iterable(combinations(range(count), size)), np.int64)
    return torch.from_numpy(features).reshape(-1, size)
