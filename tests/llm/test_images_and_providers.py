"""Models that see images, models behind an interface, and models that are no plain causal language models."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import captum.attr as captum_attr
import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, LLMAttribution
from PIL import Image
from torch.testing import assert_close

from captum_ext import evaluate, llm, metrics, random_attribution

from .models import ANSWER, SIZES, facts, language_model, tokenizer, tokens

if not hasattr(captum_attr, "ImageMaskInput"):
    pytest.skip("Captum before 0.9 has no ImageMaskInput and no providers", allow_module_level=True)
ImageMaskInput = captum_attr.ImageMaskInput
RemoteLLMProvider = pytest.importorskip("captum.attr._core.remote_provider").RemoteLLMProvider

IMAGE_TOKEN, PATCHES = 29, 4


@cache
def llava() -> torch.nn.Module:
    import transformers as t

    vision = t.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    text = t.LlamaConfig(**SIZES, vocab_size=len(tokenizer()) + 4, num_key_value_heads=1)
    config = t.LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE_TOKEN, vision_feature_select_strategy="default"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = t.LlavaForConditionalGeneration(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0, 0.3)
    return model.eval().requires_grad_(False)


def process(image: Image.Image) -> dict[str, torch.Tensor]:
    """In place of a processor: the ids with a place for each patch, and the pixels."""
    ids = [1, *[IMAGE_TOKEN] * PATCHES, *tokenizer().encode("where does ann ?", add_special_tokens=False)]
    pixels = torch.tensor(np.array(image)).permute(2, 0, 1)[None] / 128 - 1
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "pixel_values": pixels,
    }


def picture(seed: int = 0) -> ImageMaskInput:
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    quarters = (torch.arange(16)[:, None] // 8 * 2 + torch.arange(16) // 8).int()
    return ImageMaskInput(Image.fromarray(pixels), mask=quarters, processor_fn=process)


def test_the_segments_of_an_image_score_as_captums_own_forward():
    f = llm.LogProbability(llava(), tokenizer(), picture(), ANSWER)
    attribution = LLMAttribution(FeatureAblation(llava()), tokenizer())
    rows = torch.tensor([[1.0, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]])
    with torch.no_grad():
        expected = [attribution._forward_func(r[None], picture(), f.answers[0], forward_in_tokens=False) for r in rows]
    assert torch.cat(expected)[:, 0].std() > 0.05
    assert_close(f(rows), torch.cat(expected), rtol=0, atol=1e-4)


def test_images_are_evaluated_as_texts_are():
    f = llm.LogProbability(llava(), tokenizer(), [picture(0), picture(1), facts()], ["oslo", "the mat", "in rome"])
    result = evaluate(
        f,
        f.data,
        {"ablation": llm.method(FeatureAblation), "itself": FeatureAblation, "random": random_attribution},
        {"LDS": metrics.linear_datamodeling_score, "deletion": metrics.deletion},
    ).dataset
    assert np.allclose(result.LDS.sel(attribution="ablation"), result.LDS.sel(attribution="itself"), atol=1e-4)
    assert result.LDS.notnull().all()


class Provider(RemoteLLMProvider):
    """Answers as the tiny Llama does, and notes what it is asked."""

    api_url = "none"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, prompt: str, **gen_args: Any) -> str:
        return "oslo ."

    def get_logprobs(self, input_prompt: str, target_str: str, tokenizer: Any = None) -> list[float]:
        self.asked.append(input_prompt)
        ids = tokenizer.encode(input_prompt)
        answer = tokenizer.encode(target_str, add_special_tokens=False)
        with torch.no_grad():
            scores = language_model("llama")(torch.tensor([ids + answer])).logits.log_softmax(-1)[0]
        return [float(scores[len(ids) + k - 1, word]) for k, word in enumerate(answer)]


def test_a_provider_is_asked_row_by_row():
    f = llm.LogProbability(Provider(), tokenizer(), facts(), ANSWER)
    local = llm.LogProbability(language_model("llama"), tokenizer(), facts(), ANSWER)
    rows = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    assert_close(f(rows), local(rows), rtol=0, atol=1e-5)
    assert f.model.asked == [facts().to_model_input(row[None]) for row in rows]
    assert llm.LogProbability(Provider(), tokenizer(), facts()).answers[0].tolist() == tokenizer().encode("oslo .")[1:]


def test_methods_explain_a_provider():
    f = llm.LogProbability(Provider(), tokenizer(), facts(), ANSWER)
    local = llm.LogProbability(language_model("llama"), tokenizer(), facts(), ANSWER)
    method = llm.method(FeatureAblation)
    assert_close(method(f)(f.inputs), method(local)(local.inputs), rtol=0, atol=1e-4)
    result = evaluate(f, f.data, {"ablation": method, "random": random_attribution}, {"deletion": metrics.deletion})
    assert result.dataset.deletion.notnull().all()


def test_a_provider_that_counts_other_tokens_is_refused():
    provider = SimpleNamespace(get_logprobs=lambda **_: [0.0])
    f = llm.LogProbability(provider, tokenizer(), facts(), ANSWER)
    with pytest.raises(ValueError, match="each of the answer's 4 tokens, got 1"):
        f(f.inputs)


# ---- what is refused


@pytest.mark.parametrize(
    ("inputs", "target", "settings", "error", "match"),
    [
        (torch.ones(1, 3), "oslo", {}, TypeError, "`inputs` must be one of Captum's interpretable inputs"),
        ([], "oslo", {}, TypeError, "`inputs`"),
        ("tokens", "", {}, ValueError, "`target` must have at least one token"),
        ("tokens", torch.ones(3), {}, TypeError, "`target` must be a text, token ids"),
        ("tokens", 3, {}, TypeError, "`target` must be a text, token ids"),
        ("tokens", ["oslo", "rome"], {}, ValueError, "an answer for each of 1 prompts, got 2"),
        ("tokens", "oslo", {"attr_target": "odds"}, ValueError, "`attr_target` must be one of"),
        ("tokens", "oslo", {"gen_args": {"max_new_tokens": 3}}, ValueError, "`gen_args`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(inputs, target, settings, error, match):
    given = tokens() if isinstance(inputs, str) else inputs
    with pytest.raises(error, match=match):
        llm.LogProbability(language_model("llama"), tokenizer(), given, target, **settings)


def test_a_model_that_generates_nothing_needs_an_answer():
    model = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="`target` is missing"):
        llm.LogProbability(model, tokenizer(), tokens())


def test_a_prompt_that_becomes_empty_is_refused():
    from captum.attr import TextTemplateInput

    f = llm.LogProbability(language_model("llama"), tokenizer(False), TextTemplateInput("{}", ["ann lives"]), "oslo")
    with pytest.raises(ValueError, match="no tokens without its features"):
        f(torch.zeros(1, 1))


def test_a_model_that_reads_both_ways_is_refused():
    import transformers as t

    model = t.T5ForConditionalGeneration(
        t.T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )
    with pytest.raises(TypeError, match="`model` must be a causal language model"):
        llm.LogProbability(model, tokenizer(), tokens(), "oslo")


def test_an_image_needs_a_processor():
    inp = ImageMaskInput(Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)))
    with pytest.raises(TypeError, match="`processor_fn`"):
        llm.LogProbability(llava(), tokenizer(), inp, "oslo")


def test_a_result_for_another_picture_is_refused():
    f = llm.LogProbability(llava(), tokenizer(), picture(0), ANSWER)
    explain = LLMAttribution(FeatureAblation(llava()), tokenizer())
    same, other = (explain.attribute(picture(seed), ANSWER, forward_in_tokens=False) for seed in (0, 1))
    assert metrics.completeness(f, f.inputs, same, target=0).shape == (1,)
    with pytest.raises(ValueError, match="must explain the prompt that `forward_func` was made with"):
        metrics.completeness(f, f.inputs, other, target=0)
