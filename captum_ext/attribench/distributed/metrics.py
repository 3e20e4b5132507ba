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

from .. import result as results
from ..functional import metrics as functional
from ._metric import Metric
from ._workers import REQUIRED

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
