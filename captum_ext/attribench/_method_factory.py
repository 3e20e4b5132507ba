"""From a configuration of methods to methods bound to a model, which every worker makes for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

Method = Callable[..., Any]
ConfigDict = Mapping[str, Callable[..., Method] | tuple[Callable[..., Method], Mapping[str, Any]]]


class MethodFactory:
    """Called with a model it gives name -> method; an entry is an `AttributionMethod` class, or a tuple of one and its further arguments.

    Example:
        >>> from captum_ext.attribench import AttributionMethod
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
                raise TypeError(
                    f"`config_dict[{name!r}]` must be a class, or a tuple of one and a mapping of its arguments; got {entry!r}."
                )
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
