# What ./dev zipapp runs: primus-patches.pyz, the engine and its command line in one file.
"""Builds ``primus-patches.pyz``. The same sources give the same bytes, wherever and whenever it is built."""

from __future__ import annotations

import argparse
import ast
import hashlib
import io
import json
import sys
import tokenize
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab import checkout  # noqa: E402 (needs the line above)

NAME = "primus-patches.pyz"
SOURCES = "plugins/module_utils/"
ENGINE = "engine.json"  # the text of each module, by dotted name: packed together they take a fifth less room
FIRST = "first.json"  # the same of those that may do without all others
FIRSTS = ("_question", "_recorded")  # each after those that it imports
PACKAGE = "_primus_patches_engine"  # as _boot has it
PROGRAM = "the hash of all texts"
# Any Python must be able to read this, so that an old one can say that it is old.
MAIN = f"""\
# Starts the command line; see --help. Any Python can read this, so that an old one can say that it is old.
# SPDX-License-Identifier: GPL-3.0-or-later
import sys

if sys.version_info < (3, 8):
    sys.stderr.write(
        "primus-patches.pyz: expected Python 3.8 or newer, found %s: %s\\n"
        % (sys.version.split()[0], sys.executable)
    )
    sys.exit(2)

import importlib
import json
import os


def texts(name):
    return json.loads(__loader__.get_data(os.path.join(os.path.dirname(__file__), name)))


del sys.path[0]  # (nothing that is looked for in this environment is to be found in this file)
sources = texts("{FIRST}")
told = False
if sys.argv[1:2] == ["apply"]:
    package = sys.modules["{PACKAGE}"] = type(sys)("{PACKAGE}")
    package.__path__ = []
    for name in sources:  # (by hand: to compile what does that in general is a tenth of the whole cost)
        module = sys.modules["{PACKAGE}." + name] = type(sys)("{PACKAGE}." + name)
        module.__package__ = "{PACKAGE}"
        exec(compile(sources[name], "<primus.patches>/%s.py" % name, "exec", dont_inherit=True), module.__dict__)
    module.PROGRAM = "{PROGRAM}"
    told = module.is_told(sys.argv[1:])
status = 0
if not told:
    sources.update(texts("{ENGINE}"))
    boot = {{"__name__": "boot"}}
    exec(compile(sources["_boot"], "<primus.patches>/_boot.py", "exec"), boot)
    sys.meta_path.insert(0, boot["Engine"](sources))
    status = importlib.import_module("{PACKAGE}._command").main()
for stream in (sys.stdout, sys.stderr):
    try:
        stream.flush()
    except Exception:  # (main has told of that already)
        pass
os._exit(status)  # (taking down what is in memory is a tenth of the whole cost)
"""
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can say


def build(directory: Path, root: Path = ROOT) -> Path:
    """Build it from the checkout at ``root``, from what git has or does not ignore; return its path."""
    names = [name for name in checkout.names(root) if name.startswith(SOURCES) and name.endswith(".py")]
    sources = {module(name): bare((root / name).read_text("utf-8")) for name in names}
    first = {name: sources.pop(name) for name in FIRSTS}
    files = {FIRST: json.dumps(first, indent=0), ENGINE: json.dumps(sources, sort_keys=True, indent=0)}
    program = hashlib.sha256("".join((MAIN, *files.values())).encode()).hexdigest()
    files["__main__.py"] = MAIN.replace(PROGRAM, program)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, text in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = 3  # (Unix, on whatever system it is built)
            entry.external_attr = 0o100644 << 16
            opened.writestr(entry, text.encode(), zipfile.ZIP_DEFLATED, compresslevel=9)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / NAME
    path.write_bytes(b"#!/usr/bin/env python3\n" + archive.getvalue())
    path.chmod(0o755)
    return path


def module(name: str) -> str:
    """Return the dotted name of a file's module; empty for that of the engine itself."""
    return name.removeprefix(SOURCES).removesuffix(".py").replace("/", ".").removesuffix("__init__").rstrip(".")


def bare(source: str) -> str:
    """Return a module without comments and docstrings, a third of its size; each line stays where it is.

    The comments at its top stay: what it is, and its licence.
    """
    lines = source.split("\n")
    top = next((number for number, line in enumerate(lines) if not line.startswith("#")), 0)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT and token.start[0] > top]
    # (lines count from 1, columns in characters)
    cuts: list[tuple[int, int, int, int, str]] = [(*token.start, *token.end, "") for token in comments]
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for text in body if isinstance(body, list) else ():
            if (
                isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                ends = [(text.lineno, text.col_offset), (text.end_lineno or 0, text.end_col_offset or 0)]
                (first, start), (last, end) = [(n, len(lines[n - 1].encode()[:at].decode())) for n, at in ends]
                # (something must be there: of a body that is nothing else, and before an import from __future__)
                cuts.append((first, start, last, end, '""'))
    for first, start, last, end, instead in sorted(cuts, reverse=True):
        lines[first - 1] = (lines[first - 1][:start] + instead + lines[last - 1][end:]).rstrip()
        lines[first:last] = [""] * (last - first)
    return "\n".join(lines)


def main() -> None:
    """Build it, and print its sha256 and path as sha256sum does."""
    parser = argparse.ArgumentParser(prog="./dev zipapp", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "dist", help="default: dist, in the checkout")
    path = build(parser.parse_args().directory)
    print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")


if __name__ == "__main__":
    main()
