"""An error of another process, as plain text: nothing that a worker hands over is unpickled."""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Mapping
from typing import Any


def noted(error: Exception) -> dict[str, Any]:
    """What is said of an error, as JSON."""
    return {
        "kinds": [kind.__name__ for kind in type(error).__mro__],
        "errno": error.errno if isinstance(error, OSError) else None,
        "message": str(error.args[0]) if isinstance(error, KeyError) and error.args else _message(error),
        "notes": getattr(error, "__notes__", []),
        "trace": "".join(traceback.format_exception(error)),
    }


def again(said: Mapping[str, Any]) -> Exception:
    """An error of the same built-in kind, with the other process's trace as a note."""
    error = _of_kind(said)
    for note in [*said["notes"], f"In a worker:\n{said['trace']}"]:
        if hasattr(error, "add_note"):  # Python 3.11
            error.add_note(note)
    return error


def _message(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) and error.errno else str(error)


def _of_kind(said: Mapping[str, Any]) -> Exception:
    if said["errno"]:
        return OSError(said["errno"], said["message"])
    kind = next(filter(None, (getattr(builtins, name, None) for name in said["kinds"])))
    try:
        error: Exception = kind(said["message"])
    except TypeError:  # a kind with arguments of its own, such as UnicodeDecodeError
        return RuntimeError(f"{said['kinds'][0]}: {said['message']}")
    return error
