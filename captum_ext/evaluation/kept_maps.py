"""The maps of some examples and the costs, kept beside the scores, so that a report shows what was scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._core.printing import printable
from .npz import Arrays, as_npz, from_npz

KEPT = "kept"  # the name in a shard
DOZEN = 12
LARGEST = 2**20  # numbers of a map; larger ones are not kept


def examples_to_keep(examples: Sequence[int], may_stop: bool) -> tuple[int, ...]:
    """A dozen of the examples, evenly spread; of a run that may stop early, also over each half of the ones before."""
    count, kept = len(examples), {*spread(len(examples))}
    while may_stop and count > DOZEN:
        count //= 2
        kept |= {*spread(count)}
    return tuple(examples[place] for place in sorted(kept))


def spread(count: int) -> list[int]:
    """At most a dozen places, evenly spread over so many."""
    return np.unique(np.linspace(0, count - 1, min(DOZEN, count)).round().astype(int)).tolist()


@dataclass(frozen=True)
class Kept:
    """Some examples by number, and each method's maps of them; and what the run cost.

    `arrays` has `"numbers"` and, as `"0.1"`, the second tensor of the first method's maps, a row per example each.
    """

    methods: list[str]
    arrays: Arrays
    costs: pd.DataFrame

    @property
    def numbers(self) -> list[int]:
        return [int(number) for number in self.arrays["numbers"]]

    def rows(self, methods: Sequence[str]) -> dict[str, tuple[Rows, ...]]:
        """Method -> its tensors, of those methods that have maps of every example that is kept."""
        places = {printable(name): i for i, name in enumerate(self.methods)}
        found = {name: tuple(self._tensors(places[name])) for name in methods if name in places}
        return {name: tensors for name, tensors in found.items() if tensors}

    def _tensors(self, method: int) -> list[Rows]:
        keys = [key for key in self.arrays if key.startswith(f"{method}.")]  # in the order of the tensors
        return [Rows(self.numbers, self.arrays[key]) for key in keys]


@dataclass(frozen=True)
class Rows:
    """A row for each of some examples, looked up by the examples' numbers."""

    numbers: list[int]
    values: np.ndarray[Any, Any]

    def __getitem__(self, numbers: Sequence[int]) -> np.ndarray[Any, Any]:
        return self.values[[self.numbers.index(number) for number in numbers]]


def row_of(number: int, maps: Mapping[int, Sequence[np.ndarray[Any, Any]]]) -> Arrays:
    """What is kept of an example: of images the sum over channels, which is what a picture shows."""
    kept: Arrays = {"numbers": np.array(number)}
    for method, tensors in maps.items():
        for i, values in enumerate(tensors):
            shown = values.sum(0, keepdims=True) if values.ndim == 3 and len(values) in (1, 3) else values
            kept |= {f"{method}.{i}": shown} if shown.size <= LARGEST else {}
    return kept


def packed(rows: Sequence[Arrays]) -> np.ndarray[Any, Any]:
    """The rows of a shard's examples, each with its number, as bytes."""
    numbered = {f"{i} {key}": values for i, row in enumerate(rows) for key, values in row.items()}
    return np.frombuffer(as_npz(numbered, compressed=True) if rows else b"", np.uint8)


def unpacked(content: np.ndarray[Any, Any]) -> list[Arrays]:
    if not content.size:
        return []
    rows: dict[str, Arrays] = {}
    for name, values in from_npz(content.tobytes()).items():
        row, _, key = name.partition(" ")
        rows.setdefault(row, {})[key] = values
    return list(rows.values())


def joined(shards: Sequence[np.ndarray[Any, Any]], methods: Sequence[str], costs: pd.DataFrame) -> Kept | None:
    """What is kept of all shards: a dozen of the examples, evenly spread, and maps that have one shape in all."""
    rows = [row for content in shards for row in unpacked(content)]
    rows = [rows[place] for place in spread(len(rows))] if rows else []
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if _alike(rows, key)]
    arrays = {key: np.stack([row[key] for row in rows]) for key in keys}
    return Kept(list(methods), arrays, costs) if rows else None


def _alike(rows: Sequence[Arrays], key: str) -> bool:
    return len({row[key].shape if key in row else None for row in rows}) == 1


def as_bytes(kept: Kept) -> bytes:
    about = {"methods": kept.methods, "costs": kept.costs.to_dict("split")}
    return as_npz({"about": np.array(json.dumps(about)), **kept.arrays}, compressed=True)


def from_bytes(content: bytes) -> Kept:
    arrays = from_npz(content)
    about = json.loads(str(arrays["about"]))
    costs = pd.DataFrame(**about["costs"])
    return Kept(about["methods"], {name: value for name, value in arrays.items() if name != "about"}, costs)
