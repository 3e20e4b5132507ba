"""What the tests share: one thread, seeded generators, few and repeatable generated examples, and tiny models in
float64.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, settings

from .forms import seed_generators

torch.set_num_threads(1)
settings.register_profile(
    "few",
    max_examples=12,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("few")


@pytest.fixture(autouse=True)
def _seeded_generators():
    seed_generators()


@pytest.fixture
def x():
    """`[3, 6]`: three examples of six elements, none of them 0."""
    return torch.randn(3, 6, dtype=torch.float64) + 3


@pytest.fixture
def phi(x):
    return torch.randn_like(x)


@pytest.fixture
def w():
    return torch.tensor([1.5, -2.0, 0.5, 3.0, -0.25, 1.0], dtype=torch.float64)


@pytest.fixture
def linear(w):
    """`[rows, 6] -> [rows]`, of degree 1."""
    return lambda rows: rows @ w + 0.75


@pytest.fixture
def smooth():
    return smooth_model


def smooth_model(*tensors):
    """`[rows, ...] -> [rows]`: neither linear nor additive, any number of tensors, every element with a weight of its
    own.

    Sums instead of matrix products, so that a row's value is the same to the last bit whatever rows are beside it.
    """
    flat = torch.cat([t.reshape(len(t), -1) for t in tensors], 1).double()
    place = torch.arange(1, flat.shape[1] + 1, dtype=torch.float64)
    return (
        torch.tanh((flat * torch.cos(place)).sum(1)) + (flat * torch.sin(3 * place)).sum(1) + 0.1 * flat.prod(1).tanh()
    )
