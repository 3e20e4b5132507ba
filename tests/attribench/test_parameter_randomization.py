"""Parameter randomisation: recorded weights give the recorded correlations."""

from __future__ import annotations

import types

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from captum_ext.attribench import BasicModelFactory, MethodFactory
from captum_ext.attribench.data import AttributionsDataset
from captum_ext.attribench.functional.metrics import parameter_randomization

from .conftest import Gradient, InputXGradient

METHODS = MethodFactory({"grad": Gradient, "ixg": InputXGradient})


def with_recorded_reset(model, state):
    """The model, whose modules are made random by taking recorded parameters."""
    for name, module in model.named_modules():
        own = {p: torch.tensor(state[f"{name}.{p}"]) for p, _ in module.named_parameters(recurse=False)}

        def reset(self, own=own):
            with torch.no_grad():
                for p, value in own.items():
                    getattr(self, p).copy_(value)

        module.reset_parameters = types.MethodType(reset, module)
    return model


@pytest.mark.parametrize("model", ["cnn", "gray"])
@pytest.mark.parametrize("batch_size", [2, 6])
def test_recorded_weights_give_the_recorded_correlations(reference, model, batch_size):
    (case,) = reference.golden.cases("parameter_randomization", model)
    state = {name: reference.golden.array(array) for name, array in case["draws"].items()}
    original = with_recorded_reset(reference.golden.model(model), state)
    data = reference.golden.data(model)
    maps = {m: torch.tensor(data["attributions_feature"][m]) for m in case["methods"]}
    dataset = AttributionsDataset(torch.tensor(data["samples"]), torch.tensor(data["labels"]), attributions=maps)
    result = parameter_randomization(BasicModelFactory(original), dataset, batch_size, METHODS)
    table, higher_is_better = result.get_df()
    assert higher_is_better is case["higher_is_better"]
    assert_allclose(table.to_numpy().T, reference.golden.rows(case["results"])["value"], rtol=0, atol=1e-4)


@pytest.fixture
def explained(cnn, images, labels):
    return AttributionsDataset(images, labels, attributions={n: m(images, labels) for n, m in METHODS(cnn).items()})


def test_aggregated_attributions_are_compared_with_such(cnn, images, labels, explained):
    arguments = {"aggregate_dim": 0, "aggregate_method": "mean"}
    reduced = AttributionsDataset(images, labels, attributions=explained.attributions, **arguments)

    class Mean(Gradient):
        def __call__(self, batch_x, batch_target):
            return super().__call__(batch_x, batch_target).mean(1, keepdim=True)

    beforehand = AttributionsDataset(
        images, labels, attributions={"grad": explained.attributions["grad"].mean(1, keepdim=True)}
    )
    wanted = parameter_randomization(lambda: cnn, beforehand, 5, MethodFactory({"grad": Mean}))
    found = parameter_randomization(lambda: cnn, reduced, 5, METHODS)
    assert_allclose(found.get_df()[0]["grad"], wanted.get_df()[0]["grad"], atol=1e-12)


def test_the_weights_belong_to_the_seed_and_the_model_stays(cnn, explained):
    before = {name: value.clone() for name, value in cnn.state_dict().items()}
    first = parameter_randomization(lambda: cnn, explained, 5, METHODS).get_df()[0]
    torch.manual_seed(99)
    assert_array_equal(parameter_randomization(lambda: cnn, explained, 5, METHODS).get_df()[0], first)
    assert (parameter_randomization(lambda: cnn, explained, 5, METHODS, seed=1).get_df()[0] != first).any(axis=None)
    assert all(torch.equal(value, before[name]) for name, value in cnn.state_dict().items())


def test_other_methods_or_shapes_are_refused(cnn, explained, dataset):
    with pytest.raises(
        ValueError, match=r"`method_factory` must have the methods .*\['a', 'b'\]; got \['grad', 'ixg'\]"
    ):
        parameter_randomization(lambda: cnn, dataset, 5, METHODS)
    with pytest.raises(ValueError, match=r"'a' must give attributions of the shape .*\(1, 8, 8\), got \(3, 8, 8\)"):
        parameter_randomization(lambda: cnn, dataset, 5, MethodFactory({"a": Gradient, "b": Gradient}))


def test_a_model_without_parameters_is_refused(explained):
    with pytest.raises(ValueError, match="`forward_func` must have parameters to randomise"):
        parameter_randomization(lambda: nn.Flatten(), explained, 5, METHODS)
