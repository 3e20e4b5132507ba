"""A model with random weights for a while, drawn on the CPU from a seed: the same on any device and in any process."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

from ..._core.checks import check_choice, check_count, describe
from ..._core.draws import example_seeds
from ..._core.statistics import wide
from ..._core.swapped import check_swappable, swapped
from ..._core.training import warn_of_training

ORDERS = ("top_down", "bottom_up", "independent", "full")


def check_model(forward_func: Any) -> nn.Module:
    """The model, if it is a module with parameters."""
    if not isinstance(forward_func, nn.Module):
        raise TypeError(f"`forward_func` must be a module with parameters to randomise, got {describe(forward_func)}.")
    check_swappable(forward_func)
    if next(forward_func.parameters(), None) is None:
        raise ValueError(f"`forward_func` must have parameters to randomise, got {describe(forward_func)} without any.")
    warn_of_training(forward_func)
    return forward_func


def layers(model: nn.Module) -> list[nn.Module]:
    """The modules with own parameters, in the order of registration; a shared parameter belongs to the first."""
    owners = dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters())
    return [model.get_submodule(owner) for owner in owners]


def randomized(model: nn.Module, order: str, seed: int) -> Generator[nn.Module, None, None]:
    """The model after each step, which has random parameters until the next step, and at the end its own again.

    A layer's new parameters are the same in every order. Close the iterator if it is not used up.
    """
    check_choice("order", order, ORDERS)
    return _cascade(model, order, check_count("weights_seed", seed, least=0))


def _cascade(model: nn.Module, order: str, seed: int) -> Generator[nn.Module, None, None]:
    with swapped(model):
        own = layers(model)
        steps = list(zip(own, example_seeds(seed, len(own))))
        if order == "full":
            for layer, layer_seed in steps:
                draw_anew(layer, layer_seed)
            yield model
            return
        for layer, layer_seed in reversed(steps) if order == "top_down" else steps:
            original = {name: tensor.detach().clone() for name, tensor in _own_tensors(layer).items()}
            draw_anew(layer, layer_seed)
            yield model
            if order == "independent":
                _overwrite(layer, original)


def draw_anew(layer: nn.Module, seed: int) -> None:
    """Resets a layer's own parameters by `reset_parameters`, and draws the others with their own mean and deviation."""
    fresh = _reset(layer, seed)
    stream = torch.Generator("cpu").manual_seed(seed)
    for name, parameter in layer.named_parameters(recurse=False):
        if name not in fresh and parameter.is_floating_point():
            fresh[name] = _normal_like(parameter.detach(), stream)
    _overwrite(layer, fresh)


def _reset(layer: nn.Module, seed: int) -> dict[str, Tensor]:
    """What the layer's `reset_parameters` sets: in copies on the CPU, all that is no longer nan after the call."""
    reset: Any = getattr(layer, "reset_parameters", None)
    if reset is None:
        return {}
    with (
        swapped(layer, lambda copied: copied.cpu()),
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        torch.device("cpu"),
    ):
        own = {name: tensor for name, tensor in _own_tensors(layer).items() if tensor.is_floating_point()}
        torch.default_generator.manual_seed(seed)
        for tensor in own.values():
            tensor.fill_(torch.nan)
        reset()
        after = _own_tensors(layer)
    return {name: tensor for name, tensor in after.items() if name in own and not tensor.isnan().any()}


def _normal_like(parameter: Tensor, stream: torch.Generator) -> Tensor:
    """Normal, with the parameter's mean and standard deviation, or if that is 0, the mean's absolute value."""
    noise = torch.randn(parameter.shape, generator=stream, device="cpu").to(wide(parameter))
    mean, std = wide(parameter).mean(), wide(parameter).std(correction=0)
    return mean + torch.where(std > 0, std, mean.abs()) * noise


def _own_tensors(layer: nn.Module) -> dict[str, Tensor]:
    return {**dict(layer.named_parameters(recurse=False)), **dict(layer.named_buffers(recurse=False))}


def _overwrite(layer: nn.Module, values: dict[str, Tensor]) -> None:
    own = _own_tensors(layer)
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
