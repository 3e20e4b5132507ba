"""The effect of each single feature on the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..._core.arguments import BaselinesType
from ..._core.devices import rows_at, sent
from ..._core.draws import SeedType, draw_seeds, example_seeds, takes_seed
from ..._core.features import Features, warn_of_many_rows
from ..._core.forward import Forward, Rows
from ..._core.statistics import rounding_of_outputs, to_unit
from ..._core.subsets import Subsets


def drawn_baselines(baselines: BaselinesType, batch: int, draws: int, seed: SeedType) -> list[BaselinesType]:
    """The baselines of each draw if they are a function that takes a `seed`; any other baselines, once."""
    if seed is not None:
        seed = example_seeds(seed, batch)
    if not callable(baselines) or not takes_seed(baselines):
        return [baselines]
    return [partial(baselines, seed=seeds) for seeds in draw_seeds(seed, batch, draws).T]


@dataclass(frozen=True)
class Changes:
    """How the output changes when a feature is replaced, `of_draw [draws, B, width]`; 0 where there is no feature."""

    of_draw: Tensor
    rounding: Tensor  # [B, 1] of the outputs
    exists: Tensor  # [B, width]

    def effects(self, draws: Sequence[int] | slice = slice(None)) -> Tensor:
        """`[B, width]`: the root mean square of these draws' changes. One within the outputs' rounding counts as 0."""
        changes, power = to_unit(self.of_draw[draws].movedim(0, -1))
        effects = changes.square().mean(-1).sqrt() * power[..., 0]
        return effects.masked_fill(effects <= self.rounding, 0)


def single_changes(x: Features, baselines: Sequence[BaselinesType], f: Forward) -> Changes:
    """The changes for each of the baselines, of which the first are those of `x`."""
    warn_of_many_rows(len(baselines) * x.width)
    rows = _single_features(x.counts, x.inputs[0].device)

    def stream() -> Iterator[Rows]:
        for j, replacement in enumerate(baselines):
            replaced = x.with_baselines(replacement) if j else x
            for removed, example in rows.batches(lambda: f.batches.limit):
                yield replaced.without(removed, example), example

    f_x, f_rows = f.beside_whole(stream(), len(rows) * len(baselines))
    f_rows = f_rows.reshape(len(baselines), len(rows))
    exists, row = (sent(t, f_x.device) for t in _table(x.counts))
    changes = (rows_at(f_x, rows.example) - f_rows)[:, row].masked_fill(~exists, 0)
    outputs = torch.cat((f_x[:, None], f_rows.abs().amax(0)[row].masked_fill(~exists, 0)), 1)
    return Changes(changes, rounding_of_outputs(outputs, f.dtype)[:, None], exists)


def _single_features(counts: Tensor, device: torch.device) -> Subsets:
    """A row for each feature of each example."""
    example = torch.arange(len(counts), device="cpu").repeat_interleave(counts)
    feature = torch.arange(len(example), device="cpu") - (counts.cumsum(0) - counts)[example]
    features = torch.arange(int(counts.max()), device=device)

    def ranks(example: Tensor, feature: Tensor) -> Tensor:
        """The row's own feature ranks before all others."""
        return features != sent(feature, device)[:, None]

    return Subsets(example, feature, torch.ones_like(feature), ranks)


def _table(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Whether an example has a feature, and the feature's row, `[B, width]` each."""
    place = torch.arange(int(counts.max()), device="cpu").expand(len(counts), -1)
    return place < counts[:, None], (place + (counts.cumsum(0) - counts)[:, None]).clamp(max=int(counts.sum()) - 1)
