from __future__ import annotations

import math
from functools import partial

import captum
import pytest
import torch
from captum.attr import FeatureAblation, KernelShap, ShapleyValues
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from torch.testing import assert_close

from captum_ext.metrics import infidelity, infidelity_perturb_func_decorator
from captum_ext.perturbations import segment_removal, square_removal

from ... import oracles
from ...conftest import smooth_model
from ...oracles import Recorder, differ

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-9, atol=1e-12)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def expected(values):
    return torch.tensor(values, dtype=torch.float64)


def gaussian(rows, s=0.3):
    noise = s * torch.randn_like(rows)
    return noise, rows - noise


def gaussian_of_tuples(rows):
    noise = tuple(0.3 * torch.randn_like(r) for r in rows)
    return noise, tuple(r - e for r, e in zip(rows, noise))


def like_a_gaussian(s):
    """A `perturb_func` whose 216 perturbations of three elements have the moments of N(0, s^2) up to the fifth."""
    one = s * math.sqrt(3) * expected([0, 0, 0, 0, 1, -1])
    design = torch.cartesian_prod(one, one, one)

    def perturb(rows):
        perturbation = design.repeat(len(rows) // len(design), 1)
        return perturbation, rows - perturbation

    return perturb


# ---------------------------------------------------------------- identities


def test_the_gradient_explains_a_linear_model_perfectly(linear, w, x):
    closely(infidelity(linear, gaussian, x, w.expand_as(x)), torch.zeros(3, dtype=torch.float64), atol=1e-20)


@pytest.mark.parametrize("b", [0.0, 0.5])
@pytest.mark.parametrize("normalize", [False, True])
def test_with_binary_masks_the_effect_of_every_element_explains_a_linear_model_perfectly(linear, w, x, b, normalize):
    @infidelity_perturb_func_decorator()
    def replace_some(rows, baselines):
        return torch.where(torch.rand_like(rows) < 0.5, baselines, rows)

    baselines = torch.full_like(x, b)
    score = infidelity(linear, replace_some, x, w * (x - b), baselines, n_perturb_samples=20, normalize=normalize)
    closely(score, torch.zeros(3, dtype=torch.float64), atol=1e-20)


def test_twice_the_gradient_of_a_linear_model_scores_the_variance_times_the_weights(linear, w, x):
    n, s = 4000, 0.3
    score = infidelity(linear, partial(gaussian, s=s), x, 2 * w.expand_as(x), n_perturb_samples=n)
    value = s**2 * w.square().sum()
    standard_error = math.sqrt(2 / n) * value  # each draw is value * chi^2 with one degree of freedom
    assert (score - value).abs().max() < 4 * standard_error


def quadratic():
    a, w = normal(3, 3, seed=5), normal(3, seed=6)
    a = a + a.T
    return a, w, lambda rows: (rows @ a * rows).sum(1) / 2 + rows @ w


@pytest.mark.parametrize("s", [0.1, 1.0, 3.0])
def test_a_quadratic_model_scores_what_the_gaussian_moments_say(s):
    a, w, f = quadratic()
    x, phi = normal(4, 3), normal(4, 3, seed=1)
    gradient = x @ a + w
    curvature = s**4 / 4 * (2 * torch.trace(a @ a) + torch.trace(a) ** 2)
    score = infidelity(f, like_a_gaussian(s), x, {"any": phi, "gradient": gradient}, n_perturb_samples=216)
    closely(score["any"], s**2 * (phi - gradient).square().sum(1) + curvature)
    closely(score["gradient"], curvature.expand(4))


def test_drawn_gaussians_come_near_these_moments():
    a, w, f = quadratic()
    x, phi, s, n = normal(2, 3), normal(2, 3, seed=1), 0.5, 5000
    drawn = []

    def recording(rows):
        drawn.append(gaussian(rows, s))
        return drawn[-1]

    score = infidelity(f, recording, x, phi, n_perturb_samples=n)
    gradient = x @ a + w
    value = s**2 * (phi - gradient).square().sum(1) + s**4 / 4 * (2 * torch.trace(a @ a) + torch.trace(a) ** 2)
    i = drawn[0][0].reshape(2, n, 3)
    squares = ((i * (phi - gradient)[:, None]).sum(2) + (i @ a * i).sum(2) / 2) ** 2
    assert ((score - value).abs() < 4 * squares.std(1) / math.sqrt(n)).all()


def both(model, x, phi, n=15, **keywords):
    """The normalised and the plain score under the same draws, and these draws: `<I, phi>` and `d`, `[B, n]` each."""
    drawn = []

    def recording(rows):
        drawn.append(gaussian(rows))
        return drawn[-1]

    torch.manual_seed(1)
    normalized = infidelity(model, recording, x, phi, n_perturb_samples=n, normalize=True, **keywords)
    torch.manual_seed(1)
    plain = infidelity(model, gaussian, x, phi, n_perturb_samples=n, **keywords)
    perturbation, perturbed = (t.reshape(len(x), n, -1) for t in drawn[0])
    observed = model(x)[:, None] - model(perturbed.reshape(len(x) * n, -1)).reshape(len(x), n)
    return normalized, plain, (perturbation * phi[:, None]).sum(2), observed


@given(batch=st.integers(1, 4), features=st.integers(1, 8), n=st.integers(1, 20))
def test_the_normalised_score_over_the_mean_square_is_one_minus_the_squared_cosine(batch, features, n):
    x, phi = normal(batch, features), normal(batch, features, seed=1)
    normalized, plain, explained, observed = both(smooth_model, x, phi, n)
    share = normalized / observed.square().mean(1)
    closely(share, 1 - torch.cosine_similarity(explained, observed, dim=1) ** 2, atol=1e-10)
    assert (share >= 0).all()
    assert (share <= 1 + 1e-12).all()
    assert (normalized <= plain + 1e-12).all()


@given(scale=st.floats(0.01, 100).map(lambda s: s if s < 50 else -s))
def test_the_normalised_score_is_unchanged_by_scaling(scale):
    x, phi = normal(3, 6), normal(3, 6, seed=1)
    closely(both(smooth_model, x, scale * phi)[0], both(smooth_model, x, phi)[0])


def test_the_normalised_score_of_a_perfect_explanation_is_never_negative(linear, w, x):
    for scale in (1e-3, 0.1, 1.0, 7.0):
        score = infidelity(linear, gaussian, x, scale * w.expand_as(x), normalize=True, n_perturb_samples=100)
        assert (score >= 0).all()
        assert (score < 1e-20).all()


def test_an_explanation_of_zeros_keeps_the_mean_square_when_normalised(smooth, x):
    normalized, plain, _, observed = both(smooth, x, torch.zeros_like(x))
    exactly(normalized, plain)
    closely(plain, observed.square().mean(1))


# ---------------------------------------------------------------- against the naive loop


class RecordingPerturbation:
    """A `perturb_func` that remembers what it was given and returned."""

    def __init__(self, function):
        self.function, self.given, self.returned = function, [], []

    def __call__(self, rows, *baselines):
        self.given.append((rows, *baselines))
        self.returned.append(self.function(rows, *baselines))
        return self.returned[-1]

    def draws(self, batch):
        """Example by example the perturbations and perturbed examples: a call has the copies of an example side by
        side.
        """
        draws = [[] for _ in range(batch)]
        for result in self.returned:
            perturbation, perturbed = map(oracles.tensors_of, result)
            copies = len(perturbation[0]) // batch
            for row in range(len(perturbation[0])):
                pair = tuple(t[row] for t in perturbation), tuple(t[row] for t in perturbed)
                draws[row // copies].append(pair)
        return draws


@given(
    shape=st.sampled_from([(1,), (5,), (2, 3), (2, 2, 2)]),
    batch=st.integers(1, 3),
    n=st.integers(1, 9),
    limit=st.sampled_from([None, 1, 2, 5, 7, 100]),
    normalize=st.booleans(),
)
def test_values_are_those_of_the_naive_loop(shape, batch, n, limit, normalize):
    x, phi = normal(batch, *shape), normal(batch, *shape, seed=1)
    perturb = RecordingPerturbation(gaussian)
    score = infidelity(
        smooth_model, perturb, x, phi, n_perturb_samples=n, max_examples_per_batch=limit, normalize=normalize
    )
    draws = perturb.draws(batch)
    assert [len(d) for d in draws] == [n] * batch
    closely(score, expected(oracles.infidelity(smooth_model, x, phi, draws, normalize)))


@pytest.mark.parametrize("limit", [None, 3, 5])
@pytest.mark.parametrize("normalize", [False, True])
def test_tuples_give_the_values_of_the_naive_loop(limit, normalize, smooth):
    x = normal(2, 3), normal(2, 2, 2, seed=1)
    phi = normal(2, 3, seed=2), normal(2, 2, 2, seed=3)
    perturb = RecordingPerturbation(gaussian_of_tuples)
    score = infidelity(smooth, perturb, x, phi, max_examples_per_batch=limit, normalize=normalize)
    closely(score, expected(oracles.infidelity(smooth, x, phi, perturb.draws(2), normalize)))


def test_a_map_with_one_channel_stands_for_all_channels(smooth):
    x, phi = normal(2, 3, 2, 2), normal(2, 1, 2, 2, seed=1)
    perturb = RecordingPerturbation(gaussian)
    score = infidelity(smooth, perturb, x, {"one": phi, "all": phi.expand_as(x).clone()})
    closely(score["one"], expected(oracles.infidelity(smooth, x, phi, perturb.draws(2))))
    exactly(score["one"], score["all"])


def test_a_perturbation_need_not_be_the_difference_of_the_inputs(smooth, x, phi):
    perturb = RecordingPerturbation(lambda rows: (torch.rand_like(rows), rows + torch.rand_like(rows)))
    score = infidelity(smooth, perturb, x, phi)
    closely(score, expected(oracles.infidelity(smooth, x, phi, perturb.draws(3))))


def test_the_target_follows_the_copies(x, phi):
    def three(rows):
        return torch.stack([rows.sum(1), rows.prod(1), (rows**2).sum(1)], 1)

    target = [0, 1, 2]
    perturb = RecordingPerturbation(gaussian)
    score = infidelity(three, perturb, x, phi, target=target, max_examples_per_batch=4)
    draws = perturb.draws(3)
    for b, t in enumerate(target):
        one = oracles.infidelity(lambda rows, t=t: three(rows)[:, t], x[b : b + 1], phi[b : b + 1], [draws[b]])
        closely(score[b], expected(one[0]))


def test_methods_share_the_draws(smooth, x, phi):
    perturb = RecordingPerturbation(gaussian)
    scores = infidelity(smooth, perturb, x, {"a": phi, "b": phi**2}, normalize=True)
    for name, values in {"a": phi, "b": phi**2}.items():
        closely(scores[name], expected(oracles.infidelity(smooth, x, values, perturb.draws(3), True)))


# ---------------------------------------------------------------- how perturb_func is called


def test_without_a_limit_it_is_called_once_on_the_copies_side_by_side(smooth, x, phi):
    perturb = RecordingPerturbation(gaussian)
    infidelity(smooth, perturb, x, phi, n_perturb_samples=40)
    ((rows,),) = perturb.given
    exactly(rows, x.repeat_interleave(40, 0))


@pytest.mark.parametrize(
    ("limit", "calls"), [(2, [3] * 7), (3, [3] * 7), (6, [6, 6, 6, 3]), (8, [6, 6, 6, 3]), (99, [21])]
)
def test_under_a_limit_it_is_called_once_a_chunk_on_copies_of_all_examples(limit, calls, smooth, x, phi):
    perturb = RecordingPerturbation(gaussian)
    infidelity(smooth, perturb, x, phi, n_perturb_samples=7, max_examples_per_batch=limit)
    assert [len(rows) for (rows,) in perturb.given] == calls
    for (rows,) in perturb.given:
        exactly(rows, x.repeat_interleave(len(rows) // 3, 0))


@pytest.mark.parametrize("rows", [1, 3])
def test_baselines_with_a_row_per_example_follow_the_copies_and_others_stay(rows, smooth, x, phi):
    b = normal(rows, 6, seed=3)
    perturb = RecordingPerturbation(lambda copies, baselines: (copies - baselines, baselines.expand_as(copies)))
    infidelity(smooth, perturb, x, phi, baselines=b, n_perturb_samples=4)
    exactly(perturb.given[0][1], b.repeat_interleave(4, 0) if rows == 3 else b)


def test_baselines_may_be_a_function_of_the_inputs(smooth, x, phi):
    perturb = RecordingPerturbation(lambda copies, baselines: (copies - baselines, baselines))
    infidelity(smooth, perturb, x, phi, baselines=lambda inputs: inputs / 2, n_perturb_samples=4)
    exactly(perturb.given[0][1], (x / 2).repeat_interleave(4, 0))


def test_the_same_global_seed_repeats_the_score(smooth, x, phi):
    scores = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        scores.append(infidelity(smooth, gaussian, x, phi))
    exactly(scores[0], scores[1])
    assert differ(scores[0], scores[2]).all()


# ---------------------------------------------------------------- what the model is asked


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 5, 64])
@pytest.mark.parametrize("n", [1, 10, 50])
def test_the_model_is_asked_for_each_example_once_and_for_each_draw(limit, n, smooth, x, phi):
    model = Recorder(smooth)
    infidelity(model, gaussian, x, {"a": phi, "b": -phi}, n_perturb_samples=n, max_examples_per_batch=limit)
    assert model.rows == 3 + 3 * n
    rows = torch.cat([call[0] for call in model.calls])
    assert [int((rows == e).all(1).sum()) for e in x] == [1, 1, 1]
    limit = limit or 1024
    assert all(size == limit for size in model.sizes[:-1])
    assert model.sizes[-1] <= limit


def halve(rows):
    """Draws nothing, so that calls may be cut as they come."""
    return rows / 2, rows - rows / 2


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 64])
def test_the_limit_changes_nothing(limit, smooth, x, phi):
    exactly(infidelity(smooth, halve, x, phi, max_examples_per_batch=limit), infidelity(smooth, halve, x, phi))


def test_permuting_the_examples_permutes_the_scores_and_a_batch_is_its_two_halves(smooth):
    x, phi, order = normal(4, 6), normal(4, 6, seed=1), torch.tensor([2, 0, 3, 1])
    score = partial(infidelity, smooth, halve)
    closely(score(x[order], phi[order]), score(x, phi)[order])
    closely(torch.cat([score(x[:2], phi[:2]), score(x[2:], phi[2:])]), score(x, phi))


# ---------------------------------------------------------------- the decorator


def test_the_decorated_function_returns_the_difference_as_perturbation(x):
    @infidelity_perturb_func_decorator(False)
    def half(rows):
        """Half of it."""
        return rows / 2

    (perturbation,), (perturbed,) = half(x)
    exactly(perturbation, x - x / 2)
    exactly(perturbed, x / 2)
    assert half.__name__ == "half"
    assert half.__doc__ == "Half of it."


def test_multiplying_by_inputs_divides_the_difference_by_the_distance_from_the_baseline():
    @infidelity_perturb_func_decorator(True)
    def half(rows, baselines=None):
        return rows / 2

    x = expected([[2.0, 4.0, 3.0]])
    exactly(half(x)[0][0], expected([[0.5, 0.5, 0.5]]))
    exactly(half(x, expected([[0.0, 3.0, 3.0]]))[0][0], expected([[0.5, 2.0, 1.5]]))  # a distance of 0 counts as 1


def test_the_decorator_takes_tuples_apart():
    @infidelity_perturb_func_decorator(True)
    def half(rows, baselines):
        return tuple(r / 2 for r in rows)

    x, b = (expected([[2.0]]), expected([[8.0, 6.0]])), (1.0, expected([[4.0, 4.0]]))
    perturbation, perturbed = half(x, b)
    assert [p.tolist() for p in perturbation] == [[[1.0]], [[1.0, 1.5]]]
    assert [p.tolist() for p in perturbed] == [[[1.0]], [[4.0, 3.0]]]


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("perturb", "error", "words"),
    [
        (lambda rows: rows, ValueError, "`perturb_func` must return two things.*decorate"),
        (lambda rows: (rows, rows[:1]), ValueError, "perturbed inputs of the shape"),
        (lambda rows: (rows[:, :2], rows), ValueError, "perturbations of the shape"),
        (lambda rows: ((rows, rows), rows), ValueError, "perturbations for each of the 1 tensors.*got 2"),
        (lambda rows: (1.0, rows), TypeError, "perturbations as a tensor"),
    ],
)
def test_a_perturb_func_that_returns_something_else_is_named(perturb, error, words, smooth, x, phi):
    with pytest.raises(error, match=words):
        infidelity(smooth, perturb, x, phi)


def test_an_output_of_several_values_needs_a_target(x, phi):
    with pytest.raises(ValueError, match="`target` is missing"):
        infidelity(lambda rows: rows[:, :3], gaussian, x, phi)


# ---------------------------------------------------------------- attributions that are repeated over a group

PAIR_MASK = (torch.tensor([[0, 0, 3]]), torch.tensor([[[3, 3], [7, 7]]]))  # the group 3 lies in both tensors
IN_GROUPS = {
    "groups": (normal(3, 6), torch.tensor([[4, 4, 0, 9, 9, 9]])),
    "groups of each example": (
        normal(3, 6),
        torch.tensor([[4, 4, 0, 9, 9, 9], [1, 1, 1, 1, 0, 0], [0, 1, 2, 3, 4, 5]]),
    ),
    "positions": (normal(3, 2, 2, 2), torch.arange(4).reshape(1, 1, 2, 2)),
    "blocks of images": (normal(3, 2, 2, 2), torch.tensor([[[[0, 0], [1, 2]]]])),
    "a tuple": ((normal(3, 3), normal(3, 2, 2, seed=5)), PAIR_MASK),
    "no mask": (normal(3, 6), None),
}
remove = partial(segment_removal, n=2, multiply_by_inputs=True)


def shared_out(phi, x, mask):
    """Each element's part of what its group has, by counting the elements of the group."""
    features = oracles.features_of(x, mask)
    shared = tuple(p.clone() for p in oracles.tensors_of(phi))
    for b, groups in enumerate(features):
        for group in groups:
            for t, flat in group:
                shared[t][b].view(-1)[flat] /= len(group)
    return shared if isinstance(phi, tuple) else shared[0]


@pytest.mark.parametrize(("x", "mask"), IN_GROUPS.values(), ids=IN_GROUPS)
@pytest.mark.parametrize("normalize", [False, True])
def test_the_mean_gives_each_element_its_share_of_the_group(x, mask, normalize):
    phi = tuple(t.cos() for t in x) if isinstance(x, tuple) else x.cos()
    call = {"feature_mask": mask, "seed": 0, "normalize": normalize, "n_perturb_samples": 6}
    wanted = infidelity(smooth_model, remove, x, shared_out(phi, x, mask), **call)
    closely(infidelity(smooth_model, remove, x, phi, aggregate="mean", **call), wanted)
    exactly(
        infidelity(smooth_model, remove, x, phi, aggregate="sum", **call),
        infidelity(smooth_model, remove, x, phi, **call),
    )


def additive(*tensors):
    return sum((t.flatten(1) * torch.arange(1.0, 1 + t[0].numel()).double()).sum(1) for t in tensors)


@pytest.mark.parametrize(("x", "mask"), IN_GROUPS.values(), ids=IN_GROUPS)
def test_ablations_of_groups_are_perfect_by_their_mean(x, mask):
    """Captum repeats the value of a group at each of its elements."""
    if isinstance(x, tuple) and Version(captum.__version__) < Version("0.9"):
        pytest.skip("Captum before 0.9 removes the groups of each tensor by themselves")
    phi = FeatureAblation(additive).attribute(x, **({} if mask is None else {"feature_mask": mask}))
    call = {"feature_mask": mask, "seed": 0}
    closely(infidelity(additive, remove, x, phi, aggregate="mean", **call), torch.zeros(3).double())
    if mask is not None:
        assert infidelity(additive, remove, x, phi, **call).max() > 1e-3


@pytest.mark.parametrize("method", [ShapleyValues, KernelShap])
def test_shapley_values_of_groups_are_perfect_by_their_mean(method):
    x, mask = normal(1, 6), torch.tensor([[1, 1, 0, 2, 2, 2]])
    phi = method(additive).attribute(x, feature_mask=mask)
    score = infidelity(additive, remove, x, phi, feature_mask=mask, aggregate="mean", seed=0)
    closely(score, torch.zeros(1).double(), atol=1e-8)


def test_the_mean_of_a_map_with_one_channel_is_one_value_for_all_channels():
    x, w = normal(3, 2, 2, 2), normal(2, 2, 2, seed=3)
    phi = (w * x).sum(1, keepdim=True)  # what a position adds

    def linear(rows):
        return (rows * w).flatten(1).sum(1)

    squares = partial(square_removal, size=1, multiply_by_inputs=True)
    closely(infidelity(linear, squares, x, phi, aggregate="mean"), torch.zeros(3).double())
    whole = {"position": phi, "element": w * x}
    together = infidelity(linear, squares, x, whole, aggregate="mean")
    for name, maps in whole.items():  # a method scores as if alone, whatever shape another has
        exactly(together[name], infidelity(linear, squares, x, maps, aggregate="mean"))
        closely(together[name], torch.zeros(3).double())
