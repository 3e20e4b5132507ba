"""What a release is made of: one version, links that work anywhere, and every file that the tests need."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import captum_ext

ROOT = Path(__file__).parents[1]
SETUP = runpy.run_path(str(ROOT / "setup.py"))
AN_ADDRESS = "https://example.org/somebody/captum_ext"
README_LINK = re.compile(r"\]\(([^)]*)\)")


def test_every_relative_link_of_the_readme_is_a_file_here_and_absolute_in_a_release():
    here = README_LINK.findall(SETUP["readme"](""))
    assert here == README_LINK.findall((ROOT / "README.md").read_text())
    relative = [link for link in here if not link.startswith(("http", "#"))]
    assert relative
    assert all((ROOT / link.split("#")[0]).exists() for link in relative)
    released = README_LINK.findall(SETUP["readme"](AN_ADDRESS))
    assert len(released) == len(here)
    assert all(link.startswith(("http", "#")) for link in released)
    assert f"{AN_ADDRESS}/blob/main/docs/concepts/where-packages-disagree.md" in released
    assert any(re.fullmatch(rf"{AN_ADDRESS}/raw/main/docs/pictures/\S+", link) for link in released)


def test_the_projects_links_are_made_from_one_address():
    assert SETUP["links"]("") == {}
    assert SETUP["links"](AN_ADDRESS)["Issues"] == f"{AN_ADDRESS}/issues"
    assert all(link.startswith(AN_ADDRESS) for link in SETUP["links"](AN_ADDRESS).values())


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {captum_ext.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {captum_ext.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_what_a_source_distribution_holds_exists():
    words = [line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines()]
    named = [word for verb, *rest in words if verb in ("include", "graft") for word in rest]
    assert {"tests", "docs", "tutorials", "benchmarks", "conftest.py"} <= set(named)
    assert all((ROOT / name).exists() for name in named)
