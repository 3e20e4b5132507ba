"""Impact coverage: the overlap by hand, and patches that change the prediction.

`tests/attribench/test_impact_coverage.py` holds it to AttriBench's recorded attacks.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from captum_ext import evaluate, metrics
from captum_ext.metrics import impact_coverage

from ...oracles import Recorder

closely = partial(assert_close, rtol=1e-12, atol=1e-12)
B = 5


def brightest(x):
    """A class for each channel."""
    return x.flatten(2).sum(2)


def images(*size, seed=0):
    return torch.rand(B, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def patches(*size):
    return {c: 100 * torch.eye(3)[c].reshape(3, *[1] * len(size)).expand(3, *size).clone() for c in range(3)}


def of_patch(x, target):
    return (x > 1).any(1, keepdim=True).double()


SIZES = {"series": ((9,), (3,)), "images": ((8, 7), (3, 2)), "volumes": ((4, 5, 6), (2, 2, 1))}


@pytest.mark.parametrize("kind", SIZES)
def test_a_map_of_the_patch_scores_1_and_one_of_all_else_0(kind):
    size, extent = SIZES[kind]
    score = partial(impact_coverage, brightest, inputs=images(*size), patches=patches(*extent), seed=0)
    closely(score(of_patch), torch.ones(B).double())
    closely(score(lambda x, target: of_patch(x, target).expand_as(x)), torch.ones(B).double())
    closely(score(lambda x, target: 1 - of_patch(x, target)), torch.zeros(B).double())


def test_it_is_the_overlap_by_hand_of_patches_at_places_of_their_own():
    x, seen = images(8, 7), []
    weights = torch.rand(8, 7, generator=torch.Generator().manual_seed(1)).double()

    def explain(x, target):
        seen.append((x, target))
        return weights.expand(len(x), 1, 8, 7)

    found = impact_coverage(brightest, explain, x, patches(3, 2), target=brightest(x).argmin(1), seed=3)
    ((patched, classes),) = seen
    assert torch.equal(brightest(patched).argmax(1), classes)
    assert not (classes == brightest(x).argmax(1)).any()
    assert not (classes == brightest(x).argmin(1)).any()
    top = {divmod(int(i), 7) for i in weights.flatten().argsort(descending=True)[:6]}
    places = []
    for b in range(B):
        under = {(int(i), int(j)) for i, j in (patched[b] != x[b]).any(0).nonzero()}
        assert len(under) == 6
        places.append(min(under))
        assert found[b].item() == pytest.approx(len(under & top) / len(under | top))
    assert len(set(places)) > 1


@pytest.mark.parametrize("limit", [1, 2, None])
def test_batch_and_limit_change_nothing(limit):
    x, explain = images(8, 7), lambda x, target: x * x.cos()
    call = {"patches": patches(3, 2), "max_examples_per_batch": limit}
    model = Recorder(brightest)
    whole = impact_coverage(model, explain, x, seed=list(range(B)), **call)
    assert max(model.sizes) <= (limit or B)
    parts = [impact_coverage(brightest, explain, x[[b]], seed=[b], **call) for b in range(B)]
    closely(whole, torch.cat(parts))


def test_a_list_as_training_gives_it_is_a_patch_for_each_class():
    as_list = [p[None] for p in patches(3, 2).values()]
    score = partial(impact_coverage, brightest, lambda x, target: x * x.cos(), images(8, 7), seed=0)
    closely(score(patches=as_list), score(patches=patches(3, 2)))


def test_what_no_patch_fools_is_nan_with_a_warning_unless_it_is_kept():
    weak = {c: 0 * p + 0.5 for c, p in patches(3, 2).items()}
    score = partial(impact_coverage, brightest, of_patch, images(8, 7), patches=weak, seed=0, n_attempts=4)
    with pytest.warns(UserWarning, match=r"No patch changed the prediction of \d of 5 images"):
        scores = score()
    with pytest.warns(UserWarning, match="No patch changed"):
        kept = score(fooled_only=False)
    assert scores.isnan().any()
    assert kept.isfinite().all()
    closely(scores.nan_to_num(), kept.masked_fill(scores.isnan(), 0))


def test_attributions_that_are_nan_are_a_score_that_is():
    x = images(8, 7)
    explain = lambda rows, target: of_patch(rows, target).masked_fill(rows[:, :1] == x[2, 0, 0, 0], torch.nan)  # noqa: E731
    call = {"patches": {c: p[..., :1, :1] for c, p in patches(3, 2).items()}, "seed": 0}
    found = impact_coverage(brightest, explain, x, **call)
    assert found.isnan().tolist() == [False, False, True, False, False]


def test_the_methods_of_a_run_see_the_same_patched_images_made_once():
    x, seen = images(8, 7), {}
    model = torch.nn.Module()
    model.forward, model.calls = lambda x: model.calls.append(len(x)) or brightest(x), []

    def noting(name):
        return lambda model: lambda inputs, target: seen.setdefault(name, []).append(inputs) or inputs

    score = {"impact coverage": partial(impact_coverage, patches=patches(3, 2))}
    data = [(image, int(brightest(image[None]).argmax())) for image in x]
    calls = []
    for names in (["a"], ["a", "b"]):
        model.calls.clear()
        seen.clear()
        evaluate(model, data, {name: noting(name) for name in names}, score, batch_size=B)
        calls.append(list(model.calls))
    assert calls[0] == calls[1]
    assert torch.equal(seen["a"][-1], seen["b"][-1])
    assert not torch.equal(seen["a"][-1], x)


X = images(8, 7)
REFUSED = {
    "no positions": (
        ValueError,
        r"`inputs` must be one tensor \(B, C, ...\) with positions",
        {"inputs": X[:, :, 0, 0]},
    ),
    "several inputs": (ValueError, r"`inputs` must be one tensor", {"inputs": (X, X)}),
    "no patches": (TypeError, "`patches` must be a mapping from classes to tensors, .*; got dict", {"patches": {}}),
    "a tensor": (TypeError, "`patches` must be a mapping from classes to tensors", {"patches": X}),
    "other channels": (
        ValueError,
        r"The patch of class 1 must have shape \(3, '...'\), got \(2, 3, 2\)",
        {"patches": {1: torch.ones(2, 3, 2)}},
    ),
    "too large": (
        ValueError,
        r"The patch of class 0, \(9, 2\), is larger than the images, \(8, 7\)",
        {"patches": [torch.ones(3, 9, 2)]},
    ),
    "a class that is none": (
        ValueError,
        "`patches` must be at least 0, got -1",
        {"patches": {-1: torch.ones(3, 1, 1)}},
    ),
    "several indices": (ValueError, "`target` must be one class for each example", {"target": (0, 1)}),
    "other maps": (
        ValueError,
        r"attributions of images \(5, 3, 8, 7\), .* or one; got \(5, 2, 8, 7\)",
        {"explanation_func": lambda x, target: x[:, :2]},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    error, match, changes = REFUSED[case]
    given = {"forward_func": brightest, "explanation_func": of_patch, "inputs": X, "patches": patches(3, 2), "seed": 0}
    with pytest.raises(error, match=match):
        metrics.impact_coverage(**given | changes)
