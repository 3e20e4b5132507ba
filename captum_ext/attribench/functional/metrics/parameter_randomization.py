"""Parameter randomisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from captum_ext import metrics

from ..._method_factory import MethodFactory
from ...data import AttributionsDataset
from ...result import ParameterRandomizationResult
from ._plan import CPU, Plan, takes_all_methods

Method = Callable[[Tensor, Tensor], Tensor]


def parameter_randomization(
    model_factory: Callable[[], nn.Module],
    attributions_dataset: AttributionsDataset,
    batch_size: int,
    method_factory: MethodFactory,
    device: torch.device | None = CPU,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> ParameterRandomizationResult:
    """Rank correlation of the attributions and those of the model with random parameters: `captum_ext.metrics.parameter_randomization`.

    All parameters are random, also those of modules without `reset_parameters` (AttriBench leaves these), and the same for every batch. A
    correlation that is undefined, as of constant attributions, is NaN.

    Args:
        model_factory: function without arguments that returns the model.
        attributions_dataset: the samples, labels, and the attributions of the model as it is.
        batch_size: samples explained together.
        method_factory: makes the methods of a model, by the names that they have in `attributions_dataset`.
        device: where to compute.
        seed: of the random parameters.
    """
    plan = parameter_randomization_plan(attributions_dataset, method_factory, seed)
    return plan.run(model_factory, batch_size, device, show_progress=show_progress)


def parameter_randomization_plan(
    dataset: AttributionsDataset, method_factory: MethodFactory, seed: int
) -> Plan[ParameterRandomizationResult]:
    names = method_factory.get_method_names()
    if set(names) != set(dataset.method_names):
        raise ValueError(
            f"`method_factory` must have the methods of `attributions_dataset`, {dataset.method_names}; got {names}."
        )
    correlations = partial(_correlations, method_factory=method_factory, dataset=dataset, weights_seed=seed)
    result = ParameterRandomizationResult(names, dataset.num_samples)
    return Plan(dataset, {"parameter_randomization": correlations}, result)


@takes_all_methods(metrics.parameter_randomization)
def _correlations(
    forward_func: nn.Module,
    inputs: Tensor,
    attributions: Mapping[str, Tensor],
    target: Tensor,
    *,
    method_factory: Callable[[nn.Module], Mapping[str, Method]],
    dataset: AttributionsDataset,
    weights_seed: int,
) -> dict[str, Tensor]:
    def explanation(name: str, model: nn.Module) -> Callable[..., Tensor]:
        """The attributions of the data set for the model as it is, those that the method gives now for the random one."""
        if model is forward_func:
            return lambda inputs, target: attributions[name]
        method = method_factory(model)[name]
        return lambda inputs, target: _alike(name, dataset.aggregated(method(inputs, target)), attributions[name])

    return {
        name: metrics.parameter_randomization(
            forward_func, partial(explanation, name), inputs, order="full", weights_seed=weights_seed, target=target
        )
        for name in attributions
    }


def _alike(name: str, maps: Tensor, stored: Tensor) -> Tensor:
    if maps.shape[1:] != stored.shape[1:]:
        raise ValueError(
            f"`method_factory`'s {name!r} must give attributions of the shape of those in `attributions_dataset`, "
            f"{tuple(stored.shape[1:])}, got {tuple(maps.shape[1:])}."
        )
    return maps
