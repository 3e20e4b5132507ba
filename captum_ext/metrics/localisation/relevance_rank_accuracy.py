"""How many of the highest attributions are true: among as many as there are true positions, or among k."""

from __future__ import annotations

from torch import Tensor

from ..._core.arguments import AttributionsType, FeatureMaskType, FrozenType, InputsType, Scores, TensorOrTuple
from ..._core.card import metric
from ..._core.checks import check_flag
from ..._core.sizes import SizeType, as_sizes, several
from ._positions import Positions, Ranking, at_positions


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Arras et al. 2022, arXiv:2003.07258",
)
def relevance_rank_accuracy(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    *,
    sign: str = "all",
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores:
    r"""The share of true positions among the highest attributions, taking as many as there are true positions.

    .. math:: \bigl|\operatorname{top}_{|T|}(\phi) \cap T\bigr| \,/\, |T|

    over the positions, with :math:`T` the true ones. A position is an element of `truth_mask`: attributions are first
    summed over the axes along which the mask has size 1, such as the channels of an image. If equal attributions lie at
    the border of the top, as many count as would on average in a random order.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        truth_mask: where the evidence is: bool, broadcastable to `inputs`, usually `(B, 1, H, W)`; a tuple for a tuple
            of inputs. `captum_ext.truth_masks.mask_of_boxes` makes one from boxes.
        sign: what is ranked: attributions as they are (`"all"`), their `"positive"` or `"negative"` part, or their
            `"absolute_value"`.
        feature_mask, frozen: positions whose elements all have one of the `frozen` ids of `feature_mask`, such as
            padding and special tokens, are left out, as if there were none. The mask has no other use here.

    Returns:
        `[B]`, a share from 0 to 1, or a mapping name -> `[B]`. Higher is better; chance is the share of positions that
        are true. NaN where no position is true. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a mask that is not bool, an
            unknown `sign`.

    Quantus 0.6 gives the same score where all attributions differ, and orders equal ones by an unstable sort.

    Reference: Arras et al. 2022, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations", arXiv:2003.07258.

    Example:
        >>> phi = torch.tensor([[[[3.0, 4.0], [1.0, -5.0]]]])
        >>> relevance_rank_accuracy(phi, phi, torch.tensor([[[[True, False], [True, False]]]]))
        tensor([0.5000])
    """
    return at_positions(inputs, attributions, truth_mask, feature_mask, frozen, sign).unpack(_share_of_hits)


def _share_of_hits(p: Positions) -> Tensor:
    size = p.truth.sum(-1).clamp(min=1)  # [B]
    hits = Ranking(p).true_among_top(size[:, None].expand(len(p.scores), -1, 1))
    return hits[..., 0] / size


@metric(
    higher_is_better=True,
    range=(0, float("inf")),
    rows="none",
    reference="Theiner et al. 2021, arXiv:2104.14995",
    axis=("k", several("k")),
)
def top_k_intersection(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    k: SizeType,
    concept_influence: bool = False,
    *,
    sign: str = "all",
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores:
    r"""The share of true positions among the `k` highest attributions, optionally relative to their share of all.

    .. math:: \bigl|\operatorname{top}_k(\phi) \cap T\bigr| \,/\, k

    where :math:`T` are the true ones of :math:`P` positions. A position is an element of `truth_mask`: attributions are
    first summed over the axes along which the mask has size 1, such as the channels of an image. If equal attributions
    lie at the border of the top, as many count as would on average in a random order.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        truth_mask: where the evidence is: bool, broadcastable to `inputs`, usually `(B, 1, H, W)`; a tuple for a tuple
            of inputs. `captum_ext.truth_masks.mask_of_boxes` makes one from boxes.
        k: the number of positions, one or several: an int, or a float for a fraction of them (rounded, at least 1). The
            paper takes 1000 pixels.
        concept_influence: whether to divide by the share of true positions, :math:`|T| / P`.
        sign: what is ranked: attributions as they are (`"all"`), their `"positive"` or `"negative"` part, or their
            `"absolute_value"`.
        feature_mask, frozen: positions whose elements all have one of the `frozen` ids of `feature_mask`, such as
            padding and special tokens, are left out, as if there were none. The mask has no other use here.

    Returns:
        `[B]` for one `k`, `[B, len(k)]` for several, or a mapping name -> such scores: a share from 0 to 1 (at most
        :math:`|T| / k`), where chance is the share of positions that are true; with `concept_influence` a ratio from 0,
        where chance is 1. Higher is better. NaN where no position is true. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a mask that is not bool, a `k` of
            0 or above the number of positions.

    Quantus 0.6 gives the same score where all attributions differ, and orders equal ones by an unstable sort.

    Reference: Theiner et al. 2021, "Interpretable Semantic Photo Geolocation", arXiv:2104.14995.

    Example:
        >>> phi = torch.tensor([[[[3.0, 4.0], [1.0, -5.0]]]])
        >>> top_k_intersection(phi, phi, torch.tensor([[[[False, True], [False, False]]]]), k=[1, 2])
        tensor([[1.0000, 0.5000]])
    """
    p = at_positions(inputs, attributions, truth_mask, feature_mask, frozen, sign)
    _, one_size = as_sizes("k", k, p.counts)
    influence = check_flag("concept_influence", concept_influence)

    def shares(p: Positions) -> Tensor:
        sizes = as_sizes("k", k, p.counts)[0].to(p.scores.device)  # [b, K]
        found = Ranking(p).true_among_top(sizes[None]) / sizes
        if influence:
            found = found * (p.counts.to(found) / p.truth.sum(-1))[:, None]
        return found[..., 0] if one_size else found

    return p.unpack(shares)
