"""Methods for language models over many prompts of different lengths, in `evaluate`."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    KernelShap,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    ShapleyValues,
    ShapleyValueSampling,
    TextTemplateInput,
)
from torch.testing import assert_close

from captum_ext import evaluate, llm, metrics, random_attribution
from captum_ext.evaluation import store

from .models import ANSWER, ANSWERS, every_model, facts, language_model, prompts, tokenizer, tokens

METHODS = {
    "ablation": llm.method(FeatureAblation),
    "of the model itself": FeatureAblation,
    "shapley": llm.method(ShapleyValueSampling, n_samples=2),
    "kernel shap": llm.method(KernelShap, n_samples=10),
    "random": random_attribution,
}
METRICS = {
    "deletion": partial(metrics.deletion, n_steps=5),
    "sensitivity-1": partial(metrics.sensitivity_n, n=1),
    "completeness": metrics.completeness,
    "LDS": partial(metrics.linear_datamodeling_score, n_perturb_samples=16),
}


def of_prompts(**settings) -> llm.LogProbability:
    return llm.LogProbability(language_model("llama"), tokenizer(), prompts(), ANSWERS, **settings)


def one_prompt(inp=None, **settings) -> llm.LogProbability:
    return llm.LogProbability(language_model("llama"), tokenizer(), inp or tokens(), ANSWER, **settings)


def explained(f, method, target=0):
    return method(f)(f.inputs, target=target, additional_forward_args=f.prompts)


@every_model
@pytest.mark.parametrize("target", [0, 2])
def test_ablation_by_captum_is_ablation_of_the_log_probability(name, target):
    f = llm.LogProbability(language_model(name), tokenizer(), prompts(), ANSWERS[0])
    expected = FeatureAblation(f).attribute(f.inputs, target=target, additional_forward_args=f.prompts)
    assert_close(explained(f, llm.method(FeatureAblation), target), expected, rtol=0, atol=1e-4)


def test_shapley_values_are_complete():
    f = one_prompt(facts())
    phi = explained(f, llm.method(ShapleyValues))
    assert_close(metrics.completeness(f, f.inputs, phi, target=0), torch.zeros(1), rtol=0, atol=1e-5)


def test_gradients_are_those_of_captums_own_object():
    f = one_prompt()
    model = language_model("llama")
    layer = LayerIntegratedGradients(model, model.get_submodule("model.embed_tokens"))
    result = LLMGradientAttribution(layer, tokenizer()).attribute(tokens(), ANSWER, n_steps=5)
    made = llm.method(LayerIntegratedGradients, layer="model.embed_tokens", n_steps=5)
    for target in (0, 3):
        assert_close(explained(f, made, target), f.attributions(result, target), check_dtype=False)


def test_a_ready_object_is_taken_and_put_on_the_right_path():
    f = one_prompt()
    ready = LLMAttribution(FeatureAblation(language_model("llama")), tokenizer())
    assert_close(explained(f, llm.method(ready)), explained(f, llm.method(FeatureAblation)))


def test_texts_with_special_tokens_get_no_further_ones():
    inp = TextTemplateInput("<s> {} lives in {} .", ["ann", "rome"])
    f = one_prompt(inp, add_special_tokens=False)
    expected = FeatureAblation(f).attribute(f.inputs, target=0)
    assert_close(explained(f, llm.method(FeatureAblation)), expected, rtol=0, atol=1e-4)


def test_a_whole_data_set_is_evaluated():
    f = of_prompts()
    result = evaluate(f, f.data, METHODS, METRICS, batch_size=3).dataset
    for name in ("ablation", "of the model itself"):
        assert np.allclose(result["sensitivity-1"].sel(attribution=name), 1, atol=1e-4)
    for i, (inp, answer) in enumerate(zip(prompts(), ANSWERS)):
        alone = llm.LogProbability(language_model("llama"), tokenizer(), inp, answer)
        phi = explained(alone, llm.method(FeatureAblation))
        score = metrics.deletion(alone, alone.inputs, phi, target=0, n_steps=5)
        assert np.allclose(result["deletion"].sel(attribution="ablation", example=i), score, atol=1e-4)


def test_the_random_control_differs_between_prompts():
    f = llm.LogProbability(language_model("llama"), tokenizer(), [tokens(), tokens()], "oslo")
    a, b = random_attribution(f)(f.inputs, additional_forward_args=f.prompts)
    assert not torch.equal(a, b)
    assert torch.equal(b, random_attribution(f)(f.inputs[1:], additional_forward_args=f.prompts[1:])[0])


class Interrupted(Exception):
    pass


def test_an_interrupted_run_is_resumed_by_two_workers_to_the_same_bits(tmp_path, monkeypatch):
    """`benchmarks/llm_run.py` does the same with 40 prompts, seven methods and five metrics."""
    f = of_prompts()
    settings = {"batch_size": 2, "threads_per_worker": 1}
    whole = evaluate(f, f.data, METHODS, METRICS, **settings).dataset
    write, written = store.ShardStore.write, []

    def once(self, *args, **kwargs):
        if written:
            raise Interrupted
        written.append(write(self, *args, **kwargs))

    monkeypatch.setattr(store.ShardStore, "write", once)
    with pytest.raises(Interrupted):
        evaluate(f, f.data, METHODS, METRICS, path=tmp_path / "run.h5", **settings)
    monkeypatch.undo()
    workers = {"devices": ["cpu", "cpu"], **settings}
    resumed = evaluate(of_prompts(), f.data, METHODS, METRICS, path=tmp_path / "run.h5", **workers)
    for name in METRICS:
        assert np.array_equal(resumed.dataset[name], whole[name], equal_nan=True)
    resumed.report(tmp_path / "page.html", f.data, {"random": random_attribution(f)(f.inputs)})
    assert (tmp_path / "page.html").read_text().count('<dd class="tokens"') == len(prompts())


def test_another_answer_is_another_run(tmp_path):
    f, other = of_prompts(), llm.LogProbability(language_model("llama"), tokenizer(), prompts(), ANSWERS[::-1])
    few = {"ablation": FeatureAblation}
    evaluate(f, f.data, few, METRICS, path=tmp_path / "run.h5")
    with pytest.raises(ValueError, match="model"):
        evaluate(other, other.data, few, METRICS, path=tmp_path / "run.h5")


# ---- errors


def test_what_is_no_method_is_refused():
    with pytest.raises(TypeError, match="`attribution`"):
        llm.method("ablation")
    with pytest.raises(ValueError, match="`perturbations_per_eval`"):
        llm.method(FeatureAblation, perturbations_per_eval=4)
    for layer in ({}, {"layer": "embedding"}):
        with pytest.raises(ValueError, match=r"`layer`.*model.embed_tokens"):
            llm.method(LayerIntegratedGradients, **layer)(one_prompt())
    with pytest.raises(TypeError, match="LogProbability"):
        llm.method(FeatureAblation)(language_model("llama"))
    with pytest.raises(ValueError, match="`attr_target`"):
        llm.method(FeatureAblation)(one_prompt(attr_target="logit"))
    with pytest.raises(ValueError, match="`attr_target`"):
        llm.method(LayerIntegratedGradients, layer="model.embed_tokens")(one_prompt(attr_target="prob"))
    with pytest.raises(ValueError, match="ones"):
        llm.method(FeatureAblation)(one_prompt())(torch.zeros(1, 14))
