"""Max-sensitivity."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_ext.baselines import uniform_noise

from ...._core.checks import check_count
from ...data import AttributionsDataset
from ...result import MaxSensitivityResult
from ._plan import CPU, Method, Plan, Seeds, check_methods, computed, explanations


@computed
def max_sensitivity(
    attributions_dataset: AttributionsDataset,
    batch_size: int,
    method_dict: Mapping[str, Method],
    num_perturbations: int,
    radius: float,
    device: torch.device | None = CPU,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> Plan[MaxSensitivityResult]:
    r"""The largest distance between attributions of a randomly perturbed sample and those of the sample itself.

    .. math:: \max_j \lVert \hat\phi(x + \epsilon_j) - \hat\phi(x) \rVert_2, \qquad
        \hat\phi = \phi / \lVert \phi \rVert_\infty, \quad \epsilon_j \sim U[-r, r]

    This is AttriBench's definition, not Captum's (`captum_ext.metrics.sensitivity_max`), which divides by the norm of
    the sample's attributions instead. Attributions that are 0 stay so (AttriBench adds 1e-8 to what it divides by). All
    methods see the same noise.

    Args:
        attributions_dataset: for its samples and labels; the attributions themselves are computed again.
        batch_size: samples perturbed together, and the most rows of a call of a method.
        method_dict: the methods by the names they have in `attributions_dataset`.
        num_perturbations: of each sample. Scores grow with it: never compare those of different numbers.
        radius: of the noise.
        device: where the samples go; the methods' models must be there.
        seed: of the noise, by sample.
    """
    methods = explanations(method_dict)
    check_methods("method_dict", methods, attributions_dataset)
    check_count("num_perturbations", num_perturbations)
    if not radius >= 0:
        raise ValueError(f"`radius` must be at least 0, got {radius}.")
    metric = partial(_largest_move, num_perturbations=num_perturbations, radius=radius)
    result = MaxSensitivityResult(list(methods), attributions_dataset.num_samples)
    model = _models_of(method_dict)
    return Plan(attributions_dataset, {"max_sensitivity": metric}, result, methods=methods, model=model)


def _models_of(methods: Any) -> nn.ModuleList | None:
    """What ready methods hold, so that it is in evaluation mode; a factory's methods get the model of the worker."""
    if not isinstance(methods, Mapping):
        return None
    held = [getattr(method, "model", None) for method in methods.values()]
    return nn.ModuleList({id(m): m for m in held if isinstance(m, nn.Module)}.values())


def _largest_move(
    explanation_func: Method, inputs: Tensor, target: Tensor, seed: Seeds, *, num_perturbations: int, radius: float
) -> Tensor:
    """`[B]`"""
    streams = [np.random.default_rng(s) for s in seed]
    phi = _scaled(explanation_func(inputs, target))
    largest = phi.new_zeros(len(phi))
    for _ in range(num_perturbations):
        noise = uniform_noise(inputs, -radius, radius, seed=[int(stream.integers(2**62)) for stream in streams])
        moved = _scaled(explanation_func(inputs + torch.as_tensor(noise), target)) - phi
        largest = torch.maximum(largest, torch.linalg.vector_norm(moved, dim=1))
    return largest


def _scaled(phi: Tensor) -> Tensor:
    """`[B, elements]`: each map divided by its largest absolute value; zeros stay."""
    flat = phi.detach().flatten(1).to(torch.promote_types(phi.dtype, torch.float32))
    largest = flat.abs().amax(1, keepdim=True)
    return flat / largest.where(largest > 0, 1.0)
