"""The output when the input is shown through its map: average drop, average gain and increase in confidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import (
    Attributions,
    AttributionsType,
    BaselinesType,
    Scores,
    TensorOrTuple,
    as_attributions,
    as_baselines,
    as_tuple,
)
from ..._core.card import metric
from ..._core.checks import check_floating
from ..._core.forward import Forward, Rows, warn_of_logits
from ..._core.scaled import seen_through
from ..._core.setting import Setting
from ..._core.sharing import shared
from ..._core.signature import arguments_like
from ..._core.statistics import wide

ROWS = "B + M B, for M methods"
GRAD_CAM_PP = "Chattopadhyay et al. 2018, arXiv:1710.11063"


@metric(higher_is_better=False, range=(0, float("inf")), rows=ROWS, reference=GRAD_CAM_PP, relative=True)
@arguments_like(Setting, without=("feature_mask", "aggregate", "frozen"))
def average_drop(**arguments: Any) -> Scores:
    r"""The share of the output that is lost when the input is shown through its attribution map.

    .. math:: \frac{\max(0, f(x) - f(\tilde x))}{f(x)}, \qquad \tilde x = b + m \odot (x - b), \qquad
        m = \frac{\phi - \min \phi}{\max \phi - \min \phi}

    The output has to be a probability: give `activation=partial(torch.softmax, dim=1)` where the model returns logits.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a
            mapping share the evaluations of the inputs. An example's map is scaled to 0..1 over all its elements.
        baselines: what is shown where the map is 0: any of Captum's forms, or a function of the inputs. Default 0.
        activation: applied to the model's whole output before the target is picked.

    Returns:
        `[B]`, from 0 to 1 for probabilities, or a mapping name -> `[B]`. The mean over examples is the paper's score,
        as a share and not in percent. Lower is better; compare with a map of random noise, which shows half of every
        feature on average. NaN where the map is constant or `f(x)` is not above 0. `B + M B` model rows for `M`
        methods.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`, inputs of an
            integer type.

    Reference: Chattopadhyay et al. 2018, "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks",
    arXiv:1710.11063.

    Example:
        >>> x = torch.tensor([[0.75, 0.25]])
        >>> maps = {"first": torch.tensor([[1.0, 0.0]]), "second": torch.tensor([[0.0, 1.0]])}
        >>> average_drop(lambda x: x.sum(1), x, maps)
        {'first': tensor([0.2500]), 'second': tensor([0.7500])}
    """
    shown = _through_maps(**arguments)
    warn_of_logits(shown.f_x <= 0, "is not above 0")
    return shown.unpack((shown.f_x - shown.f_shown).clamp(min=0) / shown.f_x.where(shown.f_x > 0, torch.nan))


@metric(
    higher_is_better=True,
    range=(0, float("inf")),
    rows=ROWS,
    reference="Zhang et al. 2023, arXiv:2301.07002",
    relative=True,
)
@arguments_like(average_drop)
def average_gain(**arguments: Any) -> Scores:
    r"""The share of the missing probability that is gained when the input is shown through its attribution map.

    .. math:: \frac{\max(0, f(\tilde x) - f(x))}{1 - f(x)}

    with :math:`\tilde x` as in `average_drop`. Takes the same arguments, raises the same errors and costs the same as
    `average_drop`.

    Returns:
        `[B]`, from 0 to 1 for probabilities, or a mapping name -> `[B]`. Higher is better; compare with a map of random
        noise. NaN where the map is constant or `f(x)` is not below 1.

    Raises:
        ValueError, TypeError: as `average_drop`.

    Reference: Zhang et al. 2023, "Opti-CAM: Optimizing saliency maps for interpretability", arXiv:2301.07002.

    Example:
        >>> x = torch.tensor([[0.75, -0.25]])
        >>> maps = {"first": torch.tensor([[1.0, 0.0]]), "second": torch.tensor([[0.0, 1.0]])}
        >>> average_gain(lambda x: x.sum(1), x, maps)
        {'first': tensor([0.5000]), 'second': tensor([0.])}
    """
    shown = _through_maps(**arguments)
    warn_of_logits(shown.f_x >= 1, "is not below 1")
    return shown.unpack((shown.f_shown - shown.f_x).clamp(min=0) / (1 - shown.f_x).where(shown.f_x < 1, torch.nan))


@metric(higher_is_better=True, range=(0, 1), rows=ROWS, reference=GRAD_CAM_PP)
@arguments_like(average_drop)
def increase_in_confidence(**arguments: Any) -> Scores:
    r"""Whether the output is larger when the input is shown through its attribution map.

    .. math:: \bigl[ f(\tilde x) > f(x) \bigr]

    with :math:`\tilde x` as in `average_drop`. Takes the same arguments, raises the same errors and costs the same as
    `average_drop`.

    Returns:
        `[B]`, 1 or 0, or a mapping name -> `[B]`; the mean over examples is the paper's share of increases. Higher is
        better; compare with a map of random noise. NaN where the map is constant or an output is NaN.

    Raises:
        ValueError, TypeError: as `average_drop`.

    Reference: Chattopadhyay et al. 2018, "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks",
    arXiv:1710.11063.

    Example:
        >>> x = torch.tensor([[0.75, -0.25]])
        >>> maps = {"first": torch.tensor([[1.0, 0.0]]), "second": torch.tensor([[0.0, 1.0]])}
        >>> increase_in_confidence(lambda x: x.sum(1), x, maps)
        {'first': tensor([1.]), 'second': tensor([0.])}
    """
    shown = _through_maps(**arguments)
    undefined = shown.f_x.isnan() | shown.f_shown.isnan()
    return shown.unpack(wide(shown.f_shown > shown.f_x).masked_fill(undefined, torch.nan))


class _Shown:
    """Outputs for the inputs, `f_x [B]`, and through each map, `f_shown [methods, B]`: nan where a map is constant."""

    def __init__(self, methods: Attributions, f: Forward, f_x: Tensor, f_shown: Tensor):
        self.methods, self.f, self.f_x, self.f_shown = methods, f, f_x, f_shown

    def unpack(self, scores: Tensor) -> Scores:
        return self.methods.unpack(scores, self.f.dtype)


@shared
def _through_maps(
    *, inputs: TensorOrTuple, attributions: AttributionsType, baselines: BaselinesType, **of_model: Any
) -> _Shown:
    x = as_tuple(inputs)
    methods = as_attributions(attributions, inputs, of_model["target"])
    check_floating(x, "maps scale them")
    b = as_baselines(baselines, inputs)
    f = Forward(inputs=x, **of_model)
    n_methods, constant = len(methods.maps), []

    def rows() -> Iterator[Rows]:
        for maps in methods.maps:
            through, is_constant = seen_through(maps, x, b)
            constant.append(is_constant)
            yield through, torch.arange(len(x[0]), device="cpu")

    f_x, f_shown = f.beside_whole(rows(), n_methods * len(x[0]))
    f_shown = f_shown.reshape(n_methods, -1)
    return _Shown(methods, f, f_x, f_shown.masked_fill(torch.stack(constant).to(f_shown.device), torch.nan))
