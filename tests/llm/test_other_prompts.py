"""What belongs to another prompt, answer or tokenizer is refused: its numbers would look as good as right ones."""

from __future__ import annotations

import pytest
import torch
from captum.attr import FeatureAblation, LLMAttribution, TextTemplateInput

from captum_ext import evaluate, llm, metrics, random_attribution

from .models import ANSWER, ONE_PASS, facts, language_model, tokenizer


def model(inp=None, answer=ANSWER, of=None, **settings) -> llm.LogProbability:
    return llm.LogProbability(language_model("llama"), of or tokenizer(), inp or facts(), answer, **settings)


def result(inp=None, answer=ANSWER):
    explain = LLMAttribution(FeatureAblation(language_model("llama")), tokenizer())
    return explain.attribute(inp or facts(), answer, **ONE_PASS)


OTHER = facts("ann saw a cat .", "bob saw a dog .", "eve sat .")


def test_an_input_of_another_prompt_is_refused_and_one_made_anew_is_taken():
    with pytest.raises(ValueError, match="`inputs` must be the prompt that `forward_func` was made with"):
        metrics.deletion(model(), OTHER, torch.ones(1, 3), target=0)
    assert metrics.deletion(model(), facts(), torch.ones(1, 3), target=0).shape == (1,)


@pytest.mark.parametrize("named", [False, True])
def test_a_result_for_another_prompt_is_refused_also_beside_a_tensor(named):
    f, other = model(), result(OTHER)
    if getattr(other, "inp", None) is None:
        pytest.skip("results of this Captum do not know their prompt")
    with pytest.raises(ValueError, match="`attributions` must explain the prompt that `forward_func` was made with"):
        metrics.deletion(f, f.inputs, {"a": other} if named else other, target=0)


def test_a_result_for_other_groups_of_the_same_values_is_refused():
    other = result(facts(mask=[0, 0, 1]))
    if getattr(other, "inp", None) is None:
        pytest.skip("results of this Captum do not know their prompt")
    f = model(facts(mask=[0, 1, 1]))
    with pytest.raises(ValueError, match=r"the groups \[0, 0, 1\], but that of the prompt \[0, 1, 1\]"):
        f.attributions(other)
    with pytest.raises(ValueError, match=r"the groups \[0, 0, 1\], but that of the prompt \[0, 1, 1\]"):
        metrics.sparseness(facts(mask=[0, 1, 1]), other)


def test_a_result_for_another_answer_of_as_many_tokens_is_refused():
    f, other = model(answer="rome"), result(answer="oslo")
    with pytest.raises(ValueError, match=r"explains the answer \['oslo'\], which is not that of prompt 0, 'rome'"):
        f.attributions(other)
    with pytest.raises(ValueError, match=r"explain the answer \['oslo'\], which `forward_func` does not have"):
        metrics.deletion(f, f.inputs, other, target=0)


@pytest.mark.parametrize(
    "other",
    [
        {"of": tokenizer(begin=False)},
        {"add_special_tokens": False},
        {"inp": TextTemplateInput("{} {} where ?", ["ann lives in", "rome . bob lives in oslo ."])},
    ],
    ids=["another tokenizer", "no special tokens", "the same text in other parts"],
)
def test_a_run_is_not_resumed_with_prompts_that_the_model_sees_otherwise(other, tmp_path):
    def run(**settings):
        inp = TextTemplateInput("{} {} where ?", ["ann lives in rome .", "bob lives in oslo ."])
        f = model(**({"inp": inp} | settings))
        methods, chosen = {"random": random_attribution}, {"deletion": metrics.deletion}
        return evaluate(f, f.data, methods, chosen, path=tmp_path / "run.h5")

    run()
    run()
    with pytest.raises(ValueError, match="`path` holds another run"):
        run(**other)
