"""AttriBench's form of an explanation method."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class AttributionMethod:
    """A method bound to a model: called with inputs and targets it gives attributions. Subclass it and override `__call__`."""

    def __init__(self, model: nn.Module, **kwargs: Any):
        self.model = model

    def __call__(self, batch_x: Tensor, batch_target: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must override __call__(batch_x, batch_target).")
