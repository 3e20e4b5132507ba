"""What can be told of a tutorial without running it; `make tutorials` runs them."""

from __future__ import annotations

import ast
import configparser
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
MODULES = {"scikit-learn": "sklearn", "scikit-image": "skimage"}  # where it isn't the package's own name
MACHINE_PATH = re.compile(r"/(home|root|tmp|work|Users|var|usr|opt|mnt)/|[A-Z]:\\\\")
PICTURES = {"image/png", "image/jpeg"}
LARGEST = 600_000  # bytes

every_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def code_cells(file: Path) -> list[dict]:
    return [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]


def installed_for_tutorials() -> set[str]:
    """What may be imported: the names of the packages that the package and its extra `tutorials` require."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    required = config["options"]["install_requires"] + config["options.extras_require"]["tutorials"]
    names = [re.split(r"[<>=]", line)[0].strip() for line in required.splitlines() if line.strip()]
    return {MODULES.get(name, name.replace("-", "_")) for name in names} | {"captum_ext"} | set(sys.stdlib_module_names)


def test_there_are_tutorials():
    assert NOTEBOOKS


@every_notebook
def test_it_was_run_from_start_to_end_and_its_output_is_there(file):
    cells = code_cells(file)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(bool(cell["outputs"]) for cell in cells) >= len(cells) / 2
    assert [o for cell in cells for o in cell["outputs"] if o["output_type"] == "error"] == []
    assert [o for cell in cells for o in cell["outputs"] if o.get("name") == "stderr"] == []


@every_notebook
def test_it_has_a_picture_and_is_small(file):
    assert any(PICTURES & {*o.get("data", {})} for cell in code_cells(file) for o in cell["outputs"])
    assert file.stat().st_size < LARGEST


@every_notebook
def test_it_names_no_path_of_a_machine(file):
    notebook = json.loads(file.read_text())
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            output["data"] = {kind: d for kind, d in output.get("data", {}).items() if kind not in PICTURES}
    found = MACHINE_PATH.search(json.dumps(notebook))
    assert found is None, found


@every_notebook
def test_its_code_compiles_and_imports_what_is_installed_for_it(file):
    trees = [ast.parse("".join(cell["source"])) for cell in code_cells(file)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    assert {module.split(".")[0] for module in modules} <= installed_for_tutorials()


def test_the_search_for_machine_paths_finds_one():
    assert MACHINE_PATH.search(json.dumps("UserWarning at /home/someone/x.py"))
    assert MACHINE_PATH.search(json.dumps("C:\\Users\\x"))
    assert not MACHINE_PATH.search(json.dumps("a/b and https://captum.ai/tutorials/"))
