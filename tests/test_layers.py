"""Who may import whom: the metrics know the core, the evaluation knows no metric, and so on.

The rules are checked in the source; nothing is imported.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import captum_ext
import captum_ext.metrics
from captum_ext._core.setting import Setting

PACKAGE = Path(captum_ext.__file__).parent
NAME = "captum_ext"
CAPTUMS_DOOR = "_core.captum"  # the only importer of Captum's private names

# What the modules of each part may import of this package, as prefixes of dotted names within it.
# The first part that fits a module counts.
MAY_IMPORT = {
    "metrics": ("_core",),
    "_version": (),
    "_token_texts": ("_core.checks", "_core.printing"),
    "_core": ("_core",),
    "feature_masks": ("_core",),
    "truth_masks": ("_core",),
    "baselines": ("_core",),
    "perturbations": ("_core",),
    "layers": ("_core",),
    "outputs": ("_core",),
    "llm": ("llm", "_core"),
    "evaluation": (
        *("evaluation", "_core.card", "_core.checks", "_core.devices", "_core.estimates", "_core.guard"),
        *("_core.memory", "_core.printing", "_core.sharing", "_core.target", "_version"),
    ),
    "plots": ("evaluation", "_core.checks", "_core.printing", "_token_texts"),
    "report": ("evaluation", "plots", "report", "_core.checks", "_core.printing", "_token_texts", "_version"),
}
PUBLIC = ("_core.checks", "_core.printing", "_version")  # private names that the AttriBench layer may use all the same
# Who may import the engines' files, beside the engines: the two calls that start one.
STARTS_ENGINES = ("evaluation.run", "evaluation.attribute")
# Imports inside functions, each with its reason; beside these a module says at its top what it needs.
WHEN_CALLED = {
    "__init__": ("evaluation",),  # `import captum_ext.metrics` stays light
    "__main__": ("demo", "evaluation", "metrics"),  # a command starts fast
    "demo.__init__": ("demo",),  # each part of the demo needs other packages
    "demo.pictures": ("plots",),
    "demo.text": ("demo.facts",),
    "evaluation.results": ("report.write",),  # what a result offers as its own method
    "report.page": ("report.charts", "report.gallery"),  # need the extra `report`
    "attribench.distributed._workers": ("evaluation.engines.ray",),  # needs the extra `ray`
}
# What they may import of others, beside the standard library.
MAY_USE = {
    "metrics": {"torch", "numpy", "skimage", "typing_extensions"},
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
    if i.inside_function and not within(of, WHEN_CALLED.get(i.by, ())):
        return "what a module needs of the package stands at its top"
    if part == "metrics" and within(of, ("metrics",)):
        return None if family(i.by) is not None and family(of) == family(i.by) else "no family of metrics knows another"
    if part == "attribench":
        public = within(of, ("attribench", *PUBLIC)) or not any(private(p) for p in of.split("."))
        return None if public else "attribench uses public names"
    if (
        part == "evaluation"
        and within(of, ("evaluation.engines",))
        and not within(i.by, ("evaluation.engines", *STARTS_ENGINES))
    ):
        return f"only engines and {' and '.join(STARTS_ENGINES)} know the engines"
    if i.inside_function:
        return None
    if part in MAY_IMPORT and not within(of, MAY_IMPORT[part]):
        return f"{part} may import {', '.join(MAY_IMPORT[part])}"
    return None


def family(name: str) -> str | None:
    """The folder of a metric's file."""
    parts = name.split(".")
    return parts[1] if parts[0] == "metrics" and len(parts) > 2 else None


def circles(package: Path) -> list[list[str]]:
    """Modules that import each other, directly or by way of others; a package's `__init__` counts by itself."""
    known = {name for name, _ in modules(package)}
    arrows = {name: set() for name in known}
    for i in imports(package):
        if (i.of.split(".")[0], i.inside_function) == (NAME, False):
            arrows[i.by] |= {m for m in reached(i.of.removeprefix(f"{NAME}."), known) if m != i.by}
    return [sorted(part) for part in connected(arrows) if len(part) > 1]


def reached(of: str, known: set[str]) -> set[str]:
    """The module that an imported name is, or is in."""
    parts = of.removesuffix(".*").split(".")
    for length in range(len(parts), 0, -1):
        for module in (".".join(parts[:length]), ".".join([*parts[:length], "__init__"])):
            if module in known:
                return {module}
    return {"__init__"} & known


def connected(arrows: dict[str, set[str]]) -> list[set[str]]:
    """The sets of nodes that can all be reached from each other."""

    def beyond(node: str) -> set[str]:
        seen, waiting = set(), [node]
        while waiting:
            for other in arrows[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    far = {node: beyond(node) for node in arrows}
    return list({frozenset({node} | {o for o in far[node] if node in far[o]}) for node in arrows})


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_every_import_of_the_package_follows_the_rules():
    assert broken_rules(PACKAGE) == []


def test_no_modules_import_each_other():
    assert circles(PACKAGE) == []


def test_a_circle_is_found(tmp_path):
    (tmp_path / "a").mkdir()
    for file, source in {
        "a/__init__.py": "",
        "a/one.py": "from .two import x\nfrom . import three",
        "a/two.py": "from ..b import x",
        "a/three.py": "",
        "b.py": "def f():\n    from .a import two\nimport captum_ext.a.one",
    }.items():
        (tmp_path / file).write_text(source)
    assert circles(tmp_path) == [["a.one", "a.two", "b"]]


def test_the_family_of_a_metric_is_its_folder():
    for entry in captum_ext.metrics.available():
        assert entry.family == family(getattr(captum_ext.metrics, entry.name).__module__.removeprefix(f"{NAME}."))


def test_the_shared_arguments_are_listed_once():
    """Functions and records that take them list them; a metric lists those it uses and hands on the rest together."""
    shared = set(inspect.signature(Setting).parameters)
    assert len(shared) > 9
    for name, file in modules(PACKAGE / "metrics"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name not in ("attributed", "beside_reference"):
                listed = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)} & shared
                assert len(listed) <= 4, f"{name}.{node.name} lists {', '.join(sorted(listed))}"


def test_the_package_is_read_whole():
    """Were nothing found, nothing could be wrong."""
    found = imports(PACKAGE)
    assert {name for name, _ in modules(PACKAGE)} >= {
        "__init__",
        "metrics.__init__",
        "metrics.removal.deletion",
        "_core.captum",
    }
    assert Import("metrics.removal.deletion", "captum_ext._core.removals.removals", found_line(found)) in found
    assert exported_by(PACKAGE / "metrics" / "__init__.py") >= {"deletion", "infidelity", "sensitivity_n"}


def found_line(found: list[Import]) -> int:
    return next(i.line for i in found if i.by == "metrics.removal.deletion" and i.of.endswith("removals.removals"))


# ---- the checker on made-up trees

ALLOWED = [
    ("metrics/removal/new.py", "from ..._core.features import Features"),
    ("metrics/removal/new.py", "from .deletion import deletion_curve\nfrom ._best_order import greedy_totals"),
    ("metrics/removal/new.py", "import torch, numpy, math"),
    ("metrics/removal/new.py", "from captum_ext._core import forward"),
    ("metrics/__init__.py", "from .removal.deletion import deletion as deletion"),
    ("_core/new.py", "from .arguments import as_tuple"),
    ("_core/new.py", "import tqdm.auto, captum.attr"),
    ("_core/captum.py", "from captum._utils.common import _run_forward"),
    ("feature_masks.py", "from ._core.arguments import shape\ndef f():\n    from skimage.segmentation import slic"),
    ("evaluation/evaluate.py", "from .._core.card import Card\nfrom .store import Store\nimport xarray"),
    ("evaluation/scorer.py", "from .._core.sharing import sharing"),
    ("evaluation/engines/ray.py", "from .. import store\nfrom ..store import Store"),
    ("report/page.py", "from .._version import __version__"),
    ("evaluation/run.py", "from .engines.resources import resources_of"),
    ("report/page.py", "from ..evaluation.results import Results\nfrom ..plots import heat_map\nimport jinja2"),
    ("evaluation/results.py", "def report():\n    from ..report import write"),
    ("plots.py", "from .evaluation import results\nimport matplotlib"),
    ("attribench/deletion.py", "from ..metrics import deletion\nfrom captum_ext.evaluation import evaluate"),
    ("attribench/deletion.py", "from ._names import names"),
    ("__init__.py", "from .evaluation import evaluate"),
    ("demo/pictures.py", "from captum_ext.metrics import deletion\nfrom captum.attr import Saliency"),
]
FORBIDDEN = [
    ("metrics/effects/new.py", "from ..removal.deletion import deletion_curve"),
    ("metrics/effects/new.py", "from .. import deletion_curve"),
    ("metrics/effects/new.py", "from captum_ext.metrics import deletion"),
    ("metrics/effects/new.py", "import captum_ext.metrics.removal.deletion"),
    ("metrics/new.py", "from .removal.deletion import deletion"),
    ("metrics/removal/new.py", "def f():\n    from ..._core.features import Features"),
    ("evaluation/store.py", "from .engines.payload import packed"),
    ("evaluation/kept_run.py", "from .engines import Engine"),
    ("evaluation/scorer.py", "def f():\n    from .store import ShardStore"),
    ("feature_masks.py", "def f():\n    from ._core.grids import grid"),
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
    ("evaluation/scorer.py", "from .._core.removals import removals"),
    ("evaluation/evaluate.py", "from ..plots import heat_map"),
    ("evaluation/results.py", "from ..report import write"),
    ("evaluation/run.py", "def report():\n    from ..report import write"),
    ("evaluation/results.py", "def report():\n    from ..report.page import Page"),
    ("plots.py", "from .metrics import deletion"),
    ("plots.py", "from ._core import card"),
    ("report/page.py", "import captum_ext.metrics.deletion"),
    ("attribench/deletion.py", "from .._core.features import Features"),
    ("attribench/deletion.py", "from ..metrics.deletion import _area_between"),
    ("demo/pictures.py", "from captum._utils.progress import progress"),
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
