# Written by `make stubs` from the signatures at run time; do not edit.

from captum_ext.attribench.distributed import metrics as metrics
from captum_ext.attribench.distributed._workers import Computation
from collections.abc import Sequence
from typing import Any
import os

class ComputeAttributions(Computation):
    def __init__(
        self,
        model_factory: Any,
        method_factory: Any,
        dataset: Any,
        batch_size: int,
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        **options: Any,
    ) -> None: ...

    def run(
        self,
        path: str | os.PathLike[str],
        progress: bool = True,
    ) -> None: ...

class SelectSamples(Computation):
    def __init__(
        self,
        model_factory: Any,
        dataset: Any,
        num_samples: int,
        batch_size: int,
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        **options: Any,
    ) -> None: ...

    def run(
        self,
        path: str | os.PathLike[str],
        progress: bool = True,
    ) -> None: ...

class TrainAdversarialPatches(Computation):
    def __init__(
        self,
        model_factory: Any,
        dataset: Any,
        num_patches: int,
        batch_size: int,
        path: str | None,
        labels: Sequence[int] | None = None,
        address: str = 'localhost',
        port: str | int = '12355',
        devices: Sequence[Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> None: ...

    def run(
        self,
        progress: bool = True,
    ) -> None: ...
