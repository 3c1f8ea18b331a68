# Sphinx's settings for the documentation site; tools/docsite.py lays out what it reads, and runs it.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

from pygments.lexers.diff import DiffLexer
from sphinx.highlighting import lexers

project = "primus.patches"
copyright = "the primus.patches contributors"  # noqa: A001 (Sphinx wants that name)
html_title = "primus.patches"
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
html_use_index = False
html_theme_options = {
    "source_repository": "https://github.com/primus-patches/primus.patches",
    "top_of_page_buttons": [],
}

extensions = ["myst_parser", "sphinx.ext.intersphinx", "sphinx_antsibull_ext"]
myst_heading_anchors = 4  # as GitHub makes them, so that one link works in both places
highlight_language = "text"
lexers["patch"] = DiffLexer()

# Inventories of other projects are there only where they could be fetched.
_KNOWN = {"ansible_devel": "https://docs.ansible.com/ansible/devel/", "python3": "https://docs.python.org/3/"}
_HERE = Path(__file__).parent
intersphinx_mapping = {
    name: (url, str(_HERE / f"{name}.inv")) for name, url in _KNOWN.items() if (_HERE / f"{name}.inv").exists()
}
