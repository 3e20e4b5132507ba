"""Models, outputs and answers that a `LogProbability` cannot score are refused, not scored and not left to torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from captum_ext import llm

from .models import ANSWER, SIZES, facts, language_model, tokenizer

PRESENT = torch.ones(1, 3)


class Wrapped(nn.Module):
    """A model whose logits come in another form."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = language_model("llama"), change
        self.eval()

    def forward(self, input_ids):
        return self.change(self.inner(input_ids).logits)


def scored(model, target=ANSWER):
    return llm.LogProbability(model, tokenizer(), facts(), target)(PRESENT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: {"scores": logits}, "got dict"),
        (lambda logits: (logits,), "got a tuple of Tensor"),
        (lambda logits: logits[:, -1], r"got shape \(1, 27\)"),
    ],
)
def test_outputs_without_logits_of_tokens_are_refused(change, message):
    with pytest.raises(TypeError, match=r"`model` must return logits `\[rows, tokens, words\].*" + message):
        scored(Wrapped(change))


@pytest.mark.parametrize("kept", [1, 3])
def test_logits_of_too_few_tokens_are_refused(kept):
    with pytest.raises(ValueError, match=rf"`model` must return logits for each of its .* got shape \(1, {kept}, 27\)"):
        scored(Wrapped(lambda logits: logits[:, -kept:]))


def test_models_that_are_not_causal_are_refused():
    import transformers as t

    masked = t.BertForMaskedLM(t.BertConfig(**SIZES, vocab_size=30))
    for model in (masked, language_model("llama").model):
        with pytest.raises(TypeError, match=r"must be a causal language model.*can_generate"):
            scored(model)


@pytest.mark.parametrize("ids", [[5, 27], [5, -100], torch.tensor([-1])])
def test_ids_that_the_model_does_not_know_are_refused(ids):
    with pytest.raises(ValueError, match="`target` must have ids of the model's 27 tokens"):
        scored(language_model("llama"), ids)


@pytest.mark.parametrize("ids", [list(np.array([5, 6])), list(torch.tensor([5, 6])), (5, 6)])
def test_a_list_of_any_integers_is_one_answer(ids):
    assert torch.equal(scored(language_model("llama"), ids), scored(language_model("llama"), [5, 6]))


def test_an_answer_may_be_generated_with_an_object_as_the_output():
    settings = {"max_new_tokens": 3, "do_sample": False}
    made = [
        llm.LogProbability(language_model("llama"), tokenizer(), facts(), gen_args=settings | further).answers[0]
        for further in ({}, {"return_dict_in_generate": True})
    ]
    assert torch.equal(*made)
