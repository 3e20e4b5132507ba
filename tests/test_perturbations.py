from __future__ import annotations

import pickle
from functools import partial

import captum.metrics
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import captum_ext
from captum_ext._core import memory
from captum_ext.metrics import infidelity, infidelity_perturb_func_decorator
from captum_ext.perturbations import gaussian, noisy_baseline, segment_removal, square_removal

from . import oracles
from .conftest import smooth_model
from .oracles import Recorder, differ

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-9, atol=1e-9)

ALL = {
    "gaussian": gaussian,
    "noisy baseline": partial(noisy_baseline, std=0.5),
    "squares": partial(square_removal, size=2),
    "segments": partial(segment_removal, n=2),
}
every = pytest.mark.parametrize("perturb_func", ALL.values(), ids=ALL)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def full(*values):
    return torch.tensor(values, dtype=torch.float64)


IMAGES, MAPS = normal(3, 2, 4, 5) + 3, normal(3, 2, 4, 5, seed=1)
W = normal(2, 4, 5, seed=2)
BLOCKS = (torch.arange(20) // 3).reshape(1, 1, 4, 5)


def linear(rows):
    return (rows * W).flatten(1).sum(1)


# ---------------------------------------------------------------- what all of them keep


@every
@pytest.mark.parametrize("baselines", [None, 0.5, IMAGES[:1] / 3, IMAGES.flip(0) / 3])
@pytest.mark.parametrize("multiply_by_inputs", [False, True])
def test_the_perturbation_is_what_the_input_lost_over_what_there_was_to_lose(
    perturb_func, baselines, multiply_by_inputs
):
    moved, perturbed = perturb_func(IMAGES, baselines, multiply_by_inputs=multiply_by_inputs, seed=0)
    assert moved.shape == perturbed.shape == IMAGES.shape
    share = IMAGES - (0 if baselines is None else baselines) if multiply_by_inputs else 1
    closely(moved * share, IMAGES - perturbed)


@every
def test_a_row_is_drawn_from_its_seed_alone(perturb_func):
    seeds = [7, 8, 9]
    moved, _ = perturb_func(IMAGES, seed=seeds)
    for b in range(3):
        exactly(perturb_func(IMAGES[[b]], seed=seeds[b : b + 1])[0], moved[[b]])
    twins, _ = perturb_func(IMAGES[:1].expand(9, -1, -1, -1), seed=0)
    assert len({str(t.tolist()) for t in twins}) > 3
    exactly(perturb_func(IMAGES[:1].expand(9, -1, -1, -1), seed=0)[0], twins)


@every
def test_without_a_seed_the_global_one_governs_and_with_one_it_is_left_alone(perturb_func):
    state = torch.get_rng_state()
    perturb_func(IMAGES, seed=3)
    exactly(torch.get_rng_state(), state)
    first = perturb_func(IMAGES)[0]
    assert differ(perturb_func(IMAGES)[0], first).any()
    torch.set_rng_state(state)
    exactly(perturb_func(IMAGES)[0], first)


@every
def test_the_callers_tensors_stay_and_types_are_kept(perturb_func):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = IMAGES.to(dtype)
        before = x.clone()
        moved, perturbed = perturb_func(x, seed=0)
        assert moved.dtype == perturbed.dtype == dtype
        exactly(x, before)


@every
def test_a_tensor_gives_tensors_and_a_tuple_tuples(perturb_func):
    moved, perturbed = perturb_func((IMAGES,), seed=0)
    exactly(moved, (perturb_func(IMAGES, seed=0)[0],))
    exactly(perturbed, (perturb_func(IMAGES, seed=0)[1],))


@every
def test_it_pickles_and_serves_captums_infidelity_too(perturb_func):
    again = pickle.loads(pickle.dumps(perturb_func))
    exactly(again(IMAGES, seed=0), perturb_func(IMAGES, seed=0))
    score = captum.metrics.infidelity(smooth_model, perturb_func, IMAGES, MAPS, n_perturb_samples=5)
    assert score.isfinite().all()


# ---------------------------------------------------------------- each of them


def test_gaussian_noise_has_its_width():
    moved, _ = gaussian(torch.zeros(400, 100), std=0.3, seed=0)
    assert abs(moved.std() - 0.3) < 0.01
    assert abs(moved.mean()) < 0.01


def test_a_noisy_baseline_leaves_only_the_baseline_and_noise():
    _, perturbed = noisy_baseline(torch.full((400, 100), 9.0), baselines=2.0, std=0.3, seed=0)
    assert abs(perturbed.std() - 0.3) < 0.01
    assert abs(perturbed.mean() - 2) < 0.01


def holes(perturbed, baseline=0.0):
    return [(row == baseline).all(0) for row in perturbed]


@given(height=st.integers(2, 5), width=st.integers(2, 5), size=st.integers(1, 2))
def test_the_places_of_squares_are_all_there_are_and_each_is_whole(height, width, size):
    x = torch.ones(1, 3, height, width)
    count = (height - size + 1) * (width - size + 1)
    _, perturbed = square_removal(x.expand(count, -1, -1, -1), size=size, position=torch.arange(count))
    found = holes(perturbed)
    for place, hole in enumerate(found):
        top, left = divmod(place, width - size + 1)
        wanted = torch.zeros(height, width, dtype=torch.bool)
        wanted[top : top + size, left : left + size] = True
        assert torch.equal(hole, wanted)
        assert (perturbed[place][:, ~wanted] == 1).all()


@pytest.mark.parametrize(("shape", "count"), [((7,), 6), ((3, 4, 2), 2 * 3 * 1)])
def test_windows_of_series_and_cubes_of_volumes_are_squares(shape, count):
    x = torch.ones(count, 2, *shape)
    _, perturbed = square_removal(x, size=2, position=torch.arange(count))
    assert len({str(h.tolist()) for h in holes(perturbed)}) == count
    assert (perturbed == 0).flatten(1).sum(1).tolist() == [2 * 2 ** len(shape)] * count


def test_in_a_tuple_a_square_of_one_of_the_tensors_is_removed():
    x = torch.ones(8, 1, 2, 3), torch.ones(8, 1, 3)  # 6 and 3 places of a single position
    _, (images, series) = square_removal(
        tuple(t[:1].expand(9, *t.shape[1:]) for t in x), size=1, position=torch.arange(9)
    )
    assert (images == 0).flatten(1).sum(1).tolist() == [1] * 6 + [0] * 3
    assert (series == 0).flatten(1).sum(1).tolist() == [0] * 6 + [1] * 3


def test_random_squares_lie_everywhere_equally_often():
    _, perturbed = square_removal(torch.ones(1200, 1, 3, 5), size=2, seed=0)
    corners = [tuple(h.nonzero()[0].tolist()) for h in holes(perturbed)]
    counts = [corners.count((top, left)) for top in range(2) for left in range(4)]
    assert sum(counts) == 1200
    assert oracles.chi_square_p(counts) > 0.001


@pytest.mark.parametrize(("n", "counts"), [(1, [1, 1]), (2, [2, 2]), (0.5, [2, 1])])
def test_as_many_segments_are_removed_whole_as_asked_for(n, counts):
    mask = torch.stack([torch.arange(12) // 3, torch.arange(12) // 6]).reshape(2, 1, 3, 4)  # 4 and 2 groups
    x, mask = torch.ones(2, 2, 3, 4).repeat_interleave(20, 0), mask.repeat_interleave(20, 0)
    _, perturbed = segment_removal(x, feature_mask=mask, n=n, seed=0)
    for row, (hole, own) in enumerate(zip(holes(perturbed), mask[:, 0])):
        removed = own[hole].unique()
        assert len(removed) == counts[row // 20]
        assert torch.equal(hole, torch.isin(own, removed))
    assert len({str(h.tolist()) for h in holes(perturbed)[:20]}) > 1


def test_frozen_segments_are_never_removed():
    x = torch.ones(60, 4)
    _, perturbed = segment_removal(x, feature_mask=torch.tensor([[0, 0, 1, 2]]), n=1, frozen=[1], seed=0)
    assert (perturbed[:, 2] == 1).all()
    assert {str(row.tolist()) for row in perturbed} == {"[0.0, 0.0, 1.0, 1.0]", "[1.0, 1.0, 1.0, 0.0]"}


# ---------------------------------------------------------------- within infidelity


@every
def test_neither_the_batch_nor_the_limit_nor_the_place_changes_the_scores(perturb_func):
    seeds, order = torch.tensor([5, 6, 7]), [2, 0, 1]
    score = partial(infidelity, smooth_model, perturb_func, n_perturb_samples=7)
    whole = score(IMAGES, MAPS, seed=seeds)
    closely(score(IMAGES[order], MAPS[order], seed=seeds[order]), whole[order])
    for limit in (1, 2, 7, 100):
        closely(score(IMAGES, MAPS, seed=seeds, max_examples_per_batch=limit), whole)
    assert (score(IMAGES, MAPS, seed=0) - whole).abs().max() > 0


@every
def test_it_is_the_mean_over_its_own_draws(perturb_func):
    seen = []

    def noted(inputs, seed=None):
        seen.append(perturb_func(inputs, seed=seed))
        return seen[-1]

    ours = infidelity(smooth_model, noted, IMAGES, MAPS, n_perturb_samples=4, seed=3)
    ((moved, perturbed),) = seen
    draws = [[((moved[4 * b + j],), (perturbed[4 * b + j],)) for j in range(4)] for b in range(3)]
    closely(ours, full(*oracles.infidelity(smooth_model, IMAGES, MAPS, draws)))


def test_all_squares_are_taken_once_where_there_are_no_more_than_draws():
    draws = []
    for b in range(3):
        places = [(top, left) for top in range(3) for left in range(4)]
        draws.append([])
        for top, left in places:
            perturbed = IMAGES[b].clone()
            perturbed[:, top : top + 2, left : left + 2] = 0.5
            draws[b].append(((IMAGES[b] - perturbed,), (perturbed,)))
    exact = full(*oracles.infidelity(smooth_model, IMAGES, MAPS, draws))
    squares = partial(square_removal, size=2)
    for n, limit in [(12, None), (13, 1), (1000, 4)]:
        model = Recorder(smooth_model)
        ours = infidelity(model, squares, IMAGES, MAPS, 0.5, n_perturb_samples=n, max_examples_per_batch=limit, seed=0)
        closely(ours, exact)
        assert model.rows == 3 + 3 * 12
    state = torch.get_rng_state()
    infidelity(smooth_model, squares, IMAGES, MAPS, n_perturb_samples=12)
    exactly(torch.get_rng_state(), state)
    fewer = infidelity(smooth_model, squares, IMAGES, MAPS, 0.5, n_perturb_samples=11, seed=0)
    assert (fewer - exact).abs().min() > 0


@pytest.mark.parametrize("perturb_func", [gaussian, noisy_baseline, *list(ALL.values())[2:]])
def test_the_gradient_explains_a_linear_model_and_removals_explain_what_it_adds(perturb_func):
    score = partial(infidelity, linear, inputs=IMAGES, baselines=0.5, n_perturb_samples=6, seed=0)
    closely(score(perturb_func, attributions=W.expand_as(IMAGES)), full(0, 0, 0))
    products = W * (IMAGES - 0.5)
    closely(score(partial(perturb_func, multiply_by_inputs=True), attributions=products), full(0, 0, 0))


def test_of_twice_the_gradient_gaussian_infidelity_is_the_variance_times_the_gradient_squared():
    score = infidelity(
        linear, partial(gaussian, std=0.5), IMAGES, (2 * W).expand_as(IMAGES), n_perturb_samples=4000, seed=0
    )
    wanted = 0.25 * (W**2).sum()
    assert ((score / wanted - 1).abs() < 4 * (2 / 4000) ** 0.5).all()  # a square of a normal has relative variance 2


def test_of_a_quadratic_model_it_has_its_closed_form():
    """Var f(x - I) about the linear part: s^2 |phi - grad|^2 + s^4 / 4 (2 tr A^2 + (tr A)^2)."""
    a = normal(4, 4, seed=3)
    a, w, x, phi = a + a.T, normal(4, seed=4), normal(2, 4, seed=5), normal(2, 4, seed=6)
    model = lambda rows: (rows @ a * rows).sum(1) / 2 + rows @ w  # noqa: E731
    s, n = 0.7, 4000
    ours = infidelity(model, partial(gaussian, std=s), x, phi, n_perturb_samples=n, seed=0)
    slope = phi - (x @ a + w)
    wanted = s**2 * (slope**2).sum(1) + s**4 / 4 * (2 * (a @ a).trace() + a.trace() ** 2)
    assert ((ours / wanted - 1).abs() < 0.15).all()  # some four standard deviations


@every
def test_what_normalised_infidelity_leaves_is_one_minus_the_squared_cosine(perturb_func):
    seen = []

    def noted(inputs, seed=None):
        seen.append(perturb_func(inputs, seed=seed))
        return seen[-1]

    ours = infidelity(smooth_model, noted, IMAGES, MAPS, n_perturb_samples=6, normalize=True, seed=1)
    ((moved, perturbed),) = seen
    explained = (moved.reshape(3, 6, -1) * MAPS.reshape(3, 1, -1)).sum(-1)
    observed = smooth_model(IMAGES)[:, None] - smooth_model(perturbed).reshape(3, 6)
    cosine = torch.cosine_similarity(explained, observed, dim=1)
    closely(ours / (observed**2).mean(1), 1 - cosine**2)


def test_segments_are_made_once_and_follow_their_examples():
    calls = []

    def blocks(inputs):
        calls.append(len(inputs))
        return torch.stack([(torch.arange(20) // (3 + b)).reshape(1, 4, 5) for b in range(3)])

    seeds = torch.tensor([1, 2, 3])
    score = partial(infidelity, smooth_model, segment_removal, IMAGES, MAPS, n_perturb_samples=5, seed=seeds)
    whole = score(feature_mask=blocks)
    assert calls == [3]
    for limit in (1, 4):
        closely(score(feature_mask=blocks(IMAGES), max_examples_per_batch=limit), whole)
    mask = blocks(IMAGES)
    for b in range(3):
        alone = infidelity(
            smooth_model,
            segment_removal,
            IMAGES[[b]],
            MAPS[[b]],
            n_perturb_samples=5,
            seed=seeds[[b]],
            feature_mask=mask[[b]],
        )
        closely(alone, whole[[b]])


def test_a_decorated_function_is_told_its_seeds_too():
    @infidelity_perturb_func_decorator(False)
    def noise(inputs, seed=None):
        return gaussian(inputs, seed=seed)[1]

    ours = infidelity(smooth_model, noise, IMAGES, MAPS, seed=4)
    closely(ours, infidelity(smooth_model, gaussian, IMAGES, MAPS, seed=4))


def test_a_seed_that_is_set_is_left_as_it_is():
    fixed = partial(gaussian, seed=5)
    ours = infidelity(smooth_model, fixed, IMAGES, MAPS, n_perturb_samples=3, seed=4)
    exactly(ours, infidelity(smooth_model, fixed, IMAGES, MAPS, n_perturb_samples=3, seed=8))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("rows", [3, 7, 60])
def test_a_seed_that_is_set_gives_the_draws_of_one_call_in_any_number_of_calls(name, rows, monkeypatch):
    score = partial(infidelity, smooth_model, partial(ALL[name], seed=5), IMAGES, MAPS, n_perturb_samples=11)
    of_one_call = infidelity(smooth_model, lambda x: ALL[name](x, seed=5), IMAGES, MAPS, n_perturb_samples=11)
    exactly(score(), of_one_call)
    closely(score(max_examples_per_batch=rows), of_one_call)
    monkeypatch.setattr(memory, "EXPLAINED_ELEMENTS", rows * IMAGES[0].numel())
    closely(score(), of_one_call)


@pytest.mark.parametrize("seed", [-1, 1.5, "5"])
def test_a_wrong_seed_that_is_set_is_refused(seed):
    with pytest.raises((TypeError, ValueError), match="`seed` must be"):
        infidelity(smooth_model, partial(gaussian, seed=seed), IMAGES, MAPS)


def of_a_private_generator(x):
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    return noise, x - noise


@pytest.mark.parametrize("limit", [None, 6])
@pytest.mark.parametrize("perturb_func", [partial(gaussian, seed=5), partial(square_removal, size=3, seed=5)])
def test_evaluate_draws_other_copies_under_a_seed_that_is_set(perturb_func, limit):
    given = []
    net = lambda x: given.append(x.clone()) or smooth_model(x)  # noqa: E731
    scored = {"i": partial(infidelity, perturb_func=perturb_func, n_perturb_samples=4)}
    options = {"batch_size": 3, "max_examples_per_batch": limit}
    result = captum_ext.evaluate(net, [(x, None) for x in IMAGES], {"m": MAPS}, scored, **options)
    assert len(torch.cat(given).unique(dim=0)) > 3 + 3 * 2
    other = captum_ext.evaluate(net, [(x, None) for x in IMAGES], {"m": MAPS}, scored, batch_size=2, seed=1)
    np.testing.assert_allclose(result.dataset["i"], other.dataset["i"], rtol=1e-9)


def test_evaluate_calls_a_perturbation_with_a_generator_of_its_own_as_captum_does():
    scored = {"i": partial(infidelity, perturb_func=of_a_private_generator, n_perturb_samples=4)}
    alone = infidelity(smooth_model, of_a_private_generator, IMAGES, MAPS, n_perturb_samples=4)
    data = [(x, None) for x in torch.cat((IMAGES, IMAGES))]
    result = captum_ext.evaluate(smooth_model, data, {"m": torch.cat((MAPS, MAPS))}, scored, batch_size=3)
    np.testing.assert_allclose(result.dataset["i"].values[0], torch.cat((alone, alone)), rtol=1e-9)


def drawn_from_the_global_one(x):
    return of_a_private_generator(x + torch.randn_like(x))


def drawn_into_one_buffer(x, buffer=torch.empty(64, 2, 4, 5, dtype=torch.float64)):  # noqa: B008
    noise = buffer[: len(x)].normal_()
    return noise, x - noise


def writing(x, baselines):
    baselines.mul_(0.5)
    return x - baselines, baselines.expand_as(x).clone()


def in_place(x):
    return torch.ones_like(x) / 10, x.sub_(0.1)


def told(x, frozen=None):
    assert len(frozen) == 3
    return x / 2, x / 2


DRAWING = [drawn_from_the_global_one, drawn_into_one_buffer]


def of_new_tensors():
    scored = {"i": partial(infidelity, perturb_func=lambda x: drawn_into_one_buffer(x, x.clone()), n_perturb_samples=3)}
    return captum_ext.evaluate(smooth_model, [(x, None) for x in IMAGES], {"m": MAPS}, scored).dataset["i"].values[0]


@pytest.mark.filterwarnings("ignore:.*writes into")
@pytest.mark.parametrize("perturb_func", [*DRAWING, writing, in_place, told])
def test_evaluate_gives_a_perturbation_what_a_call_gives_it(perturb_func):
    settings = {"n_perturb_samples": 1, "baselines": IMAGES[:1] / 3} if perturb_func is writing else {}
    settings |= {"feature_mask": BLOCKS, "frozen": torch.tensor([0, 1, 2])} if perturb_func is told else {}
    scored = {"i": partial(infidelity, perturb_func=perturb_func, **{"n_perturb_samples": 3, **settings})}
    results = [
        captum_ext.evaluate(smooth_model, [(x, None) for x in IMAGES], {"m": MAPS}, scored, batch_size=size).dataset[
            "i"
        ]
        for size in (1, 2, 3)
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-9)
    if perturb_func is drawn_into_one_buffer:
        np.testing.assert_allclose(results[0].values[0], of_new_tensors(), rtol=1e-9)
    elif perturb_func not in DRAWING:
        alone = infidelity(smooth_model, perturb_func, IMAGES, MAPS, **{"n_perturb_samples": 3, **settings})
        np.testing.assert_allclose(results[0].values[0], alone, rtol=1e-9)


def drawing_for_some(x):
    """Draws nothing for the first example, and writes into what it is given."""
    first = (x - IMAGES[0]).flatten(1).abs().amax(1) == 0
    noise = torch.stack([torch.ones_like(row) if f else torch.rand_like(row) for f, row in zip(first, x)])
    return noise, x.sub_(noise)


def test_a_perturbation_that_begins_to_draw_late_may_write_into_what_it_is_given():
    scored = {"i": partial(infidelity, perturb_func=drawing_for_some, n_perturb_samples=3)}
    late, at_once = (
        captum_ext.evaluate(smooth_model, [(x, None) for x in IMAGES], {"m": MAPS}, scored, batch_size=size)
        for size in (1, 3)
    )
    np.testing.assert_allclose(late.dataset["i"], at_once.dataset["i"], rtol=1e-9)


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_evaluate_gives_every_example_its_draws_whatever_the_batch(limit, batch_size):
    x = normal(6, 2, 4, 5)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 3).double()).eval()
    torch.nn.init.normal_(net[1].weight, generator=torch.Generator().manual_seed(0))

    def scores(batch_size, limit):
        metrics = {
            "noise": partial(infidelity, perturb_func=gaussian, n_perturb_samples=4),
            "squares": partial(infidelity, perturb_func=partial(square_removal, size=3), n_perturb_samples=4),
            "segments": partial(infidelity, perturb_func=segment_removal, feature_mask=BLOCKS, n_perturb_samples=4),
        }
        result = captum_ext.evaluate(
            net,
            torch.utils.data.TensorDataset(x, torch.arange(6) % 3),
            {"ones": torch.ones_like(x), "inputs": x},
            metrics,
            batch_size=batch_size,
            max_examples_per_batch=limit,
            seed=2,
        )
        return {name: torch.as_tensor(result.dataset[name].values) for name in metrics}

    ours, wanted = scores(batch_size, limit), scores(3, None)
    for name in wanted:
        assert_close(ours[name], wanted[name], rtol=1e-6, atol=1e-6)
        assert (wanted[name] > 0).all()


@pytest.mark.parametrize(
    "perturb_func", [gaussian, noisy_baseline, infidelity_perturb_func_decorator()(lambda x: x + 9)]
)
def test_a_perturbation_divided_by_a_distance_may_leave_the_range_of_float16(perturb_func):
    x = torch.full((2, 3), 1e-5, dtype=torch.float16)
    options = {"multiply_by_inputs": True, "std": 9.0} if perturb_func in (gaussian, noisy_baseline) else {}
    score = infidelity(lambda rows: rows.sum(1), partial(perturb_func, **options), x, x, seed=0)
    assert score.isfinite().all()
