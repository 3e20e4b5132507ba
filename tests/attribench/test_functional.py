"""Selecting samples, computing attributions, the factories, and AttriBench's names for all of it."""

from __future__ import annotations

import importlib
import inspect
import pickle

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.utils.data import TensorDataset

from captum_ext.attribench import AttributionMethod, BasicModelFactory, MethodFactory, ModelFactory
from captum_ext.attribench.data import AttributionsDataset, AttributionsDatasetWriter, HDF5Dataset, HDF5DatasetWriter
from captum_ext.attribench.functional import compute_attributions, metrics, select_samples
from captum_ext.attribench.masking.image import ConstantImageMasker
from captum_ext.attribench.result import MetricResult

NAMES = {
    "": "AttributionMethod MethodFactory ModelFactory BasicModelFactory",
    ".data": "HDF5Dataset HDF5DatasetWriter IndexDataset AttributionsDataset GroupedAttributionsDataset "
    "AttributionsDatasetWriter",
    ".masking": "Masker TabularMasker",
    ".masking.image": "ImageMasker BlurringImageMasker ConstantImageMasker RandomImageMasker SampleAverageImageMasker",
    ".functional": "select_samples compute_attributions",
    ".functional.metrics": "deletion insertion infidelity max_sensitivity sensitivity_n",
    ".functional.metrics.deletion": "deletion",
    ".functional.metrics.sensitivity_n": "sensitivity_n",
    ".functional.metrics.infidelity": "infidelity PerturbationGenerator NoisyBaselinePerturbationGenerator "
    "GaussianPerturbationGenerator SquarePerturbationGenerator SegmentRemovalPerturbationGenerator",
    ".result": "MetricResult DeletionResult InsertionResult InfidelityResult MaxSensitivityResult SensitivityNResult",
}
CURVE = "model attributions_dataset batch_size maskers activation_fns=linear mode=morf start=0.0 stop=1.0 num_steps=100"
SIGNATURES = {
    metrics.deletion: f"{CURVE} device=cpu",
    metrics.insertion: f"{CURVE} device=None",
    metrics.sensitivity_n: "model attributions_dataset batch_size maskers activation_fns min_subset_size "
    "max_subset_size num_steps num_subsets segmented device=cpu",
    metrics.infidelity: "model attributions_dataset batch_size activation_fns perturbation_generators "
    "num_perturbations device=cpu",
    metrics.max_sensitivity: "attributions_dataset batch_size method_dict num_perturbations radius device=cpu",
    compute_attributions: "model method_dict dataset batch_size writer=None device=None",
    select_samples: "model dataset num_samples batch_size writer=None device=None",
    AttributionsDataset: "samples labels=None path=None attributions=None methods=None aggregate_dim=0 "
    "aggregate_method=None",
    AttributionsDatasetWriter: "path num_samples",
    HDF5DatasetWriter: "path num_samples",
}


class Scaled(AttributionMethod):
    def __init__(self, model, factor=1):
        super().__init__(model)
        self.factor = factor

    def __call__(self, batch_x, batch_target):
        x = batch_x.detach().requires_grad_()
        return self.factor * torch.autograd.grad(self.model(x).gather(1, batch_target[:, None]).sum(), x)[0]


METHODS = MethodFactory({"once": Scaled, "twice": (Scaled, {"factor": 2})})


@pytest.mark.parametrize("module", NAMES)
def test_everything_is_imported_from_where_attribench_has_it(module):
    exec(f"from captum_ext.attribench{module} import {', '.join(NAMES[module].split())}", {})
    assert importlib.import_module(f"captum_ext.attribench{module}").__doc__


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda f: f.__name__)
def test_arguments_by_position_and_defaults_are_those_of_attribench(function):
    positional = [p for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert (
        " ".join(p.name if p.default is p.empty else f"{p.name}={p.default}" for p in positional)
        == SIGNATURES[function]
    )


@pytest.mark.parametrize("name", metrics.__all__)
def test_a_metric_says_that_it_returns_a_result_and_can_be_pickled(name):
    metric = getattr(metrics, name)
    assert issubclass(inspect.signature(metric).return_annotation, MetricResult)
    assert pickle.loads(pickle.dumps(metric)) is metric
    assert metric.__doc__


def test_attributions_are_those_of_the_methods_on_the_model_in_evaluation_mode(images, labels):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3)).train()
    found = compute_attributions(model, METHODS(model), TensorDataset(images, labels), batch_size=2)
    weight = model[2].weight.detach()[labels].view(5, 3, 8, 8)
    assert_allclose(found["once"], weight, rtol=1e-5)
    assert_allclose(found["twice"], 2 * weight, rtol=1e-5)
    assert model.training


def test_written_attributions_are_those_returned(tmp_path, cnn, images, labels):
    data, methods = TensorDataset(images, labels), METHODS(cnn)
    writer = AttributionsDatasetWriter(tmp_path / "maps.h5", num_samples=5)
    assert compute_attributions(cnn, methods, data, 2, writer) is None
    stored = AttributionsDataset(data, path=tmp_path / "maps.h5")
    for name, maps in compute_attributions(cnn, methods, data, 5).items():
        assert_allclose(stored.maps(name, slice(0, 5)), maps, rtol=1e-5, atol=1e-7)


def test_the_samples_that_are_classified_correctly_are_selected_and_no_more_than_asked_for(tmp_path):
    x, labels = torch.eye(3)[torch.tensor([0, 1, 2, 0, 1, 2, 0])], torch.tensor([0, 1, 1, 0, 0, 2, 0])
    data, model = TensorDataset(x, labels), nn.Identity()
    for batch_size in (1, 2, 7):
        samples, found = select_samples(model, data, 3, batch_size)
        assert_array_equal(samples, x[[0, 1, 3]])
        assert found.tolist() == [0, 1, 0]
    assert select_samples(model, data, 3, 2, HDF5DatasetWriter(tmp_path / "samples.h5", 3)) is None
    stored = HDF5Dataset(tmp_path / "samples.h5")
    assert [int(stored[i][1]) for i in range(3)] == [0, 1, 0]
    with pytest.warns(UserWarning, match="Only 5 samples were classified correctly, 9 were asked for"):
        assert len(select_samples(model, data, 9, 2)[0]) == 5


def test_a_sample_whose_output_is_nan_is_of_no_class():
    data = [(torch.tensor([value, 0.0]), 0) for value in (1.0, torch.nan, 2.0)]
    samples, _ = select_samples(nn.Identity(), data, 2, 3)
    assert_array_equal(samples, [[1.0, 0.0], [2.0, 0.0]])


def test_factories_make_models_and_methods(cnn):
    factory = BasicModelFactory(cnn)
    copy = factory()
    assert copy is not cnn
    assert_array_equal(copy[0].weight.detach(), cnn[0].weight.detach())
    assert isinstance(factory, ModelFactory)
    methods = METHODS(copy)
    assert (len(METHODS), METHODS.get_method_names()) == (2, ["once", "twice"])
    assert methods["twice"].factor == 2
    assert methods["once"].model is copy


def test_what_does_not_fit_is_refused_by_name(cnn, images, labels):
    data = TensorDataset(images, labels)
    with pytest.raises(TypeError, match=r"`config_dict\['a'\]` must be a class"):
        MethodFactory({"a": 3})
    with pytest.raises(NotImplementedError, match="AttributionMethod must override __call__"):
        AttributionMethod(cnn)(images, labels)
    with pytest.raises(NotImplementedError, match="ModelFactory must override __call__"):
        ModelFactory()()
    with pytest.raises(ValueError, match="`method_dict` must have at least one method"):
        compute_attributions(cnn, {}, data, 2)
    with pytest.raises(ValueError, match=r"`method_dict\['sum'\]` must give a row for each of 2 samples, got 3"):
        compute_attributions(cnn, {"sum": lambda x, y: x.sum(0)}, data, 2)
    with pytest.raises(ValueError, match="`num_samples` must be at least 1, got 0"):
        select_samples(cnn, data, 0, 2)


def test_the_way_from_samples_to_a_saved_table(tmp_path, cnn, images):
    with torch.no_grad():
        labels = cnn(images).argmax(1)
    select_samples(cnn, TensorDataset(images, labels), 4, 2, HDF5DatasetWriter(tmp_path / "samples.h5", 4))
    samples = HDF5Dataset(tmp_path / "samples.h5")
    compute_attributions(cnn, METHODS(cnn), samples, 2, AttributionsDatasetWriter(tmp_path / "maps.h5", 4))
    dataset = AttributionsDataset(samples, path=tmp_path / "maps.h5", aggregate_dim=0, aggregate_method="max_abs")
    result = metrics.insertion(
        cnn, dataset, 3, {"zero": ConstantImageMasker("pixel")}, ["linear", "softmax"], num_steps=5
    )
    result.save(str(tmp_path / "insertion"), format="csv")
    table, higher_is_better = MetricResult.load(str(tmp_path / "insertion")).get_df("zero", "softmax", methods=["once"])
    assert higher_is_better
    assert table.shape == (4, 1)
    assert table["once"].between(0, 1).all()
