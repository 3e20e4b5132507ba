"""Parameter randomisation against a naive loop, and maps of which the answer is known."""

from __future__ import annotations

import copy
from itertools import chain

import pytest
import scipy.stats
import torch
from captum.attr import InputXGradient, LayerGradCam, NoiseTunnel, Saliency
from torch import nn
from torch.testing import assert_close

from captum_ext import random_attribution
from captum_ext.metrics import parameter_randomization, parameter_randomization_curve
from captum_ext.metrics.randomisation._random_weights import randomized

from ...oracles import differ

ORDERS = ("top_down", "bottom_up", "independent", "full")


@pytest.fixture
def net():
    layers = nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 64, 4)
    return nn.Sequential(*layers).double().eval()


@pytest.fixture
def images():
    return torch.randn(3, 2, 8, 8, dtype=torch.float64)


def gradient(model, x, target):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x)[torch.arange(len(x)), target].sum(), x)[0]


@pytest.mark.parametrize("order", ORDERS)
def test_the_curve_is_the_naive_loop_over_models_and_examples(net, images, order):
    target = torch.tensor([0, 3, 1])
    own = gradient(net, images, target)
    wanted = []
    for twin in randomized(net, order, 7):
        other = gradient(twin, images, target)
        wanted.append([scipy.stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(own, other)])
    settings = {"order": order, "weights_seed": 7, "target": target}
    curve = parameter_randomization_curve(net, lambda m: Saliency(m).attribute, images, abs=False, **settings)
    assert_close(curve, torch.tensor(wanted).T.double())
    score = parameter_randomization(net, lambda m: Saliency(m).attribute, images, abs=False, **settings)
    assert_close(score, curve.mean(1))


@pytest.mark.parametrize("similarity", ["spearman", "pearson", "ssim", "hog"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_map_that_depends_on_the_input_alone_stays_exactly_the_same(net, images, order, similarity):
    curve = parameter_randomization_curve(net, random_attribution, images, order=order, similarity=similarity, target=0)
    assert_close(curve, torch.ones(3, 1 if order == "full" else 2, dtype=torch.float64))


def test_a_gradient_that_is_linear_in_the_last_weights_follows_them(images):
    """One layer, one class: the gradient is its weights."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 1)).double()
    own, random = (m[1].weight[0].detach() for m in chain([net], randomized(net, "full", 3)))
    wanted = scipy.stats.pearsonr(own, random).statistic
    score = parameter_randomization(
        net, lambda m: Saliency(m), images, similarity="pearson", weights_seed=3, target=0, abs=False
    )
    assert_close(score, torch.full((3,), wanted, dtype=torch.float64))


def test_a_random_map_scores_0_in_the_mean(net):
    def noise(model):
        return lambda x, target: torch.randn_like(x)

    scores = parameter_randomization(net, noise, torch.randn(200, 2, 8, 8, dtype=torch.float64), target=0)
    assert scores.mean().abs() < 4 * scores.std() / 200**0.5


def test_a_step_without_a_similarity_does_not_count_and_none_is_nan(net, images):
    own = net[0].weight

    def flat_when_random(model):
        same = model[0].weight is own
        return lambda x, target: gradient(model, x, target) if same else torch.ones_like(x)

    assert parameter_randomization(net, flat_when_random, images, target=0).isnan().all()

    def flat_once(model):
        made.append(model)
        step = len(made)
        return lambda x, target: torch.ones_like(x) if step == 2 else gradient(model, x, target)

    made = []
    curve = parameter_randomization_curve(net, flat_once, images, target=0)
    assert curve[:, 0].isnan().all()
    made = []
    assert_close(parameter_randomization(net, flat_once, images, target=0), curve[:, 1])


def test_the_factory_gets_the_model_itself_and_then_with_other_parameters(net, images):
    got, own = [], dict(net.named_parameters())

    def factory(model):
        assert model is net
        got.append({name for name, p in model.named_parameters() if p is own[name]})
        return Saliency(model)

    parameter_randomization(net, factory, images, target=0)
    assert got == [own.keys(), set(), set()]


def test_a_method_of_a_layer_is_made_for_each_copy(net, images):
    curve = parameter_randomization_curve(net, lambda model: LayerGradCam(model, model[0]), images, target=0)
    assert curve.shape == (3, 2)
    assert curve.isfinite().all()
    assert not any(m._forward_hooks for m in net.modules())


def test_a_tuple_of_inputs_is_compared_as_one_map(net, images):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = copy.deepcopy(net)

        def forward(self, a, b):
            return self.net(torch.cat((a, b), 1))

    halves = images[:, :1], images[:, 1:]
    together = parameter_randomization(Two(), InputXGradient, halves, target=1)
    assert_close(together, parameter_randomization(net, InputXGradient, images, target=1))


def test_the_cost_is_a_batch_for_the_model_and_one_for_each_layer(net, images):
    rows = []

    def counted(model):
        def explain(x, target):
            rows.append(len(x))
            return x * model(x)[:, :1, None, None]

        return explain

    parameter_randomization(net, counted, images, 2, target=0)
    assert rows == [2, 1] * 3


def test_the_weights_seed_governs_and_the_global_one_does_not(net, images):
    first = parameter_randomization(net, InputXGradient, images, target=0)
    torch.manual_seed(123)
    assert torch.equal(parameter_randomization(net, InputXGradient, images, target=0), first)
    assert differ(parameter_randomization(net, InputXGradient, images, target=0, weights_seed=1), first).any()


def test_what_the_explanation_draws_goes_on_from_the_global_generator(net, images):
    torch.manual_seed(0)
    noisy = parameter_randomization(net, lambda m: NoiseTunnel(Saliency(m)), images, target=0, nt_samples=2)
    torch.manual_seed(0)
    again = parameter_randomization(net, lambda m: NoiseTunnel(Saliency(m)), images, target=0, nt_samples=2)
    assert torch.equal(noisy, again)


class OfActivations:
    """An explanation that reads the activations of a layer by a hook, which it leaves on the model."""

    def __init__(self, model):
        self.model = model
        model[1].register_forward_hook(lambda module, inputs, output: setattr(self, "seen", output.detach()))

    def attribute(self, inputs, target):
        found = gradient(self.model, inputs, target)
        return found * self.seen.mean(1, keepdim=True)


def test_a_factory_may_keep_its_explanation_and_the_hooks_of_that(net, images):
    kept = []

    def cached(model):
        kept[:] = kept or [OfActivations(model)]
        return kept[0]

    curve = parameter_randomization_curve(net, OfActivations, images, target=0)
    for _ in range(2):
        assert torch.equal(parameter_randomization_curve(net, cached, images, target=0), curve)


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm2d(3)])
def test_a_model_in_training_mode_is_warned_of(net, images, layer):
    noisy = nn.Sequential(net[0], layer.double(), *net[1:]).train()
    with pytest.warns(UserWarning, match=r"`forward_func` is in training mode .*Call model.eval\(\) first") as caught:
        parameter_randomization_curve(noisy, Saliency, images, target=0)
    assert caught[0].filename == __file__
