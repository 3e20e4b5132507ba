"""Errors of other processes as plain text, so that nothing that a worker hands over is unpickled."""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Mapping
from typing import Any


def noted(error: Exception) -> dict[str, Any]:
    """An error as values that JSON can hold."""
    return {
        "kinds": [kind.__name__ for kind in type(error).__mro__],
        "errno": error.errno if isinstance(error, OSError) else None,
        "message": str(error.args[0]) if isinstance(error, KeyError) and error.args else _message(error),
        "notes": getattr(error, "__notes__", []),
        "trace": "".join(traceback.format_exception(error)),
    }


def again(note: Mapping[str, Any]) -> Exception:
    """An error of the same built-in type, with the other process's traceback as a note."""
    error = _of_kind(note)
    for line in [*note["notes"], f"In a worker:\n{note['trace']}"]:
        if hasattr(error, "add_note"):  # Python 3.11
            error.add_note(line)
    return error


def _message(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) and error.errno else str(error)


def _of_kind(note: Mapping[str, Any]) -> Exception:
    if note["errno"]:
        return OSError(note["errno"], note["message"])
    kind = next(filter(None, (getattr(builtins, name, None) for name in note["kinds"])))
    try:
        error: Exception = kind(note["message"])
    except TypeError:  # a type with other arguments, such as UnicodeDecodeError
        return RuntimeError(f"{note['kinds'][0]}: {note['message']}")
    return error
