"""Calls with one malformed argument: `python -m tests.malformed 20000` makes as many and says what failed.

`GOOD` says of every argument which values it takes, in words and as a function. A value of `values()`, or one that was
made for the argument, is malformed if that function says no. What may be read in two ways counts as good, such as a
tensor with one element in place of a number, and is not tried.
"""

from __future__ import annotations

import inspect
import math
import random
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import captum_ext.metrics as exported
from captum_ext import baselines, feature_masks, perturbations, truth_masks

from .calls import METRICS, Case, Setting, cases_of, groups_of, tiny

B, SHAPE = 5, (5, 2, 2, 3)
ANYTHING = {"additional_forward_args", "kwargs"}  # arguments that are passed on as they are


class Own:
    """An object that is nothing in particular."""

    def __repr__(self) -> str:
        return "Own()"


def sorts() -> list[Any]:
    """Values of all sorts, made anew, as some can be used only once."""
    return [
        *(-1, 0, 2**70, -(2**70), -0.5, 0.5, 1.5, 7.25, 1e400, -math.inf, math.nan, 1j, True, False),
        *(np.int64(-1), np.float32(0.5), np.float64("nan"), np.complex64(1), np.bool_(True), np.datetime64(0, "s")),
        *("", "a", "3", "Sum", b"", b"a", b"aaaaa", bytearray(b"ab"), np.str_("a")),
        *(
            [],
            (),
            {},
            set(),
            {1, 2},
            frozenset([1]),
            {"a": 1},
            {"a": None},
            range(0),
            (i for i in range(B)),
            map(int, "12"),
        ),
        *(
            [None],
            ["a"] * B,
            [[1], [2]],
            ((1,), (2,)),
            [1.5] * B,
            [-1] * B,
            [2**70] * B,
            [True] * B,
            [math.nan] * B,
            [0, 1],
        ),
        *(np.array([]), np.array([1, 2]), np.array(["a", "b"]), np.array([None, 1]), np.array(Own()), np.ones((2, 2))),
        np.ones(B) * 1j,
        *(torch.empty(0), torch.empty(B, 0), torch.ones(1, 2, 2, 3), torch.ones(7), torch.arange(2), torch.ones(B, 7)),
        *(torch.full((B,), -1), torch.ones(4, 2, 2, 3), torch.full(SHAPE, math.nan), torch.ones(SHAPE) > 0),
        *(torch.ones(SHAPE) * 1j, torch.ones(B) * 1j, torch.ones(SHAPE, device="meta"), torch.ones(SHAPE).to_sparse()),
        *(torch.ones(B, device="meta", dtype=torch.long), torch.ones(B, dtype=torch.long).to_sparse()),
        *(None, Own(), Own, int, nn.Linear, ..., NotImplemented, nn.Linear(7, 7), torch.float32, slice(3), (0, None)),
        *((torch.ones(SHAPE), (torch.ones(SHAPE),)), [torch.ones(SHAPE)], (torch.ones(SHAPE),) * 2),
        (torch.ones(SHAPE), None),
    ]


def label_of(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} {value.layout} {value.device}"
    return " ".join(repr(value).split()).partition(" at 0x")[0]


@cache
def labels() -> tuple[str, ...]:
    return tuple(f"{i}: {label_of(value)}" for i, value in enumerate(sorts()))


def values() -> dict[str, Any]:
    return dict(zip(labels(), sorts()))


# ---- functions that are called by a metric, and what is wrong with them


def results(rows: Tensor) -> dict[str, Any]:
    """What no function of rows may return."""
    return {
        **{repr(v): v for v in (True, "a", b"a", 1j, [], {}, {"a": 1}, Own(), Own)},
        "a row too few": rows[1:],
        "no rows": rows[:0],
        "a sum": rows.sum(),
        "complex": rows * 1j,
        "sparse": rows.to_sparse(),
        "a list": [rows, "a"],
        "a nested tuple": ((rows,), rows),
        "an array": np.ones(len(rows)),
    }


def returning(name: str, but: Callable[[Tensor], Any] | None = None) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        rows = first_tensor(args)
        return None if name == "None" else but(rows) if but else results(rows)[name]

    function.__name__ = "returns " + name.replace("`", "")
    return function


def first_tensor(args: Iterable[Any]) -> Tensor:
    for a in args:
        if isinstance(a, (tuple, list)):
            a = a[0]
        if isinstance(a, Tensor):
            return a
    return torch.zeros(B)


def functions(**also: Callable[[Tensor], Any]) -> dict[str, Any]:
    """Functions of the wrong signature or with wrong results."""
    names = ["None", *results(torch.zeros(2, 3))]
    found = {f"returns {name}": returning(name) for name in names}
    found |= {f"returns {name}": returning(name, but) for name, but in also.items()}
    return found | {"takes nothing": lambda: None, "takes seven": lambda a, b, c, d, e, f, g: a}


def explanations() -> dict[str, Any]:
    """Functions for `explanation_func`, of which an array is an explanation."""
    return {name: f for name, f in functions().items() if name != "returns an array"}


def of_the_inputs() -> dict[str, Any]:
    """Functions for `baselines`, of which a tensor without axes is a number."""
    return {name: f for name, f in functions(flat=lambda x: x.flatten(1)).items() if name != "returns a sum"}


class Fill:
    def __init__(self, result: Callable[..., Any], late: bool):
        self.result, self.late = result, late

    def fill(self, inputs: Tensor, mask: Tensor) -> Any:
        return inputs if self.late and not mask.any() else self.result(inputs)


def fills() -> dict[str, Any]:
    """Objects with a `fill` that is wrong at once, or as soon as something is removed."""
    wrong = functions(smaller=lambda x: x[:1, :1], flat=lambda x: x.flatten(1), number=lambda x: 0.5)
    wrong = {name: f for name, f in wrong.items() if name.startswith("returns")}
    made = {f"fill {name}{' later' * late}": Fill(f, late) for name, f in wrong.items() for late in (False, True)}
    made["a fill that is no function"] = type("NoFill", (), {"fill": 3})()
    return made | {"a fill that takes nothing": type("TakesNothing", (), {"fill": lambda self: None})()}


# ---- which values an argument takes


def is_number(v: Any) -> bool:
    """An int or float of Python's or numpy's. NaN is none. A tensor or an array with one element may be read so."""
    if isinstance(v, (Tensor, np.ndarray)):
        return math.prod(v.shape) == 1 and (
            v.dtype.is_floating_point if isinstance(v, Tensor) else v.dtype.kind in "iuf"
        )
    return isinstance(v, (int, float, np.integer, np.floating)) and not isinstance(v, bool) and not math.isnan(v)


def is_integer(v: Any) -> bool:
    return is_number(v) and not isinstance(v, (float, np.floating))


def one_or_several(v: Any, good: Callable[[Any], bool], least: int = 1) -> bool:
    if isinstance(v, (list, tuple, range)):
        return len(v) >= least and all(map(good, v))
    if isinstance(v, np.ndarray) or (isinstance(v, Tensor) and v.layout == torch.strided and not v.is_meta):
        return one_or_several(v.tolist(), good, least) if v.ndim == 1 else good(v)
    return good(v)


def one_for_each(v: Any, good: Callable[[Any], bool]) -> bool:
    return one_or_several(v, good) and (not hasattr(v, "__len__") or len(v) == B)


def are_tensors(v: Any, good: Callable[[Tensor], bool] = lambda t: True) -> bool:
    """One real, dense tensor with rows, alone or in a tuple."""
    v = v[0] if isinstance(v, tuple) and len(v) == 1 else v
    dense = isinstance(v, Tensor) and v.layout == torch.strided and not v.is_complex()
    return dense and v.dim() > 0 and len(v) > 0 and good(v)


def is_pair(v: Any) -> bool:
    return isinstance(v, tuple) and len(v) == 2 and all(isinstance(t, Tensor) and len(t) == B for t in v)


def fits(t: Tensor) -> bool:
    return math.prod(t.shape) > 0 and all(a in (1, b) for a, b in zip(reversed(t.shape), reversed(SHAPE)))


def is_map(v: Any) -> bool:
    good = lambda t: t.dim() == 4 and fits(t) and len(t) == B and not t.is_meta and not t.isnan().any()  # noqa: E731
    return all(map(is_map, v.values())) and len(v) > 0 if isinstance(v, dict) else are_tensors(v, good)


def never(v: Any) -> bool:
    return False


@dataclass(frozen=True)
class Good:
    """What an argument takes. `more` makes values that are tried beside those that all arguments have."""

    words: str
    holds: Callable[[Any], bool]
    more: Callable[[], dict[str, Any]] = dict


def nothing_or(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda v: v is None or good(v)


def whole(least: int) -> Good:
    return Good(f"an integer of 64 bits, at least {least}", lambda v: is_integer(v) and least <= v < 2**63)


def between(low: float, high: float, words: str) -> Good:
    return Good(words, lambda v: is_number(v) and low <= v <= high)


WORDS = {"sum", "mean", "morf", "lerf", "deletion", "insertion", "random", "vertices", "block"}
WORDS |= {"pearson", "spearman", "kendall", "round", "floor"}
WORDS |= {"sample", "regression", "greedy", "beam", "exact", "worst"}
WORD = Good("one of the words that the documentation lists", lambda v: isinstance(v, str) and v in WORDS)
FLAG = Good("True or False", lambda v: isinstance(v, (bool, np.bool_)))
SIZES = Good(
    "a number of features, a fraction above 0 and at most 1, or several",
    lambda v: one_or_several(
        v, lambda n: is_number(n) and (0 < n <= 1 if isinstance(n, (float, np.floating)) else 1 <= n <= 3)
    ),
)
SMALLEST = sys.float_info.min
FINITE = sys.float_info.max
CALLED = Good("a function of rows that returns a tensor with as many", lambda v: isinstance(v, nn.Module), functions)
GOOD: dict[str, Good] = {
    "forward_func": CALLED,
    "explanation_func": Good(
        "a function or a Captum object that returns a map for each input", CALLED.holds, explanations
    ),
    "explanation_factory": Good("a function that makes an explanation of a model", CALLED.holds, functions),
    "inputs": Good(
        "a tensor or a tuple of them, with a row per example",
        lambda v: are_tensors(v[0] if is_pair(v) else v, lambda t: t.numel() > 0),
    ),
    "attributions": Good("a map for each input, or a mapping of such", is_map),
    "reference_attributions": Good("a map for each input", is_map),
    "other_attributions": Good(
        "rows like those of the attributions",
        lambda v: are_tensors(v, lambda t: t.shape[1:] == SHAPE[1:] and not t.is_meta and not t.isnan().any()),
    ),
    "other_classes": Good("an integer for each reference", never),
    "truth_mask": Good(
        "a bool tensor that broadcasts to the inputs",
        lambda v: are_tensors(v, lambda t: t.dtype == torch.bool and fits(t)),
    ),
    "target": Good(
        "an integer from -3 to 2, or one for each example",
        lambda v: one_for_each(v, lambda i: is_integer(i) and -3 <= i < 3) or (is_integer(v) and -3 <= v < 3),
    ),
    "baselines": Good(
        "None, a number, a tensor that broadcasts to the inputs, or a function that returns them",
        nothing_or(
            lambda v: (
                isinstance(v, (float, np.floating))
                or is_number(v)
                or CALLED.holds(v)
                or are_tensors(v, lambda t: fits(t) and t.dim() == 4 and not t.is_meta)
            )
        ),
        lambda: of_the_inputs() | fills(),
    ),
    "feature_mask": Good(
        "None, an integer tensor that broadcasts to the inputs, or a function that returns one",
        nothing_or(lambda v: CALLED.holds(v) or are_tensors(v, lambda t: not t.is_floating_point() and fits(t))),
        lambda: functions(floats=lambda x: x, flat=lambda x: x.flatten(1).long()),
    ),
    "frozen": Good(
        "None, an id or several", nothing_or(lambda v: one_or_several(v, lambda i: is_integer(i) and abs(i) < 2**63, 0))
    ),
    "perturb_func": Good(
        "a function that returns perturbed copies",
        CALLED.holds,
        lambda: {name: f for name, f in functions(smaller=lambda x: x[:, :, :1]).items() if "nested" not in name},
    ),
    "perturb_radius": between(0, FINITE, "a finite number of at least 0"),
    "n_perturb_samples": whole(1),
    "max_examples_per_batch": Good("None, or an integer of at least 1", nothing_or(lambda v: whole(1).holds(v))),
    **dict.fromkeys(
        ("normalize", "show_progress", "absolute", "weighted", "concept_influence", "same_class", "fooled_only"), FLAG
    ),
    "norm_ord": Good("a number, 'fro' or 'nuc'", is_number),
    "seed": Good(
        "None, an integer of at least 0, or one for each example",
        nothing_or(lambda v: one_for_each(v, lambda i: is_integer(i) and i >= 0)),
    ),
    "activation": Good("None, or a function of the output", nothing_or(CALLED.holds), functions),
    "control_variate": Good("None or 'gradient'", nothing_or(lambda v: isinstance(v, str) and v == "gradient")),
    **dict.fromkeys(
        ("aggregate", "mode", "search", "order", "sign", "correlation", "gap", "estimator", "lower", "rounding"), WORD
    ),
    "similarity": Good("a word, or a function that returns a number per example", CALLED.holds, functions),
    "patches": Good("a patch for each class", lambda v: isinstance(v, dict) and 0 in v),
    "n_attempts": whole(1),
    "n_steps": whole(2),
    "n_bins": whole(2),
    "n_classes": Good("an integer of at least 2 that fits the target", lambda v: is_integer(v) and 3 <= v < 2**63),
    "n_top": whole(1),
    "weights_seed": Good("an integer of at least 0", lambda v: is_integer(v) and v >= 0),
    **dict.fromkeys(("start", "stop"), between(0, 1, "a number from 0 to 1")),
    "tolerance": between(0, 1, "a number from 0 to 1"),
    "alpha": Good("a share above 0 and at most 1", lambda v: is_number(v) and 0 < v <= 1),
    "beta": Good("a share above 0 and at most 1", lambda v: is_number(v) and 0 < v <= 1),
    "weight": Good("a number between 0 and 1", lambda v: is_number(v) and 0 < v < 1),
    "salient": Good("a share above 0 and at most 1", lambda v: is_number(v) and 0 < v <= 1),
    "share": Good("None, or a number between 0 and 1", lambda v: v is None or (is_number(v) and 0 < v < 1)),
    "noise_level": between(0, FINITE, "a finite number of at least 0"),
    "eps_min": between(SMALLEST, FINITE, "a finite number above 0"),
    "threshold": Good("None, as the model has several outputs", lambda v: v is None),
    **dict.fromkeys(("n", "k", "shares"), SIZES),
    "score": Good("a metric with a better side", never, functions),
    "layer": Good("a layer of the model or its name", lambda v: v is None),
    "shift": Good(
        "a finite number, or a tensor that broadcasts to one example",
        lambda v: (
            (is_number(v) and (isinstance(v, Tensor) or abs(v) <= FINITE))
            or are_tensors(v, lambda t: fits(t) and len(t) == 1)
        ),
    ),
    "discretize": Good(
        "None, or a function that returns a row of tokens for each map", nothing_or(CALLED.holds), functions
    ),
}
# What an argument takes in one metric only.
OF_ONE = {(exported.pointing_game, "tolerance"): between(0, FINITE, "a finite number of at least 0")}


# ---- functions beside the metrics


@dataclass(frozen=True, eq=False)
class Maker:
    """A function that is no metric, its arguments in a plain call, and what those take that are tried."""

    function: Callable[..., Any]
    plain: Mapping[str, Any]
    good: Mapping[str, Good]

    @property
    def name(self) -> str:
        return self.function.__name__

    def __call__(self, setting: Setting, **changes: Any) -> Any:
        return self.function(**{**self.plain, **changes})


NUMBER = between(-FINITE, FINITE, "a finite number")
AT_LEAST_0 = GOOD["noise_level"]
DRAWS = {"seed": GOOD["seed"], "std": AT_LEAST_0, "multiply_by_inputs": FLAG}
REMOVES = {"seed": GOOD["seed"], "multiply_by_inputs": FLAG, "baselines": GOOD["baselines"]}
ONE_SIZE = Good("a number of features or a fraction", lambda v: SIZES.holds(v) and not hasattr(v, "__len__"))
PLACE = Good("a place or one for each row", lambda v: one_for_each(v, lambda i: is_integer(i) and 0 <= i < 12))
IDS = Good(
    "lists of numbers from 0 on, or None",
    lambda v: isinstance(v, (list, tuple, range)) and str(v) in "[[1], [2]] ((1,), (2,))",
)
SIDES = Good(
    "two integers of at least 1",
    lambda v: one_or_several(v, is_integer) and hasattr(v, "__len__") and len(v) == 2 and v[0] > 0,
)
LABELS = Good("an integer for each image", lambda v: one_or_several(v, is_integer) and hasattr(v, "__len__"))
X = {"inputs": tiny().inputs}
MAKERS = (
    Maker(baselines.channel_mean, X, {"inputs": GOOD["inputs"]}),
    Maker(baselines.box_blur, X, {"kernel_size": between(SMALLEST, 1, "a fraction above 0")}),
    Maker(baselines.gaussian_blur, X, {"kernel_size": whole(1), "sigma": GOOD["eps_min"]}),
    Maker(baselines.uniform_noise, X, {"inputs": GOOD["inputs"], "low": NUMBER, "high": NUMBER, "seed": GOOD["seed"]}),
    Maker(baselines.gaussian_noise, X, {"mean": NUMBER, "std": AT_LEAST_0, "seed": GOOD["seed"]}),
    Maker(perturbations.gaussian, X, DRAWS),
    Maker(perturbations.noisy_baseline, X, DRAWS | REMOVES),
    Maker(
        perturbations.square_removal,
        {**X, "size": 1},
        {**REMOVES, "size": whole(1), "position": Good("", nothing_or(PLACE.holds))},
    ),
    Maker(perturbations.segment_removal, X, {**REMOVES, "n": ONE_SIZE, "feature_mask": GOOD["feature_mask"]}),
    Maker(exported.default_perturb_func, X, {"inputs": GOOD["inputs"], "perturb_radius": AT_LEAST_0}),
    Maker(feature_masks.pixels, X, {"inputs": GOOD["inputs"]}),
    Maker(feature_masks.grid, X, {"inputs": GOOD["inputs"], "cells": whole(1)}),
    Maker(feature_masks.patches, {**X, "size": 1}, {"size": whole(1)}),
    Maker(
        feature_masks.windows,
        {**X, "size": 1},
        {"size": whole(1), "axis": Good("", lambda v: is_integer(v) and v == -1), "together": FLAG},
    ),
    Maker(feature_masks.words, {}, {"word_ids": IDS}),
    Maker(
        truth_masks.mask_of_boxes,
        {"boxes": [[0, 0, 1, 1]], "size": (2, 2)},
        {"size": SIDES, "boxes": Good("", lambda v: isinstance(v, Tensor) and v.shape == (B, 0))},
    ),
    Maker(
        truth_masks.mosaics,
        {"images": tiny().inputs, "labels": [0, 0, 1, 1, 1], "n_mosaics": 2},
        {
            "images": GOOD["inputs"],
            "labels": LABELS,
            "n_mosaics": whole(1),
            "seed": Good("", lambda v: is_integer(v) and v >= 0),
        },
    ),
)


# ---- calls


@dataclass(frozen=True)
class Malformed:
    """A call with one malformed argument."""

    case: Case | Maker
    argument: str
    label: str
    good: Good

    def __str__(self) -> str:
        return f"{self.case.name}({self.argument}={self.label})"

    def complaint(self) -> str | None:
        """What is wrong with what the call does. It should raise an error of the right type that names the argument."""
        changes = {self.argument: {**values(), **self.good.more()}[self.label]}
        if self.argument == "frozen":
            changes["feature_mask"] = groups_of(tiny())
        try:
            with torch.random.fork_rng(devices=[]):
                returned = self.case(tiny(), **changes)
        except (ValueError, TypeError) as error:
            named = re.search(rf"`{self.argument}\b", str(error))
            return None if named else f"unnamed: {type(error).__name__}: {error}"
        except Exception as error:
            return f"unnamed: {type(error).__name__}: {error}"
        return f"silent: {returned}"


@cache
def malformed_labels(good: Good) -> tuple[str, ...]:
    """The names of the values that are malformed for an argument."""
    return (*(label for label, value in values().items() if not good.holds(value)), *good.more())


def malformed_calls() -> list[Malformed]:
    """Every metric, plain and with its options, and every maker, with every malformed value of every argument."""
    of_metrics = [
        (case, argument, OF_ONE.get((metric, argument), GOOD[argument]))
        for metric in METRICS.values()
        for case in cases_of(metric)
        for argument in inspect.signature(metric).parameters
        if argument not in ANYTHING and not (argument == "perturb_radius" and "perturb_func" in case.options)
    ]
    of_makers = [(maker, argument, good) for maker in MAKERS for argument, good in maker.good.items()]
    return [
        Malformed(case, argument, label, good)
        for case, argument, good in (*of_metrics, *of_makers)
        for label in malformed_labels(good)
    ]


def drawn(number: int, seed: int = 0) -> list[Malformed]:
    calls = malformed_calls()
    return random.Random(seed).sample(calls, min(number, len(calls)))


def complaints(calls: Iterable[Malformed]) -> Iterator[tuple[Malformed, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for call in calls:
            if (wrong := call.complaint()) is not None:
                yield call, wrong


def main(number: int, seed: int = 0) -> None:
    calls = drawn(number, seed)
    found = dict(complaints(calls))
    for call, wrong in found.items():
        print(call, "->", wrong[:200].replace("\n", " "))
    kinds = Counter(wrong.partition(":")[0] for wrong in found.values())
    print(f"{len(calls)} malformed calls: {kinds['silent']} silent, {kinds['unnamed']} unnamed")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
