from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captum_ext._core.arguments import as_attributions
from captum_ext._core.features import Features
from captum_ext._core.forward import Forward
from captum_ext._core.removals import OPPOSITE, Removals, fractions
from captum_ext.metrics import deletion_curve

from .. import oracles
from ..conftest import smooth_model
from ..oracles import Recorder

closely = partial(assert_close, rtol=1e-12, atol=1e-12)
exactly = partial(assert_close, rtol=0, atol=0)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def removals_of(model, x, maps, mask=None, limit=None):
    phi = as_attributions(maps, (x,))
    features = Features(x, phi, None, mask)
    return Removals(features, Forward(model, (x,), max_examples_per_batch=limit), features.totals("mean"))


@given(
    methods=st.integers(1, 3),
    batch=st.integers(1, 3),
    width=st.integers(1, 6),
    points=st.integers(1, 7),
    own=st.booleans(),
    limit=st.integers(1, 9),
)
def test_scores_are_those_of_the_naive_loop_and_no_row_comes_twice(methods, batch, width, points, own, limit):
    x, maps = normal(batch, width), {str(m): normal(batch, width, seed=m + 1).round(decimals=1) for m in range(methods)}
    draw = torch.Generator().manual_seed(points)
    mask = torch.randint(3, (batch, width), generator=draw) if own else torch.arange(width)[None]
    model = Recorder(smooth_model)
    found = removals_of(model, x, maps, mask, limit)
    counts = (torch.rand(batch, points, generator=draw) * (found.x.counts[:, None] + 1)).long()
    curves = found.curves(counts, "morf", "lerf")
    assert curves.shape == (methods, batch, 2, points)
    for values, phi in zip(curves, maps.values()):
        for i, mode in enumerate(OPPOSITE):
            for b, features in enumerate(oracles.features_of(x, mask)):
                asked = [k / len(features) for k in counts[b].tolist()]
                one = x[b : b + 1], phi[b : b + 1]
                wanted = oracles.removal_curve(smooth_model, *one, 0, [features], mode, asked)[0]
                closely(values[b, i], torch.tensor(wanted, dtype=torch.float64))
    ends = [{0, f} for f in found.x.counts.tolist()]
    inner = sum(len(set(c) - e) for c, e in zip(counts.tolist(), ends))
    assert model.rows == 2 * methods * inner + sum(len(set(c) & e) for c, e in zip(counts.tolist(), ends))


def test_what_was_evaluated_is_remembered(smooth):
    x, maps = normal(2, 8), {"a": normal(2, 8, seed=1), "b": normal(2, 8, seed=2)}
    model = Recorder(smooth)
    found = removals_of(model, x, maps)
    halves, all_counts = torch.tensor([[0, 4, 8]]).expand(2, -1), torch.arange(9).expand(2, -1)
    first = found.curve(halves, "morf")
    assert model.rows == 2 * (2 + 2)
    both = found.curves(all_counts, "morf", "lerf")
    assert model.rows == 2 * (2 + 2 * 2 * 7)
    exactly(both[:, :, 0, [0, 4, 8]], first)
    exactly(found.curves(halves, "lerf", "morf"), both[..., [0, 4, 8]].flip(2))
    assert model.rows == 2 * (2 + 2 * 2 * 7)
    exactly(removals_of(smooth, x, maps).curves(all_counts, "morf", "lerf"), both)


def test_the_least_relevant_of_a_short_example_are_its_own():
    x = torch.tensor([[1.0, 10.0, 100.0], [1.0, 10.0, 100.0]]).double()
    mask = torch.tensor([[0, 1, 2], [1, 1, 0]])
    found = removals_of(lambda rows: rows.sum(1), x, x, mask)
    counts = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 2]])
    exactly(found.curve(counts, "lerf")[0], torch.tensor([[111.0, 110, 100, 0], [111, 100, 0, 0]]).double())


@given(
    ends=st.sampled_from([(0.0, 1.0), (1.0, 0.0), (0.0, 0.15), (0.25, 0.75), (1 - 0.1, 1 - 0.7)]),
    points=st.integers(2, 120),
    width=st.integers(1, 300),
)
def test_numbers_that_are_cut_off_are_those_of_numpy(ends, points, width):
    """The last bit of a fraction decides: 29 % of 100 features are 28."""
    found = removals_of(smooth_model, normal(1, width), {"m": normal(1, width)})
    counts = found.counts(fractions(*ends, points, "floor"), "floor")
    assert counts[0].tolist() == (np.linspace(*ends, points) * width).astype(int).tolist()
    nearest = found.counts(fractions(*ends, points))
    assert ((nearest - counts) >= 0).all()
    assert ((nearest - counts) <= 1).all()


def test_totals_are_made_for_blocks_of_examples_and_each_map_is_ranked_as_by_itself(monkeypatch):
    made, make = [], Features._totals

    def counted(self, maps, aggregate, examples=slice(None)):
        made.append(examples)
        return make(self, maps, aggregate, examples)

    monkeypatch.setattr(Features, "_totals", counted)
    x = normal(37, 3000)  # of which 21 pairs of an example and a method make a block
    maps, weights = {f"method {i}": normal(37, 3000, seed=i + 1) for i in range(5)}, normal(3000, seed=9)
    curves = deletion_curve(lambda rows: (rows.sin() * weights).sum(1), x, maps, n_steps=4)
    assert len(made) <= 5 + 5 * math.ceil(37 * 5 / 21)  # a check of each map, and each method once a block
    for b in (0, 4, 8, 36):
        for name, phi in maps.items():
            alone = deletion_curve(lambda rows: (rows.sin() * weights).sum(1), x[[b]], phi[[b]], n_steps=4)
            closely(curves[name][[b]], alone)
