# How the engine is loaded: as text in a child, where nothing of it is on the disk, and in a module that Ansible sends.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete in itself, standard library only: its own text is sent along with the others (see _child)."""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import os
import sys
import zipimport
from types import ModuleType
from typing import Any, Mapping, Sequence

PACKAGE = "_primus_patches_engine"  # a name that nothing else has, so that find_spec finds what it would without us


class Engine:
    """Finder and loader of the engine's modules, out of their texts by name."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = {"%s.%s" % (PACKAGE, name): text for name, text in sources.items()}
        self.sources[PACKAGE] = ""

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """The spec of one of our modules; None for all others."""
        if fullname not in self.sources:
            return None
        package = any(name.startswith(fullname + ".") for name in self.sources)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=package)  # type: ignore[arg-type]

    def create_module(self, _spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """As Python makes it."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Compile and run one module."""
        file = "<primus.patches>/%s.py" % module.__name__.partition(".")[2].replace(".", "/")
        exec(compile(self.sources[module.__name__], file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102

    def get_source(self, fullname: str) -> str:
        """The text of one of our modules."""
        return self.sources[fullname]

    def texts(self) -> dict[str, str]:
        """The text of each, as it was given."""
        return {name[len(PACKAGE) + 1 :]: text for name, text in self.sources.items() if name != PACKAGE}


def module(name: str) -> Any:
    """One of the modules beside this one, imported.

    Out of an archive, such as Ansible sends, they are loaded as in a child: Python itself would compile each twice, to
    tell the name of its file and to run it.
    """
    if not isinstance(__spec__.loader, zipimport.zipimporter):
        return importlib.import_module("." + name, __package__)
    if PACKAGE not in sys.modules:
        _load(texts(__spec__))
    return importlib.import_module("%s.%s" % (PACKAGE, name))


def texts(spec: importlib.machinery.ModuleSpec) -> dict[str, str]:
    """The text of each module in the directory of the one with this spec, by dotted name."""
    loader: Any = spec.loader
    if hasattr(loader, "texts"):  # (an Engine, as another interpreter has it)
        return loader.texts()  # type: ignore[no-any-return]
    import pkgutil  # (only here: it is slow to be imported)

    found: dict[str, str] = {}
    packages = [("", os.path.dirname(str(spec.origin)))]
    while packages:
        prefix, directory = packages.pop()
        for each in pkgutil.iter_modules([directory]):
            file = os.path.join(directory, each.name)
            if each.ispkg:
                packages.append((prefix + each.name + ".", file))
            file = os.path.join(file, "__init__.py") if each.ispkg else file + ".py"
            found[prefix + each.name] = loader.get_data(file).decode("utf-8")
    return found


def _load(sources: Mapping[str, str]) -> None:
    finders: Sequence[Any] = [Engine(sources)]
    sys.meta_path[:0] = finders


def run(sources: Mapping[str, str], request: Mapping[str, Any], descriptor: int) -> None:
    """Answer a request on a descriptor, as JSON, and end this process, which is there for that alone."""
    gc.disable()  # (what there is much of are the nodes of syntax trees, without a cycle among them)
    os.set_inheritable(descriptor, False)
    sys.path[:] = [entry for entry in sys.path if entry]  # (the working directory is not the environment's)
    _load(sources)
    text = importlib.import_module(PACKAGE + "._engine").answer(request)
    with os.fdopen(descriptor, "wb") as answer:
        answer.write(text)
    os._exit(0)  # (taking down what is in memory, syntax trees of large files, is a sixth of the whole cost)
