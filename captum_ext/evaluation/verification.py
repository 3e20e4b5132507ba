"""Proves that a resumed run is the run that began, as no digest of code can: finished shards are computed again."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .._core.guard import frames_of_package
from .axes import spanned
from .examples import as_examples
from .fingerprint import digest_of_examples
from .job import Job
from .npz import Arrays
from .store import NAMED, ShardStore

LEVELS = ("sample", "full", "off")
RECOMPUTED, MORE = 2, 8  # finished shards that are computed again, and others of which the data are compared
CPU = torch.device("cpu")
Compute = Callable[[list[int]], Mapping[int, Arrays]]


def verify_run(job: Job, store: ShardStore, missing: Sequence[int], level: str, compute: Compute) -> None:
    """Raises ValueError unless the finished shards are of this job; `compute` computes shards again.

    Of a run whose shards are all there the data are compared only.
    """
    finished = sorted({*range(store.needed())} - {*missing})
    compared = shards_to_compare(store, finished, level)
    check_data(job, store, {s: json.loads(str(store.read(s)["data"])) for s in compared})
    if compared and missing:
        again = compute(compared[:RECOMPUTED])
        check_scores(job, store, {s: (store.read(s), again[s]) for s in compared[:RECOMPUTED]})


def shards_to_compare(store: ShardStore, finished: Sequence[int], level: str) -> list[int]:
    """The shards of which the data are compared, and of the first two the scores.

    The first finished shard comes first, and the digest of the run chooses the others.
    """
    if level == "off" or not finished:
        return []
    first, *others = finished
    chosen = random.Random(store.digest).sample(others, len(others))
    return [first, *(chosen if level == "full" else chosen[: RECOMPUTED - 1 + MORE])]


def check_data(job: Job, store: ShardStore, digests: Mapping[int, Sequence[str]]) -> None:
    """Compares the digests that shards carry with those of the data of now, batch by batch."""
    data = as_examples(job.data, job.target)
    for shard, stored in digests.items():
        for batch, digest in zip(job.batches(store.edges(shard)), stored):
            if digest_of_examples(data.batch(batch, CPU)) != digest:
                raise ValueError(
                    f"`path` holds another run ({store.folder}): {spanned(batch)} of `data` (inputs, "
                    "target, further arguments) are not those that its scores were computed for. Choose another "
                    '`path`, or remove it and that folder; verify="off" resumes without a comparison.'
                )


def check_scores(job: Job, store: ShardStore, pairs: Mapping[int, tuple[Arrays, Arrays]]) -> None:
    """Refuses shards that differ by more than rounding from what they are now, and warns of rounding."""
    found = [d for shard, pair in pairs.items() for d in differences(job, job.examples(store.edges(shard)), *pair)]
    large = [d.text for d in found if d.share > d.rounding]
    if large:
        more = [f"and {len(large) - NAMED} more"] if len(large) > NAMED else []
        raise ValueError(
            f"`path` holds another run ({store.folder}): examples {store.spans(list(pairs), {})} were computed again, "
            "and differ by more than rounding:\n  "
            + "\n  ".join([*large[:NAMED], *more])
            + "\nThe model (an attribute, a buffer, a hook, its code), a method, a metric, something that they call, "
            "or a library has changed since, or one of them does not repeat its numbers. Undo that, choose another "
            '`path`, or remove it and that folder; verify="off" resumes without a comparison.'
        )
    if found:
        worst = max(found, key=lambda d: d.share)
        warnings.warn(
            f"Finished shards in {store.folder} differ by rounding from what is computed now, at most in {worst.text}. "
            "They are kept as they are, and the run goes on.",
            stacklevel=frames_of_package(),
        )
    if other := [s for s, pair in pairs.items() if len({_failed_places(arrays) for arrays in pair}) > 1]:
        warnings.warn(
            f"Examples {store.spans(other, {})} were computed again, and other methods or metrics failed there than in "
            f"{store.folder}. What failed either time was not compared; the run goes on with the stored scores.",
            stacklevel=frames_of_package(),
        )


def _failed_places(arrays: Arrays) -> str:
    return json.dumps([{**failure, "error": None} for failure in json.loads(str(arrays["failures"]))])


@dataclass(frozen=True)
class Difference:
    """The largest of one method's scores by one metric: in words, as a share of the largest score, and what rounds."""

    text: str
    share: float
    rounding: float


def differences(job: Job, examples: Sequence[int], stored: Arrays, computed: Arrays) -> Iterator[Difference]:
    """Between a shard as it is stored and as it is computed now; where something failed, failures are compared."""
    failed = [*json.loads(str(stored["failures"])), *json.loads(str(computed["failures"]))]
    now = {(row.metric, row.method, row.what): row.values for row in rows_of(job, computed)}
    for row in rows_of(job, stored):
        whole = np.array([not any(_concerns(f, row, e) for f in failed) for e in examples])
        values = now[row.metric, row.method, row.what]
        if whole.any() and (largest := _largest(row.values[whole], values[whole])) is not None:
            place, share = largest
            of = f"{row.what} on example {np.array(examples)[whole][place[0]]}" if place else row.what
            text = f"{of}: {_at(values[whole], place)}, not {_at(row.values[whole], place)}"
            yield Difference(text, share, max(map(_rounding, [row.values.dtype, values.dtype, *_types(job.model)])))


@dataclass(frozen=True)
class Row:
    """One method's scores by one metric, `[examples, ...]`, or its attributions."""

    metric: str | None
    method: str
    what: str
    values: np.ndarray[Any, Any]


def rows_of(job: Job, arrays: Arrays) -> Iterator[Row]:
    methods, metrics = list(job.methods), list(job.metrics)
    for key, values in arrays.items():
        number, _, part = key.partition(".")
        if number.isdigit() and job.keep_attributions:
            method = methods[int(number)]
            yield Row(None, method, f"attributions of method {method!r}, tensor {part}", values[0])
        elif number.isdigit():  # a score; its noise, which is beside it, may consist of rounding alone
            metric = metrics[int(number)]
            for method, of_method in zip(methods, values):
                yield Row(metric, method, f"metric {metric!r} of method {method!r}", of_method)


def _concerns(failure: Mapping[str, Any], row: Row, example: int) -> bool:
    first, last = failure["examples"]
    same = failure["attribution"] == row.method and failure["metric"] in (None, row.metric)
    return same and first <= example <= last


def _largest(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> tuple[tuple[int, ...], float] | None:
    """Where two arrays differ most, and by which share of their largest number; None if they are equal."""
    if a.shape != b.shape:
        return (), np.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    if equal.all():
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.where(equal, 0, np.nan_to_num(np.abs(a - b), nan=np.inf))
        scale = np.abs([a, b]).max(where=np.isfinite([a, b]), initial=0)
    place = tuple(map(int, np.unravel_index(gaps.argmax(), gaps.shape)))
    return place, float(gaps[place] / scale) if scale else np.inf


def _at(values: np.ndarray[Any, Any], place: tuple[int, ...]) -> str:
    return f"{values[place]:.6g}" if place else f"{values.shape[1:]} values an example"


def _types(model: Any) -> list[Any]:
    """The types of the numbers that a model computes with, as numpy's or torch's."""
    tensors = model.parameters() if isinstance(model, nn.Module) else ()
    return list({t.dtype for t in tensors})


def _rounding(dtype: Any) -> float:
    """The share of a number below which it is rounding in that type: a quarter of the digits, 6e-6 in float32."""
    if isinstance(dtype, torch.dtype):
        return torch.finfo(dtype).eps ** 0.75 if dtype.is_floating_point else 0.0
    return float(np.finfo(dtype).eps) ** 0.75 if np.issubdtype(dtype, np.floating) else 0.0
