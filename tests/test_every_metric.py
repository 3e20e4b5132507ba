"""The contract that every exported metric keeps. How each is called: the table in `calls.py`."""

from __future__ import annotations

import copy
import doctest
import inspect
import pickle
import re
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations, cycle
from typing import Any
from unittest.mock import patch

import pytest
import torch
from captum.attr import InputXGradient, NoiseTunnel
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import captum_ext.metrics as exported
from captum_ext._core import memory
from captum_ext._core.card import arguments_of_partial, card_of
from captum_ext._core.estimates import DRAWS
from captum_ext.perturbations import segment_removal

from . import oracles
from .calls import (
    ARGUMENTS,
    CLASH,
    LEFT_OUT,
    METRICS,
    OF_ORDERS,
    Case,
    Metric,
    Net,
    Setting,
    cases_of,
    each,
    map_of,
    options,
    takes,
    tiny,
)
from .forms import for_each

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
B = 5
SHARE_ALL_ROWS = {  # a mapping of methods costs the model rows of one
    exported.completeness,
    exported.consistency,
    exported.faithfulness_correlation,
    exported.faithfulness_estimate,
    exported.infidelity,
    exported.monotonicity_correlation,
    exported.mu_fidelity,
    exported.non_sensitivity,
    exported.sensitivity_n,
}
NEEDS_VALUES = {  # compares, solves or draws weights: on a device without values there is nothing to compare
    exported.consistency,
    exported.impact_coverage,
    exported.input_invariance,
    exported.mst_compactness,
    exported.mu_fidelity,
    *OF_ORDERS,
    exported.road,
    exported.road_accuracy,
    *(metric for metric in METRICS.values() if takes(metric, "explanation_factory")),
}
CAPTUMS_ARGUMENTS = {
    *("forward_func", "perturb_func", "explanation_func", "inputs", "attributions", "baselines", "feature_mask"),
    *("additional_forward_args", "target", "n_perturb_samples", "max_examples_per_batch", "normalize"),
    *("perturb_radius", "norm_ord", "show_progress", "kwargs"),
}
OUR_ARGUMENTS = ARGUMENTS.keys() - CAPTUMS_ARGUMENTS
PUBLISHED = r"(arXiv:\d{4}\.\d{4,5}|openreview:\w+|doi:10\.\d{4,}/[\w.()/-]*\w)"


# ---- a test for each metric, which goes over the ways to call it


def of_every(chosen: Callable[[Case], bool], sets: int | None = 1) -> Callable[[Callable[[Case], None]], Any]:
    """Makes a claim of a case a test of every metric that has such cases: of plain calls and of some or all (None) sets
    of options.

    Where a claim takes some of the sets, other claims take others.
    """

    def decorator(check: Callable[[Case], None]) -> Any:
        cases = {name: [*filter(chosen, some_of(metric, check))] for name, metric in METRICS.items()}

        @pytest.mark.parametrize("metric", [name for name, of_metric in cases.items() if of_metric])
        def test(metric: str) -> None:
            for_each([(case.name, case) for case in cases[metric]], check)

        test.__name__ = check.__name__
        return test

    def some_of(metric: Metric, check: Callable[[Case], None]) -> list[Case]:
        first, *others = cases_of(metric)
        start = len(check.__name__) % max(len(others), 1)
        return [first, *(others[start:] + others[:start])[:sets]]

    return decorator


def draws(case: Case) -> bool:
    """Whether a seed is of consequence: an option may leave nothing to draw."""
    arguments = case.of(tiny())
    if case.metric in (exported.monotonicity_correlation, exported.non_sensitivity):
        return takes(arguments["baselines"], "seed") if callable(arguments["baselines"]) else False
    if "perturb_func" in case.options:
        of_squares = isinstance(arguments["perturb_func"], partial)  # so few places that each is taken once
        return case.metric is exported.infidelity and takes(arguments["perturb_func"], "seed") and not of_squares
    return case.takes("seed") and "lower" not in case.options  # the worst order is not drawn


every_case = of_every(lambda case: True)
every_model = of_every(lambda case: case.calls_a_model)
every_plain_model = of_every(lambda case: case.calls_a_model, sets=0)
every_mapping = of_every(lambda case: case.takes("attributions"))
every_draw = of_every(draws, sets=None)
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


class Recorded:
    """A model that notes the rows of its calls."""

    def __init__(self, model: Callable[..., Tensor]):
        self.model, self.calls = model, []

    def __call__(self, x: Tensor, *further: Any) -> Tensor:
        self.calls.append(len(x))
        return self.model(x, *further)


def recorded(batch: int = B) -> Setting:
    setting = tiny(batch)
    return replace(setting, model=Recorded(setting.model))


def assert_same(actual: Tensor, expected: Tensor) -> None:
    """Also not where both are nan: a comparison with nan says nothing."""
    assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def differ(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or bool(oracles.differ(a, b).any())


@cache
def score_of(case: Case) -> Tensor:
    """Of the tiny batch: computed once for all claims that compare with it."""
    return case(tiny())


# ---- the table is whole


def test_every_row_of_the_table_is_used():
    used = {name for metric in METRICS.values() for name in inspect.signature(metric).parameters}
    assert ARGUMENTS.keys() == used


def test_exports_are_named_once_and_there():
    assert len(set(exported.__all__)) == len(exported.__all__)
    assert METRICS.keys() <= set(exported.__all__) <= set(dir(exported))
    assert len(METRICS) >= 60


def test_an_exported_name_without_a_card_is_no_metric():
    """A metric whose card was forgotten would slip through this file."""
    for name in set(exported.__all__) - METRICS.keys():
        assert "attributions" not in inspect.signature(getattr(exported, name)).parameters
        assert "explanation_func" not in inspect.signature(getattr(exported, name)).parameters


# ---- scores


@of_every(lambda case: True, sets=None)
def test_there_is_a_row_of_finite_scores_per_example_in_the_range_of_the_card_where_the_card_says(case):
    low, high = case.metric.card.range
    arguments = {p.name: p.default for p in inspect.signature(case.metric).parameters.values()}
    axis = case.metric.card.axis
    for rows in (1, B):
        scores = case(tiny(rows))
        assert len(scores) == rows
        assert scores.isfinite().all()
        assert ((scores >= low) & (scores <= high)).all()
        places = axis and axis[1](arguments | case.of(tiny(rows)))
        assert scores.shape[1:][-1:] == (() if places is None else (len(places),))
        assert places is None or len(set(places)) == len(places)


@every_metric
def test_the_type_of_the_numbers_is_that_of_the_scores_but_at_least_float32(metric):
    """Where inputs, attributions and outputs have one type; others in `test_types_of_scores.py`."""
    for dtype in DTYPES:
        scores = tiny().to(dtype).call(metric)
        assert scores.dtype == torch.promote_types(dtype, torch.float32)
        assert scores.isfinite().all()


class Module(nn.Module):
    """A function as a module, with the layer that the table names."""

    def __init__(self, function: Callable[..., Tensor]):
        super().__init__()
        self.function, self.hidden = function, nn.Flatten()

    def forward(self, x: Tensor, *further: Any) -> Tensor:
        return self.function(self.hidden(x).reshape(x.shape), *further)


def odd_map(x: Tensor, *_: Any, **__: Any) -> Tensor:
    """An explanation near the largest number of float16, so that the difference of two has no room in it."""
    place = torch.arange(x[0].numel(), dtype=torch.float64).reshape(x.shape[1:])
    return (6e4 * (5 * x.double() + 0.01 * place * x.double()).sin()).half().to(x.dtype)


@of_every(lambda case: not case.takes("explanation_factory"), sets=0)
def test_numbers_of_half_precision_score_as_the_same_numbers_of_single_precision(case):
    """Where outputs and attributions are near the largest number of float16, and perturbed inputs are exact."""
    half = tiny().to(torch.float16)
    net = tiny().module

    def model(x: Tensor, *further: Any) -> Tensor:
        return (6e4 * net(x.double()).sigmoid()).half().to(x.dtype)

    perturb = segment_removal if case.metric is exported.infidelity else lambda inputs: -inputs
    exact = {"baselines": 0.0, "perturb_func": perturb, "activation": None, "explanation_func": odd_map}
    if case.metric is exported.normalized_aopc:
        exact["search"] = "exact"  # others take outputs that differ by no more than their rounding for equal
    changes = {name: value for name, value in exact.items() if name in inspect.signature(case.metric).parameters}

    def score(dtype: torch.dtype) -> Tensor:
        maps = {"attributions": odd_map(half.inputs), "reference_attributions": odd_map(half.inputs.cos())}
        maps |= {"other_attributions": torch.cat((odd_map(half.inputs), -odd_map(half.inputs)))}
        maps |= {"other_classes": torch.arange(2 * B) % 3}
        given = {name: value for name, value in maps.items() if case.takes(name)}
        given = {name: v.to(dtype) if v.is_floating_point() else v for name, v in given.items()}
        of_type = half.to(dtype)
        return case(replace(of_type, model=Module(model).eval(), everyone=half.inputs.to(dtype)), **changes, **given)

    scores = score(torch.float16)
    assert not scores.isinf().any()
    assert_close(scores, score(torch.float32), rtol=1e-2, atol=1e-5, equal_nan=True)


SCALED = {exported.completeness, exported.infidelity}  # these compare attributions with outputs


@of_every(lambda case: case.takes("attributions"))
def test_the_scale_of_the_attributions_does_not_count(case):
    if case.metric in SCALED and "normalize" not in case.options:
        return
    maps = ("attributions", "reference_attributions", "other_attributions")
    for dtype, exponents in {torch.float32: (-83, 100), torch.float64: (-600, 600)}.items():
        arguments = case.of(tiny().to(dtype))
        score = case.metric(**arguments)
        for exponent in exponents:
            scaled = {name: arguments[name] * 2.0**exponent for name in maps if name in arguments}
            assert_close(case.metric(**arguments | scaled), score, rtol=1e-12, atol=0)


@of_every(lambda case: case.takes("forward_func") and not case.takes("explanation_factory"), sets=None)
def test_where_outputs_are_nan_no_class_and_no_score_is_made_of_them(case):
    net = tiny().module

    def nan_of_example_1(x: Tensor, number: Tensor) -> Tensor:
        return net(x).masked_fill((number == 1)[:, None], torch.nan)

    changes = {"additional_forward_args": torch.arange(3)}
    changes |= {"same_class": True} if case.takes("same_class") else {}
    changes |= {"explanation_func": lambda x, *_, **__: map_of(x)} if case.takes("explanation_func") else {}
    scores = case(replace(tiny(3), model=Module(nan_of_example_1).eval()), **changes)
    assert scores[1].isnan().all()
    assert not scores[[0, 2]].isnan().any()


@every_case
def test_a_tensor_and_a_tuple_of_it_score_the_same(case):
    of_tensors = case.of(tiny())
    names = ("inputs", "attributions", "baselines", "feature_mask", "truth_mask", "reference_attributions")
    as_tuples = {n: (of_tensors[n],) for n in names if isinstance(of_tensors.get(n), Tensor)}
    assert "inputs" in as_tuples
    assert torch.equal(case.metric(**of_tensors | as_tuples), case.metric(**of_tensors))


@every_case
def test_examples_permuted_permute_the_scores(case):
    order = torch.tensor([3, 0, 4, 2, 1])
    assert_same(case(tiny()[order]), score_of(case)[order])


@of_every(lambda case: True, sets=None)
def test_a_batch_scores_as_its_two_parts(case):
    parts = [case(tiny()[rows]) for rows in (slice(1), slice(1, None))]
    assert_same(torch.cat(parts), score_of(case))


@every_case
def test_examples_score_as_if_alone_beside_an_extreme_neighbour(case):
    beside = tiny()
    beside.inputs[0] *= 1e3
    phi = {"attributions": case.of(tiny())["attributions"]} if case.takes("attributions") else {}
    for values in phi.values():
        values[0] *= 1e6
    assert_same(case(replace(beside, everyone=tiny().inputs), **phi)[1:], score_of(case)[1:])


# ---- what goes with the rows

FORMS_OF_TARGET = {
    "negative": -2,
    "0-d tensor": torch.tensor(1),
    "1-element tensor": torch.tensor([1]),
    "tensor": torch.full((B,), 1),
    "list": [1] * B,
    "list of tuples": [(1,)] * B,
    "tuple": (1,),
    "numpy integer": torch.tensor([1]).numpy()[0],
    "array": torch.full((B,), 1).numpy(),
}
WITH_TARGET = [name for name, metric in METRICS.items() if takes(metric, "target")]


@pytest.mark.parametrize(("metric", "form"), list(zip(WITH_TARGET, cycle(FORMS_OF_TARGET))))
def test_a_target_in_another_form_means_the_same(metric, form):
    """One form for each metric: all forms are tests of the door, `test_target.py`."""
    explain = METRICS[metric]
    limits = {"max_examples_per_batch": 2} if takes(explain, "max_examples_per_batch") else {}
    assert_same(tiny().call(explain, target=FORMS_OF_TARGET[form], **limits), tiny().call(explain, target=1))


@every_model
def test_a_further_argument_with_a_row_per_example_goes_with_its_example_and_another_with_all(case):
    net = tiny().module

    def scaled(x: Tensor, scale: Tensor, shared: Tensor, power: int) -> Tensor:
        assert len(scale) == len(x)
        assert shared.shape == (5,)
        return net(x * scale.reshape(-1, 1, 1, 1) + shared.sum()) ** power

    setting = replace(tiny(3), model=scaled, module=net)
    scale, shared = torch.linspace(0.5, 1.5, 3, dtype=torch.float64), torch.full((5,), 0.01, dtype=torch.float64)
    alone = [case(setting[[b]], additional_forward_args=(scale[[b]], shared, 2)) for b in range(3)]
    for limit in (None, 2):
        arguments = {"additional_forward_args": (scale, shared, 2), "max_examples_per_batch": limit}
        assert_same(case(setting, **arguments), torch.cat(alone))


# ---- the limit

LIMITS = (1, 3, B + 1, 10_000)


@every_model
def test_the_limit_is_never_exceeded_and_without_effect_on_the_score(case):
    free = recorded()
    score = case(free)
    for limit in LIMITS if not case.options else LIMITS[1:2]:
        limited = recorded()
        assert_same(case(limited, max_examples_per_batch=limit), score)
        assert 1 <= max(limited.model.calls) <= limit
        assert sum(limited.model.calls) == sum(free.model.calls)


@every_plain_model
def test_without_a_limit_a_call_has_few_rows_and_an_explanation_at_most_64_or_the_batch(case):
    for rows in (3, 66):
        setting = recorded(rows)
        with patch.object(memory, "ELEMENTS", 0):  # so that a call gets the fewest rows, 4
            case(setting)
        explains = case.takes("explanation_func") or case.takes("explanation_factory")
        assert max(setting.model.calls) <= (max(rows, 64) if explains else 4)


# ---- the rows that the card promises

INSIDE = "with start or stop inside 0..1"
ROWS_OF_SEARCH = (
    "B F (F + 1) by search='greedy', at most 5 times as many by 'beam', B 2^F by 'exact'; and what the score costs for "
    "M methods and again for 2 + n_perturb_samples, or for 4 with lower='worst'"
)
ROWS_OF_LIMITS = (
    "at most 5 B F (F + 1) by search='beam', B F (F + 1) by 'greedy', B 2^F by 'exact'; and 4 B + B (M + 4) (F - 1), "
    "for M methods"
)
OF_A_CURVE = "2 B + M B (n_steps - 2), for M methods"


@dataclass(frozen=True)
class Call:
    """What the number of model rows depends on: `B` examples, `M` methods, at most `F` features, and the arguments."""

    B: int
    M: int
    F: int
    arguments: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def inside(self) -> bool:
        return any(self.arguments[end] not in (0, 1) for end in ("start", "stop"))

    @property
    def sizes(self) -> int:
        return len(self.n) if isinstance(self.n, list) else 1

    @property
    def n_shares(self) -> int:
        return len(self.shares) if isinstance(self.shares, (list, tuple)) else 1

    @property
    def largest_k(self) -> int:
        every = self.k if isinstance(self.k, list) else [self.k]
        return max(max(1, round(k * self.F)) if isinstance(k, float) else k for k in every)

    @property
    def draws(self) -> int:
        """How often the baselines are drawn."""
        drawn = callable(self.baselines) and takes(self.baselines, "seed")
        return self.n_perturb_samples if drawn else 1

    @property
    def of_search(self) -> int:
        greedy = self.B * self.F * (self.F + 1)
        return {"greedy": greedy, "beam": 5 * greedy, "exact": self.B * 2**self.F}[self.search]

    def of_score(self, methods: int) -> int:
        arguments = arguments_of_partial(self.score)
        return MOST_ROWS[card_of(self.score).rows](replace(self, M=methods, arguments=arguments))


MOST_ROWS: dict[str, Callable[[Call], int]] = {  # by the card's words: the model's rows, in explanations too
    "none": lambda c: 0,
    "B": lambda c: c.B,
    "2 B": lambda c: 2 * c.B,
    "B + M B, for M methods": lambda c: c.B + c.M * c.B,
    "B + B F, for F features": lambda c: c.B + c.B * c.F,
    "B + B n_perturb_samples, and B gradients with control_variate='gradient'": lambda c: (
        c.B + c.B * (c.n_perturb_samples + (c.control_variate is not None))
    ),
    "B + M B n_perturb_samples, for M methods": lambda c: c.B + c.M * c.B * c.n_perturb_samples,
    "B + B n_attempts at most, and explanations of B rows": lambda c: 2 * c.B + c.B * c.n_attempts,
    "B n_perturb_samples": lambda c: c.B * c.n_perturb_samples,
    "B + B len(n) n_perturb_samples, and B len(n) gradients with estimator='regression'": lambda c: (
        c.B + c.B * c.sizes * (c.n_perturb_samples + (c.estimator == "regression"))
    ),
    "B + B len(n) n_perturb_samples": lambda c: c.B + c.B * c.sizes * c.n_perturb_samples,
    "B + B F n_perturb_samples, for F features; B + B F where what replaces them is not drawn": lambda c: (
        c.B + c.B * c.F * c.draws
    ),
    "B + M B len(shares), for M methods": lambda c: c.B + c.M * c.B * c.n_shares,
    "B + 2 M B len(shares), for M methods": lambda c: c.B + 2 * c.M * c.B * c.n_shares,
    "B + M B len(shares) n_perturb_samples, for M methods": lambda c: (
        c.B + c.M * c.B * c.n_shares * c.n_perturb_samples
    ),
    "B + M B k, for M methods and the largest k": lambda c: c.B + c.M * c.B * c.largest_k,
    "2 B + M B (F - 1), for M methods and F features": lambda c: 2 * c.B + c.M * c.B * (c.F - 1),
    "2 B + M B (S - 1), for M methods and S segments": lambda c: 2 * c.B + c.M * c.B * (c.F - 1),
    "M B n_steps, for M methods": lambda c: c.M * c.B * c.n_steps,
    OF_A_CURVE: lambda c: 2 * c.B + c.M * c.B * (c.n_steps - 2),
    f"{OF_A_CURVE}; at most M B n_steps {INSIDE}": lambda c: (
        c.M * c.B * c.n_steps if c.inside else 2 * c.B + c.M * c.B * (c.n_steps - 2)
    ),
    f"{OF_A_CURVE}; at most B + M B n_steps {INSIDE}": lambda c: (
        c.B + c.M * c.B * c.n_steps if c.inside else 2 * c.B + c.M * c.B * (c.n_steps - 2)
    ),
    f"2 B + 2 M B (n_steps - 2), for M methods; at most 2 M B n_steps {INSIDE}": lambda c: (
        2 * c.M * c.B * c.n_steps if c.inside else 2 * c.B + 2 * c.M * c.B * (c.n_steps - 2)
    ),
    ROWS_OF_LIMITS: lambda c: c.of_search + 4 * c.B + c.B * (c.M + 4) * (c.F - 1),
    ROWS_OF_SEARCH: lambda c: (
        c.of_search + c.of_score(c.M) + c.of_score(4 if c.lower == "worst" else 2 + c.n_perturb_samples)
    ),
    "explanations of 2 B rows": lambda c: 2 * c.B,
    "2 + 2 B, and explanations of 2 B rows": lambda c: 2 + 4 * c.B,
    "explanations of B + B n_perturb_samples rows": lambda c: c.B + c.B * c.n_perturb_samples,
    "B + B n_perturb_samples, and explanations of as many": lambda c: 2 * (c.B + c.B * c.n_perturb_samples),
    "explanations of B + B layers rows": lambda c: c.B + c.B * LAYERS,
    "explanations of (B + B layers) n_perturb_samples rows": lambda c: (c.B + c.B * LAYERS) * c.n_perturb_samples,
}
LAYERS = 2  # of `Net`


class Counting(Net):
    """Counts its rows, together with those of its copies."""

    rows = 0

    def forward(self, x: Tensor, *further: Any) -> Tensor:
        Counting.rows += len(x)
        return super().forward(x)


def features_of(arguments: Mapping[str, Any]) -> int:
    """The largest number of features of an example."""
    mask = arguments.get("feature_mask")
    if not isinstance(mask, Tensor):
        return arguments["inputs"][0].numel()
    return max(len(row.unique()) for row in mask.flatten(1))


def test_the_words_of_every_card_are_counted():
    assert {metric.card.rows for metric in METRICS.values()} == MOST_ROWS.keys()


@of_every(lambda case: True, sets=None)
def test_a_call_takes_at_most_the_rows_that_the_card_says(case):
    ends = ({}, {"start": 0.1, "stop": 0.9}, {"start": 0.5}, {"stop": 0.5}, {"start": 1.0, "stop": 0.0})
    for changes in ends if case.takes("start") else ends[:1]:
        for methods in (1, 3) if case.takes("attributions") else (1,):
            net = Counting().eval()
            setting = replace(tiny(), model=net, module=net)
            if methods > 1:
                changes = changes | {"attributions": {i: map_of(setting.inputs + i) for i in range(methods)}}
            arguments = arguments_of_partial(case.metric) | case.of(setting, **changes)
            Counting.rows = 0
            case.metric(**case.of(setting, **changes))
            call = Call(B, methods, features_of(arguments), arguments)
            assert Counting.rows <= MOST_ROWS[case.metric.card.rows](call), (changes, methods)


# ---- randomness


@every_draw
def test_the_same_seed_repeats_exactly_and_another_does_not_and_the_global_generator_is_left_alone(case):
    before = torch.get_rng_state()
    first = case(tiny(), seed=1)
    assert torch.equal(case(tiny(), seed=1), first)
    assert differ(case(tiny(), seed=2), first)
    assert torch.equal(torch.get_rng_state(), before)


@every_draw
def test_one_seed_gives_the_examples_different_draws_and_own_seeds_are_theirs(case):
    twins = tiny()[torch.zeros(4, dtype=torch.long)]
    assert len(case(twins, seed=1).reshape(4, -1)[:, -1].unique()) > 1
    own = case(twins, seed=[5, 5, 6, 6])
    assert_same(own[0::2], own[1::2])
    assert torch.equal(case(twins, seed=torch.tensor([5, 5, 6, 6])), own)


@every_draw
def test_without_a_seed_the_global_one_governs(case):
    def under(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return case(tiny(), seed=None)

    first = under(0)
    assert differ(case(tiny(), seed=None), first)  # the stream goes on
    assert torch.equal(under(0), first)
    assert differ(under(1), first)


@every_case
def test_a_call_that_draws_nothing_leaves_the_global_generator_alone(case):
    before = torch.get_rng_state()
    case(tiny(2))
    assert torch.equal(torch.get_rng_state(), before)


@of_every(lambda case: True, sets=None)
def test_a_standard_error_leaves_the_score_as_it_is_costs_no_row_and_is_0_where_nothing_is_drawn(case):
    plain, with_error = recorded(), recorded()
    score = case(plain)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Fewer than 12 draws")
        estimate = exported.with_stderr(case.metric)(**case.of(with_error))
    assert torch.equal(estimate.score, score)
    assert with_error.model.calls == plain.model.calls
    assert estimate.stderr.shape == estimate.n_eff.shape == score.shape
    assert estimate.stderr.dtype == estimate.n_eff.dtype == score.dtype
    if any(map(case.takes, DRAWS)):
        assert not (estimate.stderr < 0).any()
    else:
        assert (estimate.stderr[~score.isnan()] == 0).all()
        assert estimate.n_eff[~score.isnan()].isinf().all()


# ---- two options together

NEEDED = {"frozen": "feature_mask", "aggregate": "feature_mask"}  # without which an option is of no consequence
DRAWN = (exported.monotonicity_correlation, exported.non_sensitivity)  # from baselines that take a seed
RELATIVE = (
    exported.relative_input_stability,
    exported.relative_output_stability,
    exported.relative_representation_stability,
)


def needed(metric: Metric) -> dict[str, str]:
    return NEEDED | ({"feature_mask": "perturb_func"} if metric is exported.infidelity else {})


def needed_by(metric: Metric, name: str) -> list[str]:
    """What must be there for an option to be of consequence, and what must be there for that."""
    other = needed(metric).get(name)
    return [] if other is None else [other, *needed_by(metric, other)]


def unseen(metric: Metric, name: str, beside: str) -> bool:
    """Where an option must be without effect."""
    if metric in RELATIVE and name in ("activation", "same_class"):
        return True  # no copy is of another class
    if metric in OF_ORDERS and name == "feature_mask":
        return True  # a plain call has it
    if takes(metric, "truth_mask") and name == "feature_mask":
        return True  # it only says what is frozen
    if metric is exported.oracle_normalized and (name, beside) == ("search", "score"):
        return True  # a greedy order may be the best
    if metric is exported.normalized_aopc and name == "search":
        return True  # that of a beam is the best of so few
    if metric is exported.oracle_normalized and beside == "lower" and name in ("seed", "n_perturb_samples"):
        return True  # the worst order is not drawn
    if takes(metric, "explanation_func") and name == "n_perturb_samples":
        return True  # a maximum over more draws may be the same
    settled = {"baselines"} if metric in DRAWN else {"perturb_func"} if takes(metric, "explanation_func") else set()
    return beside in settled and name in ("seed", "n_perturb_samples")


@every_metric
def test_an_option_has_its_effect_beside_every_other(metric):
    """None is forgotten where another is given. Where scores are counts, an effect may be too small: then two halves
    tell.
    """
    found = {name: makers[0](tiny(), metric) for name, makers in options(metric).items()}
    found = {name: value for name, value in found.items() if value is not LEFT_OUT}
    counts = len(score_of(cases_of(metric)[0]).unique(dim=0)) < B

    @cache
    def score(*names: str) -> Tensor:
        return tiny().call(metric, **{name: found[name] for name in names})

    def check(pair: tuple[str, str]) -> None:
        together = {*pair, *(other for name in pair for other in needed_by(metric, name))} & found.keys()
        if counts:
            chosen = {name: options(metric)[name][0] for name in together}
            first = Case("", metric, chosen)(tiny()[:2])
            assert_same(score(*sorted(together))[:2], first)
            return
        for name in pair:
            others = {other for other in together - {name} if name not in needed_by(metric, other)}
            seen = differ(score(*sorted(together)), score(*sorted(others)))
            assert seen or unseen(metric, name, *set(pair) - {name}), f"{name} is not seen"

    pairs = [pair for pair in combinations(found, 2) if pair not in CLASH and pair[::-1] not in CLASH]
    for_each([(", ".join(pair), pair) for pair in pairs], check)


# ---- what is left behind


@every_case
def test_the_model_and_the_callers_tensors_are_left_as_they_were(case):
    for training in (True, False):
        setting = tiny(2)
        net = setting.module
        net.train(training)
        net.out.train(not training)
        net.hidden.weight.requires_grad_(False)
        arguments = case.of(setting)
        given = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
        for value in given.values():
            value.requires_grad_(training and value.is_floating_point())
        before = {name: value.detach().clone() for name, value in (net.state_dict() | given).items()}
        versions = {name: value._version for name, value in given.items()}
        scores = case.metric(**arguments)
        assert not scores.requires_grad
        assert (net.training, net.hidden.training, net.out.training) == (training, training, not training)
        assert [p.requires_grad for p in net.parameters()] == [False, True, True, True]
        assert all(p.grad is None for p in net.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())
        for name, value in (net.state_dict() | given).items():
            assert torch.equal(value, before[name]), name
        for name, value in given.items():
            assert value._version == versions[name], name
            assert value.grad is None, name
            assert value.requires_grad == (training and value.is_floating_point()), name


class DropsOut(Net):
    """Random in training mode, with no module that says so."""

    def forward(self, x: Tensor, *further: Any) -> Tensor:
        return super().forward(nn.functional.dropout(x, training=self.training))


@every_plain_model
def test_a_model_in_training_mode_is_warned_of_also_behind_an_explanation(case):
    training, evaluated = DropsOut().train(), DropsOut().eval()
    if case.takes("explanation_func"):
        forms = [InputXGradient(training), NoiseTunnel(InputXGradient(training)).attribute]
        settings = [(replace(tiny(), model=evaluated, module=evaluated), {"explanation_func": form}) for form in forms]
    else:
        settings = [(replace(tiny(), model=training, module=training), {})]
    for setting, changes in settings:
        said = pytest.warns(UserWarning, match="is in training mode and has a DropsOut")
        with said as caught, suppress(ValueError):  # what is random does not undo the shift of `input_invariance`
            case(setting, **changes)
        assert len([w for w in caught if "training mode" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Input Tensor|No patch changed")
        case(replace(tiny(), model=evaluated, module=evaluated))


@of_every(lambda case: case.takes("explanation_factory"))
def test_an_object_of_the_model_itself_scores_as_its_class(case):
    setting = tiny()
    made = InputXGradient(setting.module)
    for ready in (made, made.attribute, partial(made.attribute)):
        assert_same(case(setting, explanation_factory=ready), score_of(case))


class WorksInPlace(Net):
    def forward(self, x: Tensor, *further: Any) -> Tensor:
        out = super().forward(x, *further)
        with torch.no_grad():
            x.zero_()
        return out


@every_plain_model
def test_a_model_that_overwrites_its_input_reaches_no_tensor_of_the_caller(case):
    for limit in (2, None):
        setting = tiny()
        overwriting, expected = overwritten(case, setting)
        before = setting.inputs.clone()
        assert_same(case(setting, max_examples_per_batch=limit, **overwriting), expected)
        assert torch.equal(setting.inputs, before)


def overwritten(case: Case, setting: Setting) -> tuple[dict[str, Any], Tensor]:
    """Arguments that write into what they are given, and the score without that."""
    if case.takes("explanation_factory"):
        kept = case(setting, explanation_factory=lambda net: overwriting_gradient(net, overwrite=False))
        return {"explanation_factory": overwriting_gradient}, kept
    model = {"forward_func": WorksInPlace()} if case.takes("forward_func") else {}
    if not case.takes("explanation_func"):
        return model, case(setting)
    kept = case(setting, explanation_func=overwriting_gradient(setting.module, overwrite=False))
    return model | {"explanation_func": overwriting_gradient(setting.module)}, kept


def overwriting_gradient(model: Net, overwrite: bool = True) -> Callable[..., Tensor]:
    def explain(x: Tensor, target: Tensor) -> Tensor:
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf).gather(1, target[:, None]).sum(), leaf)
        if overwrite:
            x.zero_()
        return gradient

    return explain


def hooked(layer: nn.Module) -> None:
    layer.register_forward_hook(lambda module, arguments, output: setattr(module, "activation", output))


UNCOPYABLE: dict[str, Callable[[nn.Module], Any]] = {
    "a hook keeps the activation": hooked,
    "weight_norm": nn.utils.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "pruning": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "a lock": lambda layer: setattr(layer, "lock", threading.Lock()),
}


@of_every(lambda case: case.takes("explanation_factory"), sets=0)
def test_a_model_that_cannot_be_copied_is_scored_and_has_the_same_objects_afterwards(case):
    def objects() -> list[Any]:
        of_modules = [[vars(m), m._parameters, m._buffers, m._forward_hooks] for m in net.modules()]
        return [{k: id(v) for k, v in part.items()} for parts in of_modules for part in parts]

    class Failed(Exception):
        pass

    def fails_in_the_end(model: nn.Module) -> Any:
        made.append(InputXGradient(model))
        if len(made) == steps:
            raise Failed
        return made[-1]

    for change in UNCOPYABLE.values():
        setting = tiny()
        net = setting.module
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            change(net.hidden)
        loss = net(setting.inputs).sum()
        with pytest.raises((RuntimeError, TypeError)):
            copy.deepcopy(net)
        before, versions = objects(), [t._version for t in net.state_dict().values()]
        made: list[Any] = []
        steps = 0
        scores = case(setting, explanation_factory=fails_in_the_end)
        assert scores.isfinite().all()
        made, steps = [], len(made)
        with pytest.raises(Failed):
            case(setting, explanation_factory=fails_in_the_end)
        activation = {"activation"} if change is hooked else set()  # of the model's own explanation
        weight = {"weight"} if hasattr(net.hidden, "weight_mask") or hasattr(net.hidden, "weight_orig") else set()
        weight |= {"weight"} if hasattr(net.hidden, "weight_v") else set()
        for after, was in zip(objects(), before, strict=True):
            assert {k for k in was.keys() | after.keys() if was.get(k) != after.get(k)} <= activation | weight
        assert [t._version for t in net.state_dict().values()] == versions
        loss.backward()


@of_every(lambda case: True, sets=0)
def test_inference_mode_around_a_call_changes_nothing(case):
    """Also with inputs that were made in it, and so have no version counter, and with further arguments."""
    setting, expected = tiny(), score_of(case)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("error", ".* writes into a tensor")
        assert_same(case(setting), expected)
        made_inside = replace(tiny(), module=setting.module, model=setting.model)
        assert made_inside.inputs.is_inference()
        assert_same(case(made_inside), expected)
        if case.calls_a_model:
            further = {"additional_forward_args": (torch.ones(B), torch.ones(7)), "max_examples_per_batch": 2}
            assert_same(case(made_inside, **further), expected)
    assert_same(case(made_inside), expected)


def scaled_by_cosine(x: Tensor, **_: Any) -> Tensor:
    return x.cos() * x


def scaled_on_the_default_device(x: Tensor, **_: Any) -> Tensor:
    assert torch.empty(0).device.type == "meta"  # the caller's code has the caller's device
    return scaled_by_cosine(x)


@every_case
def test_the_default_device_changes_nothing(case):
    """As under `torch.set_default_device`. On `meta` there are no values: a tensor put there by mistake is noticed."""

    def explained_by(function: Callable[..., Tensor]) -> dict[str, Any]:
        own = {"explanation_func": function, "explanation_factory": lambda net: function}  # Captum's use the device
        return case.of(tiny()) | {name: value for name, value in own.items() if case.takes(name)}

    expected, arguments = case.metric(**explained_by(scaled_by_cosine)), explained_by(scaled_on_the_default_device)
    with torch.device("meta"):
        scores = case.metric(**arguments)
    assert_same(scores, expected)


class WritesIntoWhatIsShared(Net):
    """A model that gets the tensor `shared` in every call, and may write into it."""

    def __init__(self, writes: bool):
        super().__init__()
        self.writes = writes

    def forward(self, x: Tensor, *further: Any) -> Tensor:
        out = super().forward(x * (1 + further[0]["shared"].sum()))
        with torch.no_grad():
            if self.writes:
                further[0]["shared"].add_(1)
        return out


@every_plain_model
def test_what_all_calls_share_is_the_same_in_every_call_whatever_the_model_writes(case):
    """Also the tensors within a dict. That a model writes is said once, by its name."""

    def score(model: Net, shared: Tensor, limit: int | None) -> Tensor:
        setting = replace(tiny(), model=model, module=model)
        return case(setting, additional_forward_args=({"shared": shared},), max_examples_per_batch=limit)

    reads, writes = WritesIntoWhatIsShared(False).eval(), WritesIntoWhatIsShared(True).eval()
    expected = score(reads, torch.full((7,), 0.01, dtype=torch.float64), None)
    for limit in (2, None):
        shared = torch.full((7,), 0.01, dtype=torch.float64)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert_same(score(writes, shared, limit), expected)
        assert shared._version == 0
        said = [str(w.message) for w in caught if "writes into a tensor" in str(w.message)]
        assert said
        assert len(said) == len(set(said))


def in_place(function: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """A function of the inputs that leaves its result in their place."""

    def writes(inputs: Any, *_: Any, **__: Any) -> Any:
        return each(inputs, lambda x: x.copy_(function(x)))

    return writes


class FillsInPlace:
    """Removes values, and writes into all that it is given."""

    def fill(self, inputs: Tensor, mask: Tensor) -> Tensor:
        inputs[mask] = 0.25
        mask.fill_(False)
        return inputs


WRITING = {  # argument -> a function that writes, and a value that means the same
    "baselines": (in_place(lambda x: x / 4), lambda x, seed=None: x / 4),
    "perturb_func": (in_place(lambda x: 0.9 * x), lambda x, *_: 0.9 * x),
    "feature_mask": (
        lambda x: x.mul_(0)[0].flatten().cumsum(0).add(torch.arange(12)).long().reshape(2, 2, 3) // 3,
        torch.arange(12).reshape(2, 2, 3) // 3,
    ),
    "similarity": (
        lambda a, b: (a.mul_(2) - b.mul_(3)).flatten(1).mean(1),
        lambda a, b: (2 * a - 3 * b).flatten(1).mean(1),
    ),
}


@of_every(lambda case: any(map(case.takes, WRITING)), sets=0)
def test_functions_that_write_into_what_they_are_given_score_as_if_they_did_not(case):
    for name, (writes, reads) in WRITING.items():
        if case.takes(name):
            if case.metric is exported.infidelity and name == "perturb_func":
                decorated = exported.infidelity_perturb_func_decorator(multiply_by_inputs=False)
                writes, reads = decorated(writes), decorated(reads)
            setting = tiny()
            assert_same(case(setting, **{name: writes}), case(tiny(), **{name: reads}))
            assert setting.inputs._version == tiny().inputs._version, name


REMOVES = [name for name, metric in METRICS.items() if takes(metric, "baselines") and takes(metric, "attributions")]


@pytest.mark.parametrize("metric", [name for name in REMOVES if takes(METRICS[name], "feature_mask")])
def test_a_fill_that_writes_into_its_mask_scores_as_its_values(metric):
    removes, setting = METRICS[metric], tiny()
    if removes is exported.infidelity:  # its baselines are its `perturb_func`'s
        return
    assert_same(setting.call(removes, baselines=FillsInPlace()), tiny().call(removes, baselines=0.25))
    assert setting.inputs._version == tiny().inputs._version


# ---- several methods at once


@every_mapping
def test_a_mapping_of_methods_gives_the_scores_of_single_calls(case):
    phi = tiny().of(case.metric)["attributions"]
    methods = {"given": phi, "opposite": -phi, "other": map_of(tiny().inputs + 1), "twin": phi}
    together = case(tiny(), attributions=methods)
    assert list(together) == list(methods)
    assert type(together) is dict
    for name, attributions in methods.items():
        assert_same(together[name], case(tiny(), attributions=attributions))
    assert torch.equal(together["given"], together["twin"])


@of_every(lambda case: case.takes("attributions") and case.takes("forward_func"), sets=0)
def test_a_mapping_costs_fewer_model_rows_than_single_calls(case):
    phi = tiny().of(case.metric)["attributions"]
    methods = {"a": phi, "b": -phi, "c": phi.cos()}

    def rows(attributions: Any) -> int:
        setting = recorded()
        case(setting, attributions=attributions, **({"start": 0.0} if case.takes("start") else {}))
        return sum(setting.model.calls)

    single = [rows(attributions) for attributions in methods.values()]
    if case.metric in SHARE_ALL_ROWS:
        assert rows(methods) == single[0] == single[1] == single[2]
    else:
        assert single[0] <= rows(methods) < sum(single)


# ---- devices


class HostCopies(TorchDispatchMode):
    """Notes every operation that makes a host tensor from one that is not on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if on(out, "cpu") and on((args, kwargs), "meta"):
            self.found.append(str(func))
        return out


def on(values: Any, device: str) -> bool:
    """Whether one of the tensors is there."""
    tensors = [values] if isinstance(values, Tensor) else tree_leaves(values)
    return any(t.device.type == device for t in tensors if isinstance(t, Tensor))


@of_every(lambda case: case.metric not in NEEDS_VALUES, sets=0)
def test_the_score_is_computed_on_the_device_of_the_inputs_without_a_copy_to_the_host(case):
    """A tensor on `meta` has no values: whatever asked for one, by `.item()`, `bool()` or a copy, would raise."""
    limit = {"max_examples_per_batch": 3} if case.calls_a_model else {}
    with HostCopies() as copies:
        scores = case(tiny().to("meta"), **limit)
    assert scores.device.type == "meta"
    assert scores.shape == score_of(case).shape
    assert scores.dtype == torch.float64
    assert copies.found == []


def test_the_search_for_host_copies_finds_one():
    with HostCopies() as copies, pytest.raises((NotImplementedError, RuntimeError)):
        torch.zeros(2, device="meta").cpu()
    with HostCopies() as copies:
        torch.empty_like(torch.zeros(2, device="meta"), device="cpu")
    assert len(copies.found) == 1


# ---- the interface


@every_metric
def test_a_metric_pickles_by_its_name(metric):
    assert pickle.loads(pickle.dumps(metric)) is metric
    assert getattr(exported, metric.__name__) is metric


@every_metric
def test_the_signature_says_what_the_metric_is(metric):
    """Examples come first; the limit may be left out; a metric whose features are groups takes frozen ones."""
    parameters = inspect.signature(metric).parameters
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    assert list(parameters)[: len(required)] == required
    assert "inputs" in required
    if {"forward_func", "explanation_func"} & parameters.keys():
        assert parameters["max_examples_per_batch"].default is None
    assert ("frozen" in parameters) == ("feature_mask" in parameters)


@pytest.mark.parametrize("metric", [exported.infidelity, exported.sensitivity_max])
def test_our_options_go_by_keyword_where_captum_has_the_metric_too(metric):
    import captum.metrics

    captums = inspect.signature(getattr(captum.metrics, metric.__name__)).parameters
    ours = inspect.signature(metric).parameters
    positional = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [p.name for p in captums.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    for name in positional:
        if name != "perturb_func":
            assert ours[name].default == captums[name].default
    assert all(ours[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ours.keys() - captums.keys())


@every_metric
def test_the_card_says_what_a_table_needs(metric):
    card = metric.card
    assert card.name == metric.__name__
    assert card.higher_is_better in (True, False, None)
    low, high = card.range
    assert low < high
    assert re.fullmatch(rf"[A-Z].* \d{{4}}, {PUBLISHED}.*", card.reference)
    defaults = {p.name: p.default for p in inspect.signature(metric).parameters.values() if p.default is not p.empty}
    assert card.direction(defaults) is card.higher_is_better
    if card.flipped_by is not None:
        argument, value = card.flipped_by
        assert argument in defaults
        assert defaults[argument] != value
        assert card.direction(defaults | {argument: value}) is (not card.higher_is_better)
    if card.undirected_by is not None:
        argument, value = card.undirected_by
        assert argument in defaults
        assert card.direction(defaults | {argument: value}) is None
    is_curve = score_of(cases_of(metric)[0]).dim() > 1
    assert (card.higher_is_better is None) == is_curve


USUAL = {  # defaults, by name; of the metrics that have another, below
    "aggregate": ("sum", "mean"),
    "control_variate": (None,),
    "correlation": ("pearson",),
    "eps_min": (1e-6,),
    "estimator": ("sample",),
    "gap": ("absolute",),
    "lower": ("random",),
    "mode": ("morf",),
    "n_perturb_samples": (10,),
    "n_steps": (33,),
    "noise_level": (0.1,),
    "norm_ord": ("fro",),
    "order": ("top_down",),
    "perturb_radius": (0.02,),
    "rounding": ("round",),
    "same_class": (True,),
    "search": ("random",),
    "shares": ((0.01, 0.05, 0.1, 0.2, 0.5),),
    "shift": (1.0,),
    "similarity": ("spearman",),
    "start": (0.0,),
    "stop": (1.0,),
    "threshold": (None,),
    "weights_seed": (0,),
}
OF_THEIR_PAPERS = {
    "consistency": {"n_top": 3},
    "effective_complexity": {"tolerance": 0.1},
    "efficient_mprt": {"n_bins": 100},
    "faithfulness_correlation": {"n": 0.1, "n_perturb_samples": 100},
    "linear_datamodeling_score": {"n_perturb_samples": 50, "correlation": "spearman"},
    "minimal_subset": {"mode": "deletion"},
    "mu_fidelity": {"n": 0.2, "n_perturb_samples": 200, "correlation": "spearman"},
    "non_sensitivity": {"tolerance": 1e-5},
    "normalized_aopc": {"search": "beam"},
    "oracle_normalized": {"search": "greedy"},
    "pointing_game": {"tolerance": 0, "sign": "all"},
    "relevance_mass_accuracy": {"sign": "positive"},
    "road": {"start": 0.1, "stop": 0.9, "n_steps": 9},
    "road_accuracy": {"start": 0.1, "stop": 0.9, "n_steps": 9},
    "sensitivity_n": {"n_perturb_samples": 50},
    "stochastic_comprehensiveness": {"n_perturb_samples": 50},
    "stochastic_sufficiency": {"n_perturb_samples": 50},
    "smooth_mprt": {"order": "bottom_up", "n_perturb_samples": 50},
    "smooth_mprt_curve": {"order": "bottom_up", "n_perturb_samples": 50},
}


@every_metric
def test_defaults_are_the_usual_ones_or_those_of_the_paper(metric):
    own = OF_THEIR_PAPERS.get(metric.__name__, {})
    for name, parameter in inspect.signature(metric).parameters.items():
        if name in own or name in USUAL:
            assert parameter.default in ((own[name],) if name in own else USUAL[name]), name


# ---- the docstring, whose prose may be wrapped anywhere


def flowing(text: str) -> str:
    return " ".join(text.split())


def section(metric: Metric, title: str) -> str:
    """The indented block under `title:`."""
    found = re.search(rf"^{title}:\n((?:[ ]+.*\n?|\n)+)", inspect.getdoc(metric), re.MULTILINE)
    return found.group(1) if found else ""


def with_named_ones(metric: Metric) -> list[Metric]:
    """The metric, and those that its docstring names, which may say what some of its arguments are."""
    named = re.findall(r"`(\w+)`", inspect.getdoc(metric))
    return [metric, *(METRICS[name] for name in dict.fromkeys(named) if name in METRICS)]


@every_metric
def test_the_docstring_has_a_formula_its_sections_and_a_reference(metric):
    text = flowing(inspect.getdoc(metric))
    assert re.search(r"\.\. math:: \S", text)
    assert any(section(m, "Args").strip() for m in with_named_ones(metric))
    assert section(metric, "Raises").strip()
    assert "ValueError" in section(metric, "Raises")
    assert "TypeError" in section(metric, "Raises")
    assert re.search(rf"Reference: [^\"]* \d{{4}}, \"[^\"]*\", {PUBLISHED}", text)
    assert metric.card.reference.split(",")[0] in text  # the same paper as on the card
    assert re.search(PUBLISHED, metric.card.reference).group() in text


@every_metric
def test_the_docstring_says_the_shape_and_which_way_is_better(metric):
    returned = flowing(section(metric, "Returns"))
    assert re.search(r"`\[B(, \w+)*\]`", returned)
    words = {
        True: r"\bHigher is better\b",
        False: r"\bLower is better\b",
        None: r"\b(falls|rises) early for a good explanation\b",
    }
    assert re.search(words[metric.card.higher_is_better], returned)
    for other in {True, False} - {metric.card.higher_is_better}:
        assert not re.search(words[other], returned)


@every_metric
def test_the_docstring_names_each_argument_of_ours_and_none_that_does_not_exist(metric):
    text = "\n".join(map(inspect.getdoc, with_named_ones(metric)))
    for name in OUR_ARGUMENTS & set(inspect.signature(metric).parameters):
        assert re.search(rf"`{name}\b|^\s+{name}: ", text, re.MULTILINE), name
    described = re.findall(r"^    (\w+): ", section(metric, "Args"), re.MULTILINE)
    assert set(described) <= set(inspect.signature(metric).parameters)


@every_metric
def test_the_docstrings_example_runs(metric):
    module = sys.modules[metric.__module__]
    (test,) = doctest.DocTestFinder(recurse=False).find(metric, metric.__name__, globs={"torch": torch, **vars(module)})
    assert test.examples
    assert any(metric.__name__ + "(" in example.source for example in test.examples)
    report: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(test, out=report.append).failed == 0, "".join(report)


@every_metric
def test_the_docstring_says_which_further_arguments_have_a_row_per_example(metric):
    takes = {"additional_forward_args", "kwargs"} & set(inspect.signature(metric).parameters)
    said = "A tensor in `additional_forward_args` whose first axis is as long as the batch is taken to have a row per"
    assert flowing(inspect.getdoc(metric)).count(said) == bool(takes)
