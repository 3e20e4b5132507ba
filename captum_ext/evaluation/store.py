"""Finished shards on disk: one immutable, checksummed file each, beside a manifest that says what they are shards of."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .files import sweep, written_aside

Arrays = dict[str, np.ndarray[Any, Any]]
MANIFEST = "manifest.json"


class IncompleteRun(RuntimeError):
    """A run that could not finish: the message names the examples that are missing."""


class ShardStore:
    """Shard `i` holds the examples `edges(i)`; a shard is there and whole, or it is missing."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]):
        """Opens the store of the run that `manifest` describes, or makes it; another run's is refused."""
        self.folder, self.manifest = folder, json.loads(json.dumps(manifest))
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        if (folder / MANIFEST).exists():
            self._check_same_run(json.loads((folder / MANIFEST).read_text()))
            return
        with written_aside(folder / MANIFEST) as aside:
            aside.write_text(json.dumps(self.manifest, indent=1))

    def _check_same_run(self, stored: dict[str, Any]) -> None:
        lines = differences(self.manifest, stored)
        if lines:
            raise ValueError(
                f"`path` holds another run ({self.folder}); it differs in:\n  "
                + "\n  ".join(lines)
                + "\nChoose another `path`, or remove it."
            )

    def __len__(self) -> int:
        return -(-self.manifest["examples"] // self.manifest["shard_size"])

    def edges(self, shard: int) -> range:
        size: int = self.manifest["shard_size"]
        return range(shard * size, min((shard + 1) * size, self.manifest["examples"]))

    def write(self, shard: int, arrays: Arrays) -> None:
        with written_aside(self._file(shard)) as aside, open(aside, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def read(self, shard: int) -> Arrays:
        with np.load(self._file(shard), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def missing(self) -> list[int]:
        """The shards still to be computed; a damaged one is removed and counts as missing."""
        return [shard for shard in range(len(self)) if not self._is_whole(shard)]

    def verify(self) -> None:
        """Raises `IncompleteRun` unless every shard is there and whole."""
        missing = self.missing()
        if missing:
            spans = ", ".join(f"{self.edges(s)[0]} to {self.edges(s)[-1]}" for s in missing[:8])
            raise IncompleteRun(
                f"{len(missing)} of {len(self)} shards are missing in {self.folder}: examples {spans}. Run again to go on."
            )

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _is_whole(self, shard: int) -> bool:
        if not self._file(shard).exists():
            return False
        try:
            self.read(shard)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            warnings.warn(f"{self._file(shard)} is damaged ({error!r}) and is computed anew.", stacklevel=3)
            self._file(shard).unlink()
            return False
        return True

    def _file(self, shard: int) -> Path:
        return self.folder / f"{shard:08d}.npz"


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Where two descriptions differ, as lines `key: ours, not theirs`."""
    lines = []
    for key in sorted({*ours, *theirs}):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r}, not {b!r}")
    return lines
