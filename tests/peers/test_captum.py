"""Where Captum's two metrics are not right, both sides: what Captum gives, and what is given here."""

from __future__ import annotations

import pytest
import torch
from captum.metrics import infidelity, sensitivity_max
from torch.testing import assert_close

from captum_ext import metrics

B, N = 4, 10


def steps(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return 0.1 * torch.cos(x), x - 0.1 * torch.cos(x)


def noise(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    e = 0.1 * torch.randn_like(x)
    return e, x - e


def sine(rows: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor | tuple[torch.Tensor, ...]:
    return tuple(map(torch.sin, rows)) if isinstance(rows, tuple) else torch.sin(rows)  # Captum gives tuples


class Counted:
    """A function of the rows that notes how many each call had."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        return (x**2).sum(1)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(B, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_clean_input_is_evaluated_for_each_chunk_there_and_once_here(x):
    theirs, ours = Counted(), Counted()
    infidelity(theirs, steps, x, 2 * x, n_perturb_samples=N, max_examples_per_batch=B)
    metrics.infidelity(ours, steps, x, 2 * x, n_perturb_samples=N, max_examples_per_batch=B)
    assert (sum(theirs.rows), sum(ours.rows)) == (2 * B * N, B + B * N)


@pytest.mark.filterwarnings("ignore")
def test_a_limit_below_the_batch_is_exceeded_there_and_kept_here(x):
    theirs, ours = Counted(), Counted()
    infidelity(theirs, steps, x, 2 * x, n_perturb_samples=N, max_examples_per_batch=2)
    metrics.infidelity(ours, steps, x, 2 * x, n_perturb_samples=N, max_examples_per_batch=2)
    assert (max(theirs.rows), max(ours.rows)) == (B, 2)


def test_the_draws_of_one_seed_depend_on_the_limit_there_and_not_here(x):
    def scores(function, limit):
        torch.manual_seed(0)
        return function(sine, x, perturb_radius=0.5, max_examples_per_batch=limit)

    assert not torch.allclose(scores(sensitivity_max, None), scores(sensitivity_max, B))
    assert_close(scores(metrics.sensitivity_max, None), scores(metrics.sensitivity_max, B))


def test_a_shared_tensor_is_copied_as_if_it_had_a_row_per_example_there_and_not_here(x):
    table = torch.randn(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    arguments = {"additional_forward_args": table, "n_perturb_samples": N}

    def model(rows: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return rows @ table.sum(0)

    gradient = table.sum(0).expand_as(x)
    assert infidelity(model, noise, x, gradient, **arguments).max() > 1e-3
    assert metrics.infidelity(model, noise, x, gradient, **arguments).max() < 1e-20  # exact: the model is linear


def test_an_explanation_that_is_a_tensor_for_a_tuple_is_measured_too_large_there_and_not_here(x):
    """By the root of the number of draws, for one example."""

    def explain(inputs):
        a, b = inputs
        return (a**2 * b.sum(1, keepdim=True))[:, None]  # as a map with one channel

    def moved(inputs):
        return tuple(t + 0.1 * torch.cos(t) for t in inputs)

    pair = x[:1], x[1:2]
    right = (explain(moved(pair)) - explain(pair)).norm() / explain(pair).norm()
    theirs, ours = (f(explain, pair, moved, n_perturb_samples=N) for f in (sensitivity_max, metrics.sensitivity_max))
    assert_close(ours, right[None])
    assert_close(theirs, right[None] * N**0.5)
