"""The layers of a model, and their outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .arguments import flat
from .checks import check_real, describe, shape
from .home import CPU, HOME, moved


def as_layer(layer: str | nn.Module, model: Callable[..., Any], name: str = "forward_func") -> nn.Module:
    """Returns the layer, which may be given by its name in the model."""
    if isinstance(layer, nn.Module):
        return layer
    if not isinstance(layer, str):
        raise TypeError(f"`layer` must be a module or the name of one, got {describe(layer)}.")
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"`layer` can be a name only where `{name}` is a module, got {type(model).__name__}. Give the layer itself."
        )
    layers = dict(model.named_modules())
    if layer not in layers:
        raise ValueError(f"`layer` must be one of {', '.join(filter(None, layers))}; got {layer!r}.")
    return layers[layer]


@contextmanager
def value_seen(layer: nn.Module, of_input: bool, function: Callable[[Any], Any]) -> Iterator[None]:
    """Calls the function with the output of the layer, or its tuple of inputs, whenever the layer is called.

    What the function returns is taken instead, unless it is None. The hook is removed at the end.
    """
    register = layer.register_forward_pre_hook if of_input else layer.register_forward_hook
    handle = register(lambda module, arguments, *output: function(output[0] if output else arguments))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recorded(layer: nn.Module) -> Iterator[list[Any]]:
    """Yields a list that collects the outputs of the layer, call by call. The hook is removed at the end."""
    outputs: list[Any] = []

    def note(output: Any) -> None:
        parts = output if isinstance(output, (tuple, list)) else (output,)
        # cloned, because the next layer may overwrite the output in place
        outputs.extend(p.detach().clone() if isinstance(p, Tensor) else p for p in parts)

    with value_seen(layer, False, note):
        yield outputs


def joined_outputs(outputs: list[Any], rows: int) -> Tensor:
    """`[rows, elements]`: the outputs of a layer in one call of the model, those of several calls concatenated."""
    if not outputs:
        raise ValueError("`layer` must be a part of `forward_func`: the model was called, but the layer was not.")
    for t in outputs:
        if not isinstance(t, Tensor) or t.dim() == 0 or len(t) != rows:
            got = shape(t) if isinstance(t, Tensor) else describe(t)
            raise ValueError(f"`layer` must return tensors with a row for each of its {rows} input rows, got {got}.")
    check_real("`layer` must return", *outputs)
    return flat(tuple(outputs if HOME.get() is None else moved(outputs, CPU)))
