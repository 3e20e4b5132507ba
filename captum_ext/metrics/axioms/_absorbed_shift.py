"""A model whose first layer undoes, for a while, a constant shift of the inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..._core.arguments import TensorOrTuple, Tensors, broadcasts, flat
from ..._core.checks import (
    check_finite,
    check_floating,
    check_has_values,
    check_real,
    describe,
    is_number,
    plain,
    shape,
)
from ..._core.forward import Forward, whole
from ..._core.layers import as_layer, recorded
from ..._core.statistics import norm
from ..._core.swapped import check_swappable, swapped

AFFINE = (nn.Linear, nn.modules.conv._ConvNd)


def as_shift(shift: float | TensorOrTuple, x: Tensors) -> Tensors:
    """A row `[1, ...]` for each input tensor."""
    check_floating(x, "a shift is added to them")
    values = shift if isinstance(shift, tuple) else (shift,) * len(x)
    if len(values) != len(x):
        raise ValueError(
            f"`shift` must have one entry for each of the {len(x)} tensors of `inputs`, got {len(values)}."
        )
    return tuple(_row(value, t) for value, t in zip(values, x))


def _row(value: Any, x: Tensor) -> Tensor:
    value = plain(value)
    if isinstance(value, Tensor):
        check_real("`shift` must be", value)
        check_has_values("shift", value, x)
        row = value.detach().to(x)
    elif is_number(value):
        row = torch.as_tensor(check_finite("shift", value), device=x.device).to(x)
    else:
        raise TypeError(f"`shift` must be a number or a tensor, got {describe(value)}.")
    if not row.is_meta and not row.isfinite().all():
        raise ValueError(f"`shift` must be finite in the type of `inputs`, {x.dtype}, got {describe(value)}.")
    if row.dim() > x.dim() or not broadcasts(row, x[:1]):
        raise ValueError(f"`shift` must be the same for all examples, of shape {shape(x[:1])}; got {shape(row)}.")
    return row.expand(1, *x.shape[1:])


def check_module(forward_func: Any) -> nn.Module:
    if not isinstance(forward_func, nn.Module):
        raise TypeError(f"`forward_func` must be a module with a first layer to change, got {describe(forward_func)}.")
    check_swappable(forward_func)
    return forward_func


def first_layer(model: nn.Module, layer: str | nn.Module | None) -> str:
    """The name of the layer that undoes the shift: the given one, or the first linear or convolutional one."""
    if layer is None:
        for name, module in model.named_modules():
            if isinstance(module, AFFINE):
                return name
        raise ValueError("`layer` must name the first layer, as `forward_func` has no linear or convolutional one.")
    wanted = as_layer(layer, model)
    for name, module in model.named_modules():
        if module is wanted:
            return name
    raise ValueError("`layer` must be a part of `forward_func`, got another module.")


def change_by(f: Forward, model: nn.Module, name: str, x: Tensors, shift: Tensors) -> Tensor:
    """What the shift adds to the output of the layer `name`, if taking it off there leaves the outputs as they were."""
    before = _rows(f.outputs_of_whole())
    with swapped(model):
        layer, row = model.get_submodule(name), torch.arange(1, device="cpu")
        with recorded(layer) as outputs:
            f.output(tuple(torch.zeros_like(s) for s in shift), row)
            f.output(tuple(s.clone() for s in shift), row)
        if len(outputs) != 2 or not isinstance(outputs[0], Tensor):
            raise ValueError(
                f"`layer` must be called once and return one tensor, got {len(outputs) // 2} calls of {name!r}."
            )
        added = outputs[1] - outputs[0]
        with absorbing(model, name, added):
            shifted = whole(tuple(t + s for t, s in zip(x, shift)))
            _check_undone(before, _rows(f.batches.map(f.output, [shifted])), name)
    return added


@contextmanager
def absorbing(model: nn.Module, name: str, added: Tensor) -> Iterator[None]:
    """Within the block, the model's layer `name` subtracts what the shift adds, so that its bias is :math:`b - W s`.

    Nothing that the model writes into its tensors in the block is left afterwards.
    """
    with swapped(model):
        hook = model.get_submodule(name).register_forward_hook(lambda module, arguments, output: output - added)
        try:
            yield
        finally:
            hook.remove()


def _rows(outputs: Iterable[Tensor]) -> Tensor:
    return flat((torch.cat(list(outputs)),))


def _check_undone(before: Tensor, after: Tensor, name: str) -> None:
    tolerance = torch.finfo(before.dtype).eps ** 0.5 * (norm(before) + 1)
    if (norm(after - before) > tolerance).any():
        raise ValueError(
            f"`layer` {name!r} cannot undo the shift: the outputs differ by up to "
            f"{float(norm(after - before).max()):.3g}. It must be the first layer with parameters, linear or a "
            "convolution, and what comes before it must turn a shift of its input into a constant shift of its output."
        )
