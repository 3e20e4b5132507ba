"""AttriBench's explanation methods, and what makes models and methods, which every worker does for itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

Method = Callable[..., Any]
ConfigDict = Mapping[str, Callable[..., Method] | tuple[Callable[..., Method], Mapping[str, Any]]]


class AttributionMethod:
    """A method bound to a model; called with inputs and targets it gives attributions. Override `__call__`."""

    def __init__(self, model: nn.Module, **kwargs: Any):
        self.model = model

    def __call__(self, batch_x: Tensor, batch_target: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must override __call__(batch_x, batch_target).")


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


class MethodFactory:
    """Called with a model it gives name -> method.

    An entry of `config_dict` is an `AttributionMethod` class, or a tuple of one and its further arguments.

    Example:
        >>> class Gradient(AttributionMethod):
        ...     def __init__(self, model, times_input=False):
        ...         super().__init__(model)
        ...         self.times_input = times_input
        >>> factory = MethodFactory({"grad": Gradient, "ixg": (Gradient, {"times_input": True})})
        >>> factory.get_method_names(), factory(nn.Linear(2, 1))["ixg"].times_input
        (['grad', 'ixg'], True)
    """

    def __init__(self, config_dict: ConfigDict):
        for name, entry in config_dict.items():
            if not callable(entry[0] if isinstance(entry, tuple) and len(entry) == 2 else entry):
                wanted = "a class, or a tuple of one and a mapping of its arguments"
                raise TypeError(f"`config_dict[{name!r}]` must be {wanted}; got {entry!r}.")
        self.config_dict = config_dict

    def __call__(self, model: nn.Module) -> dict[str, Method]:
        return {
            name: entry[0](model, **entry[1]) if isinstance(entry, tuple) else entry(model)
            for name, entry in self.config_dict.items()
        }

    def __len__(self) -> int:
        return len(self.config_dict)

    def get_method_names(self) -> list[str]:
        return list(self.config_dict)
