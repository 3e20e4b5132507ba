"""Input invariance (Kindermans et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..._core.arguments import TensorOrTuple, as_given, as_norm_order, as_tuple, flat
from ..._core.card import metric
from ..._core.explained_maps import MapsOfModels
from ..._core.forward import Forward
from ..._core.statistics import norm, ratio
from ._absorbed_shift import absorbing, as_shift, change_by, check_module, first_layer


@metric(
    higher_is_better=False,
    range=(0, float("inf")),
    rows="2 + 2 B, and explanations of 2 B rows",
    reference="Kindermans et al. 2017, arXiv:1711.00867",
)
def input_invariance(
    forward_func: Callable[..., Any],
    explanation_factory: Any,
    inputs: TensorOrTuple,
    max_examples_per_batch: int | None = None,
    *,
    shift: float | TensorOrTuple = 1.0,
    layer: str | nn.Module | None = None,
    norm_ord: str | float = "fro",
    **kwargs: Any,
) -> Tensor:
    r"""The relative change of the explanation when all inputs are shifted and the model's first layer undoes the shift.

    .. math:: \frac{\lVert \phi(x + s; f_s) - \phi(x; f) \rVert}{\lVert \phi(x; f) \rVert}, \qquad f_s(x + s) = f(x)

    where :math:`f_s` is the model with the bias `b - W s` in its first layer (at a padded border, the bias differs by
    position), which is taken back afterwards; until then, other threads must not use the model. A norm of 0 counts
    as 1. The explanation's own baselines are not shifted.

    Args:
        forward_func: a module whose first layer with parameters is linear or a convolution.
        explanation_factory: a Captum class, or a function of a model that returns an explanation of it (a Captum
            object, or a function with Captum's arguments), which is called with `forward_func`, before and after the
            change; or a Captum object of `forward_func` itself. Each explanation gets at most `max_examples_per_batch`
            rows at a time.
        shift: a number or a tensor of one row, the same for all examples; or a tuple with one of these for each tensor
            of `inputs`.
        layer: the first layer, or its name; by default the first linear or convolutional one in the order of
            registration.
        norm_ord: the order of the vector norm; `"fro"` and `"nuc"` mean the Euclidean norm.
        kwargs: the explanation's arguments, as in `sensitivity_max`; the model also gets the `additional_forward_args`.

    Returns:
        `[B]`, a ratio, in the explanation's type (at least float32). Lower is better, 0 is invariant; an explanation
        that is new Gaussian noise each time scores about :math:`\sqrt 2`. `2 + 2 B` model rows and `2 B` explained
        ones.

    Raises:
        ValueError, TypeError: a `forward_func` that is not a module, or is a scripted, frozen or exported one, a
            `layer` that does not undo the shift, an object of another model as `explanation_factory`, a `shift` that
            does not fit.

    Reference: Kindermans et al. 2017, "The (Un)reliability of saliency methods", arXiv:1711.00867, who compare by eye.
    Quantus' `InputInvariance` says whether the two are exactly equal.

    Example:
        >>> from captum.attr import InputXGradient, Saliency
        >>> model = torch.nn.Linear(3, 1)
        >>> x = torch.ones(1, 3)
        >>> [input_invariance(model, method, x, shift=2.0).round(decimals=3) for method in (Saliency, InputXGradient)]
        [tensor([0.]), tensor([2.])]
    """
    order, x = as_norm_order(norm_ord), as_tuple(inputs)
    steps, model = as_shift(shift, x), check_module(forward_func)
    name = first_layer(model, layer)
    shifted = as_given(tuple(t + s for t, s in zip(x, steps)), inputs)
    explained, explained_shifted = (
        MapsOfModels(explanation_factory, tensors, max_examples_per_batch, kwargs) for tensors in (inputs, shifted)
    )
    explained_shifted.warned = explained.warned
    f = Forward(model, x, None, kwargs.get("additional_forward_args"), None, max_examples_per_batch)
    with torch.no_grad():
        added = change_by(f, model, name, x, steps)
        phi = flat(explained.maps(model, as_it_is=True))
        with absorbing(model, name, added):
            phi_shifted = flat(explained_shifted.maps(model))
    return ratio(norm(phi_shifted - phi, order), norm(phi, order)).to(explained.dtype)
