"""The formulas of docstrings in a terminal's characters."""

from __future__ import annotations

import inspect

import pytest

from captum_ext import metrics
from captum_ext._core.formulas import as_text

DOCSTRINGS = {name: inspect.getdoc(f) for name, f in vars(metrics).items() if hasattr(f, "card")}


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac{k}{2F}", "k / (2F)"),
        (r"\tfrac 1F \sum_{i=1}^F \phi_i", "1/F Σ_(i=1)^F φ_i"),
        (r"\frac{\max(0, f(x) - f(\tilde x))}{f(x)}", "(max(0, f(x) - f(x\u0303))) / (f(x))"),
        (r"\lVert \sqrt{a + b} \rVert_2, \sqrt2", "‖ √(a + b) ‖_2, √2"),
        (r"\operatorname{rank}_{\phi'} i \quad\text{or}\quad \hat y_r", "rank_(φ') i or y\u0302_r"),
        (r"\Bigl|\{i \in S : \bar\pi_i\}\Bigr|", "|{i ∈ S : π\u0304_i}|"),
        (r"|\phi|_{(k)}", "|φ|_(k)"),
    ],
)
def test_a_formula_in_characters(latex, text):
    assert as_text(f"With :math:`{latex}` in it.") == f"With {text} in it."


def test_a_formula_of_its_own_is_indented_and_joined():
    assert (
        as_text("Before.\n\n.. math:: a\n    = b\n\nAfter `c`, :func:`d`.") == "Before.\n\n    a = b\n\nAfter `c`, `d`."
    )


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_no_latex_is_left_of_any_metric(name):
    text = as_text(DOCSTRINGS[name])
    assert "\\" not in text
    assert ":math:" not in text
    assert ".. math::" not in text
    assert not any("\ue000" <= character <= "\uf8ff" for character in text)
