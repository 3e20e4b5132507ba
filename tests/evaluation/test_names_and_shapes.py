"""What evaluate is given can be stored in every format and is read back as it was, or is refused before the work."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from captum_ext import attribute_dataset, evaluate, load, metrics, plots, random_attribution
from captum_ext.evaluation.formats import FORMATS
from captum_ext.evaluation.names import MOST_BYTES
from captum_ext.metrics import metric

from ..calls import Sums
from .runs import killed_at

N = 6


def own(attributions, inputs):
    return (attributions * inputs).sum(1)


class Model(Sums):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def data():
    return [(torch.sin(torch.arange(4) + 2.0 * i), i % 3) for i in range(N)]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model(4, 3)


def run(model, own_metrics, methods=None, **options):
    methods = methods or {"random": random_attribution, "second": partial(random_attribution, seed=1)}
    return evaluate(model, data(), methods, own_metrics, batch_size=2, **options)


def assert_stored(result, folder):
    """In every format, to the last bit."""
    for name in FORMATS:
        result.save(folder / name, name)
        again = load(folder / name).dataset
        assert again.identical(result.dataset)
        for variable in result.dataset.data_vars:
            assert again[variable].values.tobytes() == result.dataset[variable].values.tobytes()


# ---- names

STORED = [
    "a/b",
    "/",
    "//",
    "/a",
    "a/",
    ".",
    "..",
    "...",
    " ",
    "%",
    "%2F",
    "a%00",
    "a\\b",
    "line\nbreak",
    "\t",
    "\x1b[31m",
    "\x7f",
    "\x85",
    "e\u0301",
    "\u202e",
    "\ufeff",
    "\uffff",
    "日本",
    "😀",
    '"',
    "'",
    "a,b",
    "NaN",
    "None",
    "metric",
    "score",
    "index",
    "fraction",
    "n",
    "point",
    "order",
    "run_id",
    "failures",
    "%data",
    "metadata.json",
    ".zgroup",
    "x" * MOST_BYTES,
    "日" * (MOST_BYTES // 3),
]


METHODS = {name: partial(random_attribution, seed=i) for i, name in enumerate(STORED)}


def test_names_of_metrics_and_methods_are_stored_as_they_are(model, tmp_path):
    own_metrics = dict.fromkeys(STORED, own) | {"curve": partial(metrics.deletion_curve, n_steps=3)}
    result = run(model, own_metrics, METHODS, path=tmp_path / "run.h5")
    assert list(result.dataset.data_vars) == list(own_metrics)
    assert result.dataset.attribution.values.tolist() == STORED
    assert load(tmp_path / "run.h5").dataset.identical(result.dataset)
    assert_stored(result, tmp_path)


def test_names_of_stored_attributions_are_found_again(model, tmp_path):
    attribute_dataset(model, data(), METHODS, tmp_path / "maps.h5", batch_size=2)
    from_file = run(model, {"own": own}, dict.fromkeys(STORED, tmp_path / "maps.h5"))
    np.testing.assert_array_equal(from_file.dataset["own"], run(model, {"own": own}, METHODS).dataset["own"])


REFUSED = {
    "empty": ("", "which is empty"),
    "NUL": ("a\0", "NUL"),
    "NUL inside": ("a\0b", "NUL"),
    "half a surrogate pair": ("\ud800", "surrogate"),
    "too long": ("x" * (MOST_BYTES + 1), f"{MOST_BYTES + 1} bytes long"),
    "too long in bytes": ("日" * (MOST_BYTES // 3 + 1), "bytes long"),
    "too long when escaped": ("/" * (MOST_BYTES // 3 + 1), "bytes long"),
}
ONLY_METRICS = {
    "an axis": ("attribution", "is an axis of the results"),
    "another axis": ("example", "is an axis of the results"),
    "the axis of halves": ("half", "is an axis of the results"),
    "halves of another": ("s:halves", "those of the noise of another metric's scores"),
    "errors of another": ("s stderr", "those of the noise of another metric's scores"),
}


@pytest.mark.parametrize("kind", [*REFUSED, *ONLY_METRICS])
def test_a_name_of_a_metric_that_cannot_be_stored_is_refused_before_any_work(kind, model, tmp_path):
    name, why = (REFUSED | ONLY_METRICS)[kind]
    with pytest.raises(ValueError, match=f"`metrics` has the name '.*{why}.*Choose another name"):
        run(model, {"s": own, name: own}, path=tmp_path / "run.h5")
    assert model.calls == 0
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("kind", REFUSED)
def test_a_name_of_a_method_that_cannot_be_stored_is_refused_before_any_work(kind, model, tmp_path):
    name, why = REFUSED[kind]
    methods = {"m": random_attribution, name: random_attribution}
    for call in (
        lambda: run(model, {"s": own}, methods, path=tmp_path / "run.h5"),
        lambda: attribute_dataset(model, data(), methods, tmp_path / "maps.h5"),
    ):
        with pytest.raises(ValueError, match=f"`methods` has the name '.*{why}.*Choose another name"):
            call()
    assert model.calls == 0
    assert [*tmp_path.iterdir()] == []


def test_a_metric_named_like_an_axis_or_a_renamed_one_does_not_take_its_place(model, tmp_path):
    curve = metrics.deletion_curve
    result = run(
        model,
        {
            "fraction": partial(curve, n_steps=3),
            "b": partial(curve, n_steps=4),
            "fraction (b)": own,
            "fraction (c)": own,
            "c": partial(curve, n_steps=5),
        },
    )
    assert [result.dataset[name].shape[2:] for name in result.dataset.data_vars] == [(3,), (4,), (), (), (5,)]
    assert_stored(result, tmp_path)


def test_a_metric_named_like_another_at_one_of_its_places_is_refused_at_the_first_batch(model, tmp_path):
    sizes = partial(metrics.sensitivity_n, n=[1, 3], n_perturb_samples=3)
    with pytest.raises(ValueError, match=r"`metrics` has the name 's \(n=3\)', by which tables .* metric 's'"):
        run(model, {"s": sizes, "s (n=3)": metrics.deletion}, path=tmp_path / "run.h5")
    run(model, {"s": sizes, "s (n=2)": metrics.deletion})


def test_large_sizes_have_labels_of_their_own():
    from captum_ext.evaluation.score import label

    assert label("s", "n", 1_000_000.0) == "s (n=1000000)"
    assert label("s", "n", 1_000_001.0) == "s (n=1000001)"
    assert label("s", "fraction", 1 / 3) == "s (fraction=0.333333)"


# ---- shapes


def varying(attributions, inputs):
    return attributions[:, : 1 + int(inputs[0, 0] > 0.9)]


def varying_by_method(attributions):
    return attributions[:, : 1 + int(attributions[0, 0] > attributions[0, 1])]


def scalars_then_curves(attributions, inputs):
    return attributions if inputs[0, 0] > 0.9 else attributions.sum(1)


UNFIT = {
    "another number of rows": (lambda attributions: attributions.sum(), r"got \(\) of torch.float32"),
    "one row": (lambda attributions: attributions[:1], r"got \(1, 4\)"),
    "first axis last": (lambda attributions: attributions.T, r"got \(4, 2\)"),
    "no values": (lambda attributions: attributions[:, :0], r"got \(2, 0\)"),
    "complex": (lambda attributions: attributions * 1j, "complex64"),
    "sparse": (lambda attributions: attributions.to_sparse(), "torch.sparse_coo"),
    "a dict of one method": (lambda attributions: {"random": attributions.sum(1)}, "got dict"),
    "a list": (lambda attributions: attributions.sum(1).tolist(), "got list"),
    "an array": (lambda attributions: attributions.sum(1).numpy(), "got ndarray"),
    "None": (lambda attributions: None, "got NoneType"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_scores_that_cannot_be_stored_are_refused_at_the_first_batch(kind, model, tmp_path):
    unfit, got = UNFIT[kind]
    wanted = "real numbers|plain dense tensors|a tensor .* each of 2 .*"
    with pytest.raises(TypeError, match=f"Metric 'unfit' of `metrics` must return ({wanted}).*{got}"):
        run(model, {"own": own, "unfit": unfit}, path=tmp_path / "run.h5")
    assert [f.name for f in (tmp_path / "run.h5.parts").iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("unfit", [varying, varying_by_method, scalars_then_curves])
def test_another_number_of_values_is_refused_where_it_first_occurs(unfit, model):
    with pytest.raises(TypeError, match=r"Metric 'unfit' of `metrics` must return equally many .* on examples \d"):
        run(model, {"unfit": unfit})


@pytest.mark.parametrize("unfit", [varying, scalars_then_curves])
def test_another_number_of_values_in_another_process_is_refused_with_the_name(unfit, model, tmp_path):
    first = next(i for i in range(0, N, 2) if math.sin(2.0 * i) > 0.9)
    path = tmp_path / "run.h5"
    with killed_at(first // 2 - 1, "after"):
        run(model, {"unfit": unfit}, path=path)
    with pytest.raises(TypeError, match="Metric 'unfit' of `metrics` must return equally many"):
        run(model, {"unfit": unfit}, path=path)


# ---- axes of an own card


def with_axes(axis, outer_axis=None, higher_is_better=None):
    @metric(
        higher_is_better=higher_is_better,
        range=(-math.inf, math.inf),
        rows="0",
        reference="none",
        axis=axis,
        outer_axis=outer_axis,
        takes_mappings=False,
        family="own",
    )
    def own_table(attributions):
        """Of two rows and three columns."""
        return attributions[:, None, :3] * torch.tensor([1.0, 10.0])[:, None]

    return own_table


COLUMNS, ROWS = ("column", lambda arguments: [1, 2, 4]), ("row", lambda arguments: ["a", "b"])


@pytest.mark.parametrize(
    ("axis", "outer_axis", "error", "message"),
    [
        (("column", lambda arguments: [1, 2]), ROWS, TypeError, r"3 values on its axis 'column', .* got \[1, 2\]"),
        (("column", lambda arguments: ["a", "b", "c"]), ROWS, TypeError, "must give 3 numbers"),
        (("column", lambda arguments: [None] * 3), ROWS, TypeError, "must give 3 numbers"),
        (COLUMNS, ("row", lambda arguments: ["a", "b\0"]), ValueError, "NUL"),
        (COLUMNS, ("", lambda arguments: ["a", "b"]), ValueError, "which is empty"),
    ],
)
def test_axes_of_a_card_that_do_not_fit_are_refused_early(axis, outer_axis, error, message, model, tmp_path):
    with pytest.raises(error, match=f"Metric 'own' of `metrics` has .*{message}"):
        run(model, {"own": with_axes(axis, outer_axis)}, path=tmp_path / "run.h5")
    assert len([*(tmp_path / "run.h5.parts").iterdir()]) == 1


@pytest.mark.parametrize("name", ["example", "attribution", "half", "own", "metric", "axis", "at", "score"])
def test_an_axis_named_like_another_gets_the_metrics_name(name, model, tmp_path):
    result = run(model, {"own": with_axes((name, COLUMNS[1]), ROWS)})
    assert result.dataset["own"].dims == ("attribution", "example", "row", f"{name} (own)")
    turned = run(model, {"own": with_axes(COLUMNS, (name, ROWS[1]))})
    for table in (result.to_dataframe(), turned.to_dataframe()):
        assert list(table.columns) == ["metric", "attribution", "example", "axis", "at", "score"]
        assert set(table["metric"]) == {"own"}
        assert table["axis"].nunique() == 2
    assert_stored(result, tmp_path)


# ---- two axes


@pytest.fixture(scope="module")
def both():
    torch.manual_seed(0)
    return run(Model(4, 3), BOTH)


BOTH = {
    "curves": partial(metrics.removal_curves, n_steps=4),
    "deletion": metrics.deletion,
    "table": lambda attributions: attributions[:, None, :3] * torch.tensor([1.0, 10.0])[:, None],
    "cube": lambda attributions: attributions[:, None, None].expand(-1, 2, 3, -1),
}


def test_both_removal_curves_are_scores_with_two_axes(both, model, tmp_path):
    curves = both.dataset["curves"]
    assert curves.dims == ("attribution", "example", "order", "fraction")
    assert curves["order"].values.tolist() == ["morf", "lerf"]
    for mode in ("morf", "lerf"):
        once = run(model, {"curve": partial(metrics.deletion_curve, mode=mode, n_steps=4)}).dataset["curve"]
        np.testing.assert_array_equal(curves.sel(order=mode, drop=True), once)
    assert both.dataset["table"].dims == ("attribution", "example", "point", "point 2")
    assert both.dataset["cube"].shape == (2, N, 2, 3, 4)
    assert_stored(both, tmp_path)


def test_a_run_with_two_axes_is_resumed(both, model, tmp_path):
    with killed_at(1, "after"):
        run(model, BOTH, path=tmp_path / "run.h5")
    assert run(model, BOTH, path=tmp_path / "run.h5").dataset["curves"].identical(both.dataset["curves"])


def test_methods_that_failed_are_nan_on_both_axes(model, tmp_path):
    bad = {"bad": lambda model: lambda inputs: inputs.reshape(7), "random": random_attribution}
    result = run(model, BOTH, bad, on_error="record", stderr=True)
    assert result.dataset["curves"][0].isnull().all()
    assert result.dataset["curves"][1].notnull().all()
    assert_stored(result, tmp_path)


def test_tables_figures_and_the_report_show_each_curve(both, tmp_path):
    table = both.to_dataframe()
    rows = table[(table["metric"] == "curves") & (table["axis"] == "order=lerf, fraction") & (table["at"] == 1.0)]
    np.testing.assert_array_equal(
        rows["score"].to_numpy().reshape(2, N), both.dataset["curves"].sel(order="lerf", fraction=1.0)
    )
    assert "Without a better side: curves, table, cube" in repr(both)
    assert set(both.summary()["metric"]) == {"deletion"}
    ax = plots.curves(both, "curves")
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert set(lines) == {f"{m} (order={o})" for m in ("random", "second") for o in ("morf", "lerf")}
    mean = both.dataset["curves"].sel(attribution="random", order="lerf").mean("example")
    np.testing.assert_allclose(lines["random (order=lerf)"].get_ydata(), mean, rtol=1e-5)
    assert len({(line.get_color(), line.get_linestyle()) for line in lines.values()}) == 4
    both.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "curves (order=morf)" in page
    assert "curves (order=lerf)" in page


def test_a_table_with_a_direction_is_ranked_at_each_place(model, tmp_path):
    methods = {f"m{i}": partial(random_attribution, seed=i) for i in range(3)}
    result = run(model, {"own": with_axes(COLUMNS, ROWS, True), "deletion": metrics.deletion}, methods)
    summary = result.summary()
    own_rows = summary[summary["metric"] == "own"]
    assert list(dict.fromkeys(zip(own_rows["axis"], own_rows["at"]))) == [
        (f"row={row}, column", at) for row in "ab" for at in (1, 2, 4)
    ]
    expected = result.dataset["own"].sel(row="b", column=4).mean("example")
    np.testing.assert_allclose(own_rows["mean"].to_numpy()[-3:], expected, rtol=1e-5)
    assert len(result.agreement()) == 7 * 6 / 2
    assert "own (row=b, column=4)" in repr(result)
    result.report(tmp_path / "page.html", baseline="m0")
    assert "row=b, column=4" in (tmp_path / "page.html").read_text()


def test_results_with_two_axes_are_merged(both, model):
    more = run(model, BOTH, {"third": partial(random_attribution, seed=2)})
    merged = both.merge(more).dataset
    assert merged["curves"].dims == both.dataset["curves"].dims
    np.testing.assert_array_equal(merged["curves"][2], more.dataset["curves"][0])
    other = run(model, {"coarse": partial(metrics.removal_curves, n_steps=3)})
    assert both.merge(other).dataset["coarse"].dims == ("attribution", "example", "order", "fraction (coarse)")
