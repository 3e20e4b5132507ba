"""The average precision of attributions that retrieve true positions."""

from __future__ import annotations

from torch import Tensor

from ..._core.arguments import AttributionsType, FeatureMaskType, FrozenType, InputsType, Scores, TensorOrTuple
from ..._core.card import metric
from ._positions import Positions, Ranking, at_positions


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Choe et al. 2020, arXiv:2001.07437",
)
def average_precision(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    *,
    sign: str = "all",
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores:
    r"""The area under the precision-recall curve of attributions that retrieve the true positions.

    .. math:: \frac{1}{|T|} \sum_{p \in T} \frac{|\{q \in T : \phi_q \ge \phi_p\}|}{|\{q : \phi_q \ge \phi_p\}|}

    over the positions, with :math:`T` the true ones. A position is an element of `truth_mask`: attributions are first
    summed over the axes along which the mask has size 1, such as the channels of an image. The threshold above which a
    position is called true is lowered step by step; equal attributions are called true together.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        truth_mask: where the evidence is: bool, broadcastable to `inputs`, usually `(B, 1, H, W)`; a tuple for a tuple
            of inputs. `captum_ext.truth_masks.mask_of_boxes` makes one from boxes.
        sign: what is compared: attributions as they are (`"all"`), their `"positive"` or `"negative"` part, or their
            `"absolute_value"`.
        feature_mask, frozen: positions whose elements all have one of the `frozen` ids of `feature_mask`, such as
            padding and special tokens, are left out, as if there were none. The mask has no other use here.

    Returns:
        `[B]` from 0 to 1, or a mapping name -> `[B]`. Higher is better; chance is about the share of true positions if
        there are many (0.40 for 12 of 36), and exactly this share for a constant map. NaN where no position is true. No
        model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a mask that is not bool, an
            unknown `sign`.

    This is the value of scikit-learn's `average_precision_score` (which is 0 without truth). The paper's PxAP is taken
    over the pixels of all images together.

    Reference: Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right", arXiv:2001.07437.

    Example:
        >>> import torch
        >>> phi = torch.tensor([[[[3.0, 4.0], [1.0, -5.0]]]])
        >>> average_precision(phi, phi, torch.tensor([[[[False, True], [True, False]]]]))
        tensor([0.8333])
    """
    return at_positions(inputs, attributions, truth_mask, feature_mask, frozen, sign).unpack(_precision)


def _precision(p: Positions) -> Tensor:
    return (Ranking(p).precisions() * p.truth).sum(-1) / p.truth.sum(-1)
