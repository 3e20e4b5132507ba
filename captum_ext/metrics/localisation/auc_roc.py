"""The area under the ROC curve of attributions as a classifier of true positions."""

from __future__ import annotations

from torch import Tensor

from ..._core.arguments import AttributionsType, FeatureMaskType, FrozenType, InputsType, Scores, TensorOrTuple
from ..._core.card import metric
from ..._core.statistics import mean_ranks
from ._positions import Positions, at_positions


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Fawcett 2006, doi:10.1016/j.patrec.2005.10.010",
)
def auc_roc(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    *,
    sign: str = "all",
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores:
    r"""The area under the ROC curve: how often a true position has a higher attribution than one that is not.

    .. math:: \frac{1}{|T|\,|\bar T|} \sum_{p \in T} \sum_{q \notin T} [\phi_p > \phi_q] + \tfrac12 [\phi_p = \phi_q]

    over the positions, with :math:`T` the true ones. A position is an element of `truth_mask`: attributions are first
    summed over the axes along which the mask has size 1, such as the channels of an image. The area is computed
    exactly, from ranks; equal attributions count half.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        truth_mask: where the evidence is: bool, broadcastable to `inputs`, usually `(B, 1, H, W)`; a tuple for a tuple
            of inputs. `captum_ext.truth_masks.mask_of_boxes` makes one from boxes.
        sign: what is compared: attributions as they are (`"all"`), their `"positive"` or `"negative"` part, or their
            `"absolute_value"`.
        feature_mask, frozen: positions whose elements all have one of the `frozen` ids of `feature_mask`, such as
            padding and special tokens, are left out, as if there were none. The mask has no other use here.

    Returns:
        `[B]` from 0 to 1, or a mapping name -> `[B]`. Higher is better; chance is 0.5, also of a constant map. NaN
        where no position is true, or all are. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a mask that is not bool, an
            unknown `sign`.

    This is the value of scikit-learn's `roc_auc_score`, and of Quantus 0.6.

    Reference: Fawcett 2006, "An introduction to ROC analysis", doi:10.1016/j.patrec.2005.10.010.

    Example:
        >>> phi = torch.tensor([[[[3.0, 4.0], [1.0, -5.0]]]])
        >>> auc_roc(phi, phi, torch.tensor([[[[True, False], [True, False]]]]))
        tensor([0.5000])
    """
    return at_positions(inputs, attributions, truth_mask, feature_mask, frozen, sign).unpack(_area)


def _area(p: Positions) -> Tensor:
    ranks = mean_ranks(p.scores, p.where.expand_as(p.scores))  # from 0 for the lowest score
    true = p.truth.sum(-1)  # [B]
    others = p.counts.to(true) - true
    return ((ranks * p.truth).sum(-1) - true * (true - 1) / 2) / (true * others)
