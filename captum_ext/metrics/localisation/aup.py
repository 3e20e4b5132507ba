"""How precise a map is, and how much of the truth it finds, over all thresholds (Crabbe and van der Schaar 2021)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..._core.arguments import AttributionsType, FeatureMaskType, FrozenType, InputsType, Scores, TensorOrTuple
from ..._core.card import metric
from ..._core.statistics import to_unit, wide
from ._positions import Positions, Ranking, at_positions

REFERENCE = "Crabbe and van der Schaar 2021, arXiv:2106.05303"


@metric(higher_is_better=True, range=(0, 1), rows="none", reference=REFERENCE)
def aup(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    *,
    sign: str = "all",
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores:
    r"""The area under the precision: how many of the positions above a threshold are true, over all thresholds.

    .. math:: \int_0^1 \frac{|\{q \in T : m_q \ge \tau\}|}{|\{q : m_q \ge \tau\}|} \, d\tau,
        \qquad m = \frac{\phi - \min \phi}{\max \phi - \min \phi}

    over the positions, with :math:`T` the true ones. A position is an element of `truth_mask`: attributions are first
    summed over the axes along which the mask has size 1, such as the channels of an image or the variables of a series.
    The map is scaled to 0..1 within each example, and the area is exact. It sees how large attributions are, and not
    their order alone, unlike `average_precision`.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        truth_mask: where the evidence is: bool, broadcastable to `inputs`, usually `(B, 1, H, W)`, or `(B, C, T)` for
            the variables and times of a series; a tuple for a tuple of inputs.
        sign: what is compared: attributions as they are (`"all"`), their `"positive"` or `"negative"` part, or their
            `"absolute_value"`.
        feature_mask, frozen: positions whose elements all have one of the `frozen` ids of `feature_mask`, such as
            padding and special tokens, are left out, as if there were none. The mask has no other use here.

    Returns:
        `[B]` from 0 to 1, or a mapping name -> `[B]`. Higher is better; chance is the share of true positions. NaN
        where no position is true, the map is constant or its range is infinite. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a mask that is not bool, an
            unknown `sign`.

    The paper's code and time_interpret join the precisions at the values of the map by straight lines, so a map that
    equals the truth has less than 1 there. They score all examples together.

    Reference: Crabbe and van der Schaar 2021, "Explaining Time Series Predictions with Dynamic Masks",
    arXiv:2106.05303.

    Example:
        >>> phi = torch.tensor([[[4.0, 3.0, 0.0, 1.0]]])
        >>> truth = torch.tensor([[[True, False, False, False]]])
        >>> aup(phi, {"map": phi, "truth": truth.float()}, truth)
        {'map': tensor([0.5833]), 'truth': tensor([1.])}
    """
    return at_positions(inputs, attributions, truth_mask, feature_mask, frozen, sign).unpack(_precision)


def _precision(p: Positions) -> Tensor:
    p = _scaled(p)
    thresholds = p.ranked.sort(-1).values.clamp(min=0)  # what is left out comes first, and makes no step
    called, rightly = Ranking(p).reaching(thresholds)
    steps = thresholds.diff(dim=-1, prepend=torch.zeros_like(thresholds[..., :1]))
    return (steps * wide(rightly) / called).sum(-1)


@metric(higher_is_better=True, range=(0, 1), rows="none", reference=REFERENCE)
def aur(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    *,
    sign: str = "all",
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores:
    r"""The area under the recall: how many of the true positions are above a threshold, over all thresholds.

    .. math:: \int_0^1 \frac{|\{q \in T : m_q \ge \tau\}|}{|T|} \, d\tau = \frac{1}{|T|} \sum_{q \in T} m_q,
        \qquad m = \frac{\phi - \min \phi}{\max \phi - \min \phi}

    over the positions, with :math:`T` the true ones: the mean of the scaled map where the truth is. Takes the same
    arguments and raises the same errors as `aup`. A map that is high nearly everywhere has a high area too, so read it
    beside `aup`.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        truth_mask: as in `aup`.
        sign: as in `aup`.
        feature_mask, frozen: as in `aup`.

    Returns:
        `[B]` from 0 to 1, or a mapping name -> `[B]`. Higher is better; chance is the mean of the scaled map. NaN where
        `aup` is. No model rows.

    Raises:
        ValueError, TypeError: as `aup`.

    The paper's code and time_interpret join the recalls at the values of the map by straight lines, and score all
    examples together.

    Reference: Crabbe and van der Schaar 2021, "Explaining Time Series Predictions with Dynamic Masks",
    arXiv:2106.05303.

    Example:
        >>> phi = torch.tensor([[[4.0, 3.0, 0.0, 1.0]]])
        >>> truth = torch.tensor([[[False, True, False, True]]])
        >>> aur(phi, {"map": phi, "truth": truth.float()}, truth)
        {'map': tensor([0.5000]), 'truth': tensor([1.])}
    """
    return at_positions(inputs, attributions, truth_mask, feature_mask, frozen, sign).unpack(_recall)


def _recall(p: Positions) -> Tensor:
    return (_scaled(p).scores * p.truth).sum(-1) / p.truth.sum(-1)


def _scaled(p: Positions) -> Positions:
    """With scores from 0 to 1 in each example; nan where all are equal or one is infinite."""
    scores, _ = to_unit(p.scores)
    least = scores.masked_fill(~p.where, torch.inf).amin(-1, keepdim=True)
    span = scores.masked_fill(~p.where, -torch.inf).amax(-1, keepdim=True) - least
    return replace(p, scaled=((scores - least) / span).where((span > 0) & span.isfinite(), torch.nan))
