# Values of a patch's definition: checked one by one, with errors that name the patch, the key and what was found. Pure.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any, Mapping, Sequence

from . import _edits
from ._errors import DefinitionError

SHOWN = 200  # characters of a value that an error quotes
_LONGEST = 16 * 1024 * 1024  # characters of one text: no file is larger
_MOST = 10_000  # entries of one list


def is_number(value: Any) -> bool:
    """Whether a value is a whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 10**9


def lf(text: str) -> str:
    """A text with LF for every newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def text(name: str, key: str, value: Any, blank: bool = False, empty: bool = False, escaped: bool = False) -> str:
    """A text that is not blank, or may be (``blank``), or may be ``empty``; ``escaped``: bytes that no codec knew."""
    if not isinstance(value, str) or not (empty or (value if blank else value.strip())):
        raise wrong(name, key, "expected text, found %s" % kind(value))
    if len(value) > _LONGEST:
        raise wrong(name, key, "expected at most %d characters, found %d" % (_LONGEST, len(value)))
    try:
        value.encode("utf-8", _edits.ESCAPED if escaped else "strict")
    except UnicodeEncodeError as error:
        raise wrong(name, key, "expected text, found %r, which is no character" % value[error.start]) from None
    return value


def entries(name: str, key: str, value: Any, of: str) -> list[Any]:
    """A list. Raises DefinitionError, with ``of`` for what it is a list of."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise wrong(name, key, "expected a list of %s, found %s" % (of, kind(value)))
    if len(value) > _MOST:
        raise wrong(name, key, "expected at most %d %s, found %d" % (_MOST, of, len(value)))
    return list(value)


def mapping(name: str, key: str, value: Any, keys: Sequence[str]) -> Mapping[str, Any]:
    """A mapping that has no other keys. Raises DefinitionError."""
    if not isinstance(value, Mapping):
        raise wrong(name, key, "expected a mapping of %s, found %s" % (", ".join(keys), kind(value)))
    only(name, key + ".", value, keys)
    return value


def only(name: str, prefix: str, mapping: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise DefinitionError where a mapping has a key besides these."""
    unknown = [str(key) for key in mapping if key not in keys]
    if unknown:
        raise wrong(name, prefix + unknown[0], "unknown key; known: %s" % ", ".join(keys))


def kind(value: Any) -> str:
    """A value that is of the wrong kind, as an error shows it."""
    return "nothing" if value is None else "%s %s" % (type(value).__name__, quoted(value))


def quoted(value: Any) -> str:
    """A value as an error quotes it, cut short."""
    said = repr(value)
    return said if len(said) <= SHOWN else said[: SHOWN - 3] + "..."


def wrong(name: str, key: str, reason: str) -> DefinitionError:
    """The error for one key of a patch."""
    return DefinitionError("patch %s: %s: %s" % (name, key, reason))
