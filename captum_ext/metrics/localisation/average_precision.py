"""The average precision of attributions that retrieve true positions."""

from __future__ import annotations

from ..._core.arguments import AttributionsType, Scores, TensorOrTuple
from ..._core.card import metric
from ..._core.statistics import wide
from ._positions import Ranking, at_positions


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Choe et al. 2020, arXiv:2001.07437",
)
def average_precision(
    inputs: TensorOrTuple,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    *,
    sign: str = "all",
) -> Scores:
    r"""The area under the curve of precision over recall, as the attribution that a position needs to be called true is lowered.

    .. math:: \frac{1}{|T|} \sum_{p \in T} \frac{|\{q \in T : \phi_q \ge \phi_p\}|}{|\{q : \phi_q \ge \phi_p\}|}

    over the positions, of which :math:`T` are true. A position is an element of `truth_mask`: attributions are first summed over the axes along
    which the mask has size 1, such as the channels of an image. Equal attributions are called true together.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        truth_mask: where the evidence is: bool, broadcastable to `inputs`, usually `(B, 1, H, W)`; a tuple for a tuple of inputs. From boxes by
            `captum_ext.truth_masks.mask_of_boxes`.
        sign: attributions of `"all"` signs are compared, or their `"positive"` or `"negative"` part or their `"absolute_value"`.

    Returns:
        `[B]` from 0 to 1, or a mapping name -> `[B]`. Higher is better; chance is the share of positions that are true where there are many (0.40 for 12 of
        36), and exactly that of a constant map. NaN where no position is true. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a mask that is not bool, an unknown `sign`.

    The value of scikit-learn's `average_precision_score` (which is 0 without truth). PxAP of the paper is over the pixels of all images together.

    Reference: Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right", arXiv:2001.07437.

    Example:
        >>> import torch
        >>> phi = torch.tensor([[[[3.0, 4.0], [1.0, -5.0]]]])
        >>> average_precision(phi, phi, torch.tensor([[[[False, True], [True, False]]]]))
        tensor([0.8333])
    """
    p = at_positions(inputs, attributions, truth_mask, sign)
    called, rightly = Ranking(p.scores, p.truth).reaching(p.scores)  # at each position's own attribution as threshold
    return p.unpack((wide(rightly) / called * p.truth).sum(-1) / p.truth.sum(-1))
