"""Scores of removal curves on a scale from a random order to the best known one (after Wang & Wang 2024)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores, each
from ..._core.card import arguments_of_partial, card_of, metric
from ..._core.checks import check_choice, check_count
from ..._core.draws import SeedType, example_seeds
from ..._core.estimates import Noise, depends_on_draws, none_for, noted, of_each_left_out
from ..._core.removals import removals
from ..._core.signature import arguments_like
from ..._core.statistics import rounding_of_outputs, wide
from ._best_order import beam_totals, greedy_totals, random_totals
from ._exact_order import exact_totals
from .deletion import OF_THE_CURVE, deletion_curve
from .srg import srg

ROWS = (
    "B F (F + 1) by search='greedy', at most 5 times as many by 'beam', B 2^F by 'exact'; and what the score costs for "
    "M methods and again for 2 + n_perturb_samples, or for 4 with lower='worst'"
)


@metric(
    higher_is_better=True,
    range=(float("-inf"), float("inf")),
    rows=ROWS,
    reference="Wang and Wang 2024, openreview:SKPhvzxO1g",
)
@arguments_like(deletion_curve, without=OF_THE_CURVE)
def oracle_normalized(
    *,
    score: Callable[..., Any] = srg,
    search: str = "greedy",
    lower: str = "random",
    n_perturb_samples: int = 10,
    seed: SeedType = None,
    **arguments: Any,
) -> Scores:
    r"""A removal score on each example's own scale: 0 is a random order, 1 the best order that a search finds.

    .. math:: \frac{s(\phi) - \operatorname{mean}_j s(\rho_j)}{s(\phi^*) - \operatorname{mean}_j s(\rho_j)}

    with random orders :math:`\rho_j`, and with :math:`\phi^*` the better one of two greedy orders. One removes at every
    step the feature whose removal lowers the output most; the other removes, least relevant first, the feature whose
    removal leaves the output highest. On this scale, examples can be averaged that differ in how much output there is
    to lose. The other arguments, errors and cost are as in `deletion_curve`.

    With `lower="worst"`, 0 is the worst order that is found, among those of the search and their opposites, as in
    `normalized_aopc`.

    Args:
        score: a metric that takes the arguments of `deletion_curve` and returns `[B]`, such as `srg`, `deletion`,
            `aopc` or `irof`; set its options by `functools.partial`.
        search: `"greedy"`; `"beam"`, which keeps the five best sets at every step instead of one, by the sum of the
            outputs on the way; or `"exact"` for the best and the worst of all orders, where `score` is a weighted sum
            of the outputs on the way, as `srg`, `deletion`, `insertion`, `aopc` and `irof` are.
        lower: what scores 0: the mean of `"random"` orders, or the `"worst"` order. By an exact search, all scores are
            then from 0 to 1.
        feature_mask: as in `deletion_curve`, with at most 32 features per example for the search, or 10 if it is exact.
        n_perturb_samples: the number of random orders.
        seed: an int, or one per example, for the random orders; None follows `torch.manual_seed`.

    Returns:
        `[B]`, or a mapping name -> `[B]`. Higher is better, whichever direction `score` has; by default chance is 0. An
        attribution that beats the search scores above 1. NaN where the best order scores the same as what scores 0, up
        to the rounding of the outputs. `B F (F + 1)` model rows for the search, at most 5 times as many for a beam, or
        `B 2^F` for an exact one; and those of `score` for the given methods and again for the `2 + n_perturb_samples`
        orders, or 4 with `lower="worst"`.

    Raises:
        ValueError, TypeError: as `deletion_curve`; more than 32 features, or 10 for an exact search; a `score` without
            a better side, or one that an exact search cannot take.

    The paper also searches by simulated annealing, which takes many more model rows. The beam and the worst order are
    those of Edin et al. 2025, "Normalized AOPC: Fixing Misleading Faithfulness Metrics for Feature Attribution
    Explainability", arXiv:2408.08137.

    Reference: Wang and Wang 2024, "Benchmarking Deletion Metrics with the Principled Explanations",
    openreview:SKPhvzxO1g.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> scores = oracle_normalized(lambda x: x @ w, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, seed=0)
        >>> scores["best"], bool(scores["worst"] < 0)
        (tensor([1.]), True)
        >>> call = {"lower": "worst", "search": "exact"}
        >>> oracle_normalized(lambda x: x @ w, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, **call)
        {'best': tensor([1.]), 'worst': tensor([0.])}
    """
    check_choice("search", search, SEARCHES)
    check_choice("lower", lower, ("random", "worst"))
    higher = _direction(score)
    draws = check_count("n_perturb_samples", n_perturb_samples)
    features = removals(**arguments)
    if seed is not None:
        seed = example_seeds(seed, len(features.sizes))
    *found, largest = SEARCHES[search](features.x, features.f, score)
    drawn = [] if lower == "worst" else random_totals(features.x, draws, seed)
    found += [-totals for totals in found] * (lower == "worst")
    orders = [*found, *drawn]
    maps = {i: features.x.as_maps(totals) for i, totals in enumerate(orders)}
    taken = {k: v for k, v in arguments.items() if k in inspect.signature(score).parameters}
    with warnings.catch_warnings():
        for said in ("`forward_func` is in training mode", ".* writes into a tensor"):  # the search has warned already
            warnings.filterwarnings("ignore", message=said)
        of_orders, given = score(**taken | {"attributions": maps, "aggregate": "mean"}), score(**taken)
    every = torch.stack([wide(of_orders[i]) for i in range(len(orders))])
    random, best, worst = every[len(found) :], every[: len(found)].amax(0), every[: len(found)].amin(0)
    oracle, worst = (best, worst) if higher else (worst, best)
    zero = worst if lower == "worst" else random.mean(0)
    rounding = _rounding(score, every, largest, features.f.dtype)
    extent = (oracle - zero).where((oracle - zero).abs() > rounding, torch.nan)

    def normalized(scores: Tensor) -> Tensor:
        return ((wide(scores) - zero) / extent).to(scores.dtype)

    def noise(part: int, scores: Tensor) -> Tensor:
        others = (random.sum(0) - random) / max(draws - 1, 1)  # [draws, B, ...]: chance without each order
        left_out = ((wide(scores) - others) / (oracle - others)).where(extent.isfinite(), torch.nan)
        return of_each_left_out(left_out.movedim(0, -1), random.movedim(0, -1))[part].to(scores)

    scores = each(normalized, given)
    if depends_on_draws(score):  # its own draws add noise, too
        return scores
    if lower == "worst":  # nothing was drawn
        return noted(scores, lambda: none_for(scores))
    return noted(scores, lambda: Noise(*(each(partial(noise, part), given) for part in range(2))))


SEARCHES: dict[str, Callable[..., tuple[Tensor, Tensor, Tensor]]] = {
    "greedy": lambda x, f, score: greedy_totals(x, f),
    "beam": lambda x, f, score: beam_totals(x, f),
    "exact": exact_totals,
}


def _rounding(score: Callable[..., Any], scores: Tensor, largest: Tensor, outputs: torch.dtype) -> Tensor:
    """`[B]`: how far the scores `[orders, B]` of orders with equal outputs may differ, for outputs up to `largest`.

    A score may be the difference of two means of outputs, such as `srg`, and so have twice their rounding.
    """
    dtype = outputs if outputs.is_floating_point else torch.float64
    of_output = card_of(score).on_scale_of_output  # type: ignore[union-attr]
    scale = largest if of_output else torch.ones_like(largest)
    scale = scale.reshape(-1, *[1] * (scores.dim() - 2)).expand_as(scores[0])
    return 2 * rounding_of_outputs(torch.stack((*scores, scale.to(scores)), -1), dtype)


def _direction(score: Callable[..., Any]) -> bool:
    card = card_of(score) if callable(score) else None
    try:
        higher = None if card is None else card.direction(arguments_of_partial(score))
    except ValueError as error:  # a partial with an argument that there is not
        raise ValueError(f"`score` does not take what is set: {error}.") from None
    if higher is None:
        raise ValueError(
            f"`score` must be a metric with a better side, such as srg or partial(deletion, n_steps=9); got {score!r}."
        )
    return higher
