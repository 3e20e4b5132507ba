"""Excerpts of the pages that a search finds, also where the site is read from a folder: there, a browser lets no script
read another page, so the search page gets the texts of all pages as a script.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "texts_of_pages.js"
# The search asks for a page as it would ask a server, and takes the text from the element with the role "main".
SCRIPT = r"""if (location.protocol === "file:") {
  const texts = %s;
  window.fetch = async (address) => {
    const page = document.createElement("div");
    page.setAttribute("role", "main");
    page.textContent = texts[address.replace(/^\.\//, "")] || "";
    return new Response(page.outerHTML);
  };
}
"""


def add_script(app: Any, page: str, template: str, context: Any, doctree: Any) -> None:
    if page == "search":
        app.add_js_file(FILE)


def write_script(app: Any, error: Exception | None) -> None:
    if app.builder.format == "html" and not error:
        texts = {app.builder.get_target_uri(page): text_of(app, page) for page in sorted(app.env.found_docs)}
        (Path(app.outdir) / "_static" / FILE).write_text(SCRIPT % json.dumps(texts))


def text_of(app: Any, page: str) -> str:
    return " ".join(app.env.get_doctree(page).astext().split())


def setup(app: Any) -> dict[str, bool]:
    app.connect("html-page-context", add_script)
    app.connect("build-finished", write_script)
    return {"parallel_read_safe": True}
