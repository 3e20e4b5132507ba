"""Input invariance: what the paper says of each method, biases by hand, layers, and the caller's model."""

import copy
from functools import partial

import pytest
import torch
from captum.attr import DeepLift, GuidedBackprop, InputXGradient, IntegratedGradients, Saliency
from torch import nn
from torch.testing import assert_close

from captum_ext.metrics import input_invariance

from ... import oracles

closely = partial(assert_close, rtol=1e-9, atol=1e-10)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def drawn(model):
    for seed, p in enumerate(model.parameters()):
        p.data = normal(*p.shape, seed=seed)
    return model.double().eval()


def mlp():
    return drawn(nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))


def network():
    """Its first layer pads, so the bias that takes a shift back differs at the border."""
    return drawn(
        nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    )


@pytest.mark.parametrize("method", [Saliency, GuidedBackprop])
@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_what_depends_on_the_first_layers_output_alone_is_invariant(method, x):
    closely(input_invariance(mlp(), method, x, shift=3.0, target=1), expected([0.0] * 3))
    images = normal(2, 2, 4, 4)
    closely(
        input_invariance(network(), method, images, shift=normal(1, 2, 4, 4, seed=1), target=1), expected([0.0] * 2)
    )


def test_gradient_times_input_and_integrated_gradients_of_a_linear_model_move_by_the_shift_times_the_weights(w, x):
    model, s = drawn(nn.Linear(6, 1)), normal(6)
    model.weight.data[0] = w
    moved = (w * s).norm() / (w * x).norm(dim=1)
    for method in (InputXGradient, IntegratedGradients, DeepLift):
        closely(input_invariance(model, method, x, shift=s[None]), moved)
    closely(
        input_invariance(model, InputXGradient, x, shift=s[None], norm_ord=1),
        (w * s).norm(p=1) / (w * x).norm(p=1, dim=1),
    )


def test_no_shift_changes_nothing(x):
    closely(input_invariance(mlp(), InputXGradient, x, shift=0, target=0), expected([0.0] * 3))


@pytest.mark.parametrize("method", [InputXGradient, DeepLift, partial(IntegratedGradients, multiply_by_inputs=False)])
@pytest.mark.filterwarnings("ignore:Setting")
@pytest.mark.parametrize("limit", [None, 1])
def test_values_are_those_of_a_model_with_the_new_bias_by_hand(method, limit, x):
    model, s = mlp(), normal(1, 6, seed=7)
    other = copy.deepcopy(model)
    other[1].bias.data -= (other[1].weight * s).sum(1)
    closely(other(x + s), model(x))
    phi, phi_shifted = method(model).attribute(x, target=2), method(other).attribute(x + s, target=2)
    by_hand = [oracles.norm((q - p).tolist()) / oracles.norm(p.tolist()) for p, q in zip(phi, phi_shifted)]
    closely(input_invariance(model, method, x, limit, shift=s, target=2), expected(by_hand).detach())


class Two(nn.Module):
    """The pair is joined by the first layer, though another is registered before it."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(4, 2), nn.Linear(7, 4)

    def forward(self, a, b, scale=1.0):
        return self.last(torch.tanh(self.first(torch.cat((a, b.flatten(1)), 1)) * scale))


@pytest.mark.parametrize("by_name", [True, False])
def test_the_first_layer_of_a_pair_may_be_named(by_name):
    model, x = drawn(Two()), (normal(3, 3), normal(3, 2, 2, seed=1))
    score = partial(input_invariance, model, InputXGradient, x, shift=(1.0, normal(1, 2, 2, seed=2)), target=1)
    scale = expected([1.0, 0.5, 2.0])[:, None]
    scores = score(layer="first" if by_name else model.first, additional_forward_args=scale, max_examples_per_batch=2)
    for b in range(3):
        alone = input_invariance(
            model,
            InputXGradient,
            tuple(t[[b]] for t in x),
            shift=(1.0, normal(1, 2, 2, seed=2)),
            layer="first",
            target=1,
            additional_forward_args=scale[[b]],
        )
        closely(scores[[b]], alone)
    with pytest.raises(ValueError, match="`layer` 'last' cannot undo the shift"):
        score(additional_forward_args=scale)


def test_the_callers_model_keeps_its_weights_its_output_and_no_hooks(x):
    model = mlp()
    before, output = copy.deepcopy(model.state_dict()), model(x)
    input_invariance(model, IntegratedGradients, x, target=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(x), output)
    assert not any(m._forward_hooks for m in model.modules())


def test_the_factory_gets_the_model_and_then_takes_the_shift_back(x):
    model, outputs, seen = mlp(), [], []
    output = model(x)

    def factory(m):
        assert m is model
        outputs.append(m(x + 2 * len(outputs)).detach())
        return lambda rows: seen.append(rows) or rows

    input_invariance(model, factory, x, shift=2.0)
    assert len(outputs) == 2
    closely(torch.cat(outputs), torch.cat((output, output)))
    closely(torch.cat(seen), torch.cat((x, x + 2)))


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_it_costs_the_rows_of_its_card(limit, x):
    model, sizes = mlp(), []
    model.register_forward_pre_hook(lambda m, arguments: sizes.append(len(arguments[0])))
    explained = oracles.Recorder(lambda rows: rows)
    input_invariance(model, lambda m: explained, x, limit)
    assert sum(sizes) == 2 + 2 * 3
    assert explained.rows == 2 * 3
    assert max(sizes + explained.sizes) <= (limit or 64)


def test_a_model_that_needs_further_arguments_gets_them_also_where_outputs_are_compared(x):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, rows, scale):
            return self.last(torch.tanh(self.first(rows) * scale))

    scale = torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    scores = input_invariance(drawn(Scaled()), Saliency, x, target=1, additional_forward_args=scale)
    closely(scores, expected([0.0] * 3))
