"""The documentation has a page for every metric, and its links lead somewhere.

`make docs` builds it; nothing here needs Sphinx.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from captum_ext import metrics, plots

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WRITTEN = [file for file in DOCS.rglob("*.md") if not {"_build", "made"} & set(file.relative_to(DOCS).parts)]
EVERYWHERE = [ROOT / "README.md", *WRITTEN]
EVERY_DOCUMENT = pytest.mark.parametrize("file", WRITTEN, ids=lambda file: str(file.relative_to(DOCS)))
EVERY_DOCUMENT_AND_README = pytest.mark.parametrize("file", EVERYWHERE, ids=lambda file: str(file.relative_to(ROOT)))


def loaded(name: str):
    specification = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


made_pages = loaded("made_pages")
gallery = loaded("gallery")
PAGES = made_pages.pages()
METRICS = [name for name in metrics.__all__ if hasattr(getattr(metrics, name), "card")]


def listed(page: str, text: str) -> set[str]:
    """The pages of its tables of contents."""
    trees = re.findall(r"\.\. toctree::\n(?:   :.*\n)*\n((?:   \S+\n)+)", text)
    return {f"{page.rpartition('/')[0]}/{entry}" for tree in trees for entry in tree.split()}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_its_page_in_the_tables_of_contents_of_its_family(name):
    card = getattr(metrics, name).card
    folder = f"metrics/{made_pages.file_name(card.family)}"
    page = PAGES[f"{folder}/{name}"]
    assert f".. autofunction:: captum_ext.metrics.{name}\n" in page
    assert card.rows in page
    assert card.reference in page
    assert f"{folder}/{name}" in listed(f"{folder}/index", PAGES[f"{folder}/index"])
    assert f"{folder}/index" in listed("metrics/index", PAGES["metrics/index"])


def test_what_is_exported_and_no_metric_is_in_the_reference():
    others = set(metrics.__all__) - set(METRICS)
    assert others
    for name in others:
        assert f"captum_ext.metrics.{name}\n" in PAGES["api/metrics"]


def test_a_direction_that_an_argument_turns_around_is_said():
    assert "the other way round with ``mode='lerf'``" in PAGES["metrics/removal/deletion"]


def test_every_family_is_explained_and_has_a_picture(tmp_path):
    explained = (DOCS / "concepts" / "families.md").read_text()
    figures = loaded("figures")
    for family in metrics.available().families():
        assert f"(family-{made_pages.file_name(family)})=\n## {family}\n" in explained
        assert family in figures.PANELS or callable(getattr(figures, family))
    figures.draw("effects", tmp_path / "drawn" / "one.svg")
    assert (tmp_path / "drawn" / "one.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("name", METRICS)
def test_the_page_of_a_metric_has_every_argument_and_its_default(name):
    rows = made_pages.arguments(name)
    for parameter in inspect.signature(getattr(metrics, name)).parameters:
        assert f"   * - ``{parameter}``\n" in rows


def test_an_argument_that_the_docstring_leaves_to_another_metric_is_explained():
    assert made_pages.described("srg")["rounding"] == made_pages.described("deletion_curve")["rounding"]
    assert "even" in made_pages.described("aopc")["n_steps"]
    assert "share" in made_pages.described("insertion")["stop"]
    assert "``target``\n     - ``None``\n     - as in Captum's metrics\n" in made_pages.arguments("srg")


# `monotonicity` is the same for all orders on an additive model, and `share_shown` asks only how much a map shows.
NOT_TOLD_APART = {"monotonicity", "share_shown"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", METRICS)
def test_the_picture_of_a_metric_shows_that_it_prefers_the_good_explanation(name):
    metric = getattr(metrics, name)
    good, bad = (gallery.score(metric, method) for method in gallery.methods_of(metric))
    if good.dim() == 0 and name not in NOT_TOLD_APART:
        assert good > bad if metric.card.higher_is_better else good < bad
    assert f"figures/metrics/{name}.svg" in PAGES["metrics/gallery"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["srg", "removal_curves", "sensitivity_max", "pointing_game", "completeness"])
def test_a_picture_is_drawn_with_the_same_bytes_each_time(name, tmp_path):
    for file in ("first.svg", "second.svg"):
        gallery.draw(name, tmp_path / file)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_the_decision_has_every_family_and_metrics_of_each():
    page = (DOCS / "which-metric.md").read_text()
    rows = re.findall(r"^\| \[.*?\]\(#.*?\) \| (.+?) \| (.+?) \|$", page, re.M)
    assert {family for family, _ in rows} == set(metrics.available().families())
    for family, names in rows:
        assert f"Family: {{ref}}`{family} <family-{made_pages.file_name(family)}>`" in page
        named = re.findall(r"`(\w+)`", names)
        assert len(named) in (2, 3)
        assert {getattr(metrics, name).card.family for name in named} == {family}


def test_the_glossary_has_a_sentence_or_two_for_each_word_and_no_word_twice():
    entries = re.findall(r"^(\w.*)\n  (.+)$", (DOCS / "glossary.md").read_text(), re.M)
    words = [word for word, _ in entries]
    assert len(words) > 40
    assert words == sorted(set(words), key=str.lower)
    assert [word for word, said in entries if not said.endswith(".")] == []


@EVERY_DOCUMENT_AND_README
def test_relative_links_lead_to_files(file):
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.S)
    for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text):
        assert (file.parent / target).exists(), target
    for target in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        page = (file.parent / target).resolve().relative_to(DOCS)
        assert (page.parts[0] == "made" and "/".join(page.parts[1:]) in PAGES) or (DOCS / f"{page}.md").exists(), target


@EVERY_DOCUMENT
def test_a_written_page_is_in_a_table_of_contents(file):
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.S)
    entries = [line for tree in trees for line in tree.split() if not line.startswith(":")]
    page = file.relative_to(DOCS).with_suffix("")
    assert str(page) == "index" or any(page.match(entry) for entry in entries)


def test_pages_of_metrics_in_the_table_of_contents_are_made():
    index = (DOCS / "index.md").read_text()
    for entry in re.findall(r"^made/(.*)$", index, re.M):
        assert entry in {*PAGES, "plots"}  # the gallery of figures, tested below
    assert {f"api/{name}" for name in ("metrics", *made_pages.REFERENCE)} <= set(
        re.findall(r"^made/(.*)$", index, re.M)
    )


def test_tests_that_are_named_as_evidence_exist():
    named = set(re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)`", "".join(f.read_text() for f in EVERYWHERE)))
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_gallery_of_figures_shows_each_function_of_plots_and_its_code_runs(tmp_path):
    gallery = loaded("plot_gallery")
    drawing = {name for name, f in vars(plots).items() if inspect.isfunction(f) and f.__module__ == plots.__name__}
    public = {name for name in drawing if not name.startswith("_")} - {"tokens"}  # which is HTML
    assert public <= set(gallery.FIGURES)
    gallery.draw(tmp_path)
    page = gallery.page()
    for name in gallery.FIGURES:
        assert (tmp_path / f"{name}.svg").read_text().startswith("<?xml")
        assert f"figures/plots/{name}.svg" in page
    papers = [name for name in gallery.FIGURES if name.startswith("paper")]
    assert len(papers) == 3
    for name in papers:
        width = re.search(r'width="([\d.]+)pt"', (tmp_path / f"{name}.svg").read_text())
        assert float(width[1]) == pytest.approx(3.3 * 72)
