"""Arrays of open files and rows that are changed when they are read: what is scored is what the caller has in hand."""

from __future__ import annotations

import os
from functools import partial

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from captum_ext import changed_attribution, evaluate, shuffled_attribution

N = 6


def scored(method, **options):
    data = [(row, 0) for row in torch.zeros(N, 4)]
    result = evaluate(lambda x: x, data, {"m": method}, {"sum": lambda attributions: attributions.sum(1)}, **options)
    return result.dataset["sum"][0]


@pytest.mark.parametrize("change", ["replaced", "gone", "another folder"])
@pytest.mark.parametrize("kind", ["numpy", "hdf5"])
def test_an_open_array_is_scored_whatever_its_name_leads_to_now(kind, change, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old, new = np.random.default_rng(0).normal(size=(2, N, 4))
    (tmp_path / "elsewhere").mkdir()
    for folder, values in ((tmp_path, old), (tmp_path / "elsewhere", new)):
        np.save(folder / "maps.npy", values)
        with h5py.File(folder / "maps.h5", "w") as file:
            file["maps"] = values
    name = "maps.npy" if kind == "numpy" else "maps.h5"
    opened = np.load(name, mmap_mode="r") if kind == "numpy" else h5py.File(name)["maps"]
    if change == "replaced":
        os.replace(tmp_path / "elsewhere" / name, name)
    elif change == "gone":
        os.remove(name)
    else:
        monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_array_equal(scored(opened), old.sum(1))


@pytest.mark.parametrize("make", [shuffled_attribution, partial(changed_attribution, change=torch.neg)])
def test_open_arrays_and_changed_rows_are_changed_too(make, tmp_path):
    values = np.random.default_rng(0).normal(size=(N, 4))
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["maps"] = values
    expected = make(torch.from_numpy(values))
    with h5py.File(tmp_path / "maps.h5") as file:
        for stored in (file["maps"], xr.DataArray(values, dims=("example", "feature"))):
            changed = make(stored)
            torch.testing.assert_close(changed[[0, 3, 1]], expected[[0, 3, 1]])
            again = changed_attribution(changed, torch.abs)
            torch.testing.assert_close(again[[2, 0]], expected[[2, 0]].abs())


def test_an_array_open_for_writing_is_read_in_any_order(tmp_path):
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["maps"] = values = np.random.default_rng(0).normal(size=(N, 4))
        found = scored(file["maps"], order="shuffled").sortby("example")
    np.testing.assert_array_equal(found, values.sum(1))


def test_an_array_of_zarr_is_scored_and_changed():
    zarr = pytest.importorskip("zarr")
    values = np.random.default_rng(0).normal(size=(N, 4))
    stored = zarr.array(values)
    np.testing.assert_array_equal(scored(stored, order="shuffled").sortby("example"), values.sum(1))
    torch.testing.assert_close(changed_attribution(stored, torch.neg)[[2, 0]], -torch.from_numpy(values)[[2, 0]])
