"""Finished shards on disk: an immutable file with a checksum for each, and a manifest of the run they belong to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .._core.guard import frames_of_package
from .._core.printing import printable
from .decisions import Decisions
from .files import sweep, unfinished, written_aside
from .npz import Arrays, as_npz, from_npz
from .stop_rule import Rule, rule_from

MANIFEST, RULE = "manifest.json", "rule.json"
SHARD = re.compile(r"\d{8,}\.npz")
KEPT = "Finished shards are kept. Fix the problem and repeat the call to resume."
LOST = "Finished shards are lost: give `path` to keep them, so that a call can be resumed."
NAMED = 8  # missing shards that a message lists
DIGEST = hashlib.sha256().digest_size
RECOMPUTED = "recomputed"


class IncompleteRun(RuntimeError):
    """A run that could not finish. The message names the missing examples, and `examples` holds them as ranges."""

    def __init__(self, message: str, examples: Sequence[range] = ()):
        super().__init__(message)
        self.examples = list(examples)


class ShardStore:
    """Shard `i` holds the examples `edges(i)`; a shard is there and whole, or it is missing.

    A file is an `.npz` followed by a digest of it, of its number and of the manifest, so a file that is damaged, of
    another run or of other examples is not taken for a shard. Any number of processes, on any machines that see the
    folder, may write to it; a shard that is written twice is the same both times. A manifest without shards may be
    replaced by another run's.

    With a rule, shards are needed only from the first to the one by which it has decided everything. So that every
    worker knows it, the rule is kept in the folder as well.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], kept: bool = True):
        """The store of the run that `manifest` describes; another run's, or a folder that is none, is refused.

        `kept` says whether the folder is still there after the call, so that the same call resumes.
        """
        self.kept = kept
        self.folder, self.text = folder, json.dumps(manifest, indent=1)
        self.hashed = hashlib.sha256(self.text.encode())
        self.manifest: dict[str, Any] = json.loads(self.text)
        # A run without a path has no digest of its data.
        settings = {k: v for k, v in self.manifest.items() if k != "data"}
        self.run_id = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        if folder.exists():
            self._check_own()
            sweep(folder, MANIFEST)
            sweep(folder, RULE)
            sweep(folder, "*.npz")
            sweep(folder, RECOMPUTED)
        stored = self._stored_rules()
        self._looked_at(None if stored.get("rule") is None else rule_from(stored["rule"]))
        self._unwritten: str | None = None  # the rule of this call, until the run begins

    def _check_own(self) -> None:
        if not self.folder.is_dir():
            raise FileExistsError(f"`path` needs the folder {self.folder}, but a file is there; choose another `path`.")
        shards, manifest = self._files(), self.folder / MANIFEST
        if not manifest.exists():
            if any(not f.name.startswith((MANIFEST, ".")) for f in self.folder.iterdir()):
                raise FileExistsError(
                    f"`path` needs the folder {self.folder}, which holds something else; choose another `path`."
                )
            return
        try:
            stored = json.loads(manifest.read_text())
        except ValueError:
            stored = None
        if not isinstance(stored, dict):
            raise ValueError(f"{manifest} is damaged; remove {self.folder} to start over.")
        lines = differences(self.manifest, stored) or ["the order of methods or metrics"]
        if shards and manifest.read_text() != self.text:
            raise ValueError(
                f"`path` holds another run ({self.folder}); it differs in:\n  "
                + "\n  ".join(lines)
                + "\nChoose another `path`, or remove it."
            )

    @property
    def advice(self) -> str:
        """What an error tells the caller to do."""
        return KEPT if self.kept else LOST

    @property
    def digest(self) -> str:
        """A digest of everything that the run depends on, its data included."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return -(-self.manifest["examples"] // self.manifest["shard_size"])

    def edges(self, shard: int) -> range:
        size: int = self.manifest["shard_size"]
        return range(shard * size, min((shard + 1) * size, self.manifest["examples"]))

    def begin(self) -> None:
        """Makes the folder and writes the manifest and the rule, if they are not there yet."""
        manifest = self.folder / MANIFEST
        if not (manifest.exists() and manifest.read_text() == self.text):
            if self.folder.exists():
                self._check_own()  # another run may have begun in the folder meanwhile
            with self._disk_errors_named():
                self.folder.mkdir(parents=True, exist_ok=True)
            self._write_text(MANIFEST, self.text)
        if self._unwritten is not None:
            self._write_text(RULE, self._unwritten)
            self._unwritten = None

    def _write_text(self, name: str, text: str) -> None:
        with self._disk_errors_named(), written_aside(self.folder / name, durable=self.kept) as aside:
            aside.write_text(text)

    # ---- how many shards are needed

    def stop_by(self, rule: Rule | None) -> None:
        """Takes the rule of this call in place of an earlier call's, or none.

        The tests of the first rule are those among which alpha was divided, so a rule that it covers divides alpha by
        as many, and for another one a warning says that the guarantee ends.
        """
        stored = self._stored_rules()
        first = rule_from(stored["first"]) if stored else rule
        if rule is not None and first is not None and first.covers(rule):
            rule = replace(rule, pairs=first.pairs)
        elif rule is not None and first is not None:
            warnings.warn(beyond(first, rule), stacklevel=frames_of_package())
        self._looked_at(rule)
        if first is not None:
            plain = {"run": self.digest, "first": first.as_plain(), "rule": None if rule is None else rule.as_plain()}
            text = json.dumps(plain)
            self._unwritten = text if stored != json.loads(text) else None

    def _looked_at(self, rule: Rule | None) -> None:
        self.rule = rule
        self.decisions = None if rule is None else Decisions(rule)

    def _stored_rules(self) -> dict[str, Any]:
        """The first call's rule, and the last call's; empty if no call of this run had one."""
        try:
            stored = json.loads((self.folder / RULE).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except ValueError as error:
            raise ValueError(f"{self.folder / RULE} is damaged; remove {self.folder} to start over.") from error
        return stored if isinstance(stored, dict) and stored.get("run") == self.digest else {}

    def needed(self) -> int:
        """How many shards from the first on make the run: all, or those by which its rule has decided everything.

        It takes each newly finished shard once, in their order.
        """
        decisions = self.decisions
        if decisions is None:
            return len(self)
        while decisions.shards < len(self) and not decisions.done:
            try:
                arrays = self.read(decisions.shards)
            except (FileNotFoundError, ValueError):  # not there yet, or damaged, and then computed again
                break
            self.decisions = decisions = decisions.after(arrays)  # at once, as a thread may show the progress
        return decisions.shards if decisions.done else len(self)

    # ---- shards

    def write(self, shard: int, arrays: Arrays) -> None:
        self.begin()
        payload = as_npz(arrays)
        digest = self._digest(shard, payload)
        replacement = written_aside(self._file(shard), durable=self.kept)
        with self._disk_errors_named(), replacement as aside, aside.open("wb") as file:
            file.write(payload)
            file.write(digest)

    @contextmanager
    def _disk_errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"{os.strerror(error.errno or 0)}: {self.folder} cannot be written to. {self.advice}",
            ) from error

    def read(self, shard: int) -> Arrays:
        return from_npz(self._payload(shard))

    def _payload(self, shard: int) -> bytes:
        """What a shard's file holds before its digest; ValueError if the digest is another one."""
        content = self._file(shard).read_bytes()
        if content[-DIGEST:] != self._digest(shard, memoryview(content)[:-DIGEST]):
            raise ValueError("its contents do not fit its digest")
        return content[:-DIGEST]

    def is_there(self, shard: int) -> bool:
        return self._file(shard).exists()

    def has(self, shard: int) -> bool:
        """Whether its file exists or need not be computed, which is quick to tell; `missing` checks what is in it."""
        return self._file(shard).exists() or shard >= self.needed()

    def count(self) -> int:
        """How many shards have a file, damaged ones included."""
        return len(self._files())

    def size(self) -> int:
        """Bytes of all shards."""
        return sum(file.stat().st_size for file in self._files())

    def _files(self) -> list[Path]:
        """Those of the shards; the folder may hold others' files too, such as a desktop's or a network drive's."""
        return [file for file in self.folder.glob("*.npz") if SHARD.fullmatch(file.name)]

    def missing(self) -> list[int]:
        """The shards that are still to be computed; a damaged one is removed and counts as missing."""
        return [shard for shard in range(self.needed()) if not self._is_whole(shard)]

    def verify(self, reasons: Mapping[int, str] | None = None) -> None:
        """Raises `IncompleteRun` unless all that are needed are there and whole; `reasons` may say why one is not."""
        missing = self.missing()
        if missing:
            spans = self.spans(missing, reasons or {})
            raise IncompleteRun(
                f"{len(missing)} of {len(self)} shards are missing{f' in {self.folder}' if self.kept else ''}: "
                f"examples {spans}. {'Repeat the call to resume.' if self.kept else LOST}",
                [self.edges(s) for s in missing],
            )

    def spans(self, shards: Sequence[int], reasons: Mapping[int, str]) -> str:
        named = [
            f"{self.edges(s)[0]} to {self.edges(s)[-1]}" + (f" ({reasons[s]})" if s in reasons else "") for s in shards
        ]
        of = " of the shuffled order" if "order" in self.manifest else ""
        return ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "") + of

    def remove(self) -> None:
        """Removes the store's files, and the folder unless it holds others'; another process may do so, too."""
        for file in [*self._files(), self.folder / RULE, self.folder / MANIFEST]:
            file.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    @contextmanager
    def for_comparison(self) -> Iterator[ShardStore]:
        """An empty store of the same run, in a folder inside this one's, which is removed afterwards."""
        folder = unfinished(self.folder / RECOMPUTED)
        try:
            yield ShardStore(folder, self.manifest)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _is_whole(self, shard: int) -> bool:
        if not self._file(shard).exists():
            return False
        try:
            self._payload(shard)
        except FileNotFoundError:  # removed a moment ago
            return False
        except ValueError as error:
            warnings.warn(
                f"{self._file(shard)} is damaged ({error}) and is computed again.", stacklevel=frames_of_package()
            )
            self._file(shard).unlink(missing_ok=True)
            return False
        return True

    def _digest(self, shard: int, payload: bytes | memoryview) -> bytes:
        digest = self.hashed.copy()  # the manifest may be long, and is hashed once
        digest.update(f" {shard} ".encode())
        digest.update(payload)
        return digest.digest()

    def _file(self, shard: int) -> Path:
        return self.folder / f"{shard:08d}.npz"


def beyond(first: Rule, rule: Rule) -> str:
    """What is said of a rule that asks for more than the one by which the run was looked at first."""
    return (
        "`until`, `alpha`, `within` or `groups` asks for more than the first call at this `path` did "
        f"(until={first.until}, alpha={first.alpha:g}, within={first.within:g}, pairs={first.pairs}), whose scores "
        "have been looked at. Each verdict holds by itself, but that of the first call and this one "
        f"(alpha={rule.alpha:g}) no longer hold together with a chance of error of {first.alpha:g}. Where both "
        "count, decide all of it in the first call, on examples not yet scored."
    )


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A line `key: ours, not theirs` for each entry in which two descriptions differ."""
    lines = []
    for key in sorted({*ours, *theirs}):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{prefix}{key}.")
        elif json.dumps(a) != json.dumps(b):  # in text, nan is equal to itself
            lines.append(f"{printable(prefix + key)}: {a!r}, not {b!r}")
    return lines


def other_size(method: str, first: tuple[int, ...], size: tuple[int, ...], example: int) -> str:
    return (
        f"`data` must give attributions of one shape for all examples: those of method {method!r} have shape {first} "
        f"in the first examples, but {size} in example {example}. Pad or resize the examples."
    )


def of_all(shards: Sequence[Mapping[str, np.ndarray[Any, Any]]]) -> dict[str, list[np.ndarray[Any, Any]]]:
    """The arrays of all batches or shards by name.

    One that lacks an array, as every method failed there, has NaN in the shape of its scores.
    """

    def of(shard: Mapping[str, np.ndarray[Any, Any]], key: str) -> np.ndarray[Any, Any]:
        return shard[key] if key in shard else np.full_like(shard[re.split("[ :]", key)[0]], np.nan)

    keys = dict.fromkeys(key for shard in shards for key in shard)
    return {key: [of(shard, key) for shard in shards] for key in keys}


def side_by_side(parts: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Joins batches along the examples; where every method failed, the metric's own axes are missing and are added."""
    further = max((p.shape[2:] for p in parts), key=len)
    full = [
        p if p.shape[2:] == further else np.broadcast_to(p[(..., *[None] * len(further))], p.shape + further)
        for p in parts
    ]
    return np.concatenate(full, axis=1)
