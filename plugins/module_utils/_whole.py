# The edits `write` and `delete`: a file's whole content, or its absence. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from ._edits import ABSENT, NEWLINE, Target, Text, encode, encoding
from ._errors import Conflict

NOTHING = "absent"  # what `replaces` says of a file that is not there


class Write(NamedTuple):
    """Have a file hold exactly this text, in the encoding that the text itself declares."""

    file: str
    content: str
    """With LF; what is put in has the newline of the file that it replaces."""
    replaces: str | None = None
    """SHA-256 of what it may replace, or ``absent``; None: whatever is proven to be the original."""

    @property
    def needs_pristine(self) -> bool:
        """Whether only evidence can tell what is replaced."""
        return self.replaces is None

    def do(self, text: Text, target: Target) -> Text:
        """The file with this content. Raises Conflict where it is not what the content replaces."""
        _expect(text, self.replaces)
        return text._replace(data=self._made(text))

    def undo(self, text: Text, target: Target) -> Text | None:
        """That there was no file, where the edit says so; else nothing tells."""
        return ABSENT if self.replaces == NOTHING and text.data == self._made(text) else None

    def held(self, text: Text) -> str | None:
        """``line 1`` where the file has the content already."""
        return "line 1" if self.made(text) else None

    def made(self, text: Text) -> bool:
        """Whether the file has the content already."""
        return text.data is not None and text.data == self._made(text)

    def normal(self) -> dict[str, Any]:
        """The normalised form."""
        replaces = {} if self.replaces is None else {"replaces": self.replaces}
        return {"write": {"content": self.content, **replaces}}

    def _made(self, text: Text) -> bytes:
        newline = NEWLINE.search(text.data or b"")
        ended = self.content.replace("\n", newline.group().decode("ascii") if newline else "\n")
        return encode(ended, encoding(self.file, ended.encode("utf-8")))


class Delete(NamedTuple):
    """Have no such file."""

    file: str
    replaces: str | None = None
    """SHA-256 of what it may delete; None: whatever is proven to be the original."""
    moved: bool = False
    """Whether it goes on under another name: then nothing is lost, whatever it holds."""

    @property
    def needs_pristine(self) -> bool:
        """Whether only evidence can tell what is deleted."""
        return self.replaces is None and not self.moved

    def do(self, text: Text, target: Target) -> Text:
        """No file. Raises Conflict where it is not what may be deleted, or is not there."""
        if text.data is None:
            raise Conflict("expected a file to delete, found none")
        _expect(text, self.replaces)
        return ABSENT

    def undo(self, text: Text, target: Target) -> Text | None:
        """None: nothing tells what was there."""
        return None

    def held(self, text: Text) -> str | None:
        """None: what is not there holds nothing."""
        return None

    def made(self, text: Text) -> bool:
        """Whether there is no file."""
        return text.data is None

    def normal(self) -> dict[str, Any]:
        """The normalised form."""
        replaces = {} if self.replaces is None else {"replaces": self.replaces}
        return {"delete": {**replaces, **({"moved": True} if self.moved else {})}}


def _expect(text: Text, replaces: str | None) -> None:
    found = NOTHING if text.data is None else hashlib.sha256(text.data).hexdigest()
    if replaces is not None and replaces != found:
        wanted, there = ("no file" if each == NOTHING else "a file of SHA-256 " + each for each in (replaces, found))
        raise Conflict("expected %s, found %s" % (wanted, there))
