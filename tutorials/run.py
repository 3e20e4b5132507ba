"""Runs tutorials from start to end, each in an empty folder, and says how long each took.

The first error is the last line. `python tutorials/run.py [--write] [notebook ...]` runs all of them by default; with
`--write` the new output takes the place of the old.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def run(file: Path) -> nbformat.NotebookNode:
    """The notebook with its new output; raises at a cell's first error."""
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which differ each time
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent.resolve()), os.environ.get("PYTHONPATH", "")])
    all_seconds = 0.0
    for file in options.notebooks or sorted(HERE.glob("*.ipynb")):
        began = time.perf_counter()
        notebook = run(file)
        seconds = time.perf_counter() - began
        all_seconds += seconds
        if options.write:
            nbformat.write(notebook, file)
        print(f"{seconds:6.1f} s  {file.name}", flush=True)
    print(f"{all_seconds:6.1f} s  in all")


if __name__ == "__main__":
    main()
