"""Comprehensiveness and sufficiency by soft erasure (Zhao and Aletras 2023): features go by chance, not by rank."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_count, check_fraction
from ..._core.draws import SeedType, draw_seeds
from ..._core.estimates import of_mean
from ..._core.setting import Setting
from ..._core.signature import arguments_like
from ..._core.statistics import wide
from ._chances import drops_by_chance
from .deletion import OF_THE_CURVE, deletion_curve

REFERENCE = "Zhao and Aletras 2023, arXiv:2305.10496"
ROWS = "B + M B n_perturb_samples, for M methods"


@metric(higher_is_better=True, range=(float("-inf"), float("inf")), rows=ROWS, reference=REFERENCE)
@arguments_like(deletion_curve, without=OF_THE_CURVE)
def soft_comprehensiveness(
    n_perturb_samples: int = 10, *, share: float | None = None, seed: SeedType = None, **setting: Any
) -> Scores:
    r"""The mean drop of the output when features are replaced by chance, the more relevant the more probably.

    .. math:: \mathbb{E}_S \, f(x) - f\bigl(x_{\setminus S}\bigr),
        \qquad \Pr(i \in S) = q_i = \frac{\phi_i - \min \phi}{\max \phi - \min \phi}

    So it sees how large attributions are, and not their order alone. The paper clips the drop at 0 and divides it by
    that of an empty input, and it drops each element of a token's embedding by itself; here a feature is kept or
    replaced whole. The other arguments and errors are as in `deletion_curve`.

    Args:
        n_perturb_samples: the number of draws. All methods of a mapping share the random numbers.
        share: the share of the features that is replaced on average, the same for all methods: probabilities are then
            :math:`\min(1, c q_i)` with the `c` that gives it. By default they are :math:`q_i`, so a method with many
            large attributions replaces more.
        seed: an int, or one per example; None follows `torch.manual_seed`. The draws depend on nothing else.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Higher is better; compare with the random control,
        as even that replaces something. NaN where all attributions are equal, or too few are above the least for
        `share`. `B + M B n_perturb_samples` model rows for `M` methods.

    Raises:
        ValueError, TypeError: as `deletion_curve`, and a `share` outside 0..1.

    Reference: Zhao and Aletras 2023, "Incorporating Attribution Importance for Improving Faithfulness Metrics",
    arXiv:2305.10496.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0, 0.0])
        >>> maps = {"best": torch.tensor([[0.0, 1.0, 0.0, 0.0]]), "worst": torch.tensor([[0.0, 0.0, 0.0, 1.0]])}
        >>> soft_comprehensiveness(lambda x: x @ w, torch.ones(1, 4), maps)
        {'best': tensor([4.]), 'worst': tensor([0.])}
    """
    return _mean_drop(n_perturb_samples, share, seed, kept=False, **setting)


@metric(higher_is_better=False, range=(float("-inf"), float("inf")), rows=ROWS, reference=REFERENCE)
@arguments_like(soft_comprehensiveness)
def soft_sufficiency(n_perturb_samples: int, share: float | None, seed: SeedType, **setting: Any) -> Scores:
    r"""The mean drop of the output when features are kept by chance, the more relevant the more probably.

    .. math:: \mathbb{E}_S \, f(x) - f\bigl(x_S\bigr),
        \qquad \Pr(i \in S) = q_i = \frac{\phi_i - \min \phi}{\max \phi - \min \phi}

    where only the features in `S` are kept. Takes the same arguments, raises the same errors and costs the same as
    `soft_comprehensiveness`, with `share` for the share of the features that is kept on average; arguments that both
    share with `deletion_curve` are explained there.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Lower is better. NaN where
        `soft_comprehensiveness` is.

    Raises:
        ValueError, TypeError: as `soft_comprehensiveness`.

    Reference: Zhao and Aletras 2023, "Incorporating Attribution Importance for Improving Faithfulness Metrics",
    arXiv:2305.10496.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0, 0.0])
        >>> maps = {"best": torch.tensor([[0.0, 1.0, 0.0, 0.0]]), "worst": torch.tensor([[0.0, 0.0, 0.0, 1.0]])}
        >>> soft_sufficiency(lambda x: x @ w, torch.ones(1, 4), maps)
        {'best': tensor([3.]), 'worst': tensor([7.])}
    """
    return _mean_drop(n_perturb_samples, share, seed, kept=True, **setting)


def _mean_drop(n_perturb_samples: int, share: float | None, seed: SeedType, *, kept: bool, **setting: Any) -> Scores:
    draws = check_count("n_perturb_samples", n_perturb_samples)
    if share is not None:
        check_fraction("share", share, open_ends=True)
    given = Setting(**setting)
    counts = given.x.counts

    def chance(method: int, examples: slice) -> Tensor:
        phi = wide(given.totals.of(method, examples))
        return probabilities(phi, counts[examples].to(phi.device), share)

    seeds = draw_seeds(seed, len(counts), draws)
    drops = drops_by_chance(given, given.totals.methods, chance, seeds, kept)
    return given.unpack(drops.mean(-1), lambda: of_mean(drops))


def probabilities(phi: Tensor, counts: Tensor, share: float | None) -> Tensor:
    """`[methods, B, F]`: attributions scaled to 0..1 within each example, and where asked for to a mean of `share`.

    They are nan where all attributions are equal, and where too few are above the least; 0 for padding.
    """
    real = torch.arange(phi.shape[-1], device=phi.device) < counts[:, None]  # [B, F]
    least = phi.masked_fill(~real, torch.inf).amin(-1, keepdim=True)
    most = phi.masked_fill(~real, -torch.inf).amax(-1, keepdim=True)
    q = (phi - least) / (most - least)
    q = q if share is None else _with_mean(q.masked_fill(~real, 0), share * counts[:, None])
    return q.masked_fill(~real & q.isfinite().any(-1, keepdim=True), 0)


def _with_mean(q: Tensor, total: Tensor) -> Tensor:
    """`min(1, c q)` with the sum `total` over the last axis.

    With the k largest at 1, `c` is what is left of the sum divided by the sum of the others; the right k is the
    smallest for which no other is above 1.
    """
    ordered = q.sort(-1, descending=True).values
    others = ordered.flip(-1).cumsum(-1).flip(-1)  # the sum from place k on
    scale = (total - torch.arange(q.shape[-1], device=q.device)) / others  # [..., k]
    fits = (scale >= 0) & (scale * ordered <= 1 + 1e-12) & (others > 0)
    k = fits.long().argmax(-1, keepdim=True)
    return (q * scale.gather(-1, k)).clamp(max=1).where(fits.any(-1, keepdim=True), torch.nan)
