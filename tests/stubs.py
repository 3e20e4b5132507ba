"""Writes the type stubs of modules whose functions take another's arguments: `make stubs`, or `python -m tests.stubs`.

What `arguments_like` puts together is known at run time only; a stub tells it to editors and mypy.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, get_args

import captum_ext

MODULES = ("captum_ext.metrics", "captum_ext.attribench.distributed", "captum_ext.attribench.distributed.metrics")
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
    """The text of a module's stub.

    It defines whatever has a signature that is put together at run time, and imports everything else.
    """
    exported = importlib.import_module(module)
    public = {name: getattr(exported, name) for name in sorted(exported.__all__)}
    definitions = {name: definition(name, it) for name, it in public.items() if "__signature__" in vars(it)}
    imports = {imported(name, public[name]) for name in public.keys() - definitions.keys()}
    imports |= {line for text in definitions.values() for line in imports_of(text)}
    return "\n".join([HEAD, *sorted(imports), "", *definitions.values()])


def imported(name: str, value: Any) -> str:
    module = value.__name__.rpartition(".")[0] if inspect.ismodule(value) else value.__module__
    return f"from {module} import {name} as {name}"


def definition(name: str, value: Any) -> str:
    if not inspect.isclass(value):
        return function(name, inspect.signature(value))
    (base,) = getattr(value, "__orig_bases__", value.__bases__)
    bases = f"{base.__name__}[{', '.join(a.__name__ for a in get_args(base))}]" if get_args(base) else base.__name__
    methods = {n: inspect.signature(m) for n, m in vars(value).items() if inspect.isfunction(m) and n[0] != "_"}
    texts = [function("__init__", made(value)), *(function(n, signature) for n, signature in methods.items())]
    return f"class {name}({bases}):\n" + textwrap.indent("\n".join(texts), "    ")


def made(kind: type) -> inspect.Signature:
    """The signature of a class as that of its `__init__`."""
    signature = inspect.signature(kind)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return signature.replace(parameters=[itself, *signature.parameters.values()], return_annotation="None")


def function(name: str, signature: inspect.Signature) -> str:
    lines, keywords = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not keywords:
            lines.append("*")
            keywords = True
        stars = "**" if p.kind is p.VAR_KEYWORD else ""
        kind = "" if p.name == "self" else ": Any" if p.annotation is p.empty else f": {p.annotation}"
        lines.append(f"{stars}{p.name}{kind}" + ("" if p.default is p.empty else f" = {default(p.default)}"))
    return f"def {name}(\n    " + ",\n    ".join(lines) + f",\n) -> {signature.return_annotation}: ...\n"


def default(value: object) -> str:
    return repr(value) if value is None or isinstance(value, (bool, int, float, str)) else "..."


def imports_of(text: str) -> set[str]:
    """Where the types of a definition come from."""
    annotations = re.findall(r"(?::|->) ([^=\n]+?)(?: = .*|,|: \.\.\.)?$|^class \w+\((.*)\):$", text, re.M)
    names = {name for found in annotations for name in re.findall(r"(?<![\w.])[A-Za-z_]\w*", " ".join(found))}
    names -= {*dir(builtins)}
    return {
        "import os" if name == "os" else f"from {ELSEWHERE.get(name) or home_of(name)} import {name}" for name in names
    }


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
