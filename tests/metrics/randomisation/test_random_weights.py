"""Random copies of a model: every parameter, layer by layer, the caller's model and the global generator untouched."""

from __future__ import annotations

import copy
import threading
import types

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captum_ext.metrics.randomisation._random_weights import ORDERS, layers, randomized

from ...oracles import differ


class WithParametersOfItsOwn(nn.Module):
    """A token and a scale beside layers, attention, normalisation, and a layer whose `reset_parameters` forgets a
    parameter.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.forgetful = Forgetful()
        self.token = nn.Parameter(torch.randn(1, 4) * 3 + 5)
        self.scale = nn.Parameter(torch.tensor(0.5))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            self.norm.running_mean.fill_(3.0)


class Forgetful(nn.Module):
    def __init__(self):
        super().__init__()
        self.known, self.forgotten = nn.Parameter(torch.randn(50)), nn.Parameter(torch.randn(2000) * 2 + 7)

    def reset_parameters(self):
        nn.init.uniform_(self.known)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before, after):
    return {name for name in before if differ(before[name], after[name]).any()}


def steps(model, order, seed=0):
    return [state(twin) for twin in randomized(model, order, seed)]


@pytest.fixture
def model():
    return WithParametersOfItsOwn().eval()


@pytest.mark.parametrize("order", ["top_down", "bottom_up", "full"])
def test_every_parameter_is_random_in_the_end_also_those_no_reset_knows(model, order):
    names = {name for name, _ in model.named_parameters()}
    assert changed(state(model), steps(model, order)[-1]) >= names
    assert {"token", "scale", "attention.in_proj_weight", "forgetful.forgotten"} <= names


@pytest.mark.parametrize("order", ORDERS)
def test_the_models_own_state_mode_and_the_global_generator_stay(model, order):
    model.norm.train()
    before, generator = state(model), torch.get_rng_state()
    for twin in randomized(model, order, 0):
        assert (twin.training, twin.norm.training, twin.first.training) == (False, True, False)
    assert changed(before, state(model)) == set()
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(p.requires_grad for p in model.parameters())


def test_layers_follow_the_order_and_each_has_its_own_parameters(model):
    owners = ["", "first", "norm", "attention", "attention.out_proj", "forgetful"]
    assert layers(model) == [model.get_submodule(name) for name in owners]
    assert layers(nn.Sequential(nn.ReLU(), nn.Flatten())) == []


@pytest.mark.parametrize("order", ["top_down", "bottom_up"])
def test_a_cascade_changes_one_layer_more_each_step(model, order):
    before, found = state(model), set()
    owners = [name.rpartition(".")[0] for name, _ in model.named_parameters()]
    expected = list(dict.fromkeys(owners))[:: -1 if order == "top_down" else 1]
    for owner, after in zip(expected, steps(model, order), strict=True):
        now = changed(before, after)
        assert {name.rpartition(".")[0] for name in now - found} == {owner}
        assert found <= now
        found = now


def test_independent_steps_change_one_layer_each_to_what_the_cascade_makes_of_it(model):
    before, alone, all_at_once = state(model), steps(model, "independent"), steps(model, "full")[0]
    assert len(alone) == len(layers(model))
    together = dict(before)
    for after in alone:
        different = changed(before, after)
        assert len({name.rpartition(".")[0] for name in different}) == 1
        together |= {name: after[name] for name in different}
    assert changed(together, all_at_once) == set()


def test_all_orders_end_with_the_same_model(model):
    last = [steps(model, order)[-1] for order in ("top_down", "bottom_up", "full")]
    assert changed(last[0], last[1]) == changed(last[0], last[2]) == set()


def test_the_weights_belong_to_the_seed(model):
    torch.manual_seed(5)
    first = steps(model, "full", seed=1)[0]
    torch.manual_seed(6)
    assert changed(first, steps(copy.deepcopy(model), "full", seed=1)[0]) == set()
    assert "token" in changed(first, steps(model, "full", seed=2)[0])


def test_layers_alike_in_form_get_weights_of_their_own():
    twins = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    (after,) = steps(twins, "full")
    assert differ(after["0.weight"], after["1.weight"]).any()


def test_a_reset_is_the_modules_own_and_reaches_statistics_of_batches(model):
    (after,) = steps(model, "full")
    assert torch.equal(after["norm.weight"], torch.ones(4))
    assert torch.equal(after["norm.running_mean"], torch.zeros(4))
    assert after["first.weight"].abs().max() <= 0.5  # of a linear layer with four inputs
    assert (after["forgetful.known"] >= 0).all()


def test_what_no_reset_sets_keeps_its_mean_and_standard_deviation(model):
    (after,) = steps(model, "full")
    own = model.forgetful.forgotten.detach()
    assert_close(after["forgetful.forgotten"].mean(), own.mean(), rtol=0.05, atol=0)
    assert_close(after["forgetful.forgotten"].std(), own.std(), rtol=0.05, atol=0)
    assert differ(after["scale"], model.scale).all()  # a single number has no standard deviation


def test_zeros_that_no_reset_sets_stay_zeros():
    bare = nn.Module()
    bare.weight = nn.Parameter(torch.zeros(3))
    assert torch.equal(steps(bare, "full")[0]["weight"], torch.zeros(3))


def test_a_reset_that_a_caller_put_on_a_module_reaches_the_copy_alone():
    model = nn.Sequential(nn.Linear(2, 2))

    def reset(self):
        nn.init.constant_(self.weight, 4.0)
        nn.init.constant_(self.bias, 5.0)

    model[0].reset_parameters = types.MethodType(reset, model[0])
    before = state(model)
    (after,) = steps(model, "full")
    assert (after["0.weight"] == 4).all()
    assert (after["0.bias"] == 5).all()
    assert changed(before, state(model)) == set()


def test_a_shared_parameter_is_one_layers_and_stays_shared():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False))
    model[2].weight = model[0].weight
    assert len(layers(model)) == 1
    own = model[0].weight
    for twin in randomized(model, "full", 0):
        assert twin[2].weight is twin[0].weight
        assert differ(twin[0].weight, own).any()
    assert model[2].weight is model[0].weight is own


def test_a_parametrised_weight_is_random_too():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    before = model[0].weight.detach().clone()
    for twin in randomized(model, "full", 0):
        assert differ(twin[0].weight, before).any()
        assert twin[0].weight.isfinite().all()
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_parameters_stays(model, dtype):
    for twin in randomized(model.to(dtype), "full", 0):
        assert {p.dtype for p in twin.parameters()} == {dtype}
        assert all(p.isfinite().all() for p in twin.parameters())


def objects(model):
    """Every attribute of every module, and every parameter and buffer, as objects."""
    return [
        {name: id(value) for kind in (vars(m), m._parameters, m._buffers) for name, value in kind.items()}
        for m in model.modules()
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_the_same_objects_are_put_back_also_if_it_ends_early(model, order):
    before, versions = objects(model), [t._version for t in model.state_dict().values()]
    list(randomized(model, order, 0))
    assert objects(model) == before
    steps = randomized(model, order, 0)
    next(steps)
    assert objects(model) != before
    steps.close()
    assert objects(model) == before
    assert [t._version for t in model.state_dict().values()] == versions


def test_a_graph_from_before_can_still_be_differentiated(model):
    loss = (model.first.weight * model.token.exp()).sum()
    list(randomized(model, "full", 0))
    loss.backward()
    assert model.first.weight.grad is not None


def test_what_forward_writes_and_sets_is_gone_with_the_random_parameters():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    model.outputs, model.last, x = [torch.zeros(1)], None, torch.randn(4, 3)
    before = state(model)

    def note(module, arguments, output):
        module.outputs.append(output)
        module.last = module.another = output

    model.register_forward_hook(note)
    for twin in randomized(model, "independent", 0):
        twin(x)
    assert len(model.outputs) == 1
    assert model.last is None
    assert not hasattr(model, "another")
    assert changed(before, state(model)) == set()


def test_parameters_in_a_list_of_a_module_and_views_of_a_parameter_are_random_too():
    model = nn.Module()
    model.flat = nn.Parameter(torch.randn(8))
    model.all, model.view = [model.flat], model.flat.data[2:5]
    own = model.flat.detach().clone()
    for twin in randomized(model, "full", 0):
        assert twin.all[0] is twin.flat
        assert torch.equal(twin.view, twin.flat[2:5])
        assert not torch.equal(twin.view, own[2:5])
    assert torch.equal(model.view, own[2:5])


def test_another_randomisation_of_the_model_waits_and_of_another_model_does_not(model):
    steps, done = randomized(model, "full", 0), []
    next(steps)
    same = threading.Thread(target=lambda: done.append(len(list(randomized(model, "full", 1)))))
    other = threading.Thread(target=lambda: done.append(len(list(randomized(nn.Linear(2, 2), "top_down", 1)))))
    same.start()
    other.start()
    other.join(30)
    assert not other.is_alive()
    assert same.is_alive()
    steps.close()
    same.join(30)
    assert len(done) == 2
    assert all(p.isfinite().all() for p in model.parameters())
