"""Feature masks on a grid of positions: elements with the same number belong to one feature."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .arguments import TensorOrTuple, as_given, as_tuple
from .checks import check_count, shape


def grid(inputs: TensorOrTuple, cells: int = 9) -> TensorOrTuple:
    """Divides every spatial axis of `(B, C, ...)` into `cells` parts: each cell of that grid is a feature.

    The mask has shape `(1, 1, ...)`, so the channels of a cell belong together. Parts differ in length by at
    most one position; an axis with fewer positions than parts has one part per position.

    Example:
        >>> grid(torch.zeros(1, 3, 3, 4), cells=2)
        tensor([[[[0, 0, 1, 1],
                  [0, 0, 1, 1],
                  [2, 2, 3, 3]]]])
    """
    check_count("cells", cells)

    def mask(x: Tensor) -> Tensor:
        places = torch.zeros((), dtype=torch.long, device=x.device)
        for side in positions(x):
            places = places[..., None] * cells + torch.arange(side, device=x.device) * cells // side
        return places[None, None]

    return numbered(inputs, mask)


def positions(x: Tensor) -> tuple[int, ...]:
    """Returns the sizes of the spatial axes."""
    if x.dim() < 3:
        raise ValueError(f"`inputs` must have positions, shape (B, C, ...) with at least three axes; got {shape(x)}.")
    return shape(x)[2:]


def numbered(inputs: TensorOrTuple, mask_of: Callable[[Tensor], Tensor]) -> TensorOrTuple:
    """Returns a mask for each tensor. Numbers go on from one tensor of a tuple to the next, so none is used twice."""
    masks: list[Tensor] = []
    for x in as_tuple(inputs):
        masks.append(mask_of(x) + (int(masks[-1].max()) + 1 if masks else 0))
    return as_given(tuple(masks), inputs)
