"""Editors and mypy see the signatures that are put together at run time: in stubs, which a command writes."""

from __future__ import annotations

import inspect
import re

import pytest

from captum_ext import metrics

from . import stubs

CALLS = """
import torch
from captum_ext import metrics
from captum_ext.attribench.distributed import SelectSamples
from captum_ext.attribench.distributed.metrics import MinimalSubset
x = torch.ones(2, 3)
SelectSamples(dict, [], 3, 4, devices=("cpu", "cpu")).run("path")
SelectSamples(dict, [], 3)  # wrong: missing
MinimalSubset(dict, None, 4, {}, num_steps=3).run()
MinimalSubset(dict, None, 4, {}, mode=3)  # wrong: of another type
metrics.deletion(torch.sum, x, {"ig": x}, n_steps=5, frozen=[0])
metrics.sensitivity_n(torch.sum, x, x, [1, 0.5], target=1, correlation="spearman")
metrics.continuity(torch.sin, x, perturb_radius=0.1, target=0)
metrics.infidelity(torch.sum, torch.sin, x, x, None, None, 0, 10, 4, True)
metrics.relative_representation_stability(torch.sum, torch.sin, x, "fc", seed=0)
metrics.deletion(torch.sum, x)  # wrong: missing
metrics.deletion(torch.sum, x, x, steps=5)  # wrong: unknown
metrics.deletion(torch.sum, x, x, n_steps="5")  # wrong: of another type
metrics.srg(torch.sum, x, x, mode="morf")  # wrong: left out
metrics.relative_representation_stability(torch.sum, torch.sin, x)  # wrong: missing
"""


# To follow all imports, torch's too, would take half a minute.
ONLY_THE_STUBS = """
[mypy]
follow_imports = skip
ignore_missing_imports = True
[mypy-captum_ext.metrics,captum_ext.attribench.distributed.*]
follow_imports = normal
"""


@pytest.mark.parametrize("module", stubs.MODULES)
def test_the_stubs_say_what_the_functions_take(module):
    assert stubs.file_of(module).read_text() == stubs.stub_of(module), "Write them anew with `make stubs`."


def test_a_stub_has_all_of_a_signature():
    text = stubs.definition("road", metrics.road)
    assert [re.match(r"\W*(\w+)", line)[1] for line in text.splitlines()[1:-1] if ":" in line] == list(
        inspect.signature(metrics.road).parameters
    )
    assert "baselines: BaselinesType = ...," in text
    assert "n_steps: int = 9," in text


def test_mypy_finds_the_calls_that_do_not_fit(tmp_path):
    api = pytest.importorskip("mypy.api")
    file, settings = tmp_path / "calls.py", tmp_path / "mypy.ini"
    file.write_text(CALLS)
    settings.write_text(ONLY_THE_STUBS)
    said, _, _ = api.run(["--config-file", str(settings), "--cache-dir", str(tmp_path / "cache"), str(file)])
    found = {int(line) for line in re.findall(r"calls\.py:(\d+): error", said)}
    assert found == {number for number, line in enumerate(CALLS.splitlines(), 1) if "# wrong" in line}, said
