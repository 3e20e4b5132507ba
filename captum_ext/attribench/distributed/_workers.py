"""What runs on workers: a function of `captum_ext.attribench.functional`, with factories for its model and methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

HERE = ("localhost", "127.0.0.1")
FACTORIES = {"model": "model_factory", "method_dict": "method_factory"}  # of what a worker makes for itself
LEFT_OUT = ("writer", "device", "show_progress")
FACTORY = inspect.Parameter("factory", inspect.Parameter.POSITIONAL_OR_KEYWORD)
REQUIRED = inspect.Parameter.empty


class Computation:
    """It takes the arguments of a function, `of`, with some defaults of its own, and then those of `workers`."""

    __signature__: inspect.Signature
    _function: Callable[..., Any]

    def __init_subclass__(cls, of: Callable[..., Any] | None = None, **defaults: Any):
        super().__init_subclass__()
        if of is not None:
            cls._function = staticmethod(of)
            cls.__signature__ = _signature(of, defaults)

    def __init__(self, *arguments: Any, **named: Any):
        given = self.__signature__.bind(*arguments, **named)
        given.apply_defaults()
        self._given = given.arguments
        self.model_factory, self.batch_size = self._given["model_factory"], self._given["batch_size"]
        place = [self._given.pop(name) for name in ("address", "port", "devices")]
        self.options = workers(*place, **self._given.pop("options"))


def workers(
    address: str = "localhost", port: str | int = "12355", devices: Sequence[Any] | None = None, **options: Any
) -> dict[str, Any]:
    """AttriBench's arguments as options of `captum_ext.evaluate`.

    Without devices these are every GPU, and one worker on the CPU where there is none.
    """
    if devices is None:
        devices = range(torch.cuda.device_count()) or ["cpu"]
    if address not in HERE:
        from captum_ext.evaluation.engines.ray import Ray

        options = {"engine": Ray(f"{address}:{port}"), **options}
    return {"devices": list(devices), **options}


def _signature(function: Callable[..., Any], defaults: dict[str, Any]) -> inspect.Signature:
    taken = {name: p for name, p in inspect.signature(function).parameters.items() if name not in LEFT_OUT}
    own = {FACTORIES.get(name, name): FACTORY if name in FACTORIES else p for name, p in taken.items()}
    parameters = {"model_factory": FACTORY, **own, **inspect.signature(workers).parameters}
    changed = [p.replace(name=name, default=defaults.get(name, p.default)) for name, p in parameters.items()]
    return inspect.Signature(sorted(changed, key=lambda p: p.kind))
