"""Scores of a metric for every masker (or perturbation generator), activation, method and sample; in AttriBench's files and tables."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ._tree import Array, NDArrayTree
from ._tree_files import load_tree, save_tree

if TYPE_CHECKING:
    import pandas as pd

Result = TypeVar("Result", bound="MetricResult")
Table = tuple["pd.DataFrame", bool]  # a row per sample, a column per method; and whether higher is better


class MetricResult:
    """The scores in `tree`, an array of `shape` (the samples, then the metric's own axis) for each combination of names in `levels`."""

    saved: tuple[str, ...] = ()  # further attributes that files hold

    def __init__(self, shape: Sequence[int], levels: Mapping[str, Sequence[str]]):
        self.tree = NDArrayTree(levels, shape)

    @property
    def levels(self) -> dict[str, list[str]]:
        return self.tree.levels

    @property
    def shape(self) -> list[int]:
        return self.tree.shape

    @property
    def method_names(self) -> list[str]:
        return self.levels["method"]

    def get_df(self, *args: Any, **kwargs: Any) -> Table:
        raise NotImplementedError(f"{type(self).__name__} has no table of its own.")

    def save(self, path: str | os.PathLike[str], format: str = "hdf5") -> None:
        """Writes an HDF5 file, or (`"csv"`) a folder of CSV files, whole or not at all. A path at which something is already is refused."""
        save_tree(
            self.tree, {"type": type(self).__name__} | {name: getattr(self, name) for name in self.saved}, path, format
        )

    @classmethod
    def load(cls: type[Result], path: str | os.PathLike[str]) -> Result:
        """What `save`, or AttriBench, wrote at `path`; the file says which result it is."""
        tree, attributes = load_tree(path)
        kind = RESULTS.get(attributes.pop("type", ""))
        if kind is None or not issubclass(kind, cls) or not set(kind.saved) <= set(attributes):
            wanted = ", ".join(name for name, known in RESULTS.items() if issubclass(known, cls))
            raise ValueError(
                f"`path` {path} holds {kind.__name__ if kind else 'another kind of result'}; this reads {wanted}."
            )
        result = kind.__new__(kind)
        result.tree = tree
        for name in kind.saved:
            setattr(result, name, attributes[name])
        return result

    def merge(self, other: MetricResult, level: str, allow_overwrite: bool = False) -> None:
        """Takes over another result's scores; both have the same names on every level but `level`, and there none in common.

        With `allow_overwrite` they may have, and the other's count.
        """
        if type(other) is not type(self):
            raise ValueError(f"`other` must be of type {type(self).__name__}, got {type(other).__name__}.")
        if level not in self.levels:
            raise ValueError(f"`level` must be one of {', '.join(map(repr, self.levels))}, got {level!r}.")
        both = sorted(set(self.levels[level]) & set(other.levels[level]))
        if both and not allow_overwrite:
            raise ValueError(
                f"Both results have {level} {', '.join(both)}; set `allow_overwrite` to take those of the other."
            )
        for what, ours, theirs in self._compared(other, level):
            if ours != theirs:
                raise ValueError(f"The results differ in {what}: {ours} and {theirs}.")
        self.tree.merge(other.tree, level)

    def _compared(self, other: MetricResult, level: str) -> list[tuple[str, Any, Any]]:
        names = [
            (f"`{name}`", sorted(self.levels[name]), sorted(other.levels[name]))
            for name in self.levels
            if name != level
        ]
        further = [(f"`{name}`", getattr(self, name), getattr(other, name)) for name in self.saved]
        return [("shape", self.shape, other.shape), *further, *names]

    def _table(self, reduce: Callable[[Array], Array], methods: Sequence[str] | None, **names: str) -> pd.DataFrame:
        import pandas as pd

        chosen = self.method_names if methods is None else methods
        return pd.DataFrame({method: reduce(self.tree.get(method=method, **names)) for method in chosen})


class DeletionResult(MetricResult):
    """Curves `[num_samples, num_steps]` under levels masker, activation_fn and method; of `mode` `"morf"` or `"lerf"`."""

    saved = ("mode",)

    def __init__(
        self,
        method_names: Sequence[str],
        maskers: Sequence[str],
        activation_fns: Sequence[str],
        mode: str,
        num_samples: int,
        num_steps: int,
    ):
        levels = {"method": method_names, "masker": maskers, "activation_fn": activation_fns}
        super().__init__([num_samples, num_steps], levels)
        self.mode = mode

    def get_df(
        self,
        masker: str,
        activation_fn: str,
        agg_fn: str = "auc",
        methods: Sequence[str] | None = None,
        columns: Any = None,
    ) -> Table:
        """Each curve's `"auc"`, the plain mean of its points, or `"aoc"`, its first point minus that; of the points `columns`."""
        if agg_fn not in AREAS:
            raise ValueError(f"`agg_fn` must be 'auc' or 'aoc', got {agg_fn!r}.")
        table = self._table(
            lambda curve: AREAS[agg_fn](_chosen(curve, columns)), methods, masker=masker, activation_fn=activation_fn
        )
        return table, (agg_fn == "aoc") == (self.mode == "morf")


class InsertionResult(DeletionResult):
    """As `DeletionResult`, with the better side the other one."""

    def get_df(self, *args: Any, **kwargs: Any) -> Table:
        """As `DeletionResult.get_df`."""
        table, higher_is_better = super().get_df(*args, **kwargs)
        return table, not higher_is_better


class SensitivityNResult(MetricResult):
    """Correlations `[num_samples, num_steps]` under levels masker, activation_fn and method."""

    def __init__(
        self,
        method_names: Sequence[str],
        maskers: Sequence[str],
        activation_fns: Sequence[str],
        num_samples: int,
        num_steps: int,
    ):
        levels = {"masker": maskers, "activation_fn": activation_fns, "method": method_names}
        super().__init__([num_samples, num_steps], levels)

    def get_df(
        self, masker: str, activation_fn: str, methods: Sequence[str] | None = None, columns: Any = None
    ) -> Table:
        """The mean over n (over `columns` of them), of those at which the correlation is defined; NaN where it is at none."""
        return self._table(
            lambda c: _nan_mean(_chosen(c, columns)), methods, masker=masker, activation_fn=activation_fn
        ), True


class InfidelityResult(MetricResult):
    """Scores `[num_samples, 1]` under levels method, perturbation_generator and activation_fn."""

    def __init__(
        self,
        method_names: Sequence[str],
        perturbation_generators: Sequence[str],
        activation_fns: Sequence[str],
        num_samples: int,
    ):
        levels = {
            "method": method_names,
            "perturbation_generator": perturbation_generators,
            "activation_fn": activation_fns,
        }
        super().__init__([num_samples, 1], levels)

    def get_df(self, perturbation_generator: str, activation_fn: str, methods: Sequence[str] | None = None) -> Table:
        """The scores as they are."""
        names = {"perturbation_generator": perturbation_generator, "activation_fn": activation_fn}
        return self._table(np.ravel, methods, **names), False


class MinimalSubsetResult(MetricResult):
    """Numbers of features `[num_samples, 1]` under levels method and masker; of `mode` `"deletion"` or `"insertion"`."""

    saved = ("mode",)

    def __init__(self, method_names: Sequence[str], maskers: Sequence[str], mode: str, num_samples: int):
        super().__init__([num_samples, 1], {"method": method_names, "masker": maskers})
        self.mode = mode

    def get_df(self, masker: str, methods: Sequence[str] | None = None) -> Table:
        """The numbers as they are."""
        return self._table(np.ravel, methods, masker=masker), False


class OneScoreResult(MetricResult):
    """Scores `[num_samples]` under the level method."""

    higher_is_better = False

    def __init__(self, method_names: Sequence[str], num_samples: int):
        super().__init__([num_samples], {"method": method_names})

    def get_df(self, methods: Sequence[str] | None = None) -> Table:
        """The scores as they are."""
        return self._table(np.copy, methods), self.higher_is_better


class MaxSensitivityResult(OneScoreResult):
    """Largest distances `[num_samples]` under the level method."""


class ParameterRandomizationResult(OneScoreResult):
    """Rank correlations `[num_samples]` under the level method."""


class ImpactCoverageResult(OneScoreResult):
    """Intersections over unions `[num_samples]` under the level method."""

    higher_is_better = True


def _auc(curve: Array) -> Array:
    return curve.mean(-1)


def _aoc(curve: Array) -> Array:
    return curve[..., 0] - _auc(curve)


def _chosen(values: Array, columns: Any) -> Array:
    return values if columns is None else values[..., np.asarray(columns)]


def _nan_mean(values: Array) -> Array:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return np.nanmean(values, -1)


AREAS = {"auc": _auc, "aoc": _aoc}
RESULTS: dict[str, type[MetricResult]] = {
    kind.__name__: kind
    for kind in (
        DeletionResult,
        InsertionResult,
        SensitivityNResult,
        InfidelityResult,
        MaxSensitivityResult,
        MinimalSubsetResult,
        ParameterRandomizationResult,
        ImpactCoverageResult,
    )
}
