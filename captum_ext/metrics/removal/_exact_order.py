"""The best and the worst order of removal among all, for scores that are weighted sums of the outputs on the way."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ..._core.card import name_of
from ..._core.features import Features
from ..._core.forward import Forward
from ..._core.home import away_from_home
from ._best_order import check_few_features, scores_of_sets

MOST_FEATURES = 10  # per example, as there are 2 ** F sets of them
TRIED = 16  # random orders on random outputs, for which the weights must give the score


def exact_totals(x: Features, f: Forward, score: Callable[..., Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Attributions `[B, width]` of the orders with the least and the largest score, and the largest absolute output.

    A removal score is a sum over the way from the whole to the empty example: of the outputs without the `k` first
    features of the order, and without the `k` last. So the best way to each set follows from those to the sets with a
    feature less (a dynamic programme over the `2 ** F` sets).
    """
    check_few_features(x, MOST_FEATURES, ", or `search='beam'`")
    counts = x.counts.tolist()
    weights = {count: weights_of(score, count) for count in set(counts)}
    outputs = scores_of_sets(x, f, [torch.arange(2**count, device="cpu") for count in counts])
    totals = torch.zeros(2, len(counts), x.width, dtype=torch.float64, device="cpu")
    for b, (count, of_sets) in enumerate(zip(counts, outputs)):
        gain = _gains(of_sets, *weights[count])
        for row, order in zip(totals[:, b], (_best_way(-gain), _best_way(gain))):
            row[order] = torch.arange(count, 0, -1, dtype=torch.float64, device="cpu")
    least, most = totals.to(x.inputs[0].device)
    largest = torch.stack([of_sets.abs().amax() for of_sets in outputs])
    return least, most, largest.to(least.device)


def _gains(outputs: Tensor, of_first: Tensor, of_last: Tensor) -> Tensor:
    """`[2 ** F]`: what it adds to the score that a set is the first to be removed, and its complement the last."""
    size = _sizes(len(of_first) - 1)
    return of_first[size] * outputs + of_last[len(of_last) - 1 - size] * outputs.flip(0)


def _best_way(gain: Tensor) -> Tensor:
    """`[F]`: the order of removal with the largest sum of gains `[2 ** F]`."""
    features = len(gain).bit_length() - 1
    bits, size = 1 << torch.arange(features, device="cpu"), _sizes(features)
    best, last = gain.clone(), torch.zeros(len(gain), dtype=torch.long, device="cpu")
    for k in range(1, features + 1):
        sets = (size == k).nonzero()
        before = best[sets ^ bits].masked_fill((sets & bits) == 0, -torch.inf)  # [sets of k features, F]
        value, last[sets[:, 0]] = before.max(1)
        best[sets[:, 0]] += value
    order, left = [], len(gain) - 1
    while left:
        order.append(int(last[left]))
        left ^= 1 << order[-1]
    return torch.tensor(order[::-1], dtype=torch.long, device="cpu")


@lru_cache(maxsize=16)
def _sizes(features: int) -> Tensor:
    """`[2 ** F]`: the number of features of each set."""
    return torch.tensor([bin(s).count("1") for s in range(2**features)], device="cpu")


# ---- the weights of a score, which it says itself on a model whose outputs are chosen


def weights_of(score: Callable[..., Any], features: int) -> tuple[Tensor, Tensor]:
    """`[F + 1]` twice: the weights of the outputs without the `k` first and without the `k` last features.

    The output of the whole example is 1, so that a score may be relative to it.
    """
    most_first = torch.arange(features, 0, -1, dtype=torch.float64, device="cpu").expand(2 * features, -1)
    number = torch.arange(2 * features, device="cpu")
    size = 1 + number % features
    place = torch.arange(features, device="cpu")
    chosen = torch.where(
        (number < features)[:, None], place < size[:, None], place >= features - size[:, None]
    )  # the sets of which an example has another output: its first features, or its last
    call = partial(_call, score)

    def of_chosen(rows: Tensor, number: Tensor) -> Tensor:
        return 1.0 + ((rows == 0) == chosen[number]).all(1)

    level = call(lambda rows, number: torch.ones_like(rows[:, 0]), most_first)
    of_first, of_last = (call(of_chosen, most_first) - level).split(features)
    of_last[-1] = 0  # of the empty example, which the first list has
    nothing = torch.zeros(1, dtype=torch.float64, device="cpu")
    weights = torch.cat((nothing, of_first)), torch.cat((nothing, of_last))
    _check_sums(score, level[0], *weights)
    return weights


def _check_sums(score: Callable[..., Any], level: Tensor, of_first: Tensor, of_last: Tensor) -> None:
    """Refuses a score that these weights do not give on random outputs."""
    draw, features = torch.Generator("cpu").manual_seed(0), len(of_first) - 1
    outputs = 2 * torch.rand(TRIED, 2**features, dtype=torch.float64, generator=draw, device="cpu")
    outputs[:, 0] = 1
    orders = torch.rand(TRIED, features, generator=draw, device="cpu").argsort(1)
    bits = 1 << torch.arange(features, device="cpu")

    def of_sets(rows: Tensor, number: Tensor) -> Tensor:
        return outputs[number, ((rows == 0) * bits).sum(1)]

    phi = torch.empty(orders.shape, dtype=torch.float64, device="cpu").scatter_(
        1, orders, torch.arange(features, 0, -1, dtype=torch.float64, device="cpu").expand_as(orders)
    )
    removed = torch.cat((torch.zeros(TRIED, 1, dtype=torch.long, device="cpu"), bits[orders].cumsum(1)), 1)
    gains = torch.stack([_gains(row - 1, of_first, of_last) for row in outputs])
    wanted = level + gains.gather(1, removed).sum(1)
    found = _call(score, of_sets, phi)
    if not torch.allclose(found, wanted, rtol=1e-6, atol=1e-6):
        raise ValueError(_refusal(score))


def _call(score: Callable[..., Any], model: Callable[..., Tensor], phi: Tensor) -> Tensor:
    """The score of a model that is told the number of each row's example."""
    given = {
        "forward_func": model,
        "inputs": torch.ones_like(phi),
        "attributions": phi,
        "additional_forward_args": torch.arange(len(phi), device="cpu"),
        **dict.fromkeys(("baselines", "feature_mask", "target", "activation", "frozen", "max_examples_per_batch")),
    }
    parameters = inspect.signature(score).parameters
    try:
        with away_from_home():  # the model computes in float64
            scores: Tensor = score(**{name: value for name, value in given.items() if name in parameters})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_refusal(score)} It does not take a model of one output: {error}") from error
    return scores.double()


def _refusal(score: Callable[..., Any]) -> str:
    return (
        "`search='exact'` needs a `score` that is a weighted sum of the outputs in the order of removal, such as srg, "
        f"deletion, aopc or irof; got {name_of(score)}. Take `search='beam'`."
    )
