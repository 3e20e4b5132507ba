from __future__ import annotations

from functools import partial

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from captum_ext.feature_masks import grid, patches
from captum_ext.metrics import faithfulness_correlation, mu_fidelity, sensitivity_n

from ... import oracles
from ...conftest import smooth_model
from ...oracles import Recorder, identified

exactly = partial(assert_close, rtol=0, atol=0, equal_nan=True)
closely = partial(assert_close, rtol=1e-9, atol=1e-9)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


IMAGES, MAPS = normal(2, 3, 12, 10), normal(2, 3, 12, 10, seed=1)


def test_faithfulness_correlation_is_sensitivity_n_at_a_tenth_of_the_features():
    ours = faithfulness_correlation(smooth_model, IMAGES, MAPS, seed=0)
    exactly(ours, sensitivity_n(smooth_model, IMAGES, MAPS, n=36, n_perturb_samples=100, seed=0))


def test_mu_fidelity_is_the_rank_correlation_of_sensitivity_n_over_a_fifth_of_81_cells():
    ours = mu_fidelity(smooth_model, IMAGES, MAPS, seed=0)
    over_cells = partial(sensitivity_n, feature_mask=grid(IMAGES), n=16, n_perturb_samples=200, seed=0)
    exactly(ours, over_cells(smooth_model, IMAGES, MAPS, correlation="spearman"))
    assert (ours - over_cells(smooth_model, IMAGES, MAPS)).abs().min() > 0


def test_what_a_linear_model_adds_explains_it_perfectly(linear, w, x):
    ones = torch.ones(3, dtype=torch.float64)
    closely(faithfulness_correlation(linear, x, w * (x - 0.5), 2, 0.5), ones)
    weights = normal(3, 12, 10, seed=2)
    model = lambda rows: (rows * weights).sum((1, 2, 3))  # noqa: E731
    closely(mu_fidelity(model, IMAGES, weights * IMAGES, seed=0), ones[:2])
    closely(mu_fidelity(model, IMAGES, -weights * IMAGES, seed=0), -ones[:2])


def test_on_a_linear_model_every_set_of_one_size_gives_the_correlation_of_the_attributions(linear, w, x, phi):
    wanted = torch.tensor([stats.pearsonr(p, w * e)[0] for p, e in zip(phi, x)])
    for n in range(1, 6):
        closely(faithfulness_correlation(linear, x, phi, n), wanted)  # 6 features have no more than 20 such sets


@pytest.mark.parametrize(
    ("metric", "correlation", "mask"),
    [(faithfulness_correlation, "pearson", None), (mu_fidelity, "spearman", grid(IMAGES, cells=3))],
)
def test_the_naive_loop_gives_the_same(metric, correlation, mask):
    x, phi = IMAGES[:, :, :4, :3], MAPS[:, :, :4, :3]
    mask = None if mask is None else grid(x, cells=3)
    model = Recorder(identified(smooth_model))
    settings = {"n": 3, "feature_mask": mask, "n_perturb_samples": 12, "seed": 1}
    ours = metric(model, x, phi, additional_forward_args=torch.arange(2), **settings)
    features = oracles.features_of(x, mask)
    drawn = oracles.drawn_subsets(model.calls, x, features)
    wanted = oracles.sensitivity_n(smooth_model, x, phi, 0, features, drawn, [3, 3], correlation=correlation)
    closely(ours, torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(9, 9), (12, 10), (28, 28), (4, 20), (224, 100), (7,), (5, 6, 30)])
@pytest.mark.parametrize("cells", [1, 3, 9])
def test_cells_of_a_grid_are_blocks_whose_sides_differ_by_one_at_most(shape, cells):
    mask = grid(torch.zeros(1, 2, *shape), cells)[0, 0]
    assert mask.shape == shape
    for axis, side in enumerate(shape):
        along = mask.movedim(axis, 0).reshape(side, -1)
        starts = (along[1:] != along[:-1]).any(1).nonzero().flatten() + 1
        lengths = torch.diff(torch.cat([torch.tensor([0]), starts, torch.tensor([side])]))
        assert len(lengths) == min(cells, side)
        assert lengths.max() - lengths.min() <= 1
        assert ((along[1:] != along[:-1]).all(1) | (along[1:] == along[:-1]).all(1)).all()
    assert len(mask.unique()) == torch.tensor([min(cells, side) for side in shape]).prod()


def test_a_grid_of_even_cells_has_the_patches_of_their_size():
    x = torch.zeros(1, 3, 12, 12)
    _, numbers = grid(x, cells=4).unique(return_inverse=True)
    exactly(numbers, patches(x, size=3))


def test_tensors_of_a_tuple_get_cells_of_their_own():
    first, second = grid((torch.zeros(2, 1, 4), torch.zeros(2, 1, 2, 2)), cells=2)
    assert not set(first.flatten().tolist()) & set(second.flatten().tolist())


def test_frozen_cells_stay_as_they_are():
    model = Recorder(smooth_model)
    mu_fidelity(model, IMAGES, MAPS, seed=0, frozen=[0])
    first_cell = grid(IMAGES)[0, 0] == 0
    rows = torch.cat([call[0] for call in model.calls])
    assert any(torch.equal(rows[0][:, first_cell], x[:, first_cell]) for x in IMAGES)
    assert (rows[:, :, first_cell] != 0).all()
    assert (rows == 0).any()


def test_a_constant_side_has_no_correlation():
    assert mu_fidelity(smooth_model, IMAGES, torch.zeros_like(IMAGES), seed=0).isnan().all()
    assert faithfulness_correlation(lambda rows: rows[:, 0, 0, 0] * 0, IMAGES, MAPS, seed=0).isnan().all()
