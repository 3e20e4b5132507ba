"""Which models in training mode are warned of: those that may be random or depend on the batch, and no others."""

from __future__ import annotations

import warnings
from functools import partial

import captum.attr
import pytest
import torch
from torch import nn

from captum_ext._core.training import may_change, model_behind, warn_of_training


class WithoutForward(nn.Sequential):
    """A container with a name of its own."""


class WithForward(nn.Linear):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), training=self.training)


def scripted(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        return torch.jit.script(module)


def quantised(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)


CHANGING = {
    "dropout": nn.Dropout2d(),
    "batch normalisation": nn.BatchNorm1d(2),
    "lazy batch normalisation": nn.LazyBatchNorm1d(),
    "LSTM": nn.LSTM(2, 2, 2, dropout=0.1),
    "GRU": nn.GRU(2, 2, 2, dropout=0.1),
    "attention": nn.MultiheadAttention(2, 1, dropout=0.1),
    "transformer": nn.TransformerEncoderLayer(2, 1, 4),
    "RReLU": nn.RReLU(),
    "own forward": WithForward(2, 2),
    "scripted": scripted(nn.Sequential(nn.Linear(2, 2), nn.Dropout())),
    "within others": nn.ModuleDict({"a": WithoutForward(nn.Linear(2, 2), nn.AlphaDropout())}),
    "monte carlo dropout": nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval(),
}
CHANGING["monte carlo dropout"][1].train()
SAME = {
    "linear": nn.Linear(2, 2),
    "norms of a row": nn.Sequential(nn.LayerNorm(2), nn.GroupNorm(1, 2)),
    "dropout of nothing": nn.Dropout(0.0),
    "LSTM": nn.LSTM(2, 2, 2),
    "attention": nn.MultiheadAttention(2, 1),
    "transformer": nn.TransformerEncoderLayer(2, 1, 4, dropout=0.0),
    "container": WithoutForward(nn.Linear(2, 2)),
    "weight norm": nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
    "parallel": nn.DataParallel(nn.Linear(2, 2)),
    "compiled": torch.compile(nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval()),
    "exported": torch.export.export(nn.Sequential(nn.Linear(2, 2)).eval(), (torch.zeros(1, 2),)).module(),
    "frozen": torch.jit.freeze(scripted(nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval())),
    "averaged": torch.optim.swa_utils.AveragedModel(nn.Linear(2, 2)),
    "quantised": quantised(nn.Sequential(nn.Linear(2, 2))),
    "function": torch.relu,
}


@pytest.mark.parametrize("model", CHANGING.values(), ids=CHANGING)
def test_a_model_that_may_change_in_training_mode_is_warned_of_until_it_is_in_evaluation_mode(model):
    with pytest.warns(UserWarning, match=r"`forward_func` is in training mode and has a \w+, so .*Call model.eval\(\)"):
        warn_of_training(model)
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_training(model)


@pytest.mark.parametrize("model", SAME.values(), ids=SAME)
def test_a_model_that_is_the_same_in_both_modes_is_not_warned_of(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_training(model)


def test_code_of_its_own_is_told_also_where_an_instance_has_it():
    layer = nn.Linear(2, 2)
    assert not may_change(layer)
    layer.forward = lambda x: nn.functional.dropout(x)
    assert may_change(layer)


NET = nn.Sequential(nn.Linear(2, 2), nn.ReLU())


class Own:
    def __init__(self, model):
        self.model = model

    def attribute(self, inputs):
        return inputs


BEHIND = {
    "a class of Captum's": captum.attr.Saliency(NET),
    "its method": captum.attr.DeepLift(NET).attribute,
    "one of a layer": captum.attr.LayerGradCam(NET, NET[0]),
    "a tunnel of one": captum.attr.NoiseTunnel(captum.attr.InputXGradient(NET)).attribute,
    "a configured one": partial(captum.attr.IntegratedGradients(NET).attribute, n_steps=3),
    "one of a configured model": captum.attr.FeatureAblation(partial(NET)),
    "one of the model's method": captum.attr.KernelShap(NET.forward),
    "an own one": Own(NET),
}


@pytest.mark.parametrize("explanation", BEHIND.values(), ids=BEHIND)
def test_the_model_behind_an_explanation_is_found(explanation):
    assert model_behind(explanation) is NET


def test_where_there_is_no_model_none_is_found():
    itself = Own(None)
    itself.model = itself
    assert [model_behind(f) for f in (itself, Own(3), lambda x: x, torch.sum, None)] == [None] * 5
