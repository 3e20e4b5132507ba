"""Functions of code that ran outside of any module, as some notebooks and servers do, have no name of a module."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from captum_ext import evaluate, metrics

CODE = """
def model(x):
    return x.cumsum(1)

def method(inputs, target):
    return inputs * 2

def factory(model):
    return method

def score(inputs, attributions):
    return attributions.sum(1)

def perturb_func(inputs):
    return 0.1 * inputs, 0.9 * inputs

class Explanation:
    def attribute(self, inputs, target):
        return inputs * 3
"""


@pytest.fixture
def names():
    defined: dict = {}
    exec(CODE, defined)
    assert defined["method"].__module__ is None or defined["method"].__module__ == "builtins"
    return defined


def test_evaluate_takes_them_everywhere(names, tmp_path):
    x = torch.rand(4, 3)
    methods = {"method": names["factory"], "object": lambda model: names["Explanation"]().attribute}
    scored_by = {"own": names["score"], "infidelity": partial(metrics.infidelity, perturb_func=names["perturb_func"])}
    data = [(row, 1) for row in x]
    result = evaluate(names["model"], data, methods, scored_by, path=tmp_path / "scores.h5", device="cpu")
    torch.testing.assert_close(torch.tensor(result.dataset["own"].values), torch.stack((2 * x.sum(1), 3 * x.sum(1))))
    assert result.dataset["infidelity"].notnull().all()
    result.report(tmp_path / "report.html")
