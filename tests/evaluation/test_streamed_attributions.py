"""Attributions in a file are read a batch at a time, and written so, however many there are."""

from __future__ import annotations

import tracemalloc
from functools import partial

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from torch.testing import assert_close
from torch.utils.data import DataLoader

from captum_ext import attribute_dataset, evaluate, shuffled_attribution
from captum_ext._version import __version__
from captum_ext.attribench.data import AttributionsDataset, MethodView
from captum_ext.evaluation.engines import payload
from captum_ext.evaluation.job import Job
from captum_ext.evaluation.methods import with_absolute_paths
from captum_ext.evaluation.scorer import Scorer

ROWS, BATCH, MAP = 32, 2, (3, 160, 160)
BYTES = 4 * ROWS * 3 * 160 * 160  # of all maps of a method
DATA = [(torch.full((2,), float(i)), 0) for i in range(ROWS)]
MOST = BYTES / 2  # a few batches, the dozen maps that are kept for a report, and the rest of a run


def model(x):
    return x


def brightest(attributions):
    return attributions.flatten(1).amax(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same maps in every kind of file. That of row i are i, with another value in one place."""
    folder = tmp_path_factory.mktemp("maps")
    with h5py.File(folder / "ours.h5", "w") as ours, h5py.File(folder / "theirs.h5", "w") as theirs:
        ours.attrs["captum_ext"], theirs.attrs["num_samples"] = __version__, ROWS
        arrays = [file.create_dataset(name, (ROWS, *MAP), "f4") for file, name in ((ours, "it/0"), (theirs, "it"))]
        arrays.append(np.lib.format.open_memmap(folder / "maps.npy", "w+", "f4", (ROWS, *MAP)))
        maps = np.broadcast_to(np.arange(ROWS, dtype=np.float32)[:, None, None, None], (ROWS, *MAP)).copy()
        maps[:, 0, 1, 2] = -1
        for array in arrays:
            array[:] = maps
    evaluate(model, DATA[:1], {"it": torch.zeros(1, 2)}, {"it": brightest}, path=folder / "run.h5")  # imports a lot
    return folder


def of_netcdf(folder):
    return xr.open_dataset(folder / "theirs.h5", engine="h5netcdf", phony_dims="sort")["it"]


FORMS = {
    "a path": lambda folder: folder / "ours.h5",
    "an array of an open file": lambda folder: h5py.File(folder / "theirs.h5")["it"],
    "a tuple of one": lambda folder: (h5py.File(folder / "theirs.h5")["it"],),
    "a file of numpy's": lambda folder: np.load(folder / "maps.npy", mmap_mode="r"),
    "a part of one": lambda folder: np.asarray(np.load(folder / "maps.npy", mmap_mode="r"))[:ROWS],
    "a file of netCDF": of_netcdf,
    "AttriBench's": lambda folder: MethodView(AttributionsDataset(DATA, path=folder / "theirs.h5"), "it"),
    "a changed method": lambda folder: shuffled_attribution(folder / "ours.h5"),
}


class Peak:
    """The most bytes that numpy and Python held at once within the block, beyond those before."""

    def __enter__(self):
        tracemalloc.start()
        return self

    def __exit__(self, *_):
        self.bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@pytest.mark.parametrize(
    "form", ["a path", "a file of numpy's", "a file of netCDF", "AttriBench's", "a changed method"]
)
def test_attributions_in_a_file_are_never_all_in_memory(form, folder, tmp_path):
    if form == "a file of netCDF":
        pytest.importorskip("h5netcdf")
    method = FORMS[form](folder)
    run = partial(evaluate, model, DataLoader(DATA, BATCH), {"it": method}, {"it": brightest})
    with Peak() as peak:
        result = run(batch_size=BATCH, path=tmp_path / "run.h5")  # with a path, the maps are in the run's digest
    assert peak.bytes < MOST < BYTES
    assert result.dataset["it"].values.tolist() == [[*range(ROWS)]]


@pytest.mark.parametrize("form", FORMS)
def test_other_processes_read_the_file_themselves(form, folder):
    if form == "a file of netCDF":
        pytest.importorskip("h5netcdf")
    job = Job(
        model=model,
        data=DATA,
        methods=with_absolute_paths({"it": FORMS[form](folder)}),
        metrics={"it": brightest},
        batch_size=BATCH,
    )
    content = payload.packed(job)
    assert len(content) < BYTES / 50
    arrays = Scorer(payload.unpacked(content, payload.digest_of(content))).compute(range(8, 11))
    assert arrays["0"].tolist() == [[*range(8, 11)]]


def test_each_row_of_a_file_is_read_once_and_a_batch_at_a_time(folder, monkeypatch):
    reads = []

    def noted(self, rows, *further):
        reads.append((self.name, rows))
        return read(self, rows, *further)

    read = h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", noted)
    evaluate(model, DATA, {"it": folder / "ours.h5"}, {"one": brightest, "two": brightest}, batch_size=BATCH)
    assert reads == [("/it/0", slice(i, i + BATCH)) for i in range(0, ROWS, BATCH)]


def test_a_changed_file_is_another_run_s(folder, tmp_path):
    maps = np.lib.format.open_memmap(tmp_path / "maps.npy", "w+", "f4", (ROWS, 2))
    run = partial(evaluate, model, DATA, metrics={"it": brightest}, path=tmp_path / "run.h5")
    run(methods={"it": maps})
    run(methods={"it": maps})
    maps[ROWS - 1, 1] = 5
    with pytest.raises((ValueError, FileExistsError), match=r"methods\.it|run\.h5 exists"):
        run(methods={"it": maps})


def test_what_differs_from_its_file_is_kept_as_it_is(folder):
    private = np.load(folder / "maps.npy", mmap_mode="c")
    private[:, 0, 0, 0] = 1000
    result = evaluate(model, DATA, {"it": private, "half": private[:, ::2]}, {"it": brightest})
    assert (result.dataset["it"].values == 1000).all()


class Large(torch.nn.Module):
    """An explanation much larger than its inputs, so that only the maps count."""

    def forward(self, x):
        return x


def large(of_model):
    return lambda inputs: inputs[:, :1, None, None].expand(-1, *MAP).float().clone()


def test_attributions_are_written_batch_by_batch(tmp_path):
    with Peak() as peak:
        attribute_dataset(Large(), DATA, {"one": large, "two": large}, tmp_path / "maps.h5", batch_size=1)
    assert peak.bytes < MOST
    with h5py.File(tmp_path / "maps.h5") as file:
        for name in ("one", "two"):
            assert_close(file[f"{name}/0"][:, 0, 0, 0], np.arange(ROWS, dtype=np.float32))
