"""The e-process by which a pair of methods is decided: exact under the null, at every look, for any sizes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from captum_ext.evaluation.certainty import LAMBDAS, EProcess, log_e_values

RNG = np.random.default_rng(7)
SIZES = {
    "equal": np.ones(10),
    "exponential": RNG.exponential(size=10),
    "heavy tails": np.abs(RNG.standard_cauchy(10)),
    "rising, from 0": np.arange(10.0),
    "with ties and extremes": np.array([0, 1e-200, 3, 0, 1e150, 1, 0, 0, 2e150, 5]),
}
FEWEST = {1: 8, 28: 14, 270: 17, 540: 18}  # pairs -> examples, all signs equal, for alpha = 0.05


def signs(n):
    return np.array(list(itertools.product((1.0, -1.0), repeat=n)))


ONE_PAIR = np.log(1 / 0.05)


def decided(differences, threshold=ONE_PAIR, one_sided=False):
    process = EProcess(np.full(len(differences), threshold), one_sided)
    process.add(np.asarray(differences, float))
    return process


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_its_mean_over_all_signs_is_one_at_every_look(sizes, one_sided):
    for n in range(1, 11):
        e = np.exp(log_e_values(signs(n) * sizes[:n], one_sided))
        assert abs(e.mean() - 1) <= 1e-12


def test_it_is_the_formula():
    d = RNG.normal(size=12)
    products = dict.fromkeys([*LAMBDAS, *(-LAMBDAS)], 1.0)
    for t in range(1, 13):
        rms = np.sqrt(np.mean(d[:t] ** 2))
        for lam in products:
            products[lam] *= 1 + np.tanh(lam * d[t - 1] / rms)
    assert np.isclose(np.exp(log_e_values(d[None])[0]), np.mean([*products.values()]), rtol=1e-12)
    positive = [products[lam] for lam in LAMBDAS]
    assert np.isclose(np.exp(log_e_values(d[None], one_sided=True)[0]), np.mean(positive), rtol=1e-12)
    assert (len(LAMBDAS), *LAMBDAS[[0, -1]].round(12)) == (12, 0.05, 2)


def test_ties_decide_nothing():
    assert (log_e_values(np.zeros((1, 50))) == 0).all()


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 7, 1e150])
def test_it_has_no_scale(scale):
    d = RNG.normal(size=(3, 30))
    np.testing.assert_allclose(log_e_values(scale * d), log_e_values(d), rtol=1e-10, atol=1e-10)


def test_all_signs_flipped_decide_the_same_the_other_way_round():
    d = RNG.normal(0.8, size=(20, 60))
    one, other = decided(d), decided(-d)
    assert (one.log_e == other.log_e).all()
    assert (one.decided_at == other.decided_at).all()
    assert (one.side == -other.side).all()
    assert (one.side == 1).all()


@pytest.mark.parametrize("pairs", FEWEST)
def test_the_fewest_examples_that_decide(pairs):
    one_way = np.ones((1, 30))
    assert decided(one_way, np.log(pairs / 0.05)).decided_at == [FEWEST[pairs]]
    assert decided(one_way, np.log(2 * pairs / 0.05), one_sided=True).decided_at == [FEWEST[pairs]]


def test_blocks_do_not_matter_to_the_last_bit():
    d = RNG.normal(0.3, size=(50, 40))
    whole, parts = decided(d), EProcess(np.full(50, np.log(20)))
    for start, stop in ((0, 1), (1, 1), (1, 18), (18, 40)):
        parts.add(d[:, start:stop])
    assert parts.log_e.tobytes() == whole.log_e.tobytes()
    assert (parts.decided_at == whole.decided_at).all()
    assert (whole.decided_at > 0).any()
    assert (whole.decided_at == 0).any()


def test_a_decided_pair_stays_decided():
    process = decided([[1.0] * 10 + [-1.0] * 30])
    assert process.decided_at == [8]
    assert process.side == [1]
    assert process.larger_side == [-1]


def test_an_example_without_a_score_is_left_out_and_counted():
    d = RNG.normal(0.7, size=(1, 30))
    gaps = np.insert(d, [3, 3, 10, 29], [np.nan, np.inf, -np.inf, np.nan], axis=1)
    process = decided(gaps)
    assert process.log_e == log_e_values(d)
    assert (process.used, process.left_out) == ([30], [4])
    assert process.mean == pytest.approx(d.mean())


def test_nothing_but_gaps_is_not_decided():
    process = decided(np.full((1, 30), np.nan))
    assert (process.log_e, process.decided_at, process.used) == ([0], [0], [0])
    assert np.isnan(process.mean).all()


def test_a_typical_example_may_say_the_opposite_of_the_mean():
    process = decided([([-0.1] * 9 + [1.5]) * 5])
    assert process.side == [-1]
    assert process.mean > 0
    assert process.contradictory.all()
    assert not decided([[-0.1] * 9]).contradictory.any()


def test_a_one_sided_process_is_never_decided_downwards():
    process = decided(-np.ones((1, 60)), one_sided=True)
    assert process.decided_at == [0]
    assert process.log_e < 0


RUNS, LOOKS = 1500, 150
NULLS = {
    "normal": RNG.normal(size=(RUNS, LOOKS)),
    "heavy tails": RNG.standard_cauchy((RUNS, LOOKS)),
    "sparse": RNG.choice([-1.0, 1.0], (RUNS, LOOKS)) * (RNG.random((RUNS, LOOKS)) < 0.1),
    "one side large": RNG.choice([-1.0, 1.0], (RUNS, LOOKS)) * RNG.lognormal(sigma=2, size=(RUNS, LOOKS)),
}


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("null", NULLS)
def test_it_may_be_looked_at_after_every_example(null, one_sided):
    wrong = (decided(NULLS[null], one_sided=one_sided).decided_at > 0).mean()
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS)


def test_an_effect_of_half_a_deviation_is_found_after_some_forty_examples():
    process = decided(NULLS["normal"] + 0.5)
    assert (process.side == 1).mean() > 0.99
    assert 25 < np.median(process.decided_at) < 50
