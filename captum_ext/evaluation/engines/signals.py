"""Signal handlers of the caller, which torch's agent and Ray replace by their own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
