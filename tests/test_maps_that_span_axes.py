"""A map with size 1 along any axis but the first scores what that axis spans, in every metric that takes maps."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captum_ext import feature_masks
from captum_ext.metrics import deletion, infidelity, sensitivity_n, sparseness

from .calls import METRICS, Metric, Setting, map_of, takes, tiny

WITH_MAPS = {name: metric for name, metric in METRICS.items() if takes(metric, "attributions")}
SPANNED = ((3,), (2,), (1,), (1, 3), (1, 2))  # of inputs (B, 2, 2, 3)
ELEMENTWISE = (
    "infidelity",
    "average_drop",
    "average_gain",
    "increase_in_confidence",
    "consistency",
)  # without features


def spanning(axes: tuple[int, ...], x: Tensor) -> Tensor:
    """A map with size 1 along the axes."""
    phi = map_of(x)
    for axis in axes:
        phi = phi.narrow(axis, 0, 1)
    return phi


def numbered(phi: Tensor, x: Tensor) -> Tensor:
    """The feature mask of what a map scores, with a group id for every element of the inputs."""
    return torch.arange(phi[0].numel()).reshape(1, *phi.shape[1:]).expand(1, *x.shape[1:])


def call(metric: Metric, axes: tuple[int, ...], **changes: Any) -> Any:
    s: Setting = tiny()
    phi = spanning(axes, s.inputs)
    given = {
        "attributions": phi,
        "reference_attributions": spanning(axes, s.inputs.cos()),
        "other_attributions": torch.cat((phi, -phi)),
        "other_classes": torch.arange(2 * len(phi)) % 3,
        "truth_mask": spanning(axes, s.inputs) > 0,
        "n": 1,
        "k": 1,
        "perturb_func": None if not takes(metric, "perturb_func") else lambda x, *_, **__: (x / 2, x / 2),
        "feature_mask": None,
    } | changes
    return s.call(metric, **{name: value for name, value in given.items() if takes(metric, name)})


@pytest.mark.parametrize("metric", WITH_MAPS.values(), ids=WITH_MAPS)
def test_a_map_that_spans_axes_scores_as_groups_with_its_values(metric):
    """As groups of elements that repeat the map's value, with the mean over each."""
    for axes in SPANNED:
        x = tiny().inputs
        phi = spanning(axes, x)
        repeated = phi.expand_as(x)
        if metric.__name__ in ELEMENTWISE:
            groups: dict[str, Any] = {"other_attributions": torch.cat((repeated, -repeated)), "n_top": 12}
            score = call(metric, axes, discretize=torch.sign)
            groups["discretize"] = torch.sign
        else:
            groups = {"aggregate": "mean", "feature_mask": numbered(phi, x)}
            groups["reference_attributions"] = spanning(axes, x.cos()).expand_as(x)
            score = call(metric, axes)
        if takes(metric, "truth_mask"):  # positions are those of the mask, over which attributions add up
            repeated = repeated / (repeated[0].numel() / phi[0].numel())
        assert_close(score, call(metric, axes, attributions=repeated, **groups), equal_nan=True, msg=str(axes))
        assert not score.isnan().all()


@pytest.mark.parametrize("metric", WITH_MAPS.values(), ids=WITH_MAPS)
def test_maps_of_several_shapes_share_what_all_of_them_score(metric):
    x = tiny().inputs
    maps = {"all": map_of(x), "steps": spanning((3,), x), "channels": spanning((2, 3), x)}
    changes: dict[str, Any] = {"discretize": torch.sign, "n": 1, "k": 1}
    if takes(metric, "other_attributions"):
        changes["other_attributions"] = {name: torch.cat((phi, -phi)) for name, phi in maps.items()}
    together = call(metric, (2, 3), attributions=maps, **changes)
    assert list(together) == list(maps)
    alone = call(
        metric,
        (2, 3),
        attributions=maps["channels"],
        **changes | {"other_attributions": torch.cat((maps["channels"], -maps["channels"]))},
    )
    assert_close(together["channels"], alone, equal_nan=True)


@pytest.mark.parametrize(
    ("shape", "of_map"),
    [
        ((2, 7, 16), (2, 7, 1)),
        ((2, 12, 3), (2, 12, 1)),
        ((2, 8, 8, 3), (2, 8, 8, 1)),
        ((2, 4, 3, 8, 8), (2, 4, 1, 8, 8)),
    ],
)
def test_tokens_steps_positions_and_frames_are_features(shape, of_map):
    """The reference is the naive loop: the most relevant position first, with all that it spans."""
    x, phi = torch.rand(shape, dtype=torch.float64), torch.rand(of_map, dtype=torch.float64)
    weight = torch.rand(shape[1:], dtype=torch.float64)
    count = phi[0].numel()
    curve = torch.zeros(2, count + 1, dtype=torch.float64)
    for b in range(2):
        row, order = x[b].clone(), phi[b].flatten().argsort(descending=True)
        curve[b, 0] = (row * weight).sum()
        for step, place in enumerate(order, 1):
            gone = torch.zeros(count, dtype=torch.bool)
            gone[place] = True
            row = row.masked_fill(gone.reshape(of_map[1:]), 0)
            curve[b, step] = (row * weight).sum()
    expected = torch.trapezoid(curve, dx=1 / count)
    score = deletion(lambda rows: (rows * weight).flatten(1).sum(1), x, phi, n_steps=count + 1)
    assert_close(score, expected)


# ---- maps of other shapes


@pytest.mark.parametrize(
    ("inputs", "of_map", "hint"),
    [
        ((3, 5), (3, 5, 8), r"use \.sum\(-1\)"),
        ((3, 2, 4, 4), (3, 4, 4), r"use \.unsqueeze\(1\)"),
        ((3, 5, 8), (3, 5), r"use \.unsqueeze\(2\)"),
        ((3, 4, 6, 2), (3, 4, 6), r"use \.unsqueeze\(3\)"),
        ((3, 4, 2, 6, 7), (3, 4, 6, 7), r"use \.unsqueeze\(2\)"),
        ((3, 1, 4, 4), (3, 5, 8), "use feature_masks.token_map"),
        ((3, 1, 4, 4), (3, 5), "use feature_masks.token_map"),
    ],
)
def test_a_map_of_another_shape_is_told_what_to_do(inputs, of_map, hint):
    with pytest.raises(ValueError, match=r"`attributions` must have the shape of `inputs`.*" + hint):
        sparseness(torch.rand(inputs), torch.rand(of_map))


@pytest.mark.parametrize("of_map", [(3, 7, 4), (1, 5, 1), (2, 5, 1), (3, 1), (3,), (3, 5, 2), (1, 3, 5, 4)])
def test_a_map_that_fits_no_axis_is_refused(of_map):
    with pytest.raises(ValueError, match="`attributions` must have the shape of `inputs`"):
        sparseness(torch.rand(3, 5, 4), torch.rand(of_map))


def test_a_mask_that_separates_what_a_map_spans_is_refused():
    x = torch.rand(2, 4, 3)
    mask = torch.arange(12).reshape(1, 4, 3)
    with pytest.raises(
        ValueError, match=r"`attributions` have one value for all of axis 2, but `feature_mask` separates"
    ):
        deletion(lambda rows: rows.sum((1, 2)), x, torch.rand(2, 4, 1), feature_mask=mask)


def test_a_truth_mask_that_separates_what_a_map_spans_is_refused():
    x = torch.rand(2, 4, 3)
    with pytest.raises(
        ValueError, match=r"`truth_mask` \(1, 4, 3\) must have size 1 along axis 2.*any\(2, keepdim=True\)"
    ):
        METRICS["pointing_game"](x, torch.rand(2, 4, 1), torch.ones(1, 4, 3).bool())


# ---- one feature


def of_sums(rows: Tensor) -> Tensor:
    return rows.flatten(1).sum(1)


def test_a_mask_that_leaves_one_feature_warns():
    x = torch.rand(2, 6, 3)
    with pytest.warns(UserWarning, match=r"`feature_mask` leaves one feature.*axis=1") as caught:
        deletion(of_sums, x, x, feature_mask=feature_masks.windows(x, 6))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="`feature_mask` leaves one feature"):
        sparseness(x, x, feature_mask=torch.tensor([[[0], [1], [1], [1], [1], [1]]]), frozen=0)
    with pytest.warns(UserWarning, match="`attributions` have one feature"):
        sparseness(x, x[:, :1, :1])


def test_two_features_or_an_input_of_one_element_do_not_warn():
    x = torch.rand(2, 6, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deletion(of_sums, x, x, feature_mask=feature_masks.windows(x, 3, axis=1))
        deletion(of_sums, x, x, feature_mask=torch.stack((torch.zeros(6, 3), torch.arange(18.0).reshape(6, 3))).long())
        deletion(of_sums, x[:, :1, 0], x[:, :1, 0])
        sensitivity_n(of_sums, x, x[..., :1], n=2, seed=0)
        infidelity(of_sums, lambda rows: (rows / 2, rows / 2), x, x[..., :1])
