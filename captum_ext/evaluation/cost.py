"""What a run costs: seconds and model rows of each method and metric, which nothing compares with another run's."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn
from torch.jit import ScriptModule

from .._core.printing import printable

COST = "cost"  # the name in a shard
TOGETHER = "several together"  # methods that share rows, so that none has a cost of its own
COLUMNS = ["metric", "attribution", "seconds", "rows"]


class Meter:
    """Adds up what is spent within `at`. Rows are known of a model that is a module, whose calls are counted."""

    def __init__(self) -> None:
        self.rows, self.counts = 0, False
        self.spent: dict[tuple[str, str], list[float]] = {}

    @contextmanager
    def counting(self, model: Any) -> Iterator[None]:
        """Starts anew, and counts the rows of the calls of the model and of its copies."""

        def count(_module: nn.Module, args: Any, kwargs: Any) -> None:  # a function, which copies of a module share
            first = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.dim()), None)
            self.rows += 0 if first is None else len(first)

        self.spent = {}
        self.counts = isinstance(model, nn.Module) and not isinstance(model, ScriptModule)  # which takes no hooks
        handle = model.register_forward_pre_hook(count, with_kwargs=True) if self.counts else None
        try:
            yield
        finally:
            if handle is not None:
                handle.remove()

    @contextmanager
    def at(self, method: str, metric: str | None) -> Iterator[None]:
        began, rows = time.perf_counter(), self.rows
        try:
            yield
        finally:
            spent = self.spent.setdefault((method, metric or ""), [0.0, 0.0])
            spent[0] += time.perf_counter() - began
            spent[1] += self.rows - rows if self.counts else np.nan

    @property
    def note(self) -> np.ndarray[Any, Any]:
        """What was spent, for a shard."""
        return np.array(json.dumps([[*key, *spent] for key, spent in self.spent.items()]))


class Total:
    """Adds up the notes of shards, in no more memory than a table of them takes."""

    def __init__(self, methods: Sequence[str]):
        self.methods = methods
        self.spent: dict[tuple[str, str], list[float]] = {}

    def add(self, note: Any) -> None:
        for method, metric, seconds, rows in json.loads(str(note)):
            spent = self.spent.setdefault((metric, method if method in self.methods else TOGETHER), [0.0, np.nan])
            spent[0] += seconds
            if not math.isnan(rows):
                spent[1] = rows + (0.0 if math.isnan(spent[1]) else spent[1])

    def table(self) -> pd.DataFrame:
        """A row for each metric and method, and one for the explanations of each method, whose `metric` is empty.

        `rows` is NaN where the model is no module.
        """
        return pd.DataFrame([(*key, *spent) for key, spent in self.spent.items()], columns=COLUMNS)


def table(notes: Iterable[Any], methods: Sequence[str]) -> pd.DataFrame:
    """The costs of all shards, as in `Total.table`."""
    total = Total(methods)
    for note in notes:
        total.add(note)
    return total.table()


def sentence(costs: pd.DataFrame) -> str:
    """As in "12 s and 4,000 model rows: explanations 2 s, deletion 10 s"."""
    parts = costs.groupby("metric", sort=False)["seconds"].sum().sort_values(ascending=False)
    named = ", ".join(f"{printable(str(name)) or 'explanations'} {seconds:.3g} s" for name, seconds in parts.items())
    rows = costs["rows"].sum(min_count=1)
    of_rows = f" and {rows:,.0f} model rows" if np.isfinite(rows) else ""
    return f"{costs['seconds'].sum():.3g} s{of_rows}: {named}"
