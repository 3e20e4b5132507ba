"""A layer's activations as inputs: scored as if they were the inputs of what follows, each row beside its own example.

`psi` are the exact effects of activations on an additive head.
"""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
from captum.attr import (
    InputXGradient,
    LayerActivation,
    LayerGradCam,
    LayerGradientXActivation,
    LayerIntegratedGradients,
)
from torch import nn
from torch.testing import assert_close

from captum_ext import evaluate, feature_masks, metrics
from captum_ext.layers import at_layer
from captum_ext.perturbations import gaussian

from .calls import METRICS, Setting, Sums, takes, tiny

B = 4
closely = partial(assert_close, rtol=1e-12, atol=1e-12)


class Around(nn.Module):
    """`[rows, 3]`: what the layer `block` gives is mixed with the input that goes around it, and scaled."""

    def __init__(self):
        super().__init__()
        self.block, self.out = nn.Tanh(), Sums(12, 3)
        draw = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)

    def forward(self, x, scale=1.0):
        return torch.tanh(self.out((self.block(2 * x) * (1 + x.flip(1)) + x * scale).flatten(1)))


class Linear(nn.Module):
    """A linear head on a layer `hidden` of five activations, all positive."""

    def __init__(self):
        super().__init__()
        self.first, self.hidden, self.head = nn.Linear(3, 5), nn.Softplus(), nn.Linear(5, 2)
        draw = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)

    def forward(self, x):
        return self.head(self.hidden(self.first(x)))


class Image(nn.Module):
    """Four feature maps in `maps`, that the next layer overwrites."""

    def __init__(self):
        super().__init__()
        self.maps, self.relu, self.out = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Linear(4, 2)
        draw = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)

    def forward(self, x):
        return self.out(self.relu(self.maps(x)).mean((2, 3)))


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear():
    """`f`, its activations, and the exact effect of each on output 1."""
    model = Linear().eval()
    f, z = at_layer(model, "hidden", normal(B, 3))
    return f, z, (z * model.head.weight[1]).detach()


def residual(layer="block", **arguments):
    model, x = Around().eval(), tiny(B).inputs
    return at_layer(model, layer, x, **arguments), x, model


# ---- what is scored


def test_f_of_the_activations_is_the_model():
    (f, z), x, model = residual()
    closely(f(z), model(x))
    closely(z, torch.tanh(2 * x))
    mixed = (z[1:3] + 1) * (1 + x[1:3].flip(1)) + x[1:3]
    closely(f(z[1:3] + 1, f.rows[1:3]), model.out(mixed.flatten(1)).tanh())


def test_on_a_linear_head_activation_times_weight_has_every_identity_of_pixels():
    f, z, psi = linear()
    score = {"target": 1, "attributions": psi}
    ones = torch.ones(B, dtype=torch.float64)
    for n in (1, 2, 4):
        closely(metrics.sensitivity_n(f, z, n=n, seed=0, **score), ones)
    closely(metrics.completeness(f, z, **score), 0 * ones)
    removed = torch.cat((torch.zeros(B, 1), psi.sort(1, descending=True).values.cumsum(1)), 1)
    curve = metrics.deletion_curve(f, z, n_steps=6, **score)
    closely(curve, f(z)[:, 1:].detach() - removed)
    closely(metrics.oracle_normalized(f, z, seed=0, **score), ones)
    w = f.model.head.weight[1].detach().expand_as(z)
    closely(metrics.infidelity(f, gaussian, z, w, target=1, seed=0), 0 * ones)


def test_captums_layer_methods_are_scored_as_they_are():
    model, x = Image().eval(), normal(B, 1, 5, 5)
    model.relu.inplace = False  # of which Captum's methods for layers fail
    f, z = at_layer(model, model.maps, x)
    maps = {
        "gradient": LayerGradientXActivation(model, model.maps).attribute(x, target=1),
        "integrated": LayerIntegratedGradients(model, model.maps).attribute(x, target=1, n_steps=9),
        "cam": LayerGradCam(model, model.maps).attribute(x, target=1),
    }
    scores = metrics.deletion(f, z, maps, target=1, n_steps=4)
    assert {name: tuple(s.shape) for name, s in scores.items()} == dict.fromkeys(maps, (B,))
    closely(
        metrics.deletion(f, z, InputXGradient(f).attribute(z, target=1, additional_forward_args=f.rows), target=1),
        metrics.deletion(f, z, maps["gradient"], target=1),
    )


@pytest.mark.parametrize("channel", range(4))
def test_a_feature_map_is_a_feature_by_a_mask_of_windows_along_the_channels(channel):
    model, x = Image().eval(), normal(B, 1, 5, 5)
    f, z = at_layer(model, "maps", x)
    mask = feature_masks.windows(z, size=1, axis=1)
    phi = -torch.ones_like(z)
    phi[:, channel] = 1
    without = copy.deepcopy(model)
    without.out.weight.data[:, channel] = 0
    curve = metrics.deletion_curve(f, z, phi, target=0, feature_mask=mask, n_steps=5)
    closely(curve[:, 1], without(x)[:, 0].detach())


# ---- which example a row belongs to


def of_scores(metric):
    return takes(metric, "forward_func") and takes(metric, "attributions")


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if of_scores(metric)])
def test_in_every_metric_a_row_finds_its_own_example_as_if_there_were_no_other(name):
    (f, z), x, model = residual()
    scores = Setting(f, z, f.rows, f, everyone=z).call(METRICS[name], max_examples_per_batch=3)
    for b in range(B):
        own = at_layer(model, "block", x[b : b + 1])
        alone = Setting(*own, f.rows[b : b + 1], f, everyone=z).call(METRICS[name])
        assert_close(scores[b : b + 1], alone, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_some_rows_are_scored_with_their_numbers_and_copies_of_all_without():
    (f, z), _, _ = residual()
    score = partial(metrics.deletion, f, target=0, n_steps=5)
    every = score(z, z)
    closely(score(z.clone(), z), every)
    closely(score(z.flip(0), z.flip(0), additional_forward_args=f.rows.flip(0)), every.flip(0))
    closely(score(z[2:], z[2:], additional_forward_args=f.rows[2:]), every[2:])
    with pytest.raises(
        ValueError, match=r"which of the 4 examples each of the 10 rows of activations belongs to: give"
    ):
        score(z[2:], z[2:])
    with pytest.raises(ValueError, match="each of the 4 rows of activations"):
        f(z.flip(0))


def test_further_arguments_of_the_model_go_with_their_examples():
    scale = normal(B, 1, 1, 1)
    (f, z), x, model = residual(additional_forward_args=scale)
    scores = metrics.deletion(f, z, z, target=0, n_steps=5)
    for b in range(B):
        own = at_layer(lambda x, b=b: model(x, scale[b]), model.block, x[b : b + 1])
        closely(scores[b : b + 1], metrics.deletion(*own, z[b : b + 1], target=0, n_steps=5))


# ---- layers of every form


class Pair(nn.Module):
    def forward(self, x, shared=None):
        return x[:, :2], (2 * x[:, 2:], shared)


class OfPairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair = Pair()

    def forward(self, x):
        first, (second, _) = self.pair(x, None)
        return first.prod(1) + second.sum(1)


def test_a_layer_with_several_tensors_has_a_tuple_of_activations():
    x = normal(B, 5)
    f, z = at_layer(OfPairs().eval(), "pair", x)
    assert [tuple(t.shape) for t in z] == [(B, 2), (B, 3)]
    closely(f(*z), x[:, :2].prod(1) + 2 * x[:, 2:].sum(1))
    psi = (torch.zeros(B, 2), z[1])
    closely(
        metrics.deletion_curve(f, z, psi, feature_mask=(torch.zeros(2).long(), torch.ones(3).long()), n_steps=3)[:, 2],
        torch.zeros(B, dtype=torch.float64),
    )


def test_the_input_of_a_layer_is_taken_where_that_is_asked_for():
    (f, z), x, model = residual(attribute_to_layer_input=True)
    closely(z, LayerActivation(model, model.block).attribute(x, attribute_to_layer_input=True))
    closely(f(z), model(x))
    closely(f(z - 1, f.rows), at_layer(model, "block", x)[0](torch.tanh(z - 1), f.rows))


def test_nothing_of_the_caller_is_changed_and_no_hook_stays():
    model, x = Image().eval(), normal(B, 1, 5, 5)
    before = x.clone(), x._version, copy.deepcopy(model.state_dict())
    f, z = at_layer(model, "maps", x)
    of_layer, version = z.clone(), z._version
    closely(of_layer, model.maps(x))
    closely(f(z), model(x))
    metrics.deletion(f, z, z, target=0)
    with pytest.raises(ValueError, match="must keep the shapes"):
        f(z[..., :1], f.rows)
    assert (x._version, z._version) == (before[1], version)
    for now, then in zip((x, z, *model.state_dict().values()), (before[0], of_layer, *before[2].values())):
        assert torch.equal(now, then)
    assert len(model.maps._forward_hooks) + len(model.maps._forward_pre_hooks) == 0
    assert f.training is False


def test_a_copy_works_by_itself():
    (f, z), _, _ = residual()
    for other in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
        closely(other(z), f(z))
        assert not f.model.block._forward_hooks
    assert [name for name, _ in f.named_parameters()] == ["model.out.weight", "model.out.bias"]


# ---- evaluate


def test_activations_are_a_data_set_of_evaluate():
    (f, z), _, _ = residual()
    phi = {"activation": z, "opposite": -z}
    targets = [0, 1, 2, 0]
    result = evaluate(
        f, list(zip(z, targets, f.rows)), methods=phi, metrics={"deletion": metrics.deletion}, batch_size=3
    )
    expected = metrics.deletion(f, z, phi, target=targets)
    for name, scores in expected.items():
        closely(torch.from_numpy(result.dataset["deletion"].sel(attribution=name).values), scores)


@metrics.metric(higher_is_better=False, takes_mappings=True)
def deletion_at_block(forward_func, inputs, attributions, target):
    f, z = at_layer(forward_func, "block", inputs)
    return metrics.deletion(f, z, attributions, target=target)


def test_a_metric_may_go_to_the_layer_in_each_batch():
    (f, z), x, model = residual()
    methods = {"layer": lambda model: LayerGradientXActivation(model, model.block)}
    result = evaluate(model, [(row, 1) for row in x], methods=methods, metrics={"d": deletion_at_block}, batch_size=3)
    phi = LayerGradientXActivation(model, model.block).attribute(x, target=1)
    closely(torch.from_numpy(result.dataset["d"].values[0]), metrics.deletion(f, z, phi, target=1))


# ---- circuits


def test_the_integrated_performance_ratio_and_distance_of_a_linear_head():
    f, z, psi = linear()
    curve = metrics.insertion_curve(f, z, psi, target=1, n_steps=6)
    faithfulness = (curve - curve[:, :1]) / (curve[:, -1:] - curve[:, :1])
    order = psi.sort(1, descending=True).values
    exact = torch.cat((torch.zeros(B, 1), order.cumsum(1) / order.sum(1, keepdim=True)), 1)
    closely(faithfulness, exact)
    cpr = torch.trapezoid(faithfulness, dx=1 / 5)
    area = metrics.insertion(f, z, psi, target=1, n_steps=6)
    closely(cpr, (area - curve[:, 0]) / (curve[:, -1] - curve[:, 0]))
    closely(cpr, torch.trapezoid(exact, dx=1 / 5))


# ---- what is refused


class Twice(Around):
    def forward(self, x):
        return self.out((self.block(x) + self.block(-x)).flatten(1))


class Turned(nn.Module):
    """A layer whose examples are on the second axis."""

    def __init__(self):
        super().__init__()
        self.turn = nn.Identity()

    def forward(self, x):
        return self.turn(x.mT).sum(0)


REFUSED = {
    "a layer that is called twice": (
        ValueError,
        "called once in a call of `model`, but it was called 2 times",
        lambda x: at_layer(Twice().eval(), "block", x),
    ),
    "a layer that is not called": (
        ValueError,
        "but it was called 0 times",
        lambda x: at_layer(Around().eval(), nn.Tanh(), x),
    ),
    "an unknown name": (
        ValueError,
        "`layer` must be one of block, out; got 'head'",
        lambda x: at_layer(Around().eval(), "head", x),
    ),
    "a name in a function": (
        TypeError,
        "`layer` can be a name only where `model` is a module, got function",
        lambda x: at_layer(lambda x: x, "block", x),
    ),
    "examples on another axis": (
        ValueError,
        "`layer` must have activations with a row for each of the 4 examples",
        lambda x: at_layer(Turned().eval(), "turn", normal(B, 3)),
    ),
    "another axis as long as the batch": (
        ValueError,
        "a row for each of the 1 examples of `inputs`, got",
        lambda x: at_layer(Turned().eval(), "turn", normal(B, B)),
    ),
    "no model": (TypeError, "`model` must be a module, or a function that calls one", lambda x: at_layer(3, "a", x)),
    "no flag": (
        TypeError,
        "`attribute_to_layer_input` must be True or False",
        lambda x: at_layer(Around().eval(), "block", x, attribute_to_layer_input="input"),
    ),
    "numbers of no example": (
        ValueError,
        "must be numbers of the 4 examples, from 0, .*; got 1 to 4",
        lambda x: residual()[0][0](x, torch.arange(1, 5)),
    ),
    "weights in place of numbers": (
        ValueError,
        "which of the 4 examples each of the 4 rows",
        lambda x: residual()[0][0](x, torch.ones(4)),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    error, match, call = REFUSED[case]
    with pytest.raises(error, match=match):
        call(tiny(B).inputs)


def test_a_model_in_training_mode_is_warned_of():
    with pytest.warns(UserWarning, match="`model` is in training mode"):
        at_layer(Around(), "block", tiny(B).inputs)
