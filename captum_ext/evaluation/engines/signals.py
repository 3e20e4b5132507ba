"""Signal handlers of the caller, which torch's agent and Ray replace by their own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# Ends a worker where SIGTERM is ignored: what its driver ignores, as under `nohup`, a worker ignores as well.
END = signal.SIGUSR1


def ignored(signals: Sequence[signal.Signals]) -> list[signal.Signals]:
    """Those of the signals that this process ignores."""
    return [number for number in signals if signal.getsignal(number) is signal.SIG_IGN]


@contextmanager
def handlers_given_back(*signals: signal.Signals) -> Iterator[None]:
    """The caller's handlers are in place again afterwards; only the main thread may set them, so only it does."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in signals} if main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None stands for a handler that Python did not set
                signal.signal(number, handler)
