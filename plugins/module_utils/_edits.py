# Edits: reversible transformations of one file's bytes. Pure; nothing here reads or writes a file.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import re
import warnings
from typing import Callable, Dict, List, Match, NamedTuple, Optional, Sequence, Set, Tuple

from ._errors import Conflict, Unsupported

MARK = "primus.patches"
_NEWLINE = re.compile(rb"\r\n|\r|\n")  # what ends a line for Python's tokenizer, and nothing else does
_BLOCK = re.compile(  # a block as it is written, of any patch
    rb"(?:\A|(?<=[\r\n]))# >>> %(mark)s: (?P<owner>[a-z][a-z0-9_]*), revision (?P<revision>[0-9]{1,9}) >>>%(end)s"
    rb"from [\w.]+ import \(  # noqa: F401%(end)s(?:    \w+,%(end)s)+\)%(end)s"
    rb"# <<< %(mark)s: (?P=owner) <<<(?:%(end)s|\Z)"
    % {b"mark": re.escape(MARK.encode()), b"end": b"(?:%s)" % _NEWLINE.pattern}
)


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

        Returns None when there is none; raises Conflict when its marks are there, but not as one block that is a
        top-level statement and has the form in which it was written.
        """
        marks = [mark.start() for mark in re.finditer(rb"# (?:>>>|<<<) %s: %s\b" % _mark(owner), text)]
        if not marks:
            return None
        blocks = [block for block in _BLOCK.finditer(text) if block["owner"] == owner.encode()]
        strays = [mark for mark in marks if not any(block.start() <= mark < block.end() for block in blocks)]
        line = _line(text, marks[0])
        statements = {node.lineno for node in _parse(text, "the file").body if isinstance(node, ast.ImportFrom)}
        if strays or len(blocks) != 1 or line + 1 not in statements:
            raise Conflict(
                "expected one block from '# >>> %s: %s, ...' to '# <<< ...' as it was written, found something else "
                "(marks at lines %s): it was edited by hand since; restore the block, or the file from its wheel"
                % (MARK, owner, ", ".join(str(_line(text, mark)) for mark in marks))
            )
        return Undone(_without(text, blocks[0]), int(blocks[0]["revision"]), line)

    def do(self, text: bytes, owner: str, revision: int, target: Target) -> Optional[bytes]:
        """Add the block to ``text``.

        Returns None when the module binds every name already (native). Raises Unsupported when the source module
        does not define a name, Conflict when the file does not parse or has no place for the block.
        """
        statements = _statements(text)
        source = _absolute(self.source, target.package)
        bound = _bound(statements, target.package)
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
        return _insert(text, statements, source, target.package, owner, self._block(wanted, owner, revision))

    def prove(self, before: bytes, after: bytes, owner: str, package: str) -> None:
        """Raise Conflict unless ``after`` parses, binds every name, and gives ``before`` when the edit is undone."""
        bound = _bound(_parse(after, "the result").body, package)
        lost = [name for name in self.names if name not in bound]
        if lost:
            raise Conflict("the file would not bind %s even with the block; nothing is written" % ", ".join(lost))
        undone = self.undo(after, owner)
        if undone is None or undone.text != before:
            raise Conflict("undoing the edit would not give the original bytes back; nothing is written")

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


def unpatched(text: bytes) -> bytes:
    """``text`` without the blocks of all patches."""
    while True:
        block = _BLOCK.search(text)
        if block is None:
            return text
        text = _without(text, block)


def _without(text: bytes, block: Match[bytes]) -> bytes:
    start, end = block.span()
    if not block[0].endswith((b"\r", b"\n")):  # the block ends the file and brought the newline before it
        newlines = list(_NEWLINE.finditer(text, max(0, start - 2), start))
        start = newlines[-1].start() if newlines else start
    return text[:start] + text[end:]


def _mark(owner: str) -> Tuple[bytes, bytes]:
    return re.escape(MARK.encode()), re.escape(owner.encode())


def _line(text: bytes, offset: int) -> int:
    return sum(1 for _ in _NEWLINE.finditer(text, 0, offset)) + 1


def _parse(text: bytes, what: str) -> ast.Module:
    try:
        with warnings.catch_warnings():  # (of invalid escapes and the like: not ours to report)
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = " at line %s" % error.lineno if isinstance(error, SyntaxError) and error.lineno else ""
        reason = getattr(error, "msg", None) or str(error) or "too complex for this Python"
        raise Conflict("%s does not parse%s: %s" % (what, where, reason)) from None


def _statements(text: bytes) -> List[ast.stmt]:
    """Top-level statements of a file, less the blocks of other patches.

    What another patch binds may be reverted on its own, and a place found by it would depend on which came first.
    """
    blocks = {_line(text, block.start()) + 1 for block in _BLOCK.finditer(text)}
    return [node for node in _parse(text, "the file").body if node.lineno not in blocks]


def _absolute(source: str, package: str) -> str:
    """The absolute dotted name of a (relative) module name inside a package."""
    name = source.lstrip(".")
    level = len(source) - len(name)
    if not level:
        return name
    parts = package.split(".")
    return ".".join(parts[: max(0, len(parts) - level + 1)] + ([name] if name else []))


def _import_source(node: ast.ImportFrom, package: str) -> str:
    return _absolute("." * node.level + (node.module or ""), package)


def _bound(statements: Sequence[ast.stmt], package: str) -> Dict[str, Tuple[str, str]]:
    """Names that unconditional top-level statements bind, each with (module it is imported from or '', name there)."""
    bound: Dict[str, Tuple[str, str]] = {}
    for node in statements:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name != "*":
                    bound[alias.asname or alias.name] = (_import_source(node, package), alias.name)
        elif isinstance(node, ast.Delete):
            for name in ast.walk(node):
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Del):
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


def _insert(
    text: bytes, statements: Sequence[ast.stmt], source: str, package: str, owner: str, block: Sequence[str]
) -> bytes:
    """``text`` with the block right after the last import of ``source``, else after the last top-level import."""
    imports = [node for node in statements if isinstance(node, (ast.Import, ast.ImportFrom))]
    if not imports:
        raise Conflict("expected a top-level import statement to put the block after, found none")
    same = [node for node in imports if isinstance(node, ast.ImportFrom) and _import_source(node, package) == source]
    line = _end((same or imports)[-1])
    for node in statements:  # a statement may begin behind a semicolon on that line, and end further down
        if node.lineno <= line < _end(node):
            line = _end(node)
    # (A codec may make lines of its own, as unicode_escape does; the result is proven before it counts, so that a
    # wrong line here cannot pass.)
    newlines = list(_NEWLINE.finditer(text))
    newline = newlines[min(line, len(newlines)) - 1].group() if newlines else b"\n"
    cut = newlines[line - 1].end() if line <= len(newlines) else len(text)
    while True:  # blocks of several patches in one place lie in the order of their names, whichever came first
        other = _BLOCK.match(text, cut)
        if other is None or other["owner"] > owner.encode():
            break
        cut = other.end()
    lines = [part.encode("ascii") for part in block]
    if text[:cut].endswith((b"\r", b"\n")):
        return text[:cut] + b"".join(part + newline for part in lines) + text[cut:]
    return text[:cut] + b"".join(newline + part for part in lines) + text[cut:]


def _end(node: ast.stmt) -> int:
    assert node.end_lineno is not None  # ast.parse() always sets it (Python 3.8 and newer)
    return node.end_lineno
