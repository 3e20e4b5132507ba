"""Results: saved and loaded without loss, merged where they do not clash, a tidy table."""

from __future__ import annotations

import itertools
import json
import os
import warnings
from functools import partial

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from captum.attr import InputXGradient, Saliency
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from captum_ext import Evaluation, load, metrics, random_attribution
from captum_ext.evaluation import formats
from captum_ext.evaluation.contents import contents_of
from captum_ext.evaluation.results import assemble
from captum_ext.evaluation.store import ShardStore

from .runs import FEW_METRICS, METHODS, METRICS, N, Net, examples, run

FORMATS = [*formats.FORMATS]
paths = itertools.count()  # hypothesis gives all its examples one folder


# ---- any result there may be


def results(metric_names=None):
    return st.builds(
        result_of,
        st.lists(names(), min_size=1, max_size=3, unique=True),
        metric_names or st.lists(names(), min_size=1, max_size=3, unique=True),
        st.integers(1, 4),
        st.data(),
    )


def names():
    return st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('/%. \n"'), min_size=1, max_size=6)


def result_of(methods, metric_names, examples, data):
    dataset = xr.Dataset(coords={"attribution": methods, "example": np.arange(examples)})
    for i, name in enumerate(metric_names):
        dataset = with_metric(dataset, f"{name}-{i}", data)
    return Evaluation(dataset.assign_attrs(seed=data.draw(st.integers(0, 2**31)), torch="2.0", failures="[]"))


def with_metric(dataset, name, data):
    """A score or a curve on a grid of its own, with halves or without."""
    dims = ["attribution", "example"]
    grid = data.draw(st.none() | st.lists(st.floats(0, 1) | st.integers(1, 99), min_size=1, max_size=3, unique=True))
    if grid is not None:
        dims.append(f"fraction ({name})")
        dataset = dataset.assign_coords({dims[-1]: np.array(grid)})
    attributes = {"metric": "deletion", "arguments": json.dumps({"n": name})}
    if data.draw(st.booleans()):
        attributes["higher_is_better"] = data.draw(st.booleans())
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    shape = [dataset.sizes[d] for d in dims]
    dataset[name] = dims, scores_of(shape, dtype, data), attributes
    if data.draw(st.booleans()):
        dataset[f"{name}:halves"] = (*dims, "half"), scores_of([*shape, 2], dtype, data), {"halves_of": name}
    return dataset


def scores_of(shape, dtype, data):
    width = np.dtype(dtype).itemsize * 8
    values = st.floats(width=width) | st.sampled_from([np.nan, np.inf, -np.inf, -0.0, 0.1])
    size = int(np.prod(shape))
    return np.array(data.draw(st.lists(values, min_size=size, max_size=size)), dtype).reshape(shape)


def assert_lossless(result, format, folder):
    path = folder / f"{next(paths)}.{format}"
    before = result.dataset.copy(deep=True)
    result.save(path, format)
    assert_the_same(result.dataset, before)
    assert_the_same(load(path).dataset, before)


def assert_the_same(a, b):
    """Names, order, types, values to the last bit, attributes and their types."""
    assert list(a.data_vars) == list(b.data_vars)
    assert set(a.coords) == set(b.coords)
    assert plain(a.attrs) == plain(b.attrs)
    for name in b.variables:
        x, y = a[name], b[name]
        assert x.dims == y.dims
        assert x.dtype == y.dtype
        assert plain(x.attrs) == plain(y.attrs)
        np.testing.assert_array_equal(x.values, y.values)
        if x.dtype.kind == "f":
            number = ~np.isnan(y.values)
            np.testing.assert_array_equal(np.signbit(x.values[number]), np.signbit(y.values[number]))


def plain(attributes):
    return {k: (type(v), v) for k, v in attributes.items()}


@pytest.mark.parametrize("format", FORMATS)
@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])  # shrinking files takes minutes
@given(result=results())
def test_any_result_is_loaded_as_it_was_saved(format, result, tmp_path):
    assert_lossless(result, format, tmp_path)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "/",
        "%2F",
        "a%2Fb",
        "σ ≥ 0",
        "e\u0301",
        " ",
        "a,b",
        'a"b',
        "a\\b",
        "line\nbreak",
        ".",
        "..",
        "x:halves",
        "NaN",
        "日本",
    ],
)
def test_any_name_of_a_metric_or_method_is_kept(name, format, tmp_path):
    dataset = xr.Dataset(
        {name: (("attribution", "example"), np.eye(2))}, {"attribution": [name, "other"], "example": [0, 1]}
    )
    assert_lossless(Evaluation(dataset), format, tmp_path)


@pytest.fixture(scope="module")
def whole():
    return run(metrics=METRICS, stderr=True)


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_with_everything_is_loaded_as_it_was_saved(format, whole, tmp_path):
    assert_lossless(whole, format, tmp_path)


@pytest.mark.parametrize("format", FORMATS)
def test_failures_are_loaded_too(format, tmp_path):
    result = run(methods=METHODS | {"bad": failing}, on_error="record")
    assert result.failures
    result.save(tmp_path / "r", format)
    assert load(tmp_path / "r").failures == result.failures


def failing(model):
    def explain(inputs):
        raise RuntimeError("no explanation, ñ")

    return explain


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_path_of_a_run_holds_what_the_run_returned(dtype, tmp_path):
    data = [(torch.ones(4, dtype=dtype) * i, 0) for i in range(N)]
    result = run(Net().to(dtype), data, metrics=METRICS, path=tmp_path / "run.h5")
    assert_the_same(load(tmp_path / "run.h5").dataset, result.dataset)


# ---- other readers


def test_a_saved_result_is_read_by_plain_h5py_and_xarray(whole, tmp_path):
    whole.save(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as file:
        np.testing.assert_array_equal(file["deletion"][:], whole.dataset["deletion"])
        assert [name.decode() for name in file["attribution"][:]] == list(METHODS)
        assert file["deletion"].attrs["higher_is_better"] == 0
        assert file.attrs["seed"] == whole.dataset.attrs["seed"]
    with xr.open_dataset(tmp_path / "r.h5") as dataset:
        np.testing.assert_array_equal(dataset["deletion"].sel(attribution="random"), whole.dataset["deletion"][2])


def test_a_csv_folder_is_read_by_plain_pandas(whole, tmp_path):
    whole.save(tmp_path / "r", format="csv")
    about = json.loads((tmp_path / "r" / "metadata.json").read_text())
    frame = pd.read_csv(tmp_path / "r" / about["variables"]["deletion_curve"]["file"])
    assert list(frame.columns) == ["attribution", "example", "fraction", "score"]
    assert len(frame) == len(METHODS) * N * 5
    assert about["attrs"]["seed"] == whole.dataset.attrs["seed"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_csv_files_have_the_text_that_pandas_writes(dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "ROWS", 7)  # more than one part
    methods = ["IG", 'a, "b"', "50 %", "two\nlines", "é", " s", ""]
    scores = np.random.default_rng(0).normal(size=(7, 4, 3)) * 10.0 ** np.arange(-30, 54).reshape(7, 4, 3)
    scores = scores.clip(-(2**40), 2**40)
    if dtype != np.int64:
        scores[0, 0], scores[1, 0, 0] = (np.nan, np.inf, -np.inf), -0.0
    array = (("attribution", "example", "k, of F"), scores.astype(dtype))
    coordinates = {"attribution": methods, "example": np.arange(4), "k, of F": [0.1, 1 / 3, 2]}
    dataset = xr.Dataset({"some": array}, coords=coordinates)
    formats.save_csv(dataset, tmp_path / "r")
    wanted = dataset["some"].to_series().rename("score").to_csv(float_format="%.17g", na_rep="nan")
    assert next((tmp_path / "r").glob("*.csv")).read_text(encoding="utf-8") == wanted


# ---- written whole or not at all


class Crash(Exception):
    pass


def crash_after(write):
    def crashing(*arguments, **options):
        write(*arguments, **options)
        raise Crash

    return crashing


@pytest.mark.parametrize(
    ("format", "writer"),
    [("hdf5", (xr.Dataset, "to_netcdf")), ("csv", (formats, "_write_rows")), ("zarr", (xr.Dataset, "to_zarr"))],
)
def test_a_crash_while_saving_leaves_nothing(format, writer, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(*writer, crash_after(getattr(*writer)))
    with pytest.raises(Crash):
        whole.save(tmp_path / "r", format)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_a_run_is_saved_loses_nothing(tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(xr.Dataset, "to_netcdf", crash_after(xr.Dataset.to_netcdf))
        with pytest.raises(Crash):
            run(path=tmp_path / "run.h5")
    assert [f.name for f in tmp_path.iterdir()] == ["run.h5.parts"]
    model = Net()
    run(model, path=tmp_path / "run.h5")
    assert model.calls == []
    assert load(tmp_path / "run.h5").dataset.identical(run().dataset)


@pytest.mark.parametrize("format", FORMATS)
def test_an_existing_path_is_refused_and_kept(format, whole, tmp_path):
    (tmp_path / "r").write_text("mine")
    with pytest.raises(FileExistsError, match=r"`path` .*r exists already"):
        whole.save(tmp_path / "r", format)
    assert (tmp_path / "r").read_text() == "mine"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("before", ["a file", *FORMATS])
def test_with_overwrite_a_file_and_results_are_replaced(before, format, whole, tmp_path):
    part = Evaluation(whole.dataset.isel(example=[0]))
    (tmp_path / "r").write_text("mine") if before == "a file" else part.save(tmp_path / "r", before)
    whole.save(tmp_path / "r", format, overwrite=True)
    assert load(tmp_path / "r").dataset.identical(whole.dataset)
    assert [f.name for f in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("format", FORMATS)
def test_what_cannot_be_written_replaces_nothing(format, whole, tmp_path, monkeypatch):
    part = Evaluation(whole.dataset.isel(example=[0]))
    part.save(tmp_path / "r", format)
    monkeypatch.setattr(formats, "seal", crash_after(formats.seal))
    with pytest.raises(Crash):
        whole.save(tmp_path / "r", format, overwrite=True)
    monkeypatch.undo()
    assert load(tmp_path / "r").dataset.identical(part.dataset)
    assert [f.name for f in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("format", FORMATS)
def test_no_other_folder_is_replaced(format, whole, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is a folder that holds something else"):
        whole.save(tmp_path / "r", format, overwrite=True)
    assert (tmp_path / "r" / "thesis.txt").read_text() == "mine"
    with pytest.raises(TypeError, match="`overwrite` must be True or False, got int 1"):
        whole.save(tmp_path / "s", format, overwrite=1)


@pytest.mark.parametrize("format", FORMATS)
def test_a_path_in_no_folder_is_refused(format, whole, tmp_path):
    with pytest.raises(NotADirectoryError, match="is not a folder that can be written to"):
        whole.save(tmp_path / "none" / "r", format)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_path_in_a_protected_folder_is_refused(whole, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(NotADirectoryError, match="is not a folder that can be written to"):
        whole.save(tmp_path / "r")


def test_an_unknown_format_is_refused(whole, tmp_path):
    with pytest.raises(ValueError, match="`format` must be one of 'hdf5', 'csv', 'zarr', got 'xlsx'"):
        whole.save(tmp_path / "r", "xlsx")
    assert list(tmp_path.iterdir()) == []


# ---- files that are no results


def test_a_path_without_anything_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` .*none does not exist"):
        load(tmp_path / "none")


def empty_folder(path):
    path.mkdir()


def folder_with_foreign_metadata(path):
    path.mkdir()
    (path / "metadata.json").write_text("[]")


def truncated(path):
    run().save(path)
    path.write_bytes(path.read_bytes()[:3000])


def csv_without_a_file(path):
    run().save(path, "csv")
    next(path.glob("*.csv")).unlink()


def csv_with_a_row_too_few(path):
    run().save(path, "csv")
    file = next(path.glob("*.csv"))
    file.write_text(file.read_text().rsplit("\n", 2)[0])


NO_RESULTS = {
    "text": lambda path: path.write_text("no result"),
    "empty": lambda path: path.touch(),
    "truncated": truncated,
    "an empty folder": empty_folder,
    "a foreign folder": folder_with_foreign_metadata,
    "a folder without one of its files": csv_without_a_file,
    "a folder with a row too few": csv_with_a_row_too_few,
}


@pytest.mark.parametrize("kind", NO_RESULTS)
def test_a_corrupt_or_foreign_file_is_refused(kind, tmp_path):
    NO_RESULTS[kind](tmp_path / "r")
    with pytest.raises(ValueError, match=r"`path` .*r is not a result of captum_ext, or it is damaged: "):
        load(tmp_path / "r")


def test_a_foreign_hdf5_file_is_refused(tmp_path):
    xr.Dataset({"t": ("time", [1.0])}).to_netcdf(tmp_path / "r", engine="h5netcdf")
    with pytest.raises(ValueError, match="is not a result of captum_ext: it has no axes `attribution` and `example`"):
        load(tmp_path / "r")


# ---- to_dataframe


def test_the_table_has_a_row_for_every_score(whole):
    result = Evaluation(whole.dataset[["deletion", "sizes"]])
    frame = result.to_dataframe()
    assert list(frame.columns) == ["metric", "attribution", "example", "axis", "at", "score"]
    assert len(frame) == len(METHODS) * N * (1 + 2)
    one = frame.query("metric == 'sizes' and attribution == 'random' and example == 4 and at == 3")
    assert one["axis"].tolist() == ["n"]
    assert one["score"].item() == result.dataset["sizes"].sel(attribution="random", example=4, n=3).item()
    assert frame.query("metric == 'deletion'")["at"].isna().all()


def test_a_missing_score_is_nan_in_the_table():
    frame = run(methods=METHODS | {"bad": failing}, on_error="record").to_dataframe()
    assert frame.query("attribution == 'bad'")["score"].isna().all()
    assert frame.query("attribution != 'bad'")["score"].notna().all()


# ---- merge


def of(methods, some=FEW_METRICS, examples=range(N), **options):
    """The run on some methods and metrics, with what is left of its examples."""
    result = run(methods={m: METHODS[m] for m in methods}, metrics=some, **options)
    return Evaluation(result.dataset.isel(example=list(examples)))


@pytest.fixture(scope="module")
def parts():
    return {
        "methods": [of([m]) for m in METHODS],
        "metrics": [of(METHODS, {m: FEW_METRICS[m]}) for m in FEW_METRICS],
        "examples": [of(METHODS, examples=e) for e in (range(3), range(3, 6), range(6, N))],
    }


@pytest.mark.parametrize("kind", ["methods", "metrics", "examples"])
def test_parts_merge_to_the_whole(kind, parts):
    first, *others = parts[kind]
    whole = of(METHODS).dataset
    merged = first.merge(*others).dataset.sel(attribution=whole.attribution)
    for name in whole.data_vars:
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-9, atol=1e-12)
        assert merged[name].dtype == whole[name].dtype
        assert merged[name].attrs == whole[name].attrs


@pytest.mark.parametrize("kind", ["methods", "metrics", "examples"])
def test_merging_changes_no_part(kind, parts):
    before = [p.dataset.copy(deep=True) for p in parts[kind]]
    parts[kind][0].merge(*parts[kind][1:])
    assert all(p.dataset.identical(b) for p, b in zip(parts[kind], before))


def test_results_of_different_models_are_merged_with_a_warning_that_names_the_metrics():
    """Equal weights make one model, and metrics that only one result has are not compared."""
    scaled = Net()
    scaled.layers[-1].weight.data *= 10
    ours, again, theirs = (
        run(model, methods={name: Saliency}, metrics={"deletion": metrics.deletion})
        for name, model in {"ours": Net(), "again": Net(), "theirs": scaled}.items()
    )
    with pytest.warns(UserWarning, match=r"different models, and both have 'deletion'.* unit") as warned:
        ours.merge(again, theirs)
    assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.merge(again)
        ours.merge(Evaluation(theirs.dataset.rename(deletion="deletion of theirs")))


def test_merged_methods_keep_their_order():
    assert of(["saliency"]).merge(of(["product"])).dataset.attribution.values.tolist() == ["saliency", "product"]


def test_what_no_part_has_is_nan():
    merged = of(["saliency"], {"deletion": metrics.deletion}).merge(of(["random"], {"own": own})).dataset
    assert merged["deletion"].sel(attribution="saliency").notnull().all()
    assert merged["deletion"].sel(attribution="random").isnull().all()
    assert merged["own"].sel(attribution="saliency").isnull().all()


def own(attributions):
    return attributions.mean(1)


def test_a_result_fills_what_is_missing_in_another():
    holes = run(methods={"saliency": failing_after(3), "random": random_attribution}, on_error="record")
    assert holes.dataset["deletion"].isnull().any()
    filled = holes.merge(of(["saliency"], examples=range(3, N))).dataset
    assert filled["deletion"].notnull().all()


def failing_after(first):
    def make(model):
        saliency, calls = Saliency(model), []

        def explain(inputs, target):
            calls.append(1)
            return saliency.attribute(inputs, target=target) if len(calls) == 1 else inputs.reshape(first)

        return explain

    return make


def test_failures_of_all_parts_are_kept():
    def bad(name):
        return run(methods={name: failing}, on_error="record")

    merged = bad("a").merge(bad("b"), bad("c"))
    assert [f["attribution"] for f in merged.failures] == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


def test_attributes_that_differ_between_parts_are_not_claimed_for_all():
    merged = of(["saliency"], seed=1).merge(of(["random"], seed=2)).dataset
    assert "seed" not in merged.attrs
    assert merged.attrs["torch"] == torch.__version__


def test_the_number_of_examples_is_that_of_all_parts():
    halves = [run(data=half).dataset for half in (examples()[:4], examples()[4:])]
    merged = Evaluation(halves[0]).merge(Evaluation(halves[1].assign_coords(example=range(4, N)))).dataset
    assert merged.sizes["example"] == N
    assert merged.attrs.get("examples", N) == N


def test_curves_of_two_metrics_on_different_grids_stay_whole():
    def curve(name, steps):
        return of(["random"], {name: partial(metrics.deletion_curve, n_steps=steps)})

    merged = curve("a", 3).merge(curve("b", 4)).dataset
    for name in "ab":
        assert merged[name].notnull().all()
    assert [merged.sizes[merged[n].dims[2]] for n in "ab"] == [3, 4]


def test_standard_errors_and_halves_are_merged_with_their_scores():
    drawing = {"s": METRICS["sensitivity_n"], "largest": METRICS["sensitivity_max"]}
    a, b = (of([m], drawing, stderr=True) for m in ("saliency", "random"))
    merged = a.merge(b)
    assert merged.dataset["s stderr"].sizes == {"attribution": 2, "example": N}
    assert merged.dataset["largest:halves"].sizes == {"attribution": 2, "example": N, "half": 2}
    assert set(merged.reliability()["metric"]) == {"s", "largest"}


def test_a_tidy_table_has_the_standard_error_beside_the_score():
    result = of(["saliency"], {"s": METRICS["sensitivity_n"], "deletion": METRICS["deletion"]}, stderr=True)
    table = result.to_dataframe()
    assert list(table.columns) == ["metric", "attribution", "example", "axis", "at", "score", "stderr"]
    np.testing.assert_array_equal(table["stderr"][table["metric"] == "s"], result.dataset["s stderr"].values.ravel())
    assert table["stderr"][table["metric"] == "deletion"].isna().all()
    assert "stderr" not in of(["saliency"], {"deletion": METRICS["deletion"]}).to_dataframe()


def test_scores_that_both_have_are_a_clash():
    with pytest.raises(
        ValueError,
        match=r"Both results have scores of metric '(deletion|sensitivity_n)' "
        r"for methods \['random'\] on examples 2 to 4",
    ):
        of(["random", "product"], examples=range(5)).merge(of(["saliency", "random"], examples=range(2, N)))


@pytest.mark.parametrize(
    "other",
    [partial(metrics.deletion, mode="lerf"), partial(metrics.deletion, n_steps=7), metrics.insertion],
    ids=["direction", "argument", "function"],
)
def test_one_name_for_two_metrics_is_a_clash(other):
    with pytest.raises(ValueError, match=r"Metric 'deletion' is not the same in both results: .* Rename one of them"):
        of(["random"], {"deletion": metrics.deletion}).merge(of(["saliency"], {"deletion": other}))


def test_one_name_for_a_score_and_a_curve_is_a_clash():
    with pytest.raises(ValueError, match="Metric 'd' is not the same in both results"):
        of(["random"], {"d": metrics.deletion}).merge(of(["saliency"], {"d": metrics.deletion_curve}))


def test_merging_with_nothing_is_the_same():
    assert of(["random"]).merge().dataset.identical(of(["random"]).dataset)


# ---- assembling


def test_a_batch_in_which_all_failed_does_not_need_to_know_the_curves_axis():
    def make(model):
        def explain(inputs, target):
            return inputs.reshape(7) if (target == 0).sum() > 1 else inputs  # in the last batch

        return explain

    data = [(torch.ones(4, dtype=torch.float64), 0 if i > 5 else 1) for i in range(N)]
    result = run(data=data, methods={"it": make}, metrics={"c": METRICS["deletion_curve"]}, on_error="record").dataset
    assert result["c"].shape == (1, N, 5)
    assert result["c"][:, :6].notnull().all()
    assert result["c"][:, 6:].isnull().all()


def test_shards_are_assembled_in_their_order(tmp_path):
    manifest = {"examples": 5, "shard_size": 2, "methods": {"a": 0}, "versions": {"torch": "2"}, "seed": 1}
    store = ShardStore(tmp_path / "parts", manifest)
    for shard in (2, 0, 1):
        values = np.array([list(store.edges(shard))], float)
        store.write(shard, {"0": values, "failures": np.array(json.dumps([{"shard": shard}]))})
    dataset = assemble(contents_of(store), {"m": metrics.deletion}, {"m": {}})
    assert dataset["m"].values.tolist() == [[0, 1, 2, 3, 4]]
    assert [f["shard"] for f in json.loads(dataset.attrs["failures"])] == [0, 1, 2]
    assert dataset.attrs["torch"] == "2"


# ---- looking at it


def test_a_result_says_what_it_is():
    result = run(methods={"saliency": Saliency, "product": InputXGradient})
    assert repr(result).startswith("Evaluation: 2 methods on 8 examples, 2 metrics")
    assert all("deletion" in shown and "sensitivity_n" in shown for shown in (repr(result), result._repr_html_()))


def test_a_result_without_failures_has_none():
    assert run().failures == []
    assert Evaluation(xr.Dataset()).failures == []
