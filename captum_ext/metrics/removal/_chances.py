"""Drops of the output when each feature is replaced with a probability of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ..._core.devices import sent
from ..._core.draws import generators
from ..._core.setting import Setting
from ..._core.subsets import Subsets, scores_without

Chance = Callable[[int, slice], Tensor]  # of a setting and some examples: the probabilities of their features `[b, F]`


def drops_by_chance(given: Setting, settings: int, chance: Chance, seeds: Tensor, kept: bool = False) -> Tensor:
    """`[settings, B, draws]`: the output for the whole example, less that of each draw.

    A draw replaces each feature with its probability, or keeps it with that probability and replaces the others. All
    settings, such as methods, share the random numbers. It is nan where a probability is.
    """
    counts, draws = given.x.counts, seeds.shape[1]
    made = _Rows(given, settings, chance, seeds, kept)
    scores = scores_without(made.rows, given.x, given.f).reshape(len(counts), -1)  # [B, 1 + settings * draws]
    drops = (scores[:, :1] - scores[:, 1:]).reshape(len(scores), -1, draws).transpose(0, 1)
    return drops.where(made.defined[..., None].to(drops.device), torch.nan)


class _Rows:
    """Rows that lack each feature by chance, `draws` for each setting, after one for each whole example.

    `defined [settings, B]` says where all probabilities are numbers, once the rows were made.
    """

    def __init__(self, given: Setting, settings: int, chance: Chance, seeds: Tensor, kept: bool):
        self.x, self.chance, self.seeds, self.kept = given.x, chance, seeds, kept
        self.defined = torch.ones(settings, len(seeds), dtype=torch.bool, device=given.x.inputs[0].device)
        rows, size = 1 + settings * seeds.shape[1], given.x.sorted_at_a_time
        # Rows are sorted by example and setting: those of large examples need one pair at a time.
        self.block = lru_cache(maxsize=settings if size >= 16 else 1)(self._block)
        column = torch.arange(rows, device="cpu").repeat(len(seeds))
        example = torch.arange(len(seeds), device="cpu").repeat_interleave(rows)
        # A row lacks the features whose rank is below its count.
        self.rows = Subsets(example, column, column.sign(), self._ranks)

    def _block(self, setting: int, number: int) -> Tensor:
        size = self.x.sorted_at_a_time
        examples = slice(number * size, min((number + 1) * size, len(self.seeds)))
        probability = self.chance(setting, examples)
        self.defined[setting, examples] = probability.isfinite().all(-1)
        return probability

    def _ranks(self, example: Tensor, column: Tensor) -> Tensor:
        """`[rows, F]`: 0 for the features that a draw replaces, 1 for the others."""
        draws = self.seeds.shape[1]
        pair, row = (example * draws + (column - 1) % draws).unique(return_inverse=True)
        numbers = sent(self._numbers(pair // draws, pair % draws), self.defined.device)
        ranks = torch.empty(len(example), self.x.width, dtype=torch.bool, device=numbers.device)
        # Rows of one example and setting are consecutive, and so are their draws; group 0 is the whole example.
        groups = 1 + len(self.defined)
        group, sizes = (example * groups + (column - 1) // draws + 1).unique_consecutive(return_counts=True)
        first = row[sizes.cumsum(0) - sizes].tolist()
        for out, number, start in zip(ranks.split(sizes.tolist()), group.tolist(), first):
            block, place = divmod(number // groups, self.x.sorted_at_a_time)
            probability = self.block(max(number % groups - 1, 0), block)[place]
            self._below(numbers[start : start + len(out)], probability, out)
        return ranks if self.kept else ranks.logical_not_()

    def _below(self, numbers: Tensor, probability: Tensor, out: Tensor) -> None:
        """Compares few rows at a time, as that takes a copy of them in the type of the probabilities."""
        for some, found in zip(*(t.split(self.x.sorted_at_a_time) for t in (numbers, out))):
            torch.lt(some, probability, out=found)

    def _numbers(self, example: Tensor, draw: Tensor) -> Tensor:
        """`[rows, F]`: random numbers below 1, and 2 where the example has no feature."""
        numbers = torch.full((len(example), self.x.width), 2.0, dtype=torch.float32, device="cpu")
        streams = generators(self.seeds[example, draw].tolist())
        for row, count, g in zip(numbers, self.x.counts[example].tolist(), streams):
            row[:count].uniform_(generator=g)
        return numbers
