"""Functions without arguments that return a model, which every worker calls for itself."""

from __future__ import annotations

import copy

from torch import nn


class ModelFactory:
    """Subclass it and override `__call__`; any other function without arguments will do as well."""

    def __call__(self) -> nn.Module:
        raise NotImplementedError(f"{type(self).__name__} must override __call__().")


class BasicModelFactory(ModelFactory):
    """Deep copies of a model.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> BasicModelFactory(model)() is model
        False
    """

    def __init__(self, base_model: nn.Module):
        self.base_model = base_model

    def __call__(self) -> nn.Module:
        return copy.deepcopy(self.base_model)
