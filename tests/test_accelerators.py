"""The same scores on a GPU as on the CPU. Skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from captum_ext import attribute_dataset, evaluate, metrics
from captum_ext._core import home

from .calls import METRICS, cases_of, tiny
from .evaluation.runs import FEW_METRICS, METHODS, examples, net
from .forms import for_each

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_scores_as_on_the_cpu(metric):
    def check(case):
        scores = case(tiny().to("cuda"))
        assert scores.device.type == "cuda"
        assert_close(scores.cpu(), case(tiny()), rtol=1e-9, atol=1e-9, equal_nan=True)

    for_each([(case.name, case) for case in cases_of(metric)], check)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_default_device_changes_nothing(metric):
    case = cases_of(metric)[0]
    arguments, expected = case.of(tiny()), case(tiny())
    with torch.device("cuda"):
        assert_close(metric(**arguments), expected, equal_nan=True)


class WithoutFloat64(TorchDispatchMode):
    """What Apple's MPS does: refuses every tensor of float64 on the device."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **kwargs or {})
        found = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor) and t.is_cuda]
        assert not any(t.dtype == torch.float64 for t in found), operation
        return out


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_on_a_device_without_float64_statistics_are_computed_on_the_cpu(metric, monkeypatch):
    monkeypatch.setattr(home, "LACK_FLOAT64", ["cuda"])

    def check(case):
        setting = tiny().to(torch.float32)
        expected = case(setting)
        with WithoutFloat64():
            scores = case(setting.to("cuda"))
        assert (scores.device.type, scores.dtype) == ("cuda", expected.dtype)
        assert_close(scores.cpu(), expected, rtol=1e-3, atol=1e-4, equal_nan=True)

    for_each([(case.name, case) for case in cases_of(metric)], check)


@pytest.mark.parametrize("where", [{"device": "cuda"}, {"devices": ["cuda:0", "cuda:0"]}], ids=["inline", "elastic"])
def test_evaluate_scores_as_on_the_cpu(where, tmp_path):
    run = {"data": examples(), "methods": METHODS, "metrics": FEW_METRICS, "seed": 1}
    expected = evaluate(net(), **run).dataset
    result = evaluate(net(), **run, **where, path=tmp_path / "result.h5").dataset
    for name in expected.data_vars:
        assert_close(torch.tensor(result[name].values), torch.tensor(expected[name].values), rtol=1e-9, atol=1e-9)


def test_stored_attributions_are_those_of_the_cpu(tmp_path):
    paths = {place: tmp_path / f"{place}.h5" for place in ("cpu", "cuda")}
    for place, path in paths.items():
        attribute_dataset(net(), examples(), METHODS, path, device=place)
    scores = [
        evaluate(net(), examples(), dict.fromkeys(METHODS, path), {"deletion": metrics.deletion}, device="cuda")
        for path in paths.values()
    ]
    assert_close(*(torch.tensor(s.dataset.deletion.values) for s in scores), rtol=1e-9, atol=1e-9)
