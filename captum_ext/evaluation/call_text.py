"""The call that made a result, as Python that its user can read and run again."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch

from .._core.checks import module_of

OWN = "..."  # stands for what has no name that could be imported
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
NAMED = (type, FunctionType, BuiltinFunctionType)


def call_text(
    function: Callable[..., Any], methods: Mapping[str, Any], metrics: Mapping[str, Any], settings: Mapping[str, Any]
) -> str:
    """The call of `evaluate` with these settings, of which those at their defaults are left out."""
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    given = [f"    {name}={as_code(value)},\n" for name, value in settings.items() if value != defaults[name]]
    call = f"captum_ext.evaluate(\n    model,\n    data,\n{_mapping(methods)}{_mapping(metrics)}{''.join(given)})"
    return f"{_imports(call)}\n\nresult = {call}"


def _imports(call: str) -> str:
    """Of the modules whose names are in the call."""
    modules = {name.rpartition(".")[0] for name in DOTTED.findall(call)} & sys.modules.keys()
    lines = [f"import {module}" for module in sorted({"captum_ext", *modules})]
    return "\n".join([*(["from functools import partial"] if "partial(" in call else []), *lines])


def _mapping(values: Mapping[str, Any]) -> str:
    return "    {\n" + "".join(f"        {name!r}: {as_code(value)},\n" for name, value in values.items()) + "    },\n"


def as_code(value: Any) -> str:
    """Numbers, strings, collections, names that can be imported, and `partial` of these; dots for anything else."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_code(k)}: {as_code(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_code, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(as_code, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, functools.partial):
        settings = [f"{name}={as_code(v)}" for name, v in value.keywords.items()]
        return f"partial({', '.join([as_code(value.func), *map(as_code, value.args), *settings])})"
    return _name(value) if isinstance(value, NAMED) else OWN


def _name(value: Any) -> str:
    """The name by which a function or a class is imported from the first package that has it; its own if none does."""
    parts, name = module_of(value).split("."), value.__name__
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        if getattr(sys.modules.get(module), name, None) is value and not parts[count - 1].startswith("_"):
            return name if module in ("__main__", "builtins") else f"{module}.{name}"
    return f"torch.{name}" if getattr(torch, name, None) is value else OWN
