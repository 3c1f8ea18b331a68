# What all kinds of edits share: the text that they transform, its encoding and newlines, and whether it parses. Pure.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of edit is a NamedTuple with ``file`` and these methods.

``do(text, target)`` gives the edited text and raises Conflict or Unsupported; ``undo(text, target)`` a candidate for
what was there before, for evidence to confirm, or None; ``held(text)`` where the text already holds what ``do`` would
make at the very place that it would change; ``made(text)`` whether it holds that as whole lines, and no longer what the
edit looks for; ``normal()`` the normalised form without the file; ``needs_pristine`` whether nothing in the edit itself
says what it may be done to.
"""

from __future__ import annotations

import ast
import codecs
import functools
import io
import os
import re
import tokenize
import warnings
from types import CodeType
from typing import Any, Callable, NamedTuple

from ._errors import Conflict

NEWLINE = re.compile(rb"\r\n|\r|\n")  # what ends a line for Python's tokenizer, and nothing else does
ESCAPED = "surrogateescape"  # how bytes that an encoding does not know come through unchanged

_NAMES_PYTHON = re.compile(rb"#![^\r\n]*python")
_CODES = 64  # modules whose code is kept; that of a large one takes a MB
_PARSED = 4  # syntax trees that are kept; those of large files take tens of MB


class Text(NamedTuple):
    """A file as an edit sees it."""

    data: bytes | None
    """None: there is no file."""
    executable: bool = False


ABSENT = Text(None)


class Target(NamedTuple):
    """What an edit may ask about the tree around its file."""

    package: str
    """Dotted package that the file's module lives in: what a relative import is relative to. Empty where none is."""
    owner: str
    """Whose edit it is: the patch's name, ``name/2`` for its second edit of this file, ..."""
    revision: int
    """That of the patch."""
    module: Callable[[str], tuple[str, bytes] | None]
    """Path and bytes of the source of a module by its absolute dotted name; None without one."""
    other: Callable[[str], Text]
    """The original of another file of the same patch, by the path that edits use."""


def content(text: Text, file: str) -> bytes:
    """The bytes of a text file that must be there. Raises Conflict, naming the file, where it is not."""
    if text.data is None:
        raise Conflict("expected the file %s, found none" % file)
    if b"\0" in text.data:
        raise Conflict("expected text in %s, found a binary file" % file)
    return text.data


def line(text: bytes, offset: int) -> int:
    """The number of the line, counted from 1, that an offset lies in."""
    return sum(1 for _found in NEWLINE.finditer(text, 0, offset)) + 1


# --- which files an edit is for


def is_pattern(file: str) -> bool:
    """Whether the file of an edit stands for several."""
    return "*" in file or "?" in file


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern stands for a path: ``*`` and ``?`` stay within a directory, ``**/`` is any number of them."""
    return _expression(pattern).fullmatch(path) is not None


@functools.lru_cache(maxsize=64)
def _expression(pattern: str) -> re.Pattern[str]:
    meaning = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"((?:(?<=/)|(?<![\s\S]))\*\*/|\*+|\?)", pattern)
    return re.compile("".join(meaning.get(part, ".*" if part.startswith("**") else re.escape(part)) for part in parts))


# --- encoding: PEP 263


def is_python(file: str, data: bytes) -> bool:
    """Whether a file holds Python source: by its suffix, or without one by its first line."""
    name = file.rpartition("/")[2]
    return name.endswith(".py") or ("." not in name and _NAMES_PYTHON.match(data) is not None)


def encoding(file: str, data: bytes) -> str:
    """The codec of a file: by PEP 263 of Python source, else UTF-8; a byte order mark counts as a part of the text.

    What Python itself would refuse to read is taken for UTF-8 as well: with ESCAPED, that changes no byte.
    """
    if not is_python(file, data):
        return "utf-8"
    first = b"\n".join(NEWLINE.split(data, maxsplit=2)[:2]) + b"\n"
    try:
        name = tokenize.detect_encoding(io.BytesIO(first).readline)[0]
        codecs.lookup(name)
        "".encode(name)  # (LookupError for those that do not make bytes of text)
    except (SyntaxError, LookupError, UnicodeError):
        return "utf-8"
    return "utf-8" if name == "utf-8-sig" else name


def encode(text: str, codec: str) -> bytes:
    """The text in a codec. Raises Conflict where that cannot say it."""
    try:
        return text.encode(codec, ESCAPED)
    except UnicodeError:
        wrong = next((each for each in text if not _is_sayable(each, codec)), text[:1])
        raise Conflict("the file is in %s, which has no %r: write it in another way" % (codec, wrong)) from None


def _is_sayable(character: str, codec: str) -> bool:
    try:
        character.encode(codec, ESCAPED)
    except UnicodeError:
        return False
    return True


# --- syntax


def shown(path: str, before: Text, after: Text) -> str:
    """A unified diff of one change, for people; its bytes are read as UTF-8."""
    import difflib  # (only here: it is slow to be imported)

    names = [path if text.data is not None else os.devnull for text in (before, after)]
    # (StringIO ends a line at \n alone; splitlines() would at a form feed, too)
    old, new = (list(io.StringIO((text.data or b"").decode("utf-8", "replace"))) for text in (before, after))
    lines = difflib.unified_diff(old, new, names[0], names[1], "(before)", "(after)")
    body = "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)
    if None not in (before.data, after.data) and before.executable != after.executable:
        modes = ["100755" if text.executable else "100644" for text in (before, after)]
        return "old mode %s\nnew mode %s\n%s" % (modes[0], modes[1], body)
    return body


def check(file: str, before: Text, after: Text) -> None:
    """Raise Conflict where an edited file is Python source that has no code, and had some before (or was not there)."""
    if after.data is None or not is_python(file, after.data):
        return
    try:
        code(after.data, file, 0)  # (as its bytecode will have it)
    except Conflict:
        try:
            code(before.data or b"", file, 0)
        except Conflict:
            return
        raise


@functools.lru_cache(maxsize=_PARSED)
def parse(text: bytes, what: str) -> ast.Module:
    """The syntax tree of a module, not to be changed. Raises Conflict, with ``what`` as its subject, without one."""
    tree: ast.Module = _compile(text, "<unknown>", what, ast.PyCF_ONLY_AST, -1)
    return tree


@functools.lru_cache(maxsize=_CODES)
def code(text: bytes, path: str, level: int) -> CodeType:
    """The code of a module, kept for its bytecode, at an optimisation level. Raises Conflict where there is none."""
    made: CodeType = _compile(text, path, "the result", 0, level)
    return made


def _compile(text: bytes, path: str, what: str, flags: int, level: int) -> Any:
    try:
        with warnings.catch_warnings():  # (of invalid escapes and the like: not ours to report)
            warnings.simplefilter("ignore")
            return compile(text, path, "exec", flags, dont_inherit=True, optimize=level)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = " at line %s" % error.lineno if isinstance(error, SyntaxError) and error.lineno else ""
        reason = getattr(error, "msg", None) or str(error) or "too complex for this Python"
        raise Conflict("%s does not parse%s: %s" % (what, where, reason)) from None
