"""Parameter randomisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from captum_ext import metrics

from ..._factories import MethodFactory
from ...data import AttributionsDataset
from ...result import ParameterRandomizationResult
from ._plan import CPU, Method, Plan, check_methods, computed
from ._scores import takes_all_methods


@computed
def parameter_randomization(
    model_factory: Callable[[], nn.Module],
    attributions_dataset: AttributionsDataset,
    batch_size: int,
    method_factory: MethodFactory,
    device: torch.device | None = CPU,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> Plan[ParameterRandomizationResult]:
    """Rank correlation of the attributions and those of the model with random parameters.

    It is `captum_ext.metrics.parameter_randomization`. All parameters are random, also those of modules without
    `reset_parameters` (AttriBench leaves these), and the same for every batch. A correlation that is undefined, as of
    constant attributions, is NaN.

    Args:
        model_factory: function without arguments that returns the model.
        attributions_dataset: the samples, labels, and the attributions of the model as it is.
        batch_size: samples explained together.
        method_factory: makes the methods of a model, by the names that they have in `attributions_dataset`.
        device: where to compute.
        seed: of the random parameters.
    """
    names, data = method_factory.get_method_names(), attributions_dataset
    check_methods("method_factory", names, data)
    metric = partial(_correlations, method_factory=method_factory, dataset=data, weights_seed=seed)
    result = ParameterRandomizationResult(names, data.num_samples)
    # `seed` is of the parameters alone: methods that draw at random draw the same for every one.
    return Plan(data, {"parameter_randomization": metric}, result, options={"seed": 0})


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
    own = next(forward_func.parameters(), None)

    def explanation(name: str, model: nn.Module) -> Callable[..., Tensor]:
        """The data set's attributions for the model as it is; for the random one, those that the method gives now."""
        if next(model.parameters()) is own:
            return lambda inputs, target: attributions[name]
        method = method_factory(model)[name]
        return lambda inputs, target: _alike(name, dataset.aggregated(method(inputs, target)), attributions[name])

    score = partial(metrics.parameter_randomization, order="full", weights_seed=weights_seed, target=target)
    return {name: score(forward_func, partial(explanation, name), inputs) for name in attributions}


def _alike(name: str, maps: Tensor, stored: Tensor) -> Tensor:
    if maps.shape[1:] != stored.shape[1:]:
        raise ValueError(
            f"`method_factory`'s {name!r} must give attributions of the shape of those in `attributions_dataset`, "
            f"{tuple(stored.shape[1:])}, got {tuple(maps.shape[1:])}."
        )
    return maps
