"""What Captum 0.9 gets wrong or refuses, and ours gets right.

The right values are computed by hand here, never by Captum.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import transformers
from captum.attr import (
    DeepLiftShap,
    FeatureAblation,
    IntegratedGradients,
    LayerGradCam,
    LayerGradientShap,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    Saliency,
)
from packaging.version import Version
from torch import Tensor, nn
from torch.testing import assert_close

from captum_ext import llm
from captum_ext.metrics import (
    default_perturb_func,
    infidelity,
    infidelity_perturb_func_decorator,
    sensitivity_max,
    sensitivity_n,
)

from .llm.models import ANSWER, ONE_PASS, language_model, tokenizer, tokens

B, N = 3, 5  # so that chunks of two draws leave a rest
LIMITS = (None, 1, 2, B, B + 1, 2 * B, 100)
double = partial(torch.randn, dtype=torch.float64)
each_limit = pytest.mark.parametrize("limit", LIMITS)


def same(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, rtol=1e-9, atol=1e-12)


class Rows:
    """A function that notes how many rows each call had."""

    def __init__(self, function: Callable[..., Any]):
        self.function, self.calls = function, []

    def __call__(self, rows: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(len(rows[0]) if isinstance(rows, tuple) else len(rows))
        return self.function(rows, *args, **kwargs)


class Net(nn.Module):
    """Two inputs, or one: `[rows, 2, 4, 4]` to `[rows, 3]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.out = nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Linear(12, 3)
        self.double()

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        out = self.out(self.act(self.conv(x)).flatten(1))
        return out if y is None else out + y.sum(1, keepdim=True) ** 2


@pytest.fixture
def net() -> Net:
    torch.manual_seed(5)
    return Net().eval()


@pytest.fixture
def x() -> Tensor:
    return double(B, 2, 4, 4)


@pytest.fixture
def y() -> Tensor:
    return double(B, 5)


def moved(x: Tensor) -> Tensor:
    return x + 0.2 * torch.cos(3 * x)


def each_moved(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(map(moved, tensors))


def steps(x: Tensor) -> tuple[Tensor, Tensor]:
    """A `perturb_func` of infidelity."""
    return x - moved(x), moved(x)


def noise(x: Tensor) -> tuple[Tensor, Tensor]:
    e = 0.3 * torch.randn_like(x)
    return e, x - e


def relative_change(phi: Tensor, phi_moved: Tensor) -> Tensor:
    """The sensitivity to one move, over all elements of each example."""
    return (phi_moved - phi).flatten(1).norm(dim=1) / phi.flatten(1).norm(dim=1)


# ---- an explanation that is a bare tensor for inputs in a tuple


@each_limit
@pytest.mark.parametrize("batch", [1, B])
def test_a_function_that_explains_two_inputs_by_one_tensor_is_measured_over_elements(x, y, limit, batch):
    def explain(inputs: tuple[Tensor, Tensor]) -> Tensor:
        a, b = inputs
        return (a**2).flatten(1) * b.sum(1, keepdim=True)

    inputs = (x[:batch], y[:batch])
    expected = relative_change(explain(inputs), explain(each_moved(inputs)))
    same(
        sensitivity_max(explain, inputs, each_moved, n_perturb_samples=N, max_examples_per_batch=limit),
        expected,
    )


@each_limit
@pytest.mark.parametrize("batch", [1, B])
@pytest.mark.parametrize("kind", [LayerGradCam, LayerGradientXActivation, LayerIntegratedGradients])
def test_a_layer_method_is_measured_over_elements(net, x, y, kind, limit, batch):
    """Captum's value for one example is too large by the root of the number of draws."""
    method, inputs = kind(net, net.conv), (x[:batch], y[:batch])
    arguments = {"target": 1} | ({"n_steps": 4} if kind is LayerIntegratedGradients else {})

    def explain(*tensors: Tensor) -> Tensor:
        return method.attribute(tensors, **arguments).detach()

    for given in (inputs, inputs[0]):
        tensors = given if isinstance(given, tuple) else (given,)
        perturb = each_moved if isinstance(given, tuple) else moved
        expected = relative_change(explain(*tensors), explain(*each_moved(tensors)))
        scores = sensitivity_max(method, given, perturb, n_perturb_samples=N, max_examples_per_batch=limit, **arguments)
        same(scores, expected)


def test_an_explanation_gets_a_tensor_where_the_caller_gave_one(x):
    kinds = []

    def explain(rows: Any) -> Tensor:
        kinds.append(type(rows))
        return rows[0] if isinstance(rows, tuple) else rows.detach()

    sensitivity_max(explain, x)
    assert set(kinds) == {Tensor}
    del kinds[:]
    sensitivity_max(explain, (x,))
    assert set(kinds) == {tuple}


# ---- tensors that are no rows


WEIGHTS = {
    "(7, 5) table": double(7, 5),
    "(1, 5) row": double(1, 5),
    "vector": double(5),
    "0-d": double(()),
    "empty": double(0, 5),
}


def shared_linear(rows: Tensor, table: Tensor) -> Tensor:
    """Linear in the rows, with weights from a tensor that all share."""
    return rows @ (table.reshape(-1, 5).sum(0) if table.dim() else table.expand(5))


@each_limit
@pytest.mark.parametrize("table", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_a_tensor_without_a_row_per_example_is_shared(y, table, limit):
    """The exact attribution of a linear model has infidelity 0, and its gradient sensitivity 0."""
    shapes = set()

    def model(rows: Tensor, table: Tensor) -> Tensor:
        shapes.add(tuple(table.shape))
        return shared_linear(rows, table)

    gradient = (table.reshape(-1, 5).sum(0) if table.dim() else table.expand(5)).expand(B, 5)
    scores = infidelity(
        model, noise, y, gradient, additional_forward_args=table, n_perturb_samples=N, max_examples_per_batch=limit
    )
    assert_close(scores, torch.zeros(B).double(), rtol=0, atol=1e-20)
    arguments = {"n_perturb_samples": N, "max_examples_per_batch": limit, "additional_forward_args": (table,)}
    assert_close(
        sensitivity_max(Saliency(model), y, moved, abs=False, **arguments),
        torch.zeros(B).double(),
        rtol=0,
        atol=1e-12,
    )
    assert shapes == {tuple(table.shape)}


def test_baselines_of_one_tensor_follow_the_copies_each_by_itself(x, y):
    """A number or one row for the first tensor, a row per example for the second: Captum refuses this order."""

    def explain(inputs: tuple[Tensor, Tensor], baselines: tuple[Any, Tensor]) -> Tensor:
        a, b = inputs
        return torch.cat([(a**2 - baselines[0]).flatten(1), b * (b - baselines[1])], 1)

    for first in (0.5, x[:1]):
        baselines = (first, torch.sin(y))
        expected = relative_change(explain((x, y), baselines), explain(each_moved((x, y)), baselines))
        for limit in LIMITS:
            scores = sensitivity_max(
                explain,
                (x, y),
                each_moved,
                n_perturb_samples=N,
                max_examples_per_batch=limit,
                baselines=baselines,
            )
            same(scores, expected)


def test_one_number_as_baselines_serves_every_tensor_of_a_tuple(x, y):
    """Captum hands on one number for two tensors, which a `zip` cuts short."""
    seen = []

    def perturb(inputs: tuple[Tensor, Tensor], baselines: tuple[Any, ...]) -> Any:
        seen.append(baselines)
        return inputs, tuple(0 * t for t in inputs)

    infidelity(lambda a, b: b.sum(1), perturb, (x, y), (x, y), baselines=0.5)
    assert seen == [(0.5, 0.5)]


@each_limit
def test_a_feature_mask_with_a_row_per_example_follows_the_copies(y, limit):
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 0, 1, 0], [2, 2, 2, 0, 0]])
    method = FeatureAblation(lambda rows: (rows**3).sum(1))
    expected = relative_change(
        *(torch.cat([method.attribute(rows[[b]], feature_mask=mask[[b]]) for b in range(B)]) for rows in (y, moved(y)))
    )
    scores = sensitivity_max(method, y, moved, n_perturb_samples=N, max_examples_per_batch=limit, feature_mask=mask)
    same(scores, expected)


def test_baselines_may_be_a_function_where_the_explanation_takes_one(net, x):
    """A distribution of DeepLiftShap as a function of the inputs."""
    distribution = double(2, 2, 4, 4)
    given, called = (
        sensitivity_max(DeepLiftShap(net), x, moved, n_perturb_samples=2, target=1, baselines=baselines)
        for baselines in (distribution, lambda inputs: distribution)
    )
    same(called, given)


def test_baselines_of_infidelity_may_be_a_function_of_the_inputs(x):
    seen = []

    def perturb(rows: Tensor, baselines: Tensor) -> Any:
        seen.append(baselines)
        return rows - baselines, baselines

    infidelity(
        lambda rows: rows.sum((1, 2, 3)), perturb, x, torch.ones_like(x), baselines=torch.sin, n_perturb_samples=2
    )
    assert torch.equal(seen[0], torch.sin(x).repeat_interleave(2, 0))


# ---- target


@pytest.mark.parametrize("n", [1, N])
@each_limit
def test_a_missing_target_is_an_error_that_says_so(net, x, n, limit):
    """Captum sums over the classes for one draw a chunk."""
    with pytest.raises(ValueError, match=r"`target` is missing.*\(\d+, 3\)"):
        infidelity(net, steps, x, x, n_perturb_samples=n, max_examples_per_batch=limit)


# ---- calls


@each_limit
def test_the_whole_input_is_evaluated_once(x, limit):
    model = Rows(lambda rows: rows.sum((1, 2, 3)))
    infidelity(model, steps, x, x, n_perturb_samples=N, max_examples_per_batch=limit)
    assert sum(model.calls) == B + B * N
    explain = Rows(lambda rows: rows**2)
    sensitivity_max(explain, x, n_perturb_samples=N, max_examples_per_batch=limit)
    assert sum(explain.calls) == B + B * N


@pytest.mark.parametrize("limit", [1, 2, B - 1, B, B + 1])
def test_a_limit_below_the_batch_splits_it_and_is_never_exceeded(x, limit):
    model = Rows(lambda rows: rows.sum((1, 2, 3)) ** 2)
    scores = infidelity(model, steps, x, x, n_perturb_samples=N, max_examples_per_batch=limit)
    assert max(model.calls) == limit
    same(scores, infidelity(model, steps, x, x, n_perturb_samples=N))
    for perturb in (moved, default_perturb_func):
        explain = Rows(lambda rows: rows**2)
        own = sensitivity_max(explain, x, perturb, n_perturb_samples=N, max_examples_per_batch=limit, **seeded(perturb))
        assert max(explain.calls) == limit
        same(own, sensitivity_max(explain, x, perturb, n_perturb_samples=N, **seeded(perturb)))


def seeded(perturb: Callable[..., Any]) -> dict[str, Any]:
    return {"seed": 0} if perturb is default_perturb_func else {}


@pytest.mark.parametrize("limit", [1, 2, B * N, B * N + 4, 10**6])
def test_no_limit_is_warned_of(x, limit, recwarn):
    """Captum warns of generous ones."""
    infidelity(lambda rows: rows.sum((1, 2, 3)), steps, x, x, n_perturb_samples=N, max_examples_per_batch=limit)
    sensitivity_max(lambda rows: rows**2, x, n_perturb_samples=N, max_examples_per_batch=limit)
    assert not recwarn.list


# ---- draws


def test_draws_depend_neither_on_the_limit_nor_on_the_batch(net, x):
    score = partial(sensitivity_max, Saliency(net), perturb_radius=0.3, target=1)
    seeds = [7, 8, 9]
    together = score(x, seed=seeds)
    for limit in LIMITS:
        same(score(x, seed=seeds, max_examples_per_batch=limit), together)
    same(torch.cat([score(x[[b]], seed=[seeds[b]]) for b in range(B)]), together)
    same(score(x.flip(0), seed=seeds[::-1]).flip(0), together)


def test_under_one_global_seed_the_draws_do_not_depend_on_the_limit(net, x):
    def score(limit: int | None) -> Tensor:
        torch.manual_seed(4)
        return sensitivity_max(Saliency(net), x, perturb_radius=0.3, target=1, max_examples_per_batch=limit)

    for limit in LIMITS:
        same(score(limit), score(None))


# ---- types and memory formats


@pytest.mark.parametrize("limit", [None, 2])
def test_an_explanation_in_channels_last_is_measured(x, limit):
    def explain(rows: Tensor) -> Tensor:
        return (rows**2).contiguous(memory_format=torch.channels_last)

    assert not explain(x).is_contiguous()
    expected = relative_change(x**2, moved(x) ** 2)
    same(sensitivity_max(explain, x, moved, max_examples_per_batch=limit), expected)
    same(sensitivity_max(lambda rows: (rows**2).transpose(1, 3), x, moved, max_examples_per_batch=limit), expected)


def test_channels_last_inputs_and_attributions_score_as_contiguous_ones(net, x):
    x_last, phi = x.contiguous(memory_format=torch.channels_last), torch.cos(x)
    same(
        infidelity(net, steps, x_last, phi.contiguous(memory_format=torch.channels_last), target=1),
        infidelity(net, steps, x, phi, target=1),
    )
    same(
        sensitivity_max(Saliency(net), x_last, seed=0, target=1),
        sensitivity_max(Saliency(net), x, seed=0, target=1),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_default_perturbation_keeps_half_precision(net, x, dtype):
    half = x.to(dtype)
    (rows,) = default_perturb_func(half, 0.5)
    assert rows.dtype == dtype
    scores = sensitivity_max(Saliency(net.to(dtype)), half, perturb_radius=0.5, target=1)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
    assert (scores > 0).all()


def test_the_default_perturbation_of_float64_is_not_grained_like_float32():
    (rows,) = default_perturb_func(torch.zeros(1, 64, dtype=torch.float64), 0.3)
    assert (rows.float().double() != rows).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_squares_of_half_precision_do_not_overflow(dtype):
    """Of four differences of 225 the mean square is a number of float16, the sum of squares is none."""
    rows = torch.tensor([[300.0], [0.0]], dtype=dtype)
    scores = infidelity(lambda r: r[:, 0], lambda r: (r, 0 * r), rows, 0 * rows + 0.25, n_perturb_samples=4)
    assert_close(scores, torch.tensor([225.0**2, 0.0]))


def test_the_nuclear_norm_of_a_vector_is_its_length(x):
    explain = torch.sin
    expected = relative_change(explain(x), explain(moved(x)))
    for norm_ord in ("nuc", "fro", 2):
        same(sensitivity_max(explain, x, moved, norm_ord=norm_ord), expected)


def test_noise_of_another_floating_point_type_is_converted(net, x):
    """Such as numpy's float64 on a float32 model."""
    net, x = net.float(), x.float()

    def of_numpy(rows: Tensor) -> tuple[Tensor, Tensor]:
        e = 0.1 * torch.ones(rows.shape, dtype=torch.float64)
        return e, rows - e

    expected = infidelity(net, lambda rows: (0 * rows + 0.1, rows - 0.1), x, x, target=1)
    assert_close(infidelity(net, of_numpy, x, x, target=1), expected)


# ---- normalize


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 3.7, 1e12, 1e-12])
def test_the_normalised_value_of_a_proportional_attribution_is_zero_and_never_negative(dtype, scale):
    """Captum's goes down to -0.64."""
    torch.manual_seed(0)
    w = 100 * torch.randn(40, dtype=dtype)
    rows = torch.randn(8, 40, dtype=dtype)
    phi = (scale * w).expand(8, 40)
    scores = infidelity(lambda r: r @ w, noise, rows, phi, n_perturb_samples=50, normalize=True)
    outputs = (noise(rows)[0] @ w).square().mean()  # of what the differences are made
    assert (scores >= 0).all()
    assert (scores <= 1e4 * torch.finfo(dtype).eps ** 2 * outputs * 40).all()


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_the_normalised_value_does_not_depend_on_the_scale_of_the_attributions(y, scale):
    """In float32, whose squares of such numbers are infinite or zero."""
    rows, phi = y.float(), torch.cos(y).float()

    def model(r: Tensor) -> Tensor:
        return (r**2).sum(1)

    scores = []
    for factor in (1.0, scale):
        torch.manual_seed(1)
        scores.append(infidelity(model, noise, rows, phi * factor, normalize=True))
    assert_close(scores[1], scores[0], rtol=1e-5, atol=0)
    assert (scores[0] > 0).all()


def test_an_attribution_that_explains_nothing_keeps_the_factor_zero(y):
    scores = infidelity(lambda r: r.sum(1), lambda r: (r, r / 2), y, 0 * y, normalize=True)
    same(scores, (y.sum(1) / 2) ** 2)


# ---- perturb_func


@pytest.mark.parametrize("limit", [None, 1, B])
def test_a_perturb_func_that_returns_another_number_of_rows_is_an_error(y, limit):
    """Captum broadcasts one row to all."""
    model, w = (lambda r: r.sum(1)), torch.ones_like(y)
    for wrong in (lambda r: (r[:1], r), lambda r: (r, r[:1]), lambda r: (r[:1], r[:1]), lambda r: (r, r.repeat(2, 1))):
        with pytest.raises(
            ValueError, match=r"`perturb_func` must return perturb.* of the shape it was given, \(\d+, 5\)"
        ):
            infidelity(model, wrong, y, w, max_examples_per_batch=limit)
    with pytest.raises(ValueError, match=r"`perturb_func` must return perturbed inputs of the shape"):
        sensitivity_max(torch.sin, y, lambda r: r[:1], max_examples_per_batch=limit)


def test_a_missing_perturbed_input_is_an_error(x, y):
    with pytest.raises(ValueError, match="`perturb_func` must return perturbed inputs for each of the 2 tensors"):
        infidelity(lambda a, b=0: a.sum((1, 2, 3)), lambda rows: (rows, rows[:1]), (x, y), (x, y))


def test_the_radius_may_be_set_beforehand(y):
    seen = []

    def perturb(rows: Tensor, perturb_radius: float = 0.02) -> Tensor:
        seen.append(perturb_radius)
        return rows + perturb_radius

    sensitivity_max(torch.sin, y, partial(perturb, perturb_radius=0.5))
    assert seen == [0.5]


def test_a_radius_set_beforehand_is_the_radius_of_the_moves(y):
    small, large = (
        sensitivity_max(torch.sin, y, partial(default_perturb_func, perturb_radius=radius)) for radius in (1e-6, 0.1)
    )
    assert (small < 1e-5).all()
    assert (large > 1e-3).all()


class Moved(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return moved(rows)


class MovedByRadius(nn.Module):
    def forward(self, rows: Tensor, perturb_radius: float) -> Tensor:
        return rows + perturb_radius


def by_keyword(rows: Tensor, *, strength: float = 0.2) -> Tensor:
    return rows + strength * torch.cos(3 * rows)


def with_further_keywords(rows: Tensor, **options: Any) -> Tensor:
    assert not options
    return moved(rows)


def with_further_arguments(rows: Tensor, *more: Any) -> Tensor:
    return moved(rows)


PERTURB_FUNCS = {
    "a module": Moved(),
    "keyword-only": by_keyword,
    "further keywords": with_further_keywords,
    "further arguments": with_further_arguments,
    "a lambda": lambda rows: moved(rows),
    "a partial": partial(by_keyword, strength=0.2),
}


@pytest.mark.parametrize("perturb_func", PERTURB_FUNCS.values(), ids=PERTURB_FUNCS.keys())
def test_what_takes_no_radius_as_second_argument_gets_none(y, perturb_func):
    same(sensitivity_max(torch.sin, y, perturb_func), relative_change(torch.sin(y), torch.sin(moved(y))))


def test_a_builtin_without_a_signature_perturbs(y):
    same(sensitivity_max(torch.square, y, torch.sin), relative_change(y**2, torch.sin(y) ** 2))


def test_a_second_argument_by_position_gets_the_radius(y):
    expected = relative_change(torch.sin(y), torch.sin(y + 0.25))
    same(sensitivity_max(torch.sin, y, lambda rows, radius: rows + radius, 0.25), expected)


# ---- arguments of the explanation


@each_limit
def test_arguments_of_the_explanation_are_handed_on_as_they_are(y, limit):
    """Captum copies them deeply: tensors in a graph, locks and handles can't be."""
    lock, leaf = threading.Lock(), torch.ones(5, dtype=torch.float64, requires_grad=True)
    in_graph = {"weights": leaf * 2}
    with pytest.raises((RuntimeError, TypeError)):
        copy.deepcopy((lock, in_graph))

    def explain(rows: Tensor, options: Any, held: Any) -> Tensor:
        assert options is in_graph
        assert held is lock
        return torch.sin(rows) * options["weights"].detach()

    scores = sensitivity_max(explain, y, moved, max_examples_per_batch=limit, options=in_graph, held=lock)
    same(scores, relative_change(torch.sin(y), torch.sin(moved(y))))


def test_a_convergence_delta_beside_the_explanation_is_refused_by_name(net, x):
    with pytest.raises(ValueError, match="`return_convergence_delta` must be left out"):
        sensitivity_max(IntegratedGradients(net).attribute, x, target=1, return_convergence_delta=True)
    plain = sensitivity_max(IntegratedGradients(net), x, moved, target=1, n_steps=4)
    same(
        sensitivity_max(IntegratedGradients(net), x, moved, target=1, n_steps=4, return_convergence_delta=False), plain
    )


def test_an_explanation_may_use_autograd_itself(y):
    """No-grad mode reaches Captum's caller."""

    def gradient(rows: Tensor) -> Tensor:
        rows = rows.detach().requires_grad_()
        return torch.autograd.grad((rows**3).sum(), rows)[0]

    same(sensitivity_max(gradient, y, moved), relative_change(3 * y**2, 3 * moved(y) ** 2))


def test_deep_lift_shap_costs_no_more_for_as_many_baselines_as_examples(net, x):
    def rows(size: int) -> int:
        seen = []
        hook = net.conv.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
        sensitivity_max(DeepLiftShap(net), x, moved, n_perturb_samples=N, target=1, baselines=double(size, 2, 4, 4))
        hook.remove()
        return sum(seen)

    assert rows(B) * (B + 1) == rows(B + 1) * B


# ---- what comes back


def test_a_score_is_a_number_per_example_and_not_a_column(net, x):
    assert infidelity(net, steps, x, x, target=1).shape == (B,)
    assert infidelity(net, steps, x, x, target=1, normalize=True).shape == (B,)
    assert sensitivity_max(Saliency(net), x, target=1).shape == (B,)


def test_the_decorated_function_keeps_its_name_and_docstring():
    @infidelity_perturb_func_decorator(False)
    def blackened(inputs: Tensor) -> Tensor:
        """All to zero."""
        return 0 * inputs

    assert blackened.__name__ == "blackened"
    assert blackened.__doc__ == "All to zero."


def test_a_heat_map_with_one_channel_stands_for_all_channels(net, x):
    one = torch.cos(x[:, :1])
    same(infidelity(net, steps, x, one, target=1), infidelity(net, steps, x, one.expand_as(x), target=1))


def test_a_builtin_without_a_signature_is_a_model():
    rows = torch.ones(B, dtype=torch.float64)
    scores = infidelity(torch.sin, lambda r: (0.5 * r, 0.5 * r), rows, rows)
    same(scores, (0.5 - (torch.sin(rows) - torch.sin(0.5 * rows))) ** 2)


def test_an_explanation_of_tiny_numbers_keeps_its_sensitivity(y):
    """Around 1e-30 in float32 the squares are zero."""
    rows = y.float()

    def explain(r: Tensor) -> Tensor:
        return torch.sin(r) * 1e-30

    assert_close(sensitivity_max(explain, rows, moved), relative_change(torch.sin(rows), torch.sin(moved(rows))))


def test_a_dropout_left_in_training_mode_is_warned_of(net, x):
    model = nn.Sequential(net, nn.Dropout(0.1)).train()
    with pytest.warns(UserWarning, match="training mode"):
        infidelity(model, steps, x, x, target=1)


@pytest.mark.skipif("forward_in_tokens" not in ONE_PASS, reason="Captum before 0.9 has other paths")
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_the_default_path_of_llm_attribution_feeds_the_prompt_twice(name):
    """Sensitivity-1 of FeatureAblation is 1 by identity: each attribution is the drop that is measured.

    On transformers from 5.3 on, Captum's default path, token by token with a cache, feeds the whole prompt again beside
    the filled cache.
    """
    f = llm.LogProbability(language_model(name), tokenizer(), tokens(), ANSWER)
    attribution = LLMAttribution(FeatureAblation(language_model(name)), tokenizer())

    def sensitivity_1(**path: Any) -> Tensor:
        result = attribution.attribute(tokens(), f.answers[0], **path)
        return sensitivity_n(f, f.inputs, f.attributions(result), n=1, target=0)

    one = torch.ones(1)
    assert_close(sensitivity_1(forward_in_tokens=False), one, rtol=0, atol=1e-5)
    assert_close(sensitivity_1(use_cached_outputs=False), one, rtol=0, atol=1e-5)
    if Version(transformers.__version__) >= Version("5.3"):
        assert sensitivity_1() < 0.99


SUPPORTED = getattr(LLMGradientAttribution, "SUPPORTED_METHODS", ())


@pytest.mark.skipif(LayerGradientShap not in SUPPORTED, reason="older versions of Captum refuse it")
def test_layer_gradient_shap_of_a_prompt_stays_at_the_baseline_and_takes_wrong_words_with_several_samples():
    """Its random coefficient becomes an integer, always 0, as the interpretable input that it multiplies is one.

    And it repeats the answer's words as if they were examples: with 5 samples the second word is the first one again.
    """
    model, inp = language_model("llama"), tokens()
    nothing = torch.zeros(1, inp.n_itp_features, dtype=torch.long)
    shap = LLMGradientAttribution(LayerGradientShap(model, model.get_submodule("model.embed_tokens")), tokenizer())
    one, five = (shap.attribute(inp, "in oslo", baselines=nothing, n_samples=n).token_attr for n in (1, 5))

    embedding, answer = model.get_input_embeddings(), tokenizer().encode("in oslo", add_special_tokens=False)
    prompt, absent = (embedding(inp.to_model_input(present)[0]) for present in (nothing + 1, nothing))

    def at_the_baseline(k: int, word: int) -> Tensor:
        rows = torch.cat((absent, embedding(torch.tensor(answer[:k], dtype=torch.long)))).requires_grad_()
        score = model(inputs_embeds=rows[None]).logits[0, -1].log_softmax(-1)[word]
        (gradient,) = torch.autograd.grad(score, rows)
        return ((prompt - absent) * gradient[: len(prompt)]).sum(-1)[1:]

    assert_close(one, torch.stack([at_the_baseline(0, answer[0]), at_the_baseline(1, answer[1])]))
    assert_close(five, torch.stack([at_the_baseline(0, answer[0]), at_the_baseline(1, answer[0])]))

    f = llm.LogProbability(model, tokenizer(), inp, "in oslo")
    layer = {"layer": "model.embed_tokens", "baselines": nothing}
    assert_close(llm.method(LayerGradientShap, **layer)(f)(f.inputs, target=2)[0], one[1])
    for attribution in (LayerGradientShap, shap):
        with pytest.raises(ValueError, match=r"`n_samples` must be 1 for LayerGradientShap.*got 5"):
            llm.method(attribution, **layer, n_samples=5)
