"""The model's outputs for unperturbed examples: they are computed once, and again wherever they may be others."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from captum_ext import metrics
from captum_ext._core import forward
from captum_ext._core import sharing as sharing_module
from captum_ext._core.home import HOME
from captum_ext._core.sharing import forget, sharing, sharing_outputs

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Net(nn.Module):
    def __init__(self, wide=1):
        super().__init__()
        self.weight, self.calls, self.wide = nn.Parameter(torch.arange(1.0, 7.0).double()), 0, wide
        self.eval()

    def forward(self, x, scale=1.0):
        self.calls += 1
        return (x * self.weight * scale).sum(1)[:, None].repeat(1, self.wide)


def of_whole(model, x=X, **settings):
    f = forward.Forward(model, (x,), 0, **settings)
    return f.of_whole(f.read)


def calls(model, *more):
    """The number of calls of `more` after one for the whole examples."""
    with sharing():
        of_whole(model)
        before = model.calls
        for call in more:
            call()
        return model.calls - before


def test_nothing_is_shared_outside():
    model = Net()
    assert of_whole(model) is None
    assert model.calls == 0


def test_equal_inputs_are_those_of_the_same_memory():
    model = Net()
    assert calls(model, partial(of_whole, model, X.detach()), partial(of_whole, model, X[:])) == 0
    assert calls(model, partial(of_whole, model, X.clone()), partial(of_whole, model, X[:2])) == 2


def test_targets_activations_and_limits_are_others_of_the_same_outputs():
    model = Net(wide=3)
    with sharing():
        first = of_whole(model)
        halved = forward.Forward(model, (X,), 2, None, lambda output: output.div_(2), 1)
        halved = halved.of_whole(halved.read)
        assert model.calls == 1
        assert torch.equal(halved, first / 2)
        assert torch.equal(of_whole(model), first)  # though the activation wrote into what it got


def test_an_activation_with_parameters_leaves_no_gradient():
    model, activation = Net(), nn.Linear(1, 1).double()
    with sharing():
        assert not of_whole(model, activation=activation).requires_grad
        for settings in ({}, {"activation": activation}):
            assert not metrics.deletion(model, X, X, target=0, n_steps=3, **settings).requires_grad


def test_other_models_and_arguments_are_asked_anew():
    model, scale = Net(), torch.tensor(2.0).double()
    scaled = partial(of_whole, model, additional_forward_args=scale)
    assert calls(model, scaled, scaled, partial(of_whole, model, additional_forward_args=3.0)) == 2
    other = Net()
    calls(model, partial(of_whole, other))
    assert other.calls == 1


def test_a_write_into_the_inputs_or_the_weights_makes_them_others():
    model, x = Net(), X.clone()
    with sharing(), torch.no_grad():
        first = of_whole(model, x)
        x[0] = 0
        assert of_whole(model, x)[0] == 0
        model.weight.mul_(2)
        assert torch.equal(of_whole(model, x)[1:], 2 * first[1:])
        model.weight = nn.Parameter(model.weight * 2)
        assert torch.equal(of_whole(model, x)[1:], 4 * first[1:])


def test_what_was_drawn_is_forgotten():
    model = Net()
    assert calls(model, forget, partial(of_whole, model)) == 1


@pytest.mark.filterwarnings("ignore:.*training mode")
def test_a_model_in_training_mode_shares_nothing():
    model = nn.Sequential(nn.Dropout(0.5), Net()).train()
    with sharing():
        assert of_whole(model) is None
        assert of_whole(model.eval()) is not None


def test_inputs_that_each_metric_moves_anew_are_not_kept():
    with sharing():
        token = HOME.set(torch.device("cpu"))
        assert of_whole(Net()) is None
        HOME.reset(token)


def test_outputs_that_are_large_beside_the_inputs_are_not_kept(monkeypatch):
    monkeypatch.setattr(sharing_module, "KEPT", 30)
    for wide, again in ((7, 0), (8, 1)):
        model = Net(wide)
        assert calls(model, partial(of_whole, model)) == again


def test_only_outputs_are_shared_between_references():
    model = Net()
    with sharing_outputs():
        for _ in range(2):
            metrics.deletion(model, X, X, target=0, n_steps=3)
        one = model.calls
    with sharing():
        for _ in range(2):
            metrics.deletion(model, X, X, target=0, n_steps=3)
    assert (one, model.calls - one) == (3, 2)


def test_scores_are_the_same_where_the_outputs_are_known():
    model, maps = Net(), {"a": X, "b": X.cos()}
    for metric in (partial(metrics.sensitivity_n, n=2), metrics.soft_comprehensiveness, metrics.unfaithfulness):
        settings = {} if metric is metrics.unfaithfulness else {"target": 0, "n_perturb_samples": 20, "seed": 0}
        alone = metric(model, X, maps, activation=torch.sigmoid, **settings)
        with sharing():
            of_whole(model)
            together = metric(model, X, maps, activation=torch.sigmoid, **settings)
        for name in alone:
            torch.testing.assert_close(together[name], alone[name], rtol=1e-12, atol=1e-12)
