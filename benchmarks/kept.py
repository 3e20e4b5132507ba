"""Tables that are computed once and kept in a folder, so that an interrupted benchmark goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd


def kept(folder: Path, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table of this name, which must say all settings: of two runs with the same name, the first one's counts."""
    path = folder / f"{name}.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        make().to_csv(unfinished, index=False)
        unfinished.rename(path)  # whole or not at all
    return pd.read_csv(path)


def markdown(table: pd.DataFrame) -> str:
    cells = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).values.tolist()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in cells)
