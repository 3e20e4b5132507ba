"""Metrics of one batch that ask for the same model evaluations: each is made once, and no number changes."""

from __future__ import annotations

import functools
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import GradientShap, Saliency
from torch import nn

from captum_ext import baselines, evaluate, metrics, perturbations
from captum_ext._core import sharing
from captum_ext.evaluation.calls import keeps_the_batch

N, FEATURES = 5, 12
X = torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PHI = {"a": X.cos(), "b": (3 * X).sin()}
TARGETS = [i % 2 for i in range(N)]


class Net(nn.Module):
    """`[rows, 2]`: a row's output is the same bits in every batch."""

    def __init__(self, draws=False):
        super().__init__()
        self.draws, self.rows = draws, 0

    def forward(self, x):
        self.rows += len(x)
        noise = torch.rand(len(x), 1, dtype=x.dtype) if self.draws else 0
        return torch.stack(((x.sin() * torch.arange(1, FEATURES + 1)).sum(1), (x**2).sum(1)), 1) + noise


def run(chosen, model=None, **options):
    model = model or Net()
    result = evaluate(model, list(zip(X, TARGETS)), PHI, chosen, **{"batch_size": 2, **options}).dataset
    return {name: result[name].values for name in chosen}, model.rows


def rows_of(curves, phi=PHI, **settings):
    model = Net()
    for b in range(0, N, 2):
        some = slice(b, b + 2)
        curves(model, X[some], {m: a[some] for m, a in phi.items()}, target=torch.tensor(TARGETS[some]), **settings)
    return model.rows


CURVES = {
    "deletion": metrics.deletion,
    "insertion": metrics.insertion,
    "deletion/lerf": partial(metrics.deletion, mode="lerf"),
    "insertion curve": metrics.insertion_curve,
    "deletion curve": partial(metrics.deletion_curve, mode="lerf"),
    "aopc": metrics.aopc,
    "aopc/lerf": partial(metrics.aopc, mode="lerf"),
    "srg": metrics.srg,
    "irof": metrics.irof,
    "comprehensiveness": metrics.comprehensiveness,
    "sufficiency": metrics.sufficiency,
    "log_odds": partial(metrics.log_odds, shares=[0.25]),
    "monotonicity": metrics.monotonicity,
}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("limit", [None, 3])
def test_all_scores_of_removal_curves_cost_the_rows_of_both_curves(limit):
    together, rows = run(CURVES, max_examples_per_batch=limit)
    assert rows == rows_of(metrics.removal_curves) == N * (2 + 2 * 2 * (FEATURES - 1))
    alone = [run({name: metric}, max_examples_per_batch=limit) for name, metric in CURVES.items()]
    assert sum(rows for _, rows in alone) > 2 * rows
    same(together, {name: values for one, _ in alone for name, values in one.items()})


def test_one_curve_costs_the_rows_of_one():
    one = {"deletion": metrics.deletion, "curve": metrics.deletion_curve}
    assert run(one)[1] == rows_of(metrics.deletion_curve) == N * (2 + 2 * (FEATURES - 1))


def test_other_baselines_and_features_share_the_outputs_of_unperturbed_examples_alone():
    settings = {
        "zero": {},
        "one": {"baselines": 1.0},
        "groups": {"feature_mask": torch.arange(FEATURES)[None] // 2},
        "aggregate": {"feature_mask": torch.arange(FEATURES)[None] // 3, "aggregate": "sum"},
    }
    chosen = {name: partial(metrics.deletion, **s) for name, s in settings.items()}
    together, rows = run(chosen)
    alone = [run({name: metric}) for name, metric in chosen.items()]
    assert rows == sum(rows for _, rows in alone) - (len(chosen) - 1) * N
    same(together, {name: values for one, _ in alone for name, values in one.items()})


IMAGES = torch.rand(N, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
READ_IN_ANOTHER_WAY = {
    "road": (metrics.road, metrics.road_accuracy, partial(metrics.road, activation=partial(torch.softmax, dim=1))),
    "deletion": (metrics.deletion, metrics.minimal_subset, partial(metrics.deletion, target=1)),
    "sufficiency": (
        metrics.sufficiency,
        partial(metrics.unfaithfulness, activation=partial(torch.softmax, dim=1)),
        partial(metrics.sufficiency, activation=partial(torch.softmax, dim=1)),
    ),
    "unfaithfulness": (partial(metrics.unfaithfulness, activation=partial(torch.softmax, dim=1)), metrics.sufficiency),
    "a target for all": (partial(metrics.deletion, target=1), metrics.deletion),
}


class OfImages(Net):
    def forward(self, x):
        return super().forward(x.flatten(1)[:, :FEATURES])


@pytest.mark.parametrize("name", READ_IN_ANOTHER_WAY)
@pytest.mark.parametrize("limit", [None, 3])
def test_metrics_that_read_the_same_outputs_in_another_way_share_the_rows(name, limit):
    chosen = {str(i): metric for i, metric in enumerate(READ_IN_ANOTHER_WAY[name])}
    maps = {"a": IMAGES.cos(), "b": (3 * IMAGES).sin()}

    def rows_and_scores(some):
        model = OfImages()
        data, options = list(zip(IMAGES, TARGETS)), {"batch_size": 2, "max_examples_per_batch": limit}
        result = evaluate(model, data, maps, some, **options).dataset
        return {n: result[n].values for n in some}, model.rows

    together, rows = rows_and_scores(chosen)
    alone = {n: rows_and_scores({n: metric}) for n, metric in chosen.items()}
    assert rows == alone["0"][1] == alone["1"][1]
    same(together, {n: values[n] for n, (values, _) in alone.items()})


def test_outputs_that_came_one_after_another_are_those_of_their_rows():
    curve, softmax = metrics.deletion_curve, partial(torch.softmax, dim=1)
    outputs = {f"{steps}": partial(curve, n_steps=steps) for steps in (4, 3, 6)}
    read = {f"softmax {steps}": partial(curve, n_steps=steps, activation=softmax) for steps in (3, 6, 13)}
    together, rows = run({**outputs, **read})
    assert rows == run({"all": partial(curve, n_steps=13)})[1]
    same(together, {n: run({n: metric})[0][n] for n, metric in {**outputs, **read}.items()})


def test_outputs_of_rows_are_kept_while_there_is_room(monkeypatch):
    chosen = {"deletion": metrics.deletion, "softmax": partial(metrics.deletion, activation=lambda o: o.softmax(1))}
    rows, lacking = run({"deletion": metrics.deletion})[1], 1 + 2 * (FEATURES - 1)  # of an example with two methods
    for kept, again in ((2 * lacking * 2, 0), (2 * lacking * 2 - 1, 4 * lacking)):  # two examples and classes
        monkeypatch.setattr(sharing, "KEPT", kept)
        assert run(chosen)[1] == rows + again  # the last batch has one example, which fits


def test_baselines_that_draw_are_drawn_for_each_metric():
    drawn = {n: partial(m, baselines=baselines.uniform_noise) for n, m in CURVES.items()}
    together, _ = run(drawn)
    same(together, {name: run({name: metric})[0][name] for name, metric in drawn.items()})


def test_a_model_that_draws_is_asked_by_each_metric():
    together, _ = run(CURVES, Net(draws=True))
    alone = {name: run({name: metric}, Net(draws=True))[0][name] for name, metric in CURVES.items()}
    same(together, alone)


def test_a_metric_that_writes_into_the_weights_is_another_models():
    class Weighted(Net):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()).double())

        def forward(self, x):
            return super().forward(x) * self.weight

    def of_a_larger_model(forward_func, inputs, attributions, target):
        with torch.no_grad():
            forward_func.weight.mul_(2)
            scores = metrics.deletion(forward_func, inputs, attributions, target=target)
            forward_func.weight.div_(2)
        return scores

    chosen = {"deletion": metrics.deletion, "larger": of_a_larger_model, "completeness": metrics.completeness}
    together, _ = run(chosen, Weighted())
    np.testing.assert_array_equal(together["larger"], 2 * together["deletion"])
    same(together, {name: run({name: metric}, Weighted())[0][name] for name, metric in chosen.items()})


class CountingUp:
    """A function of the inputs that returns something else at every call, and draws from no global generator."""

    def __init__(self, make):
        self.make, self.calls = make, 0

    def __call__(self, inputs):
        self.calls += 1
        return self.make(inputs, self.calls)


BUFFER = torch.empty_like(X)
OF_THE_INPUTS = {
    "baselines": lambda inputs, call: torch.full_like(inputs, call),
    "baselines in one buffer": lambda inputs, call: BUFFER[: len(inputs)].fill_(call),
    "feature_mask": lambda inputs, call: (torch.arange(FEATURES)[None] + call) // 3,
}


@pytest.mark.parametrize("name", OF_THE_INPUTS)
def test_a_function_of_the_inputs_is_called_once_for_all_metrics_that_share_rows(name):
    def scores(*names):
        settings = {name.split()[0]: CountingUp(OF_THE_INPUTS[name])}
        read = {"activation": lambda output: output / 2}
        removed = perturbations.segment_removal
        chosen = {
            "curve": partial(metrics.deletion_curve, n_steps=4, **settings),
            "read in another way": partial(metrics.deletion_curve, n_steps=7, **read, **settings),
            "infidelity": partial(metrics.infidelity, perturb_func=removed, n_perturb_samples=6, **settings),
            "normalized": partial(
                metrics.infidelity, normalize=True, perturb_func=removed, n_perturb_samples=6, **settings
            ),
        }
        return run({n: chosen[n] for n in names or chosen}, batch_size=N)[0]

    together = scores()
    same(together, {n: scores(n)[n] for n in together})


def test_a_tensor_that_was_written_into_is_another_one():
    given = {name: torch.zeros(1, FEATURES, dtype=torch.float64) for name in ("of curves", "of both", "of one")}

    def writing(output):
        for tensor in given.values():
            tensor += 0.1
        return output

    baselines = given["of curves"]
    chosen = {
        "before": partial(metrics.deletion_curve, n_steps=4, baselines=baselines),
        "writing": partial(metrics.completeness, activation=writing),
        "after": partial(metrics.deletion_curve, n_steps=7, baselines=baselines),
    }
    together, _ = run(chosen, batch_size=N)
    same(
        {"after": run({"after": partial(chosen["after"], baselines=0.2)}, batch_size=N)[0]["after"]},
        {"after": together["after"]},
    )


@pytest.mark.filterwarnings("ignore:.*writes into")
def test_a_wrapper_of_a_metric_is_one_of_ones_own():
    @functools.wraps(metrics.deletion)
    def writing(forward_func, inputs, attributions, target):
        scores = metrics.deletion(forward_func, inputs, attributions, target=target)
        for tensor in (inputs, *attributions.values()):
            tensor.zero_()
        return scores

    chosen = {"writing": partial(writing), "insertion": metrics.insertion, "completeness": metrics.completeness}
    together, _ = run(chosen)
    same(together, {name: run({name: metric})[0][name] for name, metric in chosen.items()})


@pytest.mark.parametrize("metric", [getattr(metrics, name) for name in metrics.__all__])
def test_every_metric_of_the_package_is_known_as_one(metric):
    assert not hasattr(metric, "card") or keeps_the_batch(partial(metric))


def test_metrics_of_ones_own_come_last_as_they_may_change_the_model():
    class Scaled(Net):
        scale = 1.0

        def forward(self, x):
            return super().forward(x) * self.scale

    def changing(forward_func, attributions):
        forward_func.scale *= 3
        return attributions.sum(1)

    curve = metrics.deletion_curve
    chosen = {"before": partial(curve, n_steps=4), "own": changing, "after": partial(curve, n_steps=7)}
    together, _ = run(chosen, Scaled(), batch_size=N)
    assert [*together] == [*chosen]
    same(together, {name: run({name: metric}, Scaled(), batch_size=N)[0][name] for name, metric in chosen.items()})


# ---- metrics that explain


class InOneBuffer:
    """An explanation that returns the same memory at every call, and reads it in no later one."""

    def __init__(self, model):
        self.of_model, self.buffer = Saliency(model), torch.empty(64, FEATURES, dtype=torch.float64)

    def attribute(self, inputs, target=None, sign=1):
        return self.buffer[: len(inputs)].copy_(sign * self.of_model.attribute(inputs, target))


class RowsInOneBuffer:
    shape, buffer = PHI["a"].shape, np.empty(PHI["a"].shape)

    def __init__(self, maps):
        self.maps = maps.numpy()

    def __getitem__(self, rows):
        np.copyto(self.buffer[: len(rows)], self.maps[rows])
        return self.buffer[: len(rows)]


def test_stored_rows_stay_where_those_of_another_method_take_their_memory():
    in_buffers = {name: RowsInOneBuffer(maps) for name, maps in PHI.items()}
    found, wanted = (
        evaluate(Net(), list(zip(X, TARGETS)), methods, {"c": metrics.completeness}).dataset["c"].values
        for methods in (in_buffers, PHI)
    )
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("options", [{}, {"max_examples_per_batch": 1}])
def test_maps_stay_where_an_explanation_writes_into_them_at_its_next_call(options):
    chosen = ROBUSTNESS | RANDOMISATION | {"deletion": metrics.deletion, "completeness": metrics.completeness}
    same(explained(chosen, InOneBuffer, **options)[0], explained(chosen, Saliency, **options)[0])
    model, wanted = Layers(), {}
    for explanation in (InOneBuffer(model), Saliency(model)):
        both = {
            "plain": explanation.attribute,
            "other": lambda m, e=explanation: lambda x, target: e.attribute(x, 1 - target),
        }
        found = evaluate(model, list(zip(X, TARGETS)), both, {"c": metrics.completeness}, **options).dataset["c"].values
        np.testing.assert_array_equal(wanted.setdefault("c", found), found)


class Layers(nn.Module):
    """Counts the rows of all calls, also those of explanations."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, 2)).double()
        self.calls = []  # not a number, which would be put back after the layers were random for a while

    def forward(self, x):
        self.calls.append(len(x))
        return self.layers(x)


DRAWS, LAYERS = 10, 2
ROBUSTNESS = {
    "sensitivity_max": metrics.sensitivity_max,
    "sensitivity_avg": metrics.sensitivity_avg,
    "local_lipschitz": metrics.local_lipschitz,
    "continuity": metrics.continuity,
    "relative_input_stability": metrics.relative_input_stability,
    "relative_output_stability": metrics.relative_output_stability,
    "another norm": partial(metrics.sensitivity_max, norm_ord=3.0),
}
RANDOMISATION = {
    "mprt": metrics.parameter_randomization,
    "curve": metrics.parameter_randomization_curve,
    "pearson": partial(metrics.parameter_randomization, similarity="pearson", absolute=True),
}
SMOOTH = {"smooth": metrics.smooth_mprt, "smooth curve": metrics.smooth_mprt_curve}
SMOOTH = {name: partial(metric, n_perturb_samples=3) for name, metric in SMOOTH.items()}


def explained(chosen, method=Saliency, **options):
    model = Layers()
    options = {"batch_size": 2, **options}
    result = evaluate(model, list(zip(X, TARGETS)), {"method": method}, chosen, **options).dataset
    return {name: result[name].values for name in chosen}, sum(model.calls) / N


def assert_as_alone(chosen, together, **options):
    alone = {name: explained({name: metric}, **options)[0][name] for name, metric in chosen.items()}
    same(together, alone)


@pytest.mark.parametrize("options", [{}, {"max_examples_per_batch": 3}, {"stderr": True}])
def test_metrics_of_robustness_explain_each_copy_once(options):
    together, rows = explained(ROBUSTNESS, **options)
    assert rows == 1 + DRAWS + (1 + DRAWS)  # explanations of the example and its copies, and the outputs of all
    assert_as_alone(ROBUSTNESS, together, **options)


def test_also_if_the_first_metric_has_another_norm_or_asks_for_the_outputs():
    for first in ("another norm", "relative_output_stability"):
        chosen = {first: ROBUSTNESS[first], **ROBUSTNESS}
        assert explained(chosen)[1] == 1 + DRAWS + (1 + DRAWS)


def test_layers_are_observed_apart():
    layers = {n: partial(metrics.relative_representation_stability, layer=f"layers.{n}") for n in "01"}
    together, rows = explained({**layers, "again": layers["1"], "sensitivity_max": metrics.sensitivity_max})
    assert rows == 1 + DRAWS + 2 * (1 + DRAWS)
    assert not np.array_equal(together["0"], together["1"])
    assert_as_alone(layers, {name: together[name] for name in layers})


def test_copies_under_other_settings_are_explained_apart():
    settings = {
        "radius": {"perturb_radius": 0.1},
        "draws": {"n_perturb_samples": 4},
        "corners": {"search": "vertices"},
        "search": {"search": "block"},
        "of the caller": {"perturb_func": lambda x, radius: x + radius * torch.rand_like(x)},
        "seed": {"seed": 3},
        "target": {"target": 1},
    }
    chosen = {name: partial(metrics.sensitivity_max, **s) for name, s in settings.items()}
    together, rows = explained(chosen)
    assert rows == 1 + 6 * DRAWS + 4 + 1  # and the explanation of the other target
    assert_as_alone(chosen, together)


def test_randomised_models_are_explained_once_for_all_similarities():
    together, rows = explained(RANDOMISATION)
    assert rows == 1 + LAYERS
    assert_as_alone(RANDOMISATION, together)
    together, rows = explained(SMOOTH)
    assert rows == 1 + 3 + 3 * LAYERS
    assert_as_alone(SMOOTH, together)


def test_a_similarity_that_fails_fails_alone():
    chosen = {**RANDOMISATION, "ssim": partial(metrics.parameter_randomization, similarity="ssim")}
    together, _ = explained(chosen, on_error="record")
    assert np.isnan(together.pop("ssim")).all()
    assert_as_alone(RANDOMISATION, together)


def test_other_orders_and_weights_are_explained_apart():
    settings = {"order": {"order": "bottom_up"}, "weights": {"weights_seed": 1}, "as before": {}}
    chosen = {name: partial(metrics.parameter_randomization, **s) for name, s in settings.items()}
    together, rows = explained(chosen)
    assert rows == 1 + 3 * LAYERS
    assert_as_alone(chosen, together)


def test_the_batchs_own_explanation_is_not_computed_again():
    chosen = {
        "input_invariance": (metrics.input_invariance, 1 + 2 + 2),  # two rows a batch show what the shift adds
        "efficient_mprt": (metrics.efficient_mprt, 1),
        "random_logit": (partial(metrics.random_logit, n_classes=2), 1),
    }
    for name, (metric, further) in chosen.items():
        assert explained({name: metric}, batch_size=1)[1] == 1 + further, name


def test_robustness_randomisation_and_a_curve_of_one_method_take_at_most_60_rows():
    named = [n for n in ROBUSTNESS if n != "another norm"]
    chosen = {name: ROBUSTNESS[name] for name in named} | {n: RANDOMISATION[n] for n in ("mprt", "curve")}
    chosen |= {"pearson": RANDOMISATION["pearson"], "deletion": partial(metrics.deletion, n_steps=11)}
    together, rows = explained(chosen)
    assert rows == 1 + DRAWS + (1 + DRAWS) + LAYERS + 10 <= 60
    assert sum(explained({name: metric})[1] for name, metric in chosen.items()) == 4 * 11 + 2 * 22 + 3 * 3 + 12
    assert_as_alone(chosen, together)


@pytest.mark.parametrize("method", [GradientShap, "drawing"])
def test_explanations_that_draw_are_drawn_for_each_metric(method):
    if method == "drawing":
        method = lambda model: lambda x, target: torch.rand_like(x)  # noqa: E731
    else:
        method = lambda model: partial(GradientShap(model).attribute, baselines=torch.zeros_like(X))  # noqa: E731
    chosen = {name: ROBUSTNESS[name] for name in ("sensitivity_max", "local_lipschitz")} | RANDOMISATION
    together, _ = explained(chosen, method)
    assert_as_alone(chosen, together, method=method)


def test_the_subsets_of_the_datamodeling_score_are_scored_once_for_all_correlations():
    score = partial(metrics.linear_datamodeling_score, n_perturb_samples=6)
    chosen = {"spearman": score, "pearson": partial(score, correlation="pearson"), "again": score}
    together, rows = run(chosen)
    assert rows == N * 6
    same(together, {name: run({name: metric})[0][name] for name, metric in chosen.items()})


def infidelities(perturb_func):
    """Metrics of equal draws."""
    plain = partial(metrics.infidelity, perturb_func=perturb_func, n_perturb_samples=6)
    return {"plain": plain, "normalized": partial(plain, normalize=True), "shares": partial(plain, aggregate="mean")}


@pytest.mark.parametrize("options", [{}, {"stderr": True}, {"max_examples_per_batch": 3}])
@pytest.mark.parametrize("perturb_func", [perturbations.gaussian, partial(perturbations.segment_removal, n=3)])
def test_equal_perturbations_of_infidelity_are_scored_once(perturb_func, options):
    chosen = infidelities(perturb_func)
    together, rows = run(chosen, **options)
    assert rows == N * (1 + 6)
    same(together, {name: run({name: metric}, **options)[0][name] for name, metric in chosen.items()})
    other = {"draws": partial(metrics.infidelity, perturb_func=perturb_func, n_perturb_samples=5)}
    assert run({**chosen, **other}, **options)[1] == rows + N * 5


def counted_up(inputs, seed=None):
    """Takes a seed and yet depends on how often it was called."""
    counted_up.calls += 1
    step = 0.01 * counted_up.calls * inputs.cos()
    return step, inputs - step


def test_perturbations_of_the_caller_are_scored_for_each_metric():
    chosen = infidelities(counted_up)
    counted_up.calls = 0
    together, rows = run(chosen, batch_size=N)
    assert rows == N * (1 + 3 * 6)
    for calls, (name, metric) in enumerate(chosen.items()):
        counted_up.calls = calls
        same(run({name: metric}, batch_size=N)[0], {name: together[name]})


SUBSETS = {
    "sensitivity_n": partial(metrics.sensitivity_n, n=[2, 5], n_perturb_samples=6),
    "faithfulness": partial(metrics.faithfulness_correlation, n=[2, 5], n_perturb_samples=6),
    "ranks": partial(metrics.sensitivity_n, n=[2, 5], n_perturb_samples=6, correlation="spearman"),
}


@pytest.mark.parametrize("options", [{}, {"stderr": True}])
def test_equal_random_subsets_are_scored_once(options):
    together, rows = run(SUBSETS, **options)
    assert rows == N * (1 + 2 * 6)
    other = {"draws": partial(metrics.sensitivity_n, n=[2, 5], n_perturb_samples=5)}
    assert run({**SUBSETS, **other}, **options)[1] == rows + N * 2 * 5
    same(together, {name: run({name: metric}, **options)[0][name] for name, metric in SUBSETS.items()})


def doubling(model):
    """A method that leaves a hook on the model whenever it is made."""
    model.register_forward_hook(lambda module, inputs, output: output * 2)
    return Saliency(model)


def training(model):
    """A method that leaves the model in training mode."""
    return lambda inputs, target: Saliency(model.train()).attribute(inputs, target)


@pytest.mark.parametrize("method", [doubling, training])
def test_what_a_method_leaves_on_the_model_changes_no_other_metric(method):
    class Dropping(Layers):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout()

        def forward(self, x):
            return super().forward(self.dropout(x))

    def scores(chosen, **methods):
        model = Dropping()
        result = evaluate(model, list(zip(X, TARGETS)), {**methods, "plain": Saliency}, chosen, batch_size=2).dataset
        return {name: result[name].values for name in chosen}, len(model._forward_hooks)

    chosen = {"efficient": metrics.efficient_mprt, **RANDOMISATION, "deletion": metrics.deletion}
    together, hooks = scores(chosen, method=method)
    assert hooks == (method is doubling)
    same(together, {name: scores({name: metric}, method=method)[0][name] for name, metric in chosen.items()})
    if method is training:
        same({name: values[1:] for name, values in together.items()}, scores(chosen)[0])
