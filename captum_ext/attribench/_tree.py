"""Arrays of one shape, one for each combination of names, such as masker, activation and method."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class NDArrayTree:
    """AttriBench's tree of results: `levels` maps a level's name to the names on it. Levels are in alphabetical order; NaN until written."""

    def __init__(self, levels: Mapping[str, Sequence[str]], shape: Sequence[int]):
        self.levels = {name: list(levels[name]) for name in sorted(levels)}
        self.shape = list(shape)
        self.leaves: dict[tuple[str, ...], Array] = {key: np.full(self.shape, np.nan) for key in self.combinations()}

    @property
    def level_names(self) -> list[str]:
        return list(self.levels)

    def combinations(self) -> list[tuple[str, ...]]:
        return list(itertools.product(*self.levels.values()))

    def get(self, **level_keys: str) -> Array:
        """One array, by a name for each level."""
        return self.leaves[self._key(level_keys)]

    def write(self, indices: Any, data: Any, **level_keys: str) -> None:
        """Puts rows into one array."""
        self.get(**level_keys)[indices] = data

    def merge(self, other: NDArrayTree, level: str) -> None:
        """Takes over the other's arrays; only `level` may have other names there."""
        self.levels[level] = list(dict.fromkeys(self.levels[level] + other.levels[level]))
        self.leaves |= {key: leaf.copy() for key, leaf in other.leaves.items()}

    def _key(self, level_keys: Mapping[str, str]) -> tuple[str, ...]:
        if set(level_keys) != set(self.levels):
            raise ValueError(
                f"Give a name for each of {', '.join(self.levels)}; got {', '.join(level_keys) or 'none'}."
            )
        for level, name in level_keys.items():
            if name not in self.levels[level]:
                raise ValueError(f"`{level}` must be one of {', '.join(map(repr, self.levels[level]))}, got {name!r}.")
        return tuple(level_keys[level] for level in self.levels)
