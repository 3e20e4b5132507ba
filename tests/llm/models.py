"""Tiny language models made from configurations, with a tokenizer made on the spot: nothing is downloaded."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import pytest
import torch
from captum.attr import LLMAttribution, TextTemplateInput, TextTokenInput
from torch import nn

WORDS = "ann bob eve lives in rome oslo paris . where does ? the a cat dog sat on mat and saw"
SIZES = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
NAMES = ("llama", "gpt2", "qwen2")
# Captum's path in one pass; without a cache in 0.8, and in 0.7, whose only path that is. All of them are right.
ONE_PASS = {
    name: False
    for name in ("forward_in_tokens", "use_cached_outputs")
    if name in inspect.signature(LLMAttribution.attribute).parameters
}
every_model = pytest.mark.parametrize("name", NAMES)


@cache
def tokenizer(begin: bool = True) -> Any:
    """One token a word; `begin` says whether a text begins with a special token, as Llama's do."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<s>", "</s>", *WORDS.split(), "user", "assistant", ":"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if begin:
        made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template="<s>{% for m in messages %} {{ m.role }} : {{ m.content }}{% endfor %} assistant :",
    )


@cache
def language_model(name: str) -> nn.Module:
    """With large random weights, so that the answer's probability depends on every token."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _made(name, len(tokenizer()))
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0, 0.3)
    return model.eval().requires_grad_(False)


def _made(name: str, words: int) -> nn.Module:
    import transformers as t

    special = {"bos_token_id": 1, "eos_token_id": 2, "vocab_size": words}
    if name == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**SIZES, **special, num_key_value_heads=1))
    if name == "gpt2":
        return t.GPT2LMHeadModel(t.GPT2Config(n_embd=24, n_layer=2, n_head=2, n_positions=64, **special))
    if name == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**SIZES, **special, num_key_value_heads=2))
    if name.startswith("mistral"):  # with a sliding window that is shorter than the prompts
        window = int(name.removeprefix("mistral "))
        return t.MistralForCausalLM(t.MistralConfig(**SIZES, **special, num_key_value_heads=1, sliding_window=window))
    raise KeyError(name)


TEXT = "ann lives in rome . bob lives in oslo . where does bob ?"
ANSWER = "bob lives in oslo"
FACTS = "{} {} {} where does bob ?"


def tokens(text: str = TEXT, **settings: Any) -> TextTokenInput:
    return TextTokenInput(text, tokenizer(), skip_tokens=[1], **settings)


def facts(*values: str, **settings: Any) -> TextTemplateInput:
    values = values or ("ann lives in rome .", "bob lives in oslo .", "eve saw a cat .")
    return TextTemplateInput(
        "the dog sat on the mat . " + " ".join("{}" for _ in values) + " where does bob ?", list(values), **settings
    )


def prompts() -> list[Any]:
    """Of different kinds and lengths."""
    return [
        tokens(),
        facts(),
        tokens("where does eve ?"),
        facts("ann saw a dog .", "the cat sat on a mat ."),
        facts(mask=[7, 2, 7]),
    ]


ANSWERS = ["bob lives in oslo", "oslo", "eve saw", "on the mat and", "in oslo"]
