"""Standard errors over draws: exact where they are known, brute force elsewhere, and true by simulation."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from captum_ext import baselines, metrics, perturbations
from captum_ext.metrics import Estimate, with_stderr

pytestmark = pytest.mark.filterwarnings("ignore:Fewer than 12 draws")
F = 12
MAXIMA = (
    metrics.sensitivity_max,
    metrics.local_lipschitz,
    metrics.continuity,
    partial(metrics.relative_input_stability, lambda x: x.sum(1)),
)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, F, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(F, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0)).double().eval()


def linear(x: Tensor) -> Tensor:
    return x @ torch.arange(1.0, F + 1, dtype=x.dtype)


# ---- exact


@pytest.mark.parametrize("correlation", ["pearson", "spearman", "kendall"])
@pytest.mark.parametrize("metric", [partial(metrics.sensitivity_n, n=4), metrics.linear_datamodeling_score])
def test_a_linear_model_leaves_no_doubt(metric, correlation, x):
    phi = x * torch.arange(1.0, F + 1)
    score, stderr, n_eff = with_stderr(partial(metric, correlation=correlation))(linear, x, phi, seed=0)
    assert_close(score, torch.ones(3, dtype=x.dtype))
    assert (stderr < 1e-7).all()
    assert (n_eff > 5).all()


@pytest.mark.parametrize("metric", [partial(metrics.sensitivity_n, n=2), metrics.linear_datamodeling_score])
def test_where_every_set_is_taken_there_is_no_error(metric, model, x):
    score, stderr, n_eff = with_stderr(partial(metric, n_perturb_samples=2**F))(model, x, x.cos(), seed=0)
    assert (stderr == 0).all()
    assert n_eff.isinf().all()
    assert (score.abs() < 1).all()


def test_the_error_of_a_mean_is_the_standard_deviation_by_the_root_of_the_number(x):
    steps = [0.02 * torch.randn_like(x) for _ in range(9)]
    perturb = iter(steps)
    score, stderr, _ = with_stderr(metrics.sensitivity_avg)(
        torch.square, x, lambda z: z + next(perturb), n_perturb_samples=9, max_examples_per_batch=3
    )
    moved = torch.stack([((x + s) ** 2 - x**2).norm(dim=1) / (x**2).norm(dim=1) for s in steps])
    assert_close(score, moved.mean(0))
    assert_close(stderr, moved.std(0) / 3)


def drawn_effects(model: nn.Module, x: Tensor, draws: int) -> tuple[list[Tensor], Tensor]:
    steps = [torch.randn(x.shape, generator=torch.Generator().manual_seed(j), dtype=x.dtype) for j in range(draws)]
    return steps, torch.stack([model(x) - model(x - s) for s in steps]).detach()


@pytest.mark.parametrize("normalize", [False, True])
def test_infidelity_has_the_jackknifes_error(normalize, model, x):
    steps, drops = drawn_effects(model, x, 15)
    perturb = iter(steps)
    score, stderr, n_eff = with_stderr(metrics.infidelity)(
        model,
        lambda z: (s := next(perturb), z - s),
        x,
        x.cos(),
        n_perturb_samples=15,
        max_examples_per_batch=3,
        normalize=normalize,
    )
    explained = torch.stack([(s * x.cos()).sum(1) for s in steps])

    def of(which: list[int]) -> Tensor:
        e, d = explained[which], drops[which]
        beta = (e * d).sum(0) / (e * e).sum(0) if normalize else 1.0
        return ((beta * e - d) ** 2).mean(0)

    everything = range(15)
    assert_close(score, of(list(everything)))
    left_out = torch.stack([of([i for i in everything if i != j]) for j in everything])
    assert_close(stderr, jackknife(left_out))
    assert_close(n_eff, by_definition(left_out))


def jackknife(left_out: Tensor) -> Tensor:
    return ((len(left_out) - 1) / len(left_out) * ((left_out - left_out.mean(0)) ** 2).sum(0)).sqrt()


def by_definition(drops: Tensor) -> Tensor:
    d = drops - drops.mean(0)
    return (d**2).sum(0) ** 2 / (d**4).sum(0)


def test_pearsons_error_is_the_jackknifes(model, x):
    """The sets are read from what the model is given."""
    seen = []

    def recording(z: Tensor) -> Tensor:
        seen.append(z)
        return model(z)

    x, phi = x[:1], x[:1].cos()
    score, stderr, n_eff = with_stderr(metrics.sensitivity_n)(
        recording, x, phi, n=4, n_perturb_samples=20, baselines=100.0, seed=3
    )
    rows = torch.cat(seen)
    removed = (rows == 100).to(x)[rows.eq(100).any(1)]
    drops, totals = (model(x) - model(x * (1 - removed) + 100 * removed)).detach().numpy(), (removed @ phi[0]).numpy()
    each = [np.delete(np.arange(20), j) for j in range(20)]
    left_out = torch.tensor([np.corrcoef(totals[which], drops[which])[0, 1] for which in each])
    assert_close(score[0], torch.tensor(np.corrcoef(totals, drops)[0, 1]))
    assert_close(stderr[0], jackknife(left_out))
    assert_close(n_eff[0], by_definition(torch.from_numpy(drops)))


@pytest.mark.parametrize(("correlation", "variance"), [("spearman", 1.06 / 25), ("kendall", 0.437 / 24)])
def test_the_error_of_a_rank_correlation_is_fishers(correlation, variance, model, x):
    metric = partial(metrics.sensitivity_n, n=4, n_perturb_samples=28, correlation=correlation)
    score, stderr, _ = with_stderr(metric)(model, x, x.cos(), seed=0)
    assert_close(stderr, (1 - score**2) * variance**0.5)


def test_too_few_draws_for_fishers_error_have_none(model, x):
    for correlation, most in (("spearman", 3), ("kendall", 4)):
        metric = partial(metrics.sensitivity_n, n=4, correlation=correlation, seed=0)
        with_error = [with_stderr(metric)(model, x, x.cos(), n_perturb_samples=n).stderr for n in (most, most + 1)]
        assert with_error[0].isnan().all()
        assert with_error[1].isfinite().all()


def test_the_regression_and_the_control_variate_leave_out_each_draw_in_turn(model, x):
    """A linear model leaves no doubt; elsewhere both have smaller errors than the plain estimates."""
    phi = x * torch.arange(1.0, F + 1)
    plain, regression = (
        with_stderr(partial(metrics.sensitivity_n, n=4, estimator=kind, seed=0)) for kind in ("sample", "regression")
    )
    assert (regression(linear, x, phi.cos()).stderr < 1e-7).all()
    assert (regression(model, x, x.cos()).stderr < plain(model, x, x.cos()).stderr).all()
    few = with_stderr(partial(metrics.infidelity, control_variate="gradient", seed=0, n_perturb_samples=40))
    assert (few(linear, perturbations.gaussian, x, phi).stderr < 1e-10).all()
    usual = with_stderr(partial(metrics.infidelity, seed=0, n_perturb_samples=40))
    pair = [f(model, perturbations.gaussian, x, 3 * x.cos()).stderr for f in (few, usual)]
    assert (pair[0] < pair[1]).all()


def test_drawn_baselines_are_left_out_one_by_one(model, x):
    """The draws' seeds are those of the metric, whose draws begin with those of fewer draws."""
    metric = partial(metrics.monotonicity_correlation, model, x, x.cos(), baselines.gaussian_noise, seed=0)
    stderr = with_stderr(partial(metric, n_perturb_samples=2))().stderr
    one = metric(n_perturb_samples=1)
    assert (stderr > 0).any()
    assert with_stderr(partial(metric, n_perturb_samples=1))().stderr.isnan().all()
    assert one.isfinite().all()
    fixed = with_stderr(metrics.monotonicity_correlation)(model, x, x.cos(), 0.0)
    assert (fixed.stderr == 0).all()
    assert fixed.n_eff.isinf().all()


def test_the_random_orders_of_a_scale_are_its_draws(x):
    """Of w = 1 to 4 with deletion: the random orders' mean is on the scale, and the jackknife of it by hand."""
    x, maps = torch.ones(1, 4), {"best": torch.arange(1.0, 5)[None], "other": torch.tensor([[2.0, 1.0, 4.0, 3.0]])}
    weights = torch.arange(1.0, 5)
    metric = partial(metrics.oracle_normalized, lambda z: z @ weights, x, maps, score=metrics.deletion, seed=0)
    few = with_stderr(partial(metric, n_perturb_samples=8))()
    many = with_stderr(partial(metric, n_perturb_samples=800))()
    assert few.stderr["best"] < 1e-6  # 1 whatever chance is
    assert 5 < few.stderr["other"] / many.stderr["other"] < 20  # about the root of 100
    inner = partial(metric, score=metrics.soft_comprehensiveness)
    assert with_stderr(inner)().stderr["best"].isnan().all()  # draws of its own


# ---- invariance, and what is undefined


def test_errors_have_the_unit_of_the_score(model, x):
    metric = with_stderr(partial(metrics.infidelity, n_perturb_samples=12, seed=0))
    once, tenfold = (metric(lambda z, c=c: c * model(z), perturbations.gaussian, x, c * x.cos()) for c in (1, 10))
    assert_close(tenfold.stderr, 100 * once.stderr)
    assert_close(tenfold.n_eff, once.n_eff)
    metric = with_stderr(partial(metrics.sensitivity_n, n=4, seed=0))
    once, tenfold = (metric(lambda z, c=c: c * model(z), x, x.cos()) for c in (1, 10))
    assert_close(tenfold.stderr, once.stderr)


def test_where_the_score_is_nan_or_there_is_one_draw_the_error_is_nan(model, x):
    constant = {"constant": torch.ones_like(x), "other": x.cos()}
    score, stderr, n_eff = with_stderr(partial(metrics.sensitivity_n, n=4))(model, x, constant)
    for part in (score, stderr, n_eff):
        assert part["constant"].isnan().all()
        assert part["other"].isfinite().all()
    for metric in (partial(metrics.sensitivity_n, n=4), metrics.soft_sufficiency):
        assert with_stderr(partial(metric, n_perturb_samples=1))(model, x, x.cos()).stderr.isnan().all()


@pytest.mark.parametrize(
    ("metric", "draws"),
    [
        (partial(metrics.sensitivity_n, n=4), 3),
        (partial(metrics.sensitivity_n, n=4, correlation="spearman"), 3),
        (partial(metrics.linear_datamodeling_score), 3),
        (partial(metrics.infidelity, perturb_func=perturbations.gaussian, normalize=True), 2),
        (partial(metrics.infidelity, perturb_func=perturbations.gaussian), 1),
        (partial(metrics.infidelity, perturb_func=perturbations.gaussian, control_variate="gradient"), 1),
        (metrics.oracle_normalized, 1),
        (metrics.soft_sufficiency, 1),
    ],
)
def test_too_few_draws_to_tell_leave_the_error_open(metric, draws, model, x):
    """Without one of three draws a correlation is 1 or -1, and without one of two a fitted factor leaves nothing."""
    for number in (draws, draws + 1):
        _, stderr, n_eff = with_stderr(partial(metric, n_perturb_samples=number))(
            forward_func=model, inputs=x, attributions=x.cos(), seed=0
        )
        assert stderr.isnan().all() == n_eff.isnan().all() == (number == draws)


@pytest.mark.parametrize("metric", MAXIMA)
def test_a_maximum_has_no_standard_error(metric, x):
    score, stderr, n_eff = with_stderr(metric)(explanation_func=torch.square, inputs=x, seed=0)
    assert (score > 0).all()
    assert stderr.isnan().all()
    assert n_eff.isnan().all()


def test_a_metric_without_draws_has_none(model, x):
    assert_close(
        with_stderr(metrics.deletion)(model, x, {"m": x.cos()}),
        Estimate(
            {"m": metrics.deletion(model, x, x.cos())},
            {"m": torch.zeros(3, dtype=x.dtype)},
            {"m": torch.full((3,), torch.inf, dtype=x.dtype)},
        ),
    )


def test_of_functions_of_ones_own_only_that_is_said_which_is_known(model, x):
    def returned(inputs, attributions, seed):
        return metrics.sensitivity_n(model, inputs, attributions, n=4, seed=seed)

    def changed(inputs, attributions, seed):
        return returned(inputs, attributions, seed) + 1

    def hidden(inputs, attributions):
        return returned(inputs, attributions, 0) + 1

    def plain(inputs, attributions):
        return attributions.sum(1)

    def drawing(inputs, attributions):
        return attributions.sum(1) + torch.randn(len(inputs))

    expected = with_stderr(partial(metrics.sensitivity_n, n=4))(model, x, x.cos(), seed=0)
    assert_close(with_stderr(returned)(x, x.cos(), seed=0), expected)
    assert with_stderr(changed)(x, x.cos(), seed=0).stderr.isnan().all()
    assert with_stderr(hidden)(x, x.cos()).stderr.isnan().all()
    assert (with_stderr(plain)(x, x.cos()).stderr == 0).all()
    assert with_stderr(drawing)(x, x.cos()).stderr.isnan().all()
    assert with_stderr(metrics.deletion)(model, x, x.cos(), torch.randn_like).stderr.isnan().all()


def test_scores_of_ones_own_may_be_integers_but_must_be_tensors(x):
    count, stderr, n_eff = with_stderr(lambda attributions: (attributions > 0).sum(1))(x)
    assert (count.dtype, stderr.dtype, n_eff.dtype) == (torch.int64, torch.float64, torch.float64)
    assert (stderr == 0).all()
    assert n_eff.isinf().all()
    assert (with_stderr(torch.sum)(x).stderr == 0).all()  # a built-in without a signature
    twice = with_stderr(with_stderr(lambda attributions: attributions.sum(1)))
    with pytest.raises(TypeError, match=r"`metric` must return a tensor of scores, or a mapping .*; got Estimate"):
        twice(x)


def test_a_partial_stays_one_and_what_is_no_function_is_refused():
    given = with_stderr(partial(metrics.sensitivity_n, n=4))
    assert isinstance(given, partial)
    assert given.keywords == {"n": 4}
    with pytest.raises(TypeError, match=r"`metric` must be a metric or a function of its arguments, got float 1\.0"):
        with_stderr(1.0)
    with pytest.raises(TypeError, match="a function of its arguments, got the class Linear"):
        with_stderr(nn.Linear)


# ---- true


def replicates(model: nn.Module, x: Tensor, metric: partial, times: int = 600) -> tuple[Estimate, Tensor]:
    """Estimates of one example with other seeds, and its score by very many draws."""
    many = x[:1].expand(times, -1)
    estimate = with_stderr(metric)(model, inputs=many, attributions=many.cos(), seed=1)
    truth = partial(metric, n_perturb_samples=10_000)(model, inputs=x[:1], attributions=x[:1].cos(), seed=7)
    return estimate, truth


@pytest.mark.parametrize(
    ("metric", "draws"),
    [
        (partial(metrics.sensitivity_n, n=4), 50),
        (partial(metrics.sensitivity_n, n=4, correlation="spearman"), 50),
        (partial(metrics.sensitivity_n, n=4, correlation="kendall"), 50),
        (partial(metrics.sensitivity_n, n=4, estimator="regression"), 50),
        (metrics.linear_datamodeling_score, 50),
        (partial(metrics.infidelity, perturb_func=perturbations.gaussian), 200),
        (partial(metrics.infidelity, perturb_func=perturbations.gaussian, normalize=True), 200),
        (partial(metrics.infidelity, perturb_func=perturbations.gaussian, control_variate="gradient"), 300),
        (metrics.soft_comprehensiveness, 50),
        (partial(metrics.stochastic_comprehensiveness, shares=[3, 6]), 50),
    ],
    ids=[
        "sensitivity-n",
        "its ranks",
        "their pairs",
        "by regression",
        "LDS",
        "infidelity",
        "normalized",
        "controlled",
        "soft",
        "stochastic",
    ],
)
def test_95_percent_intervals_hold_the_truth_95_times_in_100(metric, draws, model, x):
    """600 repetitions: three standard deviations of the count are 2.7 %. Fisher's error of ranks is a little large."""
    (score, stderr, n_eff), truth = replicates(model, x, partial(metric, n_perturb_samples=draws))
    assert n_eff.median() > 12
    covered = ((score - truth).abs() <= 1.96 * stderr).double().mean()
    assert 0.923 < covered < 0.985
    of_ranks = "correlation" in metric.keywords if isinstance(metric, partial) else False
    assert_close(stderr.square().mean().sqrt(), score.std(), rtol=0.25 if of_ranks else 0.12, atol=0)


# ---- the warning


def test_a_call_of_which_few_draws_carry_the_variance_is_warned_of_once():
    """One of 40 features decides, so a twentieth of the sets of two."""
    x = torch.ones(1, 40)
    spike = torch.zeros(40).index_fill_(0, torch.tensor(3), 1.0)
    metric = with_stderr(partial(metrics.sensitivity_n, n=2, seed=0))
    with pytest.warns(UserWarning, match="100% of the scores, so standard errors may be too small .* logits") as said:
        estimate = metric(lambda z: z @ spike, x, {"a": torch.rand(1, 40), "b": torch.rand(1, 40)})
    assert len(said) == 1
    assert (estimate.n_eff["a"] < 12).all()
