"""Noise for float64 inputs has the resolution of float64: drawn in float32, it would show in the last digits of a
score.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from captum_ext import baselines, metrics, perturbations, random_attribution
from captum_ext._core.draws import draw_seeds
from captum_ext._core.perturbations import in_ball, with_gaussian_noise

from .calls import METRICS, takes, tensors, tiny
from .oracles import differ

X = torch.zeros(3, 2, 4, 4, dtype=torch.float64)
SEEDS = draw_seeds(0, len(X), 2)
IMAGE = torch.linspace(0, 1, 32, dtype=torch.float64).reshape(1, 2, 4, 4)


def is_fine(noise: Tensor) -> bool:
    """Nearly no number of 53 random bits is one of 24."""
    assert noise.dtype == torch.float64
    drawn = noise[noise != 0]
    assert len(drawn) > 0
    return bool(differ(drawn, drawn.float().double()).double().mean() > 0.9)


def first(rows) -> Tensor:
    return tensors(rows)[0]


DRAWN = {
    "default_perturb_func": lambda: first(metrics.default_perturb_func(X, 0.3)),
    "in_ball": lambda: next(in_ball((X,), 0.3, SEEDS, lambda: 6))[0][0],
    "with_gaussian_noise": lambda: next(with_gaussian_noise((IMAGE,), 0.3, SEEDS[:1], lambda: 2))[0][0] - IMAGE,
    "gaussian": lambda: first(perturbations.gaussian(X, seed=0)),
    "noisy_baseline": lambda: first(perturbations.noisy_baseline(X, seed=0)),
    "uniform_noise": lambda: baselines.uniform_noise(X, seed=0),
    "gaussian_noise": lambda: baselines.gaussian_noise(X, seed=0),
    "NoisyLinear": lambda: baselines.NoisyLinear(seed=0).fill(X, torch.ones_like(X, dtype=torch.bool)),
    "random_attribution": lambda: random_attribution(seed=0)(X),
}


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_for_float64_has_53_bits(name):
    assert is_fine(DRAWN[name]())


EXPLAINING = [name for name, metric in METRICS.items() if takes(metric, "perturb_radius") or name == "smooth_mprt"]


@pytest.mark.parametrize("name", EXPLAINING)
def test_what_a_metric_adds_to_float64_inputs_has_53_bits(name):
    """Of inputs that are 0: what the explanation sees is the noise."""
    seen: list[Tensor] = []

    def explain(rows: Tensor, **_: object) -> Tensor:
        seen.append(rows)
        return rows.exp()

    metric, setting = METRICS[name], tiny(2)
    setting.inputs.copy_(torch.linspace(0, 1, 12).reshape(2, 2, 3) > 0.5)  # a range, of numbers that are exact
    own = {"explanation_func": explain} if takes(metric, "explanation_func") else {}
    own |= {"explanation_factory": lambda net: explain} if takes(metric, "explanation_factory") else {}
    setting.call(metric, **own)
    assert is_fine(torch.cat(seen)[:, 0, 0, 0])


def test_removal_with_noise_keeps_the_resolution_of_the_inputs():
    rows: list[Tensor] = []
    noise = partial(baselines.uniform_noise, seed=0)
    metrics.deletion(lambda x: (rows.append(x), x.sum((1, 2, 3)))[1], X, X + 1, baselines=noise, n_steps=2)
    assert is_fine(torch.cat(rows))
