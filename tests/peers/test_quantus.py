"""Quantus 0.6 under the same settings: the same scores where it is right, and the exact value where it is not.

`make test-peers` installs it in an environment of its own; elsewhere these tests are skipped.
"""

from __future__ import annotations

import inspect
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captum_ext import metrics

from ..calls import truth_of
from ..test_coming_from import TABLE, called, setting

quantus = pytest.importorskip("quantus")

B, SHAPE, CLASSES = 4, (1, 4, 5), 3
F = 20
agree = partial(assert_close, rtol=1e-4, atol=1e-4, check_dtype=False)  # Quantus' models see float32


class Net(nn.Module):
    """Curved, or linear; blind to the last five elements."""

    def __init__(self, linear: bool = False):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.linear = linear
        self.w = nn.Parameter(torch.randn(F, CLASSES, generator=draw) / 2)
        self.w.data[-5:] = 0

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        z = rows.flatten(1) @ self.w
        return z if self.linear else torch.tanh(z) + z**2 / 5


def normal(seed: int) -> torch.Tensor:
    return torch.randn(B, *SHAPE, generator=torch.Generator().manual_seed(seed))


X, PHI, TARGET = normal(1) + 3, normal(2), torch.arange(B) % CLASSES


def theirs(metric, model, phi=PHI, x=X, target=TARGET, extra=None, **settings):
    """A metric of Quantus with attributions and outputs as they are: neither normalised nor through a softmax."""
    configured = getattr(quantus, metric)(normalise=False, disable_warnings=True, **settings)
    batch = {"x_batch": x.numpy(), "y_batch": target.numpy(), "a_batch": phi.numpy()} | (extra or {})
    return configured(model=model.eval(), **batch, device="cpu", softmax=False)


def adds(model: Net, x: torch.Tensor = X) -> torch.Tensor:
    """What each element adds to a linear output."""
    return (x.flatten(1) * model.w.T[TARGET]).reshape(x.shape).detach()


def test_faithfulness_correlation_of_a_linear_model_is_perfect_in_both():
    model = Net(linear=True)
    settings = {"abs": False, "subset_size": 4, "perturb_baseline": 0.0, "return_aggregate": False}
    other = theirs("FaithfulnessCorrelation", model, adds(model), **settings)
    agree(torch.tensor(other), torch.ones(B))
    agree(metrics.faithfulness_correlation(model, X, adds(model), 4, target=TARGET, seed=0), torch.ones(B))


def test_faithfulness_correlation_comes_near_theirs_with_many_draws():
    np.random.seed(0)
    runs = 3000
    settings = {"abs": False, "subset_size": 4, "nr_runs": runs, "perturb_baseline": 0.0, "return_aggregate": False}
    other = torch.tensor(theirs("FaithfulnessCorrelation", Net(), **settings))
    ours = metrics.faithfulness_correlation(Net(), X, PHI, 4, n_perturb_samples=runs, target=TARGET, seed=0)
    assert (ours - other).abs().max() < 5 * (2 / runs) ** 0.5


def test_monotonicity_correlation_with_a_fixed_replacement_is_theirs():
    settings = {"nr_samples": 1, "features_in_step": 1, "perturb_baseline": 0.25, "abs": True}
    other = theirs("MonotonicityCorrelation", Net(), **settings)
    agree(metrics.monotonicity_correlation(Net(), X, PHI, 0.25, target=TARGET), torch.tensor(other))


def test_non_sensitivity_is_theirs():
    phi = PHI * (torch.arange(F).reshape(SHAPE) % 3 > 0)
    other = theirs("NonSensitivity", Net(), phi, features_in_step=1, perturb_baseline=0.25, abs=True)
    agree(metrics.non_sensitivity(Net(), X, phi, 0.25, target=TARGET), torch.tensor(np.array(other, dtype=float)))


def test_pixel_flipping_is_the_deletion_curve_without_its_first_point():
    other = theirs("PixelFlipping", Net(), features_in_step=1, perturb_baseline=0.25, abs=False)
    curve = metrics.deletion_curve(Net(), X, PHI, 0.25, target=TARGET, n_steps=F + 1)
    agree(curve[:, 1:], torch.tensor(np.array(other)))


def test_sparseness_is_theirs():
    agree(metrics.sparseness(X, PHI), torch.tensor(theirs("Sparseness", Net())))


def test_complexity_is_our_entropy():
    agree(metrics.entropy(X, PHI), torch.tensor(theirs("Complexity", Net())))


# ---------------------------------------------------------------- docs/coming-from/quantus.md


ROWS = [row for page, *row in TABLE if page == "quantus"]
EQUAL = [(call, here.strip("`")) for call, here, differs in ROWS if differs.startswith("Equal")]


def test_the_table_of_the_documentation_has_every_metric():
    named = {call.partition("(")[0] for call, *_ in ROWS}
    available = {metric.__name__ for group in quantus.AVAILABLE_METRICS.values() for metric in group.values()}
    assert available <= named


@pytest.mark.parametrize(("call", "here"), EQUAL)
def test_a_row_of_the_documentation_that_says_equal_is(call, here):
    s = setting()
    given = s.of(metrics.completeness)
    name, _, settings = call.partition("(")
    chosen = eval(f"dict({settings}")
    if "s_batch" in inspect.signature(getattr(quantus, name).evaluate_batch).parameters:
        extra = {"s_batch": truth_of(s).numpy()}
    else:
        extra = {}
    other = theirs(name, s.model, given["attributions"], s.inputs, given["target"], extra, **chosen)
    agree(called("quantus", here, s).double(), torch.as_tensor(np.array(other, dtype=float)))


# ---------------------------------------------------------------- where Quantus is not right


def test_what_a_linear_model_adds_has_sensitivity_n_1_at_every_n_and_not_theirs():
    model = Net(linear=True)
    sizes = range(1, F)
    ours = metrics.sensitivity_n(model, X, adds(model), sizes, target=TARGET, seed=0)
    agree(ours, torch.ones(B, F - 1))
    settings = {"features_in_step": 1, "n_max_percentage": 0.7, "perturb_baseline": 0.0, "abs": False}
    other = np.array(theirs("SensitivityN", model, adds(model), return_aggregate=False, **settings), dtype=float)
    assert other.shape == (14,)  # one for each n, over the examples
    assert np.nanmin(other) < 0.9


def test_what_a_linear_model_adds_is_complete_and_not_by_their_comparison_of_floats():
    model = Net(linear=True)
    gap = metrics.completeness(model, X, adds(model), target=TARGET)
    agree(gap, torch.zeros(B))
    assert not all(theirs("Completeness", model, adds(model), abs=False, perturb_baseline=0.0))
