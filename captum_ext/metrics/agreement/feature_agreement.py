"""How far two explanations agree on the most important features (Krishna et al. 2022)."""

from __future__ import annotations

from typing import Any

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.signature import arguments_like
from ..._core.sizes import SizeType, several
from ._pairs import beside_reference


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Krishna et al. 2022, arXiv:2202.01602",
    axis=("k", several("k")),
)
@arguments_like(beside_reference)
def feature_agreement(k: SizeType, **arguments: Any) -> Scores:
    r"""The share of the `k` most important features that two explanations have in common.

    .. math:: |\operatorname{top}_k(\phi) \cap \operatorname{top}_k(\phi')| \,/\, k

    for the attributions :math:`\phi` and the reference attributions :math:`\phi'`. A feature is a group of
    `feature_mask`, or without one an element (a position, if some map has one channel). Equally important features are
    ordered by their index, on both sides.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        reference_attributions: those to compare with: another method's, another model's, or a known truth. For the
            agreement of all methods with each other:
            ``{name: feature_agreement(x, maps, other, k) for name, other in maps.items()}``.
        k: the number of features, one or several: an int, or a float for a fraction of the example's own features
            (rounded, at least 1).
        feature_mask: as in Captum, or a function of the inputs such as those of `captum_ext.feature_masks`.
        sign: features are ranked by the `"absolute_value"` of their attribution, by its `"positive"` or `"negative"`
            part, or by the attribution as it is (`"all"`).
        aggregate: a group's attribution is the `"sum"` or the `"mean"` of its elements' attributions.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens.

    Returns:
        `[B]` for one `k`, `[B, len(k)]` for several, a share from 0 to 1, or a mapping name -> such scores. Higher is
        better, if the reference is good; chance is :math:`k / F` of :math:`F` features. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a `k` of 0 or above the number of
            features of an example.

    OpenXAI gives the same score where all magnitudes differ, and orders equal ones by an unstable sort.

    Reference: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning: A Practitioner's
    Perspective", arXiv:2202.01602.

    Example:
        >>> import torch
        >>> phi, other = torch.tensor([[4.0, -3.0, 2.0, 1.0]]), torch.tensor([[3.0, 4.0, 1.0, -2.0]])
        >>> feature_agreement(phi, phi, other, k=[1, 2, 3])
        tensor([[0.0000, 1.0000, 0.6667]])
    """
    return beside_reference(**arguments).share_of_top(k)


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Krishna et al. 2022, arXiv:2202.01602",
    axis=("k", several("k")),
)
@arguments_like(feature_agreement)
def sign_agreement(k: SizeType, **arguments: Any) -> Scores:
    r"""The share of the `k` most important features that two explanations have in common, with the same sign.

    .. math:: |\{i \in \operatorname{top}_k(\phi) \cap \operatorname{top}_k(\phi') :
              \operatorname{sign} \phi_i = \operatorname{sign} \phi'_i\}| \,/\, k

    Takes the same arguments, raises the same errors and costs the same as `feature_agreement`.

    Returns:
        `[B]` for one `k`, `[B, len(k)]` for several, a share from 0 to 1, or a mapping name -> such scores. Higher is
        better, if the reference is good; chance is :math:`k / 2F` if both signs are equally frequent.

    Raises:
        ValueError, TypeError: as `feature_agreement`.

    Reference: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning: A Practitioner's
    Perspective", arXiv:2202.01602.

    Example:
        >>> import torch
        >>> phi, other = torch.tensor([[4.0, -3.0, 2.0, 1.0]]), torch.tensor([[3.0, 4.0, 1.0, -2.0]])
        >>> sign_agreement(phi, phi, other, k=[1, 2, 3])
        tensor([[0.0000, 0.5000, 0.3333]])
    """
    return beside_reference(**arguments).share_of_top(k, lambda pair: pair.same_sign)


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Krishna et al. 2022, arXiv:2202.01602",
    axis=("k", several("k")),
)
@arguments_like(feature_agreement)
def rank_agreement(k: SizeType, **arguments: Any) -> Scores:
    r"""The share of the `k` most important features that have the same rank in two explanations.

    .. math:: |\{i \in \operatorname{top}_k(\phi) \cap \operatorname{top}_k(\phi') :
              \operatorname{rank}_\phi i = \operatorname{rank}_{\phi'} i\}| \,/\, k

    Takes the same arguments, raises the same errors and costs the same as `feature_agreement`.

    Returns:
        `[B]` for one `k`, `[B, len(k)]` for several, a share from 0 to 1, or a mapping name -> such scores. Higher is
        better, if the reference is good; chance is :math:`1 / F` of :math:`F` features.

    Raises:
        ValueError, TypeError: as `feature_agreement`.

    OpenXAI gives equally important features the same rank, and counts ranks without gaps.

    Reference: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning: A Practitioner's
    Perspective", arXiv:2202.01602.

    Example:
        >>> import torch
        >>> phi, other = torch.tensor([[4.0, -3.0, 2.0, 1.0]]), torch.tensor([[-5.0, 2.0, 4.0, 1.0]])
        >>> rank_agreement(phi, phi, other, k=[1, 2, 4])
        tensor([[1.0000, 0.5000, 0.5000]])
    """
    return beside_reference(**arguments).share_of_top(k, lambda pair: pair.same_rank)


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Krishna et al. 2022, arXiv:2202.01602",
    axis=("k", several("k")),
)
@arguments_like(feature_agreement)
def signed_rank_agreement(k: SizeType, **arguments: Any) -> Scores:
    r"""The share of the `k` most important features that have the same rank and the same sign in two explanations.

    .. math:: |\{i \in \operatorname{top}_k(\phi) : \operatorname{rank}_\phi i = \operatorname{rank}_{\phi'} i,\;
              \operatorname{sign} \phi_i = \operatorname{sign} \phi'_i\}| \,/\, k

    Takes the same arguments, raises the same errors and costs the same as `feature_agreement`.

    Returns:
        `[B]` for one `k`, `[B, len(k)]` for several, a share from 0 to 1, or a mapping name -> such scores. Higher is
        better, if the reference is good; chance is :math:`1 / 2F` if both signs are equally frequent.

    Raises:
        ValueError, TypeError: as `feature_agreement`.

    Reference: Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning: A Practitioner's
    Perspective", arXiv:2202.01602.

    Example:
        >>> import torch
        >>> phi, other = torch.tensor([[4.0, -3.0, 2.0, 1.0]]), torch.tensor([[-5.0, 2.0, 4.0, 1.0]])
        >>> signed_rank_agreement(phi, phi, other, k=[1, 2, 4])
        tensor([[0.0000, 0.0000, 0.2500]])
    """
    return beside_reference(**arguments).share_of_top(k, lambda pair: pair.same_rank & pair.same_sign)
