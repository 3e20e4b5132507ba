"""All that the shards of a finished run hold, each read once, and joined as they are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from .cost import COST, Total
from .kept_maps import KEPT, Kept, joined
from .npz import Arrays
from .store import ShardStore

AT_ONCE = 1024  # shards that are held before they are joined
DATA, FAILURES = "data", "failures"


@dataclass
class Contents:
    """The scores of consecutive examples in `pieces`; what failed, the maps that are kept, and the costs."""

    store: ShardStore
    pieces: list[tuple[range, Arrays]]
    failures: list[dict[str, Any]]
    maps: list[np.ndarray[Any, Any]]
    costs: Total

    @property
    def kept(self) -> Kept | None:
        return joined(self.maps, self.costs.methods, self.costs.table())


def contents_of(store: ShardStore) -> Contents:
    try:
        return _read(store)
    except (OSError, ValueError):
        store.verify()  # names the shards that were removed or damaged after they were checked
        raise


def _read(store: ShardStore) -> Contents:
    found, shards = Contents(store, [], [], [], Total(list(store.manifest["methods"]))), range(store.needed())
    for first in shards[::AT_ONCE]:
        block = [(store.edges(shard), store.read(shard)) for shard in shards[first : first + AT_ONCE]]
        for _, arrays in block:
            _take_notes(arrays, found)
        found.pieces += _joined_alike(block)
    return found


def _take_notes(arrays: Arrays, found: Contents) -> None:
    """Takes everything out of a shard that is no score, and that is not a number for each example."""
    arrays.pop(DATA, None)
    found.failures += json.loads(str(arrays.pop(FAILURES)))
    if COST in arrays:
        found.costs.add(arrays.pop(COST))
    maps = arrays.pop(KEPT, np.empty(0))
    found.maps += [maps] if maps.size else []


def _joined_alike(shards: Sequence[tuple[range, Arrays]]) -> list[tuple[range, Arrays]]:
    """Consecutive shards side by side, those that hold the same arrays, of one type and shape of an example."""
    pieces = []
    for _, group in groupby(shards, key=lambda shard: _form(shard[1])):
        spans, alike = zip(*group)
        arrays = {key: np.concatenate([one[key] for one in alike], axis=1) for key in alike[0]}
        pieces.append((range(spans[0].start, spans[-1].stop), arrays))
    return pieces


def _form(arrays: Arrays) -> list[Any]:
    return [(key, array.dtype, len(array), array.shape[2:]) for key, array in arrays.items()]
