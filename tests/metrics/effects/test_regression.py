"""`sensitivity_n(estimator="regression")`: exact limits, the formula by numpy, and what it needs of the model."""

from __future__ import annotations

import math
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.testing import assert_close

from captum_ext.metrics import sensitivity_n

from ... import oracles
from ...conftest import smooth_model
from ...oracles import Recorder, identified

closely = partial(assert_close, rtol=1e-9, atol=1e-9)
regression = partial(sensitivity_n, estimator="regression", n_perturb_samples=9, seed=0)
MASK = torch.tensor([[4, 4, 9, 9, 1, 0, 0, 7, 3, 3], [2, 0, 2, 0, 1, 5, 5, 8, 9, 6]])  # 6 and 7 groups


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sums_over(values, subsets):
    return [math.fsum(values[i] for i in subset) for subset in subsets]


def bent(rows):
    """Neither linear nor near it, of any number of elements."""
    place = torch.arange(1, rows.shape[1] + 1, dtype=torch.float64)
    return torch.tanh((rows * torch.cos(place)).sum(1)) + (rows * torch.sin(3 * place)).sum(1) / 2


# ---------------------------------------------------------------- exact limits


@given(features=st.integers(2, 9), share=st.floats(0.01, 1))
def test_the_covariances_are_those_over_all_subsets(features, share):
    n = max(1, round(share * features))
    u, v = normal(2, features)
    subsets = list(combinations(range(features), n))
    wanted = np.cov(sums_over(u, subsets), sums_over(v, subsets), bias=True)[0, 1] if len(subsets) > 1 else 0.0
    factor = n * (features - n) / (features * (features - 1))
    assert math.isclose(factor * float(((u - u.mean()) * (v - v.mean())).sum()), wanted, abs_tol=1e-12)


@pytest.mark.parametrize("baseline", [0.0, 0.5])
@pytest.mark.parametrize("draws", [5, 9])
def test_a_linear_model_has_its_exact_correlation_at_every_size_for_any_attributions(baseline, draws):
    x, w = normal(3, 30), normal(30, seed=1)
    phi = {"exact": w * (x - baseline), "other": normal(3, 30, seed=2), "opposite": -w * (x - baseline)}
    score = regression(lambda rows: rows @ w + 1, x, phi, [2, 11, 0.5, 28], baseline, n_perturb_samples=draws)
    wanted = [[stats.pearsonr(p, e)[0]] * 4 for p, e in zip(phi["other"], w * (x - baseline))]
    closely(score["other"], torch.tensor(wanted, dtype=torch.float64))
    closely(score["exact"], torch.ones(3, 4, dtype=torch.float64))
    closely(score["opposite"], -torch.ones(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("frozen", [None, [9, 0]])
def test_groups_count_with_the_sums_of_their_elements_and_frozen_ones_not_at_all(frozen):
    x, w, phi = normal(2, 10), normal(10, seed=1), normal(2, 10, seed=2)
    score = regression(lambda rows: rows @ w, x, phi, 2, feature_mask=MASK, frozen=frozen, n_perturb_samples=5)
    for b, row in enumerate(MASK):
        groups = [row == i for i in row.unique() if frozen is None or i not in torch.tensor(frozen)]
        totals = [[v[b, g].sum().item() for g in groups] for v in (phi, w * x)]
        assert score[b].item() == pytest.approx(stats.pearsonr(*totals)[0], abs=1e-9)


def test_positions_of_images_and_tuples_are_features_too():
    x, w, phi = normal(2, 3, 4, 4), normal(3, 4, 4, seed=1), normal(2, 1, 4, 4, seed=2)
    effects = (w * x).sum(1).flatten(1)
    wanted = torch.tensor([stats.pearsonr(p, e)[0] for p, e in zip(phi.flatten(1), effects)])
    closely(regression(lambda rows: (rows * w).sum((1, 2, 3)), x, phi, 5), wanted)
    halves = (x[:, :, :2], x[:, :, 2:]), (phi[:, :, :2], phi[:, :, 2:])
    closely(regression(lambda a, b: (torch.cat((a, b), 2) * w).sum((1, 2, 3)), *halves, 5), wanted)


@pytest.mark.parametrize("n", [1, 3, 5, 7])
def test_where_every_subset_is_taken_it_is_the_correlation_over_all_and_takes_no_gradient(n):
    x, phi, draws = normal(2, 7), normal(2, 7, seed=1), math.comb(7, n) + 5
    model = Recorder(bent)
    score = regression(model, x, phi, n, n_perturb_samples=draws)
    assert_close(score, sensitivity_n(bent, x, phi, n, n_perturb_samples=draws), rtol=0, atol=0, equal_nan=True)
    assert model.rows == 2 + 2 * math.comb(7, n)


# ---------------------------------------------------------------- the formula


def by_numpy(phi, effects, subsets, drops):
    """The correlation for one example; without `effects` on the attributions alone."""
    parts = [v.numpy() for v in (phi, effects) if v is not None]
    (features,), n = parts[0].shape, len(subsets[0])
    z = np.array([sums_over(v, subsets) for v in parts]).T
    design = np.column_stack((np.ones(len(z)), z))
    beta, residuals, *_ = np.linalg.lstsq(design, drops.detach().numpy(), rcond=None)
    c = n * (features - n) / (features - 1) * np.atleast_2d(np.cov(np.array(parts), bias=True))
    variance = beta[1:] @ c @ beta[1:] + residuals[0] / (len(z) - len(parts) - 1)
    return (c @ beta[1:])[0] / np.sqrt(c[0, 0] * variance)


def naive(model, x, phi, n, baseline, gradient=True, **call):
    """By numpy, over the sets that a run of the default has shown to the model."""
    shown = Recorder(identified(model))
    sensitivity_n(shown, x, phi, n, baseline, additional_forward_args=torch.arange(len(x)), **call)
    found = []
    for b, sets in oracles.drawn_subsets(shown.calls, x, oracles.features_of(x)).items():
        rows = torch.stack([x[b].index_fill(0, torch.tensor(s), baseline) for s in sets[n]])
        at = (x[b] - n / len(x[b]) * (x[b] - baseline)).requires_grad_()
        effects = torch.autograd.grad(model(at[None]).sum(), at)[0] * (x[b] - baseline) if gradient else None
        found.append(by_numpy(phi[b], effects, sets[n], model(x[b : b + 1]) - model(rows)))
    return torch.tensor(found, dtype=torch.float64)


@given(n=st.integers(2, 11), draws=st.integers(5, 30), baseline=st.sampled_from([0.0, 0.5]))
def test_it_is_the_formula(n, draws, baseline):
    x, phi = normal(2, 13), normal(2, 13, seed=1)
    call = {"n_perturb_samples": draws, "seed": 4}
    closely(regression(bent, x, phi, n, baseline, **call), naive(bent, x, phi, n, baseline, **call))


def test_several_sizes_and_methods_share_draws_and_gradients():
    x, methods = normal(2, 12), {"a": normal(2, 12, seed=1), "b": normal(2, 12, seed=2), "c": normal(2, 12, seed=3)}
    model = Recorder(smooth_model)
    together = regression(model, x, methods, [3, 0.5, 8])
    assert model.rows == 2 + 2 * 3 * 9 + 2 * 3
    for name, phi in methods.items():
        for k, n in enumerate([3, 6, 8]):
            closely(together[name][:, k], regression(smooth_model, x, phi, n))


def test_the_gradient_is_taken_where_a_share_of_the_way_is_gone_and_frozen_elements_stay():
    x, seen = normal(1, 10), []

    def model(rows):
        seen.extend(rows.detach() if torch.is_grad_enabled() else [])
        return bent(rows)

    regression(model, x, x, [2, 3], 0.5, feature_mask=MASK[:1], frozen=9, n_perturb_samples=10)
    assert seen == []  # of 5 features, 10 sets of either size exist
    regression(model, x, x, [2, 3], 0.5, feature_mask=MASK[:1], frozen=9, n_perturb_samples=8)
    moving = MASK[:1] != 9
    for row, share in zip(seen, (2 / 5, 3 / 5)):
        closely(row[None], torch.where(moving, x - share * (x - 0.5), x))


# ---------------------------------------------------------------- by simulation


@pytest.mark.parametrize("n", [2, 6])
def test_on_a_nonlinear_model_it_comes_near_the_value_over_all_subsets_sooner_than_the_sample(n):
    x, phi = normal(1, 12).expand(200, -1), normal(1, 12, seed=1).expand(200, -1)
    (truth,) = sensitivity_n(bent, x[:1], phi[:1], n, n_perturb_samples=1000)
    errors = {
        (kind, draws): sensitivity_n(bent, x, phi, n, n_perturb_samples=draws, seed=1, estimator=kind) - truth
        for kind in ("sample", "regression")
        for draws in (12, 48)
    }
    for draws in (12, 48):
        e = errors["regression", draws]
        assert e.mean().abs() < 4 * e.std() / math.sqrt(200) + 0.2 / draws  # the bias is of order 1 / draws
        assert 2 * e.square().mean() < errors["sample", draws].square().mean()
    assert 2.5 * errors["regression", 48].square().mean() < errors["regression", 12].square().mean()


# ---------------------------------------------------------------- scale, undefined scores


@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10), n=st.integers(1, 9))
def test_positive_affine_maps_keep_the_score_and_the_negative_negates_it(scale, shift, n):
    x, phi = normal(2, 11), normal(2, 11, seed=1)
    score = partial(regression, bent, x, n=n)
    closely(score(scale * phi + shift), score(phi))
    closely(score(-phi), -score(phi))
    closely(regression(lambda rows: shift - scale * bent(rows), x, phi, n), -score(phi))


def test_it_is_nan_where_attributions_are_all_alike_or_nothing_changes_and_leaves_the_neighbours_alone():
    x, phi = normal(3, 30), normal(3, 30, seed=1)
    alike = phi * torch.tensor([1, 0, 1])[:, None] + 0.1
    assert regression(bent, x, alike, [3, 30]).isnan().tolist() == [[False, True], [True, True], [False, True]]
    assert regression(lambda rows: 0 * rows[:, 0] + 1, x, phi, 3).isnan().all()


# ---------------------------------------------------------------- models without a gradient, and all others


def detached(rows):
    return bent(rows.detach())


def without_grad(rows):
    with torch.no_grad():
        return bent(rows)


class Detached(nn.Module):
    """Its output has a gradient, but none by its inputs."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, rows):
        return self.scale * bent(rows.detach())


@pytest.mark.parametrize("model", [detached, without_grad, Detached().eval()])
def test_a_model_without_a_gradient_is_regressed_on_the_attributions_alone(model):
    x, phi = normal(2, 13), normal(2, 13, seed=1)
    wanted = naive(model, x, phi, 4, 0.0, gradient=False, n_perturb_samples=9, seed=0)
    closely(regression(model, x, phi, 4), wanted)


def test_so_are_token_ids():
    ids, phi = torch.arange(1, 27).reshape(2, 13), normal(2, 13, seed=1)
    model = Recorder(lambda rows: bent(rows.double()))
    found = regression(model, ids, phi, 4)
    assert model.rows == 2 + 2 * 9
    closely(found, naive(bent, ids.double(), phi, 4, 0.0, gradient=False, n_perturb_samples=9, seed=0))


def test_a_gradient_that_is_not_finite_is_left_out():
    x, phi = normal(2, 13), normal(2, 13, seed=1)

    def model(rows):
        return bent(rows) + (rows * 0).sqrt().sum(1)  # an infinite slope times 0

    closely(regression(model, x, phi, 4), naive(model, x, phi, 4, 0.0, gradient=False, n_perturb_samples=9, seed=0))


def test_a_model_that_may_not_see_tensors_with_gradients_is_refused_with_the_way_out():
    def by_numpy_alone(rows):
        return torch.from_numpy(np.tanh(rows.numpy()).sum(1))

    x = normal(2, 13)
    with pytest.raises(ValueError, match=r"`estimator='regression'` needs the gradient of .*detach its inputs"):
        regression(by_numpy_alone, x, x, 4)
    assert regression(lambda rows: by_numpy_alone(rows.detach()), x, x, 4).isfinite().all()


def test_errors_of_the_model_itself_are_its_own():
    def broken(rows):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match=r"^shapes cannot be multiplied$"):
        regression(broken, normal(2, 13), normal(2, 13), 4)


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_the_limit_holds_and_changes_nothing(limit):
    x, phi = normal(3, 12), normal(3, 12, seed=1)
    model = Recorder(smooth_model)
    closely(regression(model, x, phi, [3, 6], max_examples_per_batch=limit), regression(smooth_model, x, phi, [3, 6]))
    assert max(model.sizes) <= limit


def test_where_memory_runs_out_the_batch_is_halved():
    def full_at_two(rows):
        if len(rows) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return smooth_model(rows)

    x, phi = normal(3, 12), normal(3, 12, seed=1)
    with pytest.warns(UserWarning, match="Out of memory"):
        found = regression(full_at_two, x, phi, [3, 6])
    closely(found, regression(smooth_model, x, phi, [3, 6]))


def test_layers_that_work_in_place_and_inference_mode_are_no_hindrance():
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(12, 1)).double()
    x, phi = normal(3, 12), normal(3, 12, seed=1)
    plain = nn.Sequential(nn.ReLU(), net[1])
    wanted = regression(plain, x, phi, 5)
    closely(regression(net, x, phi, 5), wanted)
    with torch.inference_mode():
        closely(regression(plain, x.clone(), phi.clone(), 5), wanted)
    assert not wanted.requires_grad
    assert net[1].weight.grad is None
