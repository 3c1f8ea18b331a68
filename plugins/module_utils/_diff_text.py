# Writes git diffs: the text that tells how one file became another. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
"""The form is that of "Generating patch text with -p" in git-diff(1), so that git apply and GNU patch read it as well.

Bytes go through as they are. Names are quoted as with git's core.quotePath, which is its default.
"""

from __future__ import annotations

import difflib
import re
from typing import Iterator, Sequence

from ._edits import Text

_CONTEXT = 3  # lines around a change, as git has them
_MOST_COMPARED = 20_000  # lines on both sides, beyond what is equal first and last; more are one change
_QUOTED = re.compile(rb'[\x00-\x1f"\\\x7f-\xff]')
_ESCAPES = {7: b"\\a", 8: b"\\b", 9: b"\\t", 10: b"\\n", 11: b"\\v", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}


def section(path: str, before: Text, after: Text) -> bytes:
    """What a git diff says of one file; nothing where it is the same. ``path``: with forward slashes."""
    if before == after:
        return b""
    old, new = _name("a/", path), _name("b/", path)
    said = [b"diff --git %s %s\n" % (old, new)]
    if before.data is None:
        said.append(b"new file mode %s\n" % _mode(after))
        old = b"/dev/null"
    elif after.data is None:
        said.append(b"deleted file mode %s\n" % _mode(before))
        new = b"/dev/null"
    elif before.executable != after.executable:
        said.append(b"old mode %s\nnew mode %s\n" % (_mode(before), _mode(after)))
    hunks = b"".join(_hunks(_lines(before.data or b""), _lines(after.data or b"")))
    if hunks:
        said += [b"--- %s\n" % _ended(old), b"+++ %s\n" % _ended(new), hunks]
    return b"".join(said)


def _hunks(before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[bytes]:
    """The hunks between two texts, each of lines with their newlines."""
    most = min(len(before), len(after))
    first = next((at for at in range(most) if before[at] != after[at]), most)
    last = next((at for at in range(most - first) if before[-1 - at] != after[-1 - at]), most - first)
    skipped = max(0, first - _CONTEXT)  # (what is equal first and last is not compared again)
    kept = max(0, last - _CONTEXT)
    old, new = before[skipped : len(before) - kept], after[skipped : len(after) - kept]
    for group in _groups(old, new, first - skipped, last - kept):
        lines: list[bytes] = []
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                lines += [b" " + each for each in old[old_from:old_to]]
            else:
                lines += [b"-" + each for each in old[old_from:old_to]]
                lines += [b"+" + each for each in new[new_from:new_to]]
        ranges = (
            _range(skipped + group[0][1], group[-1][2] - group[0][1]),
            _range(skipped + group[0][3], group[-1][4] - group[0][3]),
        )
        yield b"@@ -%s +%s @@\n" % ranges
        for each in lines:
            yield each if each.endswith(b"\n") else each + b"\n\\ No newline at end of file\n"


def _groups(
    old: Sequence[bytes], new: Sequence[bytes], first: int, last: int
) -> Iterator[list[tuple[str, int, int, int, int]]]:
    """The changes of each hunk, with the lines around them. ``first``, ``last``: how many lines there are equal."""
    if len(old) + len(new) <= _MOST_COMPARED:
        if list(old) != list(new):
            yield from difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(_CONTEXT)
        return
    old_to, new_to = len(old) - last, len(new) - last
    yield [
        ("equal", 0, first, 0, first),
        ("replace", first, old_to, first, new_to),
        ("equal", old_to, len(old), new_to, len(new)),
    ]


def _range(start: int, count: int) -> bytes:
    """The lines of one side of a hunk: where none are, those come behind the line that is named."""
    return b"%d,%d" % (start + 1 if count else start, count)


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    last = lines.pop()
    return [*(each + b"\n" for each in lines), *([last] if last else [])]


def _mode(text: Text) -> bytes:
    return b"100755" if text.executable else b"100644"


def _name(prefix: str, path: str) -> bytes:
    name = (prefix + path).encode("utf-8", "surrogateescape")
    if not _QUOTED.search(name):
        return name
    return b'"%s"' % _QUOTED.sub(lambda found: _escaped(found.group()[0]), name)


def _escaped(byte: int) -> bytes:
    return _ESCAPES.get(byte) or b"\\%03o" % byte


def _ended(name: bytes) -> bytes:
    """A name of a ``---`` or ``+++`` line: a tab ends one with blanks, as a time could follow."""
    return name + b"\t" if b" " in name and not name.startswith(b'"') else name
