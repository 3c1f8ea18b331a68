# What a fresh process of the environment's interpreter runs to try imports: complete in itself, standard library only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sent as text to ``python -c``, so that nothing of this collection is importable while the imports are tried.

Reads one JSON request from standard input and adds one JSON line for each import to the request's file ``results``,
each when it is done, so that a crash loses nothing that came before it. The file is only open while it is written: of a
descriptor that stays open, an import may close the number and open a file of its own under it.
"""

from __future__ import annotations

import errno
import faulthandler
import importlib
import importlib.machinery
import importlib.util
import json
import linecache
import os
import sys
import time
import traceback
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from typing import Any, Iterator, Mapping

LONGEST = 1 << 18  # characters of an error, a traceback or a version


class Tree:
    """Files as a change would leave them: bytes in place of files, files that are away, directories that come and go.

    ``previews``: bytes (as latin-1) by path; None for a file that is away, and for a directory that goes with the last
    file in it.
    """

    def __init__(self, previews: Mapping[str, str | None]) -> None:
        self._above: dict[str, str] = {}
        self.texts: dict[str, bytes | None] = {}
        self.made: set[str] = set()
        self.names: dict[str, set[str]] = {}  # modules that are found otherwise than on disk, by directory
        for path, text in previews.items():
            self.texts[self.place(path)] = None if text is None else text.encode("latin-1")
        for path in sorted(self.texts, key=len, reverse=True):  # (what is in a directory comes before it)
            if self.texts[path] is None and os.path.isdir(path) and self.entries(path) - {"__pycache__"}:
                del self.texts[path]
            elif os.path.isfile(path) is not (self.texts[path] is not None) or os.path.isdir(path):
                self._differs(path)

    def _differs(self, path: str) -> None:
        """Note what comes or goes with a file: a module, and where it is the first of a directory, that one."""
        directory, name = os.path.split(path)
        names = self.names.setdefault(directory, set())
        names.add(name.partition(".")[0])
        if name.startswith("__init__."):  # (what makes a directory a package is for the finder of the one above)
            self.names.setdefault(os.path.dirname(directory), set()).add(os.path.basename(directory))
        while self.texts[path] is not None and not os.path.isdir(directory):
            self.made.add(directory)
            directory, name = os.path.split(directory)
            self.names.setdefault(directory, set()).add(name)

    def place(self, path: str) -> str:
        """Where a path leads. Its last part is not followed: a change replaces a link, and not where it leads."""
        above, name = os.path.split(path)
        if above not in self._above:
            self._above[above] = os.path.realpath(above)
        return os.path.join(self._above[above], name)

    def shows(self, path: Any) -> bool:
        """Whether this file is seen otherwise than it is on disk."""
        return isinstance(path, str) and self.place(path) in self.texts

    def text(self, path: str) -> bytes:
        """The bytes of a file that is shown. Raises FileNotFoundError for one that is away."""
        text = self.texts[self.place(path)]
        if text is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return text

    def is_file(self, path: str) -> bool:
        return self.texts[self.place(path)] is not None if self.shows(path) else os.path.isfile(path)

    def is_directory(self, path: str) -> bool:
        path = os.path.realpath(path)
        return path in self.made or (path not in self.texts and os.path.isdir(path))

    def entries(self, directory: str) -> set[str]:
        """The names in a directory."""
        directory = os.path.realpath(directory)
        found = set(os.listdir(directory)) if os.path.isdir(directory) else set()
        seen = {path: text is not None for path, text in self.texts.items()}
        for path, there in [*seen.items(), *((path, True) for path in self.made)]:
            if os.path.dirname(path) == directory:
                (found.add if there else found.discard)(os.path.basename(path))
        return found


class Finder(FileFinder):
    """What Python's own finder of a directory does, over a tree; for what a change leaves alone it is that finder."""

    tree: Tree
    loaders: Any = (
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (SourceFileLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )

    @classmethod
    def of(cls, entry: str) -> Finder:
        """A finder for an entry of a search path, as an entry of ``sys.path_hooks`` gives it."""
        if isinstance(entry, str) and os.path.realpath(entry) in cls.tree.names:
            return cls(entry, *cls.loaders)
        raise ImportError("not changed")

    def find_spec(self, fullname: str, target: Any = None) -> Any:
        """The module's spec; as in importlib's ``FileFinder.find_spec``: package, module, namespace."""
        name = fullname.rpartition(".")[2]
        if name not in self.tree.names[os.path.realpath(self.path)]:
            return super().find_spec(fullname, target)
        base = os.path.join(self.path, name)
        for start, locations in ((os.path.join(base, "__init__"), [base]), (base, None)):
            for kind, suffixes in self.loaders:
                for path in (start + suffix for suffix in suffixes):
                    if self.tree.is_file(path):
                        loader = kind(fullname, path)
                        return importlib.util.spec_from_file_location(
                            fullname, path, loader=loader, submodule_search_locations=locations
                        )
        if not self.tree.is_directory(base):
            return None
        spec = importlib.machinery.ModuleSpec(fullname, None)
        spec.submodule_search_locations = [base]
        return spec

    def modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """Names of modules and whether they are packages, as ``pkgutil.iter_modules`` tells them of a directory."""
        from inspect import getmodulename

        found: dict[str, bool] = {}
        for entry in sorted(self.tree.entries(self.path)):
            name = getmodulename(entry)
            if not name and "." not in entry:
                if "__init__" in map(getmodulename, self.tree.entries(os.path.join(self.path, entry))):
                    found.setdefault(entry, True)
            elif name and name != "__init__" and "." not in name:
                found.setdefault(name, False)
        return ((prefix + name, is_package) for name, is_package in found.items())


def serve(tree: Tree) -> None:
    """Let imports see the tree's files in place of those on disk, whichever finder leads to them.

    Every finder (sys.path, .pth, import hooks of editable installs, namespace packages) ends in a SourceFileLoader.
    Without a stat of the source it neither reads nor writes bytecode: an unchecked .pyc cannot get in between. Modules
    that come or go are found by finders of the directories where they do.
    """
    get_data, path_stats, update = SourceFileLoader.get_data, SourceFileLoader.path_stats, linecache.updatecache

    def preview_data(self: SourceFileLoader, path: Any) -> bytes:
        return tree.text(path) if tree.shows(path) else get_data(self, path)

    def preview_stats(self: SourceFileLoader, path: Any) -> Any:
        if tree.shows(path):
            raise OSError("previewed")
        return path_stats(self, path)

    def preview_lines(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
        if not tree.shows(filename) or not tree.is_file(filename):
            return update(filename, module_globals)
        text = tree.text(filename)
        lines = importlib.util.decode_source(text).splitlines(True)
        linecache.cache[filename] = (len(text), None, lines, filename)  # (no mtime: checkcache() leaves it alone)
        return lines

    setattr(SourceFileLoader, "get_data", preview_data)
    setattr(SourceFileLoader, "path_stats", preview_stats)
    setattr(linecache, "updatecache", preview_lines)
    if tree.names:
        import pkgutil

        Finder.tree = tree
        sys.path_hooks.insert(0, Finder.of)
        sys.path_importer_cache.clear()
        pkgutil.iter_importer_modules.register(Finder, Finder.modules)  # type: ignore[attr-defined]
    early = [name for name, module in list(sys.modules.items()) if concerns(tree, module)]
    for name in early:  # a .pth file imported it when the interpreter started: let it be imported anew
        top = name.partition(".")[0]
        for loaded in [loaded for loaded in sys.modules if loaded == top or loaded.startswith(top + ".")]:
            del sys.modules[loaded]


def concerns(tree: Tree, module: Any) -> bool:
    """Whether a module that was imported on disk's terms may be another one in the tree."""
    known = getattr(module, "__dict__", {})
    file = known.get("__file__")
    if tree.shows(file):
        return True
    places = [file[: -len(".py")]] if isinstance(file, str) and file.endswith(".py") else []
    places += [place for place in known.get("__path__") or () if isinstance(place, str)]
    return any(os.path.realpath(place) in tree.names for place in places)


def run_only_roots() -> None:
    """From now on let no module be run that anybody but root may write, whichever finder leads to it.

    By the audit events (PEP 578) of code that is run and of extension modules that are loaded; of a module in an
    archive the archive counts. (A group that may write counts but for root's, and 50, Debian's staff.)
    """
    judged: dict[str, str | None] = {}

    def other(path: str) -> str | None:
        """Who else may write at a path, or above it; None for nobody."""
        if path not in judged:
            above = os.path.dirname(path)
            judged[path] = other(above) if above != path else None
            try:
                info = os.stat(path)
            except OSError:
                return judged[path]
            shared = info.st_mode & 0o002 or (info.st_mode & 0o020 and info.st_gid not in (0, 50))
            if info.st_uid or (shared and not info.st_mode & 0o1000):
                judged[path] = "%s of user %d, mode %o" % (path, info.st_uid, info.st_mode & 0o7777)
        return judged[path]

    def hook(event: str, arguments: Any) -> None:
        if event == "exec":
            name = getattr(arguments[0], "co_filename", "")
        elif event == "import":
            name = arguments[1]
        else:
            return
        if isinstance(name, str) and os.path.isabs(name):
            found = other(os.path.realpath(name))
            if found:
                ways = "Run as the owner (become_user), or set trust_writers: true"
                raise ImportError("root does not run %s: others may write %s. %s" % (name, found, ways))

    sys.addaudithook(hook)


def attempt(reference: str) -> dict[str, Any]:
    """Import ``module`` or ``module:name,name``; what a result of an import says, less its name."""
    module_name, _colon, names = reference.partition(":")
    result: dict[str, Any] = {"ok": False, "version": None, "cause": None, "error": None, "traceback": None}
    try:
        module = importlib.import_module(module_name)
        absent = [name for name in names.split(",") if name and not reaches(module, name)]
    except BaseException as error:  # noqa: BLE001 (an import may raise SystemExit or KeyboardInterrupt, too)
        result["cause"], told = explain(error, module_name)
        result["error"] = told[:LONGEST]
        result["traceback"] = "".join(traceback.format_exception(type(error), error, error.__traceback__))[-LONGEST:]
        return result
    if absent:
        result["cause"] = "name"
        result["error"] = "expected %s in %s, found none (%s)" % (
            ", ".join(absent),
            module_name,
            getattr(module, "__file__", None) or "no file",
        )
        return result
    result["ok"] = True
    result["version"] = version(module_name)
    return result


def reaches(thing: Any, dotted: str) -> bool:
    """Whether the object reference resolves, as those of entry points do: by attributes."""
    for name in dotted.split("."):
        try:
            thing = getattr(thing, name)
        except AttributeError:
            return False
    return True


def explain(error: BaseException, module_name: str) -> tuple[str, str]:
    """The cause of a failed import in one word, and as text.

    What an error was raised from counts as its cause. What merely was being handled then does so for an ImportError
    alone: other errors may come from a fallback for something optional that is not installed.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        implicit = isinstance(link, ImportError) and not link.__suppress_context__
        link = link.__cause__ or (link.__context__ if implicit else None)
    for each in chain:
        if isinstance(each, ModuleNotFoundError) and each.name:
            if module_name == each.name or module_name.startswith(each.name + "."):
                return "name", "module %s not found" % each.name
            return "dependency", "needs the module %s, which is not installed: %s" % (each.name, said(each))
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return "crash", "the import ended the interpreter: %s" % said(error)
    for each in chain:
        if isinstance(each, ImportError) and "cannot import name" in said(each):
            return "name", said(each)
    return "exception", said(error)


def said(error: BaseException) -> str:
    """Type and text of an error."""
    try:
        return "%s: %s" % (type(error).__name__, error)
    except Exception:  # noqa: BLE001 (what an import raises may be broken in itself)
        return "%s, whose text cannot be had" % type(error).__name__


def version(module_name: str) -> str | None:
    """Version of what was imported: the nearest package that states one, else its distribution's."""
    parts = module_name.split(".")
    try:
        for count in range(len(parts), 0, -1):
            found = getattr(sys.modules.get(".".join(parts[:count])), "__version__", None)
            if isinstance(found, str):
                return found[:LONGEST]
        from importlib.metadata import version as distribution_version

        return distribution_version(parts[0])
    except BaseException:  # noqa: BLE001 (no distribution, broken metadata, a module's __getattr__: the import stands)
        return None


def main() -> None:
    os.close(int(sys.argv[1].partition(":")[0]))  # (a program that an import starts must not hold it open)
    request = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.argv[:] = ["-c"]
    sys.path[:] = request["roots"] + [entry for entry in sys.path if entry not in ("", os.getcwd())]
    faulthandler.enable(2)  # (no descriptor of our own: under its number an import may have opened a file)
    faulthandler.dump_traceback_later(request["timeout"], exit=True, file=2)  # (even if who started it is gone)
    serve(Tree(request["previews"]))
    if request["only_roots"]:
        run_only_roots()
    process = os.getpid()
    for name in request["imports"]:
        start = time.monotonic()
        result = attempt(name)
        if os.getpid() != process:  # an import forked, and its child came back, too: one of us answers
            os._exit(0)
        result.update(name=name, seconds=round(time.monotonic() - start, 3))
        with open(request["results"], "ab") as results:
            results.write(json.dumps(result).encode("ascii") + b"\n")
    os._exit(0)  # threads that an import started must not keep the process, nor their exit handlers speak


if __name__ == "__main__":
    main()
