"""Infidelity under Gaussian noise with the gradient as a control variate, whose own infidelity is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import TensorOrTuple, Tensors, as_baselines, flat
from ..._core.checks import check_choice, check_flag, check_not_negative
from ..._core.forward import whole
from ..._core.perturbations import Perturbations, gaussian_settings
from ..._core.sharing import shared_as
from ..._core.statistics import at_least_float32, ratio, sum_of_parts, to_unit

WANTED_BY = "`control_variate='gradient'`"


def settings_of_noise(control_variate: str, perturb_func: Any) -> dict[str, Any]:
    """Returns the standard deviation of the noise, and whether it is divided by the distance to the baselines."""
    check_choice("control_variate", control_variate, ("gradient",))
    settings = gaussian_settings(perturb_func)
    if settings is None:
        raise ValueError(
            f"{WANTED_BY} uses the exact covariance of Gaussian noise, so `perturb_func` must be "
            "captum_ext.perturbations.gaussian, or that in functools.partial; got "
            f"{getattr(perturb_func, '__name__', perturb_func)}."
        )
    if settings["baselines"] is not None:
        raise ValueError(f"{WANTED_BY} needs `baselines` as an argument of `infidelity`; `perturb_func` has its own.")
    std = check_not_negative("std", settings["std"])
    return {"std": std, "multiply_by_inputs": check_flag("multiply_by_inputs", settings["multiply_by_inputs"])}


@dataclass(frozen=True)
class LinearPart:
    """The part of the drops that is linear in the perturbation, whose elements are independent."""

    gradient: Tensor  # [B, E], by the perturbation
    scale: Tensor  # [B, E]: the standard deviation of the perturbation

    @classmethod
    def of(cls, drawn: Perturbations, inputs: TensorOrTuple, std: float, multiply_by_inputs: bool) -> LinearPart:
        units = tuple(torch.ones_like(at_least_float32(t)) for t in drawn.inputs)
        if multiply_by_inputs:
            baselines = as_baselines(drawn.baselines, inputs)
            distances = (at_least_float32(t) - b for t, b in zip(drawn.inputs, baselines))
            units = tuple(d.masked_fill(d == 0, 1) for d in distances)
        unit = flat(units)
        return cls(_gradient(drawn) * unit, std / unit)

    def mean_squared_difference(self, phi: Tensor, explained: Tensor, observed: Tensor, normalize: bool) -> Tensor:
        """`[methods, B]`, of what `phi [methods, B, E]` predict and what is observed, `[B, n]`.

        `explained [methods + 1, B, n]` has the predictions, and last those of the gradient.
        """
        predicted, linear = explained[:-1], explained[-1]
        rest = observed - linear
        if normalize:
            phi, unit = to_unit(phi)  # beta undoes any scale
            predicted = predicted / unit
            beta = self._beta(phi, predicted, rest)[..., None]
            phi, predicted = beta * phi, beta * predicted
        squares = sum_of_parts(lambda p, g, s: ((p - g) * s).square().sum(-1), phi, self.gradient, self.scale)
        difference = predicted - linear
        found = squares + (rest**2 - 2 * difference * rest).mean(-1)
        return found.where(found >= 0, ((difference - rest) ** 2).mean(-1))

    def _beta(self, phi: Tensor, predicted: Tensor, rest: Tensor) -> Tensor:
        """`[methods, B]`: the factor of the attributions that leaves the least; 0 for those that predict 0."""
        both = sum_of_parts(lambda p, g, s: (p * g * s**2).sum(-1), phi, self.gradient, self.scale)
        own = sum_of_parts(lambda p, s: (p * s).square().sum(-1), phi, self.scale)
        return ratio(both + (predicted * rest).mean(-1), own)


def _gradient(drawn: Perturbations) -> Tensor:
    """`[B, E]`: that of the output at the inputs, which metrics share."""
    of_model, _, inputs, *_ = drawn.given
    return shared_as(("gradient", of_model, inputs), lambda: _computed_gradient(drawn))


def _computed_gradient(drawn: Perturbations) -> Tensor:
    found: list[Tensors] = []
    for gradients, _ in drawn.f.gradients([whole(drawn.inputs)], WANTED_BY):
        if gradients is None:
            raise ValueError(
                f"{WANTED_BY} needs the gradient of {drawn.f.model.name}, which takes none of its inputs. Leave it out."
            )
        found.append(gradients)
    return torch.cat([flat(gradients) for gradients in found])
