"""Writes formulas as MathML when the documentation is built, which browsers draw by themselves: a page loads no script
and no font from anywhere.
"""

from __future__ import annotations

import re
from typing import Any

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

SIZE_OF_A_COMMAND = re.compile(r"\\[bB]igg?[lrm]?\s*(?=\\)")  # the converter only takes single signs after it
RARE, COMMON = "<mi>&#x029F5;</mi>", '<mo lspace="0" rspace="0">&#x0005C;</mo>'  # signs for what is left out of a set


def mathml(formula: str, display: str) -> str:
    on_a_line = " ".join(formula.split())
    return convert(SIZE_OF_A_COMMAND.sub("", on_a_line), display=display).replace(RARE, COMMON)


def inline(translator: Any, node: Any) -> None:
    translator.body.append(mathml(node.astext(), "inline"))
    raise SkipNode


def block(translator: Any, node: Any) -> None:
    formula = node.astext()
    if r"\\" in formula and r"\begin" not in formula:
        formula = rf"\begin{{aligned}}{formula}\end{{aligned}}"
    translator.body.append(f'<div class="math">{mathml(formula, "block")}</div>\n')
    raise SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True}
