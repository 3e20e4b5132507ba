"""What a person reads of a prompt: all of its text, with the numbers of its features."""

from __future__ import annotations

import pickle

import pytest
import torch
from captum.attr import FeatureAblation, TextTemplateInput

from captum_ext import attribute_dataset, evaluate, llm, metrics, plots, random_attribution
from captum_ext.llm.token_texts import pieces_of, texts_of

from .models import ANSWERS, facts, language_model, prompts, tokenizer, tokens


def test_a_text_of_tokens_has_those_that_are_skipped_too():
    pieces = pieces_of(tokens("ann saw a cat ."))
    assert "".join(text for text, _ in pieces) == "<s> ann saw a cat ."
    assert [column for _, column in pieces] == [None, 0, 1, 2, 3, 4]
    assert pieces[2] == (" saw", 1)


def test_a_template_has_its_own_text_and_the_values_in_their_places():
    assert pieces_of(TextTemplateInput("{1} and {0} and {1} ?", ["ann", "a {bob}"])) == [
        ("a {bob}", 1),
        (" and ", None),
        ("ann", 0),
        (" and ", None),
        ("a {bob}", 1),
        (" ?", None),
    ]
    of_names = TextTemplateInput("where does {who} ?\n{what}", {"what": "fact\n", "who": "bob"})
    assert pieces_of(of_names) == [("where does ", None), ("bob", 1), (" ?\n", None), ("fact\n", 0)]


def test_values_of_a_group_have_its_number():
    """Captum orders groups by their numbers."""
    assert [c for _, c in pieces_of(facts(mask=[7, 2, 7])) if c is not None] == [1, 0, 1]


@pytest.mark.parametrize("template", [lambda a, b: f"{len(a)} {b}", lambda a, b: {"ann": "x"}[a] + b])
def test_of_a_template_that_does_more_only_the_values_are_shown(template):
    assert pieces_of(TextTemplateInput(template, ["ann", "bob"])) == [("ann", 0), ("bob", 1)]
    assert pieces_of(TextTemplateInput(lambda a, b: (a + "/" + b).upper(), ["ann", "bob"]))[1] == ("/", None)


class Bytes:
    """A tokenizer of UTF-8 bytes."""

    def decode(self, ids):
        return bytes(ids).decode(errors="replace")

    def convert_ids_to_tokens(self, ids):
        return [f"<0x{i:02X}>" for i in ids]


def test_parts_of_a_character_are_named():
    ids = list("aé\n".encode())
    assert texts_of(Bytes(), ids) == ["a", "<0xC3>", "<0xA9>", "\n"]


def test_a_data_set_keeps_its_texts_through_a_copy():
    f = llm.LogProbability(language_model("llama"), tokenizer(), prompts(), ANSWERS)
    copied = pickle.loads(pickle.dumps(f.data))
    assert copied.token_texts == f.token_texts
    assert copied.answer_texts == ANSWERS
    assert len(copied) == len(prompts())


def test_the_report_shows_prompts_and_answers(tmp_path):
    pytest.importorskip("jinja2")
    f = llm.LogProbability(language_model("llama"), tokenizer(), prompts(), ANSWERS)
    methods = {"ablation": llm.method(FeatureAblation), "random": random_attribution}
    attribute_dataset(f, f.data, methods, tmp_path / "maps.h5")
    result = evaluate(f, f.data, methods, {"deletion": metrics.deletion})
    result.report(tmp_path / "page.html", f.data, tmp_path / "maps.h5")
    page = (tmp_path / "page.html").read_text()
    assert f"Example 0, target {ANSWERS[0]}" in page
    assert page.count('<dd class="tokens"') == 2 * len(prompts())
    assert "&lt;s&gt;" in page
    assert "<img" not in page


def test_a_notebook_shows_the_prompts_too():
    f = llm.LogProbability(language_model("llama"), tokenizer(), [tokens("ann saw bob"), facts()], "oslo")
    html = plots.tokens(f.token_texts, {"ones": torch.ones(f.inputs.shape)})._repr_html_()
    assert html.count('title="1"') == 3 + 3
