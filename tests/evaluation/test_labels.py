"""Which output is explained: labels of every form in which data sets have them, predicted classes, a single output."""

from __future__ import annotations

import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from captum.attr import InputXGradient
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from captum_ext import attribute_dataset, evaluate, metrics, random_attribution
from captum_ext.evaluation import calls
from captum_ext.evaluation.formats import FORMATS
from captum_ext.evaluation.results import Evaluation, load

from .runs import N, Net, assert_same_scores, inputs, ones, run, scores

METHODS = {"product": InputXGradient}
METRICS = {"deletion": metrics.deletion}
LINES = r"[\s\S]*\n    .*\n    .*"  # the code that mends it


def linear(outputs):
    torch.manual_seed(0)
    return nn.Linear(4, outputs).double()


def explained(label, outputs=3, data=None, **options):
    """Every example with this label."""
    data = [(x, label) for x in inputs()] if data is None else data
    return evaluate(linear(outputs), data, METHODS, METRICS, batch_size=3, **options)


# ---- labels in the data


@pytest.mark.parametrize(
    "label",
    [
        torch.tensor([1]), np.array([1]), torch.tensor(1), np.array(1), torch.tensor(1, dtype=torch.uint8),
        np.int8(1), torch.tensor([[1]]), (1,),
    ],
)  # fmt: skip
def test_a_single_integer_is_a_class_in_whatever_form(label):
    assert_same_scores(explained(label), explained(1), rtol=0)


WRONG = [
    (1.0, r"gives float 1\.0 for example 0\. .*int\(y\).*\n.*target=None"),
    (0.7, "gives float 0.7"),
    (np.float32(0.7), "gives float 0.699"),
    (torch.tensor([1.0]), r"gives float 1\.0"),
    (True, "gives bool|gives int True"),
    (torch.tensor(True), "gives bool|gives int True"),
    (torch.eye(3)[1], r"gives Tensor of shape \(3,\) .*one-hot.*argmax"),
    (np.eye(3, dtype=np.int64)[1], r"gives ndarray of shape \(3,\) .*one-hot"),
    ([0, 1, 0], "gives a list of int .*one-hot"),
    ([0, 1, 1], r"gives a list of int .*[Ff]or several labels.*`merge`"),
    (torch.tensor([1, 0, 1]), r"gives Tensor of shape \(3,\) .*several labels"),
    ("cat", r"gives str 'cat' .*classes\.index\(y\)"),
    ({"boxes": 1}, "gives dict .*target=\"predicted\""),
    ((0.5, 1), "gives a tuple of float, int"),
    (1j, "gives complex"),
]  # fmt: skip


@pytest.mark.parametrize(("label", "match"), WRONG)
def test_what_is_no_class_is_refused_with_the_lines_that_mend_it(label, match):
    model = Net()
    with pytest.raises(TypeError, match=f"(?s)^`target` must be the index of an output, .*`data` {match}") as raised:
        run(model, [(x, label) for x in inputs()])
    assert len(re.findall("\n    .*evaluate|\n    data = ", str(raised.value))) == 2
    assert model.calls == []


@pytest.mark.parametrize("label", [-1, torch.tensor(-1), np.array([-1])])
def test_a_label_below_0_is_refused(label):
    with pytest.raises(ValueError, match=f"`target` must be at least 0, but `data` gives -1 for example 0{LINES}"):
        explained(label)


def test_a_later_label_is_refused_by_its_example():
    data = [(x, -1 if i == 4 else 0) for i, x in enumerate(inputs())]
    with pytest.raises(ValueError, match="`data` gives -1 for example 4"):
        explained(None, data=data)


MISFITS = [
    (3, 3, r"`target` is out of range: `data` gives 3 for example 0, but the model returns 3 outputs .*0 to 2"),
    (1, 1, r"`target` is out of range: `data` gives 1 .* one output for each row, whose index is 0"),
    ((0, 1), 3, r"`target` must have 1 indices, as the model returns shape \(3,\) .* gives 2"),
    (None, 3, r"`target` is missing: `data` gives none"),
]


@pytest.mark.parametrize(("label", "outputs", "match"), MISFITS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_label_that_is_no_output_is_refused_instead_of_captums_error(label, outputs, match, batch_size):
    with pytest.raises(ValueError, match=match + LINES):
        evaluate(linear(outputs), [(x, label) for x in inputs()], METHODS, METRICS, batch_size=batch_size)


def test_a_class_for_a_model_of_one_number_is_refused():
    with pytest.raises(ValueError, match=f"`target` must be left out, as the model returns one number{LINES}"):
        evaluate(lambda x: x.sum(1), [(x, 0) for x in inputs()], {"ones": ones}, METRICS)


def test_classes_are_checked_before_a_call_where_a_bad_index_ends_the_process(monkeypatch):
    """As on a GPU."""
    monkeypatch.setattr(calls, "survives_bad_indices", lambda device: False)
    seen = []

    def noted(model):
        return lambda x, target: seen.append(target) or x

    data = [(x, 3 if i == 4 else 0) for i, x in enumerate(inputs())]
    with pytest.raises(ValueError, match="`target` is out of range: `data` gives 3 for example 4"):
        evaluate(linear(3), data, {"noted": noted}, METRICS, batch_size=3)
    assert [target.tolist() for target in seen] == [[0, 0, 0]]
    result = evaluate(linear(3), data, {"noted": noted}, METRICS, batch_size=3, on_error="record")
    assert scores(result, "deletion").isnan().nonzero().flatten().tolist() == [3, 4, 5]
    assert_same_scores(explained(2), explained(None, data=[(x, 2) for x in inputs()]), rtol=0)
    indices = [(x, (1, 2)) for x in inputs()]
    evaluate(lambda x: x[:, :, None] * torch.ones(3), indices, {"noted": noted}, METRICS)  # of several axes


def test_such_labels_are_recorded_where_failures_are():
    data = [(x, 3 if i == 4 else 0) for i, x in enumerate(inputs())]
    result = explained(None, data=data, on_error="record")
    assert "ValueError: `target` is out of range: `data` gives 3 for example 4" in result.failures[0]["error"]
    assert scores(result, "deletion").isnan().nonzero().flatten().tolist() == [3, 4, 5]


def test_an_output_that_is_no_tensor_is_named():
    class Output:
        logits = torch.zeros(1, 2)

    with pytest.raises(TypeError, match=r"`model` must return a tensor, got Output. Give .*\.logits"):
        evaluate(lambda x: Output(), [(x, 0) for x in inputs()], METHODS, METRICS)


class WithLogits(nn.Module):
    """Returns what Hugging Face's models do."""

    def __init__(self, as_dict):
        super().__init__()
        self.linear, self.as_dict = linear(3), as_dict

    def forward(self, x):
        logits = self.linear(x)
        return {"logits": logits} if self.as_dict else SimpleNamespace(logits=logits)


@pytest.mark.parametrize("as_dict", [True, False])
@pytest.mark.parametrize("target", ["data", "predicted"])
def test_the_logits_of_an_output_are_explained(target, as_dict):
    data, methods = [(x, 2) for x in inputs()], {"random": random_attribution}
    of_logits = evaluate(WithLogits(as_dict), data, methods, METRICS, target=target, batch_size=3)
    assert_same_scores(of_logits, evaluate(linear(3), data, methods, METRICS, target=target, batch_size=3), rtol=0)
    with pytest.raises(ValueError, match=r"`target` is out of range: `data` gives 3 for example 0"):
        evaluate(WithLogits(as_dict), [(x, 3) for x in inputs()], methods, METRICS)


def test_what_a_metric_says_of_itself_is_not_taken_for_an_output_without_a_tensor():
    with pytest.raises(ZeroDivisionError):
        evaluate(WithLogits(False), [(x, 0) for x in inputs()], {"random": random_attribution}, {"own": failing_metric})


def failing_metric(attributions):
    return attributions.flatten(1).sum(1) / (1 // 0)


def test_a_failure_of_another_cause_keeps_its_error():
    def failing(model):
        def explain(x):
            raise ArithmeticError("of its own")

        return explain

    with pytest.raises(ArithmeticError, match="of its own"):
        run(methods={"bad": failing})


def test_labels_of_a_collate_function_are_checked_too():
    def loader(targets):
        return DataLoader(list(inputs()), collate_fn=lambda rows: (torch.stack(rows), targets[: len(rows)]))

    column = torch.ones(N, 1, dtype=torch.long)
    assert_same_scores(explained(None, data=loader(column)), explained(1), rtol=0)
    with pytest.raises(TypeError, match=r"`data` gives float 1\.0 for example 0"):
        explained(None, data=loader(column.double()))
    with pytest.raises(ValueError, match=r"`target` must have one label for each of the 3 examples .*, got 2"):
        explained(None, data=loader([0, 1]))


# ---- other targets than the data's


@pytest.mark.parametrize("labels", [range(N), torch.rand(N), ["cat"] * N, [{}] * N, [None] * N])
@pytest.mark.parametrize("batch_size", [1, 3, N])
@pytest.mark.parametrize("limit", [None, 2])
def test_predicted_classes_are_those_of_the_model_whatever_the_labels(labels, batch_size, limit):
    classes = Net().eval()(inputs()).argmax(1)
    assert len(set(classes.tolist())) > 1
    options = {"methods": METHODS, "metrics": METRICS, "batch_size": batch_size, "max_examples_per_batch": limit}
    model = Net()
    result = run(model, list(zip(inputs(), labels)), target="predicted", **options)
    assert_same_scores(result, run(data=list(zip(inputs(), classes)), **options))
    assert result.dataset["target"].dims == ("example",)
    assert result.dataset["target"].values.tolist() == classes.tolist()
    assert limit is None or max(model.calls) <= limit


@pytest.mark.parametrize("model", [linear(1), nn.Sequential(linear(1), nn.Flatten(0))])
def test_the_only_output_is_explained_whatever_the_labels(model):
    results = [
        evaluate(model, [(x, 0.7) for x in inputs()], METHODS, METRICS, batch_size=3, target=target)
        for target in ("predicted", None)
    ]
    assert_same_scores(*results, rtol=0)
    assert results[0].dataset["target"].values.tolist() == [0] * N
    assert "target" not in results[1].dataset.coords


@pytest.mark.parametrize("metric", ["deletion", "target"])
@pytest.mark.parametrize("format", FORMATS)
def test_predicted_classes_are_kept(tmp_path, format, metric):
    result = run(target="predicted", metrics={metric: metrics.deletion}, path=tmp_path / "run.h5")
    result.save(tmp_path / "saved", format)
    for path in (tmp_path / "run.h5", tmp_path / "saved"):
        assert load(path).dataset.identical(result.dataset)
        assert load(path).dataset.attrs["target"] == "predicted"


def test_another_target_is_another_run(tmp_path):
    run(path=tmp_path / "run.h5")
    with pytest.raises((ValueError, FileExistsError), match=r"target: 'predicted', not 'data'|run\.h5"):
        run(path=tmp_path / "run.h5", target="predicted")


def test_attributions_of_predicted_classes_are_stored(tmp_path):
    model, path = Net().eval(), tmp_path / "maps.h5"
    attribute_dataset(model, [(x, "cat") for x in inputs()], METHODS, path, target="predicted", batch_size=3)
    with h5py.File(path) as file:
        maps = torch.from_numpy(file["product/0"][:])
    assert_close(maps, InputXGradient(model).attribute(inputs(), target=model(inputs()).argmax(1)))


def test_a_metric_may_be_named_target():
    result = run(target="predicted", metrics={"target": metrics.deletion}).dataset
    assert result["target"].dims == ("attribution", "example")
    assert result["predicted_target"].dims == ("example",)


@pytest.mark.parametrize("target", [0, "class", True, torch.tensor([1, 0]), ["data"]])
def test_other_targets_are_refused(target):
    model = Net()
    with pytest.raises(ValueError, match=f"`target` must be 'data', 'predicted' or None, got {LINES}"):
        run(model, target=target)
    with pytest.raises(ValueError, match="`target` must be 'data', 'predicted' or None"):
        attribute_dataset(model, [(x, 0) for x in inputs()], METHODS, "nowhere.h5", target=target)
    assert model.calls == []


def test_a_prediction_that_is_undefined_is_refused_by_its_example():
    with pytest.raises(ValueError, match=r"`target` 'predicted' is undefined .* is NaN, as for example 4"):
        run(lambda x: Net().eval()(x).masked_fill(x[:, :1] == inputs()[4, 0], torch.nan), target="predicted")
    with pytest.raises(ValueError, match=r"`target` 'predicted' needs .*; got \(3, 3, 2\)"):
        run(lambda x: torch.ones(len(x), 3, 2), target="predicted")


def test_without_a_target_the_model_must_have_one_output():
    with pytest.raises(ValueError, match=f"`target` is missing: target=None explains a model with one output{LINES}"):
        explained(0, target=None)


def test_results_with_predicted_classes_can_be_joined_if_these_are_the_same():
    parts = [run(target="predicted", metrics={name: metrics.deletion}) for name in ("a", "b")]
    assert parts[0].merge(parts[1]).dataset["target"].equals(parts[0].dataset["target"])
    other = run(lambda x: Net().eval()(x).roll(1, 1), target="predicted", metrics={"c": metrics.deletion})
    with pytest.raises(ValueError, match="Both results have predicted classes, which differ for example 0"):
        parts[0].merge(other)
    without = Evaluation(other.dataset.drop_vars("target"))
    assert set(parts[0].merge(without).dataset.data_vars) == {"a", "c"}


def test_results_of_other_examples_keep_the_type_of_their_classes():
    whole = run(target="predicted").dataset
    parts = [Evaluation(whole.isel(example=rows)) for rows in (range(3), range(3, N))]
    assert parts[0].merge(parts[1]).dataset.identical(whole)


def test_scores_of_one_metric_for_other_targets_are_not_joined():
    parts = [run(target=t, methods={t: METHODS["product"]}, metrics=METRICS) for t in ("predicted", "data")]
    with pytest.raises(ValueError, match=r"Metric 'deletion' explains .*=predicted and target=data"):
        parts[0].merge(parts[1])
    renamed = Evaluation(parts[1].dataset.rename({name: f"{name} of the label" for name in METRICS}))
    assert len(parts[0].merge(renamed).dataset.data_vars) == 2 * len(METRICS)
