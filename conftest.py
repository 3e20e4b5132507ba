"""The examples of docstrings know `torch`, whether or not their module needs it."""

import pytest
import torch


@pytest.fixture(autouse=True)
def torch_in_examples(doctest_namespace):
    doctest_namespace["torch"] = torch
