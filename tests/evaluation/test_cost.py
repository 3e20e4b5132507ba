"""What a run costs is counted by method and metric, and nothing compares it."""

from __future__ import annotations

import io
import json
from functools import partial

import pandas as pd
import pytest
import torch
from captum.attr import Saliency

from captum_ext import evaluate, load, metrics, random_attribution
from captum_ext.evaluation import progress
from captum_ext.evaluation.cost import TOGETHER, Meter, sentence, table

METHODS = {"saliency": Saliency, "random": random_attribution}
METRICS = {
    "deletion": partial(metrics.deletion, n_steps=4),
    "sensitivity": partial(metrics.sensitivity_max, n_perturb_samples=3),
}


class Counting(torch.nn.Linear):
    rows = 0

    def forward(self, input):
        Counting.rows += len(input)
        return super().forward(input)


def scored(model=None, **options):
    data = [(torch.rand(6), i % 2) for i in range(7)]
    return evaluate(model or Counting(6, 2), data, METHODS, METRICS, batch_size=3, **options)


def test_rows_and_seconds_are_of_each_metric_and_method():
    Counting.rows = 0
    result = scored()
    costs = result.cost.set_index(["metric", "attribution"])
    assert set(costs.index) == {
        ("", "saliency"),
        ("", "random"),
        ("deletion", TOGETHER),
        ("sensitivity", "saliency"),
        ("sensitivity", "random"),
    }
    assert costs["rows"].sum() == Counting.rows
    assert costs.loc[("", "random"), "rows"] == 0
    assert costs.loc[("", "saliency"), "rows"] == 7
    assert costs.loc[("deletion", TOGETHER), "rows"] == 2 * 7 + 2 * 7 * 2
    assert (costs["seconds"] > 0).all()
    assert "model rows" in sentence(result.cost)


def test_the_model_has_its_hooks_back_and_a_function_has_no_rows():
    model = torch.nn.Linear(6, 2)
    scored(model)
    assert not model._forward_pre_hooks
    net = torch.nn.Linear(6, 2)
    data = [(torch.rand(6), 0)] * 3
    result = evaluate(lambda x: net(x), data, {"random": random_attribution}, {"deletion": metrics.deletion})
    assert result.cost["rows"].isna().all()
    assert "rows" not in sentence(result.cost)


@pytest.mark.parametrize("format", ["hdf5", "csv", "zarr"])
def test_costs_are_saved_beside_the_scores_and_never_compared(format, tmp_path):
    model = torch.nn.Linear(6, 2)
    torch.manual_seed(0)
    one = scored(model, path=tmp_path / "run.h5")
    torch.manual_seed(0)
    again = scored(model, path=tmp_path / "run.h5")  # reads what is kept
    pd.testing.assert_frame_equal(one.cost, again.cost)
    torch.manual_seed(0)
    other = scored(model)
    assert other.dataset.identical(one.dataset)
    assert other.cost["seconds"].tolist() != one.cost["seconds"].tolist()
    one.save(tmp_path / "saved", format)
    pd.testing.assert_frame_equal(load(tmp_path / "saved").cost, one.cost)


def test_results_of_elsewhere_have_no_cost():
    result = scored()
    result.kept = None
    assert result.cost.empty


def test_costs_of_shards_add_up():
    notes = [json.dumps([["a", "m", 1.0, 2.0], ["a, b", "n", 0.5, 1.0]])] * 2
    found = table(notes, ["a", "b"])
    assert found.values.tolist() == [["m", "a", 2.0, 4.0], ["n", TOGETHER, 1.0, 2.0]]


def test_what_fails_has_cost_something_too():
    meter = Meter()
    with pytest.raises(ZeroDivisionError), meter.at("a", None):
        1 / 0
    assert json.loads(str(meter.note))[0][2] > 0


def test_it_is_said_after_the_run_with_an_estimate_after_the_first_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LOOKS_EVERY", 0.001)
    file = io.StringIO()
    monkeypatch.setattr(progress.sys, "stderr", file)
    scored(path=tmp_path / "run.h5", show_progress=True)
    lines = file.getvalue().splitlines()
    assert " s and " in lines[-1]
    assert "deletion" in lines[-1]


def test_the_report_shows_it(tmp_path):
    pytest.importorskip("jinja2")
    scored().report(tmp_path / "page.html", n_examples=0)
    page = (tmp_path / "page.html").read_text()
    assert "What it cost" in page
    assert TOGETHER in page
