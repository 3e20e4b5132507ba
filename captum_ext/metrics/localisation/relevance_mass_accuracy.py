"""The share of an explanation's mass that lies on the truth, under the four names by which it is known."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..._core.arguments import AttributionsType, FeatureMaskType, FrozenType, InputsType, Scores, TensorOrTuple
from ..._core.card import metric
from ..._core.checks import check_flag
from ..._core.signature import arguments_like
from ._positions import MASSES, Positions, at_positions


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Arras et al. 2022, arXiv:2003.07258",
)
def relevance_mass_accuracy(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    *,
    sign: str = "positive",
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores:
    r"""The share of the explanation's mass that lies on the truth.

    .. math:: \sum_{p \in T} \phi^+_p \Bigm/ \sum_p \phi^+_p

    over the positions :math:`p`, with :math:`T` the true ones. A position is an element of `truth_mask`: attributions
    are first summed over the axes along which the mask has size 1, such as the channels of an image.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions.
        truth_mask: where the evidence is: bool, broadcastable to `inputs`, usually `(B, 1, H, W)`; a tuple for a tuple
            of inputs. `captum_ext.truth_masks.mask_of_boxes` makes one from boxes.
        sign: the mass of a position is the `"positive"` or `"negative"` part of its attribution, or its
            `"absolute_value"`.
        feature_mask, frozen: positions whose elements all have one of the `frozen` ids of `feature_mask`, such as
            padding and special tokens, are left out, as if there were none. The mask has no other use here.

    Returns:
        `[B]`, a share from 0 to 1, or a mapping name -> `[B]`. Higher is better; chance is the share of positions that
        are true. NaN where no position is true, or there is no mass. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a mask that is not bool, an
            unknown `sign`.

    By default, Quantus 0.6 divides sums over both signs, which gives no share (4.0 and -0.3 on two random maps); its
    ``abs=True`` is ``sign="absolute_value"``.

    Reference: Arras et al. 2022, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations", arXiv:2003.07258.

    Example:
        >>> import torch
        >>> phi = torch.tensor([[[[3.0, 1.0], [0.0, -5.0]]]])
        >>> relevance_mass_accuracy(torch.ones(1, 1, 2, 2), phi, torch.tensor([[[[True, False], [False, True]]]]))
        tensor([0.7500])
    """
    p = at_positions(inputs, attributions, truth_mask, feature_mask, frozen, sign, MASSES)
    return p.unpack(_share)


def _share(p: Positions) -> Tensor:
    return (p.scores * p.truth).sum(-1) / p.scores.sum(-1)


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Wang et al. 2020, arXiv:1910.01279",
)
@arguments_like(relevance_mass_accuracy)
def energy_pointing_game(**arguments: Any) -> Scores:
    r"""The energy-based pointing game: the share of the map's energy that falls into the object's box.

    .. math:: \sum_{p \in T} \phi^+_p \Bigm/ \sum_p \phi^+_p

    where :math:`T` are the positions in the box. It is `relevance_mass_accuracy`, which was proposed for the object's
    outline, with a box as `truth_mask`. Takes the same arguments, raises the same errors and costs the same as
    `relevance_mass_accuracy`.

    Returns:
        `[B]`, a share from 0 to 1, or a mapping name -> `[B]`. Higher is better; chance is the share of positions in
        the box. NaN where no position is true, or there is no mass.

    Raises:
        ValueError, TypeError: as `relevance_mass_accuracy`.

    Reference: Wang et al. 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
    arXiv:1910.01279.

    Example:
        >>> import torch
        >>> phi = torch.tensor([[[[3.0, 1.0], [0.0, -5.0]]]])
        >>> energy_pointing_game(torch.ones(1, 1, 2, 2), phi, torch.tensor([[[[True, False], [False, False]]]]))
        tensor([0.7500])
    """
    return relevance_mass_accuracy(**arguments)


@metric(
    higher_is_better=True,
    range=(0, float("inf")),
    rows="none",
    reference="Kohlbrenner et al. 2020, arXiv:1910.09840",
)
def attribution_localisation(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    weighted: bool = False,
    *,
    sign: str = "positive",
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores:
    r"""The share of the explanation's mass inside the object's box, optionally relative to the box's area.

    .. math:: \mu = \sum_{p \in T} \phi^+_p \Bigm/ \sum_p \phi^+_p, \qquad \mu_w = \mu \cdot P / |T|

    where :math:`T` are the true ones of :math:`P` positions. :math:`\mu` is `relevance_mass_accuracy`; `weighted` gives
    :math:`\mu_w`, which is comparable between small and large objects. The other arguments, errors and cost are as in
    `relevance_mass_accuracy`.

    Returns:
        `[B]`, or a mapping name -> `[B]`: a share from 0 to 1, where chance is the share of positions that are true;
        with `weighted` a ratio from 0 up to the inverse of that share, where chance is 1. Higher is better. NaN where
        no position is true, or there is no mass.

    Raises:
        ValueError, TypeError: as `relevance_mass_accuracy`.

    Quantus 0.6 takes absolute values (``sign="absolute_value"``). Its ``weighted=True`` multiplies by the share of the
    box instead of dividing, and that share depends on the size of the batch, so no setting here gives its value.

    Reference: Kohlbrenner et al. 2020, "Towards Best Practice in Explaining Neural Network Decisions with LRP",
    arXiv:1910.09840.

    Example:
        >>> import torch
        >>> phi = torch.tensor([[[[3.0, 1.0], [0.0, -5.0]]]])
        >>> box = torch.tensor([[[[True, False], [False, False]]]])
        >>> attribution_localisation(torch.ones(1, 1, 2, 2), phi, box, weighted=True)
        tensor([3.])
    """
    p = at_positions(inputs, attributions, truth_mask, feature_mask, frozen, sign, MASSES)
    return p.unpack(_weighted_share if check_flag("weighted", weighted) else _share)


def _weighted_share(p: Positions) -> Tensor:
    share = _share(p)
    return share * p.counts.to(share) / p.truth.sum(-1)


@metric(
    higher_is_better=True,
    range=(0, 1),
    rows="none",
    reference="Arias-Duart et al. 2022, arXiv:2109.15035",
)
@arguments_like(relevance_mass_accuracy)
def focus(**arguments: Any) -> Scores:
    r"""The share of the positive relevance that lies on the images of a mosaic that show the explained class.

    .. math:: \sum_{p \in T} \phi^+_p \Bigm/ \sum_p \phi^+_p

    where :math:`T` are the positions of these images. Mosaics, their targets and masks come from
    `captum_ext.truth_masks.mosaics`. Takes the same arguments, raises the same errors and costs the same as
    `relevance_mass_accuracy`.

    Returns:
        `[B]`, a share from 0 to 1, or a mapping name -> `[B]`. Higher is better; chance is 0.5, as two of four images
        show the class. NaN where no position is true, or there is no positive relevance (Quantus 0.6 then returns 0).

    Raises:
        ValueError, TypeError: as `relevance_mass_accuracy`.

    Reference: Arias-Duart et al. 2022, "Focus! Rating XAI Methods and Finding Biases", arXiv:2109.15035.

    Example:
        >>> import torch
        >>> phi = torch.tensor([[[[3.0, 1.0], [0.0, -5.0]]]])
        >>> focus(torch.ones(1, 1, 2, 2), phi, torch.tensor([[[[True, False], [True, False]]]]))
        tensor([0.7500])
    """
    return relevance_mass_accuracy(**arguments)
