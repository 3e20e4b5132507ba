"""What README and documentation say in code runs, and gives what they show."""

import contextlib
import io
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BUILT = {"_build", "made"}  # of docs/
DOCUMENTS = {
    str(file.relative_to(ROOT)): file.read_text()
    for file in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if not BUILT & set(file.relative_to(ROOT).parts)
}


def blocks(language):
    """Code, and the plain block that follows it, if one does, as what it prints."""
    found = {}
    for name, text in DOCUMENTS.items():
        for number, (code, shown) in enumerate(
            re.findall(rf"```{language}\n(.*?)```(?:\n\n```\n(.*?)```)?", text, re.S)
        ):
            found[f"{name}-{number}"] = code, shown
    return found


def every(language):
    return pytest.mark.parametrize(("code", "shown"), blocks(language).values(), ids=blocks(language).keys())


PAGES = [name for name, text in DOCUMENTS.items() if "```python\n" in text]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs_from_top_to_bottom_and_gives_what_it_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block, (code, shown) in blocks("python").items():
        if block.rpartition("-")[0] == page:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, names)
            if shown:
                assert stripped(printed.getvalue()) == stripped(shown), block


def stripped(text):
    return [line.rstrip() for line in text.splitlines()]


@every("bash")
def test_a_block_of_commands_is_well_formed(code, shown):
    subprocess.run(["bash", "-n"], input=code, text=True, check=True)


@every("yaml")
def test_a_manifest_is_well_formed(code, shown):
    assert yaml.safe_load(code)["kind"]


def test_the_readme_has_code_and_the_first_block_shows_its_output():
    code = blocks("python")
    assert "README.md-1" in code
    assert code["README.md-0"][1]


def test_no_figure_is_left_open():
    assert not any(re.search(r"OUTPUT\d|BENCH\d", text) for text in DOCUMENTS.values())
