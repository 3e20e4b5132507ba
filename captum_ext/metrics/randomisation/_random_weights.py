"""A model with other weights: drawn anew layer by layer, on the CPU from a seed, so the same on any device and in any process."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..._core.checks import check_choice, check_count, describe
from ..._core.draws import example_seeds
from ..._core.forward import warn_of_training
from ..._core.statistics import wide

ORDERS = ("top_down", "bottom_up", "independent", "full")


def check_model(forward_func: Any) -> nn.Module:
    """A module with parameters."""
    if not isinstance(forward_func, nn.Module):
        raise TypeError(
            f"`forward_func` must be a module, whose parameters can be drawn anew; got {describe(forward_func)}."
        )
    if next(forward_func.parameters(), None) is None:
        raise ValueError(f"`forward_func` has no parameters that could be drawn anew, got {describe(forward_func)}.")
    warn_of_training(forward_func)
    return forward_func


def layers(model: nn.Module) -> list[nn.Module]:
    """The modules with parameters of their own, in the order of their registration; a shared parameter belongs to the first."""
    owners = dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters())
    return [model.get_submodule(owner) for owner in owners]


def randomized(model: nn.Module, order: str, seed: int) -> Iterator[nn.Module]:
    """A copy of the model after each step: use it before the next, which changes it.

    A layer's new parameters are the same in every order.
    """
    check_choice("order", order, ORDERS)
    return _cascade(model, order, check_count("weights_seed", seed, least=0))


def _cascade(model: nn.Module, order: str, seed: int) -> Iterator[nn.Module]:
    twin = copy.deepcopy(model)
    own = layers(twin)
    steps = list(zip(own, example_seeds(seed, len(own))))
    if order == "full":
        for layer, layer_seed in steps:
            draw_anew(layer, layer_seed)
        yield twin
        return
    for layer, layer_seed in reversed(steps) if order == "top_down" else steps:
        before = {name: tensor.detach().clone() for name, tensor in _own(layer).items()}
        draw_anew(layer, layer_seed)
        yield twin
        if order == "independent":
            _put(layer, before)


def draw_anew(layer: nn.Module, seed: int) -> None:
    """All parameters of a layer's own: by its `reset_parameters`, and what that leaves, with their own mean and standard deviation."""
    fresh = _reset(layer, seed)
    stream = torch.Generator().manual_seed(seed)
    for name, parameter in layer.named_parameters(recurse=False):
        if name not in fresh and parameter.is_floating_point():
            fresh[name] = _alike(parameter.detach(), stream)
    _put(layer, fresh)


def _reset(layer: nn.Module, seed: int) -> dict[str, Tensor]:
    """What the layer's `reset_parameters` sets, found by looking at what is no longer nan in a copy on the CPU."""
    if not hasattr(layer, "reset_parameters"):
        return {}
    fresh: Any = copy.deepcopy(layer).to_empty(device="cpu")
    own = {name: tensor for name, tensor in _own(fresh).items() if tensor.is_floating_point()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for tensor in own.values():
            tensor.fill_(torch.nan)
        fresh.reset_parameters()
    return {name: tensor for name, tensor in _own(fresh).items() if name in own and not tensor.isnan().any()}


def _alike(parameter: Tensor, stream: torch.Generator) -> Tensor:
    """Normal, with the parameter's mean and standard deviation; where that is 0, the mean's absolute value instead."""
    noise = torch.randn(parameter.shape, generator=stream).to(wide(parameter))
    mean, std = wide(parameter).mean(), wide(parameter).std(correction=0)
    return mean + torch.where(std > 0, std, mean.abs()) * noise


def _own(layer: nn.Module) -> dict[str, Tensor]:
    return {**dict(layer.named_parameters(recurse=False)), **dict(layer.named_buffers(recurse=False))}


def _put(layer: nn.Module, values: dict[str, Tensor]) -> None:
    own = _own(layer)
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
