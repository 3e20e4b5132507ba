"""Results: tables, files both ways, merging; whole files or none, and clear words about others."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from captum_ext.attribench import _tree
from captum_ext.attribench.result import (
    DeletionResult,
    ImpactCoverageResult,
    InfidelityResult,
    InsertionResult,
    MaxSensitivityResult,
    MetricResult,
    MinimalSubsetResult,
    ParameterRandomizationResult,
    SensitivityNResult,
)

FORMATS = ("hdf5", "csv")
MAKERS = {
    "deletion": lambda methods: DeletionResult(methods, ["blur", "zero"], ["linear"], "lerf", 4, 3),
    "insertion": lambda methods: InsertionResult(methods, ["zero"], ["linear", "softmax"], "morf", 4, 3),
    "sensitivity_n": lambda methods: SensitivityNResult(methods, ["zero"], ["linear"], 4, 2),
    "infidelity": lambda methods: InfidelityResult(methods, ["noise", "square"], ["linear"], 4),
    "max_sensitivity": lambda methods: MaxSensitivityResult(methods, 4),
    "minimal_subset": lambda methods: MinimalSubsetResult(methods, ["zero", "blur"], "insertion", 4),
    "parameter_randomization": lambda methods: ParameterRandomizationResult(methods, 4),
    "impact_coverage": lambda methods: ImpactCoverageResult(methods, 4),
}


def filled(kind, methods=("z", "a"), seed=0):
    result, numbers = MAKERS[kind](list(methods)), np.random.default_rng(seed)
    for key in result.tree.combinations():
        result.tree.write(slice(None), numbers.normal(size=result.shape), **dict(zip(result.levels, key)))
    return result


def assert_same(a, b):
    assert type(a) is type(b)
    assert (a.levels, a.shape) == (b.levels, b.shape)
    assert getattr(a, "mode", None) == getattr(b, "mode", None)
    assert a.tree.leaves.keys() == b.tree.leaves.keys()
    for key, leaf in a.tree.leaves.items():
        assert leaf.tobytes() == b.tree.leaves[key].tobytes()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_saved_is_what_is_loaded(tmp_path, kind, format):
    result = filled(kind)
    result.tree.leaves[result.tree.combinations()[0]][1] = np.nan
    result.save(tmp_path / "result", format=format)
    assert_same(type(result).load(tmp_path / "result"), result)
    assert_same(MetricResult.load(tmp_path / "result"), result)
    assert os.listdir(tmp_path) == ["result"]


names = st.lists(
    st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1, max_size=6),
    min_size=1,
    max_size=3,
    unique_by=str.casefold,
)
numbers = st.floats(width=64, allow_subnormal=False)


@given(methods=names, maskers=names, values=st.lists(numbers, min_size=4, max_size=4), format=st.sampled_from(FORMATS))
def test_any_names_and_numbers_survive_the_files(tmp_path_factory, methods, maskers, values, format):
    result = DeletionResult(methods, maskers, ["linear"], "morf", 2, 2)
    for key in result.tree.combinations():
        result.tree.leaves[key][...] = np.reshape(values, (2, 2))
    path = tmp_path_factory.mktemp("files") / "result"
    if {".", ".."} & {*methods, *maskers}:
        with pytest.raises(ValueError, match="cannot be the name of a file"):
            result.save(path, format)
        return
    result.save(path, format)
    loaded = MetricResult.load(path)
    assert loaded.levels == result.levels
    for key, leaf in result.tree.leaves.items():
        assert_array_equal(loaded.tree.leaves[key], leaf)


@pytest.mark.parametrize("name", ["insertion_result.h5", "insertion_result_csv"])
def test_recorded_files_are_read(reference, name):
    about = reference.golden.meta["files"]
    result = MetricResult.load(reference.files / name)
    assert type(result) is InsertionResult
    assert (result.mode, result.shape) == ("morf", [6, 5])
    for method, wanted in zip(["grad", "ixg", "rand"], reference.golden.array(about["array"]).reshape(3, 6, 5)):
        assert_allclose(result.tree.get(masker="const0", activation_fn="linear", method=method), wanted, rtol=1e-6)
    table, higher_is_better = result.get_df("const0", "linear")
    assert table.shape == (6, 3)
    assert higher_is_better


def test_a_recorded_hdf5_file_is_written_with_the_same_groups_attributes_and_bytes(reference, tmp_path):
    MetricResult.load(reference.files / "insertion_result.h5").save(tmp_path / "ours.h5")

    def contents(file):
        found = {"": {k: str(v) for k, v in file.attrs.items()}}
        file.visititems(
            lambda name, node: found.update(
                {name: (node.dtype.str, node[()].tobytes()) if isinstance(node, h5py.Dataset) else dict(node.attrs)}
            )
        )
        return found

    with h5py.File(tmp_path / "ours.h5") as ours, h5py.File(reference.files / "insertion_result.h5") as theirs:
        assert contents(ours) == contents(theirs)


def test_a_recorded_csv_folder_is_written_with_the_same_bytes(reference, tmp_path):
    MetricResult.load(reference.files / "insertion_result_csv").save(tmp_path / "ours", format="csv")
    files = {p.relative_to(tmp_path / "ours"): p for p in (tmp_path / "ours").rglob("*") if p.is_file()}
    recorded = reference.files / "insertion_result_csv"
    assert set(files) == {p.relative_to(recorded) for p in recorded.rglob("*") if p.is_file()}
    for name, file in files.items():
        if name.suffix == ".csv":
            assert file.read_bytes() == (recorded / name).read_bytes()
    assert yaml.safe_load((tmp_path / "ours/metadata.yaml").read_text()) == yaml.safe_load(
        (recorded / "metadata.yaml").read_text()
    )


def test_the_area_is_the_plain_mean_and_the_one_over_the_curve_starts_at_its_first_point():
    result = filled("deletion")
    curve = result.tree.get(masker="zero", activation_fn="linear", method="a")
    auc, auc_higher = result.get_df("zero", "linear")
    aoc, aoc_higher = result.get_df("zero", "linear", agg_fn="aoc", methods=["a"])
    assert_allclose(auc["a"], curve.mean(1))
    assert_allclose(aoc["a"], curve[:, 0] - curve.mean(1))
    assert (list(auc), list(aoc)) == (["z", "a"], ["a"])
    assert (auc_higher, aoc_higher) == (True, False)
    chosen, _ = result.get_df("zero", "linear", agg_fn="aoc", columns=np.array([2, 1]))
    assert_allclose(chosen["a"], curve[:, 2] - (curve[:, 2] + curve[:, 1]) / 2)


@pytest.mark.parametrize("mode", ["morf", "lerf"])
@pytest.mark.parametrize("agg_fn", ["auc", "aoc"])
def test_insertion_is_better_where_deletion_is_worse(mode, agg_fn):
    better = [
        kind(["a"], ["m"], ["linear"], mode, 1, 2).get_df("m", "linear", agg_fn)[1]
        for kind in (DeletionResult, InsertionResult)
    ]
    assert better == [(mode == "morf") == (agg_fn == "aoc"), (mode == "morf") == (agg_fn == "auc")]


def test_correlations_are_averaged_where_they_are_defined():
    result = SensitivityNResult(["a"], ["m"], ["linear"], 3, 3)
    result.tree.write(
        slice(0, 2), [[0.5, np.nan, 1.0], [0.1, 0.2, 0.3]], masker="m", activation_fn="linear", method="a"
    )
    table, higher_is_better = result.get_df("m", "linear")
    assert_allclose(table["a"], [0.75, 0.2, np.nan])
    assert higher_is_better
    assert_allclose(result.get_df("m", "linear", columns=[2])[0]["a"], [1.0, 0.3, np.nan])


def test_other_tables_hold_the_scores_as_they_are():
    infidelity, sensitivity = filled("infidelity"), filled("max_sensitivity")
    table, higher_is_better = infidelity.get_df("square", "linear", methods=["a"])
    assert_array_equal(
        table["a"], infidelity.tree.get(method="a", perturbation_generator="square", activation_fn="linear")[:, 0]
    )
    assert not higher_is_better
    table, higher_is_better = sensitivity.get_df()
    assert_array_equal(table["z"], sensitivity.tree.get(method="z"))
    assert not higher_is_better


def test_scores_that_are_missing_are_nan():
    table, _ = DeletionResult(["a"], ["m"], ["linear"], "morf", 2, 3).get_df("m", "linear")
    assert table["a"].isna().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.get_df("blurred", "linear"), "`masker` must be one of 'blur', 'zero', got 'blurred'"),
        (lambda r: r.get_df("blur", "relu"), "`activation_fn` must be one of 'linear', got 'relu'"),
        (lambda r: r.get_df("blur", "linear", methods=["b"]), "`method` must be one of 'z', 'a', got 'b'"),
        (lambda r: r.get_df("blur", "linear", agg_fn="sum"), "`agg_fn` must be one of 'auc', 'aoc', got 'sum'"),
        (lambda r: r.tree.get(masker="blur"), "Give a name for each of activation_fn, masker, method; got masker"),
        (lambda r: r.save("x", format="json"), "`format` must be one of 'hdf5', 'csv', got 'json'"),
    ],
)
def test_names_that_are_not_there_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(filled("deletion"))


@pytest.mark.parametrize("kind", MAKERS)
def test_methods_merge_and_keep_their_scores(kind):
    ours, theirs = filled(kind, ["z", "a"]), filled(kind, ["b"], seed=1)
    before = {**ours.tree.leaves, **theirs.tree.leaves}
    ours.merge(theirs, "method")
    assert ours.method_names == ["z", "a", "b"]
    assert set(ours.tree.leaves) == set(before) == set(ours.tree.combinations())
    for key, leaf in before.items():
        assert_array_equal(ours.tree.leaves[key], leaf)


def test_a_method_in_both_is_refused_or_the_others_on_request():
    ours, theirs = filled("deletion", ["z", "a"]), filled("deletion", ["a", "b"], seed=1)
    with pytest.raises(ValueError, match="Both results have method a; set `allow_overwrite`"):
        ours.merge(theirs, "method")
    ours.merge(theirs, "method", allow_overwrite=True)
    assert_array_equal(ours.tree.leaves[("linear", "zero", "a")], theirs.tree.leaves[("linear", "zero", "a")])
    assert ours.method_names == ["z", "a", "b"]


def test_results_that_differ_in_more_than_the_level_are_not_merged():
    ours = filled("deletion")
    other_mode = DeletionResult(["b"], ["blur", "zero"], ["linear"], "morf", 4, 3)
    other_maskers = DeletionResult(["b"], ["zero"], ["linear"], "lerf", 4, 3)
    other_shape = DeletionResult(["b"], ["blur", "zero"], ["linear"], "lerf", 5, 3)
    for other, message in (
        (other_mode, "The results differ in `mode`: lerf and morf"),
        (other_maskers, r"The results differ in `masker`: \['blur', 'zero'\] and \['zero'\]"),
        (other_shape, r"The results differ in shape: \[4, 3\] and \[5, 3\]"),
        (filled("insertion"), "`other` must be of type DeletionResult, got InsertionResult"),
    ):
        with pytest.raises(ValueError, match=message):
            ours.merge(other, "method")
    with pytest.raises(ValueError, match="`level` must be one of 'activation_fn', 'masker', 'method', got 'sample'"):
        ours.merge(filled("deletion"), "sample")


@pytest.mark.parametrize("format", FORMATS)
def test_an_existing_path_is_refused_and_left_as_it_is(tmp_path, format):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match=r"`path` .*file exists already"):
        filled("deletion").save(tmp_path / "file", format)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(NotADirectoryError, match="cannot be written"):
        filled("deletion").save(tmp_path / "no" / "file", format)


@pytest.mark.parametrize("format", FORMATS)
def test_writing_that_fails_leaves_nothing(tmp_path, monkeypatch, format):
    result = filled("deletion")
    result.tree.leaves[result.tree.combinations()[-1]] = np.array([[object()]])
    with pytest.raises(TypeError):
        result.save(tmp_path / "result", format)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("format", FORMATS)
def test_names_that_would_leave_the_folder_are_refused(tmp_path, format):
    for name in ("../up", "a/b", "..", ""):
        with pytest.raises(ValueError, match=r"`method` .* cannot be the name of a file"):
            MaxSensitivityResult([name], 2).save(tmp_path / "result", format)
    assert not os.listdir(tmp_path)


def test_metadata_that_point_outside_their_folder_are_not_followed(tmp_path):
    MaxSensitivityResult(["a"], 2).save(tmp_path / "result", "csv")
    metadata = tmp_path / "result" / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("- a", "- ../../secret"))
    (tmp_path.parent / "secret.csv").write_text("1\n2\n")
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        MetricResult.load(tmp_path / "result")


def test_files_that_are_missing_damaged_or_others_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` .*absent does not exist"):
        MetricResult.load(tmp_path / "absent")
    (tmp_path / "text").write_text("words")
    with h5py.File(tmp_path / "foreign", "w") as file:
        file["x"] = [1.0]
    with h5py.File(tmp_path / "empty", "w") as file:
        file.attrs["type"] = "DeletionResult"
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbled").mkdir()
    (tmp_path / "garbled" / "metadata.yaml").write_text("levels: [}")
    for name in ("text", "foreign", "empty", "folder", "garbled"):
        with pytest.raises(ValueError, match=f"`path` .*{name} is not a result of AttriBench's, or it is damaged"):
            MetricResult.load(tmp_path / name)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_lost_an_array_is_damaged(tmp_path, format):
    filled("deletion").save(tmp_path / "result", format)
    if format == "csv":
        (tmp_path / "result" / "linear" / "zero" / "a.csv").unlink()
    else:
        with h5py.File(tmp_path / "result", "a") as file:
            del file["linear/zero/a"]
    with pytest.raises(ValueError, match="is not a result of AttriBench's, or it is damaged"):
        MetricResult.load(tmp_path / "result")


def test_another_kind_of_result_is_named(tmp_path):
    filled("infidelity").save(tmp_path / "result")
    with pytest.raises(ValueError, match="holds InfidelityResult; this reads DeletionResult, InsertionResult"):
        DeletionResult.load(tmp_path / "result")
    with h5py.File(tmp_path / "result", "a") as file:
        file.attrs["type"] = "IrofResult"
    with pytest.raises(ValueError, match="holds another kind of result; this reads"):
        MetricResult.load(tmp_path / "result")


def test_a_result_class_of_ones_own_is_read_again(tmp_path):
    class Smoothness(MaxSensitivityResult):
        pass

    Smoothness(["a"], 2).save(tmp_path / "result")
    assert type(MetricResult.load(tmp_path / "result")) is Smoothness


def test_csv_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(_tree.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(ImportError, match='The format "csv" needs PyYAML'):
        filled("deletion").save(tmp_path / "result", "csv")
    assert not os.listdir(tmp_path)
