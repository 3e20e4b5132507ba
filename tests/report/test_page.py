"""The page: one file that needs no other, in which names are text, and which all can read."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import captum_ext.report
from captum_ext import Evaluation, plots
from captum_ext._core.printing import printable

from .runs import EVIL, METHODS, Page, images, maps, page_of, result

TEMPLATES = Path(captum_ext.report.__file__).parent / "templates"
CSS = (TEMPLATES / "style.css").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(result(), tmp_path_factory.mktemp("report"), images(), maps(), n_examples=3)


# ---- one file


def test_nothing_is_loaded_from_elsewhere(page):
    for node in page.walk():
        for name in ("src", "href", "xlink:href", "srcset", "poster", "data", "action"):
            value = node.attributes.get(name, "#")
            plain_link = node.tag == "a" and value.startswith("https://arxiv.org/abs/")
            assert value.startswith(("#", "data:image/png;base64,")) or plain_link, (node.tag, name, value[:80])
    assert not page.all("link")
    assert not page.all("base")
    assert "@import" not in CSS
    assert "url(" not in CSS


def test_the_browser_is_told_to_load_nothing(page):
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")


def test_no_machines_path_is_in_it(page, tmp_path):
    result().report(tmp_path / "page.html")
    written = (tmp_path / "page.html").read_text()
    assert str(Path.home()) not in written
    assert str(tmp_path) not in written


def test_every_template_is_used_and_packaged():
    source = "".join(file.read_text() for file in TEMPLATES.iterdir()) + 'include "page.html"'
    assert all(re.search(rf'(include|from) "{file.name}"', source) for file in TEMPLATES.iterdir())
    assert "report/templates/*" in (Path(__file__).parents[2] / "setup.cfg").read_text()


# ---- names are text


def test_a_method_named_like_a_script_is_shown_as_such(page):
    assert len(page.all("script")) == 1
    assert "alert" not in page.all("script")[0].text
    heads = [node.text for node in page.all("th", scope="row")]
    assert EVIL in heads
    assert all(EVIL in node.attributes["alt"] for node in page.all("img") if "alert" in node.attributes["alt"])


def test_other_texts_are_text_too(page, tmp_path):
    assert not page.all("b")
    assert not page.all("i")
    assert any("<b>morf</b>" in node.text for node in page.all("code"))
    targets = [(image, "</script><b>") for image, _ in images()]
    attributes = {"model": "<b>", "failures": '[{"error": "<b>"}]'}
    assert not page_of(result(**attributes), tmp_path, targets, n_examples=1).all("b")


@pytest.mark.parametrize("name", ["$\\frac{$", "_x\ny", "%s {{ 7 * 7 }}"])
def test_no_name_breaks_the_page(name, tmp_path):
    dataset = result(methods=[name, "b", "random"]).dataset.rename({"a/curve $x": name, "fraction": f"at {name}"})
    page = page_of(Evaluation(dataset), tmp_path, n_examples=1)
    assert page.all("table")[0].all("th", scope="row")[0].text == printable(name)
    assert "49" not in page.all("h1")[0].text


# ---- for all readers


def test_it_has_a_language_a_title_one_main_heading_and_headings_in_order(page):
    assert page.all("html")[0].attributes["lang"] == "en"
    assert "3 methods on 20 examples" in page.all("title")[0].text
    levels = [int(node.tag[1]) for node in page.walk() if re.fullmatch(r"h\d", node.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_every_picture_has_a_text(page):
    assert len(page.all("img")) == 3 * 3
    assert all(node.attributes["alt"] for node in page.all("img"))
    for drawing in page.all("svg"):
        hidden = drawing.attributes.get("aria-hidden") == "true"
        assert hidden or (drawing.attributes["role"] == "img" and drawing.attributes["aria-label"])


def test_every_arrow_is_also_said_in_words(page):
    arrows = [node for node in page.walk() if node.tag == "span" and node.text in ("↑", "↓")]
    assert len(arrows) > 6
    assert all(node.attributes["aria-hidden"] == "true" for node in arrows)
    said = [node.text for node in page.all("span", class_="unseen")]
    assert Counter(said)[", higher is better"] == sum(node.text == "↑" for node in arrows)


def test_what_can_be_pressed_is_a_button_and_what_scrolls_takes_the_focus(page):
    sortable = page.all("table", class_="sortable")[0]
    heads = sortable.all("th", scope="col")
    assert all(head.all("button", type="button") for head in heads)
    for region in page.all("div", class_="scroll"):
        assert region.attributes["tabindex"] == "0"
        assert region.attributes["role"] == "region"
        label = region.attributes.get("aria-labelledby")
        assert region.attributes.get("aria-label") or page.all("_", id=label)


def test_ids_are_unique_and_what_refers_to_one_finds_it(page):
    ids = Counter(node.attributes["id"] for node in page.walk() if "id" in node.attributes)
    assert max(ids.values()) == 1
    for node in page.walk():
        for value in node.attributes.values():
            for target in re.findall(r"^#(.+)|url\(#(.+?)\)", value or ""):
                assert "".join(target) in ids


def colours(mode):
    """The style sheet's variables, in light or in dark."""
    light, dark = CSS.split("@media (prefers-color-scheme: dark)")
    of = lambda text: dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", text.split("\n}")[0]))  # noqa: E731
    return of(light) | (of(dark) if mode == "dark" else {})


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def mixed(one, other, share):
    parts = [share * int(one[i : i + 2], 16) + (1 - share) * int(other[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(part):02x}" for part in parts)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_and_lines_stand_out_from_what_is_behind_them(mode):
    """By the measures of WCAG 2.2, AA: 4.5 for text, 3 for lines."""
    c = colours(mode)
    backgrounds = [c["--paper"], c["--surface"]]
    for text in ("--ink", "--muted", "--accent"):
        assert min(contrast(c[text], b) for b in backgrounds) >= 4.5, text
    assert min(contrast(c["--best-ink"], c["--best"]), contrast(c["--ink"], c["--best"])) >= 4.5
    for strongest in ("--along", "--against"):
        assert contrast(c["--ink"], mixed(c[strongest], c["--paper"], 0.4)) >= 4.5, strongest
    for i in range(len(plots.COLORS)):
        assert contrast(c[f"--series-{i}"], c["--paper"]) >= 3, i
    if mode == "light":
        assert tuple(c[f"--series-{i}"] for i in range(len(plots.COLORS))) == plots.COLORS


def test_the_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_every_colour_of_the_page_is_the_style_sheets(page):
    outside = CSS.split("--series-11: #0d865e;")[1].split("@media print")[0]
    assert not re.search(r"#[0-9a-fA-F]{3,6}\b", outside)
    drawn = "".join(node.attributes.get("style", "") for node in page.walk())
    assert set(re.findall(r"#[0-9a-f]{6}", drawn)) <= {"#b0b0b0"}  # the grid's grey, on either ground
    assert "var(--series-2)" in drawn
    assert "currentColor" in drawn


# ---- parts that there may not be


def test_a_result_with_nothing_to_rank_is_still_a_page(tmp_path):
    page = page_of(Evaluation(result().dataset[["a/curve $x"]]), tmp_path, n_examples=2)
    assert "no method can be called the best" in page.all("h1")[0].text
    assert not page.all("table", class_="sortable")
    assert len(page.all("figure")) == 1


@pytest.mark.parametrize("methods", [["one"], ["one", "random"]])
def test_one_or_two_methods_are_no_obstacle(methods, tmp_path):
    page = page_of(Evaluation(result().dataset.isel(attribution=slice(len(methods)))), tmp_path, n_examples=2)
    assert len(page.all("table", class_="sortable")[0].all("th", scope="row")) == len(methods)
    assert not page.all("table", class_="matrix")


@pytest.mark.parametrize("examples", [1, 2])
def test_one_or_two_examples_are_no_obstacle(examples, tmp_path):
    page = page_of(result(examples), tmp_path, images(examples))
    assert sum(node.attributes.get("id", "").startswith("example-") for node in page.walk()) == examples
    assert bool(page.all("div", class_="controls")) == (examples > 1)


def test_a_method_without_a_score_is_no_obstacle(tmp_path, recwarn):
    dataset = result().dataset
    for variable in dataset.data_vars.values():
        variable.values[1] = np.nan
    page = page_of(Evaluation(dataset), tmp_path, n_examples=1)
    row = page.all("table", class_="sortable")[0].all("tr")[2]
    assert {cell.attributes["data-value"] for cell in row.all("td")[1:]} == {""}
    assert "100% undefined" in row.text
    assert not recwarn.list


def test_settings_and_failures_are_told(tmp_path):
    page = page_of(result(failures='[{"metric": "up", "error": "boom"}]'), tmp_path, n_examples=0)
    settings = {node.all("dt")[0].text: node.all("dd")[0].text for node in page.all("div") if node.all("dt")}
    assert settings["seed"] == "7"
    assert settings["torch"] == "2.9"
    assert settings["n_steps"] == "5"
    assert "metric: up; error: boom" in page.text
    assert page.all("a")[0].attributes["href"] == "https://arxiv.org/abs/1806.07421"
    assert "captum_ext " + captum_ext.__version__ in page.all("footer")[0].text


# ---- the file


def test_what_is_there_already_is_left_alone(tmp_path):
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(FileExistsError, match=r"`path` .*page.html exists already; choose another"):
        result().report(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "mine"
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        result().report(tmp_path / "nowhere" / "page.html")


def test_with_overwrite_a_file_is_replaced_and_a_folder_is_not(tmp_path):
    (tmp_path / "page.html").write_text("an earlier page")
    result().report(tmp_path / "page.html", n_examples=0, overwrite=True)
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    with pytest.raises(FileExistsError, match="is a folder; give the name of a file"):
        result().report(tmp_path, n_examples=0, overwrite=True)
    with pytest.raises(TypeError, match="`overwrite` must be True or False, got str 'yes'"):
        result().report(tmp_path / "page.html", n_examples=0, overwrite="yes")


def test_the_page_is_whole_or_absent(tmp_path, monkeypatch):
    def broken(self, text, **options):
        self.open("w").write(text[:100])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        result().report(tmp_path / "page.html", n_examples=0)
    assert list(tmp_path.iterdir()) == []


def test_the_same_results_give_the_same_page(tmp_path):
    for name in ("one", "two"):
        result().report(tmp_path / name, n_examples=1)
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"baseline": 3}, TypeError, "`baseline` must be the name of a method, got int"),
        ({"confidence": 1.0}, ValueError, "`confidence` must be a number between 0 and 1, neither included, got 1.0"),
        (
            {"confidence": "high"},
            TypeError,
            "`confidence` must be a number between 0 and 1, neither included, got str 'high'",
        ),
        ({"n_examples": -1}, ValueError, "`n_examples` must be at least 0, got -1"),
        ({"n_examples": True}, TypeError, "`n_examples` must be an integer, got bool True"),
        ({"n_examples": 2.0}, TypeError, r"`n_examples` must be an integer, got float 2\.0"),
    ],
)
def test_a_wrong_argument_is_named(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        result().report(tmp_path / "page.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_results_without_scores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="The results have no scores to report: their sizes are"):
        Evaluation(result().dataset.isel(example=[])).report(tmp_path / "page.html")


@pytest.mark.parametrize("library", ["jinja2", "matplotlib", "PIL"])
def test_without_a_library_the_error_says_what_to_install(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ImportError, match=r'The report needs \w+\. Install it with: pip install "captum-ext\[report\]"'
    ):
        result().report(tmp_path / "page.html")


def test_results_import_the_report_only_when_it_is_asked_for():
    tree = ast.parse(Path(sys.modules["captum_ext.evaluation.results"].__file__).read_text())
    at_the_top = [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert len(at_the_top) > 5
    assert not any("report" in line for line in at_the_top)


def test_the_reader_of_pages_finds_what_is_not_closed():
    with pytest.raises(AssertionError):
        Page("<div><p></div>")
    assert METHODS[1] == EVIL
