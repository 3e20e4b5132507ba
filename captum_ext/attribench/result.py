"""Scores of a metric for every masker (or perturbation generator), activation, method and sample.

They are read from and written to AttriBench's files, and become tables.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from .._core.checks import check_choice
from .._core.printing import printable
from ._tree import Array, NDArrayTree, load_tree, save_tree

Names = Sequence[str]
Reduction = Callable[[Array], Array]  # of the last axis
Result = TypeVar("Result", bound="MetricResult")
Table = tuple[pd.DataFrame, bool]  # a row per sample, a column per method; and whether higher is better


class MetricResult:
    """The scores in `tree`: an array for each combination of names in `levels`.

    Its `shape` has the samples first, then the metric's own axis.
    """

    saved: tuple[str, ...] = ()  # further attributes that files hold

    def __init__(self, shape: Sequence[int], levels: Mapping[str, Names]):
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
        """Writes an HDF5 file, or (`"csv"`) a folder of CSV files, whole or not at all, where nothing is yet."""
        attributes = {"type": type(self).__name__, **{name: getattr(self, name) for name in self.saved}}
        save_tree(self.tree, attributes, path, format)

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file holds this very result."""
        try:
            stored = type(self).load(path)
        except (FileNotFoundError, ValueError):
            return False
        same_names = stored.levels == self.levels and stored.shape == self.shape
        return same_names and all(
            np.array_equal(leaf, self.tree.leaves[key], equal_nan=True) for key, leaf in stored.tree.leaves.items()
        )

    @classmethod
    def load(cls: type[Result], path: str | os.PathLike[str]) -> Result:
        """What `save`, or AttriBench, wrote at `path`; the file says which result it is."""
        tree, attributes = load_tree(path)
        kind = _kinds(MetricResult).get(attributes.pop("type", ""))
        if kind is None or not issubclass(kind, cls) or not set(kind.saved) <= set(attributes):
            held = kind.__name__ if kind else "another kind of result"
            raise ValueError(f"`path` {path} holds {held}; this reads {', '.join(_kinds(cls))}.")
        result = kind.__new__(kind)
        vars(result).update(tree=tree, **{name: attributes[name] for name in kind.saved})
        return result

    def merge(self, other: MetricResult, level: str, allow_overwrite: bool = False) -> None:
        """Takes over another result's scores.

        Both have the same names on every level but `level`, where they share none. With `allow_overwrite` they may
        share names, whose scores are then the other's.
        """
        if type(other) is not type(self):
            raise ValueError(f"`other` must be of type {type(self).__name__}, got {type(other).__name__}.")
        check_choice("level", level, self.levels)
        both = sorted(set(self.levels[level]) & set(other.levels[level]))
        if both and not allow_overwrite:
            shared = printable(f"{level} {', '.join(both)}")
            raise ValueError(f"Both results have {shared}; set `allow_overwrite` to take those of the other.")
        theirs = other._merged_by(level)
        for what, ours in self._merged_by(level).items():
            if ours != theirs[what]:
                raise ValueError(f"The results differ in {what}: {ours} and {theirs[what]}.")
        self.tree.merge(other.tree, level)

    def _merged_by(self, level: str) -> dict[str, Any]:
        """What results have in common that are merged on a level."""
        further = {f"`{name}`": getattr(self, name) for name in self.saved}
        names = {f"`{name}`": sorted(found) for name, found in self.levels.items() if name != level}
        return {"shape": self.shape, **further, **names}

    def _table(self, reduce: Reduction, methods: Names | None, columns: Any = None, **names: str) -> pd.DataFrame:
        chosen = self.method_names if methods is None else methods
        points = ... if columns is None else (..., np.asarray(columns))
        return pd.DataFrame({method: reduce(self.tree.get(method=method, **names)[points]) for method in chosen})


class DeletionResult(MetricResult):
    """Curves `[num_samples, num_steps]` under levels masker, activation_fn and method; `mode` is "morf" or "lerf"."""

    saved = ("mode",)

    def __init__(
        self, method_names: Names, maskers: Names, activation_fns: Names, mode: str, num_samples: int, num_steps: int
    ):
        levels = {"method": method_names, "masker": maskers, "activation_fn": activation_fns}
        super().__init__([num_samples, num_steps], levels)
        self.mode = mode

    def get_df(
        self, masker: str, activation_fn: str, agg_fn: str = "auc", methods: Names | None = None, columns: Any = None
    ) -> Table:
        """Each curve's `"auc"`, the plain mean of its points, or `"aoc"`, its first point minus that mean.

        `columns` are the points that count, by default all.
        """
        check_choice("agg_fn", agg_fn, AREAS)
        table = self._table(AREAS[agg_fn], methods, columns, masker=masker, activation_fn=activation_fn)
        return table, (agg_fn == "aoc") == (self.mode == "morf")


class InsertionResult(DeletionResult):
    """As `DeletionResult`, with the better side the other one."""

    def get_df(self, *args: Any, **kwargs: Any) -> Table:
        """As `DeletionResult.get_df`."""
        table, higher_is_better = super().get_df(*args, **kwargs)
        return table, not higher_is_better


class SensitivityNResult(MetricResult):
    """Correlations `[num_samples, num_steps]` under levels masker, activation_fn and method."""

    def __init__(self, method_names: Names, maskers: Names, activation_fns: Names, num_samples: int, num_steps: int):
        levels = {"masker": maskers, "activation_fn": activation_fns, "method": method_names}
        super().__init__([num_samples, num_steps], levels)

    def get_df(self, masker: str, activation_fn: str, methods: Names | None = None, columns: Any = None) -> Table:
        """The mean over n, or over `columns` of them, where the correlation is defined; NaN where it is nowhere."""
        return self._table(_nan_mean, methods, columns, masker=masker, activation_fn=activation_fn), True


class InfidelityResult(MetricResult):
    """Scores `[num_samples, 1]` under levels method, perturbation_generator and activation_fn."""

    def __init__(self, method_names: Names, perturbation_generators: Names, activation_fns: Names, num_samples: int):
        levels = {"perturbation_generator": perturbation_generators, "activation_fn": activation_fns}
        super().__init__([num_samples, 1], {"method": method_names, **levels})

    def get_df(self, perturbation_generator: str, activation_fn: str, methods: Names | None = None) -> Table:
        """The scores as they are."""
        names = {"perturbation_generator": perturbation_generator, "activation_fn": activation_fn}
        return self._table(np.ravel, methods, **names), False


class MinimalSubsetResult(MetricResult):
    """Numbers of features `[num_samples, 1]` under levels method and masker; `mode` is "deletion" or "insertion"."""

    saved = ("mode",)

    def __init__(self, method_names: Names, maskers: Names, mode: str, num_samples: int):
        super().__init__([num_samples, 1], {"method": method_names, "masker": maskers})
        self.mode = mode

    def get_df(self, masker: str, methods: Names | None = None) -> Table:
        """The numbers as they are."""
        return self._table(np.ravel, methods, masker=masker), False


class OneScoreResult(MetricResult):
    """Scores `[num_samples]` under the level method."""

    higher_is_better = False

    def __init__(self, method_names: Names, num_samples: int):
        super().__init__([num_samples], {"method": method_names})

    def get_df(self, methods: Names | None = None) -> Table:
        """The scores as they are."""
        return self._table(np.copy, methods), self.higher_is_better


class MaxSensitivityResult(OneScoreResult):
    """Largest distances `[num_samples]` under the level method."""


class ParameterRandomizationResult(OneScoreResult):
    """Rank correlations `[num_samples]` under the level method."""


class ImpactCoverageResult(OneScoreResult):
    """Intersections over unions `[num_samples]` under the level method."""

    higher_is_better = True


def _nan_mean(values: Array) -> Array:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return np.nanmean(values, -1)


def _kinds(kind: type[Result]) -> dict[str, type[Result]]:
    """A class of results and those made from it, by name."""
    below = (_kinds(subclass) for subclass in kind.__subclasses__())
    return {kind.__name__: kind} | {name: found for kinds in below for name, found in kinds.items()}


AREAS: dict[str, Reduction] = {"auc": lambda curve: curve.mean(-1), "aoc": lambda curve: curve[..., 0] - curve.mean(-1)}
