"""Orders of removal that no attribution gave: found greedily with the model's help, and random ones."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._core.draws import SeedType, draw_seeds, generator
from ..._core.features import Features
from ..._core.forward import Forward
from ..._core.subsets import Subsets, scores_without

MOST_FEATURES = 32  # of an example: the search takes F (F + 1) rows


def greedy_totals(x: Features, f: Forward) -> tuple[Tensor, Tensor]:
    """`[B, width]` each: attributions that order features by removing at every step the one whose loss lowers the output most, and by
    removing, the least relevant first, the one whose loss leaves it highest.
    """
    if x.width > MOST_FEATURES:
        raise ValueError(
            f"An order is searched for among at most {MOST_FEATURES} features, got {x.width} in example {int(x.counts.argmax())}. "
            "Give a `feature_mask` with fewer, such as large patches."
        )
    return -_greedy_places(x, f, -1), _greedy_places(x, f, 1)


def random_totals(x: Features, draws: int, seed: SeedType) -> list[Tensor]:
    """`[B, width]`, `draws` of them: attributions that order features at random."""
    seeds = draw_seeds(seed, len(x.counts), draws)
    totals = torch.zeros(draws, len(x.counts), x.width, dtype=torch.float64)
    for j in range(draws):
        for row, count, s in zip(totals[j], x.counts.tolist(), seeds[:, j]):
            row[:count] = torch.randperm(count, generator=generator(s)).double()
    return list(totals.to(x.inputs[0].device))


def _greedy_places(x: Features, f: Forward, sign: int) -> Tensor:
    """`[B, width]`: the step in which each feature goes, where at every step the largest `sign` times the output stays."""
    there = torch.arange(x.width) < x.counts[:, None]
    places = torch.full(there.shape, x.width, dtype=torch.float64)
    for step in range(x.width):
        example, feature = (there & (places == x.width)).nonzero(as_tuple=True)
        gone = (places < step)[example]
        gone[torch.arange(len(feature)), feature] = True
        table = torch.full(there.shape, -torch.inf, dtype=torch.float64)
        table[example, feature] = sign * scores_without(_rows(gone, example, x), x, f).cpu().double()
        going = example.unique()
        places[going, table.argmax(1)[going]] = step
    return places.to(x.inputs[0].device)


def _rows(gone: Tensor, example: Tensor, x: Features) -> Subsets:
    """A row for each set of features `gone` `[R, width]`."""
    ranks = (~gone).int().to(x.inputs[0].device)  # the removed ones have rank 0
    row = torch.arange(len(gone))
    return Subsets(example, row, torch.ones_like(row), lambda _, ordering: ranks[ordering.to(ranks.device)])
