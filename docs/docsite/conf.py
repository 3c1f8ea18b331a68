# Sphinx's settings for the documentation site; tools/docsite.py lays out what it reads, and runs it.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.diff import DiffLexer
from sphinx.highlighting import lexers

if TYPE_CHECKING:
    from docutils.nodes import Node
    from sphinx.application import Sphinx

project = "primus.patches"
copyright = "the primus.patches contributors"  # noqa: A001 (Sphinx wants that name)
html_title = "primus.patches"
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
html_use_index = False
smartquotes_action = "D"  # antsibull-docs writes -- for a dash; quotes stay as they are
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
# What antsibull-docs links to in Ansible's own documentation.
_ANSIBLE = re.compile(
    r"ansible_collections\.ansible\.builtin\.|(ansible_configuration_settings|common_return_values)$|\w+_plugins$"
)


def _elsewhere(_app: Sphinx, _environment: object, reference: Node, text: Node) -> Node | None:
    """Leave the text of such a link, where the inventory that has its address is not there."""
    return text if _ANSIBLE.match(reference.get("reftarget", "")) else None


def setup(app: Sphinx) -> None:
    """Ask after intersphinx, whose priority is 500."""
    app.connect("missing-reference", _elsewhere, priority=900)
