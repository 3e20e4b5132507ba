"""`evaluate` hands metrics that need other models the method as it was given: what makes an explanation of a model."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import GradientShap, InputXGradient, NoiseTunnel, Saliency
from torch.testing import assert_close

from captum_ext import metrics, random_attribution

from .runs import TARGETS, Net, assert_same_scores, inputs, run, scores, stored

RANDOMISED = {
    "curve": partial(metrics.parameter_randomization_curve, similarity="pearson"),
    "mean": partial(metrics.parameter_randomization, similarity="pearson"),
    "full": partial(metrics.parameter_randomization, order="full"),
    "full_curve": partial(metrics.parameter_randomization_curve, order="full"),
    "efficient": metrics.efficient_mprt,
    "smooth": partial(metrics.smooth_mprt, n_perturb_samples=3),
    "logit": partial(metrics.random_logit, n_classes=3),
}
MADE = {"saliency": Saliency, "product": lambda model: InputXGradient(model).attribute, "random": random_attribution}


def test_scores_are_those_of_the_metric_itself():
    result = run(methods=MADE, metrics=RANDOMISED)
    model = Net().eval()
    for name, method in MADE.items():
        alone = metrics.parameter_randomization_curve(model, method, inputs(), similarity="pearson", target=TARGETS)
        assert_close(scores(result, "curve", name), alone)
        assert_close(scores(result, "mean", name), alone.mean(1))
    assert_close(scores(result, "full", "random"), torch.ones(8, dtype=torch.float64))
    assert_close(scores(result, "efficient", "random"), torch.zeros(8, dtype=torch.float64))
    assert result.failures == []


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 3}])
def test_scores_do_not_depend_on_batches_also_of_methods_that_draw(options):
    methods = {**MADE, "shap": partial_shap, "noisy": partial_tunnel}
    whole = run(methods=methods, metrics=RANDOMISED, batch_size=8)
    assert_same_scores(run(methods=methods, metrics=RANDOMISED, **options), whole)


def test_scores_do_not_depend_on_the_limit():
    limited = run(methods=MADE, metrics=RANDOMISED, max_examples_per_batch=2)
    assert_same_scores(limited, run(methods=MADE, metrics=RANDOMISED))


def partial_tunnel(model):
    return partial(NoiseTunnel(Saliency(model)).attribute, nt_samples=3)


def partial_shap(model):
    """Draws at random, and needs baselines."""
    return partial(GradientShap(model).attribute, baselines=torch.zeros(2, 4, dtype=torch.float64), n_samples=2)


@pytest.mark.parametrize("on_error", ["raise", "record"])
def test_what_is_not_made_from_the_model_has_no_score_and_says_so(on_error):
    model = Net().eval()
    ready = {
        "object": Saliency(model),
        "bound": Saliency(model).attribute,
        "set": partial(Saliency(model).attribute, abs=False),
    }
    methods = {"live": Saliency, **stored("product"), **ready}
    result = run(
        model, methods=methods, metrics={"full": RANDOMISED["full"], "deletion": metrics.deletion}, on_error=on_error
    )
    assert scores(result, "full", "live").isfinite().all()
    assert scores(result, "deletion").isfinite().all()
    for name in methods.keys() - {"live"}:
        assert scores(result, "full", name).isnan().all()
        assert scores(result, "deletion", name).isfinite().all()
    assert {(f["attribution"], f["metric"]) for f in result.failures} == {
        (n, "full") for n in methods.keys() - {"live"}
    }
    assert {f["error"] for f in result.failures} == {
        "a ready-made explanation cannot be rebuilt for another model: give a Captum class or `lambda model: ...`"
    }


def test_a_curve_has_its_steps_as_axis_and_other_numbers_of_steps_another():
    result = run(methods=MADE, metrics=RANDOMISED)
    assert result.dataset["curve"].dims == ("attribution", "example", "step")
    assert result.dataset["step"].values.tolist() == [0, 1]
    assert result.dataset["full_curve"].dims == ("attribution", "example", "step (full_curve)")


def test_the_model_keeps_its_mode_and_weights():
    model = Net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run(model, methods=MADE, metrics=RANDOMISED)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_metric_of_ones_own_may_take_a_factory_too():
    def factories(explanation_factory, inputs, target):
        return torch.full((len(inputs),), float(explanation_factory is Saliency))

    result = run(methods={"class": Saliency, "function": lambda model: Saliency(model)}, metrics={"own": factories})
    assert (scores(result, "own", "class") == 1).all()
    assert (scores(result, "own", "function") == 0).all()


def test_a_model_without_parameters_is_refused_with_its_metric():
    with pytest.raises(TypeError, match="`forward_func` must be a module with parameters to randomise"):
        run(lambda x: x[:, :3], methods=MADE, metrics={"full": RANDOMISED["full"]})
