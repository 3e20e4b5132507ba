"""Models that are exported, frozen or within `torch.inference_mode`, in `evaluate` and `attribute_dataset`."""

from __future__ import annotations

import copy
import warnings
from functools import partial

import h5py
import pytest
import torch
from captum.attr import FeatureAblation, InputXGradient, Saliency
from torch import nn

from captum_ext import evaluate, metrics, random_attribution
from captum_ext.evaluation import attribute_dataset
from captum_ext.evaluation.model import in_eval_mode
from captum_ext.perturbations import gaussian

METHODS = {"ixg": InputXGradient, "saliency": Saliency, "ablation": FeatureAblation, "random": random_attribution}
METRICS = {
    "deletion": metrics.deletion,
    "infidelity": partial(metrics.infidelity, perturb_func=gaussian),
    "sensitivity": metrics.sensitivity_max,
}
torch.manual_seed(0)
MODULE = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
DATA = [(torch.rand(4), i % 2) for i in range(8)]
X = torch.zeros(3, 4)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TorchScript is deprecated
    MADE = {
        "scripted": torch.jit.script(MODULE),
        "traced": torch.jit.trace(MODULE, X),
        "frozen": torch.jit.freeze(torch.jit.script(copy.deepcopy(MODULE))),
        "exported": torch.export.export(MODULE, (X,), dynamic_shapes=({0: torch.export.Dim("rows")},)).module(),
    }
    MADE["exported in another"] = nn.Sequential(MADE["exported"], nn.Identity())
    MADE["frozen in another"] = nn.Sequential(MADE["frozen"], nn.Identity())


def same_scores(one, other):
    for name in METRICS:
        assert abs(one.dataset[name] - other.dataset[name]).max() < 1e-6, name


@pytest.fixture(scope="module")
def expected():
    return evaluate(MODULE, DATA, METHODS, METRICS)


@pytest.mark.parametrize("kind", MADE)
def test_a_module_that_was_made_of_another_scores_as_that(kind, expected):
    same_scores(evaluate(MADE[kind], DATA, METHODS, METRICS), expected)


@pytest.mark.parametrize("kind", ["exported in another", "frozen in another"])
def test_modules_beside_it_are_in_evaluation_mode_for_the_run(kind):
    model = MADE[kind]
    model[1].training = True
    with in_eval_mode(model):
        assert not model[1].training
    assert model[1].training


@pytest.mark.parametrize("where", ["call", "data too"])
def test_a_run_within_inference_mode_is_the_same_run(where, expected, tmp_path):
    path, paths = tmp_path / "inside.h5", (tmp_path / "inside.h5", tmp_path / "outside.h5")
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("error", message=".* writes into a tensor")
        data = [(x.clone(), y) for x, y in DATA] if where == "data too" else DATA
        same_scores(evaluate(MODULE, data, METHODS, METRICS), expected)
        attribute_dataset(MODULE, data, METHODS, path)
        assert torch.is_inference_mode_enabled()
    attribute_dataset(MODULE, DATA, METHODS, paths[1])
    files = [h5py.File(p) for p in paths]
    for name in METHODS:
        inside, outside = (next(iter(file[name].values()))[:] for file in files)
        assert (inside == outside).all()
    assert not torch.is_inference_mode_enabled()
