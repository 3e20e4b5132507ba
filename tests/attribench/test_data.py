"""Data sets of attributions, and AttriBench's files of samples and attributions."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.utils.data import DataLoader, TensorDataset

from captum_ext.attribench.data import (
    AttributionsDataset,
    AttributionsDatasetWriter,
    GroupedAttributionsDataset,
    HDF5Dataset,
    HDF5DatasetWriter,
    IndexDataset,
)


@pytest.fixture
def written(tmp_path, pixel_maps):
    writer = AttributionsDatasetWriter(tmp_path / "maps.h5", num_samples=5)
    for name, maps in pixel_maps.items():
        writer.write([0, 1, 2], maps[:3].numpy(), name)
        writer.write(np.array([4, 3]), maps[[4, 3]].numpy(), name)
    return tmp_path / "maps.h5"


def test_rows_come_method_by_method_with_their_sample_and_label(dataset, images, labels, pixel_maps):
    assert len(dataset) == 10
    index, sample, label, maps, method = dataset[7]
    assert (index, label, method) == (2, 1, "b")
    assert_array_equal(sample, images[2])
    assert_array_equal(maps, pixel_maps["b"][2])
    assert [row[4] for row in dataset] == ["a"] * 5 + ["b"] * 5


def test_attributions_from_a_file_are_those_from_memory(written, dataset, images, labels):
    stored = AttributionsDataset(images, labels, path=written)
    assert (stored.method_names, stored.num_samples, stored.attributions_shape) == (["a", "b"], 5, (1, 8, 8))
    for ours, theirs in zip(stored, dataset):
        assert_array_equal(ours[3], theirs[3])
        assert (ours[0], ours[2], ours[4]) == (theirs[0], theirs[2], theirs[4])


def test_a_data_set_can_be_pickled_and_read_by_several_processes(written, images, labels):
    stored = pickle.loads(pickle.dumps(AttributionsDataset(images, labels, path=written)))
    stored[0]
    batches = list(DataLoader(stored, batch_size=4, num_workers=2))
    assert torch.cat([b[3] for b in batches]).isfinite().all()
    assert torch.cat([b[0] for b in batches]).tolist() == [0, 1, 2, 3, 4] * 2


def test_methods_are_chosen_and_ordered(images, labels, pixel_maps):
    dataset = AttributionsDataset(images, labels, attributions=pixel_maps, methods=["b"])
    assert (len(dataset), dataset.method_names) == (5, ["b"])
    with pytest.raises(ValueError, match=r"`methods` must be among 'a', 'b', got \['c'\]"):
        AttributionsDataset(images, labels, attributions=pixel_maps, methods=["a", "c"])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_aggregation_is_the_mean_or_the_value_furthest_from_0_with_its_sign(axis, images, labels):
    maps = torch.randn(5, 3, 8, 8)
    mean, furthest = (
        AttributionsDataset(images, labels, attributions={"a": maps}, aggregate_dim=axis, aggregate_method=how)
        for how in ("mean", "max_abs")
    )
    within = axis if axis >= 0 else 3 + axis
    assert_array_equal(mean[2][3], maps[2].mean(within, keepdim=True))
    for found, lane in zip(furthest[2][3].movedim(within, -1).flatten(), maps[2].movedim(within, -1).flatten(0, 1)):
        assert found == max(lane.tolist(), key=abs)
    assert furthest.attributions_shape == tuple(np.delete([3, 8, 8], within))
    assert_array_equal(furthest.maps("a", [1, 2])[1], furthest[2][3])


def test_grouped_rows_have_all_methods(dataset, pixel_maps):
    grouped = GroupedAttributionsDataset(dataset)
    index, _, label, maps = grouped[3]
    assert (len(grouped), index, label) == (5, 3, 0)
    assert_array_equal(maps["b"], pixel_maps["b"][3])
    assert len(list(grouped)) == 5


def test_an_index_goes_with_every_sample(images, labels):
    indexed = IndexDataset(TensorDataset(images, labels))
    assert len(indexed) == 5
    index, sample, label = indexed[4]
    assert (index, label) == (4, 2)
    assert_array_equal(sample, images[4])


def test_recorded_files_are_read(reference):
    data = reference.golden.data("cnn")
    samples = HDF5Dataset(reference.files / "samples.h5")
    assert (len(samples), samples.sample_shape) == (2, (3, 16, 16))
    for row, (sample, label) in enumerate(samples[i] for i in range(2)):
        assert_array_equal(sample, data["samples"][row])
        assert label == data["labels"][row]
    stored = AttributionsDataset(samples, path=reference.files / "attributions.h5", methods=["rand", "grad"])
    assert [row[4] for row in stored] == ["rand", "rand", "grad", "grad"]
    assert_array_equal(stored[3][3], data["attributions_pixel"]["grad"][1])


def test_written_files_are_the_recorded_ones(reference, tmp_path):
    data = reference.golden.data("cnn")
    samples = HDF5DatasetWriter(tmp_path / "samples.h5", num_samples=2)
    samples.write(data["samples"][:1], data["labels"][:1])
    samples.write(data["samples"][1:2], data["labels"][1:2])
    maps = AttributionsDatasetWriter(tmp_path / "attributions.h5", num_samples=2)
    for method, of_method in data["attributions_pixel"].items():
        maps.write(np.arange(2), of_method[:2], method)
    for name in ("samples.h5", "attributions.h5"):
        with h5py.File(tmp_path / name) as ours, h5py.File(reference.files / name) as theirs:
            assert set(ours) == set(theirs)
            for array in theirs:
                assert ours[array].dtype == theirs[array].dtype
                assert ours[array][()].tobytes() == theirs[array][()].tobytes()
            assert {k: np.array(v).tolist() for k, v in ours.attrs.items()} == {
                k: np.array(v).tolist() for k, v in theirs.attrs.items()
            }


def test_what_is_not_written_yet_is_nan(tmp_path, images, labels, pixel_maps):
    AttributionsDatasetWriter(tmp_path / "maps.h5", 5).write([1], pixel_maps["a"][:1].numpy(), "a")
    maps = AttributionsDataset(images, labels, path=tmp_path / "maps.h5").maps("a", slice(0, 5))
    assert maps.flatten(1).isnan().all(1).tolist() == [True, False, True, True, True]
    HDF5DatasetWriter(tmp_path / "samples.h5", 3).write(images[:1].numpy(), labels[:1].numpy())
    sample, label = HDF5Dataset(tmp_path / "samples.h5")[1]
    assert np.isnan(sample).all()
    assert label == -1


def test_writers_refuse_a_path_that_exists_and_rows_that_do_not_fit(tmp_path, written, images, labels):
    for writer in (HDF5DatasetWriter, AttributionsDatasetWriter):
        with pytest.raises(FileExistsError, match=r"`path` .*maps.h5 exists already"):
            writer(written, 5)
        with pytest.raises(NotADirectoryError, match="is not a folder that can be written to"):
            writer(tmp_path / "nowhere" / "x.h5", 5)
    samples = HDF5DatasetWriter(tmp_path / "samples.h5", 5)
    samples.write(images[:4].numpy(), labels[:4].numpy())
    with pytest.raises(ValueError, match="`samples` has 2 rows, but only 1 of 5 are left"):
        samples.write(images[:2].numpy(), labels[:2].numpy())
    with pytest.raises(ValueError, match="`labels` must have one entry for each of the 1 samples, got 2"):
        samples.write(images[:1].numpy(), labels[:2].numpy())
    with pytest.raises(ValueError, match=r"`samples` must have rows of shape .* as before"):
        samples.write(images[:1, :, :4].numpy(), labels[:1].numpy())
    maps = AttributionsDatasetWriter(tmp_path / "more.h5", 5)
    maps.write([0], images[:1].numpy(), "a")
    with pytest.raises(ValueError, match=r"`attributions` must have rows of shape .* as before"):
        maps.write([0], images[:1, :1].numpy(), "b")
    with pytest.raises(ValueError, match="`method_name` must not contain a slash"):
        maps.write([0], images[:1].numpy(), "a/b")
    with pytest.raises(ValueError, match="`indices` must have one entry for each of the 1 rows, got 2"):
        maps.write([0, 1], images[:1].numpy(), "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": None}, "`labels` must be given where `samples` is a tensor"),
        ({"labels": torch.zeros(4)}, "`labels` must have one entry for each of the 5 samples, got 4"),
        ({"attributions": None}, "Give either `attributions` or the `path`"),
        ({"path": "x.h5"}, "Give either `attributions` or the `path`"),
        ({"attributions": {}}, "`methods` must be among nothing"),
        ({"attributions": {"a": torch.zeros(5, 2), "b": torch.zeros(5, 3)}}, "`attributions` must have one shape"),
        ({"attributions": {"a": torch.zeros(9, 1, 8, 8)}}, "`samples` has 5 samples, but there are attributions of 9"),
        ({"aggregate_method": "sum"}, "`aggregate_method` must be one of 'mean', 'max_abs', got 'sum'"),
        ({"aggregate_method": "mean", "aggregate_dim": 3}, "`aggregate_dim` must be an axis of attributions of shape"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(images, labels, pixel_maps, arguments, message):
    good = {"labels": labels, "attributions": pixel_maps}
    with pytest.raises(ValueError, match=message):
        AttributionsDataset(images, **good | arguments)


def test_a_file_that_is_missing_damaged_or_another_kind_is_named(tmp_path, images, labels, written):
    with pytest.raises(FileNotFoundError, match=r"`path` .*absent.h5 does not exist"):
        AttributionsDataset(images, labels, path=tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("not a file of numbers")
    for reader in (HDF5Dataset, lambda path: AttributionsDataset(images, labels, path=path)):
        with pytest.raises(ValueError, match=r"`path` .*text.h5 is not an HDF5 file, or it is damaged"):
            reader(tmp_path / "text.h5")
    with pytest.raises(ValueError, match="has no array 'samples'; it holds a, b"):
        HDF5Dataset(written)
    whole = written.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"`path` .*cut.h5 is not an HDF5 file, or it is damaged"):
        AttributionsDataset(images, labels, path=tmp_path / "cut.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["a"] = np.zeros((5, 1, 8, 8))
    with pytest.raises(ValueError, match="is not a file of attributions: `num_samples` is None"):
        AttributionsDataset(images, labels, path=tmp_path / "foreign.h5")


def test_indices_out_of_range_are_refused(dataset, tmp_path, images, labels):
    HDF5DatasetWriter(tmp_path / "samples.h5", 5).write(images.numpy(), labels.numpy())
    for data, length in ((dataset, 10), (HDF5Dataset(tmp_path / "samples.h5"), 5)):
        assert len(data) == length
        with pytest.raises(IndexError, match="is out of range"):
            data[length]
