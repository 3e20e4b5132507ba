"""Who may import whom: the metrics know the core, the evaluation knows no metric, and so on. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import captum_ext

PACKAGE = Path(captum_ext.__file__).parent
NAME = "captum_ext"
CAPTUMS_DOOR = "_core.captum"  # the only importer of Captum's private names

# What the modules of each part may import of this package, as prefixes of dotted names within it. The first part that fits a module counts.
MAY_IMPORT = {
    "metrics": ("_core",),
    "_core": ("_core",),
    "feature_masks": ("_core",),
    "truth_masks": ("_core",),
    "baselines": ("_core",),
    "perturbations": ("_core",),
    "evaluation": ("evaluation", "_core.card", "_core.sharing", "__version__"),
    "plots": ("evaluation",),
    "report": ("evaluation", "plots", "report", "__version__"),
}
# Imported only when called, and by this module alone: what a result offers as its own method.
DOORS = {"evaluation.results": "report.write"}
# What they may import of others, beside the standard library.
MAY_USE = {
    "metrics": {"torch", "numpy", "typing_extensions"},
    "_core": {"torch", "numpy", "scipy", "captum", "skimage", "tqdm", "typing_extensions"},
}


@dataclass(frozen=True)
class Import:
    by: str  # the importing module within the package, such as "metrics.deletion"
    of: str  # the full dotted name, down to the imported name; `.*` at its end for a whole module
    line: int
    inside_function: bool = False


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        yield ".".join(parts), file


def imports(package: Path) -> list[Import]:
    """Every import of every module, also those inside functions, relative ones spelled out."""
    found = []
    for name, file in modules(package):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found += [Import(name, f"{alias.name}.*", node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                start = origin(name, node)
                inside = node.col_offset > 0
                found += [Import(name, f"{start}.{alias.name}", node.lineno, inside) for alias in node.names]
    return found


def origin(module: str, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module
    above = [NAME, *module.split(".")][: -node.level]
    return ".".join([*above, *filter(None, [node.module])])


def exported_by(file: Path) -> set[str]:
    """The names in `__all__` of a module."""
    if not file.exists():
        return set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", None) == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return set()


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def broken_rules(package: Path) -> list[str]:
    metrics = exported_by(package / "metrics" / "__init__.py")
    return [
        f"{i.by}:{i.line} imports {i.of}: {why}" for i in imports(package) for why in [broken_rule(i, metrics)] if why
    ]


def broken_rule(i: Import, metrics: set[str]) -> str | None:
    """Why an import is not allowed, or None."""
    parts = i.of.split(".")
    if parts[0] == "captum" and i.by != CAPTUMS_DOOR and any(private(part) for part in parts):
        return f"private names of Captum belong in {CAPTUMS_DOOR}"
    part = i.by.split(".")[0]
    if parts[0] != NAME:
        known = MAY_USE.get(part)
        if known is not None and parts[0] not in known | sys.stdlib_module_names:
            return f"{part} uses {', '.join(sorted(known))} and the standard library"
        return None
    return broken_arrow(part, i, ".".join(parts[1:]), metrics)


def broken_arrow(part: str, i: Import, of: str, metrics: set[str]) -> str | None:
    if i.by == "metrics.__init__":
        return None if within(of, ("metrics",)) else "the export list names metrics alone"
    if part == "metrics" and within(of, ("metrics",)):
        return None if of.split(".")[-1] in metrics else "a metric knows no other metric's internals"
    if part == "attribench":
        public = within(of, ("attribench",)) or not any(private(p) for p in of.split("."))
        return None if public else "attribench uses public names"
    if i.inside_function and of == DOORS.get(i.by):
        return None
    if part in MAY_IMPORT and not within(of, MAY_IMPORT[part]):
        return f"{part} may import {', '.join(MAY_IMPORT[part])}"
    return None


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_every_import_of_the_package_follows_the_rules():
    assert broken_rules(PACKAGE) == []


def test_the_package_is_read_whole():
    """Were nothing found, nothing could be wrong."""
    found = imports(PACKAGE)
    assert {name for name, _ in modules(PACKAGE)} >= {
        "__init__",
        "metrics.__init__",
        "metrics.deletion",
        "_core.captum",
    }
    assert Import("metrics.deletion", "captum_ext._core.curves.removals", found_line(found)) in found
    assert exported_by(PACKAGE / "metrics" / "__init__.py") >= {"deletion", "infidelity", "sensitivity_n"}


def found_line(found: list[Import]) -> int:
    return next(i.line for i in found if i.by == "metrics.deletion" and i.of.endswith("curves.removals"))


# ---- the checker on made-up trees

ALLOWED = [
    ("metrics/new.py", "from .._core.features import Features"),
    ("metrics/new.py", "from .deletion import deletion_curve"),  # exported: not an internal
    ("metrics/new.py", "import torch, numpy, math"),
    ("metrics/new.py", "from captum_ext._core import forward"),
    ("metrics/__init__.py", "from .deletion import deletion as deletion"),
    ("_core/new.py", "from .arguments import as_tuple"),
    ("_core/new.py", "import tqdm.auto, captum.attr"),
    ("_core/captum.py", "from captum._utils.common import _run_forward"),
    ("feature_masks.py", "from ._core.arguments import shape\ndef f():\n    from skimage.segmentation import slic"),
    ("evaluation/evaluate.py", "from .._core.card import Card\nfrom .store import Store\nimport xarray"),
    ("evaluation/worker.py", "from .._core.sharing import sharing"),
    ("evaluation/engines/ray.py", "from .. import store\nfrom ..store import Store"),
    ("report/page.py", "from .. import __version__"),
    ("report/page.py", "from ..evaluation.results import Results\nfrom ..plots import heat_map\nimport jinja2"),
    ("evaluation/results.py", "def report():\n    from ..report import write"),
    ("plots.py", "from .evaluation import results\nimport matplotlib"),
    ("attribench/deletion.py", "from ..metrics import deletion\nfrom captum_ext.evaluation import evaluate"),
    ("attribench/deletion.py", "from ._names import names"),
    ("__init__.py", "from .evaluation import evaluate"),
    ("demo.py", "from captum_ext.metrics import deletion\nfrom captum.attr import Saliency"),
]
FORBIDDEN = [
    ("metrics/new.py", "from .deletion import _area_between"),
    ("metrics/new.py", "from . import deletion as curves\nfrom .deletion import curve_at"),
    ("metrics/new.py", "from captum_ext.metrics.deletion import curve_at"),
    ("metrics/new.py", "import captum_ext.metrics.deletion"),
    ("metrics/new.py", "from ..evaluation import evaluate"),
    ("metrics/new.py", "from .. import baselines"),
    ("metrics/new.py", "import scipy.stats"),
    ("metrics/new.py", "from captum._utils.common import safe_div"),
    ("metrics/new.py", "import captum.metrics"),
    ("metrics/__init__.py", "from ..evaluation import evaluate"),
    ("_core/new.py", "from ..metrics import deletion"),
    ("_core/new.py", "def f():\n    from ..metrics.deletion import deletion"),
    ("_core/new.py", "from ..evaluation.store import Store"),
    ("_core/new.py", "from .. import baselines"),
    ("_core/new.py", "import pandas"),
    ("_core/new.py", "from captum._utils.common import _run_forward"),
    ("_core/new.py", "from captum.attr._utils.common import _validate_input"),
    ("feature_masks.py", "from .metrics import deletion"),
    ("baselines.py", "import captum_ext.metrics"),
    ("evaluation/evaluate.py", "from ..metrics import deletion"),
    ("evaluation/evaluate.py", "from captum_ext.metrics.deletion import deletion"),
    ("evaluation/evaluate.py", "from captum_ext import metrics"),
    ("evaluation/engines/ray.py", "from ...metrics import infidelity"),
    ("evaluation/evaluate.py", "from .._core.features import Features"),
    ("evaluation/worker.py", "from .._core.curves import removals"),
    ("evaluation/evaluate.py", "from ..plots import heat_map"),
    ("evaluation/results.py", "from ..report import write"),
    ("evaluation/run.py", "def report():\n    from ..report import write"),
    ("evaluation/results.py", "def report():\n    from ..report.page import Page"),
    ("plots.py", "from .metrics import deletion"),
    ("plots.py", "from ._core import card"),
    ("report/page.py", "import captum_ext.metrics.deletion"),
    ("attribench/deletion.py", "from .._core.features import Features"),
    ("attribench/deletion.py", "from ..metrics.deletion import _area_between"),
    ("demo.py", "from captum._utils.progress import progress"),
    ("plots.py", "from captum.attr._utils import visualization"),
]


def tree(root: Path, path: str, source: str) -> Path:
    """A package with the metric `deletion`, and one more module."""
    (root / "metrics").mkdir()
    (root / "metrics" / "__init__.py").write_text('__all__ = ["deletion", "deletion_curve"]\n')
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as text:
        text.write(source)
    return root


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_an_allowed_import_passes(path, source, tmp_path):
    assert broken_rules(tree(tmp_path, path, source)) == []


@pytest.mark.parametrize(("path", "source"), FORBIDDEN)
def test_a_forbidden_import_is_found(path, source, tmp_path):
    (broken,) = broken_rules(tree(tmp_path, path, source))[-1:]
    assert broken.startswith(path.removesuffix(".py").replace("/", "."))
