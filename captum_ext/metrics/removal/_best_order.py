"""Orders of removal that come from no attribution: found by asking the model, or random."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..._core.devices import rows_at, sent
from ..._core.draws import SeedType, draw_seeds, generators
from ..._core.features import Features
from ..._core.forward import Forward
from ..._core.statistics import rounding_of_outputs
from ..._core.subsets import Subsets, scores_without

MOST_FEATURES = 32  # per example, as the search takes F (F + 1) rows
BEAM = 5  # partial orders that are kept
Path = tuple[float, tuple[int, ...]]  # a sum of outputs, and the features in the order of their removal


def greedy_totals(x: Features, f: Forward) -> tuple[Tensor, Tensor, Tensor]:
    """Attributions `[B, width]` of two greedy orders, and the largest absolute output `[B]` that the searches saw.

    In one order, the feature whose removal lowers the output most ranks highest; in the other, the feature whose
    removal leaves the output highest ranks lowest. Of features whose outputs differ by no more than their rounding, the
    first is taken, so that the order does not depend on which rows were in a batch together.
    """
    check_few_features(x, MOST_FEATURES)
    (first, of_first), (last, of_last) = (_greedy_places(x, f, sign) for sign in (-1, 1))
    return -first, last, torch.maximum(of_first, of_last)


def beam_totals(x: Features, f: Forward) -> tuple[Tensor, Tensor, Tensor]:
    """The same as `greedy_totals`, of orders with the least and the largest sum of outputs that a beam search finds.

    After every step it keeps the five sets of removed features with the best sums on the way to them. Of sums that
    differ by no more than the rounding of the outputs, the first is taken.
    """
    check_few_features(x, MOST_FEATURES)
    known: list[dict[int, float]] = [{} for _ in x.counts]  # the output without each set of features, by its bits
    first, last = (_beam_places(x, f, sign, known) for sign in (-1, 1))
    largest = torch.tensor([max(map(abs, outputs.values())) for outputs in known], dtype=torch.float64, device="cpu")
    return -first, last, largest.to(first.device)


def check_few_features(x: Features, most: int, instead: str = "") -> None:
    if x.width > most:
        raise ValueError(
            f"The search for the best order takes at most {most} features, got {x.width} in example "
            f"{int(x.counts.argmax())}. Give a `feature_mask` with fewer, such as large patches{instead}."
        )


def random_totals(x: Features, draws: int, seed: SeedType) -> list[Tensor]:
    """`draws` tensors `[B, width]` of attributions that order the features at random."""
    seeds = draw_seeds(seed, len(x.counts), draws)
    totals = torch.zeros(draws, len(x.counts), x.width, dtype=torch.float64, device="cpu")
    for j in range(draws):
        for row, count, g in zip(totals[j], x.counts.tolist(), generators(seeds[:, j].tolist())):
            row[:count] = torch.randperm(count, generator=g, device="cpu").double()
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


def _beam_places(x: Features, f: Forward, sign: int, known: list[dict[int, float]]) -> Tensor:
    """`[B, width]`: the step in which each feature is removed, so that `sign` times the sum of the outputs is large."""
    beams: list[dict[int, Path]] = [{0: (0.0, ())} for _ in known]
    for _ in range(x.width):
        longer = [_longer(beam, count) for beam, count in zip(beams, x.counts.tolist())]
        _score_unknown(x, f, longer, known)
        steps = [(sets, outputs, _rounding(outputs, f.dtype)) for sets, outputs in zip(longer, known)]
        beams = [_kept(*step, sign) if step[0] else beam for beam, step in zip(beams, steps)]
    places = torch.full((len(beams), x.width), x.width, dtype=torch.float64, device="cpu")
    for row, beam in zip(places, beams):
        _, order = next(iter(beam.values()))
        row[list(order)] = torch.arange(len(order), dtype=torch.float64, device="cpu")
    return places.to(x.inputs[0].device)


def _longer(beam: dict[int, Path], count: int) -> list[tuple[int, Path]]:
    """Every way to remove one more feature: the set that is then removed, the sum until then, and the order."""
    return [
        (removed | 1 << i, (total, (*order, i)))
        for removed, (total, order) in beam.items()
        for i in range(count)
        if not removed >> i & 1
    ]


def _score_unknown(
    x: Features, f: Forward, longer: list[list[tuple[int, Path]]], known: list[dict[int, float]]
) -> None:
    """Adds the outputs that are not known yet, each once."""
    missing = [list(dict.fromkeys(s for s, _ in sets if s not in outputs)) for sets, outputs in zip(longer, known)]
    if any(missing):
        found = iter(scores_of_sets(x, f, [torch.tensor(sets, dtype=torch.long, device="cpu") for sets in missing]))
        for outputs, sets in zip(known, missing):
            outputs |= zip(sets, next(found).tolist())


def scores_of_sets(x: Features, f: Forward, sets: list[Tensor]) -> list[Tensor]:
    """The outputs of each example without the features of its sets, which are given by their bits."""
    example = torch.arange(len(sets), device="cpu").repeat_interleave(torch.tensor([*map(len, sets)], device="cpu"))
    removed = (torch.cat(sets)[:, None] >> torch.arange(x.width, device="cpu") & 1).bool()
    scores = scores_without(_rows(removed, example, x), x, f).cpu().double()
    return list(scores.split([len(s) for s in sets]))


def _rounding(outputs: dict[int, float], dtype: torch.dtype) -> float:
    known = torch.tensor([*outputs.values()], dtype=torch.float64, device="cpu").nan_to_num(0, 0, 0)
    return float(rounding_of_outputs(known, dtype))


def _kept(longer: list[tuple[int, Path]], outputs: dict[int, float], rounding: float, sign: int) -> dict[int, Path]:
    """The best sets with the best way to each; a nan output is the best, so that scores show it."""
    steps = len(longer[0][1][1])
    ways: dict[int, Path] = {}
    for removed, (total, order) in longer:
        total += sign * outputs[removed]
        total = math.inf if math.isnan(total) else total
        if removed not in ways or total > ways[removed][0] + steps * rounding:
            ways[removed] = total, order
    kept: dict[int, Path] = {}
    while ways and len(kept) < BEAM:
        least = max(total for total, _ in ways.values()) - steps * rounding
        first = next(removed for removed, (total, _) in ways.items() if total >= least)
        kept[first] = ways.pop(first)
    return kept


def _first_of_largest(values: Tensor, rounding: Tensor) -> Tensor:
    """`[rows]`: the first place of each row whose value is the largest, or below it by no more than the rounding."""
    largest = values.amax(1, keepdim=True)
    return ((values >= largest - rounding[:, None]) | (values == largest) | values.isnan()).int().argmax(1)


def _rows(removed: Tensor, example: Tensor, x: Features) -> Subsets:
    """A row for each set of `removed` features `[R, width]`."""
    ranks = sent((~removed).int(), x.inputs[0].device)  # removed features have rank 0
    row = torch.arange(len(removed), device="cpu")
    return Subsets(example, row, removed.any(1).long(), lambda _, ordering: rows_at(ranks, ordering))
