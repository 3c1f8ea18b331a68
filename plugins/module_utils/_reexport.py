# The edit `reexport`: binds names from another module of the package, in one marked block. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import re
from typing import Any, Iterator, Match, NamedTuple, Sequence

from ._edits import ESCAPED, NEWLINE, Target, Text, content, encoding, line, parse
from ._errors import Conflict, Unsupported

MARK = "primus.patches"
_END = rb"(?:%s)" % NEWLINE.pattern
_READ_END = re.compile(NEWLINE.pattern.decode("ascii"))
_BLOCK = re.compile(  # a block as it is written, of any owner (re.M would not do: it knows no lone CR)
    rb"(?:\A|(?<=[\r\n]))# >>> %(mark)s: (?P<owner>[a-z][a-z0-9_/]*), revision (?P<revision>[0-9]{1,9}) >>>%(end)s"
    rb"from (?P<source>[\w.]+) import \(  # noqa: F401%(end)s(?P<names>(?:    \w+,%(end)s)+)\)%(end)s"
    rb"# <<< %(mark)s: (?P=owner) <<<(?:%(end)s|\Z)" % {b"mark": re.escape(MARK.encode()), b"end": _END}
)


class Block(NamedTuple):
    """What one marked block says."""

    owner: str
    revision: int
    source: str
    names: tuple[str, ...]


class Reexport(NamedTuple):
    """Bind names from another module of the same package: one marked ``from SOURCE import (...)``."""

    file: str
    source: str
    names: tuple[str, ...]

    @property
    def needs_pristine(self) -> bool:
        """False: what the file binds says what is to be done."""
        return False

    def do(self, text: Text, target: Target) -> Text:
        """Add the block to ``text``; the text itself where the module binds every name already.

        Marked blocks that other edits wrote are looked through: what they bind may be taken out on its own, and a
        place found by them would depend on which came first. Raises Unsupported when the source module does not
        define a name, Conflict when the file does not parse, has no place for the block, holds one of this owner, or
        would not bind every name with it.
        """
        data = content(text, self.file)
        if marked(data, target.owner) is not None:
            raise Conflict("expected no block of %s, found one that no fact explains: take it out" % target.owner)
        others = {line(data, block.start()) + 1 for block in _blocks(data)}
        body = parse(data, "the file").body
        statements = [node for node in body if node.lineno not in others]
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
            return text
        after = _anchor(statements, source, target.package)
        block = self._block(wanted, target.owner, target.revision)
        made = _insert(data, after, target.owner, block, encoding(self.file, data))
        # What is bound then follows from the file as it was read: to read a large one once more takes as long again.
        added = [] if made is None else ast.parse("\n".join(block)).body
        above = [node for node in body if node.lineno <= after]
        self._prove([*above, *added, *body[len(above) :]], target.package)
        return text._replace(data=made)

    def prove(self, data: bytes, package: str) -> None:
        """Raise Conflict unless a file binds every name: another edit may have deleted some."""
        self._prove(parse(data, "the result").body, package)

    def _prove(self, statements: Sequence[ast.stmt], package: str) -> None:
        lost = set(self.names) - set(_bound(statements, package))
        if lost:
            raise Conflict(
                "the file would not bind %s even with the block; nothing is written" % ", ".join(sorted(lost))
            )

    def undo(self, text: Text, target: Target) -> Text | None:
        """The text without the owner's block, itself where it has none; None where the marks are not as written."""
        try:
            block = None if text.data is None else _find(text.data, target.owner)
        except Conflict:
            return None
        return text if block is None else text._replace(data=_without(content(text, self.file), block))

    def held(self, text: Text) -> str | None:
        """None: where the names are bound already, there is nothing to do."""
        return None

    def made(self, text: Text) -> bool:
        """Whether the module binds every name."""
        try:
            return set(self.names) <= set(_bound(parse(content(text, self.file), "the file").body, ""))
        except Conflict:
            return False

    def normal(self) -> dict[str, Any]:
        """The normalised form."""
        return {"reexport": {"source": self.source, "names": list(self.names)}}

    def _defined(self, source: str, target: Target) -> set[str]:
        found = target.module(source)
        if found is None:
            raise Conflict("expected the module %s beside the file, found none" % source)
        return _defined(parse(found[1], found[0]))

    def _block(self, names: Sequence[str], owner: str, revision: int) -> list[str]:
        return [
            "# >>> %s: %s, revision %d >>>" % (MARK, owner, revision),
            "from %s import (  # noqa: F401" % self.source,
            *("    %s," % name for name in names),
            ")",
            "# <<< %s: %s <<<" % (MARK, owner),
        ]

    def unmarked(self, text: bytes) -> tuple[int, bytes] | None:
        """The unmarked block that the first stand-alone script wrote: its line, and the text without it.

        That script put a blank line, the import of all names in this layout, and a blank line after an import.
        """
        lines = ["", "from %s import (  # noqa: F401" % self.source, *("    %s," % n for n in self.names), ")", "", ""]
        block = "\n".join(lines).encode("ascii")
        before, found, after = text.partition(b"\n" + block)
        return (line(text, len(before) + 2), before + b"\n" + after) if found else None


def blocks(text: bytes) -> list[Block]:
    """What the marked blocks of all owners say; not of those that are quoted in a string.

    Raises Conflict where there are some and the file does not parse.
    """
    return [
        Block(
            block["owner"].decode(),
            int(block["revision"]),
            block["source"].decode(),
            tuple(each.decode() for each in re.findall(rb"    (\w+),", block["names"])),
        )
        for block in _statements(text)
    ]


def without_blocks(text: bytes) -> bytes:
    """The text without the blocks of all owners."""
    found = _statements(text)
    while found:
        text = _without(text, found[-1])
        found = _statements(text)
    return text


def _offsets(text: bytes, part: bytes) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _statements(text: bytes) -> list[Match[bytes]]:
    """The blocks that are code, and not quoted in a string: a top-level statement begins behind the mark."""
    found = _blocks(text)
    first = {node.lineno for node in parse(text, "the file").body} if found else set()
    return [block for block in found if line(text, block.start()) + 1 in first]


def _blocks(text: bytes) -> list[Match[bytes]]:
    """All blocks, found by a plain search: the pattern alone would take a good part of the time that parsing takes."""
    found = (_BLOCK.match(text, at) for at in _offsets(text, b"# >>> %s: " % MARK.encode()))
    return [block for block in found if block is not None]


def _without(text: bytes, block: Match[bytes]) -> bytes:
    start, end = block.span()
    if not block[0].endswith((b"\r", b"\n")):  # the block ends the file and brought the newline before it
        newlines = list(NEWLINE.finditer(text, max(0, start - 2), start))
        start = newlines[-1].start() if newlines else start
    return text[:start] + text[end:]


def marked(text: bytes, owner: str) -> tuple[int, int] | None:
    """Revision and line of the block of ``owner``; None when there is none.

    Raises Conflict where its marks are there, but not as one block in the form in which it is written.
    """
    block = _find(text, owner)
    return None if block is None else (int(block["revision"]), line(text, block.start()))


def _find(text: bytes, owner: str) -> Match[bytes] | None:
    name = ("%s: %s" % (MARK, owner)).encode()
    found = sorted([*_offsets(text, b"# >>> %s," % name), *_offsets(text, b"# <<< %s <<<" % name)])
    if not found:
        return None
    blocks = [block for block in _blocks(text) if block["owner"] == owner.encode()]
    if len(found) != 2 or len(blocks) != 1:
        raise Conflict(
            "expected one block from '# >>> %s: %s, ...' to '# <<< ...' as it was written, found something else "
            "(marks at lines %s): it was edited by hand since; restore the block, or the file from its wheel"
            % (MARK, owner, ", ".join(str(line(text, mark)) for mark in found))
        )
    return blocks[0]


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


def _bound(statements: Sequence[ast.stmt], package: str) -> dict[str, tuple[str, str]]:
    """Names that unconditional top-level statements bind, each with (module it is imported from or '', name there)."""
    bound: dict[str, tuple[str, str]] = {}
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


def _simple(node: ast.stmt) -> list[str]:
    """Names that one statement binds, whatever it is nested in; not those of statements nested in it."""
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]


def _defined(module: ast.Module) -> set[str]:
    """Names that a module may define: top-level statements and those inside its ``if``, ``try`` and ``with``."""
    names: set[str] = set()
    todo: list[ast.AST] = list(module.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
            todo.extend(ast.iter_child_nodes(node))  # (expressions among them define nothing)
        elif isinstance(node, ast.stmt):
            names.update(_simple(node))
    return names


def _anchor(statements: Sequence[ast.stmt], source: str, package: str) -> int:
    """The line after which the block goes: that of the last import of ``source``, else of the last.

    Raises Conflict where there is none.
    """
    imports = [node for node in statements if isinstance(node, (ast.Import, ast.ImportFrom))]
    same = [node for node in imports if isinstance(node, ast.ImportFrom) and _import_source(node, package) == source]
    if not imports:
        raise Conflict("expected a top-level import statement to put the block after, found none")
    last = _end((same or imports)[-1])
    for node in statements:  # a statement may begin behind a semicolon on that line, and end further down
        if node.lineno <= last < _end(node):
            last = _end(node)
    return last


def _insert(text: bytes, after: int, owner: str, block: Sequence[str], codec: str) -> bytes | None:
    """``text`` with the block after that line, in that line's own kind of newline.

    None where Python would not read the block there: a codec makes lines of its own, and it may be inside of a string.
    """
    newline, cut = b"\n", len(text)  # (what stays, with the last newline, where the last line has none)
    for number, found in enumerate(NEWLINE.finditer(text), 1):
        newline = found.group()
        if number == after:
            cut = found.end()
            break
    while True:  # blocks of several edits in one place lie in the order of their owners, whichever came first
        other = _BLOCK.match(text, cut)
        if other is None or other["owner"] > owner.encode():
            break
        cut = other.end()
    lines = [part.encode("ascii") for part in block]
    above, below = text[:cut], text[cut:]
    if above.endswith((b"\r", b"\n")):
        added = b"".join(part + newline for part in lines)
    else:
        added = b"".join(newline + part for part in lines)
    return above + added + below if _is_read_so(above, added, below, codec) else None


def _is_read_so(above: bytes, added: bytes, below: bytes, codec: str) -> bool:
    """Whether Python reads what is added as lines between the others, as many of which are above as the bytes have."""
    try:
        parts = [part.decode(codec, ESCAPED) for part in (above, added, below)]
        with_it, without = (part.decode(codec, ESCAPED) for part in (above + added + below, above + below))
    except UnicodeError:
        return False
    lines = len(_READ_END.findall(parts[0])) == len(NEWLINE.findall(above))
    return lines and parts[1] == added.decode("ascii") and ("".join(parts), parts[0] + parts[2]) == (with_it, without)


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno  # (ast.parse() always sets it; its type does not say so)
