# Written by `make stubs` from the signatures at run time; do not edit.

from captum_ext.attribench._factories import MethodFactory
from captum_ext.attribench.data import AttributionsDataset
from captum_ext.attribench.distributed._metric import Metric
from captum_ext.attribench.distributed._metric import Metric as Metric
from captum_ext.attribench.functional.metrics.infidelity import PerturbationGenerator
from captum_ext.attribench.masking._masker import Masker
from captum_ext.attribench.result import DeletionResult
from captum_ext.attribench.result import ImpactCoverageResult
from captum_ext.attribench.result import InfidelityResult
from captum_ext.attribench.result import MaxSensitivityResult
from captum_ext.attribench.result import MinimalSubsetResult
from captum_ext.attribench.result import ParameterRandomizationResult
from captum_ext.attribench.result import SensitivityNResult
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from torch import nn
from typing import Any
import os

class Deletion(Metric[DeletionResult]):
    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        maskers: Mapping[str, Masker],
        activation_fns: str | Sequence[str],
        mode: str = 'morf',
        start: float = 0.0,
        stop: float = 1.0,
        num_steps: int = 100,
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None: ...

class ImpactCoverage(Metric[ImpactCoverageResult]):
    def __init__(
        self,
        model_factory: Any,
        samples_dataset: Any,
        batch_size: int,
        method_factory: Any,
        patch_folder: str | os.PathLike[str],
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None: ...

class Infidelity(Metric[InfidelityResult]):
    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        activation_fns: str | Sequence[str],
        perturbation_generators: Mapping[str, PerturbationGenerator],
        num_perturbations: int,
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        *,
        value_range: tuple[float, float] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None: ...

class Insertion(Metric[DeletionResult]):
    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        maskers: Mapping[str, Masker],
        activation_fns: str | Sequence[str],
        mode: str = 'morf',
        start: float = 0.0,
        stop: float = 1.0,
        num_steps: int = 100,
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None: ...

class Irof(Metric[DeletionResult]):
    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        maskers: Mapping[str, Masker],
        activation_fns: str | Sequence[str],
        mode: str = 'morf',
        start: float = 0.0,
        stop: float = 1.0,
        num_steps: int = 100,
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None: ...

class MaxSensitivity(Metric[MaxSensitivityResult]):
    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        method_factory: Any,
        num_perturbations: int,
        radius: float,
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None: ...

class MinimalSubset(Metric[MinimalSubsetResult]):
    def __init__(
        self,
        model_factory: Any,
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        maskers: Mapping[str, Masker],
        mode: str = 'deletion',
        num_steps: int = 100,
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None: ...

class ParameterRandomization(Metric[ParameterRandomizationResult]):
    def __init__(
        self,
        model_factory: Callable[[], nn.Module],
        attributions_dataset: AttributionsDataset,
        batch_size: int,
        method_factory: MethodFactory,
        address: str = 'localhost',
        port: str | int = 12355,
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None: ...

class SensitivityN(Metric[SensitivityNResult]):
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
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None: ...
