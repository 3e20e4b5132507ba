"""AttriBench's computations on two workers give what their functional forms give in one process."""

from __future__ import annotations

import importlib
import inspect
import pickle

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from captum_ext.attribench import BasicModelFactory, MethodFactory, distributed
from captum_ext.attribench.data import AttributionsDataset
from captum_ext.attribench.distributed import metrics
from captum_ext.attribench.functional import select_samples, train_adversarial_patches
from captum_ext.attribench.functional.metrics import (
    deletion,
    impact_coverage,
    infidelity,
    insertion,
    irof,
    max_sensitivity,
    minimal_subset,
    parameter_randomization,
    sensitivity_n,
)
from captum_ext.attribench.functional.metrics.infidelity import GaussianPerturbationGenerator
from captum_ext.attribench.masking.image import ConstantImageMasker
from captum_ext.attribench.result import MetricResult

from .. import second_device
from .conftest import Gradient

pytestmark = pytest.mark.filterwarnings("ignore")
TWO = ("cpu", "cpu")
CURVE = (
    "model_factory attributions_dataset batch_size maskers activation_fns mode='morf' start=0.0 stop=1.0 num_steps=100"
)
SIGNATURES = {
    metrics.Deletion: CURVE,
    metrics.Insertion: CURVE,
    metrics.SensitivityN: "model_factory attributions_dataset batch_size maskers activation_fns min_subset_size "
    "max_subset_size num_steps num_subsets segmented=False",
    metrics.Infidelity: "model_factory attributions_dataset batch_size activation_fns perturbation_generators "
    "num_perturbations",
    metrics.MaxSensitivity: "model_factory attributions_dataset batch_size method_factory num_perturbations radius",
    metrics.Irof: CURVE,
    metrics.MinimalSubset: "model_factory attributions_dataset batch_size maskers mode='deletion' num_steps=100",
    metrics.ParameterRandomization: "model_factory attributions_dataset batch_size method_factory",
    metrics.ImpactCoverage: "model_factory samples_dataset batch_size method_factory patch_folder",
    distributed.TrainAdversarialPatches: "model_factory dataset num_patches batch_size path labels=None",
    distributed.ComputeAttributions: "model_factory method_factory dataset batch_size",
    distributed.SelectSamples: "model_factory dataset num_samples batch_size",
}


class MeanGradient(Gradient):
    def __init__(self, model, times_input=False):
        super().__init__(model)
        self.times_input = times_input

    def __call__(self, batch_x, batch_target):
        gradient = super().__call__(batch_x, batch_target)
        return (gradient * batch_x if self.times_input else gradient).mean(1, keepdim=True)


FACTORY = MethodFactory({"a": MeanGradient, "b": (MeanGradient, {"times_input": True})})
MASKERS = {"zero": ConstantImageMasker("pixel"), "one": ConstantImageMasker("pixel", mask_value=1.0)}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 3)).eval()


@pytest.mark.parametrize("kind", SIGNATURES, ids=lambda kind: kind.__name__)
def test_parameters_order_and_defaults_are_attribenchs(kind):
    parameters = [p for p in inspect.signature(kind).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    shown = " ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
    port = "12355" if kind is metrics.ParameterRandomization else "'12355'"  # a number in AttriBench, too
    assert shown == f"{SIGNATURES[kind]} address='localhost' port={port} devices=None"


@pytest.mark.parametrize("kind", SIGNATURES, ids=lambda kind: kind.__name__)
def test_a_class_has_a_name_a_home_and_words_and_takes_what_it_says(kind):
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert (kind.__qualname__, bool(kind.__doc__)) == (kind.__name__, True)
    assert getattr(importlib.import_module(kind.__module__), kind.__name__) is kind
    with pytest.raises(TypeError, match="missing a required argument: 'model_factory'"):
        kind()


without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="without `devices` a GPU is taken, if there is one")


@without_gpu
def test_a_computation_that_was_pickled_gives_the_same(model, dataset):
    whole = metrics.Deletion(model, dataset, 2, MASKERS, "softmax", num_steps=3, seed=4)
    copied = pickle.loads(pickle.dumps(whole))
    for computation in (whole, copied):
        computation.run(progress=False)
    same(whole.result, copied.result)
    same(whole.result, deletion(model, dataset, 2, MASKERS, "softmax", num_steps=3, seed=4))


def same(a: MetricResult, b: MetricResult, rtol: float = 0) -> None:
    assert type(a) is type(b)
    for key in a.tree.combinations():
        x, y = (r.tree.get(**dict(zip(a.tree.level_names, key))) for r in (a, b))
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


CASES = {  # the class, and its functional form
    "deletion": (
        lambda m, d, **o: metrics.Deletion(m, d, 2, MASKERS, ["linear", "softmax"], num_steps=4, **o),
        lambda m, d: deletion(m, d, 2, MASKERS, ["linear", "softmax"], num_steps=4),
    ),
    "insertion": (
        lambda m, d, **o: metrics.Insertion(m, d, 2, MASKERS, "linear", "lerf", num_steps=4, **o),
        lambda m, d: insertion(m, d, 2, MASKERS, "linear", "lerf", num_steps=4),
    ),
    "sensitivity_n": (
        lambda m, d, **o: metrics.SensitivityN(m, d, 2, MASKERS, "linear", 0.2, 0.6, 2, 5, **o),
        lambda m, d: sensitivity_n(m, d, 2, MASKERS, "linear", 0.2, 0.6, 2, 5, False),
    ),
    "infidelity": (
        lambda m, d, **o: metrics.Infidelity(m, d, 2, ["linear"], {"g": GaussianPerturbationGenerator(0.1)}, 5, **o),
        lambda m, d: infidelity(m, d, 2, ["linear"], {"g": GaussianPerturbationGenerator(0.1)}, 5),
    ),
    "irof": (
        lambda m, d, **o: metrics.Irof(m, d, 2, MASKERS, "linear", num_steps=4, **o),
        lambda m, d: irof(m, d, 2, MASKERS, "linear", num_steps=4),
    ),
    "minimal_subset": (
        lambda m, d, **o: metrics.MinimalSubset(m, d, 2, MASKERS, num_steps=8, **o),
        lambda m, d: minimal_subset(m, d, 2, MASKERS, num_steps=8),
    ),
    "parameter_randomization": (
        lambda m, d, **o: metrics.ParameterRandomization(m, d, 2, FACTORY, **o),
        lambda m, d: parameter_randomization(
            m if callable(m) and not isinstance(m, nn.Module) else BasicModelFactory(m), d, 2, FACTORY
        ),
    ),
    "max_sensitivity": (
        lambda m, d, **o: metrics.MaxSensitivity(m, d, 2, FACTORY, 3, 0.1, **o),
        lambda m, d: max_sensitivity(d, 2, FACTORY(m), 3, 0.1),
    ),
}


@without_gpu
@pytest.mark.parametrize("case", CASES)
def test_without_devices_one_cpu_worker_gives_the_functional_numbers(case, model, dataset):
    kind, function = CASES[case]
    computation = kind(BasicModelFactory(model), dataset)
    computation.run(progress=False)
    same(computation.result, function(model, dataset))


@pytest.mark.parametrize("device", second_device.DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_on_a_device_the_numbers_are_those_of_the_cpu(case, device, model, dataset):
    kind, function = CASES[case]
    expected = function(model, dataset)
    computation = kind(BasicModelFactory(model), dataset, devices=(device,))
    computation.run(progress=False)
    same(computation.result, expected, rtol=1e-4)


@pytest.mark.parametrize("case", ["deletion", pytest.param("max_sensitivity", marks=pytest.mark.faults)])
def test_two_workers_give_the_functional_numbers(case, model, dataset, tmp_path):
    kind, function = CASES[case]
    computation = kind(lambda: model, dataset, devices=TWO)
    computation.run(tmp_path / "result.h5", progress=False)
    same(computation.result, function(model, dataset))
    same(MetricResult.load(tmp_path / "result.h5"), computation.result)
    computation.save_result(tmp_path / "folder", "csv")
    same(MetricResult.load(tmp_path / "folder"), computation.result)


def test_a_computation_that_was_done_is_read_and_another_is_refused(model, dataset, tmp_path):
    path = tmp_path / "result.h5"
    first, again = (CASES["deletion"][0](model, dataset) for _ in range(2))
    first.run(path, progress=False)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    again.run(path, progress=False)
    same(first.result, again.result)
    assert calls == []
    with pytest.raises(ValueError, match="`path` holds another run"):
        CASES["insertion"][0](model, dataset).run(path, progress=False)
    (tmp_path / "other.h5").touch()
    with pytest.raises(FileExistsError, match=r"`result_path` .*other\.h5 exists already"):
        CASES["insertion"][0](model, dataset).run(tmp_path / "other.h5", progress=False)


def test_there_is_no_result_before_a_run(model, dataset, tmp_path):
    computation = CASES["deletion"][0](model, dataset)
    with pytest.raises(ValueError, match=r"There is no result yet: call run\(\) first"):
        computation.result
    with pytest.raises(ValueError, match="There is no result yet"):
        computation.save_result(tmp_path / "result.h5")


@pytest.mark.parametrize("devices", [None, pytest.param(TWO, marks=pytest.mark.faults)])
def test_attributions_are_those_of_the_methods(devices, model, images, labels, tmp_path):
    data = list(zip(images, labels))
    path = tmp_path / "attributions.h5"
    distributed.ComputeAttributions(lambda: model, FACTORY, data, 2, devices=devices).run(path, progress=False)
    stored = AttributionsDataset(images, labels, path=path)
    for name, method in FACTORY(model).items():
        torch.testing.assert_close(stored.maps(name, range(5)), method(images, labels).detach(), rtol=1e-5, atol=1e-7)
    assert [f.name for f in tmp_path.iterdir()] == ["attributions.h5"]


@pytest.mark.parametrize("devices", [None, pytest.param(TWO, marks=pytest.mark.faults)])
def test_the_first_samples_that_are_right_are_selected(devices, model, tmp_path):
    images = torch.rand(40, 3, 8, 8)
    data = [(x, i % 3) for i, x in enumerate(images)]
    distributed.SelectSamples(model, data, 6, 3, devices=devices).run(tmp_path / "samples.h5", progress=False)
    samples, labels = select_samples(model, data, 6, 3)
    with h5py.File(tmp_path / "samples.h5") as file:
        np.testing.assert_array_equal(file["samples"][:], samples.numpy())
        np.testing.assert_array_equal(file["labels"][:], labels.numpy())


def test_too_few_samples_are_a_warning(model, tmp_path):
    data = [(x, int(model(x[None]).argmax()) if i == 3 else -1) for i, x in enumerate(torch.rand(5, 3, 8, 8))]
    with pytest.warns(UserWarning, match="Only 1 samples were classified correctly, 2 were asked for"):
        distributed.SelectSamples(model, data, 2, 2).run(tmp_path / "samples.h5", progress=False)


def test_no_samples_cannot_be_asked_for(model):
    with pytest.raises(ValueError, match="`num_samples` must be at least 1, got 0"):
        distributed.SelectSamples(model, [], 0, 2)


@pytest.mark.parametrize(
    "devices", [pytest.param(None, marks=without_gpu), pytest.param(TWO, marks=pytest.mark.faults)]
)
def test_patches_and_what_they_cover_are_those_of_the_functional_forms(devices, model, images, labels, tmp_path):
    data = list(zip(images, labels))
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
    training = distributed.TrainAdversarialPatches(model, data, 2, 2, str(tmp_path / "ours" / "patch"), devices=devices)
    training.run(progress=False)
    train_adversarial_patches(model, data, 2, 2, str(tmp_path / "theirs" / "patch"))
    for label in range(2):
        ours, theirs = (
            torch.load(tmp_path / folder / f"patch_{label}.pt", weights_only=True) for folder in ("ours", "theirs")
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    coverage = metrics.ImpactCoverage(model, data, 2, FACTORY, str(tmp_path / "theirs"), devices=devices)
    coverage.run(progress=False)
    same(coverage.result, impact_coverage(model, data, 2, FACTORY(model), str(tmp_path / "theirs")))
