"""The same scores on a GPU as on the CPU, and on the second type of device that a CPU carries."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from captum_ext import attribute_dataset, evaluate, metrics
from captum_ext._core import home

from . import second_device
from .calls import METRICS, cases_of, tiny
from .evaluation.runs import FEW_METRICS, METHODS, examples, net
from .forms import for_each

DEVICES = [device for device, there in (("cuda", torch.cuda.is_available()), ("sim", second_device.IS_THERE)) if there]
on_each_device = pytest.mark.parametrize("device", DEVICES)
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@on_each_device
@every_metric
def test_a_metric_scores_as_on_the_cpu(device, metric):
    def check(case):
        scores = case(tiny().to(device))
        assert scores.device.type == device
        assert_close(scores.cpu(), case(tiny()), rtol=1e-9, atol=1e-9, equal_nan=True)

    for_each([(case.name, case) for case in cases_of(metric)], check)


@on_each_device
@every_metric
def test_a_default_device_changes_nothing(device, metric):
    case = cases_of(metric)[0]
    arguments, expected = case.of(tiny()), case(tiny())
    with torch.device(device):
        assert_close(metric(**arguments), expected, equal_nan=True)


class WithoutFloat64(TorchDispatchMode):
    """What Apple's MPS does: refuses every tensor of float64 on the device."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **kwargs or {})
        found = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor) and t.device.type == self.device]
        assert not any(t.dtype == torch.float64 for t in found), operation
        return out


@on_each_device
@every_metric
def test_on_a_device_without_float64_statistics_are_computed_on_the_cpu(device, metric, monkeypatch):
    monkeypatch.setattr(home, "LACK_FLOAT64", [device])

    def check(case):
        setting = tiny().to(torch.float32)
        expected = case(setting)
        with WithoutFloat64(device):
            scores = case(setting.to(device))
        assert (scores.device.type, scores.dtype) == (device, expected.dtype)
        assert_close(scores.cpu(), expected, rtol=1e-3, atol=1e-4, equal_nan=True)

    for_each([(case.name, case) for case in cases_of(metric)], check)


def net_where_the_device_is_known():
    """A model that a worker process loads with this module, which makes the second type of device known there."""
    return net()


@on_each_device
@pytest.mark.parametrize("engine", ["inline", "elastic"])
def test_evaluate_scores_as_on_the_cpu(device, engine, tmp_path):
    run = {"data": examples(), "methods": METHODS, "metrics": FEW_METRICS, "seed": 1}
    where = {"device": device} if engine == "inline" else {"devices": [f"{device}:0", f"{device}:0"]}
    expected = evaluate(net(), **run).dataset
    result = evaluate(net_where_the_device_is_known, **run, **where, path=tmp_path / "result.h5").dataset
    for name in expected.data_vars:
        assert_close(torch.tensor(result[name].values), torch.tensor(expected[name].values), rtol=1e-9, atol=1e-9)


@on_each_device
def test_stored_attributions_are_those_of_the_cpu(device, tmp_path):
    paths = {place: tmp_path / f"{place}.h5" for place in ("cpu", device)}
    for place, path in paths.items():
        attribute_dataset(net(), examples(), METHODS, path, device=place)
    scores = [
        evaluate(net(), examples(), dict.fromkeys(METHODS, path), {"deletion": metrics.deletion}, device=device)
        for path in paths.values()
    ]
    assert_close(*(torch.tensor(s.dataset.deletion.values) for s in scores), rtol=1e-9, atol=1e-9)
