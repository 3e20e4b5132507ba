"""A metric on many devices: run, resumed, saved."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..result import MetricResult
from ._workers import Computation

Result = TypeVar("Result", bound=MetricResult)


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
        path = None if result_path is None else Path(result_path).absolute()
        kept = None if path is None else path.with_name(f"{path.name}.run")
        if path is not None and path.exists() and kept is not None and not kept.exists():
            raise FileExistsError(f"`result_path` {result_path} exists already; choose another or remove it first.")
        options = {"path": kept, "show_progress": progress, **self.options}
        self._result = self.plan.run(self.model_factory, self.batch_size, None, **options)
        if path is not None and not self.result.is_at(path):
            path.unlink(missing_ok=True)  # of the same computation, finished before
            self.save_result(path)

    def save_result(self, path: str | os.PathLike[str], format: str = "hdf5") -> None:
        """Writes the result as an `"hdf5"` file, or a folder of `"csv"` files. `ValueError` before `run()`."""
        self.result.save(path, format)

    @property
    def result(self) -> Result:
        if self._result is None:
            raise ValueError("There is no result yet: call run() first.")
        return self._result
