# What all kinds of edits share: reversible transformations of one file's bytes. Nothing here reads or writes a file.
# SPDX-License-Identifier: GPL-3.0-or-later
"""An edit has two methods.

``do(text, owner, revision, target)`` returns the edited text, or the text itself where there is nothing to do;
``undo(text, owner)`` the text without the edit, the text itself where it is not there, or
None where it cannot be there. Both raise Conflict where the text is not what they expect. That an edit *is* there
is shown by undoing it and doing it again: that must give the same bytes.
"""

from __future__ import annotations

import ast
import functools
import re
import warnings
from types import CodeType
from typing import Any, Callable, NamedTuple

from ._errors import Conflict

NEWLINE = re.compile(rb"\r\n|\r|\n")  # what ends a line for Python's tokenizer, and nothing else does


class Target(NamedTuple):
    """What an edit may ask about the file that it changes."""

    package: str
    """Dotted name of the package that the file's module lives in: what a relative import is relative to."""
    read: Callable[[str], tuple[str, bytes] | None]
    """Path and bytes of the source of a module of the same tree, by its absolute dotted name; None without one."""


def line(text: bytes, offset: int) -> int:
    """The number of the line, counted from 1, that an offset lies in."""
    return sum(1 for _found in NEWLINE.finditer(text, 0, offset)) + 1


def parse(text: bytes, what: str) -> ast.Module:
    """The syntax tree of a module. Raises Conflict, with ``what`` as its subject, where there is none."""
    tree: ast.Module = _compile(text, "<unknown>", what, ast.PyCF_ONLY_AST, -1)
    return tree


@functools.lru_cache(maxsize=8)
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
