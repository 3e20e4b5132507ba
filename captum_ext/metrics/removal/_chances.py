"""Drops of the output when each feature is replaced with a probability of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ..._core.devices import sent
from ..._core.draws import generator
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
        settings, draws = (column - 1).clamp(min=0) // self.seeds.shape[1], (column - 1) % self.seeds.shape[1]
        numbers = torch.full((len(example), self.x.width), 2.0, dtype=torch.float32, device="cpu")
        for row, b, draw in zip(numbers, example.tolist(), draws.tolist()):
            count = int(self.x.counts[b])
            torch.rand(count, generator=generator(self.seeds[b, draw]), device="cpu", out=row[:count])
        numbers = sent(numbers, self.defined.device)
        ranks = torch.empty_like(numbers, dtype=torch.bool)
        for out, row, b, setting in zip(ranks, numbers, example.tolist(), settings.tolist()):
            number, place = divmod(b, self.x.sorted_at_a_time)
            torch.lt(row, self.block(setting, number)[place], out=out)
        return ranks if self.kept else ranks.logical_not_()
