"""What shards hold is read once, as it was written, and joined without a difference."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest

from captum_ext.evaluation import contents
from captum_ext.evaluation.contents import contents_of
from captum_ext.evaluation.cost import TOGETHER, table
from captum_ext.evaluation.npz import as_npz, from_npz
from captum_ext.evaluation.results import assemble
from captum_ext.evaluation.store import ShardStore

from .runs import run

MANIFEST = {"examples": 20, "shard_size": 2, "methods": {"a": 0, "b": 0}, "versions": {}, "seed": 1}


def score(attributions):
    return attributions.sum(1)


@pytest.fixture
def store(tmp_path):
    """Ten shards; in the third every method failed, so that the scores have no axis of their own and no noise."""
    store = ShardStore(tmp_path / "parts", MANIFEST)
    for shard in range(len(store)):
        scores = np.arange(12.0).reshape(2, 2, 3) + 100 * shard
        notes = {"failures": json.dumps([{"shard": shard}]), "data": "[]", "cost": json.dumps([["a", "m", 1.0, shard]])}
        arrays = {"0": scores, "0 stderr": scores / 8} if shard != 2 else {"0": np.full((2, 2), np.nan)}
        store.write(shard, arrays | {name: np.array(note) for name, note in notes.items()})
    return store


@pytest.mark.parametrize("at_once", [1, 3, 1024])
def test_however_many_shards_are_joined_at_a_time_the_result_is_the_same(at_once, store, monkeypatch):
    monkeypatch.setattr(contents, "AT_ONCE", at_once)
    found = contents_of(store)
    dataset = assemble(found, {"m": score}, {"m": {}})
    expected = np.concatenate([np.arange(12.0).reshape(2, 2, 3) + 100 * s for s in range(10)], axis=1)
    expected[:, 4:6] = np.nan
    np.testing.assert_array_equal(dataset["m"].values, expected)
    np.testing.assert_array_equal(dataset["m stderr"].values, expected / 8)
    assert [f["shard"] for f in json.loads(dataset.attrs["failures"])] == [*range(10)]
    assert found.costs.table().values.tolist() == [["m", "a", 10.0, 45.0]]
    assert len(found.pieces) == {1: 10, 3: 5, 1024: 3}[at_once]


def test_each_shard_is_read_once_for_the_result_and_parsed_nowhere_else(tmp_path, monkeypatch):
    run(path=tmp_path / "run.h5", shard_size=1)
    read = []
    monkeypatch.setattr(ShardStore, "read", lambda self, s, one=ShardStore.read: read.append(s) or one(self, s))
    run(path=tmp_path / "run.h5", shard_size=1, verify="off")
    assert read == [*range(8)]


def test_rows_of_a_model_that_is_no_module_are_unknown_and_do_not_hide_those_of_others():
    unknown, known = ([json.dumps([["a", "m", 1.0, rows]])] for rows in (math.nan, 2.0))
    assert table(known + unknown + known, ["a"])["rows"].tolist() == [4.0]
    assert math.isnan(table(unknown * 2, ["a"])["rows"].item())
    assert table([json.dumps([["b", "m", 1.0, 2.0]])], ["a"])["attribution"].item() == TOGETHER


ARRAYS = {
    "scores": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
    "in Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "empty": np.frombuffer(b"", np.uint8),
    "empty rows": np.empty((0, 3)),
    "text": np.array("[é]"),
    "of the other byte order": np.arange(3, dtype=">i4"),
    "named columns": np.array([(1, 2.0)], dtype=[("á", "i4"), ("b", "f8")]),
    "number": np.array(3),
    "no.npy": np.array([True, False]),
}


def test_arrays_are_read_as_numpy_reads_them():
    content = as_npz(ARRAYS)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        theirs = {name: file[name] for name in file.files}
    ours = from_npz(content)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)
        assert (ours[name].dtype, ours[name].shape) == (array.dtype, array.shape)
        assert ours[name].flags.writeable


def test_an_array_of_objects_is_not_read():
    file = io.BytesIO()
    np.savez(file, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="would be a pickle"):
        from_npz(file.getvalue())
