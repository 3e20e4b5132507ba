"""How much of the input an explanation shows (Poppi et al. 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.signature import arguments_like
from ._features import attributed


@metric(
    higher_is_better=False,
    range=(0, 1),
    rows="none",
    reference="Poppi et al. 2021, arXiv:2104.10252",
)
@arguments_like(attributed)
def share_shown(**arguments: Any) -> Scores:
    r"""The mean of the attribution map, scaled to 0..1: the share of the input that is shown through it.

    .. math:: \frac1F \sum_{i=1}^F m_i, \qquad m = \frac{\phi - \min \phi}{\max \phi - \min \phi}

    A feature is a group of `feature_mask`, or without one an element of the map, as in the paper. `average_drop` shows
    the input through the same map `m`, so a map that shows nearly everything has a good score there and a bad one here.
    This is the complexity in the paper's ADCC.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. An example's map
            is scaled over all its features, also across the tensors of a tuple.
        feature_mask: as in Captum, or a function of the inputs such as those of `captum_ext.feature_masks`.
        aggregate: a group's attribution is the `"sum"` or the `"mean"` of its elements' attributions.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens or padding.

    Returns:
        `[B]`, from 0 to 1, or a mapping name -> `[B]`. Lower is better (less is shown); Gaussian noise scores about
        0.5. NaN where the map is constant. No model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions.

    Reference: Poppi et al. 2021, "Revisiting The Evaluation of Class Activation Mapping for Explainability",
    arXiv:2104.10252.

    Example:
        >>> phi = torch.tensor([[0.0, 0.0, 0.0, 2.0], [-1.0, 1.0, 1.0, 0.0]])
        >>> share_shown(phi, phi)
        tensor([0.2500, 0.6250])
    """
    return attributed(**arguments).unpack(_share)


def _share(phi: Tensor, count: Tensor) -> Tensor:
    lacking = torch.arange(phi.shape[-1], device=phi.device) >= count  # features that an example does not have
    least = phi.masked_fill(lacking, torch.inf).amin(-1, keepdim=True)
    extent = phi.masked_fill(lacking, -torch.inf).amax(-1, keepdim=True) - least
    shown = ((phi - least) / extent).masked_fill(lacking, 0)  # 0 / 0 where the map is constant
    return shown.sum(-1) / count[:, 0]
