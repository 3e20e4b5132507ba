"""The page: its arguments are checked, its parts put together, and it is written whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import xarray as xr

from .._core.checks import check_flag
from .._core.printing import printable
from .._token_texts import JOINERS, LEGEND, css
from .._version import __version__
from ..evaluation import display
from ..evaluation.files import check_writable, written_aside
from ..evaluation.kept_maps import Kept
from ..evaluation.score import GROUP, Score, presentable
from . import words
from .findings import check, findings
from .records import WORD_START
from .tables import tables

ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


def write(
    dataset: xr.Dataset,
    path: str | os.PathLike[str],
    data: Any = None,
    attributions: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    n_examples: int = 12,
    baseline: str = "random",
    confidence: float = 0.95,
    tokens: Any = None,
    overwrite: bool = False,
    *,
    class_names: Any = None,
    feature_names: Any = None,
    kept: Kept | None = None,
) -> None:
    """Writes the report of a dataset of scores to `path`: see `captum_ext.Evaluation.report`."""
    (charts, gallery), environment = _drawing(), _environment()
    check(dataset, baseline, confidence, n_examples)
    target = check_writable(path, check_flag("overwrite", overwrite))
    if target.is_dir():
        raise FileExistsError(f"`path` {target} is a folder; give the name of a file for the page.")
    dataset, baseline = presentable(dataset), printable(baseline)
    found = tables(dataset, baseline, confidence)
    shown, missing = gallery.examples(
        *(dataset, _of_examples(dataset, found.scores), data, attributions, n_examples, tokens),
        class_names=class_names,
        feature_names=feature_names,
        kept=kept,
    )
    page = environment.get_template("page.html").render(
        today=date.today().isoformat(),
        version=__version__,
        **vars(findings(dataset, found)),
        charts=charts.curves(dataset, confidence),
        view_box=charts.VIEW_BOX,
        few_bands=charts.plots.FEW_BANDS,
        gallery=shown,
        missing=missing,
        costs=None if kept is None or kept.costs.empty else words.costs(kept.costs),
        token_legend=LEGEND,
        token_css=css(".tokens"),
    )
    with written_aside(target) as aside:
        aside.write_text(printable(page, keep="\n" + JOINERS), encoding="utf-8")


def _of_examples(dataset: xr.Dataset, found: list[Score]) -> list[Score]:
    """The scores of single examples, also where groups of them count as one."""
    return display.directed_scores(dataset.drop_vars(GROUP)) if GROUP in dataset.coords else found


def _drawing() -> Any:
    """The modules that draw, whose libraries are an extra."""
    try:
        import matplotlib as matplotlib
        from PIL import Image as Image
    except ImportError as error:
        raise _missing("matplotlib") from error
    from . import charts, gallery

    return charts, gallery


def _environment() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise _missing("jinja2") from error
    environment = Environment(
        loader=PackageLoader("captum_ext.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(with_links=_with_links, breakable=_breakable, sortable=_sortable, arrow=display.arrow)
    return environment


def _missing(library: str) -> ImportError:
    return ImportError(f'The report needs {library}. Install it with: pip install "captum-ext[report]"')


def _with_links(reference: str) -> Any:
    """Text in which every arXiv number is a link."""
    from markupsafe import Markup, escape

    link = r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">arXiv:\1</a>'
    return Markup(ARXIV.sub(link, str(escape(reference))))


def _breakable(name: str) -> Any:
    """A name with places for line breaks: before a capital that starts a word, after underscores, slashes, points."""
    from markupsafe import Markup

    return Markup("<wbr>").join(WORD_START.split(name))


def _sortable(value: float) -> str:
    """The value of `data-value`: empty where the score is undefined, which sorts last."""
    return repr(float(value)) if np.isfinite(value) else ""
