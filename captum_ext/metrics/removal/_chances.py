"""Drops of the output when each feature is replaced with a probability of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._core.devices import sent
from ..._core.draws import generator
from ..._core.setting import Setting
from ..._core.subsets import Subsets, scores_without


def drops_by_chance(given: Setting, probability: Tensor, seeds: Tensor, kept: bool = False) -> Tensor:
    """`[settings, B, draws]`: the output for the whole example, less that of each draw.

    A draw replaces each feature with its `probability [settings, B, F]`, or keeps it with that probability and replaces
    the others. All settings, such as methods, share the random numbers. It is nan where a probability is.
    """
    counts, draws = given.x.counts, seeds.shape[1]
    rows = _Rows(probability, counts, seeds, kept).rows
    scores = scores_without(rows, given.x, given.f).reshape(len(counts), -1)  # [B, 1 + settings * draws]
    drops = (scores[:, :1] - scores[:, 1:]).reshape(len(scores), -1, draws).transpose(0, 1)
    defined = probability.isfinite().all(-1).to(drops.device)
    return drops.where(defined[..., None], torch.nan)


class _Rows:
    """Rows that lack each feature by chance, `draws` for each setting, after one for each whole example."""

    def __init__(self, probability: Tensor, counts: Tensor, seeds: Tensor, kept: bool):
        self.probability, self.counts, self.seeds, self.kept = probability, counts, seeds, kept
        rows = 1 + len(probability) * seeds.shape[1]
        column = torch.arange(rows, device="cpu").repeat(len(counts))
        example = torch.arange(len(counts), device="cpu").repeat_interleave(rows)
        # A row lacks the features whose rank is below its count.
        self.rows = Subsets(example, column, column.sign(), self._ranks)

    def _ranks(self, example: Tensor, column: Tensor) -> Tensor:
        """`[rows, F]`: 0 for the features that a draw replaces, 1 for the others."""
        setting, draw = (column - 1).clamp(min=0) // self.seeds.shape[1], (column - 1) % self.seeds.shape[1]
        chance = torch.full((len(example), self.probability.shape[-1]), 2.0, dtype=self.probability.dtype, device="cpu")
        for row, b, j in zip(chance, example.tolist(), draw.tolist()):
            drawn = generator(self.seeds[b, j])
            row[: self.counts[b]] = torch.rand(int(self.counts[b]), generator=drawn, dtype=torch.float32, device="cpu")
        device = self.probability.device
        among = sent(chance, device) < self.probability[sent(setting, device), sent(example, device)]
        return (among if self.kept else ~among).int()
