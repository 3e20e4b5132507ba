"""Tokens at which all rows of a prompt begin run through the model once, and nothing else changes."""

from __future__ import annotations

import copy
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from captum.attr import TextTemplateInput
from torch import Tensor, nn
from torch.testing import assert_close

from captum_ext import llm
from captum_ext.llm import token_scores
from captum_ext.llm.shared_prefix import cache_of, common_prefix

from .models import ANSWER, ANSWERS, every_model, facts, language_model, prompts, tokenizer

ROWS = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
COMMON = 8  # the special token and "the dog sat on the mat ."


class Counted:
    """Notes the shape of the ids of every call of a model."""

    def __init__(self, model: nn.Module):
        self.shapes: list[tuple[int, ...]] = []
        self.handle = model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self.shapes.append(tuple(kwargs["input_ids"].shape))

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: Any) -> None:
        self.handle.remove()


def scored(name: str, rows: Tensor = ROWS, **settings: Any) -> tuple[Tensor, list[tuple[int, ...]]]:
    f = llm.LogProbability(language_model(name), tokenizer(), facts(), ANSWER, **settings)
    with Counted(f.model) as counted:
        return f(rows), counted.shapes


@every_model
def test_the_prefix_runs_once_a_batch(name):
    shared, calls = scored(name)
    alone, whole_calls = scored(name, share_prefix=False)
    assert calls[0] == (1, COMMON)
    assert [rows for rows, _ in calls[1:]] == [4]
    assert [rows for rows, _ in whole_calls] == [4]
    assert calls[1][1] == whole_calls[0][1] - COMMON
    assert_close(shared, alone, rtol=0, atol=1e-5)


def test_a_single_row_runs_whole():
    assert len(scored("llama", ROWS[:1])[1]) == 1


def test_every_prompt_of_a_batch_has_a_prefix_of_its_own():
    f = llm.LogProbability(language_model("llama"), tokenizer(), [facts(), facts("ann saw a dog .", "x", "y")], "oslo")
    with Counted(f.model) as counted:
        f(torch.cat((ROWS, ROWS)), torch.tensor([0, 1] * 4))
    assert [rows for rows, _ in counted.shapes] == [1, 4, 1, 4]


@pytest.mark.parametrize("name", ["mistral 4", "mistral 10"])  # shorter and longer than the prefix
def test_sliding_windows_are_not_shared(name):
    shared, calls = scored(name)
    alone, _ = scored(name, share_prefix=False)
    assert_close(shared, alone, rtol=0, atol=1e-5)
    assert calls[-1] == scored(name, share_prefix=False)[1][-1]
    f = llm.LogProbability(language_model(name), tokenizer(), facts(), ANSWER)
    f(ROWS)
    with Counted(f.model) as counted:
        f(ROWS)
    assert len(counted.shapes) == 1  # it does not try again


@pytest.mark.parametrize(("sliding", "length", "taken"), [(False, 8, True), (True, 8, False), (False, 7, False)])
def test_a_cache_must_have_all_keys_and_values_and_no_window(sliding, length, taken):
    """As those of older versions of transformers, whose sliding layers have no other sign."""
    tensors = {"keys": torch.ones(1, 2, length, 4), "values": torch.ones(1, 2, length, 4)}
    cache = SimpleNamespace(layers=[SimpleNamespace(**tensors, is_sliding=sliding)])
    assert (cache_of(SimpleNamespace(past_key_values=cache), "past_key_values", 8) is cache) == taken


class Wrapped(nn.Module):
    """A model whose forward has what `takes` names, and hands it on to another under today's names."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


class WithoutCache(Wrapped):
    def forward(self, input_ids: Tensor) -> Any:
        return self.model(input_ids=input_ids).logits


class WithOldCache(Wrapped):
    """The cache is a tuple of keys and values under its old name."""

    def forward(self, input_ids: Tensor, past_key_values: Any = None, use_cache: bool = False) -> dict[str, Any]:
        from transformers import DynamicCache

        cache = DynamicCache()
        for i, (keys, values) in enumerate(past_key_values or ()):
            cache.update(keys, values, i)
        logits = self.model(input_ids=input_ids, use_cache=True, **{self.name: cache}).logits
        return {"logits": logits, "past_key_values": tuple((layer.keys, layer.values) for layer in cache.layers)}


class WithState(Wrapped):
    """The cache has a state beside keys and values."""

    def forward(
        self, input_ids: Tensor, cache: Any = None, past_key_values: Any = None, use_cache: bool = False
    ) -> Any:
        assert cache is past_key_values is None
        output = self.model(input_ids=input_ids, use_cache=use_cache)
        if use_cache:
            getattr(output, self.name).layers[0].conv_states = [torch.zeros(1)]
        return output


@pytest.mark.parametrize(("wrapper", "shares"), [(WithoutCache, False), (WithOldCache, True), (WithState, False)])
def test_models_with_other_caches_or_none_score_the_same(wrapper, shares):
    f = llm.LogProbability(wrapper(language_model("llama")), tokenizer(), facts(), ANSWER)
    expected = scored("llama", share_prefix=False)[0]
    assert_close(f(ROWS), expected, rtol=0, atol=1e-5)
    with Counted(f.model) as counted:
        assert_close(f(ROWS), expected, rtol=0, atol=1e-5)
    assert len(counted.shapes) == (2 if shares else 1)


def test_a_prefix_ends_before_the_last_token_of_the_shortest_row():
    a, b = torch.tensor([1, 2, 3]), torch.tensor([1, 2, 3, 4])
    assert common_prefix([a, b]) == 2
    assert common_prefix([a, torch.tensor([1, 5, 3])]) == 1
    assert common_prefix([a, torch.tensor([7])]) == 0


@every_model
def test_a_row_whose_whole_prompt_is_the_prefix_of_another_scores_right(name):
    inp = TextTemplateInput("the dog sat {}", ["on the mat"])
    rows = torch.tensor([[1.0], [0.0]])
    both = [llm.LogProbability(language_model(name), tokenizer(), inp, "oslo", share_prefix=s) for s in (True, False)]
    assert_close(both[0](rows), both[1](rows), rtol=0, atol=1e-5)


@every_model
@pytest.mark.parametrize("share_prefix", [True, False])
def test_rows_of_other_lengths_run_apart_where_calls_are_full_and_share_the_same_prefix(
    name, share_prefix, monkeypatch
):
    expected, together = scored(name, share_prefix=share_prefix)
    monkeypatch.setattr(token_scores, "FULL", 1)
    apart, calls = scored(name, share_prefix=share_prefix)
    lengths = [length for _, length in calls[share_prefix:]]
    assert lengths == sorted(set(lengths), reverse=True)
    assert len(lengths) > 1
    assert sum(rows * length for rows, length in calls) < sum(rows * length for rows, length in together)
    assert_close(apart, expected, rtol=0, atol=1e-5)


def test_half_precision_is_scored_in_single():
    model = copy.deepcopy(language_model("llama")).to(torch.bfloat16)
    f = llm.LogProbability(model, tokenizer(), prompts(), ANSWERS)
    assert f(f.inputs).dtype == torch.float32
