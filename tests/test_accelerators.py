"""The same scores on a GPU as on the CPU. Skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from captum_ext import attribute_dataset, evaluate, metrics

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
