"""Where Captum is right, ours gives its values and calls what the caller gave as Captum does. Compared with the
installed Captum.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import captum.metrics
import numpy as np
import pytest
import torch
from captum.attr import (
    DeepLift,
    DeepLiftShap,
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    LayerGradientXActivation,
    NeuronGradient,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn
from torch.testing import assert_close

from captum_ext._core import memory
from captum_ext.metrics import default_perturb_func, infidelity, infidelity_perturb_func_decorator, sensitivity_max

pytestmark = [
    pytest.mark.filterwarnings("ignore:`max_examples_per_batch` must be at least equal"),  # Captum's
]

B, N = 3, 5  # so that chunks of two draws leave a rest
LIMITS = (None, 1, 2, B, B + 1, 2 * B, 2 * B + 1, B * N, B * N + 30)
ROUNDING = {
    torch.float64: 1e-9,
    torch.float32: 1e-6,
}  # Captum computes in the type of the explanation; Occlusion's is float32
double = partial(torch.randn, dtype=torch.float64)


# ---- models, inputs, explanations


class Net(nn.Module):
    """`[rows, 2, 4, 4]` to `[rows, 3]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.out = nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Linear(12, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.conv(x)).flatten(1))


def of_two(x: Tensor, y: Tensor, weight: Any = 1.0, power: float = 1.0) -> Tensor:
    """`[rows, 2, 3, 3]` and `[rows, 5]` to `[rows, 3]`; `weight` has a row per example or is a number."""
    out = torch.stack([(x**2).sum((1, 2, 3)), (x.sum((1, 2, 3)) * y.sum(1)), torch.sin(y).sum(1)], 1)
    return out * (weight if not isinstance(weight, Tensor) else weight.reshape(-1, 1)) ** power


@pytest.fixture
def net() -> Net:
    torch.manual_seed(3)
    return Net().eval()


@pytest.fixture
def x() -> Tensor:
    return double(B, 2, 4, 4)


@pytest.fixture
def phi(x) -> Tensor:
    return torch.randn_like(x)


@pytest.fixture
def two() -> tuple[Tensor, Tensor]:
    return double(B, 2, 3, 3), double(B, 5)


def step(x: Tensor) -> Tensor:
    """A move that depends on its row alone."""
    return 0.3 * torch.cos(2 * x) + 0.01 * x.flatten(1).sum(1).reshape(-1, *[1] * (x.dim() - 1))


def moved(inputs: Any, *baselines: Any) -> Any:
    """A deterministic `perturb_func` of infidelity, with baselines or without."""
    if isinstance(inputs, tuple):
        return tuple(zip(*(moved(t, *(b[i] for b in baselines)) for i, t in enumerate(inputs))))
    far = step(inputs) * (1 if not baselines else 1 + 0.1 * baselines[0])
    return far, inputs - far


def moved_alone(inputs: Any) -> Any:
    """A deterministic `perturb_func` of sensitivity_max."""
    return tuple(t - step(t) for t in inputs) if isinstance(inputs, tuple) else inputs - step(inputs)


def gaussian(inputs: Any) -> Any:
    """A random `perturb_func` of infidelity. The calls are Captum's, so under one global seed the draws are the same,
    whatever the limit.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    noise = tuple(0.1 * torch.randn_like(t) for t in tensors)
    return noise, tuple(t - e for t, e in zip(tensors, noise))


def gaussian_alone(inputs: Any, radius: float) -> Any:
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    return tuple(t + radius * torch.randn_like(t) for t in tensors)


def both(theirs: Callable[..., Tensor], ours: Callable[..., Tensor], *args: Any, seed: int = 0, **kwargs: Any) -> None:
    """Captum's values and ours agree, under the same global seed."""
    torch.manual_seed(seed)
    expected = theirs(*args, **kwargs)
    torch.manual_seed(seed)
    actual = ours(*args, **kwargs)
    assert actual.shape == expected.shape == (B,)
    assert expected.isfinite().all()
    assert expected.min() > 0
    assert_close(actual, expected, rtol=ROUNDING[expected.dtype], atol=1e-12)


same_infidelity = partial(both, captum.metrics.infidelity, infidelity)
same_sensitivity = partial(both, captum.metrics.sensitivity_max, sensitivity_max)

TARGETS = {
    "int": 1,
    "negative": -1,
    "0-d tensor": torch.tensor(1),
    "1-element tensor": torch.tensor([2]),
    "tensor": torch.tensor([2, 0, 1]),
    "list": [2, 0, 1],
    "tuple": (2,),
}
TARGETS_3D = {"tuple": (1, 2), "list of tuples": [(0, 1), (1, 2), (1, 0)]}
each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
each_target_of_two_axes = pytest.mark.parametrize("target", TARGETS_3D.values(), ids=TARGETS_3D.keys())
each_limit = pytest.mark.parametrize("limit", LIMITS)
each_normalisation = pytest.mark.parametrize("normalize", [False, True])


def with_two_axes(x: Tensor) -> Tensor:
    """`[rows, 2, 4, 4]` to `[rows, 2, 4]`."""
    return (x**2).sum(3) + x.sum((1, 2, 3))[:, None, None].sin()


# ---- infidelity


@each_target
@pytest.mark.parametrize("perturb_func", [moved, gaussian])
def test_infidelity_is_captums_for_every_target(net, x, phi, target, perturb_func):
    same_infidelity(net, perturb_func, x, phi, target=target, n_perturb_samples=N)


@each_target_of_two_axes
@pytest.mark.parametrize("limit", [None, 2, 7])
def test_infidelity_is_captums_for_targets_of_several_axes(x, phi, target, limit):
    same_infidelity(with_two_axes, moved, x, phi, target=target, n_perturb_samples=N, max_examples_per_batch=limit)


@pytest.mark.parametrize("output", [(-1,), (-1, 1)], ids=["[B]", "[B, 1]"])
@each_normalisation
def test_infidelity_is_captums_without_a_target_where_there_is_one_output(x, phi, output, normalize):
    same_infidelity(lambda rows: (rows**2).sum((1, 2, 3)).reshape(output), gaussian, x, phi, normalize=normalize)


@each_limit
@each_normalisation
def test_infidelity_is_captums_under_any_limit(net, x, phi, limit, normalize):
    same_infidelity(
        net,
        gaussian,
        x,
        phi,
        target=[2, 0, 1],
        n_perturb_samples=N,
        max_examples_per_batch=limit,
        normalize=normalize,
    )


@pytest.mark.parametrize("limit", [None, 2, B, 2 * B])
@each_normalisation
def test_infidelity_is_captums_for_tuples_with_further_arguments(two, limit, normalize):
    attributions = tuple(torch.randn_like(t) for t in two)
    same_infidelity(
        of_two,
        gaussian,
        two,
        attributions,
        additional_forward_args=(torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64), 2.0),
        target=torch.tensor([0, 1, 2]),
        n_perturb_samples=N,
        max_examples_per_batch=limit,
        normalize=normalize,
    )


@pytest.mark.parametrize("further", [None, 2.0, torch.tensor([0.5, 2.0, 3.0]), torch.tensor(3.0), (torch.ones(B), 2)])
def test_infidelity_is_captums_for_every_form_of_further_arguments(two, further):
    attributions = tuple(torch.randn_like(t) for t in two)
    same_infidelity(of_two, moved, two, attributions, additional_forward_args=further, target=0)


@each_normalisation
def test_infidelity_is_captums_with_drawn_perturbations_under_the_same_global_seed(net, x, phi, normalize):
    for seed in (0, 1):
        same_infidelity(net, gaussian, x, phi, target=1, n_perturb_samples=20, normalize=normalize, seed=seed)


def test_infidelity_of_a_one_tuple_is_captums(net, x, phi):
    same_infidelity(net, moved, (x,), (phi,), target=1)


def test_infidelity_of_a_perturb_func_that_returns_a_list_is_captums(net, x, phi):
    same_infidelity(net, lambda rows: list(moved(rows)), x, phi, target=1)


BASELINES = {
    "scalar": lambda x: 0.5,
    "tensor": lambda x: torch.sin(x),
    "tensor of one row": lambda x: torch.sin(x[:1]),
    "1-tuple": lambda x: (torch.sin(x),),
    "1-tuple of a scalar": lambda x: (0.5,),
}
BASELINES_OF_TWO = {
    "tensors": lambda x, y: (torch.sin(x), torch.sin(y)),
    "scalars": lambda x, y: (0.5, 2),
    "a scalar and a tensor": lambda x, y: (0.5, torch.sin(y)),
    "a tensor of one row and a scalar": lambda x, y: (torch.sin(x[:1]), 2.0),
}


@pytest.mark.parametrize("form", BASELINES.values(), ids=BASELINES.keys())
@pytest.mark.parametrize("limit", [None, 2, B, 2 * B])
def test_infidelity_is_captums_for_every_form_of_baselines(net, x, phi, form, limit):
    same_infidelity(net, moved, x, phi, baselines=form(x), target=1, n_perturb_samples=N, max_examples_per_batch=limit)


@pytest.mark.parametrize("form", BASELINES_OF_TWO.values(), ids=BASELINES_OF_TWO.keys())
@pytest.mark.parametrize("limit", [None, 2, 2 * B])
def test_infidelity_is_captums_for_every_form_of_baselines_of_tuples(two, form, limit):
    attributions = tuple(torch.randn_like(t) for t in two)
    same_infidelity(
        of_two,
        moved,
        two,
        attributions,
        baselines=form(*two),
        target=1,
        n_perturb_samples=N,
        max_examples_per_batch=limit,
    )


# ---- the decorator


@pytest.mark.parametrize("multiply_by_inputs", [True, False])
@pytest.mark.parametrize("form", [lambda x: None, *BASELINES.values()], ids=["none", *BASELINES.keys()])
def test_the_decorator_makes_captums_perturbations(x, multiply_by_inputs, form):
    x[0, 0, 0, 0] = 0.0
    x[1, 0, 0, 0] = 0.5  # the baseline: its difference counts as 1
    given = () if form(x) is None else (form(x),)

    def perturbed(inputs: Tensor, *baselines: Any) -> Tensor:
        return inputs - step(inputs)

    theirs = captum.metrics.infidelity_perturb_func_decorator(multiply_by_inputs)(perturbed)(x, *given)
    ours = infidelity_perturb_func_decorator(multiply_by_inputs)(perturbed)(x, *given)
    assert type(ours) is type(theirs) is tuple
    assert_close(ours, theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize("multiply_by_inputs", [True, False])
def test_the_decorator_makes_captums_perturbations_of_tuples(two, multiply_by_inputs):
    def perturbed(inputs: tuple[Tensor, ...], *baselines: Any) -> tuple[Tensor, ...]:
        return tuple(t - step(t) for t in inputs)

    for given in ((), (tuple(map(torch.sin, two)),), ((0.5, torch.sin(two[1])),)):
        theirs = captum.metrics.infidelity_perturb_func_decorator(multiply_by_inputs)(perturbed)(two, *given)
        ours = infidelity_perturb_func_decorator(multiply_by_inputs)(perturbed)(two, *given)
        assert_close(ours, theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize("multiply_by_inputs", [True, False])
@pytest.mark.parametrize("baselines", [None, 0.25])
def test_either_decorator_serves_either_metric(net, x, phi, multiply_by_inputs, baselines):
    def perturbed(inputs: Tensor, *baselines: Any) -> Tensor:
        return inputs - step(inputs)

    for decorator in (captum.metrics.infidelity_perturb_func_decorator, infidelity_perturb_func_decorator):
        same_infidelity(net, decorator(multiply_by_inputs)(perturbed), x, phi, baselines=baselines, target=1)


def test_the_decorator_multiplies_by_inputs_unless_told_otherwise(x):
    assert_close(
        infidelity_perturb_func_decorator()(moved_alone)(x),
        captum.metrics.infidelity_perturb_func_decorator()(moved_alone)(x),
    )


# ---- sensitivity_max


@each_target
def test_sensitivity_max_is_captums_for_every_target(net, x, target):
    same_sensitivity(Saliency(net).attribute, x, moved_alone, target=target, n_perturb_samples=N)


@each_target_of_two_axes
@pytest.mark.parametrize("limit", [None, 2, 7])
def test_sensitivity_max_is_captums_for_targets_of_several_axes(x, target, limit):
    explain = Saliency(with_two_axes).attribute
    same_sensitivity(explain, x, moved_alone, target=target, n_perturb_samples=N, max_examples_per_batch=limit)


@each_limit
def test_sensitivity_max_is_captums_under_any_limit(net, x, limit):
    explain = Saliency(net).attribute
    same_sensitivity(explain, x, moved_alone, target=[2, 0, 1], n_perturb_samples=N, max_examples_per_batch=limit)


@pytest.mark.parametrize("norm_ord", ["fro", 1, 2, 3.5, float("inf"), float("-inf"), 0])
def test_sensitivity_max_is_captums_in_every_norm(net, x, norm_ord):
    same_sensitivity(InputXGradient(net).attribute, x, moved_alone, target=1, norm_ord=norm_ord)


@pytest.mark.parametrize("limit", [None, 2, B, 2 * B])
def test_sensitivity_max_is_captums_for_tuples_with_further_arguments(two, limit):
    same_sensitivity(
        InputXGradient(of_two).attribute,
        two,
        moved_alone,
        n_perturb_samples=N,
        max_examples_per_batch=limit,
        target=torch.tensor([0, 1, 2]),
        additional_forward_args=(torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64), 2.0),
    )


@pytest.mark.parametrize("form", BASELINES.values(), ids=BASELINES.keys())
@pytest.mark.parametrize("limit", [None, 2, 2 * B])
def test_sensitivity_max_is_captums_for_every_form_of_baselines(net, x, form, limit):
    explain = partial(IntegratedGradients(net).attribute, n_steps=5)
    same_sensitivity(explain, x, moved_alone, max_examples_per_batch=limit, target=1, baselines=form(x))


@pytest.mark.parametrize("form", [BASELINES_OF_TWO["tensors"], BASELINES_OF_TWO["scalars"]])
def test_sensitivity_max_is_captums_for_baselines_of_tuples(two, form):
    explain = IntegratedGradients(of_two).attribute
    same_sensitivity(explain, two, moved_alone, target=1, baselines=form(*two), n_steps=5)


@pytest.mark.parametrize("feature_mask", [None, torch.arange(4).repeat(8).reshape(1, 2, 4, 4)])
def test_sensitivity_max_is_captums_with_a_feature_mask_of_one_row(net, x, feature_mask):
    same_sensitivity(FeatureAblation(net).attribute, x, moved_alone, target=1, feature_mask=feature_mask)


def test_sensitivity_max_is_captums_with_drawn_perturbations_under_the_same_global_seed(net, x):
    for seed in (0, 1):
        same_sensitivity(Saliency(net).attribute, x, gaussian_alone, 0.1, 20, target=1, seed=seed)


METHODS = {
    "Saliency": lambda net: Saliency(net),
    "InputXGradient": lambda net: InputXGradient(net),
    "IntegratedGradients": lambda net: IntegratedGradients(net),
    "DeepLift": lambda net: DeepLift(net),
    "FeatureAblation": lambda net: FeatureAblation(net),
    "NeuronGradient": lambda net: NeuronGradient(net, net.act),
    "NoiseTunnel": lambda net: NoiseTunnel(Saliency(net)),
    "Occlusion": lambda net: Occlusion(net),
}
ARGUMENTS = {
    "IntegratedGradients": {"n_steps": 4},
    "NoiseTunnel": {"nt_samples": 2, "stdevs": 0.0},
    "Occlusion": {"sliding_window_shapes": (2, 2, 2)},
    "NeuronGradient": {"neuron_selector": (1, 0, 0)},
}


@pytest.mark.parametrize("name", METHODS)
def test_sensitivity_max_takes_captums_methods_and_objects_with_captums_value(net, x, name):
    method = METHODS[name](net)
    arguments = ARGUMENTS.get(name, {}) | ({} if name == "NeuronGradient" else {"target": torch.tensor([0, 2, 1])})
    same_sensitivity(method.attribute, x, moved_alone, n_perturb_samples=2, **arguments)
    of_method, of_object = (
        sensitivity_max(f, x, moved_alone, n_perturb_samples=2, **arguments) for f in (method.attribute, method)
    )
    assert torch.equal(of_method, of_object)


LAYER_METHODS = {"LayerGradCam": LayerGradCam, "LayerGradientXActivation": LayerGradientXActivation}


def by_hand(explain: Callable[..., Any], x: Tensor, x_perturbed: Tensor) -> Tensor:
    """The definition for one perturbation an example."""
    phi, phi_perturbed = (explain(rows).detach().flatten(1) for rows in (x, x_perturbed))
    return (phi_perturbed - phi).norm(dim=1) / phi.norm(dim=1)


@pytest.mark.parametrize("kind", LAYER_METHODS.values(), ids=LAYER_METHODS.keys())
@pytest.mark.parametrize("limit", [None, 1, 2, B, 2 * B])
@pytest.mark.parametrize("wrapped", [False, True], ids=["tensor", "1-tuple"])
def test_sensitivity_max_takes_layer_methods(net, x, kind, limit, wrapped):
    target = torch.tensor([0, 2, 1])
    expected = by_hand(partial(kind(net, net.conv).attribute, target=target), x, moved_alone(x))
    inputs = (x,) if wrapped else x
    for explain in (kind(net, net.conv), kind(net, net.conv).attribute):
        scores = sensitivity_max(
            explain, inputs, moved_alone, n_perturb_samples=N, max_examples_per_batch=limit, target=target
        )
        assert_close(scores, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [2, B, B + 2])
@pytest.mark.parametrize("limit", [None, 1, 2 * B])
def test_deep_lift_shap_compares_with_its_whole_distribution(net, x, size, limit):
    """Also where its baselines happen to be as many as the examples."""
    baselines = double(size, 2, 4, 4)
    explain = DeepLiftShap(net).attribute
    expected = by_hand(partial(explain, baselines=baselines, target=1), x, moved_alone(x))
    arguments = {"n_perturb_samples": 2, "max_examples_per_batch": limit, "target": 1, "baselines": baselines}
    for f in (explain, DeepLiftShap(net), partial(explain)):
        assert_close(sensitivity_max(f, x, moved_alone, **arguments), expected, rtol=1e-9, atol=1e-12)
    same_sensitivity(explain, x, moved_alone, n_perturb_samples=2, target=1, baselines=baselines)


@pytest.fixture
def seen_by_gradient_shap(monkeypatch) -> list[Tensor]:
    """The baselines of each call."""
    return noted_baselines(GradientShap, monkeypatch)


@pytest.fixture
def seen_by_noise_tunnel(monkeypatch) -> list[Tensor]:
    return noted_baselines(NoiseTunnel, monkeypatch)


def noted_baselines(kind: type, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    seen, attribute = [], kind.attribute

    @functools.wraps(attribute)
    def noting(self: Any, *args: Any, baselines: Any, **kwargs: Any) -> Any:
        seen.append(baselines)
        return attribute(self, *args, baselines=baselines, **kwargs)

    monkeypatch.setattr(kind, "attribute", noting)
    return seen


@pytest.mark.parametrize("limit", [None, 2])
def test_gradient_shap_gets_its_whole_distribution(net, x, limit, seen_by_gradient_shap):
    arguments = {"target": 1, "baselines": double(B, 2, 4, 4), "n_samples": 2}
    scores = sensitivity_max(GradientShap(net), x, n_perturb_samples=2, max_examples_per_batch=limit, **arguments)
    assert scores.shape == (B,)
    assert scores.isfinite().all()
    assert len(seen_by_gradient_shap) == (2 if limit is None else -(-B // 2) + -(-B * 2 // 2))
    assert all(torch.equal(b, arguments["baselines"]) for b in seen_by_gradient_shap)


@pytest.mark.parametrize("rows", [1, B])
@pytest.mark.parametrize("limit", [None, 2, B])
def test_a_noise_tunnel_of_gradient_shap_takes_baselines_of_the_inputs_shape(net, x, rows, limit):
    """As `NoiseTunnel` itself does, unless it is told to draw them from a distribution."""
    explain = NoiseTunnel(GradientShap(net)).attribute
    arguments = {"target": 1, "baselines": double(rows, 2, 4, 4), "nt_samples": 2, "n_samples": 2}
    assert captum.metrics.sensitivity_max(explain, x, n_perturb_samples=2, **arguments).isfinite().all()
    scores = sensitivity_max(explain, x, n_perturb_samples=2, max_examples_per_batch=limit, **arguments)
    assert scores.shape == (B,)
    assert scores.isfinite().all()


@pytest.mark.parametrize("size", [B, B + 2])
@pytest.mark.parametrize("limit", [None, 2])
def test_a_noise_tunnel_that_draws_from_a_distribution_gets_the_whole(net, x, size, limit, seen_by_noise_tunnel):
    explain = NoiseTunnel(GradientShap(net))
    arguments = {"target": 1, "baselines": double(size, 2, 4, 4), "nt_samples": 2, "draw_baseline_from_distrib": True}
    scores = sensitivity_max(explain, x, n_perturb_samples=2, max_examples_per_batch=limit, **arguments)
    assert scores.shape == (B,)
    assert scores.isfinite().all()
    assert len(seen_by_noise_tunnel) >= 2
    assert all(torch.equal(b, arguments["baselines"]) for b in seen_by_noise_tunnel)


# ---- how a perturb_func is called


class Calls:
    """Notes what a `perturb_func` was called with."""

    def __init__(self, perturb_func: Callable[..., Any]):
        self.perturb_func, self.seen = perturb_func, []

    def noted(self, arguments: tuple[Any, ...]) -> Any:
        self.seen.append(tuple(map(copied, arguments)))
        return self.perturb_func(*arguments)

    def one(self, inputs: Any) -> Any:
        return self.noted((inputs,))

    def two(self, inputs: Any, second: Any) -> Any:
        return self.noted((inputs, second))


def copied(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(copied, value))
    return value.clone() if isinstance(value, Tensor) else value


def assert_same_calls(ours: Calls, theirs: Calls) -> None:
    assert len(ours.seen) == len(theirs.seen) >= 1
    for our_call, their_call in zip(ours.seen, theirs.seen):
        assert_identical(our_call, their_call)


def assert_identical(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(ours, Tensor):
        assert torch.equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    elif isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            assert_identical(a, b)
    else:
        assert ours == theirs


@each_limit
@pytest.mark.parametrize("form", [lambda x: None, *BASELINES.values()], ids=["none", *BASELINES.keys()])
@pytest.mark.parametrize("wrapped", [False, True], ids=["tensor", "1-tuple"])
def test_infidelity_calls_the_perturb_func_as_captum_does(x, phi, limit, form, wrapped):
    inputs, attributions = ((x,), (phi,)) if wrapped else (x, phi)
    ours, theirs = Calls(moved), Calls(moved)
    for metric, calls in ((infidelity, ours), (captum.metrics.infidelity, theirs)):
        metric(
            lambda rows: rows.sum((1, 2, 3)),
            calls.one if form(x) is None else calls.two,
            inputs,
            attributions,
            baselines=form(x),
            n_perturb_samples=N,
            max_examples_per_batch=limit,
        )
    assert_same_calls(ours, theirs)


@pytest.mark.parametrize("limit", [None, 1, 2 * B])
@pytest.mark.parametrize("form", [lambda x, y: None, *BASELINES_OF_TWO.values()], ids=["none", *BASELINES_OF_TWO])
def test_infidelity_calls_the_perturb_func_of_tuples_as_captum_does(two, limit, form):
    ours, theirs = Calls(moved), Calls(moved)
    for metric, calls in ((infidelity, ours), (captum.metrics.infidelity, theirs)):
        metric(
            of_two,
            calls.one if form(*two) is None else calls.two,
            two,
            tuple(map(torch.cos, two)),
            baselines=form(*two),
            target=0,
            n_perturb_samples=N,
            max_examples_per_batch=limit,
        )
    assert_same_calls(ours, theirs)


@each_limit
@pytest.mark.parametrize("takes_radius", [True, False])
@pytest.mark.parametrize("inputs_are", ["tensor", "1-tuple", "2-tuple"])
def test_sensitivity_max_calls_the_perturb_func_as_captum_does(x, two, limit, takes_radius, inputs_are):
    inputs = {"tensor": x, "1-tuple": (x,), "2-tuple": two}[inputs_are]
    ours, theirs = (Calls(lambda inputs, radius=None: moved_alone(inputs)) for _ in range(2))
    for metric, calls in ((sensitivity_max, ours), (captum.metrics.sensitivity_max, theirs)):
        metric(
            lambda rows: tuple(t**2 for t in rows) if isinstance(rows, tuple) else rows**2,
            inputs,
            calls.two if takes_radius else calls.one,
            perturb_radius=0.125,
            n_perturb_samples=N,
            max_examples_per_batch=limit,
        )
    assert_same_calls(ours, theirs)
    assert ours.seen[0][1:] == ((0.125,) if takes_radius else ())


def test_the_copies_of_an_example_lie_side_by_side(x, phi):
    calls = Calls(moved)
    infidelity(lambda rows: rows.sum((1, 2, 3)), calls.one, x, phi, n_perturb_samples=2)
    ((copies,),) = calls.seen
    assert torch.equal(copies, x[[0, 0, 1, 1, 2, 2]])


def test_without_a_limit_the_perturb_func_is_called_once_however_many_rows_there_are(x, phi, monkeypatch):
    monkeypatch.setattr(memory, "ELEMENTS", 64 * x[0].numel())
    calls, rows = Calls(moved), []
    infidelity(lambda r: rows.append(len(r)) or r.sum((1, 2, 3)), calls.one, x, phi, n_perturb_samples=100)
    assert [len(copies) for (copies,) in calls.seen] == [100 * B]
    assert max(rows) <= 64


# ---- ours alone


INTEGERS = {
    "numpy integer": np.int64(2),
    "list of numpy integers": list(np.array([2, 0, 1])),
    "array": np.array([2, 0, 1]),
    "0-d array": np.array(2),
    "int32 tensor": torch.tensor([2, 0, 1], dtype=torch.int32),
}
IN_CAPTUMS_FORM = [2, [2, 0, 1], [2, 0, 1], 2, [2, 0, 1]]


@pytest.mark.parametrize(("target", "plain"), list(zip(INTEGERS.values(), IN_CAPTUMS_FORM)), ids=INTEGERS.keys())
def test_numpy_integers_are_targets_too(net, x, phi, target, plain):
    of_numpy, of_plain = (infidelity(net, moved, x, phi, target=t) for t in (target, plain))
    assert torch.equal(of_numpy, of_plain)
    explain = Saliency(net)
    of_numpy, of_plain = (sensitivity_max(explain, x, moved_alone, target=t) for t in (target, plain))
    assert torch.equal(of_numpy, of_plain)


def test_tuples_of_numpy_integers_are_targets_too(x, phi):
    numpy = [tuple(np.array(t)) for t in TARGETS_3D["list of tuples"]]
    plain = TARGETS_3D["list of tuples"]
    of_numpy, of_plain = (infidelity(with_two_axes, moved, x, phi, target=t) for t in (numpy, plain))
    assert torch.equal(of_numpy, of_plain)
    explain = Saliency(with_two_axes)
    of_numpy, of_plain = (sensitivity_max(explain, x, moved_alone, target=t) for t in (numpy, plain))
    assert torch.equal(of_numpy, of_plain)


def test_the_default_perturbation_is_captums_in_law():
    """Uniform in the ball: the same mean, spread and range, each element by itself."""
    x = double(2000, 5)
    (ours,) = default_perturb_func(x, 0.3)
    (theirs,) = captum.metrics._core.sensitivity.default_perturb_func(x, 0.3)
    for moved_rows in (ours - x, theirs - x):
        assert moved_rows.abs().max() <= 0.3 + 1e-12
        assert moved_rows.abs().max() > 0.299
        assert_close(moved_rows.mean(0), torch.zeros(5).double(), rtol=0, atol=0.02)
        assert_close(moved_rows.std(0), torch.full((5,), 0.3 / 3**0.5).double(), rtol=0.05, atol=0)
        assert (torch.corrcoef(moved_rows.T) - torch.eye(5)).abs().max() < 0.1
