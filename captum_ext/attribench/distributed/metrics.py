"""AttriBench's metrics on many devices: the numbers of `captum_ext.attribench.functional.metrics`, whatever the number of workers.

All take, in AttriBench's order, `model_factory` (a function without arguments that every worker calls, or a module), the data set, `batch_size`
of a worker, and last:

- `address`: `"localhost"` for workers of this machine, which need no port; another address is that of a Ray cluster, with its `port`;
- `devices`: a worker for each entry, such as ``(0, 1)``, ``("cuda:0", "cuda:0")`` or ``("cpu", "cpu")``; None for every GPU, or one CPU worker;
- by name: `seed`, `engine`, `shard_size`, `max_restarts`, `shard_timeout`, `on_error`, `threads_per_worker`, as in `captum_ext.evaluate`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..data import AttributionsDataset
from ..functional.metrics._plan import Plan
from ..functional.metrics.deletion import deletion_plan, insertion_plan
from ..functional.metrics.impact_coverage import impact_coverage_plan
from ..functional.metrics.infidelity import PerturbationGenerator, infidelity_plan
from ..functional.metrics.irof import irof_plan
from ..functional.metrics.max_sensitivity import max_sensitivity_plan
from ..functional.metrics.minimal_subset import minimal_subset_plan
from ..functional.metrics.parameter_randomization import parameter_randomization_plan
from ..functional.metrics.sensitivity_n import sensitivity_n_plan
from ..masking import Masker
from ..result import (
    DeletionResult,
    ImpactCoverageResult,
    InfidelityResult,
    MaxSensitivityResult,
    MetricResult,
    MinimalSubsetResult,
    ParameterRandomizationResult,
    SensitivityNResult,
)
from ._workers import workers

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

Result = TypeVar("Result", bound=MetricResult)
Devices = Sequence[Any] | None


class Metric(Generic[Result]):
    """A metric that is computed by `run`, once or again after an interruption, and then has a `result`."""

    def __init__(
        self,
        plan: Plan[Result],
        model_factory: Any,
        batch_size: int,
        address: str,
        port: str | int,
        devices: Devices,
        options: dict[str, Any],
    ):
        self.plan, self.model_factory, self.batch_size = plan, model_factory, batch_size
        self.options = workers(address, port, devices, options)
        self._result: Result | None = None

    def run(self, result_path: str | os.PathLike[str] | None = None, progress: bool = True) -> None:
        """Computes the result and, with a path, saves it there (HDF5).

        With a path, finished shards are kept in `<result_path>.run.parts/` as they come, and the same call goes on where it was
        interrupted; another computation's path is refused, with what differs.
        """
        kept = None if result_path is None else Path(f"{result_path}.run")
        if result_path is not None and Path(result_path).exists() and kept is not None and not kept.exists():
            raise FileExistsError(f"`result_path` {result_path} exists already; choose another or remove it first.")
        self._result = self.plan.run(
            self.model_factory, self.batch_size, None, path=kept, show_progress=progress, **self.options
        )
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


class Deletion(Metric[DeletionResult]):
    """`captum_ext.attribench.functional.metrics.deletion`."""

    _plan: Any = staticmethod(deletion_plan)

    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        maskers: Mapping[str, Masker],
        activation_fns: str | Sequence[str],
        mode: str = "morf",
        start: float = 0.0,
        stop: float = 1.0,
        num_steps: int = 100,
        address: str = "localhost",
        port: str | int = "12355",
        devices: Devices = None,
        **options: Any,
    ):
        plan = self._plan(attributions_dataset, maskers, activation_fns, mode, start, stop, num_steps)
        super().__init__(plan, model_factory, batch_size, address, port, devices, options)


class Insertion(Deletion):
    """`captum_ext.attribench.functional.metrics.insertion`."""

    _plan: Any = staticmethod(insertion_plan)


class Irof(Deletion):
    """`captum_ext.attribench.functional.metrics.irof`."""

    _plan = staticmethod(irof_plan)


class MinimalSubset(Metric[MinimalSubsetResult]):
    """`captum_ext.attribench.functional.metrics.minimal_subset`."""

    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        maskers: Mapping[str, Masker],
        mode: str = "deletion",
        num_steps: int = 100,
        address: str = "localhost",
        port: str | int = "12355",
        devices: Devices = None,
        **options: Any,
    ):
        plan = minimal_subset_plan(attributions_dataset, maskers, mode, num_steps)
        super().__init__(plan, model_factory, batch_size, address, port, devices, options)


class SensitivityN(Metric[SensitivityNResult]):
    """`captum_ext.attribench.functional.metrics.sensitivity_n`."""

    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        maskers: Mapping[str, Masker],
        activation_fns: str | Sequence[str],
        min_subset_size: float,
        max_subset_size: float,
        num_steps: int,
        num_subsets: int,
        segmented: bool = False,
        address: str = "localhost",
        port: str | int = "12355",
        devices: Devices = None,
        **options: Any,
    ):
        sizes = min_subset_size, max_subset_size, num_steps, num_subsets
        plan = sensitivity_n_plan(attributions_dataset, maskers, activation_fns, *sizes, segmented)
        super().__init__(plan, model_factory, batch_size, address, port, devices, options)


class Infidelity(Metric[InfidelityResult]):
    """`captum_ext.attribench.functional.metrics.infidelity`; `value_range` as there, by name."""

    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        activation_fns: str | Sequence[str],
        perturbation_generators: Mapping[str, PerturbationGenerator],
        num_perturbations: int,
        address: str = "localhost",
        port: str | int = "12355",
        devices: Devices = None,
        *,
        value_range: tuple[float, float] | None = None,
        **options: Any,
    ):
        plan = infidelity_plan(
            attributions_dataset, activation_fns, perturbation_generators, num_perturbations, value_range
        )
        super().__init__(plan, model_factory, batch_size, address, port, devices, options)


class MaxSensitivity(Metric[MaxSensitivityResult]):
    """`captum_ext.attribench.functional.metrics.max_sensitivity`; `method_factory` makes the methods from a worker's model."""

    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        method_factory: Any,
        num_perturbations: int,
        radius: float,
        address: str = "localhost",
        port: str | int = "12355",
        devices: Devices = None,
        **options: Any,
    ):
        plan = max_sensitivity_plan(attributions_dataset, methods_of(method_factory), num_perturbations, radius)
        super().__init__(plan, model_factory, batch_size, address, port, devices, options)


class ParameterRandomization(Metric[ParameterRandomizationResult]):
    """`captum_ext.attribench.functional.metrics.parameter_randomization`."""

    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        method_factory: Any,
        address: str = "localhost",
        port: str | int = 12355,
        devices: Devices = None,
        *,
        seed: int = 0,
        **options: Any,
    ):
        plan = parameter_randomization_plan(attributions_dataset, method_factory, seed)
        super().__init__(plan, model_factory, batch_size, address, port, devices, options)


class ImpactCoverage(Metric[ImpactCoverageResult]):
    """`captum_ext.attribench.functional.metrics.impact_coverage`."""

    def __init__(
        self,
        model_factory: Any,
        samples_dataset: Any,
        batch_size: int,
        method_factory: Any,
        patch_folder: str,
        address: str = "localhost",
        port: str | int = "12355",
        devices: Devices = None,
        **options: Any,
    ):
        plan = impact_coverage_plan(samples_dataset, methods_of(method_factory), patch_folder)
        super().__init__(plan, model_factory, batch_size, address, port, devices, options)


def methods_of(method_factory: Any) -> dict[str, Any]:
    """Name -> function of the model that makes that method."""
    return {name: partial(_method, method_factory, name) for name in method_factory.get_method_names()}


def _method(method_factory: Any, name: str, model: Any) -> Any:
    return method_factory(model)[name]
