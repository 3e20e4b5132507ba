"""Scores a range of examples: explains it with every method and runs every metric. Knows no metric by name."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._core.card import card_of, measures_of
from .._core.sharing import sharing
from .._core.target import logits_of
from .alone import alone_in_process, torch_threads
from .axes import SameShapes, spanned
from .calls import Calls, keeps_the_batch
from .cost import COST, Meter
from .examples import Batch, as_examples
from .fingerprint import digest_of_examples
from .job import Job
from .kept_maps import KEPT, packed, row_of
from .labels import PREDICTED, check_fits, check_output, predicted
from .methods import as_method
from .model import in_eval_mode, model_on, other_type
from .names import SCORES
from .npz import Arrays
from .store import of_all, other_size, side_by_side

Scores = dict[str, Tensor]  # by method


class Scorer:
    """Builds the model and the methods of a job once, then computes ranges of examples, with the job's threads.

    Meanwhile the global random generators, the hooks on the model and torch's number of threads belong to it: if
    another thread of this process computes already, both raise a RuntimeError.
    """

    def __init__(self, job: Job):
        self.job = job
        self.failures: list[dict[str, Any]] = []
        self._sizes: dict[str, tuple[int, ...]] = {}  # the shape of an example's attributions, as it was first seen
        self.digests: list[str] = []
        self.kept: list[Arrays] = []
        self.meter = Meter()
        self.shapes = SameShapes(job.metrics)
        self.measures = [measure for metric in job.metrics.values() for measure in measures_of(metric)]
        with alone_in_process(), torch_threads(job.threads):
            self.model, self.device = model_on(job.model, job.device)
            self.examples = as_examples(job.data, job.target)
            known = self.model, len(self.examples), self.examples.extra
            self.methods = {name: as_method(name, method, *known) for name, method in job.methods.items()}
            numbered = [(i, name, metric) for i, (name, metric) in enumerate(job.metrics.items())]
            # Code of others comes last in a batch, as it may change a model or a tensor between two metrics that share.
            self.numbered = sorted(numbered, key=lambda numbered: not keeps_the_batch(numbered[-1]))
            self.calls = Calls(self.model, self.device, job.max_examples_per_batch, job.seed, job.stderr)

    def compute(self, places: range) -> Arrays:
        """The arrays of a shard, of the examples at these places of the job's order.

        `"0"`, `"1"`, ... are the scores of each metric, `[methods, examples, ...]`, and `"0 stderr"` and the like what
        is known of their noise; `"0.1"`, where attributions are kept, is the second tensor of the first method's,
        `[1, examples, ...]`; `"failures"` is JSON, and so are the digests of the batches' examples, `"data"`.
        """
        self.failures, self.digests, self.kept = [], [], []
        with (
            alone_in_process(),
            torch_threads(self.job.threads),
            in_eval_mode(self.model),
            self.meter.counting(self.model),
        ):
            batches = [self._batch(indices) for indices in self.job.batches(places)]
        arrays = {key: side_by_side(parts) for key, parts in of_all(batches).items()}
        notes = {"failures": self.failures, "data": self.digests}
        arrays |= {KEPT: packed(self.kept), COST: self.meter.note} if self.job.kept else {}
        return {**arrays, **{key: np.array(json.dumps(note)) for key, note in notes.items()}}

    def _batch(self, indices: Sequence[int]) -> Arrays:
        with sharing(self.measures):  # the metrics of a batch share model evaluations
            return self._scored(indices)

    def _scored(self, indices: Sequence[int]) -> Arrays:
        batch = self.examples.batch(indices, self.device)
        self.digests.append(digest_of_examples(batch))
        batch = self._with_target(batch)
        attributions = {}
        for name, method in self.methods.items():
            with self._recording(batch, name):
                attributions[name] = self.calls.attributions(method, batch)
        self.kept += self._rows_to_keep(batch, attributions)
        arrays = self._kept(attributions) if self.job.keep_attributions else self._targets(batch)
        for i, name, metric in self.numbered:
            scores = self._scores(name, metric, batch, attributions)
            self.shapes.check(name, scores[SCORES], batch.indices)
            arrays |= {f"{i}{part}": self._stacked(of_part, batch) for part, of_part in scores.items()}
        if self.job.keep_attributions:
            self._check_sizes(arrays, batch)
        return arrays

    def _with_target(self, batch: Batch) -> Batch:
        """The batch with the classes that the model predicts, if these are to be explained."""
        if self.job.target == "predicted":
            return replace(batch, target=predicted(self.calls.outputs(batch), batch.indices))
        return batch

    def _targets(self, batch: Batch) -> Arrays:
        """`[1, rows]`: the predicted classes, which are kept with the scores."""
        if self.job.target != "predicted":
            return {}
        classes = torch.zeros(len(batch), dtype=torch.long) if batch.target is None else batch.target
        return {PREDICTED: classes.cpu().numpy()[None]}

    def _kept(self, attributions: dict[str, Any]) -> Arrays:
        each = {i: a if isinstance(a, tuple) else (a,) for i, a in enumerate(attributions.values())}
        return {f"{i}.{t}": _array(a)[None] for i, maps in each.items() for t, a in enumerate(maps)}

    def _rows_to_keep(self, batch: Batch, attributions: dict[str, Any]) -> list[Arrays]:
        """The maps of the batch's examples that the job keeps."""
        number_of = {name: i for i, name in enumerate(self.methods)}
        tensors = {number_of[name]: a if isinstance(a, tuple) else (a,) for name, a in attributions.items()}
        return [
            row_of(index, {i: [_array(a[row]) for a in maps] for i, maps in tensors.items()})
            for row, index in enumerate(batch.indices)
            if index in self.job.kept
        ]

    def _check_sizes(self, arrays: Arrays, batch: Batch) -> None:
        """Checks that attributions fit into one array for all examples."""
        for key, maps in arrays.items():
            if (size := self._sizes.setdefault(key, maps.shape[2:])) != maps.shape[2:]:
                method = list(self.methods)[int(key.partition(".")[0])]
                raise ValueError(other_size(method, size, maps.shape[2:], batch.indices[0]))

    def _scores(self, name: str, metric: Callable[..., Any], batch: Batch, maps: dict[str, Any]) -> dict[str, Scores]:
        """The scores, as the part `SCORES`, and their noise where that is asked for and known."""
        call = functools.partial(self.calls.scores, name, metric, self.job.seed)
        parameters, card = inspect.signature(metric).parameters, card_of(metric)
        if "attributions" in parameters and card is not None and card.takes_mappings and maps:
            return self._shared_scores(name, call, batch, maps)
        scores: dict[str, Scores] = {SCORES: {}}
        for method in self.methods.values():
            if (why := method.lacks(parameters)) is not None:
                self._note(batch, method.name, name, why)
            elif {"explanation_func", "explanation_factory"} & parameters.keys():
                with self._recording(batch, method.name, name):
                    _add(scores, method.name, call(batch, explanation=method))
            elif method.name in maps:
                with self._recording(batch, method.name, name):
                    _add(scores, method.name, call(replace(batch, attributions=maps[method.name])))
        return scores

    def _shared_scores(
        self, name: str, call: Callable[[Batch], dict[str, Scores]], batch: Batch, maps: dict[str, Any]
    ) -> dict[str, Scores]:
        """Scores all methods at once. If that fails and failures are recorded, those that fail alone are left out."""
        try:
            with self._placed(batch, ", ".join(maps), name):
                return call(replace(batch, attributions=maps))
        except Exception:
            if self.job.on_error == "raise":
                raise
            fitting: dict[str, Any] = {}
            for method in maps:
                with self._recording(batch, method, name):
                    call(replace(batch, attributions=maps[method]))
                    fitting[method] = maps[method]
            return call(replace(batch, attributions=fitting)) if fitting else {SCORES: {}}

    def _stacked(self, scores: Scores, batch: Batch) -> np.ndarray[Any, Any]:
        """`[methods, examples, ...]`; nan for a method without scores."""
        found = {name: s.detach().cpu().to(_stored_type(s.dtype)).numpy() for name, s in scores.items()}
        like = next(iter(found.values()), np.empty(len(batch), np.float32))
        return np.stack([found.get(name, np.full_like(like, np.nan)) for name in self.methods])

    @contextmanager
    def _recording(self, batch: Batch, method: str, metric: str | None = None) -> Iterator[None]:
        """Notes an exception and goes on, with on_error="record"; else raises it, and it says where it came from."""
        try:
            with self._placed(batch, method, metric):
                yield
        except Exception as error:
            if self.job.on_error == "raise":
                raise
            self._note(batch, method, metric, f"{type(error).__name__}: {error}")

    @contextmanager
    def _placed(self, batch: Batch, method: str, metric: str | None = None) -> Iterator[None]:
        try:
            with self.meter.at(method, metric):
                yield
        except Exception as error:
            named = self._unfit_data(batch, of_method=metric is None) or error
            place = f"method {method!r}" + (f", metric {metric!r}" if metric else "")
            if hasattr(named, "add_note"):  # Python 3.11
                named.add_note(f"While evaluating {place}, {spanned(batch.indices)}.")
            if named is error:
                raise
            raise named from error

    def _unfit_data(self, batch: Batch, of_method: bool) -> Exception | None:
        """The error of inputs or targets that do not fit the model, of which Captum or torch may have said less.

        A metric takes the `logits` of an output, but Captum's methods do not.
        """
        try:
            output = self.calls.output(batch.split(1)[0])
        except Exception as error:  # the model fails by itself, and the first error says why
            return other_type(self.model, batch.inputs, error)
        output = output if of_method else logits_of(output)
        try:
            check_fits(batch.target, self.job.target, tuple(check_output(output, 1).shape[1:]), batch.indices)
        except (TypeError, ValueError) as error:
            return error
        return None

    def _note(self, batch: Batch, method: str, metric: str | None, message: str) -> None:
        for span in spans(batch.indices):
            failure = {"attribution": method, "metric": metric, "examples": span, "error": message}
            if failure not in self.failures:
                self.failures.append(failure)


def spans(indices: Sequence[int]) -> list[list[int]]:
    """The first and the last of each run of neighbours, of which there are several if the order was shuffled."""
    found: list[list[int]] = []
    for index in sorted(indices):
        if found and index == found[-1][1] + 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return found


def _add(scores: dict[str, Scores], method: str, found: dict[str, Tensor]) -> None:
    for part, values in found.items():
        scores.setdefault(part, {})[method] = values


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """An array of numpy, which has no bfloat16; float32 holds the same values."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()


def _stored_type(scores: torch.dtype) -> torch.dtype:
    """At least float32, and float64 for integers, of which float32 holds only the small ones."""
    exact = not scores.is_floating_point and scores != torch.bool
    return torch.float64 if exact else torch.promote_types(scores, torch.float32)
