"""Makes pages when the documentation is built: one for each metric, and one for each module of the reference.

The page of a metric comes from its card and docstring. This is a Sphinx extension, but only `setup` needs Sphinx. The
pages are written to `docs/made/`, which git ignores.
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captum_ext import metrics
from captum_ext.metrics.available import Entry

OFFERED = ("summary", "compare", "tie_with_best", "mean_ranks", "agreement", "ranking_consistency", "reliability")
HERE = Path(__file__).parent
MADE = HERE / "made"
TUTORIALS = HERE.parent / "tutorials"
REFERENCE = {  # page of the reference -> modules on it
    "evaluation": [
        "captum_ext",
        *(f"captum_ext.evaluation.{name}" for name in ("comparison", "meta_evaluation", "advice")),
    ],
    "inputs": [
        f"captum_ext.{name}" for name in ("baselines", "feature_masks", "layers", "perturbations", "truth_masks")
    ],
    "outputs": ["captum_ext.outputs"],
    "llm": ["captum_ext.llm"],
    "plots": ["captum_ext.plots"],
    "engines": ["captum_ext.evaluation.engines"],
    "attribench": [
        f"captum_ext.attribench{name}"
        for name in ("", ".data", ".masking", ".masking.image", ".functional", ".functional.metrics", ".result")
    ],
}
TITLES = {
    "attribench": "AttriBench",
    "inputs": "Masks, fills and perturbations",
    "llm": "Language models",
    "outputs": "Segmentation and detection",
}
MEMBERS = {  # for modules without `__all__`
    "captum_ext.evaluation.comparison": ", ".join(OFFERED),
    "captum_ext.evaluation.advice": "advice",
    "captum_ext.evaluation.meta_evaluation": "meta_evaluation",
}
AS_IN_CAPTUM = "as in Captum's metrics"
CAPTUMS = {  # arguments that docstrings leave to Captum
    *("forward_func", "inputs", "target", "additional_forward_args", "max_examples_per_batch", "show_progress"),
    *("perturb_func", "perturb_radius", "n_perturb_samples", "normalize"),
}
ADDRESS = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}


def file_name(family: str) -> str:
    return family.replace(" ", "-")


def title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def pages() -> dict[str, str]:
    """Returns every page that is made, by its path below `docs/made` without `.rst`."""
    families = metrics.available().families()
    made = {f"metrics/{family}/{name}": text for (family, name), text in metric_pages(families).items()}
    made["metrics/index"] = index_page(families)
    made["metrics/gallery"] = gallery_page(families)
    made["api/metrics"] = functions_page()
    return made | {f"api/{name}": module_page(name, modules) for name, modules in REFERENCE.items()}


def metric_pages(families: dict[str, list[Entry]]) -> dict[tuple[str, str], str]:
    """Returns a page for each family and each metric, by folder and name."""
    made = {}
    for family, entries in families.items():
        made[file_name(family), "index"] = family_page(family, entries)
        made |= {(file_name(family), entry.name): metric_page(entry, entries) for entry in entries}
    return made


def metric_page(entry: Entry, family: list[Entry]) -> str:
    return (
        title(entry.name)
        + facts(entry)
        + picture_of(entry, "../../")
        + f".. autofunction:: captum_ext.metrics.{entry.name}\n\n"
        + arguments(entry.name)
        + ".. rubric:: In the same family\n\n"
        + "".join(f"- :doc:`{other.name}`: {escaped(other.summary)}\n" for other in family if other.name != entry.name)
        + f"\nWhat misleads all of them: :ref:`{entry.family} <family-{file_name(entry.family)}>`.\n"
    )


def facts(entry: Entry) -> str:
    """Makes a table of what the card says."""
    card = getattr(metrics, entry.name).card
    rows = {
        "Family": f":doc:`{entry.family} <index>`",
        "Better": {"higher": "higher ↑", "lower": "lower ↓"}.get(entry.better or "", "a curve has no better side"),
        "Range": entry.range_text,
        "Cost in model rows": f"{entry.rows}  (a batch of B examples)",
        "Needs": ", ".join(entry.needs),
        "Paper": paper(entry.reference),
    }
    if card.flipped_by:
        rows["Better"] += f"; the other way round with ``{card.flipped_by[0]}={card.flipped_by[1]!r}``"
    if card.undirected_by:
        rows["Better"] += f"; neither with ``{card.undirected_by[0]}={card.undirected_by[1]!r}``"
    lines = "".join(f"   * - {name}\n     - {value}\n" for name, value in rows.items())
    return f".. list-table::\n   :stub-columns: 1\n   :widths: auto\n\n{lines}\n"


def arguments(name: str) -> str:
    """Makes a table of every argument, also of those that the docstring leaves to another metric's."""
    said = described(name)
    given = [
        (
            f"``{p.name}``",
            default(p),
            said.get(p.name) or (AS_IN_CAPTUM if p.name in CAPTUMS else "as in the text above"),
        )
        for p in inspect.signature(getattr(metrics, name)).parameters.values()
    ]
    rows = "".join("   * - " + "\n     - ".join(row) + "\n" for row in given)
    head = "   * - Argument\n     - Default\n     - Meaning\n"
    return f".. rubric:: Every argument\n\n.. list-table::\n   :header-rows: 1\n   :widths: 22 18 60\n\n{head}{rows}\n"


def default(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_KEYWORD:
        return "any"
    if parameter.default is parameter.empty:
        return "required"
    value = parameter.default
    return f"``{getattr(value, '__name__', None) or repr(value)}``"


def described(name: str, seen: frozenset[str] = frozenset()) -> dict[str, str]:
    """Returns what the docstring says of each argument; those of the metrics it refers to fill in the others."""
    text = inspect.getdoc(getattr(metrics, name)) or ""
    section = re.search(r"^Args:\n((?: .*\n|\n)+)", text, re.M)
    entries = re.findall(r"^    ([\w, `]+): (.*(?:\n      .*)*)", section.group(1) if section else "", re.M)
    own = {argument: " ".join(said.split()) for names, said in entries for argument in re.findall(r"\w+", names)}
    named = [other for other in re.findall(r"`(\w+)`", text) if hasattr(getattr(metrics, other, None), "card")]
    for other in dict.fromkeys(named):
        if other not in seen | {name}:
            own = described(other, seen | {name}) | own
    return own


def paper(reference: str) -> str:
    found = re.search(r"(arXiv|doi):([^\s,]+)", reference)
    return f"`{reference} <{ADDRESS[found.group(1)]}{found.group(2)}>`__" if found else reference


def escaped(summary: str) -> str:
    return summary.replace("*", r"\*").replace("|", r"\|")


def picture(family: str) -> str:
    return f".. image:: ../../figures/{file_name(family)}.svg\n   :alt: An example of {family}\n\n"


def picture_of(entry: Entry, up: str) -> str:
    better = {"higher": "higher is better", "lower": "lower is better"}.get(entry.better or "", "curves")
    alt = f"A good and a bad explanation as {entry.name} sees them, and their scores; {better}"
    return f".. image:: {up}figures/metrics/{entry.name}.svg\n   :alt: {alt}\n\n"


def gallery_page(families: dict[str, list[Entry]]) -> str:
    """Makes a page with the picture of every metric."""
    text = (
        "A good and a bad explanation of a small model, which sees a disc and, below it, a few pixels that speak "
        "against the class. Under each explanation is the score that the metric itself gives it; blue is the good one. "
        "What makes the other a bad one depends on what the family asks: it lies elsewhere, is spread out, jumps when "
        "the input moves, or does not depend on the model.\n\n"
    )
    parts = [
        title(family.capitalize(), "-") + "".join(in_gallery(entry) for entry in entries)
        for family, entries in families.items()
    ]
    return title("Gallery of metrics") + text + "".join(parts)


def in_gallery(entry: Entry) -> str:
    link = f":doc:`{file_name(entry.family)}/{entry.name}`"
    return f"{link} {entry.arrow} {escaped(entry.summary)}\n\n{picture_of(entry, '../')}"


def family_page(family: str, entries: list[Entry]) -> str:
    head = ("Metric", "What it says", "Better", "Range", "Model rows")
    rows = [(f":doc:`{e.name}`", escaped(e.summary), e.arrow, e.range_text, e.rows) for e in entries]
    return (
        title(family.capitalize())
        + picture(family)
        + f"What they ask, and what misleads them: :ref:`{family} <family-{file_name(family)}>`.\n\n"
        + table("22 42 8 10 18", head, *rows)
        + toctree([entry.name for entry in entries], "hidden:")
    )


def table(widths: str, *rows: Sequence[str]) -> str:
    """The first row is the head."""
    lines = "".join("   * - " + "\n     - ".join(row) + "\n" for row in rows)
    return f".. list-table::\n   :header-rows: 1\n   :widths: {widths}\n\n{lines}\n"


def toctree(documents: list[str], *options: str) -> str:
    return (
        ".. toctree::\n"
        + "".join(f"   :{o}\n" for o in options)
        + "\n"
        + "".join(f"   {d}\n" for d in documents)
        + "\n"
    )


def index_page(families: dict[str, list[Entry]]) -> str:
    text = (
        "A metric is a function that takes one batch and returns a tensor with a row per example. "
        "`captum_ext.metrics.available` lists all metrics in Python.\n\n"
    )
    parts = [in_index(family, entries) for family, entries in families.items()]
    return title("Metrics") + text + "".join(parts) + toctree([f"{file_name(f)}/index" for f in families], "hidden:")


def in_index(family: str, entries: list[Entry]) -> str:
    folder = file_name(family)
    rows = [(f":doc:`{e.name} <{folder}/{e.name}>`", escaped(e.summary), e.arrow) for e in entries]
    link = f":doc:`The family and what misleads it <{folder}/index>`\n\n"
    return title(family.capitalize(), "-") + link + table("28 62 10", ("Metric", "What it says", "Better"), *rows)


def functions_page() -> str:
    """Makes the page of everything in `captum_ext.metrics` that is not a metric."""
    others = [name for name in metrics.__all__ if not hasattr(getattr(metrics, name), "card")]
    text = (
        ".. py:module:: captum_ext.metrics\n\n"
        "Each metric has :doc:`its own page <../metrics/index>`. The module also has:\n\n"
    )
    return title("captum_ext.metrics") + text + "".join(f".. autofunction:: captum_ext.metrics.{n}\n\n" for n in others)


def module_page(name: str, modules: list[str]) -> str:
    single = len(modules) == 1
    parts = [
        ("" if single else title(module, "-"))
        + f".. automodule:: {module}\n   :members: {MEMBERS.get(module, '')}".rstrip()
        + "\n\n"
        for module in modules
    ]
    return title(modules[0] if single else TITLES.get(name, name.capitalize())) + "".join(parts)


def write(_: Any = None) -> None:
    """Writes only the pages that changed, so that a second build has less to do."""
    import figures
    import gallery
    import plot_gallery

    made = pages() | {"plots": plot_gallery.page()}
    for old in MADE.rglob("*.rst"):
        if str(old.relative_to(MADE).with_suffix("")) not in made:
            old.unlink()
    for name, text in made.items():
        put(MADE / f"{name}.rst", text)
    for family in metrics.available().families():
        figures.draw(family, MADE / "figures" / f"{file_name(family)}.svg")
    plot_gallery.draw(MADE / "figures" / "plots")
    for entry in metrics.available():
        gallery.draw(entry.name, MADE / "figures" / "metrics" / f"{entry.name}.svg")
    shutil.rmtree(MADE / "tutorials", ignore_errors=True)
    for notebook in TUTORIALS.glob("*.ipynb"):
        put(MADE / "tutorials" / notebook.name, notebook.read_text().replace("(../docs/", "(../../"))


def put(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def known(_app: Any, _env: Any, node: Any, content: Any) -> Any:
    """Shows names that are not from this package as code, so that they are not reported as broken links."""
    python = node.get("refdomain") == "py"
    ours = node["reftype"] != "obj" and node["reftarget"].startswith("captum_ext")
    return content if python and not ours else None


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write)
    app.connect("missing-reference", known)
    return {"parallel_read_safe": True}
