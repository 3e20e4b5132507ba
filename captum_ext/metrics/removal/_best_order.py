"""Orders of removal that come from no attribution: greedy ones, found by asking the model, and random ones."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._core.draws import SeedType, draw_seeds, generator
from ..._core.features import Features
from ..._core.forward import Forward
from ..._core.statistics import rounding_of_outputs
from ..._core.subsets import Subsets, scores_without

MOST_FEATURES = 32  # per example, as the search takes F (F + 1) rows


def greedy_totals(x: Features, f: Forward) -> tuple[Tensor, Tensor, Tensor]:
    """Attributions `[B, width]` of two greedy orders, and the largest absolute output `[B]` that the searches saw.

    In one order, the feature whose removal lowers the output most ranks highest; in the other, the feature whose
    removal leaves the output highest ranks lowest. Of features whose outputs differ by no more than their rounding, the
    first is taken, so that the order does not depend on which rows were in a batch together.
    """
    if x.width > MOST_FEATURES:
        raise ValueError(
            f"The search for the best order takes at most {MOST_FEATURES} features, got {x.width} in example "
            f"{int(x.counts.argmax())}. Give a `feature_mask` with fewer, such as large patches."
        )
    (first, of_first), (last, of_last) = (_greedy_places(x, f, sign) for sign in (-1, 1))
    return -first, last, torch.maximum(of_first, of_last)


def random_totals(x: Features, draws: int, seed: SeedType) -> list[Tensor]:
    """`draws` tensors `[B, width]` of attributions that order the features at random."""
    seeds = draw_seeds(seed, len(x.counts), draws)
    totals = torch.zeros(draws, len(x.counts), x.width, dtype=torch.float64, device="cpu")
    for j in range(draws):
        for row, count, s in zip(totals[j], x.counts.tolist(), seeds[:, j]):
            row[:count] = torch.randperm(count, generator=generator(s), device="cpu").double()
    return list(totals.to(x.inputs[0].device))


def _greedy_places(x: Features, f: Forward, sign: int) -> tuple[Tensor, Tensor]:
    """`[B, width]`: the step in which each feature is removed. Every step leaves `sign` times the output largest.

    Also returns the largest absolute output `[B]`.
    """
    exists = torch.arange(x.width, device="cpu") < x.counts[:, None]
    places = torch.full(exists.shape, x.width, dtype=torch.float64, device="cpu")
    largest = torch.zeros(len(exists), dtype=torch.float64, device="cpu")
    for step in range(x.width):
        example, feature = (exists & (places == x.width)).nonzero(as_tuple=True)
        removed = (places < step)[example]
        removed[torch.arange(len(feature), device="cpu"), feature] = True
        outputs = torch.full(exists.shape, -torch.inf, dtype=torch.float64, device="cpu")
        outputs[example, feature] = sign * scores_without(_rows(removed, example, x), x, f).cpu().double()
        unfinished = example.unique()
        sizes = outputs.abs().masked_fill(outputs == -torch.inf, 0)
        places[unfinished, _first_of_largest(outputs, rounding_of_outputs(sizes, f.dtype))[unfinished]] = step
        largest = torch.maximum(largest, sizes.amax(1))
    return places.to(x.inputs[0].device), largest.to(x.inputs[0].device)


def _first_of_largest(values: Tensor, rounding: Tensor) -> Tensor:
    """`[rows]`: the first place of each row whose value is the largest, or below it by no more than the rounding."""
    largest = values.amax(1, keepdim=True)
    return ((values >= largest - rounding[:, None]) | (values == largest) | values.isnan()).int().argmax(1)


def _rows(removed: Tensor, example: Tensor, x: Features) -> Subsets:
    """A row for each set of `removed` features `[R, width]`."""
    ranks = (~removed).int().to(x.inputs[0].device)  # removed features have rank 0
    row = torch.arange(len(removed), device="cpu")
    return Subsets(example, row, torch.ones_like(row), lambda _, ordering: ranks[ordering.to(ranks.device)])
