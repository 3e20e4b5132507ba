"""A prompt alone scores as it does beside longer ones, whose columns it does not have."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from captum_ext import evaluate, llm, metrics

from .models import ANSWERS, language_model, prompts, tokenizer

NAMES = [name for name in metrics.__all__ if hasattr(getattr(metrics, name), "card")]
TAKES = {name: inspect.signature(getattr(metrics, name)).parameters for name in NAMES}
OF_TRUTH = [name for name in NAMES if "truth_mask" in TAKES[name]]
WITHOUT_MODEL = [
    name
    for name in NAMES
    if "attributions" in TAKES[name] and not {"forward_func", "explanation_func"} & set(TAKES[name])
    if name != "mst_compactness"  # which refuses what is no image
]
SETTINGS = {"k": [1, 0.5], "weighted": True, "concept_influence": True}


def settings_of(name):
    return {argument: value for argument, value in SETTINGS.items() if argument in TAKES[name]}


def padded(inputs, answers):
    """A `LogProbability`, and for each prompt attributions and a truth mask, which mean nothing where it is padded."""
    f = llm.LogProbability(language_model("llama"), tokenizer(), inputs, answers)
    draw = torch.Generator().manual_seed(0)
    phi, other = torch.randn(2, len(inputs), 14, generator=draw)
    truth = torch.rand(len(inputs), 14, generator=draw) < 0.5
    truth[:, 0] = True
    width = f.inputs.shape[1]
    return f, phi[:, :width], other[:, :width], truth[:, :width]


def given(name, phi, other, truth):
    beside = {"truth_mask": truth, "reference_attributions": other}
    return settings_of(name) | {"attributions": phi} | {k: v for k, v in beside.items() if k in TAKES[name]}


@pytest.mark.parametrize("name", [n for n in WITHOUT_MODEL if "other_attributions" not in TAKES[n]])
def test_metrics_without_a_model_leave_padding_out(name):
    metric = getattr(metrics, name)
    f, *maps = padded(prompts(), ANSWERS)
    told = metric(torch.ones_like(f.inputs), **given(name, *maps), feature_mask=f.feature_mask, frozen=-1)
    assert_close(metric(f.inputs, **given(name, *maps)), told, rtol=0, atol=0, equal_nan=True)
    for i, count in enumerate((f.feature_mask >= 0).sum(1)):
        alone = metric(f.inputs[i : i + 1, :count], **given(name, *(m[i : i + 1, :count] for m in maps)))
        assert_close(alone[0], told[i], equal_nan=True)


def test_evaluate_leaves_padding_out_of_every_metric_of_localisation():
    f, phi, _, truth = padded(prompts(), ANSWERS)
    data = [(*row, {**further, "truth_mask": own}) for (*row, further), own in zip(f.data, truth)]
    chosen = {name: partial(getattr(metrics, name), **settings_of(name)) for name in OF_TRUTH}
    evaluation = evaluate(
        f,
        data,
        {"given": lambda model: lambda inputs, additional_forward_args, **_: phi[additional_forward_args]},
        chosen,
    )
    for name in OF_TRUTH:
        direct = getattr(metrics, name)(f.inputs, phi, truth, **settings_of(name))
        assert_close(torch.as_tensor(evaluation.dataset[name].values[0]).reshape(direct.shape), direct, equal_nan=True)


def test_a_wrapper_of_the_model_leaves_padding_out_too():
    f, phi, *_ = padded(prompts(), ANSWERS)
    wrapped = metrics.deletion(lambda *row: f(*row), f.inputs, phi, additional_forward_args=f.prompts, target=0)
    assert_close(wrapped, metrics.deletion(f, f.inputs, phi, target=0))
