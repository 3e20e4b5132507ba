"""Examples one by one: which, with what pictures, and what is wrong with what was handed over."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from captum.attr import Saliency

from captum_ext import Evaluation, attribute_dataset, evaluate, load, metrics, random_attribution
from captum_ext.evaluation.display import directed_scores
from captum_ext.evaluation.formats import FORMATS
from captum_ext.report import gallery, pictures

from .runs import METHODS, Page, images, maps, page_of, result

Image = pytest.importorskip("PIL.Image")


def shown(data=None, attributions=None, n_examples=4, dataset=None, **options):
    dataset = result().dataset if dataset is None else dataset
    return gallery.examples(dataset, directed_scores(dataset), data, attributions, n_examples, **options)[0]


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.uri.split(",")[1]))).convert("RGB")).astype(int)


def test_the_examples_are_spread_evenly_over_the_data_set():
    assert [e.number for e in shown(n_examples=4)] == [0, 6, 13, 19]
    assert [e.number for e in shown(n_examples=99)] == list(range(20))
    assert shown(n_examples=0) == []


def test_an_example_has_the_scores_of_the_results_with_the_best_marked():
    dataset = result().dataset
    example = shown()[1]
    assert [s.label for s in example.scores] == ["up", "down", "sized (n=1)", "sized (n=5)"]
    assert example.scores[1].values == dataset["down"].values[:, 6].tolist()
    assert [s.best for s in example.scores] == [[True, False, False]] * 4
    assert [s.texts[1] for s in shown()[0].scores][2:] == ["–", "–"]


def test_a_score_has_its_standard_error_over_the_draws_beside_it():
    dataset = result().dataset
    errors = np.full(dataset["down"].shape, 0.25)
    errors[1] = np.nan
    dataset = dataset.assign({"down stderr": (dataset["down"].dims, errors, {"stderr_of": "down"})})
    texts = shown(dataset=dataset)[1].scores[1].texts
    assert [" ± 0.25" in text for text in texts] == [True, False, True]


def test_inputs_targets_and_maps_are_those_of_the_example():
    data, attributions = images(), maps()
    example = shown(data, attributions)[1]
    assert example.target == "0"
    expected = np.round(255 * data[6][0].numpy()).transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels(example.image), expected)
    total = attributions[METHODS[0]][6].sum(0).numpy()
    red, _, blue = np.moveaxis(pixels(example.maps[0]), -1, 0)
    strong = np.abs(total) > 0.5
    np.testing.assert_array_equal((blue > red)[strong], (total > 0)[strong])  # purple for it, orange against it
    assert example.maps[1] is not None
    assert example.maps[2] is None


@pytest.mark.parametrize(
    ("coords", "target", "text"),
    [
        ({}, "data", "0"),
        ({}, "null", ""),
        ({"target": ("example", np.arange(20) + 3)}, "predicted", "9 (predicted)"),
        ({"predicted_target": ("example", np.arange(20) + 3.0)}, "predicted", "9 (predicted)"),
        ({"target": ("example", np.full(20, np.nan))}, "predicted", ""),
    ],
)
def test_the_target_that_is_shown_is_the_one_that_was_explained(coords, target, text):
    assert shown(images(), dataset=result(target=target).dataset.assign_coords(coords))[1].target == text


def test_tables_are_maps_and_what_cannot_be_shown_is_named():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 5)))
    example = shown([(torch.zeros(5), 0)] * 20, {METHODS[0]: table})[1]
    assert example.maps[0] is not None
    with pytest.raises(TypeError, match=r"`data` and `attributions` must hold tensors or arrays, .* got dict"):
        shown([({"image": 1}, 0)] * 20)


def test_examples_are_looked_up_by_their_number_in_the_data_set():
    later = result().dataset.isel(example=slice(10, 20))
    attributions = maps()
    example = shown(None, attributions, 1, later)[0]
    assert example.number == 10
    assert example.maps == shown(None, attributions, 99)[10].maps


def test_a_file_of_attribute_dataset_serves_all_methods_or_one(tmp_path):
    data = [(torch.rand(1, 4, 4), 0) for _ in range(20)]
    methods = {"a": random_attribution, "random": random_attribution}
    attribute_dataset(torch.nn.Flatten(), data, methods, tmp_path / "maps.h5")
    variable = xr.DataArray(np.zeros((2, 20)), dims=("attribution", "example"))
    dataset = xr.Dataset({"up": variable}, {"attribution": ["a", "random"], "example": np.arange(20)})
    (both,) = shown(data, str(tmp_path / "maps.h5"), 1, dataset)
    (one,) = shown(data, {"a": tmp_path / "maps.h5"}, 1, dataset)
    assert all(both.maps)
    assert one.maps[0] == both.maps[0]
    assert one.maps[1] is None


def test_of_several_inputs_the_first_that_can_be_shown_is_shown_with_its_map():
    data = [((torch.rand(2, 2, 2, 2), torch.rand(1, 4, 4)), (0, 1)) for _ in range(20)]
    attributions = {"random": (torch.rand(20, 2, 2, 2, 2), torch.rand(20, 1, 4, 4))}
    example = shown(data, attributions)[0]
    assert (example.image.width, example.maps[2].width) == (4, 4)
    assert example.target == "(0, 1)"


def test_what_has_no_picture_still_has_its_scores(tmp_path):
    example = shown([(torch.rand(5, 4, 4), None)] * 20, {"random": torch.rand(20, 2, 2, 2, 2)})[0]
    assert (example.image, example.maps, example.target) == (None, [None] * 3, "")
    assert not example.has_pictures
    assert not page_of(result(), tmp_path, [(torch.rand(5, 4, 4), 1)] * 20).all("img")


@pytest.mark.parametrize("values", [np.ones((3, 5, 7)), np.ones((1, 5, 7)), np.ones((5, 7))])
def test_images_have_pictures(values):
    for picture in (pictures.of_input(values, "text"), pictures.of_attribution(values, "text")):
        assert (picture.width, picture.height, picture.text) == (7, 5, "text")


def test_tables_are_bars_beside_their_values():
    table = pictures.of_input(np.array([0.5, -20.0]), "text", ["age", "<b>"])
    assert [node.text for node in Page(table.drawing).root.all("text")] == ["age = 0.5", "<b> = -20"]
    bars = Page(pictures.of_attribution(np.array([1.0, -2.0]), "text").drawing).root.all("path")
    assert [(bar.attributes["class"], bar.text) for bar in bars] == [("for", "1"), ("anti", "-2"), ("zero", "")]
    lengths = [float(bar.attributes["d"].split("h")[1].split("v")[0]) for bar in bars[:2]]
    assert lengths == [pictures.BAR / 4, -pictures.BAR / 2]


@pytest.mark.parametrize(("shape", "lines"), [((2, 30), 2), ((41,), 1)])
def test_series_are_lines_with_the_map_under_them(shape, lines):
    values, phi = np.random.default_rng(0).normal(size=shape), np.zeros(shape)
    phi[..., 3], phi[..., 5] = 1, -1
    paths = Page(pictures.of_attribution(phi, "text", values).drawing).root.all("path")
    kinds = [path.attributes["class"] for path in paths]
    assert kinds == ["line"] * lines + ["for", "anti"] * lines
    assert len(Page(pictures.of_input(values, "text").drawing).root.all("path")) == lines
    under = float(paths[lines].attributes["d"].split(" ")[1].split("h")[0])
    assert under > pictures.SERIES_SIZE[1]


def test_volumes_are_slices():
    values = np.zeros((1, 12, 4, 5))
    values[0, 0], values[0, 11] = 1, 0.5
    shown = pixels(pictures.of_input(values, "text"))[..., 0]
    assert shown.shape == (8, 15)  # two rows of three slices, the first and the last among them
    assert (shown[:4, :5] == 255).all()
    assert (shown[4:, 10:] == 128).all()
    picture = pictures.of_attribution(np.ones((3, 12, 4, 5)), "text", np.ones((3, 12, 4, 5)))
    assert (picture.width, picture.height) == (15, 8)


def test_classes_have_their_names():
    names = ["cat", "dog", "<b>"]
    assert [e.target for e in shown(images(), class_names=names)] == ["cat", "cat", "dog", "dog"]
    predicted = result(target="predicted").dataset.assign_coords(target=("example", np.full(20, 2)))
    assert shown(dataset=predicted, class_names={2: "bird"})[0].target == "bird (predicted)"
    with pytest.raises(ValueError, match="`class_names` must have a name for class 1, got 1 names"):
        shown(images(), class_names=["cat"])
    with pytest.raises(TypeError, match="`class_names` must be a list of names, got str 'cat'"):
        shown(images(), class_names="cat")
    with pytest.raises(ValueError, match="`feature_names` must have a name for each of 5 features, got 1"):
        shown([(torch.zeros(5), 0)] * 20, feature_names=["age"])


def test_what_is_missing_is_said_with_the_argument_that_brings_it(tmp_path):
    def said(*arguments):
        (tmp_path / "page.html").unlink(missing_ok=True)
        return [node.text for node in page_of(result(), tmp_path, *arguments).all("p", class_="about")][1:]

    inputs, every, some = said()[0], said(images())[0], said(images(), maps())[0]
    assert inputs == "The inputs are not shown: give the data set that was evaluated, as in report(path, data)."
    assert every.startswith("No map is shown: give attributions=")
    assert some.startswith("No map of random is shown: give attributions=")


# ---- maps that `evaluate` keeps

KINDS = {"saliency": Saliency, "random": random_attribution}


def evaluated(examples=30, **options):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    data = [(torch.rand(3, 4, 4), i % 2) for i in range(examples)]
    return data, net, evaluate(net, data, KINDS, {"insertion": metrics.insertion}, batch_size=4, **options)


@pytest.mark.parametrize("format", ["the call", *FORMATS])
def test_maps_of_a_dozen_examples_are_kept_and_shown(format, tmp_path):
    data, net, found = evaluated(path=tmp_path / "run.h5")
    if format != "the call":
        found.save(tmp_path / "saved", format)
        found = load(tmp_path / "saved")
    assert found.kept.numbers == np.linspace(0, 29, 12).round().astype(int).tolist()
    page = page_of(found, tmp_path, data, n_examples=3)
    assert [c.text.split(",")[0] for c in page.all("h3")][:3] == ["Example 0", "Example 16", "Example 29"]
    assert len(page.all("img")) == 3 * 3
    for number in found.kept.numbers:
        x, target = data[number]
        expected = Saliency(net).attribute(x[None], target=target)[0].sum(0)
        np.testing.assert_allclose(found.kept.arrays["0.0"][found.kept.numbers.index(number)][0], expected, rtol=1e-5)


def test_kept_maps_are_no_scores_and_those_given_come_first(tmp_path):
    data, _, found = evaluated(path=tmp_path / "run.h5")
    assert list(found.dataset.data_vars) == ["insertion"]
    assert load(tmp_path / "run.h5").dataset.identical(found.dataset)
    again = evaluate(
        torch.nn.Flatten(), [(torch.rand(1, 2, 2), 0)] * 3, {"random": random_attribution}, {"x": metrics.insertion}
    )
    assert again.kept.numbers == [0, 1, 2]
    shown = page_of(found, tmp_path, data, {"random": torch.rand(30, 1, 4, 4)}, n_examples=2)
    assert len(shown.all("img")) == 2 * 2


def test_of_a_run_that_stops_early_a_dozen_is_kept_too():
    _, _, found = evaluated(200, until="best", order="shuffled")
    assert found.dataset.sizes["example"] < 200
    assert len(found.kept.numbers) == 12
    assert set(found.kept.numbers) <= set(found.dataset["example"].values.tolist())


def test_large_pictures_are_made_smaller_and_small_ones_are_shown_in_squares():
    picture = pictures.of_input(np.random.default_rng(0).random((3, 300, 600)), "")
    assert (picture.width, picture.height, picture.in_squares) == (224, 112, False)
    assert pictures.of_attribution(np.eye(600), "").width == 224
    assert pictures.of_input(np.ones((1, 32, 32)), "").in_squares
    assert pictures.of_input(np.zeros((1, 1, 2000)), "").height == 1


def test_images_out_of_range_are_stretched():
    values = np.array([[[-1.0, 3.0], [1.0, 1.0]]])
    assert pixels(pictures.of_input(values, ""))[..., 0].tolist() == [[0, 255], [128, 128]]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_map_without_anything_to_show_is_pale(value, recwarn):
    picture = pixels(pictures.of_attribution(np.full((1, 4, 4), value), ""))
    assert (picture > 230).all()
    assert not recwarn.list


def test_a_single_outlier_does_not_hide_the_rest():
    values = np.ones(1000)
    values[0] = 10
    assert pictures.largest(values) == 1
    assert pictures.largest(np.array([0.0, -3.0])) == 3


def test_what_does_not_fit_the_results_is_refused_by_name():
    with pytest.raises(ValueError, match=r"`data` has 5 examples, but the results are of examples up to number 19"):
        shown(images(5))
    with pytest.raises(ValueError, match=r"`attributions\['random'\]` has 5 examples"):
        shown(images(), {"random": torch.rand(5, 3, 8, 8)})
    with pytest.raises(ValueError, match=r"`attributions` has Lime, but the results are of IntegratedGradients"):
        shown(images(), {"Lime": torch.rand(20, 3, 8, 8)})
    with pytest.raises(TypeError, match=r"`attributions` must be a mapping from methods' names.*got Tensor"):
        shown(images(), torch.rand(20, 3, 8, 8))
    with pytest.raises(TypeError, match="`data` must be a torch data set with a length"):
        shown(iter([]))


def test_a_page_with_pictures_says_what_their_colours_mean(tmp_path):
    page = page_of(Evaluation(result().dataset), tmp_path, images(), maps(), n_examples=1)
    assert "purple speaks for the output" in page.text
    assert [node.attributes["alt"] for node in page.all("img")] == [
        "Example 0",
        *(f"Map of {name} for example 0" for name in METHODS[:2]),
    ]
