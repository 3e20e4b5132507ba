"""Comprehensiveness and sufficiency by partial removal (Zheng et al. 2024, 2025): only a random share goes at once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_count, check_number
from ..._core.devices import sent
from ..._core.draws import SeedType, draw_seeds
from ..._core.estimates import of_mean
from ..._core.setting import Setting
from ..._core.signature import arguments_like
from ..._core.sizes import SizeType, as_sizes
from ..._core.statistics import wide
from ._chances import drops_by_chance
from .deletion import OF_THE_CURVE, deletion_curve
from .rationales import SHARES

REFERENCE = "Zheng et al. 2025, arXiv:2410.02970"
ROWS = "B + M B len(shares) n_perturb_samples, for M methods"


@metric(higher_is_better=True, range=(float("-inf"), float("inf")), rows=ROWS, reference=REFERENCE)
@arguments_like(deletion_curve, without=OF_THE_CURVE)
def stochastic_comprehensiveness(
    n_perturb_samples: int = 50,
    *,
    shares: SizeType = SHARES,
    alpha: float = 0.5,
    beta: float = 1.0,
    seed: SeedType = None,
    **setting: Any,
) -> Scores:
    r"""The mean drop of the output when a random part of the most relevant features is replaced.

    .. math:: \frac1{|K|} \sum_{k \in K} \mathbb{E}_S \, f(x) - f\bigl(x_{\setminus S}\bigr),
        \qquad \Pr(i \in S) = \min(\alpha, \beta F / k) \text{ for } i \in \pi(k), \text{ else } 0

    where :math:`\pi(k)` are the `k` most relevant of the example's :math:`F` features. Without a part of them, an input
    is nearer to those that the model was trained on than without all: this is robust fidelity (:math:`Fid_+`), and with
    `beta` the score of F-Fidelity (:math:`FFid_+`), whose authors fine-tune the model on inputs that lack a random
    share `beta` of their features. Give the model that you fine-tuned. The other arguments and errors are as in
    `deletion_curve`.

    Args:
        n_perturb_samples: the number of draws. All methods of a mapping and all `shares` share the random numbers.
        shares: the sizes `K`, one or several: fractions of the example's own features (rounded, at least 1), or numbers
            of features.
        alpha: the probability with which each of the `k` features is replaced.
        beta: the largest share of all features that is replaced on average; by default any.
        seed: an int, or one per example; None follows `torch.manual_seed`. The draws depend on nothing else.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Higher is better. On an additive model it comes to
        `alpha` times `comprehensiveness` if `beta` is 1, and with `alpha=1` it is `comprehensiveness` on any model.
        `B + M B len(shares) n_perturb_samples` model rows for `M` methods.

    Raises:
        ValueError, TypeError: as `comprehensiveness`, and an `alpha` or `beta` that is not above 0 and at most 1.

    Reference: Zheng et al. 2025, "F-Fidelity: A Robust Framework for Faithfulness Evaluation of Explainable AI",
    arXiv:2410.02970; Zheng et al. 2024, "Towards Robust Fidelity for Evaluating Explainability of Graph Neural
    Networks", arXiv:2310.01820.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> maps = {"best": w[None], "worst": -w[None]}
        >>> stochastic_comprehensiveness(lambda x: x @ w, torch.ones(1, 3), maps, shares=1, alpha=1)
        {'best': tensor([4.]), 'worst': tensor([1.])}
    """
    return _mean_drop(n_perturb_samples, shares, alpha, beta, seed, of_the_rest=False, **setting)


@metric(higher_is_better=False, range=(float("-inf"), float("inf")), rows=ROWS, reference=REFERENCE)
@arguments_like(stochastic_comprehensiveness)
def stochastic_sufficiency(
    n_perturb_samples: int, shares: SizeType, alpha: float, beta: float, seed: SeedType, **setting: Any
) -> Scores:
    r"""The mean drop of the output when a random part of all but the most relevant features is replaced.

    .. math:: \frac1{|K|} \sum_{k \in K} \mathbb{E}_S \, f(x) - f\bigl(x_{\setminus S}\bigr),
        \qquad \Pr(i \in S) = \min\bigl(\alpha, \beta F / (F - k)\bigr) \text{ for } i \notin \pi(k), \text{ else } 0

    where :math:`\pi(k)` are the `k` most relevant of the example's :math:`F` features: robust fidelity (:math:`Fid_-`),
    and with `beta` the score of F-Fidelity (:math:`FFid_-`). Takes the same arguments, raises the same errors and costs
    the same as `stochastic_comprehensiveness`; arguments that both share with `deletion_curve` are explained there.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Lower is better. On an additive model it comes to
        `alpha` times `sufficiency` if `beta` is 1, and with `alpha=1` it is `sufficiency` on any model.

    Raises:
        ValueError, TypeError: as `stochastic_comprehensiveness`.

    Robust fidelity has the share of the other features that is kept, :math:`\alpha_2`: that is `alpha=1 - alpha_2`.

    Reference: Zheng et al. 2025, "F-Fidelity: A Robust Framework for Faithfulness Evaluation of Explainable AI",
    arXiv:2410.02970; Zheng et al. 2024, "Towards Robust Fidelity for Evaluating Explainability of Graph Neural
    Networks", arXiv:2310.01820.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> maps = {"best": w[None], "worst": -w[None]}
        >>> stochastic_sufficiency(lambda x: x @ w, torch.ones(1, 3), maps, shares=1, alpha=1)
        {'best': tensor([3.]), 'worst': tensor([6.])}
    """
    return _mean_drop(n_perturb_samples, shares, alpha, beta, seed, of_the_rest=True, **setting)


def _mean_drop(
    n_perturb_samples: int,
    shares: SizeType,
    alpha: float,
    beta: float,
    seed: SeedType,
    *,
    of_the_rest: bool,
    **setting: Any,
) -> Scores:
    draws = check_count("n_perturb_samples", n_perturb_samples)
    alpha, beta = _check_share("alpha", alpha), _check_share("beta", beta)
    given = Setting(**setting)
    counts, device = given.x.counts, given.x.inputs[0].device
    sizes, _ = as_sizes("shares", shares, counts)  # [B, K]
    methods, n_sizes = given.totals.methods, sizes.shape[1]
    sizes_there, counts_there = sent(sizes, device), sent(counts, device)

    @lru_cache(maxsize=1)
    def ranks(method: int, first: int, last: int) -> Tensor:
        example = torch.arange(first, last, device="cpu")
        return given.x.ranks_of_rows(given.totals.of(method, slice(first, last)), example)

    def chance(setting: int, examples: slice) -> Tensor:
        method, size = divmod(setting, n_sizes)
        ranked = ranks(method, examples.start, examples.stop)  # [b, F]
        among = _among(ranked, sizes_there[examples, size].to(ranked), counts_there[examples].to(ranked), of_the_rest)
        number = wide(among.sum(-1, keepdim=True).clamp(min=1))
        return among * (beta * counts_there[examples].to(number)[:, None] / number).clamp(max=alpha)

    drops = drops_by_chance(given, methods * n_sizes, chance, draw_seeds(seed, len(counts), draws))
    drops = drops.unflatten(0, (methods, n_sizes)).mean(1)  # [methods, B, draws]
    return given.unpack(drops.mean(-1), lambda: of_mean(drops))


def _check_share(name: str, value: float) -> float:
    return check_number(name, value, "a share above 0 and at most 1", lambda v: 0 < v <= 1)


def _among(ranks: Tensor, sizes: Tensor, counts: Tensor, of_the_rest: bool) -> Tensor:
    """`[methods, K, B, F]`: whether a feature is one of the most relevant, or one of the rest; never padding."""
    top = ranks < sizes[..., None]
    real = torch.arange(ranks.shape[-1], device=ranks.device) < counts[:, None]
    return (~top if of_the_rest else top) & real
