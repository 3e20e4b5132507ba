"""Metrics take what a user of Captum and Hugging Face holds: inputs, results and outputs as they are."""

from __future__ import annotations

import inspect
from functools import cache, partial
from typing import get_args

import pytest
import torch
from captum.attr import FeatureAblation, LayerIntegratedGradients, Lime, LLMAttribution, LLMGradientAttribution
from torch import nn
from torch.testing import assert_close

from captum_ext import feature_masks, llm, metrics
from captum_ext._core.arguments import AttributionsType, InputsType
from captum_ext._core.interpretable import InterpretableInput, LLMAttributionResult
from captum_ext.perturbations import segment_removal

from .models import ANSWER, ANSWERS, ONE_PASS, facts, language_model, prompts, tokenizer, tokens

MASKED = facts(mask=[7, 2, 7])


@cache
def ablation():
    return LLMAttribution(FeatureAblation(language_model("llama")), tokenizer()).attribute(MASKED, ANSWER, **ONE_PASS)


def model(inp=MASKED) -> llm.LogProbability:
    return llm.LogProbability(language_model("llama"), tokenizer(), inp, ANSWER)


@pytest.mark.parametrize("target", [0, 3])
@pytest.mark.parametrize(
    "metric",
    [
        partial(metrics.deletion, n_steps=3),
        metrics.completeness,
        partial(metrics.infidelity, perturb_func=segment_removal, seed=0),
    ],
)
def test_an_input_and_a_result_of_captum_are_taken_as_they_are(metric, target):
    f = model()
    expected = metric(f, inputs=f.inputs, attributions=f.attributions(ablation(), target), target=target)
    for target_form in (target, torch.tensor([target]), [target]):
        assert_close(metric(f, inputs=MASKED, attributions=ablation(), target=target_form), expected)
    named = metric(f, inputs=MASKED, attributions={"ablation": ablation()}, target=target)
    assert_close(named["ablation"], expected)


def test_metrics_without_a_model_take_them_too():
    f = model()
    assert_close(metrics.sparseness(MASKED, ablation()), metrics.sparseness(f.inputs, f.attributions(ablation())))


@pytest.mark.parametrize(
    "metric", [metrics.deletion, metrics.infidelity, metrics.sparseness, metrics.auc_roc, metrics.rank_correlation]
)
def test_signatures_say_so(metric):
    taken = inspect.signature(metric).parameters
    assert (taken["inputs"].annotation, taken["attributions"].annotation) == ("InputsType", "AttributionsType")
    assert InterpretableInput in get_args(InputsType)
    assert LLMAttributionResult in get_args(AttributionsType)


def test_a_result_of_gradients_is_taken():
    f, layer = model(tokens()), language_model("llama").get_submodule("model.embed_tokens")
    gradients = LLMGradientAttribution(LayerIntegratedGradients(language_model("llama"), layer), tokenizer())
    result = gradients.attribute(tokens(), ANSWER, n_steps=3)
    expected = metrics.completeness(f, f.inputs, f.attributions(result, 2), target=2)
    assert_close(metrics.completeness(f, f.inputs, result, target=2), expected)
    assert_close(metrics.completeness(f, tokens(), result, target=2), expected)


def test_results_that_do_not_fit_are_refused():
    f = model()
    with pytest.raises(ValueError, match="explain the prompt"):
        metrics.completeness(f, facts("a", "b", "c", mask=[7, 2, 7]), ablation(), target=0)
    with pytest.raises(ValueError, match="`target` must be at most 4"):
        metrics.completeness(f, MASKED, ablation(), target=5)
    with pytest.raises(ValueError, match="one prompt"):
        metrics.completeness(f, MASKED, ablation(), target=[0, 1])
    with pytest.raises(ValueError, match="answer of 4 tokens"):
        llm.LogProbability(language_model("llama"), tokenizer(), MASKED, "oslo").attributions(ablation())
    with pytest.raises(ValueError, match="each of 5 prompts"):
        llm.LogProbability(language_model("llama"), tokenizer(), prompts(), ANSWERS).attributions(ablation())
    with pytest.raises(TypeError, match="result of Captum"):
        f.attributions(torch.ones(1, 2))
    whole = LLMAttribution(Lime(language_model("llama")), tokenizer()).attribute(
        MASKED, ANSWER, **ONE_PASS, n_samples=5
    )
    assert f.attributions(whole).shape == (1, 2)
    with pytest.raises(ValueError, match="Lime"):
        f.attributions(whole, 1)


# ---- outputs


@cache
def encoder() -> nn.Module:
    import transformers as t

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return t.BertForSequenceClassification(t.BertConfig(**sizes, vocab_size=20, num_labels=3)).eval()


def test_an_output_with_logits_gives_them_bit_for_bit():
    ids, attention = torch.tensor([[3, 4, 5, 0], [6, 7, 8, 9]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    phi = torch.randn(2, 4)
    both = [
        metrics.deletion_curve(f, ids, phi, target=1, additional_forward_args=attention, n_steps=5, **settings)
        for f in (encoder(), lambda x, a: encoder()(x, a).logits, lambda x, a: dict(encoder()(x, a)))
        for settings in [{"feature_mask": feature_masks.tokens(attention), "frozen": -1}]
    ]
    assert torch.equal(both[0], both[1])
    assert torch.equal(both[0], both[2])


def test_other_outputs_are_refused_with_their_fields_and_the_way_out():
    ids = torch.tensor([[3, 4, 5]])
    with pytest.raises(TypeError, match=r"last_hidden_state.*lambda \*x: model\(\*x\)\['last_hidden_state'\]"):
        metrics.deletion(encoder().bert, ids, torch.randn(1, 3), target=0)
    with pytest.raises(TypeError, match=r"lambda \*x: model\(\*x\)\[0\]"):
        metrics.deletion(lambda x: (x, x), ids, torch.randn(1, 3), target=0)
