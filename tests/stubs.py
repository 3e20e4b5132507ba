"""Writes the type stubs of modules whose functions take another's arguments: `make stubs`, or `python -m tests.stubs`.

What `arguments_like` puts together is known at run time only; a stub tells it to editors and mypy.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captum_ext

MODULES = ("captum_ext.metrics",)
HEAD = "# Written by `make stubs` from the signatures at run time; do not edit.\n"
ELSEWHERE = {
    "Any": "typing",
    "Callable": "collections.abc",
    "Sequence": "collections.abc",
    "Mapping": "collections.abc",
}
ELSEWHERE |= {"Tensor": "torch", "nn": "torch"}


def file_of(module: str) -> Path:
    return Path(importlib.import_module(module).__file__).with_suffix(".pyi")


def stub_of(module: str) -> str:
    """The text of a module's stub: a definition for each function with a signature put together, an import for everything else."""
    exported = importlib.import_module(module)
    public = {name: getattr(exported, name) for name in sorted(exported.__all__)}
    definitions = {name: definition(name, f) for name, f in public.items() if hasattr(f, "__signature__")}
    imports = {f"from {public[name].__module__} import {name} as {name}" for name in public.keys() - definitions.keys()}
    imports |= {line for text in definitions.values() for line in imports_of(text)}
    return "\n".join([HEAD, *sorted(imports), "", *definitions.values()])


def definition(name: str, function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    lines, keywords = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not keywords:
            lines.append("*")
            keywords = True
        stars = "**" if p.kind is p.VAR_KEYWORD else ""
        lines.append(f"{stars}{p.name}: {p.annotation}" + ("" if p.default is p.empty else f" = {default(p.default)}"))
    return f"def {name}(\n    " + ",\n    ".join(lines) + f",\n) -> {signature.return_annotation}: ...\n"


def default(value: object) -> str:
    return repr(value) if value is None or isinstance(value, (bool, int, float, str)) else "..."


def imports_of(text: str) -> set[str]:
    """Where the types of a definition come from."""
    annotations = re.findall(r"(?::|->) ([^=\n]+?)(?: = .*|,|: \.\.\.)?$", text, re.M)
    names = {name for annotation in annotations for name in re.findall(r"[A-Za-z_]\w*(?!\w)", annotation)}
    names -= {*dir(builtins), "Module"}
    return {f"from {ELSEWHERE.get(name) or home_of(name)} import {name}" for name in names}


def home_of(name: str) -> str:
    """The module of the package that defines a type."""
    for module, loaded in sorted(sys.modules.items()):
        defines = module.startswith("captum_ext.") and hasattr(loaded, name)
        if defines and re.search(rf"^(class )?{name}\b *(=|:|\()", Path(loaded.__file__).read_text(), re.M):
            return module
    raise LookupError(f"No module of the package defines {name}.")


if __name__ == "__main__":
    for module in MODULES:
        file_of(module).write_text(stub_of(module))
        print(file_of(module).relative_to(Path(captum_ext.__file__).parents[1]))
