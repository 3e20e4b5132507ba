from __future__ import annotations

from functools import partial

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from captum_ext.feature_masks import patches
from captum_ext.metrics import faithfulness_estimate, sensitivity_n

from ... import oracles
from ...oracles import Recorder

closely = partial(assert_close, rtol=1e-10, atol=1e-10)
MASKS = {"elements": None, "groups": torch.tensor([[4, 4, 0, 9, 9, 2], [1, 1, 1, 0, 3, 3], [0, 1, 2, 3, 4, 5]])}


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def drops(model, x, mask, positions=False):
    """Of every feature of every example."""
    for b, features in enumerate(oracles.features_of(x, mask, positions)):
        example = oracles.example_of(x, b)
        whole = oracles.score(model, example)
        yield features, [whole - oracles.score(model, oracles.without(example, [i], (0.0,))) for i in features]


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("correlation", ["pearson", "spearman", "kendall"])
def test_it_is_the_correlation_of_the_naive_loop(mask, aggregate, correlation, smooth, x, phi):
    compare = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}[correlation]
    wanted = []
    for b, (features, dropped) in enumerate(drops(smooth, x, mask)):
        totals = [oracles.attribution_of(i, oracles.example_of(phi, b), aggregate) for i in features]
        wanted.append(compare(totals, dropped).statistic)
    call = {"feature_mask": mask, "aggregate": aggregate, "correlation": correlation}
    closely(faithfulness_estimate(smooth, x, phi, **call), torch.tensor(wanted, dtype=torch.float64))


def test_occlusion_scores_1_and_its_opposite_minus_1(smooth, x):
    occlusion = torch.tensor([dropped for _, dropped in drops(smooth, x, None)])
    closely(faithfulness_estimate(smooth, x, occlusion), torch.ones(3).double())
    closely(faithfulness_estimate(smooth, x, 3 - 2 * occlusion), -torch.ones(3).double())


@pytest.mark.parametrize("correlation", ["spearman", "kendall"])
def test_any_increasing_map_of_the_effects_scores_1_by_ranks(correlation, smooth, x):
    occlusion = torch.tensor([dropped for _, dropped in drops(smooth, x, None)])
    maps = {"exp": occlusion.exp(), "cube": occlusion**3, "squeezed": occlusion.tanh()}
    ranks = faithfulness_estimate(smooth, x, maps, correlation=correlation)
    for name, score in ranks.items():
        closely(score, torch.ones(3).double())
        assert (faithfulness_estimate(smooth, x, maps[name]) < 1 - 1e-6).all()
    assert (faithfulness_estimate(smooth, x, -occlusion.exp(), correlation=correlation) < 1e-9 - 1).all()


def test_every_feature_is_removed_once(smooth, x, phi):
    for mask, features in ((None, 18), (MASKS["groups"], 4 + 3 + 6)):
        model = Recorder(smooth)
        faithfulness_estimate(model, x, {"a": phi, "b": -phi}, feature_mask=mask)
        assert model.rows == 3 + features


def test_it_is_sensitivity_1_with_enough_draws(smooth, x, phi):
    closely(faithfulness_estimate(smooth, x, phi), sensitivity_n(smooth, x, phi, n=1, n_perturb_samples=6))


def test_masks_may_be_made_by_a_function_and_tuples_be_given(smooth):
    x, phi = normal(2, 2, 4, 4), normal(2, 2, 4, 4, seed=1)
    of_patches = faithfulness_estimate(smooth, x, phi, feature_mask=partial(patches, size=2))
    closely(of_patches, faithfulness_estimate(smooth, x, phi, feature_mask=patches(x, 2)))
    pair = (x[:, :1], x[:, 1:]), (phi[:, :1], phi[:, 1:])
    masks = (patches(x, 2), patches(x, 2))
    closely(faithfulness_estimate(smooth_pair(smooth), *pair, feature_mask=masks), of_patches)


def smooth_pair(smooth):
    return lambda a, b: smooth(torch.cat((a, b), 1))


def test_constant_attributions_are_nan(smooth, x):
    assert faithfulness_estimate(smooth, x, torch.ones_like(x)).isnan().all()


def test_the_global_generator_is_left_alone(smooth, x, phi):
    before = torch.get_rng_state()
    faithfulness_estimate(smooth, x, phi)
    assert torch.equal(torch.get_rng_state(), before)
