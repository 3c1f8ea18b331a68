# What a child of an environment's interpreter runs first: the engine comes as text, and nothing of it is on the disk.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete in itself, standard library only: its own text is sent along with the others (see _child)."""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import os
import sys
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


def load(sources: Mapping[str, str]) -> Any:
    """The engine out of these texts; what was loaded before stays."""
    name = PACKAGE + "._engine"
    if name not in sys.modules:
        finders: Sequence[Any] = [Engine(sources)]
        sys.meta_path[:0] = finders
    return importlib.import_module(name)


def run(sources: Mapping[str, str], request: Mapping[str, Any], descriptor: int) -> None:
    """Answer a request on a descriptor, as JSON, and end this process, which is there for that alone."""
    gc.disable()  # (what there is much of are the nodes of syntax trees, without a cycle among them)
    os.set_inheritable(descriptor, False)
    sys.path[:] = [entry for entry in sys.path if entry]  # (the working directory is not the environment's)
    text = load(sources).answer(request)
    with os.fdopen(descriptor, "wb") as answer:
        answer.write(text)
    os._exit(0)  # (taking down what is in memory, syntax trees of large files, is a sixth of the whole cost)
