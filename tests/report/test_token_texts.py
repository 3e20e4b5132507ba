"""Texts coloured by attributions: every token is shown as what it is, with its colour and its number."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from captum_ext import _token_texts, plots

from .runs import METHODS, Page, images, maps, page_of, result

TOKENS = ["<s>", " A&B", " &amp;", "\n", "\t", "", " \u202eevil", " می\u200cخواهم", ' "end"']
VALUES = np.array([0.0, 4.0, -2.0, 1.0, np.nan, np.inf, -4.0, 0.5, -0.001])


def spans(tokens=TOKENS, values=VALUES):
    return Page(_token_texts.as_html(tokens, values)).root.all("span")


def test_every_token_is_text_and_what_is_not_seen_has_a_sign():
    texts = [span.text for span in spans()]
    assert texts == ["<s>", " A&B", " &amp;", "⏎\n", "⇥", "∅", " \\u202eevil", " می\u200cخواهم", ' "end"']


def test_the_colour_says_sign_and_size_and_the_title_the_number():
    styles = [(span.attributes.get("style"), span.attributes["title"]) for span in spans()]
    full, half = (f"{round(255 * 0.6 * share):02x}" for share in (1, 0.5))
    assert styles[0] == (f"background:{_token_texts.FOR}00", "0")
    assert styles[1] == (f"background:{_token_texts.FOR}{full}", "4")
    assert styles[2] == (f"background:{_token_texts.AGAINST}{half}", "-2")
    assert styles[4] == styles[5] == (None, "undefined")
    classes = [span.attributes.get("class") for span in spans()]
    assert classes == [None, None, "negative", None, "undefined", "undefined", "negative", None, None]


def test_tokens_without_white_space_stand_apart_and_others_as_they_are():
    assert Page(_token_texts.as_html(["un", "##able", "[SEP]"], np.ones(3))).root.text == "un ##able [SEP]"
    assert Page(_token_texts.as_html(["un", "able", " to"], np.ones(3))).root.text == "unable to"


def test_pieces_name_their_column_and_the_rest_has_no_colour():
    text = [("Who is <b>", None), ("bob", 1), (" and ", None), ("ann", 0), (" ?", None)]
    page = Page(_token_texts.as_html(text, np.array([1.0, -1.0, 9.0]))).root  # the last column is another text's
    assert page.text == "Who is <b>bob and ann ?"
    assert [(s.text, s.attributes["title"]) for s in page.all("span")] == [("bob", "-1"), ("ann", "1")]
    assert page.all("span")[0].attributes["style"].endswith(f"{round(255 * 0.6):02x}")


@pytest.mark.parametrize("color", [_token_texts.FOR, _token_texts.AGAINST])
@pytest.mark.parametrize(("paper", "ink"), [("#ffffff", "#1a1e24"), ("#14171c", "#e8ebf0"), ("#111111", "#eeeeee")])
def test_the_strongest_colour_leaves_enough_contrast(color, paper, ink):
    mixed = _token_texts.STRONGEST * rgb(color) + (1 - _token_texts.STRONGEST) * rgb(paper)
    light, dark = sorted([luminance(mixed), luminance(rgb(ink))], reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, AA


def rgb(color):
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def luminance(color):
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


# ---- in a notebook


def test_a_notebook_shows_a_line_per_method_of_each_text():
    shown = plots.tokens([["a", "b"], ["c", "<i>"]], {"<x>": torch.eye(2), "y": np.ones((2, 2, 5))})
    page = Page(shown._repr_html_()).root
    assert [p.text for p in page.all("p", dir="auto")] == ["a b", "a b", "c <i>", "c <i>"]
    assert [s.attributes["title"] for s in page.all("span")] == ["1", "0", "5", "5", "0", "1", "5", "5"]
    assert "<x>" in [node.text for node in page.all("small")]
    assert repr(shown).splitlines()[1] == "0 y: a (5) b (5)"


@pytest.mark.parametrize(
    ("texts", "values", "error", "message"),
    [
        (["a b"], np.ones((1, 2)), TypeError, r"`tokens` must have a list of tokens for each text, got .*a b"),
        ([["a", 1]], np.ones((1, 2)), TypeError, r"`tokens` must have strings alone, .* got int 1"),
        ([["a", "b"]], np.ones((1, 3)), ValueError, r"`attributions\['m'\]` must have maps with 2 columns.*\(3,\)"),
        ([[("a", 3)]], np.ones((1, 3)), ValueError, r"a column for each number in the text, got one of shape \(3,\)"),
        ([[("a", -1)]], np.ones((1, 3)), ValueError, r"a column for each number in the text"),
        ([["a"]], np.ones((2, 1)), ValueError, r"`attributions\['m'\]` must have a row for each of 1 texts, got 2"),
        ([["a"]], np.ones((1, 1, 1, 1)), ValueError, r"got one of shape \(1, 1, 1\)"),
    ],
)
def test_what_does_not_fit_is_refused(texts, values, error, message):
    with pytest.raises(error, match=message):
        plots.tokens(texts, {"m": values})
    with pytest.raises(TypeError, match="`attributions` must be a mapping"):
        plots.tokens(texts, {})


# ---- in the report


def texts(examples=20):
    return [[("Who ? ", None), *((token, column) for column, token in enumerate(TOKENS))] for _ in range(examples)]


def of_tokens(examples=20):
    return {METHODS[0]: torch.randn(examples, 9), METHODS[1]: torch.randn(examples, 9, 4).numpy()}


def test_the_report_has_a_line_for_each_method_that_has_a_map(tmp_path):
    page = page_of(result(), tmp_path, images(), of_tokens(), tokens=texts(), n_examples=3)
    lines = page.all("dd", dir="auto")
    assert len(lines) == 3 * 2
    assert all(line.text.startswith("Who ? <s> A&B") for line in lines)
    assert [node.text for node in page.all("h3")][:3] == [f"Example {i}, target {i % 3}" for i in (0, 10, 19)]
    assert not page.all("img")
    assert len(page.all("script")) == 1
    assert any(_token_texts.LEGEND in p.text for p in page.all("p"))


def test_an_embeddings_values_are_added_up(tmp_path):
    attributions = of_tokens()
    page = page_of(result(), tmp_path, None, attributions, tokens=texts(), n_examples=1)
    shown = [span.attributes["title"] for span in page.all("dd", dir="auto")[1].all("span")]
    assert shown == [f"{value:.3g}" for value in attributions[METHODS[1]][0].astype(np.float64).sum(-1)]


def test_without_maps_the_text_is_there_once_and_plain(tmp_path):
    page = page_of(result(), tmp_path, images(), tokens=texts(), n_examples=2)
    assert [bool(dd.all("span")) for dd in page.all("dd", dir="auto")] == [False, False]


def test_what_does_not_fit_the_examples_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`tokens` has 3 examples, but the results are of examples up to number 19"):
        result().report(tmp_path / "page.html", tokens=texts(3))
    with pytest.raises(ValueError, match="a column for each number"):
        result().report(tmp_path / "page.html", None, {METHODS[0]: torch.ones(20, 4)}, tokens=texts())
    assert not (tmp_path / "page.html").exists()


def test_images_have_no_style_of_texts_to_obey(tmp_path):
    page = page_of(result(), tmp_path, images(), maps(), n_examples=1)
    assert not page.all("dd", dir="auto")
    assert re.search(r"\.tokens span\{", page.all("style")[0].text)
