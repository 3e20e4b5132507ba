"""AttriBench's metrics on many devices.

The numbers are those of `captum_ext.attribench.functional.metrics`, for any number of workers. All take, in
AttriBench's order, `model_factory` (a function without arguments that every worker calls, or a module), the data set,
`batch_size` of a worker, the metric's own arguments, and last:

- `address`: `"localhost"` for workers of this machine, which need no port; another address is that of a Ray cluster,
  with its `port`;
- `devices`: a worker for each entry, such as ``(0, 1)``, ``("cuda:0", "cuda:0")`` or ``("cpu", "cpu")``; None for every
  GPU, or one CPU worker;
- by name: `seed`, `engine`, `shard_size`, `max_restarts`, `shard_timeout`, `on_error`, `threads_per_worker`, as in
  `captum_ext.evaluate`.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, Generic, TypeVar

from .. import result as results
from ..functional import metrics as functional
from ._workers import REQUIRED, Computation

__all__ = [
    "Deletion",
    "ImpactCoverage",
    "Infidelity",
    "Insertion",
    "Irof",
    "MaxSensitivity",
    "Metric",
    "MinimalSubset",
    "ParameterRandomization",
    "SensitivityN",
]

Result = TypeVar("Result", bound=results.MetricResult)


class Metric(Computation, Generic[Result]):
    """A metric that is computed by `run`, once or again after an interruption, and then has a `result`."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.options = {"seed": self._given["seed"], **self.options}
        given = {**self._given, "model": self.model_factory, "method_dict": self._given.get("method_factory")}
        taken = inspect.signature(self._function).parameters
        self.plan = inspect.unwrap(self._function)(**{name: given[name] for name in taken if name in given})
        self._result: Result | None = None

    def run(self, result_path: str | os.PathLike[str] | None = None, progress: bool = True) -> None:
        """Computes the result and, with a path, saves it there (HDF5).

        With a path, finished shards are kept in `<result_path>.run.parts/` as they come, and the same call goes on
        where it was interrupted; another computation's path is refused, with what differs.
        """
        kept = None if result_path is None else Path(f"{result_path}.run")
        if result_path is not None and Path(result_path).exists() and kept is not None and not kept.exists():
            raise FileExistsError(f"`result_path` {result_path} exists already; choose another or remove it first.")
        options = {"path": kept, "show_progress": progress, **self.options}
        self._result = self.plan.run(self.model_factory, self.batch_size, None, **options)
        if result_path is not None:
            Path(result_path).unlink(missing_ok=True)  # of the same computation, finished before
            self.save_result(result_path)

    def save_result(self, path: str | os.PathLike[str], format: str = "hdf5") -> None:
        """Writes the result as an `"hdf5"` file, or a folder of `"csv"` files. `ValueError` before `run()`."""
        self.result.save(path, format)

    @property
    def result(self) -> Result:
        if self._result is None:
            raise ValueError("There is no result yet: call run() first.")
        return self._result


class Deletion(Metric[results.DeletionResult], of=functional.deletion, activation_fns=REQUIRED):
    """`captum_ext.attribench.functional.metrics.deletion`."""


class Insertion(Deletion, of=functional.insertion, activation_fns=REQUIRED):
    """`captum_ext.attribench.functional.metrics.insertion`."""


class Irof(Deletion, of=functional.irof, activation_fns=REQUIRED):
    """`captum_ext.attribench.functional.metrics.irof`."""


class MinimalSubset(Metric[results.MinimalSubsetResult], of=functional.minimal_subset):
    """`captum_ext.attribench.functional.metrics.minimal_subset`."""


class SensitivityN(Metric[results.SensitivityNResult], of=functional.sensitivity_n, segmented=False):
    """`captum_ext.attribench.functional.metrics.sensitivity_n`."""


class Infidelity(Metric[results.InfidelityResult], of=functional.infidelity):
    """`captum_ext.attribench.functional.metrics.infidelity`; `value_range` as there, by name."""


class MaxSensitivity(Metric[results.MaxSensitivityResult], of=functional.max_sensitivity):
    """`captum_ext.attribench.functional.metrics.max_sensitivity` of a factory's methods."""


class ParameterRandomization(
    Metric[results.ParameterRandomizationResult], of=functional.parameter_randomization, port=12355
):
    """`captum_ext.attribench.functional.metrics.parameter_randomization`."""


class ImpactCoverage(Metric[results.ImpactCoverageResult], of=functional.impact_coverage):
    """`captum_ext.attribench.functional.metrics.impact_coverage` of a factory's methods."""
