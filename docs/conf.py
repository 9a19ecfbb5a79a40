"""Sphinx's settings: `python -m sphinx -W docs FOLDER` builds the site."""

from __future__ import annotations

import sys
from pathlib import Path

from midas.version import version as midas_version

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "midas"
author = "The midas developers"
copyright = author
version = release = midas_version()
html_title = f"midas {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "public_names"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3
# No network is needed to build or to read the site: formulae are text, fonts are the reader's own.
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
default_role = "code"
pygments_style = "friendly"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_class_signature = "separated"
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
