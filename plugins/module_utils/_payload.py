# Imports from the archive that Ansible sends to a node, at half the price.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sys
import zipimport


class _Importer(zipimport.zipimporter):
    """Does not compile a module to tell the name of its file, as zipimport's own does before each import."""

    def get_filename(self, fullname: str) -> str:
        """The path of a module. Raises ZipImportError where there is none."""
        name = fullname.rpartition(".")[2]
        file = os.path.join(name, "__init__.py") if self.is_package(fullname) else name + ".py"
        return os.path.join(self.archive, self.prefix, file)


def compile_once(directory: str) -> None:
    """Let what is imported from now on out of a directory of an archive be compiled once."""
    if not os.path.isdir(directory):
        for package in (directory, os.path.join(directory, "_catalogue")):
            sys.path_importer_cache[package] = _Importer(package)
