"""Each call in the tables of `docs/coming-from/` is a call that runs here, and the tables are complete where that can
be known. `tests/peers/test_quantus.py` compares the numbers of the rows that say they are equal.
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path

import pytest
import torch

from captum_ext import attribench
from captum_ext.attribench.functional import metrics as of_attribench
from captum_ext.attribench.masking import image as maskers

from .calls import METRICS, Net, Setting

PAGES = Path(__file__).parents[1] / "docs" / "coming-from"
SIDE, PATCH = 16, 8
ROW = re.compile(r"^\| `([A-Za-z_]+\(.*?\))` \| (.+?) \| (.+) \|$", re.M)
TABLE = [(page.stem, *row) for page in sorted(PAGES.glob("*.md")) for row in ROW.findall(page.read_text())]
CALLS = [(page, call) for page, _, here, _ in TABLE for call in re.findall(r"`(.+?)`", here)]


@cache
def names_of(page: str) -> dict:
    """What the first block of code of a page defines."""
    code = re.search(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text(), re.S).group(1)
    names: dict = {}
    exec(code.partition("\nresult = ")[0].partition("\nprint")[0], names)
    return names


def setting() -> Setting:
    x = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    model = Net(features=SIDE * SIDE).eval()
    return Setting(model, x, torch.arange(len(x)), model, everyone=x)


def called(page: str, call: str, called_with: Setting):
    """The value of a cell, with the model and the batch, which cells leave out, and defaults for all else."""
    sizes = {"F": SIDE * SIDE, "P": (SIDE // PATCH) ** 2, "C": called_with.classes}

    def bound(metric):
        return lambda **options: metric(**required(metric, called_with) | options)

    return eval(call, names_of(page) | sizes | {name: bound(metric) for name, metric in METRICS.items()})


def required(metric, called_with: Setting) -> dict:
    taken = inspect.signature(metric).parameters
    optional = {name for name, parameter in taken.items() if parameter.default is not parameter.empty} - {"target"}
    return {name: value for name, value in called_with.of(metric).items() if name not in optional}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("page", "call"), sorted(set(CALLS)), ids=str)
def test_a_call_of_the_tables_gives_a_score_for_each_example(page, call):
    cheaper = re.sub(r"n_perturb_samples=\d{3}", "n_perturb_samples=3", call)
    assert len(called(page, cheaper, setting())) == 3


def test_every_page_has_rows_and_every_row_a_call_or_a_reason():
    assert {page for page, *_ in TABLE} == {"attribench", "quantus", "torchxai", "xplique"}
    for _, theirs, here, differs in TABLE:
        assert here == "–" or re.fullmatch(r"`.+?`(, `.+?`)*", here), theirs
        assert differs.endswith("."), theirs


def test_the_table_of_attribench_has_its_functions_with_their_arguments():
    rows = {row[1].partition("(")[0]: row[1] for row in TABLE if row[0] == "attribench"}
    assert set(rows) == set(of_attribench.__all__)
    for name, call in rows.items():
        assert set(re.findall(r"(\w+)=", call)) <= set(inspect.signature(getattr(of_attribench, name)).parameters)


def test_the_maskers_of_the_page_exist():
    named = set(re.findall(r"`(\w+Masker)", (PAGES / "attribench.md").read_text()))
    assert len(named) == 5
    assert all(hasattr(maskers, name) or hasattr(attribench.masking, name) for name in named)
