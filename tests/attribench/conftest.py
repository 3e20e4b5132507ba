"""Numbers recorded from AttriBench 0.1.9, and small things to score."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from captum_ext.attribench import AttributionMethod
from captum_ext.attribench.data import AttributionsDataset
from captum_ext.attribench.masking import TabularMasker, image

FOLDER = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden" / "attribench"


class Reference:
    """The recorded cases as calls of this package."""

    def __init__(self, folder):
        spec = importlib.util.spec_from_file_location("golden", folder / "golden.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.golden, self.files = module.Golden(str(folder)), folder / "files"
        self.golden.data = cache(self.golden.data)  # is read from a compressed file each time

    def dataset(self, case):
        data, level = self.golden.data(case["model"]), case["call"].get("masking_level", "feature")
        maps = data.get(f"attributions_{level}", data.get("attributions"))
        if "segments" in data and case["call"].get("segmented"):
            maps = data["attributions_pixel"]
        methods = case.get("methods", data["methods"])
        maps = {
            m: torch.tensor(maps[m]) if m in maps else torch.zeros(next(iter(maps.values())).shape) for m in methods
        }
        return AttributionsDataset(torch.tensor(data["samples"]), torch.tensor(data["labels"]), attributions=maps)

    def maskers(self, case):
        recorded, level = self.golden.data(case["model"])["maskers"], case["call"].get("masking_level")
        return {name: make_masker(recorded[name], level) for name in case["call"]["maskers"]}


def make_masker(spec, level):
    arguments = {k: v for k, v in spec.items() if k not in ("cls", "kernel_px")}
    if spec["cls"] == "TabularMasker":
        return TabularMasker(**arguments)
    return getattr(image, spec["cls"])(level, **arguments)


@pytest.fixture(scope="session")
def reference():
    if not (FOLDER / "golden.py").exists():
        pytest.skip(f"The numbers recorded from AttriBench are not at {FOLDER}.")
    return Reference(FOLDER)


@pytest.fixture
def images():
    return torch.rand(5, 3, 8, 8)


@pytest.fixture
def labels():
    return torch.tensor([0, 2, 1, 0, 2])


@pytest.fixture
def cnn():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(256, 3)).eval()


@pytest.fixture
def pixel_maps(images):
    return {"a": torch.randn(5, 1, 8, 8), "b": torch.randn(5, 1, 8, 8)}


@pytest.fixture
def dataset(images, labels, pixel_maps):
    return AttributionsDataset(images, labels, attributions=pixel_maps)


class Gradient(AttributionMethod):
    def __call__(self, batch_x, batch_target):
        x = batch_x.detach().requires_grad_()
        return torch.autograd.grad(self.model(x).gather(1, batch_target[:, None]).sum(), x)[0]


class InputXGradient(Gradient):
    def __call__(self, batch_x, batch_target):
        return batch_x * super().__call__(batch_x, batch_target)


def fail_above_two_rows(module, inputs):
    """A hook for a model without memory for more."""
    if len(inputs[0]) > 2:
        raise torch.cuda.OutOfMemoryError("no room")


class CountedRows:
    """A model that notes how many rows each call has."""

    def __init__(self, model):
        self.calls = []
        model.register_forward_hook(lambda module, inputs, output: self.calls.append(len(inputs[0])))


@pytest.fixture
def rows(cnn):
    return CountedRows(cnn)
