from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from captum_ext.baselines import NoisyLinear
from captum_ext.metrics import deletion, deletion_curve, road, road_accuracy, srg

from ...oracles import Recorder, differ

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-10, atol=1e-10)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def images():
    return normal(3, 2, 5, 4)


@pytest.fixture
def maps():
    return normal(3, 1, 5, 4, seed=1)


class Constant:
    """A fill that does not depend on the mask, and notes its calls."""

    def __init__(self, value):
        self.value, self.rows = value, 0

    def fill(self, inputs, mask):
        assert mask.dtype == torch.bool
        assert mask.shape == inputs.shape
        self.rows += len(inputs)
        return torch.full_like(inputs, self.value)


def classes(rows):
    flat = rows.flatten(1)
    place = torch.arange(1.0, 1 + flat.shape[1]).double()
    return torch.stack([(flat * torch.cos(place * (k + 1))).sum(1) for k in range(3)], 1)


@pytest.mark.parametrize("mode", ["morf", "lerf"])
def test_road_is_the_mean_over_10_to_90_percent_of_imputed_images(mode, images, maps):
    target = [0, 2, 1]
    scores, bits = torch.zeros(3).double(), torch.zeros(3).double()
    for b in range(3):
        order = maps[b].flatten().argsort(descending=mode == "morf")
        for percent in range(10, 100, 10):
            mask = torch.zeros(20, dtype=torch.bool)
            mask[order[: round(20 * percent / 100)]] = True
            output = classes(NoisyLinear().fill(images[b : b + 1], mask.reshape(1, 1, 5, 4)))[0]
            scores[b] += output[target[b]] / 9
            bits[b] += float(output.argmax() == target[b]) / 9
    closely(road(classes, images, maps, target=target, mode=mode), scores)
    closely(road_accuracy(classes, images, maps, target=target, mode=mode), bits)


def test_the_default_fill_is_noisy_linear(images, maps, smooth):
    exactly(road(smooth, images, maps), road(smooth, images, maps, NoisyLinear()))
    assert differ(road(smooth, images, maps), road(smooth, images, maps, NoisyLinear(seed=1))).any()
    curve = deletion_curve(smooth, images, maps, NoisyLinear(), start=0.1, stop=0.9, n_steps=9)
    exactly(road(smooth, images, maps), curve.mean(1))


def test_each_share_costs_a_row(images, maps, smooth):
    model = Recorder(smooth)
    road(model, images, {"a": maps, "b": -maps})
    assert model.rows == 2 * 3 * 9


@pytest.mark.parametrize("limit", [1, 4])
def test_the_limit_and_the_batch_change_nothing(limit, images, maps, smooth):
    whole = road(smooth, images, maps)
    closely(road(smooth, images, maps, max_examples_per_batch=limit), whole)
    closely(torch.cat([road(smooth, images[b : b + 1], maps[b : b + 1]) for b in range(3)]), whole)


# ---------------------------------------------------------------- fills in general


@pytest.mark.parametrize("metric", [deletion, deletion_curve, srg])
def test_a_fill_that_gives_a_constant_is_that_baseline(metric, images, maps, smooth):
    mask = torch.arange(20).reshape(5, 4) // 3
    fill = Constant(0.25)
    exactly(
        metric(smooth, images, maps, fill, feature_mask=mask), metric(smooth, images, maps, 0.25, feature_mask=mask)
    )
    assert fill.rows > 3


def test_a_fill_serves_every_tensor_of_a_tuple(smooth):
    x, phi = (normal(2, 3), normal(2, 2, 2, seed=1)), (normal(2, 3, seed=2), normal(2, 2, 2, seed=3))
    exactly(deletion(smooth, x, phi, Constant(0.5)), deletion(smooth, x, phi, (0.5, 0.5)))


def test_a_fill_reaches_only_what_is_removed(smooth):
    class Everything:
        def fill(self, inputs, mask):
            return inputs.mul_(0)  # also what it was given

    x, phi = normal(2, 6), normal(2, 6, seed=1)
    before = x.clone()
    exactly(deletion(smooth, x, phi, Everything()), deletion(smooth, x, phi))
    exactly(x, before)


def test_what_a_fill_returns_has_the_rows_shape(smooth):
    class Wrong:
        def fill(self, inputs, mask):
            return inputs[:, :2]

    with pytest.raises(ValueError, match=r"`baselines.fill` must return the rows it was given, \(1, 6\), got \(1, 2\)"):
        deletion(smooth, normal(2, 6), normal(2, 6), Wrong())
