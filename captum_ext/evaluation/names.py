"""Which names of methods and metrics can be stored in every format, and read back as they were."""

from __future__ import annotations

from collections.abc import Iterable

from .files import escaped

MOST_BYTES = 200  # of a name as it is stored; with what is added to it, a file may have such a name
# What is kept of a metric: its scores, and what ends the names of the variables with their noise.
SCORES, STDERR, N_EFF, HALVES = "", " stderr", " n_eff", ":halves"
OF = {STDERR: "stderr_of", N_EFF: "n_eff_of", HALVES: "halves_of"}  # the attribute with the metric's name
AXES = ("attribution", "example", "half")
COLUMNS = ("metric", "axis", "at", "score", "stderr")  # of `Evaluation.to_dataframe`, beside the axes


def check_names(argument: str, names: Iterable[str]) -> None:
    """`argument` is "methods" or "metrics"."""
    for name in names:
        why = cannot_be_stored(name) or (_taken(name) if argument == "metrics" else None)
        if why is not None:
            shown = repr(name) if len(name) <= MOST_BYTES else f"{name[:40]!r}..."
            raise ValueError(f"`{argument}` has the name {shown}, {why}. Choose another name.")


def cannot_be_stored(name: str) -> str | None:
    """Why not, in words that go on after the name; None if it can be."""
    if not name:
        return "which is empty"
    if "\0" in name:
        return "and no format can store a NUL character"
    if any("\ud800" <= c <= "\udfff" for c in name):
        return "which is no text: it has half of a surrogate pair"
    if (size := len(escaped(name).encode())) > MOST_BYTES:
        return f"which is {size} bytes long when it is stored; {MOST_BYTES} fit"
    return None


def _taken(name: str) -> str | None:
    if name in AXES:
        return "but that is an axis of the results"
    part = next((part for part in OF if name.endswith(part)), None)
    return None if part is None else f"but names that end in {part!r} are those of the noise of another metric's scores"
