"""What the README says in code runs, and gives what it shows."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", README, re.S)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("code", "shown"), BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_code_gives_the_output_that_follows_it(code, shown):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    if shown:
        assert [line.rstrip() for line in printed.getvalue().splitlines()] == [
            line.rstrip() for line in shown.splitlines()
        ]


def test_the_readme_has_code_and_the_first_block_shows_its_output():
    assert len(BLOCKS) >= 2
    assert BLOCKS[0][1]


def test_no_figure_is_left_open():
    assert not re.search(r"OUTPUT\d|BENCH\d", README)
