"""Where results go: beside others' files, from a folder that changes, by two calls at once, and only once."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from captum_ext import IncompleteRun, attribute_dataset, load
from captum_ext.evaluation.formats import MAPS

from .runs import METHODS, N, Net, examples, mean_of_attributions, run, stored

FEW = {"saliency": METHODS["saliency"], "random": METHODS["random"]}
METRIC = {"mean": mean_of_attributions}


class Eventful:
    """The examples; before it gives one of them for the first time, something happens."""

    def __init__(self, at, event):
        self.rows, self.at, self.event = examples(), at, event

    def __len__(self):
        return N

    def __getitem__(self, index):
        if index == self.at and self.event is not None:
            event, self.event = self.event, None
            event()
        return self.rows[index]


def scored(path, data=None, **options):
    return run(path=path, data=data, methods=FEW, metrics=METRIC, batch_size=1, **options)


def attributed(path, data=None):
    attribute_dataset(Net(), examples() if data is None else data, FEW, path, batch_size=1)


CALLS = {"evaluate": scored, "attribute_dataset": attributed}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def state_of(path):
    return path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino


NO_NAMES = {"too long": "x" * 230, "NUL": "a\0b.h5", "half of a pair": "\ud800.h5"}


@every_call
@pytest.mark.parametrize("kind", NO_NAMES)
def test_a_path_that_no_file_can_have_is_refused_before_any_work(kind, call, tmp_path):
    with pytest.raises(ValueError, match=r"`path` .* cannot be the name of a file"):
        call(os.path.join(tmp_path, NO_NAMES[kind]), data=Eventful(0, pytest.fail))
    assert not [*tmp_path.iterdir()]


@every_call
def test_a_file_in_place_of_the_folder_of_shards_is_named(call, tmp_path):
    (tmp_path / "run.h5.parts").touch()
    with pytest.raises(FileExistsError, match=r"`path` needs the folder .*run\.h5\.parts, but a file is there"):
        call(tmp_path / "run.h5")


@every_call
def test_a_link_to_nothing_is_not_replaced(call, tmp_path):
    (tmp_path / "run.h5").symlink_to(tmp_path / "elsewhere.h5")
    with pytest.raises(FileExistsError, match=r"`path` .*run\.h5 exists already"):
        call(tmp_path / "run.h5")
    assert (tmp_path / "run.h5").is_symlink()


@pytest.mark.parametrize("path", [None, 5, b"run.h5"])
def test_what_is_loaded_must_be_a_path(path):
    with pytest.raises(TypeError, match=r"`path` must be a string or an os\.PathLike"):
        load(path)


@every_call
def test_a_finished_run_is_not_written_again(call, tmp_path):
    call(tmp_path / "run.h5")
    before = state_of(tmp_path / "run.h5")
    call(tmp_path / "run.h5")
    assert state_of(tmp_path / "run.h5") == before


def test_a_result_of_other_data_is_written_again_if_only_its_shards_are_gone(tmp_path):
    scored(tmp_path / "run.h5")
    for file in (tmp_path / "run.h5.parts").iterdir():
        file.unlink()
    result = scored(tmp_path / "run.h5", data=[(2 * x, target) for x, target in examples()])
    assert load(tmp_path / "run.h5").dataset.identical(result.dataset)


@every_call
@pytest.mark.parametrize("at", [0, 1, 4, N - 1])
def test_two_calls_on_one_path_both_end_well(call, at, tmp_path):
    """The other begins and ends while this one is at an example."""
    path = tmp_path / "run.h5"
    call(path, Eventful(at, lambda: call(path, Eventful(None, None))))
    call(tmp_path / "alone.h5", Eventful(None, None))
    assert contents(path) == contents(tmp_path / "alone.h5")
    assert (call is scored) == (tmp_path / "run.h5.parts").exists()


def contents(path):
    with h5py.File(path) as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    scores = {
        name: array for name, array in found.items() if not name.startswith(MAPS)
    }  # beside which is the time taken
    return {name: np.asarray(array).tobytes() for name, array in scores.items() if array.dtype != object}


def test_another_runs_call_does_not_end_well_by_that(tmp_path):
    """The shards of this run are gone, and what is at the path is not its result."""
    path = tmp_path / "run.h5"

    def meddle():
        for file in (tmp_path / "run.h5.parts").iterdir():
            file.unlink()
        path.write_text("mine")

    with pytest.raises(IncompleteRun):
        attributed(path, Eventful(N - 1, meddle))
    assert path.read_text() == "mine"


@every_call
def test_files_of_others_neither_disturb_nor_go(call, tmp_path):
    path, parts = tmp_path / "run[1].h5", tmp_path / "run[1].h5.parts"
    parts.mkdir()
    (parts / ".DS_Store").write_text("mine")
    with pytest.raises(ValueError, match="Example 4 of `data` could not be loaded"):
        call(path, Eventful(4, lambda: 1 / 0))
    others = ["notes.txt", "._00000001.npz", "mine.npz", ".nfs0001", "00000001.npz~", "manifest.json~", "old/a.npz"]
    beside = [f"{path.name}{end}" for end in ("~", ".a-b-c-12345678.tmp", ".zzzzzzzz-1-12345678.tmp")]
    files = [*(parts / name for name in others), *(tmp_path / name for name in [*beside, "run1.h5.00000000-1.tmp"])]
    (parts / "old").mkdir()
    for file in files:
        file.write_text("mine")
    call(path)
    assert [f for f in [*files, parts / ".DS_Store"] if not f.is_file() or f.read_text() != "mine"] == []
    call(tmp_path / "alone.h5")
    assert contents(path) == contents(tmp_path / "alone.h5")


# ---- the working folder changes


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here", tmp_path / "there"


@every_call
@pytest.mark.parametrize("at", [0, 4])
def test_a_relative_path_is_taken_from_where_the_call_began(call, at, folders):
    here, there = folders
    call("run.h5", Eventful(at, lambda: os.chdir(there)))
    assert (here / "run.h5").is_file()
    assert [*there.iterdir()] == []


def test_stored_attributions_are_read_from_where_the_call_began(folders):
    _, there = folders
    attributed("maps.h5")
    result = run(data=Eventful(0, lambda: os.chdir(there)), methods={"saliency": "maps.h5"})
    assert (result.dataset["deletion"].values == run(methods=stored("saliency")).dataset["deletion"].values).all()


def test_maps_of_a_report_are_read_from_where_the_call_began(folders):
    pytest.importorskip("jinja2")
    here, there = folders
    attributed("maps.h5")
    scored(None).report("page.html", Eventful(0, lambda: os.chdir(there)), "maps.h5")
    assert (here / "page.html").is_file()
    assert 'class="drawing"' in (here / "page.html").read_text()  # the bars of a table


def test_files_of_attribench_stay_where_they_were(folders):
    from captum_ext.attribench.data import AttributionsDatasetWriter, HDF5Dataset, HDF5DatasetWriter

    here, there = folders
    maps, samples = AttributionsDatasetWriter("maps.h5", 2), HDF5DatasetWriter("samples.h5", 2)
    os.chdir(there)
    maps.write([0, 1], np.zeros((2, 3)), "zero")
    samples.write(np.ones((2, 3)), [0, 1])
    os.chdir(here)
    opened = HDF5Dataset("samples.h5")
    os.chdir(there)
    assert opened[1][1] == 1
    assert [*there.iterdir()] == []
    assert {f.name for f in Path(here).iterdir()} == {"maps.h5", "samples.h5"}
