"""What does not fit is refused before any work; what fails later is raised or recorded, and the rest goes on."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import nn

from captum_ext import evaluate, metrics, random_attribution

from .runs import FEW_METRICS, METHODS, METRICS, N, Net, examples, inputs, ones, run, scores, stored

# ---- refused at the door


def refused(error, match, **change):
    """And before any model call, and without anything left at the path."""
    model = change.get("model", Net())
    with pytest.raises(error, match=match):
        run(**{"model": model, **change})
    assert getattr(model, "calls", []) == []


@pytest.mark.parametrize("value", [{}, [Saliency], Saliency, None, {1: Saliency}])
@pytest.mark.parametrize("name", ["methods", "metrics"])
def test_methods_and_metrics_are_mappings_from_names(name, value):
    refused(TypeError, rf"`{name}` must be a mapping from names to {name}, with at least one; got ", **{name: value})


@pytest.mark.parametrize("value", [0, -1])
def test_the_batch_size_is_positive(value):
    refused(ValueError, f"`batch_size` must be at least 1, got {value}", batch_size=value)


@pytest.mark.parametrize("value", [2.0, "3", None, True])
def test_the_batch_size_is_an_integer(value):
    refused(TypeError, "`batch_size` must be an integer, got ", batch_size=value)


@pytest.mark.parametrize("value", [-1, 2.0, "3", True])
def test_the_shard_size_is_a_positive_integer(value):
    refused((ValueError, TypeError), "`shard_size`", shard_size=value)


@pytest.mark.parametrize("value", [0, -1, 2.0, "3"])
def test_the_limit_is_a_positive_integer(value):
    refused((ValueError, TypeError), "`max_examples_per_batch`", max_examples_per_batch=value)


@pytest.mark.parametrize("value", [-1, 1.5, "3", None])
def test_the_seed_is_an_integer(value):
    refused((ValueError, TypeError), "`seed`", seed=value)


@pytest.mark.parametrize("value", ["ignore", None, True])
def test_on_error_is_one_of_two(value):
    error = ValueError if isinstance(value, str) else TypeError
    refused(error, "`on_error` must be one of 'raise', 'record', got", on_error=value)


def test_an_unknown_device_is_named():
    refused((ValueError, RuntimeError), "nowhere", device="nowhere")


@pytest.mark.parametrize("value", [5, "resnet", None])
def test_what_is_no_model_is_refused(value):
    with pytest.raises(
        TypeError, match="`model` must be a module, or a function without arguments that returns one; got "
    ):
        evaluate(value, examples(), METHODS, FEW_METRICS)


def test_a_function_that_makes_no_model_is_refused():
    with pytest.raises(TypeError, match=r"`model` must be a module, .* got str"):
        evaluate(lambda: "resnet", examples(), METHODS, FEW_METRICS)


def test_a_built_in_function_is_a_model():
    result = run(torch.tanh, [(x, 1) for x in inputs()], {"ones": ones}, {"deletion": metrics.deletion})
    assert scores(result, "deletion").isfinite().all()


# ---- metrics


@pytest.mark.parametrize("value", [5, "deletion", None])
def test_a_metric_that_is_no_function_is_refused(value):
    refused(TypeError, f"Metric 'it' must be a function, got {type(value).__name__}", metrics={"it": value})


def test_a_class_is_no_metric_and_a_built_in_function_must_be_wrapped():
    class Metric:
        def __call__(self, attributions):
            return attributions.sum(1)

    refused(TypeError, "Metric 'it' must be a function, got the class Metric", metrics={"it": Metric})
    refused(TypeError, r"Metric 'it' must be a function .* has no signature\. Wrap it", metrics={"it": torch.sum})
    run(metrics={"it": Metric()})


def test_a_metric_that_returns_estimates_is_refused():
    for metric in (metrics.with_stderr(metrics.deletion), metrics.with_stderr(partial(metrics.sensitivity_n, n=2))):
        refused(TypeError, "Metric 'it' must return scores alone, but `with_stderr` made it", metrics={"it": metric})


def test_a_metric_of_other_arguments_is_refused():
    refused(
        TypeError,
        "Metric 'it' must take `attributions` or `explanation_func` or `explanation_factory`; "
        "it takes predictions, target",
        metrics={"it": lambda predictions, target: predictions},
    )


@pytest.mark.parametrize(
    ("metric", "argument"),
    [(metrics.infidelity, "perturb_func"), (metrics.sensitivity_n, "n"), (lambda attributions, k: k, "k")],
)
def test_a_metric_that_needs_more_says_what(metric, argument):
    match = rf"Metric 'it' needs `{argument}`: set it with functools.partial\(metric, {argument}=\.\.\.\)"
    refused(TypeError, match, metrics={"it": metric})


def test_all_that_a_metric_needs_is_said():
    refused(TypeError, r"Metric 'it' needs `a`, `b`: set it", metrics={"it": lambda attributions, b, *, a: a})


def test_an_unknown_argument_of_a_metric_is_named_with_the_metric():
    refused((TypeError, ValueError), r"'it'.*nonsense", metrics={"it": partial(metrics.deletion, nonsense=3)})


@pytest.mark.parametrize("name", ["attribution", "example"])
def test_a_metric_cannot_have_the_name_of_an_axis(name):
    refused(ValueError, name, metrics={name: metrics.deletion})


@pytest.mark.parametrize(
    "some",
    [
        {"n": METRICS["sizes"]},
        {"fraction": metrics.deletion, "curve": metrics.deletion_curve},
        {"curve": metrics.deletion_curve, "fraction": metrics.deletion},
    ],
    ids=["its own axis", "another's axis later", "another's axis before"],
)
def test_a_metric_with_the_name_of_a_metrics_axis_keeps_its_scores(some):
    variables = run(metrics=some).dataset.data_vars
    assert list(variables) == list(some)
    assert all(v.dims[:2] == ("attribution", "example") for v in variables.values())


@pytest.mark.parametrize(
    "score",
    [lambda a: a.mean(), lambda a: a[:2].mean(1), lambda a: a.mean(1).tolist(), lambda a: None],
    ids=["one for the batch", "too few", "a list", "nothing"],
)
def test_a_metric_that_does_not_give_a_row_per_example_is_named(score):
    with pytest.raises((ValueError, TypeError), match="'own'"):
        run(methods={"ones": ones}, metrics={"own": lambda attributions: score(attributions)})


# ---- on the way: raised


def failing(model):
    def explain(inputs):
        raise RuntimeError("no explanation")

    return explain


@pytest.mark.parametrize("methods", [{"bad": failing}, {**METHODS, "bad": failing}], ids=["alone", "among others"])
def test_an_explanation_that_fails_is_named_with_its_examples(methods):
    with pytest.raises(RuntimeError, match=r"no explanation\n.*method 'bad', examples 0 to 2"):
        run(methods=methods)


def failing_metric(attributions):
    raise RuntimeError("no score")


def test_a_metric_that_fails_is_named_with_the_method_and_the_examples():
    with pytest.raises(RuntimeError, match=r"no score\n.*method 'ones', metric 'bad', examples 0 to 2"):
        run(methods={"ones": ones}, metrics={"deletion": metrics.deletion, "bad": failing_metric})


def test_a_metric_that_serves_all_methods_is_named_with_the_one_at_fault():
    stored_maps = {**stored("saliency"), "bad": inputs().index_fill(0, torch.tensor([4]), torch.nan)}
    with pytest.raises(
        ValueError, match=r"`attributions\['bad'\]` is NaN in example 1[\s\S]*metric 'deletion', examples 3 to 5"
    ):
        run(methods=stored_maps, metrics={"deletion": metrics.deletion})


def test_labels_out_of_range_are_refused_with_their_examples():
    data = [(x, 3 if i == 4 else 0) for i, x in enumerate(inputs())]
    with pytest.raises(Exception, match="examples 3 to 5"):
        run(data=data)
    with pytest.raises(ValueError, match=r"`target` is out of range: [\s\S]*metric 'deletion', examples 3 to 5"):
        run(data=data, methods={"ones": ones}, metrics={"deletion": metrics.deletion})


def test_a_missing_target_is_said():
    with pytest.raises(
        ValueError, match=r"`target` is missing: [\s\S]*method 'ones', metric 'deletion', examples 0 to 2"
    ):
        run(data=inputs(), methods={"ones": ones}, metrics={"deletion": metrics.deletion})


def test_an_interrupt_is_not_recorded():
    def interrupted(attributions):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(metrics={"it": interrupted}, on_error="record")


# ---- on the way: recorded


class FailsAt:
    """Fails on the batch that begins with example 3."""

    @staticmethod
    def method(model):
        saliency = Saliency(model)

        def explain(inputs_, target):
            if torch.equal(inputs_[0], inputs()[3]):
                raise RuntimeError("no explanation")
            return saliency.attribute(inputs_, target=target)

        return explain

    @staticmethod
    def metric(attributions, inputs):
        if torch.equal(inputs[0], EXAMPLE_3):
            raise RuntimeError("no score")
        return attributions.mean(1)


EXAMPLE_3 = inputs()[3]


def test_a_method_that_fails_on_a_batch_leaves_nan_there_and_a_message():
    result = run(methods={**METHODS, "bad": FailsAt.method}, metrics=FEW_METRICS, on_error="record")
    for name in FEW_METRICS:
        bad = scores(result, name, "bad")
        assert bad[3:6].isnan().all()
        assert bad[[0, 1, 2, 6, 7]].isfinite().all()
    assert result.failures == [
        {"attribution": "bad", "metric": None, "examples": [3, 5], "error": "RuntimeError: no explanation"}
    ]


@pytest.mark.parametrize("others", [["saliency"], ["saliency", "product", "random"]])
def test_the_rest_is_as_without_the_method_that_fails(others):
    some = {k: METRICS[k] for k in METRICS}
    rest = {k: METHODS[k] for k in others}
    result = run(methods={"bad": failing, **rest}, metrics=some, on_error="record").dataset
    without = run(methods=rest, metrics=some, on_error="record").dataset
    for name in some:
        assert result[name].sel(attribution=others).values.tobytes() == without[name].values.tobytes()


@pytest.mark.parametrize("name", METRICS)
def test_the_rest_is_as_without_the_method_whose_attributions_do_not_fit(name):
    rest = {k: METHODS[k] for k in ("saliency", "product", "random")}
    bad = {"bad": inputs().index_fill(0, torch.tensor([4]), torch.nan)}
    result = run(methods={**bad, **rest}, metrics={name: METRICS[name]}, on_error="record").dataset
    without = run(methods=rest, metrics={name: METRICS[name]}).dataset
    scored = result[name].sel(attribution=list(rest))
    # to rounding: where the bad one fits, its rows share batches with theirs, and a model rounds by batch
    np.testing.assert_allclose(scored, without[name], rtol=1e-12, atol=1e-14)
    failed = [3, 4, 5]  # to the bit where it doesn't
    assert scored.sel(example=failed).values.tobytes() == without[name].sel(example=failed).values.tobytes()
    assert result[name].sel(attribution="bad", example=[3, 4, 5]).isnull().all()


def test_a_metric_that_fails_on_a_batch_leaves_the_others_alone():
    result = run(metrics={"own": FailsAt.metric, **FEW_METRICS}, on_error="record")
    assert result.dataset["own"].isnull().sum() == 3 * len(METHODS)
    for name in FEW_METRICS:
        assert result.dataset[name].identical(run(metrics=FEW_METRICS).dataset[name])
    assert result.failures == [
        {"attribution": m, "metric": "own", "examples": [3, 5], "error": "RuntimeError: no score"} for m in METHODS
    ]


def test_only_the_method_at_fault_is_blamed_where_a_metric_serves_all():
    bad = {"bad": inputs().index_fill(0, torch.tensor([4]), torch.nan)}
    result = run(methods={**METHODS, **bad}, metrics=FEW_METRICS, on_error="record")
    assert {f["attribution"] for f in result.failures} == {"bad"}
    assert {f["metric"] for f in result.failures} == set(FEW_METRICS)
    assert all("is NaN in example 1" in f["error"] for f in result.failures)


def test_a_method_that_always_fails_is_nan_and_the_table_whole():
    result = run(methods={"bad": failing}, metrics=METRICS, on_error="record")
    assert result.dataset["deletion"].sizes == {"attribution": 1, "example": N}
    assert all(result.dataset[name].isnull().all() for name in METRICS)
    assert [f["examples"] for f in result.failures if f["metric"] is None] == [[0, 2], [3, 5], [6, 7]]


def test_recording_without_a_failure_is_the_same():
    recorded, raised = run(on_error="record"), run()
    assert all(recorded.dataset[name].identical(raised.dataset[name]) for name in FEW_METRICS)
    assert recorded.failures == []


def test_draws_after_a_failure_are_those_without_it():
    """Also of methods that draw from the global generators after one that failed in the midst of drawing."""

    def drawing_then_failing(model):
        def explain(inputs):
            torch.randn(5), np.random.rand(3)
            raise RuntimeError

        return explain

    result = run(methods={"bad": drawing_then_failing, "random": random_attribution}, on_error="record").dataset
    without = run(methods={"random": random_attribution}).dataset
    assert all((result[m].sel(attribution="random") == without[m][0]).all() for m in FEW_METRICS)


def test_a_single_value_that_is_nan_is_no_failure():
    constant = nn.Sequential(nn.Linear(4, 3).double())
    nn.init.zeros_(constant[0].weight)
    result = run(constant, on_error="record", metrics={"sensitivity_n": METRICS["sensitivity_n"]})
    assert result.dataset["sensitivity_n"].isnull().all()
    assert result.failures == []


def test_a_failure_is_told_once_also_by_a_finished_run(tmp_path):
    result = run(methods={**METHODS, "bad": FailsAt.method}, on_error="record", path=tmp_path / "run.h5")
    again = run(methods={**METHODS, "bad": FailsAt.method}, on_error="record", path=tmp_path / "run.h5")
    assert len(result.failures) == 1
    assert again.failures == result.failures
