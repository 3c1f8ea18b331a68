# Edits: reversible transformations of one file's bytes. Pure; nothing here reads or writes a file.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import re
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ._errors import Conflict, Unsupported

MARK = "primus.patches"
_NEWLINE = re.compile(rb"\r\n|\r|\n")  # what ends a line for Python's tokenizer, and nothing else does


class Target(NamedTuple):
    """What an edit may ask about the file that it changes."""

    package: str
    """Dotted name of the package that the file's module lives in: what a relative import is relative to."""
    read: Callable[[str], Optional[Tuple[str, bytes]]]
    """Path and bytes of the source of a module of the same tree, by its absolute dotted name; None without one."""


class Undone(NamedTuple):
    """What undoing an edit gave."""

    text: bytes
    revision: int
    line: int


class Reexport(NamedTuple):
    """Bind names from another module of the same package: one marked ``from SOURCE import (...)``."""

    source: str
    names: Tuple[str, ...]

    def undo(self, text: bytes, owner: str) -> Optional[Undone]:
        """Take the marked block of the patch ``owner`` out again.

        Returns None when there is none; raises Conflict when the marks are not one well-formed pair.
        """
        if MARK.encode() not in text:  # (a plain search first: most files hold no block)
            return None
        begins = list(re.finditer(rb"^# >>> %s: %s, revision ([0-9]+) >>>(?=\r?\n|\r)" % _mark(owner), text, re.M))
        ends = list(re.finditer(rb"^# <<< %s: %s <<<(?:\r\n|\r|\n|\Z)" % _mark(owner), text, re.M))
        if not begins and not ends:
            return None
        if len(begins) != 1 or len(ends) != 1 or ends[0].start() < begins[0].end():
            at = ", ".join(str(_line(text, mark.start())) for mark in begins + ends)
            raise Conflict(
                "expected one block between '# >>> %s: %s ...' and '# <<< ...', found %d beginning and %d end marks "
                "(lines %s): the block was edited by hand; restore the file from its wheel"
                % (MARK, owner, len(begins), len(ends), at)
            )
        start, end = begins[0].start(), ends[0].end()
        if not text[:end].endswith((b"\r", b"\n")):  # the block ends the file and brought the newline before it
            newline = [m for m in _NEWLINE.finditer(text, max(0, start - 2), start)]
            start = newline[-1].start() if newline else start
        return Undone(text[:start] + text[end:], int(begins[0].group(1)), _line(text, begins[0].start()))

    def do(self, text: bytes, owner: str, revision: int, target: Target) -> Optional[bytes]:
        """Add the block to ``text``.

        Returns None when the module binds every name already (native). Raises Unsupported when the source module
        does not define a name, Conflict when the file does not parse or has no place for the block.
        """
        module = _parse(text, "the file")
        source = _absolute(self.source, target.package)
        bound = _bound(module, target.package)
        wanted = [name for name in self.names if name not in bound]
        # What is bound by importing it from the source must be there as well: a block left over from another
        # version binds nothing, it breaks the import.
        taken = [bound[name][1] for name in self.names if name in bound and bound[name][0] == source]
        if wanted or taken:
            defined = self._defined(source, target)
            absent = sorted({name for name in wanted + taken if name not in defined})
            if absent:
                raise Unsupported("%s does not define %s" % (source, ", ".join(absent)))
        if not wanted:
            return None
        return _insert(text, module, source, target.package, self._block(wanted, owner, revision))

    def _defined(self, source: str, target: Target) -> Set[str]:
        found = target.read(source)
        if found is None:
            raise Conflict("expected the module %s beside the file, found none" % source)
        return _defined(_parse(found[1], found[0]))

    def _block(self, names: Sequence[str], owner: str, revision: int) -> List[str]:
        return [
            "# >>> %s: %s, revision %d >>>" % (MARK, owner, revision),
            "from %s import (  # noqa: F401" % self.source,
            *("    %s," % name for name in names),
            ")",
            "# <<< %s: %s <<<" % (MARK, owner),
        ]

    def unmarked(self, text: bytes) -> Optional[Tuple[int, bytes]]:
        """The unmarked block that the first stand-alone script wrote: its line, and the text without it.

        That script put a blank line, the import of all names in this layout, and a blank line after an import.
        """
        lines = ["", "from %s import (  # noqa: F401" % self.source, *("    %s," % n for n in self.names), ")", "", ""]
        block = "\n".join(lines).encode("ascii")
        before, found, after = text.partition(b"\n" + block)
        return (_line(text, len(before) + 2), before + b"\n" + after) if found else None


def _mark(owner: str) -> Tuple[bytes, bytes]:
    return re.escape(MARK.encode()), re.escape(owner.encode())


def _line(text: bytes, offset: int) -> int:
    return sum(1 for _ in _NEWLINE.finditer(text, 0, offset)) + 1


def _parse(text: bytes, what: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = " at line %s" % error.lineno if isinstance(error, SyntaxError) and error.lineno else ""
        raise Conflict("%s does not parse%s: %s" % (what, where, getattr(error, "msg", None) or error)) from None


def parses(text: bytes) -> None:
    """Raise Conflict when the bytes are not a Python module."""
    _parse(text, "the result")


def _absolute(source: str, package: str) -> str:
    """The absolute dotted name of a (relative) module name inside a package."""
    name = source.lstrip(".")
    level = len(source) - len(name)
    if not level:
        return name
    parts = package.split(".")
    return ".".join(parts[: len(parts) - level + 1] + ([name] if name else []))


def _import_source(node: ast.ImportFrom, package: str) -> str:
    return _absolute("." * node.level + (node.module or ""), package)


def _bound(module: ast.Module, package: str) -> Dict[str, Tuple[str, str]]:
    """Names that unconditional top-level statements bind, each with (module it is imported from or '', name there)."""
    bound: Dict[str, Tuple[str, str]] = {}
    for node in module.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name != "*":
                    bound[alias.asname or alias.name] = (_import_source(node, package), alias.name)
        elif isinstance(node, ast.Delete):
            for name in node.targets:
                if isinstance(name, ast.Name):
                    bound.pop(name.id, None)
        else:
            bound.update((name, ("", "")) for name in _simple(node))
    return bound


def _simple(node: ast.stmt) -> List[str]:
    """Names that one statement binds, whatever it is nested in; not those of statements nested in it."""
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets: List[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]


def _defined(module: ast.Module) -> Set[str]:
    """Names that a module may define: top-level statements and those inside its ``if``, ``try`` and ``with``."""
    names: Set[str] = set()
    todo: List[ast.AST] = list(module.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
            todo.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.ExceptHandler)))
        elif isinstance(node, ast.stmt):
            names.update(_simple(node))
    return names


def _insert(text: bytes, module: ast.Module, source: str, package: str, block: List[str]) -> bytes:
    """``text`` with the block right after the last import of ``source``, else after the last top-level import."""
    imports = [node for node in module.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    if not imports:
        raise Conflict("expected a top-level import statement to put the block after, found none")
    same = [node for node in imports if isinstance(node, ast.ImportFrom) and _import_source(node, package) == source]
    line = _end((same or imports)[-1])
    for node in module.body:  # a statement may begin behind a semicolon on that line, and end further down
        if node.lineno <= line < _end(node):
            line = _end(node)
    # (CPython's tokenizer may count a form feed or a last line without newline its own way; the result is parsed
    # and undone again before it counts, so that a wrong line here cannot pass.)
    newlines = list(_NEWLINE.finditer(text))
    if line <= len(newlines):
        newline = newlines[line - 1].group()
        cut = newlines[line - 1].end()
        return text[:cut] + b"".join(part.encode("ascii") + newline for part in block) + text[cut:]
    newline = newlines[-1].group() if newlines else b"\n"
    return text + b"".join(newline + part.encode("ascii") for part in block)


def _end(node: ast.stmt) -> int:
    assert node.end_lineno is not None  # ast.parse() always sets it (Python 3.8 and newer)
    return node.end_lineno
