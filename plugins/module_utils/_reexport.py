# The edit `reexport`: binds names from another module of the package, in one marked block. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ._edits import NEWLINE, Target, line, parse
from ._errors import Conflict, Unsupported

MARK = "primus.patches"
_START = rb"(?:\A|(?<=[\r\n]))"  # (re.M knows no lone CR)
_BLOCK = re.compile(
    _START
    + rb"# >>> %s: ([a-z0-9_/]+), revision [0-9]+ >>>(?:\r?\n|\r)(?:[^\r\n]*(?:\r?\n|\r))*?# <<< %s: \1 <<<(?=[\r\n]|\Z)"
    % ((re.escape(MARK.encode()),) * 2)
)


class Reexport(NamedTuple):
    """Bind names from another module of the same package: one marked ``from SOURCE import (...)``."""

    source: str
    names: Tuple[str, ...]

    def undo(self, text: bytes, owner: str) -> bytes:
        """Take the marked block of ``owner`` out again; the text itself where there is none.

        Raises Conflict when the marks are not one well-formed pair.
        """
        block = _block(text, owner)
        return text if block is None else text[: block.start] + text[block.end :]

    def do(self, text: bytes, owner: str, revision: int, target: Target) -> bytes:
        """Add the block to ``text``; the text itself where the module binds every name already.

        Marked blocks that other edits wrote are looked through, so that each edit comes out the same whichever of
        the others are there. Raises Unsupported when the source module does not define a name, Conflict when the
        file does not parse or has no place for the block.
        """
        blocks = [(line(text, block.start()), line(text, block.end()), block) for block in _BLOCK.finditer(text)]
        module = parse(text, "the file")
        module.body = [node for node in module.body if not any(a <= node.lineno <= b for a, b, _block in blocks)]
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
            return text
        after = _anchor(module, source, target.package)
        for first, last, block in blocks:  # blocks behind the same import stand in the order of their owners
            if first == after + 1 and block.group(1).decode() < owner:
                after = last
        return _insert(text, after, self._block(wanted, owner, revision))

    def _defined(self, source: str, target: Target) -> Set[str]:
        found = target.read(source)
        if found is None:
            raise Conflict("expected the module %s beside the file, found none" % source)
        return _defined(parse(found[1], found[0]))

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
        return (line(text, len(before) + 2), before + b"\n" + after) if found else None


class _Block(NamedTuple):
    start: int
    end: int
    revision: int
    line: int


def _block(text: bytes, owner: str) -> Optional[_Block]:
    """The marked block of ``owner``, with the newline that it brought."""
    if MARK.encode() not in text:  # (a plain search first: most files hold no block)
        return None
    marks = (re.escape(MARK.encode()), re.escape(owner.encode()))
    begins = list(re.finditer(_START + rb"# >>> %s: %s, revision ([0-9]+) >>>(?=[\r\n])" % marks, text))
    ends = list(re.finditer(_START + rb"# <<< %s: %s <<<(?:\r\n|\r|\n|\Z)" % marks, text))
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or ends[0].start() < begins[0].end():
        raise Conflict(
            "expected one block between '# >>> %s: %s ...' and '# <<< ...', found %d beginning and %d end marks "
            "(lines %s): the block was edited by hand; restore the file from its wheel"
            % (MARK, owner, len(begins), len(ends), ", ".join(str(line(text, m.start())) for m in begins + ends))
        )
    start, end = begins[0].start(), ends[0].end()
    if not text[:end].endswith((b"\r", b"\n")):  # the block ends the file and brought the newline before it
        newlines = list(NEWLINE.finditer(text, max(0, start - 2), start))
        start = newlines[-1].start() if newlines else start
    return _Block(start, end, int(begins[0].group(1)), line(text, begins[0].start()))


def marked(text: bytes, owner: str) -> Optional[Tuple[int, int]]:
    """Revision and line of the block of ``owner``; None when there is none. Raises Conflict as ``undo`` does."""
    block = _block(text, owner)
    return None if block is None else (block.revision, block.line)


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


def _anchor(module: ast.Module, source: str, package: str) -> int:
    """The line after which the block goes: the last import of ``source``, else the last top-level import."""
    imports = [node for node in module.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    if not imports:
        raise Conflict("expected a top-level import statement to put the block after, found none")
    same = [node for node in imports if isinstance(node, ast.ImportFrom) and _import_source(node, package) == source]
    last = _end((same or imports)[-1])
    for node in module.body:  # a statement may begin behind a semicolon on that line, and end further down
        if node.lineno <= last < _end(node):
            last = _end(node)
    return last


def _insert(text: bytes, after: int, block: List[str]) -> bytes:
    """``text`` with the block after that line, in that line's own kind of newline."""
    newlines = list(NEWLINE.finditer(text))
    if after <= len(newlines):
        newline = newlines[after - 1].group()
        cut = newlines[after - 1].end()
        return text[:cut] + b"".join(part.encode("ascii") + newline for part in block) + text[cut:]
    newline = newlines[-1].group() if newlines else b"\n"
    return text + b"".join(newline + part.encode("ascii") for part in block)


def _end(node: ast.stmt) -> int:
    assert node.end_lineno is not None  # ast.parse() always sets it (Python 3.8 and newer)
    return node.end_lineno
