"""Unfaithfulness of graph explanations (Agarwal et al. 2023): how the whole output changes if only the best is kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.forward import warn_of_logits
from ..._core.removals import removals
from ..._core.signature import arguments_like
from ..._core.sizes import SizeType, as_sizes
from .deletion import OF_THE_CURVE, deletion_curve
from .rationales import SHARES


@metric(
    higher_is_better=False,
    range=(0, 1),
    rows="B + M B len(shares), for M methods",
    reference="Agarwal et al. 2023, arXiv:2208.09339",
)
@arguments_like(deletion_curve, without=(*OF_THE_CURVE, "target"))
def unfaithfulness(*, shares: SizeType = SHARES, **arguments: Any) -> Scores:
    r"""How far the distribution over all classes moves when only the most relevant features are kept.

    .. math:: \frac1{|K|} \sum_{k \in K} 1 - \exp\Bigl( -\operatorname{KL}\bigl(
        p(x) \,\big\|\, p(x_{\setminus \bar\pi(F - k)}) \bigr) \Bigr)

    where :math:`\bar\pi(F - k)` are all but the `k` most relevant features, such as the nodes or the edges of a graph
    that `feature_mask` tells apart. `sufficiency` asks the same of one output; here there is no `target`, as all of
    them count. The output has to be a distribution: give `activation=partial(torch.softmax, dim=1)` where the model
    returns logits. A single output per row is the probability of one class of two. The other arguments, errors and cost
    are as in `deletion_curve`.

    Args:
        shares: the sizes `K`, one or several: fractions of the example's own features (rounded, at least 1), or numbers
            of features.

    Returns:
        `[B]`, from 0 to 1, or a mapping name -> `[B]`: 0 where what is kept has the distribution of the whole, 1 where
        it gives no probability to a class that the whole has. Lower is better; compare with a random order. NaN where
        an output is no distribution, with a warning if it is so in every example.

    Raises:
        ValueError, TypeError: as `comprehensiveness`; a model that does not return `[rows, classes]`.

    PyTorch Geometric takes the divergence in the other direction and multiplies by the attributions instead of removing
    features; see *Where packages disagree*.

    Reference: Agarwal et al. 2023, "Evaluating explainability for graph neural networks", arXiv:2208.09339.

    Example:
        >>> def model(x):  # its second feature counts for nothing
        ...     return torch.stack((2 * x[:, 0], torch.zeros(len(x))), 1).softmax(1)
        >>> maps = {"best": torch.tensor([[1.0, 0.0]]), "worst": torch.tensor([[0.0, 1.0]])}
        >>> unfaithfulness(model, torch.ones(1, 2), maps, shares=1)
        {'best': tensor([0.]), 'worst': tensor([0.2795])}
    """
    x = removals(**arguments, target=None)
    sizes, _ = as_sizes("shares", shares, x.sizes)
    kept = torch.nn.functional.pad(x.sizes[:, None] - sizes, (1, 0))  # removed first: none, for the whole example
    p = x.distributions(kept, "lerf")  # [methods, B, 1 + K, classes]
    scores = _unlike(p[..., :1, :], p[..., 1:, :]).mean(-1)
    warn_of_logits(scores.isnan(), "is no distribution over classes")
    return x.unpack(scores)


def _unlike(p: Tensor, q: Tensor) -> Tensor:
    """`1 - exp(-KL(p || q))` over the last axis: 1 where only `q` is 0 for a class."""
    divergence = (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)
    return -torch.expm1(-divergence.clamp(min=0))  # rounding may leave equal distributions just below 0
