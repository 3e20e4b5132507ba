"""The page in a real browser, where there is one: no errors, nothing beyond the edge of a phone, sorting."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape

import numpy as np
import pytest
import torch
import xarray as xr

from captum_ext import Evaluation

from .runs import EVIL, METHODS, images, maps, result

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome here")

OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
UP = {"higher_is_better": True}
OPTIONS += ["--virtual-time-budget=3000"]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "page.html"
    result().report(path, images(), maps(), n_examples=4)
    return path.read_text()


def answer(html, script, folder, width=None):
    """What `script` returns in the page, and what the browser's console says; in a frame of that width."""
    script = f"<script>document.body.dataset.answer = JSON.stringify((() => {{ {script} }})());</script>"
    page = html.replace("</body>", f"{script}</body>")
    if width is not None:
        reading = "document.body.dataset.answer = document.querySelector('iframe').contentDocument.body.dataset.answer"
        frame = f'<iframe srcdoc="{escape(page)}" style="border: 0; width: {width}px; height: 800px"></iframe>'
        page = f"<!doctype html><body>{frame}<script>onload = () => {{ {reading} }}</script></body>"
    return dumped(page, folder)


def dumped(page, folder):
    """What a page leaves as its answer, and what the console says."""
    (folder / "asked.html").write_text(page)
    command = [BROWSER, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", f"file://{folder}/asked.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-answer="([^"]*)"', done.stdout.split("<iframe")[0])
    return json.loads(unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


HEADS = "[...document.querySelectorAll('.sortable tbody th')].map(e => e.textContent)"
SORTS = "[...document.querySelectorAll('.sortable thead th')].map(e => e.getAttribute('aria-sort'))"


def test_the_console_is_silent_and_names_are_text(html, tmp_path):
    (shown, scripts), console = answer(html, f"return [{HEADS}, document.scripts.length]", tmp_path)
    assert shown == METHODS
    assert EVIL in shown
    assert scripts == 2  # the page's and the question
    assert console == []


def test_a_column_is_sorted_by_its_button_and_says_so(html, tmp_path):
    script = f"""
      const button = document.querySelectorAll('.sortable button')[3];
      const seen = [];
      for (let k = 0; k < 2; k++) {{ button.click(); seen.push([{HEADS}, {SORTS}]); }}
      document.querySelectorAll('.sortable button')[0].click();
      return [...seen, [{HEADS}, {SORTS}], button.tabIndex];
    """
    (first, second, back, reached), console = answer(html, script, tmp_path)
    means = result().dataset["down"].mean("example").to_series()
    best_first = list(means.sort_values().index)
    assert first == [best_first, [None, None, None, "ascending", None, None]]
    assert second == [best_first[::-1], [None, None, None, "descending", None, None]]
    assert back[0] == METHODS
    assert back[1][0] == "ascending"
    assert reached == 0  # by the keyboard
    assert console == []


def test_what_is_undefined_comes_last_whichever_way_the_rest_goes(html, tmp_path):
    holed = html.replace('data-value="', 'data-value="" data-was="', 4)  # the first method's
    script = f"""
      const button = document.querySelectorAll('.sortable button')[2];
      button.click();
      const one = {HEADS};
      button.click();
      return [one, {HEADS}];
    """
    (one, two), _ = answer(holed, script, tmp_path)
    assert one[-1] == two[-1] == METHODS[0]
    assert one[:2] == two[:2][::-1]


def test_examples_are_sorted_by_a_metric_of_a_method_and_back(html, tmp_path):
    script = """
      const [metric, method] = document.querySelectorAll('.controls select');
      const buttons = document.querySelectorAll('.controls button');
      const order = () => [...document.querySelectorAll('.gallery li')].map(e => Number(e.dataset.number));
      const pressed = () => [...buttons].map(e => e.getAttribute('aria-pressed'));
      const seen = [order()];
      metric.value = 1; method.value = 1;
      const said = () => document.getElementById('sorted').textContent;
      for (const button of buttons) { button.click(); seen.push(order(), pressed(), said()); }
      buttons[0].click();
      method.value = 2; method.dispatchEvent(new Event('change'));
      return [...seen, order()];
    """
    seen, console = answer(html, script, tmp_path)
    scores = result().dataset["down"].isel(example=[0, 6, 13, 19]).to_series().unstack("attribution")
    best_first = list(scores[METHODS[1]].sort_values().index)  # lower is better
    assert seen[0] == [0, 6, 13, 19]
    assert seen[1:4] == [best_first, ["true", "false", "false"], f"Sorted by down of {EVIL}: best first."]
    assert seen[4:6] == [best_first[::-1], ["false", "true", "false"]]
    assert seen[7:10] == [[0, 6, 13, 19], ["false", "false", "true"], "Sorted: in order."]
    assert seen[10] == list(scores[METHODS[2]].sort_values().index)
    assert console == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_reaches_beyond_the_edge_and_buttons_are_large_enough(width, html, tmp_path):
    script = """
      const shown = [...document.querySelectorAll('button, select')].filter(e => e.checkVisibility());
      const sizes = shown.map(e => e.getBoundingClientRect().height);
      const page = document.documentElement;
      return [page.scrollWidth, page.clientWidth, Math.min(...sizes)];
    """
    (content, window, smallest), _ = answer(html, script, tmp_path, width)
    assert window == width
    assert content <= window
    assert smallest >= 24  # WCAG 2.2, target size


WIDTHS = [320, 390, 768, 1000, 1120, 1200, 1280, 1920]


def test_of_many_methods_and_metrics_no_score_is_cut_at_any_width(tmp_path):
    rng, axes = np.random.default_rng(0), ("attribution", "example")
    names = ["sensitivity-max", "seg-sensitivity-n", "relevance_mass_accuracy", "effective_complexity"]
    variables = {f"{name}{i}": (axes, rng.normal(size=(12, 9)), UP) for i in (1, 2, 3) for name in names[: 4 - i // 2]}
    methods = [f"IntegratedGradients{i}" for i in range(12)]
    Evaluation(xr.Dataset(variables, {"attribution": methods, "example": range(9)})).report(
        tmp_path / "page.html", baseline=methods[0], n_examples=0
    )
    html = (tmp_path / "page.html").read_text()
    frames = "".join(f'<iframe srcdoc="{escape(html)}" style="width: {w}px; border: 0"></iframe>' for w in WIDTHS)
    script = """
      const cut = box => [...box.querySelectorAll('.scores, .scores .scroll')].some(e => e.scrollWidth > e.clientWidth);
      const table = page => page.querySelector('.sortable').checkVisibility();
      document.body.dataset.answer = JSON.stringify([...document.querySelectorAll('iframe')].map(
        e => [cut(e.contentDocument), table(e.contentDocument)]));
    """
    seen = dumped(f"<!doctype html><body>{frames}<script>onload = () => {{ {script} }}</script></body>", tmp_path)[0]
    assert [cut for cut, _ in seen] == [False] * len(WIDTHS)
    assert [table for _, table in seen] == [width >= 1280 for width in WIDTHS]  # else a ranking for each metric


def test_scores_of_an_example_wrap_where_their_table_is_wider_than_the_page(html, tmp_path):
    script = """
      const cut = e => e.scrollWidth > e.clientWidth;
      return [[...document.querySelectorAll('.gallery .scroll')].some(cut), document.querySelectorAll('.wraps').length];
    """
    (cut, wrapped), _ = answer(html, script, tmp_path, 320)
    assert not cut
    assert wrapped
    assert answer(html, script, tmp_path, 1280)[0] == [False, 0]


def test_texts_wrap_within_a_phone(tmp_path):
    tokens = [["<s>", " unbreakable" * 40, "x" * 300, "\n", " \u05e9\u05dc\u05d5\u05dd", " end"]] * 20
    result().report(tmp_path / "page.html", None, {METHODS[0]: torch.randn(20, 6)}, tokens=tokens, n_examples=2)
    script = """
      const page = document.documentElement;
      const ends = [...document.querySelectorAll('.tokens span')].map(e => e.getBoundingClientRect().right);
      return [page.scrollWidth, Math.max(...ends)];
    """
    (content, end), console = answer((tmp_path / "page.html").read_text(), script, tmp_path, 390)
    assert content <= 390
    assert end <= 390
    assert console == []


def test_the_dark_page_is_dark(html, tmp_path, monkeypatch):
    script = "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    light, _ = answer(html, script, tmp_path)
    monkeypatch.setattr(f"{__name__}.OPTIONS", [*OPTIONS, "--blink-settings=preferredColorScheme=0"])
    dark, _ = answer(html, script, tmp_path)
    assert light == ["rgb(255, 255, 255)", "rgb(26, 30, 36)"]
    assert dark == ["rgb(20, 23, 28)", "rgb(232, 235, 240)"]


def test_what_is_elsewhere_is_not_loaded_and_an_error_would_be_noticed(html, tmp_path):
    loading = html.replace("</main>", '<img src="http://127.0.0.1:9/x.png" alt=""></main>')
    _, console = answer(loading, "console.error('broken'); return 0", tmp_path)
    assert any("Content Security Policy" in line and "img-src" in line for line in console)
    assert any("broken" in line for line in console)
