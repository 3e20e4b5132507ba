"""Results for these tests, and the page as a tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import torch
import xarray as xr

from captum_ext import Evaluation

EVIL = '<script>alert("x")</script>'
METHODS = ["IntegratedGradients", EVIL, "random"]
VOID = {"meta", "img", "br", "wbr", "link", "input"}


def result(examples=20, methods=METHODS, quality=(1.0, 0.0, 0.0), **attributes):
    """`up` and `down` agree; `sized` has two places and some scores undefined; `a/curve $x` has no better side."""
    rng = np.random.default_rng(3)
    quality = np.array(quality)[:, None]
    draw = rng.normal(size=(len(methods), examples))
    sized = (quality + 0.1 * draw)[..., None] + np.array([0.0, 0.1])
    sized[1, 0] = np.nan
    places = np.linspace(0, 1, 5)
    curve = np.exp(-quality[..., None] * places) + 0.01 * draw[..., None]
    axes = ("attribution", "example")
    settings = {"metric": "deletion", "arguments": '{"n_steps": 5, "mode": "<b>morf</b>"}'}
    return Evaluation(
        xr.Dataset(
            {
                "up": (
                    axes,
                    quality + 0.1 * draw,
                    {"higher_is_better": True, "reference": "Ada 2020, arXiv:1806.07421"},
                ),
                "down": (axes, -quality + 0.1 * draw, {"higher_is_better": False, **settings}),
                "sized": ((*axes, "n"), sized, {"higher_is_better": True}),
                "a/curve $x": ((*axes, "fraction"), curve),
                "b<i>": ((*axes, "fraction"), curve),
                "up:halves": ((*axes, "half"), np.zeros((len(methods), examples, 2)), {"halves_of": "up"}),
            },
            {"attribution": list(methods), "example": np.arange(examples), "n": [1, 5], "fraction": places},
            {"seed": 7, "torch": "2.9", "model": "Net 1234", **attributes},
        )
    )


def scored(examples=20, **scores):
    """Metric -> [methods, examples], all better when higher, of methods a, b, ..., random."""
    methods = [*"abcdefgh"[: len(next(iter(scores.values()))) - 1], "random"]
    variables = {n: (("attribution", "example"), np.array(v), {"higher_is_better": True}) for n, v in scores.items()}
    return xr.Dataset(variables, {"attribution": methods, "example": np.arange(examples)})


def images(examples=20, side=8):
    return [(torch.rand(3, side, side), i % 3) for i in range(examples)]


def maps(examples=20, side=8):
    return {METHODS[0]: torch.randn(examples, 3, side, side), METHODS[1]: torch.randn(examples, 1, side, side).numpy()}


@dataclass
class Node:
    tag: str
    attributes: dict
    children: list = field(default_factory=list)
    texts: list = field(default_factory=list)

    def all(self, tag, **attributes):
        """Those below with that tag and these attributes; `_` is every tag."""
        found = [n for n in self.walk() if tag in ("_", n.tag)]
        return [n for n in found if all(n.attributes.get(k.rstrip("_")) == v for k, v in attributes.items())]

    def walk(self):
        for child in self.children:
            yield child
            yield from child.walk()

    @property
    def text(self):
        return "".join(part if isinstance(part, str) else part.text for part in self.texts)


class Page(HTMLParser):
    """A tree; an element that is closed without having been opened is an error."""

    def __init__(self, html):
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(html)
        assert self.open == [self.root], [node.tag for node in self.open]

    def handle_starttag(self, tag, attributes):
        node = Node(tag, dict(attributes))
        assert len(node.attributes) == len(attributes), f"an attribute twice: {attributes}"
        self.open[-1].children.append(node)
        self.open[-1].texts.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].texts.append(data)


def page_of(result, folder, *arguments, **options):
    result.report(folder / "page.html", *arguments, **options)
    return Page((folder / "page.html").read_text(encoding="utf-8")).root
