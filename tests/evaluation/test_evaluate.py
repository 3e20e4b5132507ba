"""`evaluate` is its metrics called by hand, and the scores depend on the seed and the example alone."""

from __future__ import annotations

import random
from functools import partial

import captum.metrics
import numpy as np
import pytest
import torch
import xarray as xr
from captum.attr import (
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
    ShapleyValueSampling,
)
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from captum_ext import baselines, evaluate, metrics, perturbations, random_attribution

from . import runs
from .runs import (
    FEW_METRICS,
    METHODS,
    METRICS,
    SEED,
    TARGETS,
    N,
    Net,
    assert_same_scores,
    drawn_from_all,
    examples,
    global_states,
    inputs,
    mean_of_attributions,
    ones,
    run,
    scores,
    shrunk,
    stored,
)

# ---- the metric called by hand


def by_hand(name, model, x, explanation, seed=SEED, **batch):
    """The metric of that name on the whole data set at once."""
    metric = METRICS[name]
    if name == "sensitivity_max":
        return metric(explanation.attribute, x, seed=seed, **batch)
    given = {"seed": seed} if name in ("sensitivity_n", "sizes") else {}
    return metric(forward_func=model, inputs=x, attributions=explanation.attribute(x, **batch), **batch, **given)


@pytest.mark.parametrize("name", METRICS)
def test_a_score_is_that_of_the_metric_called_by_hand(name):
    model = Net().eval()
    result = run(model, methods={"saliency": Saliency, "product": InputXGradient}, metrics={name: METRICS[name]})
    for method, explanation in {"saliency": Saliency, "product": InputXGradient}.items():
        expected = by_hand(name, model, inputs(), explanation(model), target=TARGETS)
        assert_close(scores(result, name, method), expected, rtol=1e-9, atol=1e-12, equal_nan=True)


class TwoAxes(nn.Module):
    """`[rows, 4] -> [rows, 3, 2]`"""

    def __init__(self):
        super().__init__()
        self.net = Net(6)

    def forward(self, x):
        return self.net(x).reshape(-1, 3, 2)


class Regression(nn.Module):
    """`[rows, 4] -> [rows]`"""

    def __init__(self):
        super().__init__()
        self.net = Net(1)

    def forward(self, x):
        return self.net(x)[:, 0]


TUPLES = [(i % 3, i % 2) for i in range(N)]
TARGET_FORMS = {
    "integers": (Net, list(range(3)) * 3, TARGETS),
    "tensors without axes": (Net, list(TARGETS), TARGETS),
    "numpy integers": (Net, [np.int64(t) for t in TARGETS], TARGETS),
    "a tuple for each example": (TwoAxes, TUPLES, TUPLES),
    "no target, one value per row": (Regression, [None] * N, None),
    "no target, one column": (partial(Net, 1), [None] * N, None),
}


@pytest.mark.parametrize("form", TARGET_FORMS)
@pytest.mark.parametrize("name", ["deletion", "infidelity", "sensitivity_max"])
def test_every_form_of_target_is_that_of_the_metric_called_by_hand(form, name):
    make, of_examples, of_batch = TARGET_FORMS[form]
    model = make().eval()
    result = run(model, list(zip(inputs(), of_examples)), {"product": InputXGradient}, {name: METRICS[name]})
    expected = by_hand(name, model, inputs(), InputXGradient(model), target=of_batch)
    assert_close(scores(result, name), expected, rtol=1e-9, atol=1e-12)


def test_examples_without_any_target_are_tuples_of_one_or_bare_tensors():
    results = [run(Regression(), data) for data in (inputs(), [(x,) for x in inputs()], TensorDataset(inputs()))]
    explained = [(x, None) for x in inputs()]
    for result in results:
        assert_same_scores(result, run(Regression(), explained), rtol=0)


@pytest.mark.parametrize(
    ("make", "target"), [(Net, 1), (Net, [2, 1] * 4), (Net, torch.tensor([2])), (TwoAxes, (2, 1)), (TwoAxes, TUPLES)]
)
def test_a_collate_function_may_give_any_target_that_captum_takes(make, target):
    def collate(rows):
        of_rows = [target[int(row[1])] for row in rows] if isinstance(target, list) else target
        return torch.stack([row[0] for row in rows]), of_rows

    model = make().eval()
    loader = DataLoader(list(zip(inputs(), range(N))), collate_fn=collate)
    result = run(model, loader, {"product": InputXGradient}, {"deletion": metrics.deletion}, max_examples_per_batch=2)
    expected = by_hand("deletion", model, inputs(), InputXGradient(model), target=target)
    assert_close(scores(result, "deletion"), expected, rtol=1e-9, atol=1e-12)


class TwoInputs(nn.Module):
    """`[rows, 4], [rows, 2], [rows], scale -> [rows, 3]`"""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x, y, shift=None, scale=None):
        shift, scale = (0 if shift is None else shift[:, None]), (1 if scale is None else scale[:, None])
        return self.net(x) * scale + y.sum(1, keepdim=True) * torch.arange(3) + shift


ADDITIONAL = {
    "none": (),
    "a tensor": (inputs(N, 1)[:, 0],),
    "a tuple": (inputs(N, 1)[:, 0], inputs(N, 1, seed=2)[:, 0]),
}


@pytest.mark.parametrize("args", ADDITIONAL)
@pytest.mark.parametrize("name", ["deletion", "sizes", "sensitivity_max"])
def test_tuples_of_inputs_and_further_arguments_reach_the_model(args, name):
    model, x, of_rows = TwoInputs().eval(), (inputs(), inputs(N, 2, seed=4)), ADDITIONAL[args]
    further = (tuple(zip(*of_rows)) if len(of_rows) > 1 else of_rows[0],) if of_rows else ()
    data = list(zip(zip(*x), TARGETS, *further))
    result = run(model, data, {"product": InputXGradient}, {name: METRICS[name]}, max_examples_per_batch=2)
    given = {"additional_forward_args": of_rows} if of_rows else {}
    expected = by_hand(name, model, x, InputXGradient(model), target=TARGETS, **given)
    assert_close(scores(result, name), expected, rtol=1e-9, atol=1e-12)


def test_scalars_beside_the_target_become_a_number_per_row():
    class Scaled(nn.Module):
        def forward(self, x, scale):
            return x * scale[:, None]

    data = [(x, 0, float(i)) for i, x in enumerate(inputs())]
    result = run(Scaled(), data, {"ones": ones}, {"curve": METRICS["deletion_curve"]})
    assert_close(scores(result, "curve")[:, 0], inputs()[:, 0] * torch.arange(N), rtol=1e-12, atol=0)


def test_a_user_s_own_metric_needs_no_card_and_names_what_it_takes():
    seen = []

    def own(inputs, target, attributions, seed):
        seen.append((target.tolist(), len(seed)))
        return (attributions * inputs).sum(1) + target

    result = run(methods={"ones": ones, "random": random_attribution}, metrics={"own": own})
    assert_close(scores(result, "own", "ones"), inputs().sum(1) + TARGETS)
    assert seen[:2] == [([0, 1, 2], 3)] * 2
    assert "higher_is_better" not in result.dataset["own"].attrs


def test_a_metric_of_ones_own_may_give_a_curve():
    result = run(methods={"ones": ones}, metrics={"own": lambda attributions, inputs: attributions * inputs})
    assert_close(scores(result, "own"), inputs())
    assert result.dataset["own"].dims == ("attribution", "example", "point")


def test_captums_own_metrics_serve_as_they_are():
    theirs = {
        "infidelity": partial(captum.metrics.infidelity, perturb_func=shrunk),
        "sensitivity_max": partial(captum.metrics.sensitivity_max, perturb_func=lambda x: 1.1 * x),
    }
    ours = {
        "infidelity": partial(metrics.infidelity, perturb_func=shrunk),
        "sensitivity_max": partial(metrics.sensitivity_max, perturb_func=lambda x: 1.1 * x),
    }
    assert_same_scores(run(metrics=theirs), run(metrics=ours))


def test_one_metric_may_come_twice_with_other_arguments():
    both = {f"deletion/{b}": partial(metrics.deletion, baselines=b) for b in (0.0, 1.0)}
    result = run(metrics=both)
    for name, metric in both.items():
        assert_same_scores(run(metrics={name: metric}), type(result)(result.dataset[[name]]), rtol=0)
    assert differ(*(result.dataset[name] for name in both))


def test_what_a_partial_sets_is_not_filled_in():
    fixed = {"deletion": partial(metrics.deletion, target=1)}
    everything = run(data=[(x, 1) for x in inputs()], methods={"random": random_attribution})
    result = run(metrics=fixed, methods={"random": random_attribution})
    assert_close(scores(result, "deletion"), scores(everything, "deletion"), rtol=0, atol=0)


def test_a_partial_may_set_the_model_by_position():
    other = nn.Linear(4, 3).double()
    result = run(metrics={"other": partial(metrics.deletion, other)})
    assert_close(
        scores(result, "other", "product"), scores(run(other, methods=stored("product")), "deletion", "product")
    )


def test_the_model_may_be_a_function_that_makes_it():
    assert_same_scores(run(lambda: Net()), run(Net()), rtol=0)


def test_the_model_may_be_a_plain_function():
    weights = torch.arange(4.0, dtype=torch.float64)
    result = run(lambda x: x @ weights, inputs(), {"exact": lambda f: lambda x: x * weights}, metrics=FEW_METRICS)
    assert_close(scores(result, "sensitivity_n"), torch.ones(N, dtype=torch.float64))


# ---- the table


def test_every_variable_says_what_it_is():
    variables = run(metrics=METRICS, methods={"random": random_attribution, "saliency": Saliency}).dataset
    assert list(variables.attribution.values) == ["random", "saliency"]
    assert list(variables.example.values) == list(range(N))
    directions = {name: v.attrs.get("higher_is_better") for name, v in variables.data_vars.items()}
    assert directions == {
        "infidelity": False,
        "sensitivity_n": True,
        "sizes": True,
        "deletion": False,
        "insertion": False,  # the least relevant first
        "deletion_curve": None,
        "insertion_curve": None,
        "sensitivity_max": False,
    }
    assert '"n": [1, 3]' in variables["sizes"].attrs["arguments"]
    assert '"mode": "lerf"' in variables["insertion"].attrs["arguments"]
    assert "1806.07421" in variables["insertion"].attrs["reference"]
    assert variables["insertion"].attrs["metric"] == "insertion"


def test_the_table_says_seed_and_versions():
    attributes = run().dataset.attrs
    assert attributes["seed"] == SEED
    assert attributes["torch"] == torch.__version__
    assert attributes["captum"] == captum.__version__
    assert {"captum_ext", "numpy", "batch_size", "model"} <= set(attributes)


def test_curves_and_sizes_have_their_own_axes():
    variables = run(metrics=METRICS).dataset
    assert variables["sizes"].dims == ("attribution", "example", "n")
    assert variables["n"].values.tolist() == [1, 3]
    assert variables["deletion_curve"]["fraction"].values.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert variables["insertion_curve"]["fraction (insertion_curve)"].values.tolist() == [0, 0.5, 1]  # another grid


def test_curves_on_one_grid_share_its_axis():
    two = {
        "deletion": partial(metrics.deletion_curve, n_steps=5),
        "insertion": partial(metrics.insertion_curve, n_steps=5),
    }
    variables = run(metrics=two).dataset
    assert variables["deletion"].dims == variables["insertion"].dims == ("attribution", "example", "fraction")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_kept_in_the_type_of_the_metric(dtype):
    result = run(Net().to(dtype), [(x.to(dtype), t) for x, t in examples()])
    assert scores(result, "deletion").dtype == dtype


def test_a_model_in_bfloat16_is_scored():
    result = run(Net().bfloat16(), [(x.bfloat16(), t) for x, t in examples()], metrics={"deletion": metrics.deletion})
    assert np.isfinite(result.dataset["deletion"]).all()


OF_DRAWS = {
    "sizes": partial(metrics.sensitivity_n, n=[1, 2], n_perturb_samples=4),
    "infidelity": partial(metrics.infidelity, perturb_func=perturbations.gaussian),
    "average": metrics.sensitivity_avg,
    "largest": metrics.sensitivity_max,
    "deletion": metrics.deletion,
    "own": lambda attributions, inputs, seed: inputs.flatten(1).sum(1),
}
WITH_STDERR, FEW_DRAWS = ("sizes", "infidelity", "average"), "ignore:Fewer than 12 draws"


@pytest.mark.filterwarnings(FEW_DRAWS)
def test_standard_errors_are_beside_the_scores_of_metrics_that_draw_and_change_none_of_them():
    result = run(metrics=OF_DRAWS, stderr=True).dataset
    plain = run(metrics=OF_DRAWS).dataset
    noise = {f"{name}{part}" for name in WITH_STDERR for part in (" stderr", " n_eff")} | {"largest:halves"}
    assert set(result.data_vars) == {*plain.data_vars, *noise}
    assert all(result[name].identical(plain[name]) for name in OF_DRAWS)
    for name in WITH_STDERR:
        assert result[f"{name} stderr"].dims == result[f"{name} n_eff"].dims == result[name].dims
        assert (result[f"{name} stderr"] > 0).any()
    np.testing.assert_array_equal(result["largest:halves"].max("half"), result["largest"])
    assert differ(result["largest:halves"][..., 0], result["largest:halves"][..., 1])


def test_standard_errors_are_those_of_the_metric_itself():
    model, x = Net().eval(), inputs()
    result = run(model, metrics={"sizes": OF_DRAWS["sizes"]}, stderr=True).dataset.sel(attribution="saliency")
    maps = Saliency(model).attribute(x, target=TARGETS)
    estimate = metrics.with_stderr(OF_DRAWS["sizes"])(model, x, maps, target=TARGETS, seed=SEED)
    for name, part in zip(["sizes", "sizes stderr", "sizes n_eff"], estimate):
        np.testing.assert_allclose(result[name], part, rtol=1e-5)


def test_a_run_whose_scores_few_draws_carry_says_so_once():
    with pytest.warns(
        UserWarning, match="Fewer than 12 draws carry the variance of 100% of metric 'infidelity'"
    ) as said:
        run(metrics={"infidelity": OF_DRAWS["infidelity"]}, stderr=True, batch_size=2)
    assert len([w for w in said if "draws" in str(w.message)]) == 1


def test_where_every_method_fails_the_standard_error_is_nan_as_the_score_is():
    first = examples()[0][0]

    def failing(attributions, inputs, seed):
        if torch.equal(inputs[0], first):
            raise RuntimeError("no")
        return metrics.sensitivity_n(lambda x: x.square().flatten(1).sum(1), inputs, attributions, n=2, seed=seed)

    result = run(metrics={"s": failing}, stderr=True, batch_size=1, shard_size=2, on_error="record").dataset
    assert result["s"][:, 0].isnull().all()
    assert result["s stderr"].isnull().equals(result["s"].isnull())
    assert result["s stderr"][:, 1:].notnull().all()


def differ(a, b):
    """Whether some scores are other numbers: nan, which is unequal to itself, counts for nothing."""
    return bool(((a != b) & a.notnull() & b.notnull()).any())


def test_scores_that_are_nan_alike_do_not_differ():
    a = xr.DataArray([1.0, np.nan])
    assert not differ(a, a)
    assert not differ(a, xr.DataArray([1.0, 2.0]))
    assert differ(a, xr.DataArray([2.0, np.nan]))


# ---- the cost


def test_an_explanation_is_computed_once_for_a_batch_and_serves_all_metrics():
    calls = []

    def make(model):
        def explain(inputs, target):
            calls.append(len(inputs))
            return torch.ones_like(inputs)

        return explain

    run(
        methods={"own": make, "random": random_attribution},
        metrics={k: v for k, v in METRICS.items() if k != "sensitivity_max"},
    )
    assert calls == [3, 3, 2]


@pytest.mark.parametrize("name", ["infidelity", "sensitivity_n", "sizes"])
def test_several_methods_cost_the_model_rows_of_one(name):
    one, three = Net(), Net()
    run(one, methods=stored("saliency"), metrics={name: METRICS[name]})
    run(three, methods=stored("saliency", "product") | {"random": random_attribution}, metrics={name: METRICS[name]})
    assert three.calls == one.calls
    assert one.rows > N


def test_methods_share_the_whole_and_the_empty_example_of_a_curve():
    model = Net()
    three = {"saliency": Saliency(model).attribute(inputs(), target=TARGETS), "a": inputs(), "b": -inputs()}
    model.calls.clear()
    run(model, methods=three, metrics={"curve": partial(metrics.deletion_curve, n_steps=5)})
    assert model.rows <= 2 * N + 3 * N * 3


def test_stored_and_random_attributions_cost_no_explanation():
    model = Net()
    run(model, methods=stored("saliency") | {"random": random_attribution}, metrics={"own": mean_of_attributions})
    assert model.calls == []


# ---- what is the caller's stays as it is


class SomeFrozen(Net):
    """Submodules in modes of their own: the last layer in evaluation mode, the rest in training."""

    def __init__(self):
        super().__init__()
        self.layers[-1].eval()
        self.seen = []

    def forward(self, x):
        self.seen.append({m.training for m in self.modules()})
        return super().forward(x)


def modes(model):
    return [m.training for m in model.modules()]


def test_the_model_is_in_evaluation_mode_and_every_submodule_gets_its_own_back():
    model = SomeFrozen()
    before = modes(model)
    run(model, metrics=METRICS)
    assert model.seen
    assert all(seen == {False} for seen in model.seen)
    assert modes(model) == before
    assert len(set(before)) == 2


def test_modes_come_back_after_an_exception_too():
    model = SomeFrozen()
    before = modes(model)

    def failing(attributions):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        run(model, metrics={"failing": failing})
    assert modes(model) == before


def test_gradients_of_the_callers_tensors_and_parameters_are_untouched():
    model, x = Net(), inputs().requires_grad_()
    x.grad = torch.full_like(x, 7)
    for p in model.parameters():
        p.grad = torch.full_like(p, 9)
    rows = list(x)
    maps = inputs().requires_grad_()
    run(
        model,
        list(zip(rows, TARGETS)),
        METHODS | {"stored": maps, "ig": IntegratedGradients},
        METRICS_WITHOUT_EXPLAINING,
    )
    assert_close(x.grad, torch.full_like(x, 7))
    assert all((p.grad == 9).all() for p in model.parameters())
    assert maps.grad is None
    assert all(row.requires_grad for row in rows)
    assert_close(x.detach(), inputs(), rtol=0, atol=0)


METRICS_WITHOUT_EXPLAINING = {k: v for k, v in METRICS.items() if k != "sensitivity_max"}


def test_a_collate_function_that_hands_out_one_tensor_again_and_again_gets_it_back_as_it_was():
    x = inputs()[:1].clone()
    loader = DataLoader(examples(3), collate_fn=lambda rows: (x, 0))
    run(data=loader, batch_size=1, metrics=METRICS)
    assert not x.requires_grad
    assert_close(x, inputs()[:1], rtol=0, atol=0)


def test_the_parameters_keep_requiring_gradients_or_not():
    model = Net()
    model.layers[0].weight.requires_grad_(False)
    run(model)
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]


DRAWING = {
    "gradient shap": lambda model: partial(GradientShap(model).attribute, baselines=torch.zeros(2, 4).double()),
    "noise tunnel": lambda model: NoiseTunnel(Saliency(model)),
    "random": random_attribution,
}
DRAWING_METRICS = {
    "infidelity": partial(metrics.infidelity, perturb_func=drawn_from_all),
    "sensitivity_max": partial(metrics.sensitivity_max, n_perturb_samples=2),
}


def test_the_global_generators_go_on_as_if_nothing_had_been_drawn():
    model, before = Net(), global_states()
    run(model, methods=DRAWING, metrics=DRAWING_METRICS)
    assert global_states() == before


def failing_after_draws(error, *inputs, **_):
    drawn_from_all(inputs[0])
    raise error("no")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["method", "metric", "perturb_func", "inside infidelity"])
def test_generators_and_threads_come_back_after_an_exception_too(where, error):
    fail = partial(failing_after_draws, error)
    options = {
        "method": {"methods": {"failing": lambda model: lambda inputs: fail(inputs)}},
        "metric": {"metrics": {"failing": lambda attributions: fail(attributions)}},
        "perturb_func": {"metrics": {"failing": partial(metrics.sensitivity_max, perturb_func=fail)}},
        "inside infidelity": {"metrics": {"failing": partial(metrics.infidelity, perturb_func=fail)}},
    }[where]
    model, before, threads = Net(), global_states(), torch.get_num_threads()
    with pytest.raises(error, match="no"):
        run(model, **options, threads_per_worker=threads + 1)
    assert global_states() == before
    assert torch.get_num_threads() == threads
    assert_same_scores(run(), run(model), rtol=0)


# ---- scores depend on the seed and the example alone

BATCH_SIZES = (1, 3, N)


@pytest.mark.parametrize("name", METRICS)
def test_the_batch_size_is_without_effect(name):
    results = [run(metrics={name: METRICS[name]}, batch_size=size) for size in BATCH_SIZES]
    for result in results[1:]:
        assert_same_scores(result, results[0])


def test_the_batch_size_is_without_effect_where_a_perturbation_draws_at_random():
    metric = {"infidelity": partial(metrics.infidelity, perturb_func=drawn_from_all, n_perturb_samples=4)}
    results = [run(metrics=metric, batch_size=size) for size in BATCH_SIZES]
    for result in results[1:]:
        assert_same_scores(result, results[0])


def test_the_limit_is_without_effect_where_a_perturbation_draws_at_random():
    metric = {"infidelity": partial(metrics.infidelity, perturb_func=drawn_from_all, n_perturb_samples=4)}
    assert_same_scores(run(metrics=metric, max_examples_per_batch=2), run(metrics=metric))


def test_the_copies_of_an_example_draw_each_for_itself():
    drawn = []

    def noted(x):
        noise, moved = drawn_from_all(x)
        drawn.append(noise)
        return noise, moved

    run(methods={"ones": ones}, metrics={"i": partial(metrics.infidelity, perturb_func=noted, n_perturb_samples=4)})
    assert len(torch.cat(drawn).unique()) == N * 4 * 4


def test_a_perturbation_of_several_tensors_with_baselines_is_drawn_by_example_too():
    def towards_baseline(x, baselines):
        share = [torch.rand_like(t) for t in x]
        change = tuple(s * (t - b) for s, t, b in zip(share, x, baselines))
        return change, tuple(t - c for t, c in zip(x, change))

    data = list(zip(zip(inputs(), inputs(N, 2, seed=4)), TARGETS))
    metric = {
        "infidelity": partial(
            metrics.infidelity, perturb_func=towards_baseline, baselines=(0.0, torch.ones(1, 2).double())
        )
    }
    results = [run(TwoInputs(), data, {"random": random_attribution}, metric, batch_size=size) for size in BATCH_SIZES]
    for result in results[1:]:
        assert_same_scores(result, results[0])


@pytest.mark.parametrize("method", DRAWING)
def test_the_batch_size_is_without_effect_on_an_explanation_that_draws(method):
    results = [run(methods={method: DRAWING[method]}, metrics=METRICS, batch_size=size) for size in BATCH_SIZES]
    for result in results[1:]:
        assert_same_scores(result, results[0])


def test_the_batch_size_is_without_effect_on_sampled_shapley_values():
    results = [run(methods={"s": ShapleyValueSampling}, batch_size=size) for size in BATCH_SIZES]
    for result in results[1:]:
        assert_same_scores(result, results[0])


def test_the_batch_size_is_without_effect_on_a_function_that_draws():
    """The usual way to give GradientShap its baselines, or a method of one's own that draws from a global generator."""

    def make(model):
        return lambda inputs, target: GradientShap(model).attribute(inputs, torch.zeros(2, 4).double(), target=target)

    results = [run(methods={"drawing": make}, batch_size=size) for size in BATCH_SIZES]
    for result in results[1:]:
        assert_same_scores(result, results[0])


def test_the_batch_size_is_without_effect_on_baselines_that_are_drawn():
    metric = {"deletion": partial(metrics.deletion, baselines=baselines.uniform_noise)}
    results = [run(metrics=metric, batch_size=size) for size in BATCH_SIZES]
    for result in results[1:]:
        assert_same_scores(result, results[0])


def test_the_shards_are_without_effect():
    assert_same_scores(run(metrics=METRICS, shard_size=6), run(metrics=METRICS, shard_size=3), rtol=0)
    assert_same_scores(run(metrics=METRICS, shard_size=5), run(metrics=METRICS, shard_size=N))


def test_the_order_of_methods_and_metrics_is_without_effect():
    methods, some = {**METHODS, **DRAWING}, {**METRICS, **DRAWING_METRICS}
    there = run(methods=methods, metrics=some).dataset
    back = run(methods=dict(reversed(methods.items())), metrics=dict(reversed(some.items()))).dataset
    assert list(back.attribution) == list(reversed(there.attribution))
    for name in some:
        a, b = there[name], back[name].sel(attribution=there.attribution)
        np.testing.assert_allclose(a.values, b.values, rtol=1e-12)


def test_a_method_is_scored_alike_alone_and_among_others():
    among = run(methods={**METHODS, **DRAWING}, metrics=DRAWING_METRICS | METRICS).dataset
    alone = run(methods={"noise tunnel": DRAWING["noise tunnel"]}, metrics=DRAWING_METRICS | METRICS).dataset
    for name in alone.data_vars:
        np.testing.assert_allclose(among[name].sel(attribution=["noise tunnel"]), alone[name], rtol=1e-9, atol=1e-12)


def test_a_seed_repeats_and_another_differs():
    def of(seed):
        return run(methods=DRAWING, metrics=DRAWING_METRICS | FEW_METRICS, seed=seed).dataset

    first, again, other = of(1), of(1), of(2)
    assert first.identical(again)
    for name in ("infidelity", "sensitivity_max", "sensitivity_n"):
        assert differ(*(scored[name].sel(attribution="noise tunnel") for scored in (first, other))), name
    assert first["deletion"].sel(attribution="random").equals(other["deletion"].sel(attribution="random"))


def test_the_callers_generators_are_without_effect():
    torch.manual_seed(1)
    one = run(methods=DRAWING, metrics=DRAWING_METRICS)
    torch.manual_seed(2), np.random.seed(2), random.seed(2)
    assert one.dataset.identical(run(methods=DRAWING, metrics=DRAWING_METRICS).dataset)


# ---- the limit


@pytest.mark.parametrize("limit", [1, 5])
@pytest.mark.parametrize("name", METRICS)
def test_the_limit_is_never_exceeded_and_without_effect(name, limit):
    model, batch_size = Net(), 4
    methods = METHODS | {"ablation": FeatureAblation}
    result = run(
        model, methods=methods, metrics={name: METRICS[name]}, batch_size=batch_size, max_examples_per_batch=limit
    )
    assert max(model.calls) <= limit
    assert_same_scores(result, run(methods=methods, metrics={name: METRICS[name]}, batch_size=batch_size))


def test_an_explanation_is_given_at_most_the_limit():
    given = []

    def make(model):
        def explain(inputs, target):
            given.append(len(inputs))
            assert len(target) == len(inputs)
            return torch.ones_like(inputs)

        return explain

    run(methods={"own": make}, metrics=METRICS, max_examples_per_batch=2)
    assert max(given) == 2


COPYING = {"integrated gradients": IntegratedGradients, "noise tunnel": lambda model: NoiseTunnel(Saliency(model))}


@pytest.mark.parametrize("method", COPYING)
def test_the_limit_is_not_exceeded_inside_an_explanation_that_copies_its_rows(method):
    """Captum can cut the copies: by `internal_batch_size` and `nt_samples_batch_size`."""
    model = Net()
    run(model, methods={method: COPYING[method]}, metrics={"own": mean_of_attributions}, max_examples_per_batch=4)
    assert max(model.calls) <= 4


# ---- progress


def test_progress_is_a_line_where_there_is_no_terminal(capsys):
    run(show_progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"evaluate: {N} of {N} examples" in err


def test_without_progress_nothing_is_written(capsys):
    run()
    assert capsys.readouterr() == ("", "")


def test_progress_goes_on_where_a_run_was_interrupted(capsys, tmp_path):
    run(path=tmp_path / "run.h5")
    run(path=tmp_path / "run.h5", show_progress=True)
    assert f"evaluate: {N} of {N} examples, 0 a second" in capsys.readouterr().err


def test_evaluate_runs_without_a_gradient_mode_of_its_own():
    with torch.no_grad():
        inside = run()
    assert_same_scores(inside, run(), rtol=0)


def test_a_run_leaves_no_files_without_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    evaluate(Net(), examples(), METHODS, FEW_METRICS)
    assert list(tmp_path.iterdir()) == []


def moved(inputs, radius=0.02, seed=None):
    """A perturbation that leaves its seed open, though nobody tells it one: it draws from torch's generator."""
    return inputs + radius * torch.randn_like(inputs)


def test_a_perturbation_with_an_open_seed_draws_for_the_example_where_no_seed_is_told():
    metric = {"sensitivity_max": partial(metrics.sensitivity_max, perturb_func=moved, n_perturb_samples=10)}
    assert_same_scores(run(metrics=metric, batch_size=8), run(metrics=metric, batch_size=3, max_examples_per_batch=2))


def test_a_warning_points_to_the_line_that_calls():
    def writes(attributions):
        return attributions.zero_().sum(1)

    with pytest.warns(UserWarning, match="Metric 'it' writes into a tensor") as caught:
        run(metrics={"it": writes})
    assert {w.filename for w in caught if "writes" in str(w.message)} == {runs.__file__}
