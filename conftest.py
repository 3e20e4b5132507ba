"""The examples of docstrings know `torch`, whether or not their module needs it."""

import doctest

import pytest
import torch


@pytest.fixture(autouse=True)
def torch_in_examples(doctest_namespace):
    doctest_namespace["torch"] = torch


@pytest.fixture(autouse=True)
def result_in_examples_of_figures(request, doctest_namespace):
    """`result`, as the docstring of `captum_ext.plots` makes it."""
    if request.node.name.startswith("captum_ext.plots."):
        doctest_namespace["result"] = request.getfixturevalue("result_of_figures")


@pytest.fixture(scope="session")
def result_of_figures():
    import matplotlib

    from captum_ext import plots

    matplotlib.use("agg")
    torch.manual_seed(0)
    names = {"torch": torch}
    for example in doctest.DocTestParser().get_examples(plots.__doc__):
        exec(example.source, names)
    return names["result"]
