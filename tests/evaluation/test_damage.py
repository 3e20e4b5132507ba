"""A damaged file is one clear error, or what it was: never another number. Nothing outside a result is read."""

from __future__ import annotations

import json
import os
import random
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from captum_ext import Evaluation, attribute_dataset, load, metrics
from captum_ext.attribench.data import AttributionsDataset, AttributionsDatasetWriter
from captum_ext.attribench.functional.metrics.impact_coverage import read_patches
from captum_ext.attribench.result import InfidelityResult, MetricResult
from captum_ext.evaluation import formats
from captum_ext.evaluation.attributions_file import open_attributions
from captum_ext.evaluation.checksums import MARK, SUMS

from .runs import METHODS, Net, examples, run, shrunk

FLIPS = 150  # places in a file, drawn and at its ends
RESULT = "is not a result of captum_ext, or it is damaged"


@pytest.fixture(scope="module")
def result():
    def failing(attributions):
        raise ArithmeticError("nothing")

    some = {"deletion": metrics.deletion, "curve/é": metrics.deletion_curve, "failing": failing}
    return run(metrics={**some, "n": lambda attributions, inputs: inputs.sum(1)}, on_error="record", stderr=True)


def saved(result, format, path):
    if format == "zarr":
        pytest.importorskip("zarr")
    result.save(path, format)
    return path


def files_of(path):
    return sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]


def flips(file, seed=0):
    """The file's contents with one bit changed, at many places."""
    whole, draw = file.read_bytes(), random.Random(seed)
    inner = draw.sample(range(len(whole)), min(FLIPS, len(whole)))
    for place in {*range(min(16, len(whole))), *range(max(len(whole) - 64, 0), len(whole)), *inner}:
        yield whole[:place] + bytes([whole[place] ^ (1 << draw.randrange(8))]) + whole[place + 1 :]


def is_refused(is_unchanged, message):
    """Whether that is an error with the message; if not, nothing is changed."""
    try:
        unchanged = is_unchanged()
    except ValueError as error:
        if message not in str(error):
            raise
        return True
    assert unchanged
    return False


@pytest.mark.parametrize("format", formats.FORMATS)
def test_a_flipped_bit_of_a_result_is_an_error_or_without_effect(format, result, tmp_path):
    path = saved(result, format, tmp_path / "result")
    files, errors = files_of(path), 0
    expected = load(path).dataset
    for file in random.Random(0).sample(files, min(8, len(files))):
        whole = file.read_bytes()
        for damaged in flips(file):
            file.write_bytes(damaged)
            errors += is_refused(lambda: load(path).dataset.identical(expected), f"`path` {path} {RESULT}")
        file.write_bytes(whole)
    assert load(path).dataset.identical(expected)
    assert errors > FLIPS


@pytest.mark.parametrize("format", formats.FORMATS)
def test_a_file_cut_off_or_missing_is_an_error(format, result, tmp_path):
    for file in files_of(saved(result, format, tmp_path / "result")):
        whole = file.read_bytes()
        for share in (0, 1 / 2, 0.99):
            file.write_bytes(whole[: int(share * len(whole))])
            refused = is_refused(lambda: load(tmp_path / "result").dataset.identical(result.dataset), RESULT)
            assert refused or file.name == SUMS or not whole or len(whole) * (1 - share) < 64
        if format != "hdf5" and file.name != SUMS:
            file.unlink()
            with pytest.raises(ValueError, match=RESULT):
                load(tmp_path / "result")
        file.write_bytes(whole)


def test_every_array_of_a_result_has_the_checksum_of_hdf5(result, tmp_path):
    result.save(tmp_path / "result")
    with h5py.File(tmp_path / "result") as file:
        maps = file[formats.MAPS]["npz"]
        numbers = {name: array for name, array in file.items() if name != formats.MAPS and array.dtype.kind in "biuf"}
        assert all(array.fletcher32 for name, array in numbers.items() if name in result.dataset)
        assert maps.fletcher32
        assert len(numbers) > 4


def test_results_without_checksums_are_read_as_before(result, tmp_path):
    """Version 0.1.0 wrote none; and who changes a table on purpose may remove them."""
    result.save(tmp_path / "result")
    whole = (tmp_path / "result").read_bytes()
    assert whole[-32 - len(MARK) : -32] == MARK
    (tmp_path / "result").write_bytes(whole[: -32 - len(MARK)])
    assert load(tmp_path / "result").dataset.identical(result.dataset)
    result.save(tmp_path / "tables", "csv")
    table = tmp_path / "tables" / json.loads((tmp_path / "tables/metadata.json").read_text())["variables"]["n"]["file"]
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",7"]) + "\n")
    with pytest.raises(ValueError, match=r"if you changed it on purpose, remove SHA256SUMS from the folder"):
        load(tmp_path / "tables")
    (tmp_path / "tables" / SUMS).unlink()
    assert load(tmp_path / "tables").dataset["n"].values[-1, -1] == 7


@pytest.mark.parametrize("format", ["csv", "zarr"])
def test_files_of_others_in_a_folder_do_not_matter(format, result, tmp_path):
    path = saved(result, format, tmp_path / "result")
    (path / ".DS_Store").write_text("mine")
    (path / "notes").mkdir()
    assert load(path).dataset.identical(result.dataset)


@pytest.mark.parametrize("failures", ["7", "{}", "[1]", "no JSON", '"x"', 3, "[" * 100_000])
def test_failures_that_are_no_list_are_one_error(failures, result, tmp_path):
    damaged = Evaluation(result.dataset.assign_attrs(failures=failures))
    damaged.save(tmp_path / "result", "csv")
    with pytest.raises(ValueError, match=r"`path` .*result is not a result .*damaged"):
        load(tmp_path / "result")
    if failures != "[" * 100_000:
        for door in (lambda: damaged.failures, lambda: repr(damaged), damaged._repr_html_, lambda: damaged.merge()):
            with pytest.raises(ValueError, match="attribute `failures` of the results must be a list of mappings"):
                door()


# ---- nothing outside


@pytest.mark.parametrize("way", ["..", "absolute", "link", "linked folder", "metadata", "fifo", "number"])
def test_a_table_reads_nothing_outside_its_folder(way, result, tmp_path):
    (tmp_path / "outside").mkdir()
    secret = tmp_path / "outside" / "secret.csv"
    secret.write_text("first line\ntoken 12345\n")
    folder = tmp_path / "result"
    result.save(folder, "csv")
    (folder / SUMS).unlink()
    about = json.loads((folder / "metadata.json").read_text())
    entry = about["variables"]["deletion"]
    if way in ("link", "linked folder"):
        (folder / "link").symlink_to(secret if way == "link" else secret.parent)
    if way == "fifo":
        os.mkfifo(folder / "fifo")
    names = {"..": "../outside/secret.csv", "absolute": str(secret), "linked folder": "link/secret.csv", "number": 1}
    entry["file"] = names.get(way, way)
    (folder / "metadata.json").write_text(json.dumps(about))
    if way == "metadata":
        (folder / "metadata.json").rename(tmp_path / "outside" / "metadata.json")
        (folder / "metadata.json").symlink_to(tmp_path / "outside" / "metadata.json")
    with pytest.raises(ValueError, match=RESULT) as error:
        load(folder)
    assert "12345" not in str(error.value)


@pytest.mark.parametrize("way", ["link", "bytes", "virtual"])
def test_an_hdf5_file_reads_nothing_outside(way, result, tmp_path):
    result.save(tmp_path / "other")
    result.save(tmp_path / "result")
    with h5py.File(tmp_path / "result", "a") as file:
        shape = file["deletion"].shape
        del file["deletion"]
        outside(file, way, "deletion", shape, tmp_path / "other")
    with pytest.raises(ValueError, match=f"{RESULT}.*deletion.* is not in the file itself"):
        load(tmp_path / "result")


def outside(group, way, name, shape, other):
    if way == "link":
        group[name] = h5py.ExternalLink(str(other), name)
    elif way == "bytes":
        group.create_dataset(name, shape, "f8", external=[(str(other), 0, h5py.h5f.UNLIMITED)])
    else:
        layout = h5py.VirtualLayout(shape, "f8")
        layout[:] = h5py.VirtualSource(str(other), name, shape=shape)
        group.create_virtual_dataset(name, layout)


# ---- attributions


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    attribute_dataset(Net(), examples(), {name: METHODS[name] for name in ("saliency", "product")}, path)
    return path


def read(path, method="saliency"):
    return [tensor[[0, 3, 7]].tobytes() for tensor in open_attributions(path, method)]


def test_a_flipped_bit_of_attributions_is_an_error_or_without_effect(maps, tmp_path):
    path, expected, errors = Path(shutil.copy(maps, tmp_path)), [read(maps), read(maps, "product")], 0
    for damaged in flips(maps):
        path.write_bytes(damaged)
        errors += is_refused(lambda: [read(path), read(path, "product")] == expected, str(path))
    assert errors > 20


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def text(path):
    path.write_text("not an HDF5 file")


def changed(change):
    def damage(path):
        with h5py.File(path, "a") as file:
            change(file)

    return damage


def replaced(name, value):
    def change(file):
        del file[name]
        if value is not None:
            file[name] = value

    return changed(change)


def emptied(file):
    del file["saliency"], file["product"]


def linked(file):
    del file["saliency"]
    file["saliency"] = h5py.ExternalLink("other.h5", "saliency")


DAMAGES = {
    "cut off": cut_off,
    "text": text,
    "empty": lambda path: path.write_bytes(b""),
    "not ours": changed(lambda file: file.attrs.pop("captum_ext")),
    "no methods": changed(emptied),
    "an array in place of a method": replaced("saliency", np.zeros((8, 4))),
    "a method without tensors": replaced("saliency/0", None),
    "words": replaced("saliency/0", "words"),
    "one number": replaced("saliency/0", 1.0),
    "tensors of other lengths": changed(lambda file: file.create_dataset("saliency/1", data=np.zeros((7, 4)))),
    "a tensor is missing": changed(lambda file: file.move("saliency/0", "saliency/1")),
    "another name": changed(lambda file: file.move("saliency/0", "saliency/first")),
    "another file's": changed(linked),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_attributions_are_one_error_with_the_path(damage, maps, tmp_path):
    path = Path(shutil.copy(maps, tmp_path))
    DAMAGES[damage](path)
    with pytest.raises(ValueError, match=f"Method 'saliency': {path} is not a file of attributions .*or it is damaged"):
        run(methods={"saliency": path})


def test_attributions_of_another_number_of_examples_are_named_with_their_file(maps, tmp_path):
    path = Path(shutil.copy(maps, tmp_path))
    replaced("saliency/0", np.zeros((7, 4)))(path)
    with pytest.raises(ValueError, match=f"{path}.* 7 rows, but `data` has 8 examples"):
        run(methods={"saliency": path})


def test_a_method_may_have_more_than_ten_tensors(tmp_path):
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file.attrs["captum_ext"] = "0.2.0"
        for i in range(12):
            file[f"a/{i}"] = np.full((3, 1), i)
    assert [int(tensor[[0]][0, 0]) for tensor in open_attributions(tmp_path / "maps.h5", "a")] == [*range(12)]


# ---- AttriBench's files


def test_a_flipped_bit_of_attribenchs_result_is_an_error_or_without_effect(tmp_path):
    result = InfidelityResult(["a", "b"], ["noise"], ["linear"], 5)
    result.tree.write(
        slice(None), np.arange(5.0)[:, None], method="a", perturbation_generator="noise", activation_fn="linear"
    )
    path = tmp_path / "result.h5"
    result.save(path)
    for damaged in flips(path):
        path.write_bytes(damaged)
        is_refused(lambda: MetricResult.load(path) and result.is_at(path), f"`path` {path}")


def test_a_flipped_bit_of_attribenchs_attributions_is_an_error_or_without_effect(tmp_path):
    writer = AttributionsDatasetWriter(tmp_path / "maps.h5", 50)
    writer.write(range(50), np.arange(600.0).reshape(50, 3, 4), "a")
    samples, labels = torch.zeros(50, 3, 4), torch.zeros(50, dtype=torch.long)
    with h5py.File(writer.path) as file:
        at = file["a"].id.get_chunk_info(0).byte_offset
    whole = writer.path.read_bytes()
    for place in range(at, at + 2400, 60):
        writer.path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=f"`path` {writer.path} is damaged"):
            AttributionsDataset(samples, labels, path=writer.path).maps("a", [0, 49])


@pytest.mark.parametrize(
    "content",
    [b"", b"no patch", {"a": torch.zeros(1)}, torch.zeros(3), shrunk],
    ids=["empty", "text", "dict", "three axes too few", "function"],
)
def test_a_damaged_patch_is_one_error_with_the_path(content, tmp_path):
    file = tmp_path / "patch_0.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=f"`patch_folder`: {file} is not a patch"):
        read_patches(tmp_path)


def test_patches_are_read_beside_files_of_others(tmp_path):
    torch.save(torch.ones(1, 3, 2, 2), tmp_path / "patch_0.pt")
    (tmp_path / "._patch_0.pt").write_text("mine")
    assert read_patches(tmp_path)[0].shape == (3, 2, 2)


def test_a_file_with_a_seal_is_one_for_other_readers_too(result, tmp_path):
    result.save(tmp_path / "result.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = xr.load_dataset(tmp_path / "result.h5", engine="h5netcdf")
    assert (other["deletion"].values == result.dataset["deletion"].values).all()
