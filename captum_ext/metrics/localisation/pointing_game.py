"""The pointing game (Zhang et al. 2018)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ..._core.arguments import (
    AttributionsType,
    FeatureMaskType,
    FrozenType,
    InputsType,
    Scores,
    TensorOrTuple,
    Tensors,
    as_tuple,
)
from ..._core.card import metric
from ..._core.checks import check_not_negative, shape
from ..._core.statistics import wide
from ._positions import Positions, at_positions, near


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Zhang et al. 2018, arXiv:1608.00507",
)
def pointing_game(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    tolerance: float = 0,
    *,
    sign: str = "all",
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores:
    r"""Whether the position of the highest attribution is true, or close to one that is.

    .. math:: \bigl[\operatorname{dist}(\operatorname{arg\,max}_p \phi_p,\; T) \le r\bigr]

    over the positions :math:`p`, of which :math:`T` are true, with `tolerance` :math:`r`. A position is an element of
    `truth_mask`: attributions are first summed over the axes along which the mask has size 1, such as the channels of
    an image. If several positions share the maximum, the score is the share of them that hit, which is what a random
    choice among them scores on average.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        truth_mask: where the evidence is: bool, broadcastable to `inputs`, usually `(B, 1, H, W)`; a tuple for a tuple
            of inputs. `captum_ext.truth_masks.mask_of_boxes` makes one from boxes.
        tolerance: the Euclidean distance up to which a miss counts as a hit, in positions along the axes after the
            channels; 15 pixels in the paper.
        sign: what is highest: attributions as they are (`"all"`), their `"positive"` or `"negative"` part, or their
            `"absolute_value"`.
        feature_mask, frozen: positions whose elements all have one of the `frozen` ids of `feature_mask`, such as
            padding and special tokens, are left out, as if there were none. The mask has no other use here.

    Returns:
        `[B]`, 1 or 0 (or a share, if there are ties), or a mapping name -> `[B]`. Higher is better; chance is the share
        of positions that are true or within the tolerance of a true one. NaN where no position is true. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a mask that is not bool, a
            `tolerance` below 0 or for inputs without positions.

    Quantus 0.6 has no tolerance, counts a hit if any of several maxima hits, and counts an image without truth as a
    hit; its ``weighted=True`` fails.

    Reference: Zhang et al. 2018, "Top-Down Neural Attention by Excitation Backprop", arXiv:1608.00507.

    Example:
        >>> import torch
        >>> phi = torch.tensor([[[[1.0, 2.0, 9.0, 0.0]]]])
        >>> truth = torch.tensor([[[[True, False, False, False]]]])
        >>> pointing_game(phi, phi, truth), pointing_game(phi, phi, truth, tolerance=2)
        (tensor([0.]), tensor([1.]))
    """
    tolerance = check_not_negative("tolerance", tolerance)
    _check_positions(tolerance, as_tuple(inputs))
    p = at_positions(inputs, attributions, truth_mask, feature_mask, frozen, sign)
    _check_distances(tolerance, as_tuple(inputs), p)
    return p.unpack(partial(_share_of_hits, tolerance))


def _share_of_hits(tolerance: float, p: Positions) -> Tensor:
    highest = (p.ranked == p.ranked.amax(-1, keepdim=True)) & p.where
    close = p.per_position(tuple(near(m, tolerance) for m in p.masks))
    return wide(highest & close).sum(-1) / highest.sum(-1)


def _check_positions(tolerance: float, inputs: Tensors) -> None:
    if tolerance and all(x.dim() < 3 for x in inputs):
        raise ValueError(
            f"`tolerance` needs axes after the channels, which `inputs` {[shape(x) for x in inputs]} lack. "
            "Leave it out, or give the inputs an axis of channels, shape (B, 1, ...)."
        )


def _check_distances(tolerance: float, inputs: Tensors, p: Positions) -> None:
    """Distances are along the axes after the channels, so no map may span one of them, as maps of (B, H, W, C) do."""
    if tolerance and any(a.shape[2:] != x.shape[2:] for maps in p.methods.maps for a, x in zip(maps, inputs)):
        raise ValueError(
            "`tolerance` is a distance along the axes after the channels, but `attributions` have size 1 along one of "
            "them. Leave it out, or bring the channels to the second axis: use .movedim(-1, 1)."
        )
