"""Attribution maps scaled to 0..1, and inputs seen through them."""

from __future__ import annotations

from torch import Tensor

from .arguments import Tensors, flat
from .statistics import wide


def scaled(maps: Tensors) -> tuple[Tensors, Tensor]:
    """Returns the maps, scaled to 0..1 over all elements of an example, and whether an example's map is constant `[B]`.

    A constant map becomes 0.
    """
    least, most = wide(flat(maps)).aminmax(dim=1)
    extent = (most - least).where(most > least, 1)
    return tuple((wide(m) - _beside(m, least)) / _beside(m, extent) for m in maps), most == least


def seen_through(maps: Tensors, x: Tensors, baselines: tuple[float | Tensor, ...]) -> tuple[Tensors, Tensor]:
    """Returns the inputs as their scaled maps show them, on the baselines, and whether a map is constant `[B]`."""
    weights, constant = scaled(maps)
    return tuple(base + w.to(t) * (t - base) for t, w, base in zip(x, weights, baselines)), constant


def _beside(maps: Tensor, of_examples: Tensor) -> Tensor:
    return of_examples.reshape(-1, *[1] * (maps.dim() - 1))
