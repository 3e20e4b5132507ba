"""Shards are whole or missing, and belong to one run."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from captum_ext import IncompleteRun, metrics
from captum_ext.evaluation.files import _this_machine, check_writable, sweep, temporary_folder, written_aside
from captum_ext.evaluation.fingerprint import described
from captum_ext.evaluation.formats import save_hdf5
from captum_ext.evaluation.store import ShardStore, differences

MANIFEST = {"examples": 8, "shard_size": 3, "seed": 0, "metrics": {"deletion": {"n_steps": 5}}}
ARRAYS = {"0": np.arange(6.0).reshape(2, 3), "failures": np.array("[]")}


@pytest.fixture
def store(tmp_path):
    return ShardStore(tmp_path / "parts", MANIFEST)


@pytest.fixture
def full(store):
    for shard in range(len(store)):
        store.write(shard, ARRAYS)
    return store


# ---- shards


def test_shards_cover_every_example_once(store):
    assert [list(store.edges(s)) for s in range(len(store))] == [[0, 1, 2], [3, 4, 5], [6, 7]]


@pytest.mark.parametrize(("examples", "size", "shards"), [(8, 8, 1), (8, 4, 2), (8, 100, 1), (1, 1, 1)])
def test_a_run_has_as_many_shards_as_it_needs(examples, size, shards, tmp_path):
    store = ShardStore(tmp_path / "parts", {"examples": examples, "shard_size": size})
    assert len(store) == shards
    assert [i for s in range(shards) for i in store.edges(s)] == list(range(examples))


def test_what_is_written_is_read(store):
    store.write(1, ARRAYS)
    read = store.read(1)
    assert read.keys() == ARRAYS.keys()
    np.testing.assert_array_equal(read["0"], ARRAYS["0"])
    assert store.missing() == [0, 2]


def test_a_shard_holds_no_pickle(store):
    with pytest.raises(ValueError, match="would be a pickle"):
        store.write(0, {"0": np.array([object()])})
    assert store.missing() == [0, 1, 2]
    assert [f.name for f in store.folder.iterdir()] == ["manifest.json"]


def test_a_missing_shard_is_never_a_success(full):
    full.verify()
    (full.folder / "00000001.npz").unlink()
    with pytest.raises(
        IncompleteRun, match=r"1 of 3 shards are missing in .*parts: examples 3 to 5\. Repeat the call to resume"
    ):
        full.verify()


def test_another_process_sees_the_same_shards(full):
    assert ShardStore(full.folder, MANIFEST).missing() == []


def test_a_store_can_be_removed(full):
    full.remove()
    assert not full.folder.exists()


DAMAGES = {
    "emptied": lambda whole: b"",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "cut off by a byte": lambda whole: whole[:-1],
    "text": lambda whole: b"not a shard",
    "zeros": lambda whole: bytes(len(whole)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_missing_and_said_to_be(damage, full):
    file = full.folder / "00000001.npz"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.warns(UserWarning, match=r"00000001.npz is damaged \(.*\) and is computed again"):
        assert full.missing() == [1]
    assert not file.exists()


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_noticed_or_without_effect(bit, full):
    """In any byte of the file."""
    file = full.folder / "00000001.npz"
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        if full.missing() == []:
            read = full.read(1)
            assert read.keys() == ARRAYS.keys(), place
            assert all(read[k].tobytes() == ARRAYS[k].tobytes() for k in ARRAYS), place


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_a_shard_of_other_examples_is_missing(full):
    (full.folder / "00000001.npz").write_bytes((full.folder / "00000000.npz").read_bytes())
    assert full.missing() == [1]


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_a_shard_of_another_run_is_missing(full, tmp_path):
    other = ShardStore(tmp_path / "other", {**MANIFEST, "seed": 1})
    other.write(1, {**ARRAYS, "0": ARRAYS["0"] + 1})
    (full.folder / "00000001.npz").write_bytes((other.folder / "00000001.npz").read_bytes())
    assert full.missing() == [1]


# ---- the manifest


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seed": 1}, "seed: 1, not 0"),
        ({"examples": 9}, "examples: 9, not 8"),
        ({"metrics": {"deletion": {"n_steps": 6}}}, "metrics.deletion.n_steps: 6, not 5"),
        ({"metrics": {}}, r"metrics.deletion: None, not {'n_steps': 5}"),
        ({"new": True}, "new: True, not None"),
    ],
)
def test_another_run_is_refused_with_what_differs(change, line, full):
    with pytest.raises(
        ValueError, match=rf"`path` holds another run \(.*parts\); it differs in:\n  {line}\nChoose another"
    ):
        ShardStore(full.folder, {**MANIFEST, **change})
    assert ShardStore(full.folder, MANIFEST).missing() == []


def test_all_differences_are_listed():
    assert differences({"a": 1, "b": {"c": 2, "d": 3}, "e": 0}, {"a": 2, "b": {"c": 2, "d": 4}, "e": 0}) == [
        "a: 1, not 2",
        "b.d: 3, not 4",
    ]


def test_a_manifest_is_the_same_after_it_was_written(tmp_path):
    """Tuples come back from JSON as lists."""
    manifest = {**MANIFEST, "n": (1, 2), "σ": "ü"}
    ShardStore(tmp_path / "parts", manifest)
    ShardStore(tmp_path / "parts", manifest)


def test_an_argument_that_is_nan_does_not_make_another_run(tmp_path):
    ShardStore(tmp_path / "parts", {**MANIFEST, "baselines": float("nan")})
    ShardStore(tmp_path / "parts", {**MANIFEST, "baselines": float("nan")})


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_manifest_is_named(text, full):
    (full.folder / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        ShardStore(full.folder, MANIFEST)


def test_a_folder_that_is_not_a_store_is_refused(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "thesis.txt").write_text("mine")
    with pytest.raises((ValueError, FileExistsError), match="parts"):
        ShardStore(tmp_path / "parts", MANIFEST)


# ---- what describes an argument


class Halving:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x / self.by


def scaled_by(factor):
    return lambda x: x * factor


def with_default(factor):
    return lambda x, factor=factor: x * factor


def with_keyword_only_default(factor):
    def scaled(attributions, *, factor=factor):
        return attributions.sum(1) * factor

    return scaled


class OfMethods:
    """Its method has a default that an edit would change."""

    def __init__(self, factor):
        self.score = with_keyword_only_default(factor).__get__(self)


def module_level(source):
    """A function of this module as an edit of it would leave it."""
    space = {"__name__": __name__}
    exec(source, space)
    return space["edited"]


DIFFERENT = {
    "numbers": (1, 2),
    "a number and its text": (1, "1"),
    "tensors": (torch.zeros(3), torch.ones(3)),
    "shapes": (torch.zeros(4), torch.zeros(2, 2)),
    "types": (torch.zeros(3), torch.zeros(3, dtype=torch.float64)),
    "arrays": (np.zeros(3), np.ones(3)),
    "weights": (nn.Linear(2, 2), nn.Linear(2, 2)),
    "tuples": ((1, 2), (2, 1)),
    "partials": (partial(metrics.deletion, n_steps=5), partial(metrics.deletion, n_steps=6)),
    "partials by position": (partial(pow, 2), partial(pow, 3)),
    "partials of other functions": (partial(metrics.deletion, n_steps=5), partial(metrics.insertion, n_steps=5)),
    "functions": (torch.relu, torch.tanh),
    "lambdas": (lambda x: x + 1, lambda x: x + 2),
    "what a lambda calls": (lambda x: x.sin(), lambda x: x.cos()),
    "closures": (scaled_by(1), scaled_by(2)),
    "defaults of a function": (with_default(1), with_default(2)),
    "keyword-only defaults of a function": (with_keyword_only_default(1), with_keyword_only_default(2)),
    "keyword-only defaults in a partial": (
        partial(with_keyword_only_default(1), factor=3),
        partial(with_keyword_only_default(2), factor=3),
    ),
    "keyword-only defaults in a closure": (
        scaled_by(with_keyword_only_default(1)),
        scaled_by(with_keyword_only_default(2)),
    ),
    "keyword-only defaults of a method": (OfMethods(1).score, OfMethods(2).score),
    "sets": ({1}, {2}),
    "paths": (Path("a"), Path("b")),
    "types of torch": (torch.float32, torch.float64),
    "objects": (Halving(2), Halving(3)),
    "methods of objects": (Halving(2).__call__, Halving(3).__call__),
    "an edited function": (module_level("def edited(x): return x + 1"), module_level("def edited(x): return x + 2")),
    "architectures with the same weights": (nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_is_described_differently(kind):
    a, b = DIFFERENT[kind]
    assert json.dumps(described(a)) != json.dumps(described(b))


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_is_the_same_is_described_alike(kind):
    for value in DIFFERENT[kind]:
        assert json.loads(json.dumps(described(value))) == json.loads(json.dumps(described(value)))


def test_the_same_lambda_made_again_is_described_alike():
    assert described(scaled_by(2)) == described(scaled_by(2))
    assert described(torch.ones(3)) == described(torch.ones(3))


def test_a_description_does_not_depend_on_layout_or_address():
    x = torch.arange(6.0).reshape(2, 3)
    assert described(x.T.contiguous().T) == described(x)
    assert "0x" not in json.dumps([described(v) for pair in DIFFERENT.values() for v in pair])


def test_a_function_that_calls_itself_is_described():
    def falling(n):
        return n and falling(n - 1)

    assert "falling" in json.dumps(described(falling))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int8, torch.complex64])
def test_tensors_of_any_type_are_described(dtype):
    assert described(torch.zeros(2, 2, dtype=dtype)) != described(torch.ones(2, 2, dtype=dtype))


# ---- files


def test_a_file_is_there_when_all_of_it_is_written(tmp_path):
    with written_aside(tmp_path / "a.txt") as aside:
        aside.write_text("half")
        assert not (tmp_path / "a.txt").exists()
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("kind", ["file", "folder", "nothing yet"])
def test_a_failure_while_writing_leaves_nothing(kind, tmp_path):
    def write():
        if kind == "file":
            aside.write_text("half")
        elif kind == "folder":
            aside.mkdir()
            (aside / "a").write_text("half")

    with pytest.raises(OSError, match="no space left"), written_aside(tmp_path / "a") as aside:
        fail_after(write)
    assert list(tmp_path.iterdir()) == []


def fail_after(write):
    write()
    raise OSError("no space left")


def test_a_failure_while_writing_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError, match="no space left"), written_aside(tmp_path / "a") as aside:
        fail_after(lambda: aside.write_text("new"))
    assert (tmp_path / "a").read_text() == "old"


def test_a_file_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (order.append("folder" if is_folder(f) else "file"), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda *p: (order.append("rename"), replace(*p)))
    with written_aside(tmp_path / "a") as aside:
        aside.write_text("all")
    assert order == ["file", "rename", "folder"]


def is_folder(handle):
    return stat.S_ISDIR(os.fstat(handle).st_mode)


HERE, ELSEWHERE = f"{_this_machine():08x}", "00000000"
DEAD = 2**22 + 1  # above the highest number that Linux gives


def test_half_written_files_are_swept(full):
    (full.folder / f"00000001.npz.{HERE}-{DEAD}-1234abcd.tmp").write_bytes(b"half")
    ShardStore(full.folder, MANIFEST)
    assert sorted(f.name for f in full.folder.iterdir()) == [*(f"{i:08d}.npz" for i in range(3)), "manifest.json"]


def test_a_temporary_folder_is_the_users_and_takes_the_place_of_those_that_killed_processes_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"captum_ext.{HERE}-{DEAD}-0a1b2c3d.tmp"
    left.mkdir()
    (left / "job.pickle").touch()
    with temporary_folder() as folder:
        assert [*tmp_path.iterdir()] == [folder]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with temporary_folder() as other:
            assert folder.exists()
            assert folder != other
    assert [*tmp_path.iterdir()] == []


def test_only_half_written_files_are_swept(tmp_path):
    kept = {f"a.h5.{HERE}-{DEAD}-0a1b2c3d.tmp", "b.npz", "thesis.tmp", "tmp", "a.npz.0a1b2c3d.tmp"}
    for name in {f"a.npz.{HERE}-{DEAD}-0a1b2c3d.tmp", *kept}:
        (tmp_path / name).touch()
    sweep(tmp_path, "*.npz")
    assert {f.name for f in tmp_path.iterdir()} == kept


def test_what_others_are_writing_is_left_to_them(tmp_path):
    """A process that lives, and another machine's that was at it within the hour."""
    names = [f"a.npz.{HERE}-{os.getpid()}-0a1b2c3d.tmp", f"a.npz.{ELSEWHERE}-{DEAD}-0a1b2c3d.tmp"]
    for name in names:
        (tmp_path / name).touch()
    sweep(tmp_path, "*.npz")
    assert {f.name for f in tmp_path.iterdir()} == set(names)
    os.utime(tmp_path / names[1], (0, 0))
    sweep(tmp_path, "*.npz")
    assert {f.name for f in tmp_path.iterdir()} == {names[0]}


def test_a_file_being_written_is_one_that_sweeping_leaves(tmp_path):
    with written_aside(tmp_path / "a.npz") as aside:
        aside.write_text("half")
        sweep(tmp_path, "*.npz")
        assert aside.exists()
    assert [f.name for f in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("make", ["touch", "mkdir"])
def test_a_path_that_exists_is_refused(make, tmp_path):
    getattr(tmp_path / "a", make)()
    with pytest.raises(FileExistsError, match=r"`path` .*a exists already; choose another or remove it first"):
        check_writable(tmp_path / "a")


def test_a_path_in_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "a", tmp_path / "file" / "a"):
        with pytest.raises(
            NotADirectoryError, match=r"`path` .*a cannot be written: .* is not a folder that can be written to"
        ):
            check_writable(path)


def test_a_path_in_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(NotADirectoryError, match=r"`path` .* is not a folder that can be written to"):
        check_writable(tmp_path / "a")


@pytest.mark.parametrize("room", [0, 10])
def test_room_that_is_asked_for_is_there_or_nothing_is_written(room, tmp_path, monkeypatch):
    with written_aside(tmp_path / "a", room=room) as aside:
        assert not aside.exists()
        aside.write_text("all")
    assert (tmp_path / "a").read_text() == "all"

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    if room:
        with (
            pytest.raises(OSError, match=f"No space left on device: {tmp_path} has no room for .* bytes; make some"),
            written_aside(tmp_path / "b", room=room),
        ):
            pytest.fail("it went on")
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


def test_a_result_that_does_not_fit_on_the_disk_leaves_the_process_alive(tmp_path):
    """HDF5 itself would take it down; in a process of its own, whose files may have 2 MB."""
    scores = xr.Dataset({"score": (("attribution", "example"), np.zeros((1, 500_000)))}, coords={"attribution": ["a"]})
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
        try:
            save_hdf5(scores, tmp_path / "run.h5")
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
