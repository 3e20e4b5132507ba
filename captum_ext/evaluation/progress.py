"""One bar for the whole job. It reads the store, so it does not matter who computes, and where."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from types import TracebackType
from typing import TextIO

from tqdm.auto import tqdm

from .cost import COST, sentence, table
from .display import counted
from .store import ShardStore

LOOKS_EVERY, WRITES_EVERY = 0.5, 30.0  # seconds
RESTS = 20  # times the processor time of a look, before the next one


class Progress:
    """A context manager that shows the examples done, their rate and the time left; without a terminal, in lines."""

    def __init__(self, store: ShardStore, show: bool, file: TextIO | None = None):
        self.store, self.show, self.file = store, show, file or sys.stderr
        self.ended = threading.Event()

    def __enter__(self) -> Progress:
        if self.show:
            self.began, self.at_first = time.monotonic(), self._done()
            self.write = self._bar() if self.file.isatty() or "ipykernel" in sys.modules else self._lines()
            self.thread = threading.Thread(target=self._follow, daemon=True)
            self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.show:
            self.ended.set()
            self.thread.join()
            if error is None and (costs := self._costs()):
                print(f"evaluate: {costs}", file=self.file, flush=True)

    def _costs(self) -> str:
        """What the shards cost, those of an earlier call included."""
        shards = (self.store.read(shard) for shard in range(self.store.needed()) if self.store.is_there(shard))
        costs = table((shard[COST] for shard in shards if COST in shard), self.store.manifest.get("methods", ()))
        return "" if costs.empty else sentence(costs)

    @property
    def total(self) -> int:
        """All examples, or those by which everything is decided."""
        return self.store.edges(self.store.needed() - 1).stop

    @property
    def open(self) -> str:
        """How many pairs of methods are still to be decided, where the run may stop early."""
        decisions = self.store.decisions
        return "" if decisions is None else f"{counted(decisions.open, 'pair')} open"

    def _done(self) -> int:
        return min(self.store.count() * self.store.manifest["shard_size"], self.total)

    def _follow(self) -> None:
        next(self.write)
        took = 0.0
        while not self.ended.wait(max(LOOKS_EVERY, RESTS * took)):
            began = time.thread_time()
            self.write.send(self._done())
            took = time.thread_time() - began  # which grows with the number of shards
        self.write.send(self._done())
        self.write.close()

    def _bar(self) -> Generator[None, int, None]:
        with tqdm(total=self.total, initial=self.at_first, unit="example", desc="evaluate", file=self.file) as bar:
            while True:
                done = yield
                bar.total = self.total
                bar.set_postfix_str(self.open, refresh=False)
                bar.update(done - bar.n)

    def _lines(self) -> Generator[None, int, None]:
        last = self.began
        while True:
            done = yield
            first = last == self.began and self.at_first < done < self.total  # an estimate after the first batch
            if first or time.monotonic() - last >= WRITES_EVERY or self.ended.is_set():
                last = time.monotonic()
                print(self._line(done), file=self.file, flush=True)

    def _line(self, done: int) -> str:
        rate = (done - self.at_first) / max(time.monotonic() - self.began, 1e-9)
        left = f", {(self.total - done) / rate / 60:.1f} min left" if rate > 0 and done < self.total else ""
        open_pairs = f", {self.open}" if self.open else ""
        return f"evaluate: {done:,} of {self.total:,} examples, {rate:.3g} a second{left}{open_pairs}"
