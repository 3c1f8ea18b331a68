# What a fresh process of the environment's interpreter runs to try imports: complete in itself, standard library only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sent as text to ``python -c``, so that nothing of this collection is importable while the imports are tried.

Reads one JSON request from standard input and adds one JSON line for each import to the request's file ``results``,
each when it is done, so that a crash loses nothing that came before it. The file is only open while it is written: of a
descriptor that stays open, an import may close the number and open a file of its own under it.
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.util
import json
import linecache
import os
import sys
import time
import traceback
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from typing import Any, Mapping, Sequence

LONGEST = 1 << 18  # characters of an error, a traceback or a version


class Finder:
    """Finds modules that are not there yet, and none that are to go, in the directories that previews concern."""

    def __init__(self, previews: Mapping[str, bytes | None]) -> None:
        self.new = {path for path, text in previews.items() if text is not None and not os.path.exists(path)}
        self.gone = {path for path, text in previews.items() if text is None}
        self.directories = {os.path.dirname(path) for path in self.gone}
        for path in self.new:
            above = os.path.dirname(path)
            self.directories.add(above)
            while not os.path.isdir(above):
                above = os.path.dirname(above)
                self.directories.add(above)
        for path in [*self.new, *self.gone]:
            if os.path.basename(path) == "__init__.py":
                self.directories.add(os.path.dirname(os.path.dirname(path)))

    def find_spec(self, fullname: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """The spec of a module in one of the directories; None for all others, which Python's own finders look for."""
        entries = [entry or os.getcwd() for entry in (sys.path if path is None else path) if isinstance(entry, str)]
        if not any(os.path.realpath(entry) in self.directories for entry in entries):
            return None
        spaces: list[str] = []
        for entry in entries:
            stem = os.path.join(os.path.realpath(entry), fullname.rpartition(".")[2])
            init, module = os.path.join(stem, "__init__.py"), stem + ".py"
            if init in self.new:
                return spec_from_file_location(fullname, init, submodule_search_locations=[stem])
            found = PathFinder.find_spec(fullname, [entry])
            origin = os.path.realpath(found.origin) if found is not None and found.origin else None
            if origin == init and init in self.gone:  # (Python looks for a module of that name then)
                found = spec_from_file_location(fullname, module) if os.path.exists(module) else None
                origin = module if found is not None else None
            if module in self.new and (found is None or origin is None):
                return spec_from_file_location(fullname, module)
            if origin is not None and origin not in self.gone:
                return found
            if origin is None and (found is not None or any(each.startswith(stem + os.sep) for each in self.new)):
                spaces.append(os.path.join(entry, fullname.rpartition(".")[2]))
        if spaces:  # (a namespace package, PEP 420)
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = spaces
            return spec
        if any(os.path.realpath(entry) in self.directories for entry in entries) and self._hides(fullname, entries):
            raise ModuleNotFoundError("No module named %r" % fullname, name=fullname)
        return None

    def _hides(self, fullname: str, entries: Sequence[str]) -> bool:
        """Whether all that Python's own finders would find is to go."""
        stems = [os.path.join(os.path.realpath(entry), fullname.rpartition(".")[2]) for entry in entries]
        return any(stem + ".py" in self.gone or os.path.join(stem, "__init__.py") in self.gone for stem in stems)


def serve(previews: Mapping[str, str | None]) -> None:
    """Let imports see the previewed bytes in place of the files', by path, whichever finder leads to them.

    Every finder (sys.path, .pth, import hooks of editable installs, namespace packages) ends in a SourceFileLoader.
    Without a stat of the source it neither reads nor writes bytecode: an unchecked .pyc cannot get in between.
    """
    served = {
        os.path.realpath(path): text if text is None else text.encode("latin-1") for path, text in previews.items()
    }
    texts = {path: text for path, text in served.items() if text is not None}
    finder: Any = Finder(served)
    if finder.new or finder.gone:
        sys.meta_path.insert(0, finder)
    get_data, path_stats, update = SourceFileLoader.get_data, SourceFileLoader.path_stats, linecache.updatecache

    def text_of(path: Any) -> bytes | None:
        return texts.get(os.path.realpath(path)) if isinstance(path, str) else None

    def preview_data(self: SourceFileLoader, path: Any) -> bytes:
        text = text_of(path)
        return get_data(self, path) if text is None else text

    def preview_stats(self: SourceFileLoader, path: Any) -> Any:
        if text_of(path) is not None:
            raise OSError("previewed")
        return path_stats(self, path)

    def preview_lines(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
        text = text_of(filename)
        if text is None:
            return update(filename, module_globals)
        lines = importlib.util.decode_source(text).splitlines(True)
        linecache.cache[filename] = (len(text), None, lines, filename)  # (no mtime: checkcache() leaves it alone)
        return lines

    setattr(SourceFileLoader, "get_data", preview_data)
    setattr(SourceFileLoader, "path_stats", preview_stats)
    setattr(linecache, "updatecache", preview_lines)
    early = [
        name for name, module in list(sys.modules.items()) if text_of(getattr(module, "__file__", None)) is not None
    ]
    for name in early:  # a .pth file imported it when the interpreter started: let it be imported anew
        top = name.partition(".")[0]
        for loaded in [loaded for loaded in sys.modules if loaded == top or loaded.startswith(top + ".")]:
            del sys.modules[loaded]


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
    serve(request["previews"])
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
