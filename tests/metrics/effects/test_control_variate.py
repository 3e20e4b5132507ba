"""`infidelity(control_variate="gradient")`: exact limits, the formula by hand, and what it needs."""

from __future__ import annotations

import functools
import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext.metrics import infidelity
from captum_ext.perturbations import gaussian, noisy_baseline

from ...oracles import Recorder

closely = partial(assert_close, rtol=1e-9, atol=1e-9)
steady = partial(infidelity, control_variate="gradient", seed=0)
STD = 0.4


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def curved(rows):
    place = torch.arange(1, rows.flatten(1).shape[1] + 1, dtype=torch.float64)
    flat = rows.flatten(1)
    return torch.tanh((flat * torch.cos(place)).sum(1) / 2) + (flat**2 * torch.sin(3 * place)).sum(1) / 4


def gradient_of(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x)[0]


# ---------------------------------------------------------------- exact limits


@given(draws=st.integers(1, 9), seed=st.integers(0, 99), std=st.floats(0, 3))
def test_on_a_linear_model_there_is_no_noise_whatever_is_drawn(draws, seed, std):
    x, w, phi = normal(2, 7), normal(7, seed=1), normal(2, 7, seed=2)
    call = {"n_perturb_samples": draws, "seed": seed}
    noise = partial(gaussian, std=std)
    closely(steady(lambda r: r @ w + 1, noise, x, phi, **call), std**2 * (phi - w).square().sum(1))
    assert steady(lambda r: r @ w, noise, x, w.expand(2, -1), **call).max() < 1e-20


def test_so_it_is_normalised_and_relative_to_the_distance():
    x, w, phi, b = normal(2, 7), normal(7, seed=1), normal(2, 7, seed=2), 0.25
    beta = (phi @ w / phi.square().sum(1))[:, None]
    noise, relative = partial(gaussian, std=STD), partial(gaussian, std=STD, multiply_by_inputs=True)
    closely(steady(lambda r: r @ w, noise, x, phi, normalize=True), STD**2 * (beta * phi - w).square().sum(1))
    found = steady(lambda r: r @ w, relative, x, phi, b)
    closely(found, STD**2 * (phi / (x - b) - w).square().sum(1))
    assert steady(lambda r: r @ w, relative, x, w * (x - b), b).max() < 1e-20


def test_elements_at_the_baseline_have_distance_1():
    x, w, phi = normal(2, 7), normal(7, seed=1), normal(2, 7, seed=2)
    x[:, :3] = 0.25
    distance = torch.where(x == 0.25, 1, x - 0.25)
    found = steady(lambda r: r @ w, partial(gaussian, std=STD, multiply_by_inputs=True), x, phi, 0.25)
    closely(found, STD**2 * (phi / distance - w).square().sum(1))


def test_means_over_groups_maps_with_one_channel_and_tuples_count_as_without_a_control_variate():
    x, w, mask = normal(2, 3, 2, 2), normal(3, 2, 2, seed=1), torch.tensor([[[[0, 0], [1, 2]]]])
    one, full = normal(2, 1, 2, 2, seed=2), normal(2, 3, 2, 2, seed=3)

    def model(rows):
        return (rows * w).sum((1, 2, 3))

    noise, call = partial(gaussian, std=STD), {"feature_mask": mask, "aggregate": "mean"}
    closely(steady(model, noise, x, one), STD**2 * (one - w).square().sum((1, 2, 3)))
    share = 1 / (3 * torch.tensor([[2.0, 2.0], [1.0, 1.0]], dtype=torch.float64))
    closely(steady(model, noise, x, one, **call), STD**2 * (one * share - w).square().sum((1, 2, 3)))
    pair = (x[:, :1], x[:, 1:]), (full[:, :1], full[:, 1:])
    found = steady(lambda a, b: model(torch.cat((a, b), 1)), noise, *pair)
    closely(found, STD**2 * (full - w).square().sum((1, 2, 3)))


# ---------------------------------------------------------------- the formula


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_it_is_the_formula(normalize, relative):
    x, phi, n, model = normal(3, 6), normal(3, 6, seed=1), 11, Recorder(curved)
    noise = partial(gaussian, std=STD, multiply_by_inputs=relative)
    found = steady(model, noise, x, phi, 0.1, n_perturb_samples=n, normalize=normalize)
    rows = torch.cat([call[0].detach() for call in model.calls])[len(x) :]  # after those of the gradient
    drawn = x[:, None] - rows[len(x) :].reshape(3, n, 6)
    unit = x - 0.1 if relative else torch.ones_like(x)
    g, local = gradient_of(curved, x), phi / unit
    d = curved(x)[:, None] - curved(rows[len(x) :]).reshape(3, n)
    r, predicted = d - (drawn * g[:, None]).sum(2), (drawn * local[:, None]).sum(2)
    beta = torch.ones(3).double()
    if normalize:
        beta = (STD**2 * (local * g).sum(1) + (predicted * r).mean(1)) / (STD**2 * local.square().sum(1))
    q = beta[:, None] * local - g
    wanted = STD**2 * q.square().sum(1) + (r**2 - 2 * (drawn * q[:, None]).sum(2) * r).mean(1)
    assert (wanted > 0).all()
    closely(found, wanted)


def test_it_is_unbiased_and_less_noisy_than_without():
    copies, n = 200, 10
    x = normal(1, 6).expand(copies, -1)
    g = gradient_of(curved, x[:1])
    maps = {"gradient": g, "twice": 2 * g, "random": normal(1, 6, seed=1)}
    noise, methods = partial(gaussian, std=STD), {name: phi.expand(copies, -1) for name, phi in maps.items()}
    truth = infidelity(curved, noise, x[:1], maps, n_perturb_samples=30_000, seed=5, max_examples_per_batch=20_000)
    with_it = steady(curved, noise, x, methods, n_perturb_samples=n)
    without = infidelity(curved, noise, x, methods, n_perturb_samples=n, seed=0)
    for name in maps:
        error = with_it[name] - truth[name]
        assert error.mean().abs() < 4 * error.std() / math.sqrt(copies) + 0.01 * truth[name].item()
        assert error.square().mean() < 1.01 * (without[name] - truth[name]).square().mean()
    assert 4 * with_it["random"].var() < without["random"].var()
    closely(with_it["gradient"], without["gradient"])


@given(scale=st.floats(0.01, 100), sign=st.sampled_from([-1, 1]))
def test_scales_of_attributions_outputs_and_noise(scale, sign):
    x, phi, noise = normal(2, 6), normal(2, 6, seed=1), partial(gaussian, std=STD)
    score = steady(curved, noise, x, phi)
    closely(steady(lambda r: sign * scale * curved(r), noise, x, sign * scale * phi) / scale**2, score)
    normalised = partial(steady, curved, noise, x, normalize=True)
    closely(normalised(sign * scale * phi), normalised(phi))
    wider = steady(lambda r: curved(r / scale), partial(gaussian, std=scale * STD), scale * x, phi / scale)
    closely(wider, score)


def test_where_the_formula_would_be_negative_it_is_the_plain_one():
    x, noise = normal(200, 6), partial(gaussian, std=3.0)
    call = {"n_perturb_samples": 1, "seed": 0}
    plain = infidelity(curved, noise, x, phi := gradient_of(curved, x) / 3, **call)
    found = steady(curved, noise, x, phi, **call)
    assert 0.01 < torch.isclose(found, plain, rtol=1e-9).double().mean() < 0.5
    assert (found >= 0).all()
    assert (steady(curved, noise, x, phi, normalize=True, **call) >= 0).all()


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("limit", [None, 1, 4])
def test_methods_share_draws_and_gradients_under_any_limit(limit):
    x, methods, noise = normal(3, 6), {i: normal(3, 6, seed=i) for i in (1, 2, 3)}, partial(gaussian, std=STD)
    model = Recorder(curved)
    together = steady(model, noise, x, methods, n_perturb_samples=5, max_examples_per_batch=limit)
    assert model.rows == 3 + 3 + 3 * 5
    assert limit is None or max(model.sizes) <= limit
    for name, phi in methods.items():
        closely(together[name], steady(curved, noise, x, phi, n_perturb_samples=5))


# ---------------------------------------------------------------- what it needs


@functools.wraps(gaussian)
def halved(*args, **kwargs):
    noise, _ = gaussian(*args, **kwargs)
    return noise / 2, args[0] - noise / 2


@pytest.mark.parametrize("other", [noisy_baseline, partial(noisy_baseline, std=1), halved, lambda r: (r / 2, r / 2)])
def test_another_noise_than_the_packages_gaussian_is_refused_before_the_model_is_called(other):
    model = Recorder(curved)
    with pytest.raises(ValueError, match=r"`perturb_func` must be captum_ext.perturbations.gaussian"):
        steady(model, other, normal(2, 6), normal(2, 6))
    assert model.calls == []


def test_so_are_baselines_of_the_noise_itself_and_a_wrong_deviation():
    model = Recorder(curved)
    with pytest.raises(ValueError, match=r"needs `baselines` as an argument of `infidelity`"):
        steady(model, partial(gaussian, baselines=1.0), normal(2, 6), normal(2, 6))
    with pytest.raises(ValueError, match=r"`std` must be a number of at least 0, got -1"):
        steady(model, partial(gaussian, std=-1), normal(2, 6), normal(2, 6))
    assert model.calls == []


def test_a_model_without_a_gradient_is_refused():
    with pytest.raises(ValueError, match=r"`control_variate='gradient'` needs the gradient of .*, which takes none"):
        steady(lambda r: curved(r.detach()), gaussian, normal(2, 6), normal(2, 6))


def test_a_gradient_that_is_not_finite_makes_its_example_nan():
    x = normal(2, 6).abs()
    x[1, 0] = 0
    found = steady(lambda r: r.clamp(min=0).sqrt().sum(1), gaussian, x, x)
    assert found.isnan().tolist() == [False, True]
