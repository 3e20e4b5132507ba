"""The probability of an answer, as a function of which parts of the prompt are present."""

from __future__ import annotations

import copy
import warnings
from functools import partial
from itertools import product

import pytest
import torch
import transformers
from captum.attr import FeatureAblation, LLMAttribution, ShapleyValues, TextTemplateInput
from torch import Tensor, nn
from torch.testing import assert_close

from captum_ext import llm, metrics
from captum_ext.llm.answers import learned_positions

from .models import ANSWER, ANSWERS, ONE_PASS, TEXT, every_model, facts, language_model, prompts, tokenizer, tokens


def every_row(features: int) -> Tensor:
    """All subsets of few features; of many, the whole, the empty and some random ones."""
    if features < 5:
        return torch.tensor(list(product((0.0, 1.0), repeat=features)))
    drawn = torch.rand(8, features, generator=torch.Generator().manual_seed(0)).round()
    return torch.cat((drawn, torch.ones(1, features), torch.zeros(1, features)))


def by_captum(name: str, inp, answer: Tensor, rows: Tensor, attr_target: str = "log_prob") -> Tensor:
    attribution = LLMAttribution(FeatureAblation(language_model(name)), tokenizer(), attr_target=attr_target)
    with torch.no_grad():
        of_rows = [attribution._forward_func(r[None], inp, answer, _inspect_forward=None, **ONE_PASS) for r in rows]
    return torch.cat(of_rows)


@every_model
@pytest.mark.parametrize("inp", [tokens(), facts(), facts(mask=[7, 2, 7])])
def test_it_equals_captums_own_forward_row_by_row(name, inp):
    f = llm.LogProbability(language_model(name), tokenizer(), inp, ANSWER)
    rows = every_row(f.inputs.shape[1])
    expected = by_captum(name, inp, f.answers[0], rows)
    assert expected.shape == (len(rows), 5)
    assert expected[:, 0].std() > 0.05  # what is absent matters
    assert_close(f(rows), expected, rtol=0, atol=1e-4)


def test_probabilities_are_captums_too():
    f = llm.LogProbability(language_model("llama"), tokenizer(), facts(), ANSWER, attr_target="prob")
    rows = every_row(3)
    expected = by_captum("llama", facts(), f.answers[0], rows, "prob")
    assert_close(f(rows), expected, rtol=1e-4, atol=1e-7)


def test_the_logit_is_of_the_whole_answers_probability():
    made = (language_model("llama"), tokenizer(), facts(), ANSWER)
    p = llm.LogProbability(*made, attr_target="prob")(every_row(3)).double()[:, :1]
    logit = llm.LogProbability(*made, attr_target="logit")(every_row(3))
    assert logit.shape == (8, 1)
    assert_close(logit.double(), (p / (1 - p)).log(), rtol=1e-4, atol=1e-4)


@every_model
def test_the_first_column_is_the_sum_of_the_others(name):
    f = llm.LogProbability(language_model(name), tokenizer(), facts(), ANSWER)
    of_rows = f(every_row(3))
    assert_close(of_rows[:, 0], of_rows[:, 1:].sum(1))


@every_model
@pytest.mark.parametrize("column", range(5))
def test_sensitivity_1_of_feature_ablation_is_1(name, column):
    f = llm.LogProbability(language_model(name), tokenizer(), tokens(), ANSWER)
    ablation = FeatureAblation(f).attribute(f.inputs, target=column)
    assert_close(metrics.sensitivity_n(f, f.inputs, ablation, n=1, target=column), torch.ones(1), rtol=0, atol=1e-5)


@every_model
def test_shapley_values_of_captum_are_complete(name):
    f = llm.LogProbability(language_model(name), tokenizer(), facts(), ANSWER)
    result = LLMAttribution(ShapleyValues(language_model(name)), tokenizer()).attribute(facts(), ANSWER, **ONE_PASS)
    for column in range(5):
        gap = metrics.completeness(f, f.inputs, f.attributions(result, column), target=column)
        assert_close(gap, torch.zeros(1), rtol=0, atol=1e-5)


# ---- several prompts


@every_model
@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_a_prompt_scores_the_same_alone_and_beside_others(name, share_prefix, limit):
    made = language_model(name), tokenizer()
    together = llm.LogProbability(*made, prompts(), ANSWERS, share_prefix=share_prefix)
    rows, prompt, expected = [], [], []
    for i, (inp, answer) in enumerate(zip(prompts(), ANSWERS)):
        alone = llm.LogProbability(*made, inp, answer, share_prefix=False)
        own = every_row(alone.inputs.shape[1])
        rows += [torch.nn.functional.pad(own, (0, together.inputs.shape[1] - own.shape[1]))]
        prompt += [i] * len(own)
        values = torch.cat([alone(row[None]) for row in own])
        expected += [torch.nn.functional.pad(values, (0, 5 - values.shape[1]), value=torch.nan)]
    batches = zip(torch.cat(rows).split(limit), torch.tensor(prompt).split(limit))
    actual = torch.cat([together(*batch) for batch in batches])
    assert_close(actual, torch.cat(expected), rtol=0, atol=1e-4, equal_nan=True)


def test_inputs_are_ones_and_the_mask_has_minus_one_for_padding():
    f = llm.LogProbability(language_model("llama"), tokenizer(), prompts(), ANSWERS)
    assert_close(f.inputs, torch.ones(5, 14))
    assert [(row >= 0).sum().item() for row in f.feature_mask] == [14, 3, 4, 2, 2]
    assert f.feature_mask[2].tolist() == [0, 1, 2, 3] + [-1] * 10


def test_shorter_answers_are_nan_past_their_end():
    f = llm.LogProbability(language_model("llama"), tokenizer(), prompts(), ANSWERS)
    assert f(f.inputs).isnan().sum(1).tolist() == [0, 3, 2, 0, 2]


def test_metrics_know_the_padding_and_the_prompts_of_the_models_own_inputs():
    f = llm.LogProbability(language_model("llama"), tokenizer(), prompts(), ANSWERS)
    maps = torch.randn(5, 14)
    together = metrics.deletion(f, f.inputs, maps, target=0, n_steps=5)
    for i, (inp, answer) in enumerate(zip(prompts(), ANSWERS)):
        alone = llm.LogProbability(language_model("llama"), tokenizer(), inp, answer)
        own = metrics.deletion(alone, alone.inputs, maps[i : i + 1, : alone.inputs.shape[1]], target=0, n_steps=5)
        assert_close(together[i : i + 1], own, rtol=0, atol=1e-4)


def test_the_prompt_of_each_row_must_be_known():
    f = llm.LogProbability(language_model("llama"), tokenizer(), prompts(), ANSWERS)
    with pytest.raises(ValueError, match=r"`additional_forward_args`.*f.prompts"):
        f(f.inputs.clone())


# ---- the answer


def test_an_answer_is_given_as_text_or_as_ids_or_is_generated():
    made = language_model("llama"), tokenizer(), tokens()
    ids = tokenizer().encode(ANSWER, add_special_tokens=False)
    wanted = llm.LogProbability(*made, ANSWER)
    for target in (ids, torch.tensor(ids), [ANSWER]):
        f = llm.LogProbability(*made, target)
        assert f.answers[0].tolist() == ids
        assert_close(f(f.inputs), wanted(f.inputs))
    generated = llm.LogProbability(*made)
    whole = torch.tensor(tokenizer().encode(TEXT))[None]
    expected = language_model("llama").generate(whole, max_new_tokens=25, do_sample=False)[0, whole.shape[1] :]
    assert generated.answers[0].tolist() == expected.tolist()


def test_one_answer_serves_all_prompts():
    f = llm.LogProbability(language_model("llama"), tokenizer(), prompts(), "oslo")
    assert f(f.inputs).shape == (5, 2)


# ---- chat templates


def test_the_ids_of_a_chat_templates_text_are_its_own():
    messages = [{"role": "user", "content": "where does bob ?"}]
    ids = tokenizer().apply_chat_template(messages, tokenize=True, return_dict=False)
    text = tokenizer().apply_chat_template(messages, tokenize=False)
    assert tokenizer().encode(text)[:2] == [1, 1]  # which is what must not happen
    inp = TextTemplateInput(text.replace("bob", "{}"), ["bob"])
    f = llm.LogProbability(language_model("llama"), tokenizer(), inp, "oslo", add_special_tokens=False)
    assert f.prompt_ids(torch.ones(1, 1))[0].tolist() == ids
    with pytest.warns(UserWarning, match="`add_special_tokens=False`"):
        llm.LogProbability(language_model("llama"), tokenizer(), inp, "oslo")


# ---- results of Captum


def test_a_groups_attribution_is_taken_once():
    inp = facts(mask=[7, 2, 7])
    f = llm.LogProbability(language_model("llama"), tokenizer(), inp, ANSWER)
    result = LLMAttribution(FeatureAblation(language_model("llama")), tokenizer()).attribute(inp, ANSWER, **ONE_PASS)
    assert result.seq_attr.shape == (3,)
    for column in range(5):
        expected = FeatureAblation(f).attribute(f.inputs, target=column)
        assert_close(f.attributions(result, column), expected, rtol=0, atol=1e-4)


def test_masks_keep_captums_order_of_groups():
    inp = TextTemplateInput("{} {} {} {}", ["bob", "sat", "on", "mat"], mask=[7, 7, 2, 2])
    f = llm.LogProbability(language_model("llama"), tokenizer(), inp, "oslo")
    assert f.inputs.shape == (1, 2)
    absent = [tokenizer().decode(ids[1:]) for ids in f.prompt_ids(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))]
    assert absent == [inp.to_model_input(torch.tensor([row])).strip() for row in ([0.0, 1.0], [1.0, 0.0])]


# ---- a model whose answer is known


class AdditiveModel(nn.Module):
    """The logit of the answer's one token is the sum of the weights of the tokens before it."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        total = self.weights[input_ids].cumsum(1)
        return {"logits": torch.stack((total, torch.zeros_like(total)), -1)}


def test_deletion_on_an_additive_model_is_the_cumulative_sum():
    weights = torch.rand(40, dtype=torch.float64).mul(0.5)
    weights[0] = 0.0  # of what replaces a token
    inp = tokens("the cat sat on")
    f = llm.LogProbability(AdditiveModel(weights), tokenizer(), inp, [0], attr_target="logit")
    of_tokens = weights[inp.itp_tensor]
    curve = metrics.deletion_curve(f, f.inputs.double(), of_tokens, target=0, n_steps=5)
    left = of_tokens.sort(descending=True).values.cumsum(1)
    expected = weights[1] + torch.cat((of_tokens.sum(1, keepdim=True), of_tokens.sum(1, keepdim=True) - left), 1)
    assert_close(curve, expected)
    score = metrics.linear_datamodeling_score(f, f.inputs.double(), of_tokens, target=0)
    assert_close(score, torch.ones(1).double())


def test_there_is_no_gradient_between_a_present_and_an_absent_feature():
    weights = torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).mul(0.5)
    weights[0] = 0.0
    inp = tokens("the cat sat on the mat and bob lives in oslo .")
    f = llm.LogProbability(AdditiveModel(weights), tokenizer(), inp, [0], attr_target="logit")
    regression = partial(metrics.sensitivity_n, n=4, target=0, n_perturb_samples=9, estimator="regression", seed=0)
    assert_close(regression(f, f.inputs.double(), weights[inp.itp_tensor]), torch.ones(1).double())


# ---- errors


def test_a_model_in_training_mode_is_warned_of_and_one_in_evaluation_mode_is_not():
    model = copy.deepcopy(language_model("gpt2"))
    score = partial(metrics.completeness, attributions=torch.ones(1, 3), target=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f = llm.LogProbability(model, tokenizer(), facts(), ANSWER)
        score(f, f.inputs)
    f = llm.LogProbability(model.train(), tokenizer(), facts(), ANSWER)
    with pytest.warns(UserWarning, match="training mode"):
        score(f, f.inputs)


def test_noise_is_no_presence():
    f = llm.LogProbability(language_model("llama"), tokenizer(), tokens(), ANSWER)
    with pytest.raises(ValueError, match=r"1 where.*0 where"):
        f(f.inputs + 0.1)


def test_a_prompt_may_fill_all_learned_positions():
    """A special token, 60 words and three tokens of the answer: its last one is predicted and not read."""
    f = llm.LogProbability(language_model("gpt2"), tokenizer(), tokens("bob " * 60), ANSWER)
    assert f(f.inputs).isfinite().all()


def test_a_prompt_that_outgrows_learned_positions_is_refused_before_the_model_runs(monkeypatch):
    model = language_model("gpt2")
    monkeypatch.setattr(model, "forward", lambda *args, **kwargs: pytest.fail("the model runs"))
    with pytest.raises(ValueError, match=r"`inputs` and `target`.* 64 positions.*62 tokens.*of 4 need 65"):
        llm.LogProbability(model, tokenizer(), tokens("bob " * 61), ANSWER)
    with pytest.raises(ValueError, match=r"`max_new_tokens`"):
        llm.LogProbability(model, tokenizer(), tokens("bob " * 50))


def test_text_in_place_of_a_feature_may_outgrow_the_positions_too():
    inp = TextTemplateInput("{} lives in", ["bob"], baselines=["cat " * 70])
    f = llm.LogProbability(language_model("gpt2"), tokenizer(), inp, "oslo")
    with pytest.raises(ValueError, match=r"64 positions.*73 tokens"):
        f(torch.zeros(1, 1))


def test_learned_positions_are_told_from_rotary_ones():
    sizes = {"hidden_size": 8, "word_embed_proj_dim": 8, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    opt = transformers.OPTForCausalLM(transformers.OPTConfig(**sizes, vocab_size=9, max_position_embeddings=33))
    found = [learned_positions(model) for model in (opt, language_model("gpt2"), language_model("llama"))]
    assert found == [33, 64, None]
