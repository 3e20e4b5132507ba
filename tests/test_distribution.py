"""`baselines.distribution`: every metric averages over the references, and says how sure the mean is."""

from __future__ import annotations

import math

import pytest
import torch

from captum_ext import metrics
from captum_ext.baselines import distribution

from .calls import METRICS, takes, tiny

WITH_BASELINES = {name: m for name, m in METRICS.items() if takes(m, "baselines")}
DO_WITHOUT = {"linear_datamodeling_score", "road", "road_accuracy"}  # the outputs for unperturbed examples
pytestmark = pytest.mark.filterwarnings("ignore")


def references(count=3):
    draw = torch.Generator().manual_seed(5)
    return torch.randn(count, 2, 2, 3, generator=draw, dtype=torch.float64)


def counted(model):
    def forward(*args, **kwargs):
        forward.rows += len(args[0])
        return model(*args, **kwargs)

    forward.rows = 0
    return forward


@pytest.mark.parametrize("name", WITH_BASELINES)
def test_a_score_is_the_mean_of_those_of_each_reference(name):
    metric, setting, rows = WITH_BASELINES[name], tiny(2), references()
    seed = {"seed": 0} if takes(metric, "seed") else {}
    each = torch.stack([setting.call(metric, baselines=row[None], **seed) for row in rows])
    together = setting.call(metric, baselines=distribution(rows), **seed)
    torch.testing.assert_close(together, each.mean(0), rtol=1e-12, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(setting.call(metric, baselines=distribution(rows[:1]), **seed), each[0], equal_nan=True)


@pytest.mark.parametrize("name", WITH_BASELINES)
def test_the_unperturbed_examples_are_evaluated_once(name):
    metric, setting, rows = WITH_BASELINES[name], tiny(2), references()
    saved = sum(rows_of(metric, setting, row[None]) for row in rows) - rows_of(metric, setting, distribution(rows))
    if takes(metric, "search"):  # which evaluates them once more for each reference
        assert saved > 2 * (len(rows) - 1)
    else:
        assert saved == (0 if name in DO_WITHOUT else 2 * (len(rows) - 1))


def rows_of(metric, setting, baselines):
    model = counted(setting.model)
    seed = {"seed": 0} if takes(metric, "seed") else {}
    setting.call(metric, forward_func=model, baselines=baselines, **seed)
    return model.rows


def test_the_standard_error_is_that_of_the_mean_over_references():
    """Of a linear model the deletion score is linear in the reference."""
    w, x, rows = torch.arange(1.0, 5.0).double(), torch.ones(2, 4).double(), torch.randn(5, 4).double()
    score, stderr, n_eff = metrics.with_stderr(metrics.deletion)(
        lambda z: z @ w, x, {"a": w.expand(2, 4), "b": -w.expand(2, 4)}, distribution(rows), n_steps=5
    )
    for name, phi in (("a", w), ("b", -w)):
        each = [metrics.deletion(lambda z: z @ w, x, phi.expand(2, 4), row[None], n_steps=5) for row in rows]
        torch.testing.assert_close(score[name], torch.stack(each).mean(0))
        torch.testing.assert_close(stderr[name], torch.stack(each).std(0) / math.sqrt(5))
    assert (n_eff["a"] <= 5).all()


def test_errors_of_draws_that_references_share_do_not_cancel():
    def smooth(z):
        return z.sum(1) + z.prod(1)

    x, phi = torch.rand(2, 8).double(), torch.rand(2, 8).double()
    same = torch.zeros(4, 8).double()
    call = {"n": 2, "n_perturb_samples": 10, "seed": 0}
    alone = metrics.with_stderr(metrics.sensitivity_n)(smooth, x, phi, **call, baselines=same[:1])
    four = metrics.with_stderr(metrics.sensitivity_n)(smooth, x, phi, **call, baselines=distribution(same))
    torch.testing.assert_close(four.score, alone.score)
    torch.testing.assert_close(four.stderr, alone.stderr)
    assert metrics.with_stderr(metrics.deletion)(smooth, x, phi, distribution(same[:1])).stderr.isnan().all()


def test_tuples_have_rows_that_belong_together():
    def both(a, b):
        return a.sum(1) * b.sum(1)

    x = (torch.ones(2, 3).double(), torch.ones(2, 2).double())
    rows = (torch.rand(3, 3).double(), torch.rand(3, 2).double())
    each = [metrics.deletion(both, x, x, (a[None], b[None]), n_steps=6) for a, b in zip(*rows)]
    torch.testing.assert_close(metrics.deletion(both, x, x, distribution(rows), n_steps=6), torch.stack(each).mean(0))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([[1.0]], TypeError),
        (1.0, TypeError),
        ((), TypeError),
        (torch.tensor(1.0), ValueError),
        (torch.empty(0, 3), ValueError),
        ((torch.ones(2, 3), torch.ones(3, 3)), ValueError),
    ],
)
def test_what_is_no_distribution_is_refused(given, error):
    with pytest.raises(error, match="`references`"):
        distribution(given)


def test_references_of_another_shape_are_refused_before_the_model_is_called():
    model = counted(lambda z: z.sum(1))
    with pytest.raises(ValueError, match="`baselines`"):
        metrics.deletion(model, torch.ones(2, 4), torch.ones(2, 4), distribution(torch.ones(3, 5)))
    assert model.rows == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_one_example_of_one_feature_and_small_types_are_averaged_too(dtype):
    x, rows = torch.full((1, 1), 4, dtype=dtype), torch.tensor([[0], [2]], dtype=dtype)
    for reference, wanted in ((rows, 2.5), (rows[:1], 2.0), (rows[1:], 3.0)):
        score = metrics.deletion(lambda z: z.sum(1).float(), x, torch.ones(1, 1), distribution(reference), n_steps=2)
        assert score.tolist() == [wanted]


def test_a_model_that_writes_into_its_input_leaves_the_references_alone():
    rows = torch.randn(3, 4).double()
    before = rows.clone()

    def writes(z):
        out = z.sum(1)
        z.zero_()
        return out

    x = torch.ones(2, 4).double()
    score = metrics.deletion(writes, x, x, distribution(rows))
    torch.testing.assert_close(score, metrics.deletion(lambda z: z.sum(1), x, x, distribution(rows)))
    assert (rows == before).all()
