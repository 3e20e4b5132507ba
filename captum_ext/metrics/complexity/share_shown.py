"""How much of the input an explanation shows (Poppi et al. 2021)."""

from __future__ import annotations

import torch

from ..._core.arguments import AttributionsType, Scores, TensorOrTuple, as_attributions, flat
from ..._core.card import metric
from ..._core.scaled import scaled


@metric(
    higher_is_better=False,
    range=(0, 1),
    rows="none",
    reference="Poppi et al. 2021, arXiv:2104.10252",
)
def share_shown(inputs: TensorOrTuple, attributions: AttributionsType) -> Scores:
    r"""The mean of the attribution map, scaled to 0..1: the share of the input that is shown through it.

    .. math:: \frac1E \sum_{i=1}^E m_i, \qquad m = \frac{\phi - \min \phi}{\max \phi - \min \phi}

    over the `E` elements of the map. `average_drop` shows the input through the same map `m`, so a map that shows
    nearly everything has a good score there and a bad one here. This is the complexity in the paper's ADCC.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. An example's map
            is scaled over all its elements, also across the tensors of a tuple.

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
    methods = as_attributions(attributions, inputs)
    shares = []
    for maps in methods.maps:
        weights, constant = scaled(maps)
        shares.append(flat(weights).mean(1).masked_fill(constant, torch.nan))
    return methods.unpack(torch.stack(shares))
