"""Settings of Sphinx for `make docs`. The build downloads nothing and runs no notebook."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import captum_ext  # noqa: E402

project = "captum_ext"
author = "The captum_ext authors"
copyright = author
version = release = captum_ext.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "made_pages", "mathml", "search_excerpts"]
exclude_patterns = ["_build"]
nitpicky = True
default_role = "py:obj"  # a link where an object has that name, else code

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"captum_ext {version}"

autodoc_typehints = "none"  # shapes and types are in the docstrings
autodoc_member_order = "bysource"
autodoc_mock_imports = ["ray"]
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Returns"]  # sentences, not `type: description`

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
nb_execution_mode = "off"
