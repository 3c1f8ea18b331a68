# Patch files: a diff as upstream has it, with a header, becomes a definition. Reads files, and writes nothing.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fnmatch
import json
import os
import re
from typing import Any, Mapping, Sequence

from . import _patch, _patch_header, _unified, _versions
from ._diff import Diff
from ._errors import DefinitionError
from ._patch_header import Header
from ._unified import Section
from ._whole import Delete

DIFFS = (".patch", ".diff")
JSON = ".json"
YAML = (".yml", ".yaml")
_BESIDE = ("leave_out", "strip")
_GIVEN = (*(key for key in _patch.KEYS if key not in ("file", "edits")), *_BESIDE)
_LARGEST = 16 * 1024 * 1024  # bytes
_SOME = [{"file": "x", "delete": {}}]
_CACHES = ("*__pycache__/*", "*.pyc")  # what a comparison of directories finds besides, and nobody means
_ODD = re.compile(r"[^!#-\[\]-~]")  # what is quoted in a name
_LINK = re.compile(r"https?://[^\s,>]+")
_BEGINS = {  # what a file is that is no patch, by how it begins
    b"\x1f\x8b": "it is compressed (gzip): unpack it first",
    b"BZh": "it is compressed (bzip2): unpack it first",
    b"\xfd7zXZ": "it is compressed (xz): unpack it first",
    b"PK\x03\x04": "it is a zip archive: unpack it first",
    b"\xff\xfe": "it is UTF-16, as > of PowerShell writes it: write it as UTF-8 (git diff --output=FILE)",
    b"\xfe\xff": "it is UTF-16: write it as UTF-8",
}
_DIFF = re.compile(r"^(?:diff |--- |Index: )", re.MULTILINE)
_ENCODED = re.compile(r"^content-transfer-encoding:\s*(quoted-printable|base64)", re.IGNORECASE | re.MULTILINE)
_OTHERS = (  # what a file is that has no unified diff, by one of its lines
    (re.compile(r"\*{15}"), "a context diff: make it with diff -u"),
    (re.compile(r"\d+(?:,\d+)?[acd](?:\d+(?:,\d+)?)?\r?\Z"), "a diff without context: make it with diff -u"),
    (re.compile(r"\x1b\["), "the colours of a terminal: make it with --color=never"),
    (
        re.compile(r"[>\s]+(?:diff --git |--- |@@ -)"),
        "one that is quoted or indented: take away what its lines begin with",
    ),
    (_ENCODED, "a mail with an attachment that is encoded: save the attachment"),
)
_PAGE = re.compile(rb"\s*<(?:!doctype html|html|head|\?xml)", re.IGNORECASE)
_NAMES = ("diff ", "Index: ", "=" * 20, "Only in ")  # what may stand between a header and the first ---
_SHOWN = 80  # characters of a line that an error quotes


def load(data: bytes, name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The definition, as ``_patch.load`` takes it, that a patch file holds.

    ``name``: the file's, for messages; the patch has its stem's, in lower case with ``_``. ``given``: keys of a
    definition, ``leave_out`` and ``strip``, which win over the header. Raises DefinitionError, naming the file.
    """
    try:
        said = {key: value for key, value in (given or {}).items() if value is not None}
        unknown = sorted(key for key in said if key not in _GIVEN)
        if unknown:
            raise ValueError("%s: unknown key; known: %s" % (unknown[0], ", ".join(_GIVEN)))
        definition = _definition(_text(data), name, said)
        _patch.load(definition)
    except (ValueError, DefinitionError) as error:
        raise DefinitionError("%s: %s" % (name, error)) from None
    return definition


def read(path: str) -> list[dict[str, Any]]:
    """The definitions of a file, or of all files of a directory that have definitions, by name; not of those below it.

    Raises DefinitionError where there are none, or two of one name.
    """
    files = [path]
    if os.path.isdir(path):
        files = sorted(os.path.join(path, each) for each in _entries(path) if _is_source(each))
        if not files:
            kinds = ", ".join((*DIFFS, JSON))
            raise DefinitionError("%s: expected files that end in one of %s, found none" % (path, kinds))
    found: list[dict[str, Any]] = []
    where: dict[str, str] = {}
    for file in files:
        for definition in _read(file):
            name = definition["name"]
            if name in where:
                raise DefinitionError("%s: a patch %s is in %s already: rename one of them" % (file, name, where[name]))
            where[name] = file
            found.append(definition)
    return found


def written(edits: Sequence[Diff | Delete], package: str | None) -> str:
    """Edits as git writes them, with paths from the package's directory on: what ``_unified.load`` reads."""
    above = package.replace(".", "/") + "/" if package else ""
    moved = {edit.file for edit in edits if isinstance(edit, Delete)}
    return "".join(_section(edit, above, moved) for edit in edits if isinstance(edit, Diff))


# --- files


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError as error:
        raise DefinitionError("%s: cannot be read: %s" % (path, error.strerror or error)) from None


def _is_source(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith((*DIFFS, JSON))


def _read(path: str) -> list[dict[str, Any]]:
    try:
        with open(path, "rb") as opened:
            data = opened.read(_LARGEST + 1)
    except OSError as error:
        raise DefinitionError("%s: cannot be read: %s" % (path, error.strerror or error)) from None
    if path.lower().endswith(YAML):
        raise DefinitionError("%s: definitions in YAML are for Ansible alone: write them as JSON" % path)
    if not path.lower().endswith(JSON):
        return [load(data, path)]
    try:
        found = json.loads(_text(data))
        definitions = found if isinstance(found, list) else [found]
        for each in definitions:
            _patch.load(each)
    except (ValueError, DefinitionError) as error:
        raise DefinitionError("%s: %s" % (path, error)) from None
    return definitions


def _text(data: bytes) -> str:
    """The text of a file; of other encodings, bytes come through. Raises ValueError where it is no text."""
    if len(data) > _LARGEST:
        raise ValueError("expected at most %d bytes, found more" % _LARGEST)
    if not data.strip():
        raise ValueError("expected a patch, found an empty file")
    found = next((what for begin, what in _BEGINS.items() if data.startswith(begin)), None)
    if found is None and _PAGE.match(data):
        found = "this is a web page: download the raw file (of a pull request on GitHub: its address with .diff behind)"
    if found is not None:
        raise ValueError("expected a patch: %s" % found)
    if b"\0" in data:
        raise ValueError("expected text, found a zero byte at %d" % data.index(b"\0"))
    return data.decode("utf-8-sig", "surrogateescape")


# --- the definition


def _definition(text: str, file: str, given: Mapping[str, Any]) -> dict[str, Any]:
    lines = text.split("\n")
    above = _DIFF.split(text, maxsplit=1)[0]
    encoded = _ENCODED.search(above)
    if encoded and "multipart/" not in above:  # (of such a mail, another part may be the diff)
        raise ValueError(
            "expected a plain mail, found one in %s: save its text (git mailinfo, or git format-patch)"
            % encoded.group(1).lower()
        )
    sections = _unified.sections(text)
    if not sections:
        raise ValueError("expected a unified diff, found %s" % _instead(lines))
    if sections[-1].last == len(lines) and not lines[-1].startswith("\\"):
        raise ValueError("line %d: expected the end of the line, found the end: is it truncated?" % len(lines))
    header = _patch_header.load(_before(lines[: sections[0].number - 1]))
    made = {"name": _name_of(file), **_said(header), **given}
    for key, wanted in (
        ("package", "Package: (what is imported)"),
        ("versions", "Versions: (such as >=2.3,<3)"),
        ("reason", "Description: (why)"),
    ):
        if key not in made and not (key == "package" and "distribution" in made):
            raise ValueError(
                "expected %s, found none: add it in front of the diff, or give %s beside the file" % (wanted, key)
            )
    leave_out, strip = _listed(made.pop("leave_out", ())), _number("strip", made.pop("strip", None))
    made.setdefault("upstream", "none")
    made.setdefault("retire", _retire(made))
    package = _patch.load({**made, "edits": _SOME}).package  # (what is wrong in the header is told first)
    made["edits"] = [{"diff": written(_unified.edits(_inside(sections, package, leave_out, strip)), package)}]
    return made


def _before(lines: Sequence[str]) -> list[str]:
    """The lines in front of the diff, without those that name its first file. Raises ValueError for what is no text."""
    end = len(lines)
    while end and lines[end - 1].startswith(_NAMES):
        end -= 1
    for number, each in enumerate(lines[:end], 1):
        try:
            each.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("line %d: expected UTF-8 in the header, found %r" % (number, each)) from None
    return [each.rstrip("\r") for each in lines[:end]]


def _instead(lines: Sequence[str]) -> str:
    """What a file is that has no unified diff."""
    for shape, what in _OTHERS:
        if any(map(shape.match, lines)):
            return what
    return "none; it begins with %r" % next((each for each in lines if each.strip()), "")[:_SHOWN]


def _name_of(file: str) -> str:
    stem = os.path.splitext(os.path.basename(file))[0]
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return name if name[:1].isalpha() else "patch_" + name


def _said(header: Header) -> dict[str, Any]:
    """What the header says, by the definition's keys."""
    made: dict[str, Any] = {}
    for key in ("package", "distribution", "versions", "retire"):
        made[key] = header.value(key)
    made["reason"] = header.reason()
    made["upstream"] = header.upstream()
    for key in ("when", "requires"):  # (a comma is also within specifiers)
        value = header.value(key)
        made[key] = (
            None if value is None else [each for each in re.split(r",\s*(?=[A-Za-z])|\n", value) if each.strip(" ,")]
        )
    for key in ("after", "leave-out"):
        value = header.value(key)
        made[key.replace("-", "_")] = None if value is None else _listed(value)
    for key in ("revision", "strip"):
        made[key] = _number(key, header.value(key))
    made.update(_applied_upstream(header.value("applied-upstream") or "", made["upstream"]))
    return {key: value for key, value in made.items() if value is not None}


def _applied_upstream(value: str, link: str | None) -> dict[str, str]:
    """What Applied-Upstream says: specifiers (a version alone: from it on), a link, or text such as a commit's id."""
    text = " ".join(_LINK.sub("", value).split()).strip(", ")
    if not text:
        return {}
    for specifiers in (text, ">=" + text):
        try:
            _versions.check(specifiers)
        except ValueError:
            continue
        return {"applied_upstream": specifiers}
    return {} if link else {"upstream": text}


def _retire(made: Mapping[str, Any]) -> str:
    what = made.get("package") or made.get("distribution")
    if "applied_upstream" in made:
        return "When every environment has %s %s." % (what, made["applied_upstream"])
    if made["upstream"] != "none":
        return "When every environment has a release of %s with upstream's change." % what
    return "When a release of %s does not need it." % what


def _listed(value: Any) -> list[str]:
    if isinstance(value, str):
        return [each for each in re.split(r"[,\s]+", value) if each]
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise ValueError("leave_out: expected a list of paths, found %r" % (value,))
    return [each for each in value if each]


def _number(key: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value.strip()):
        return int(value)
    raise ValueError("%s: expected a whole number, found %r" % (key, value))


# --- which files of a diff are the package's


def _inside(
    sections: Sequence[Section], package: str | None, leave_out: Sequence[str], strip: int | None
) -> list[tuple[Section, str, str]]:
    """The sections that are the package's, with their files below it.

    The directories above the package's are the same for all: else one of them is another thing of that name, such as
    tests. Raises ValueError where that is not so, and where files outside of the package are not left out.
    """
    found: list[tuple[Section, dict[str, tuple[str, str]]]] = []
    outside: list[str] = []
    for section in sections:
        names = _unified.paths(section)
        wrong = next((name for name in names if _climbs(name, package is None)), None)
        if wrong is not None:
            raise ValueError("line %d: expected a path below a directory, found %s" % (section.number, wrong))
        left_out = [_is_left_out(name, leave_out) for name in names]
        if all(left_out):
            continue
        ways = _ways(section, package, strip)
        if any(left_out) or (not ways and _unified.below(names[0], package) != _unified.below(names[1], package)):
            raise ValueError(
                "line %d: expected a rename inside of the package, found %s to %s: make the diff with --no-renames"
                % (section.number, *names)
            )
        outside += [] if ways else [names[1]]
        found.append((section, ways))
    if outside:
        wanted = "more than %d parts" % strip if strip else "the directory of the package %s" % package
        listed = ", ".join(re.sub(r"[\s,]", "?", each) for each in dict.fromkeys(outside))
        if any(ways for _section, ways in found):
            raise ValueError(
                "expected paths with %s, found others. To leave those out:\nLeave-Out: %s" % (wanted, listed)
            )
        raise ValueError(
            "expected paths with %s, found %s: give Strip (how many leading parts to take off), or another Package"
            % (wanted, listed)
        )
    if not found:
        raise ValueError("expected a file of the package, found none that is not left out")
    # (a file that goes has no new name: in q.orig/acme/x.py it lies below another directory than q/acme/y.py)
    told = [ways for section, ways in found if len(ways) > 1 or not _unified.goes(section)] or [found[0][1]]
    tops = [each for each in told[0] if all(each in ways for ways in told)]
    if len(tops) != 1:
        several = tops or dict.fromkeys(each for ways in told for each in ways)
        raise ValueError(
            "expected the package below one directory, found it below %s: say which is another thing in Leave-Out, or "
            "give Strip" % " and ".join(each or "the top" for each in several)
        )
    return [(section, *(ways.get(tops[0]) or next(iter(ways.values())))) for section, ways in found]


def _ways(section: Section, package: str | None, strip: int | None) -> dict[str, tuple[str, str]]:
    """The file before and after, below the package, by what may be above that."""
    names = _unified.paths(section)
    if strip is not None:
        old, new = _unified.paths(section, strip)
        above = names[1][: -len(new)] if new and names[1].endswith(new) else ""
        return {above.rstrip("/"): (old, new)} if old and new else {}
    olds, news = (dict(_unified.below(name, package)) for name in names)
    return {above: (olds[above], file) for above, file in news.items() if above in olds}


def _climbs(name: str, may: bool) -> bool:
    """Whether a path leaves the directory that it is for; at its begin it ``may``, to reach a script in ``bin``."""
    parts = name.split("/")
    while may and parts[0] == ".." and len(parts) > 1:
        parts = parts[1:]
    return parts[0] == "" or ".." in parts


def _is_left_out(name: str, leave_out: Sequence[str]) -> bool:
    """Whether a path is, or lies below, one that is left out; or fits it as a pattern."""
    return any(
        name == each or name.startswith(each.rstrip("/") + "/") or fnmatch.fnmatchcase(name, each)
        for each in (*leave_out, *_CACHES)
    )


# --- the diff


def _section(edit: Diff, above: str, moved: set[str]) -> str:
    old, new = above + (edit.source or edit.file), above + edit.file
    lines = ["diff --git %s %s" % (_quoted("a/" + old), _quoted("b/" + new))]
    mode = "100755" if edit.executable else "100644"
    if edit.creates:
        lines.append("new file mode " + mode)
    elif edit.removes:
        lines.append("deleted file mode 100644")
    elif edit.executable is not None:
        lines += ["old mode " + ("100644" if edit.executable else "100755"), "new mode " + mode]
    if edit.source is not None:
        what = "rename" if edit.source in moved else "copy"
        moved.discard(edit.source)  # (others are copies of it)
        lines += ["%s from %s" % (what, _quoted(old)), "%s to %s" % (what, _quoted(new))]
    if edit.hunks:
        lines.append("--- " + ("/dev/null" if edit.creates else _quoted("a/" + old)))
        lines.append("+++ " + ("/dev/null" if edit.removes else _quoted("b/" + new)))
    return "".join(each + "\n" for each in lines) + "".join(hunk.text for hunk in edit.hunks)


def _quoted(name: str) -> str:
    """A name as git quotes it, where that is needed."""
    if not _ODD.search(name):
        return name
    data = name.encode("utf-8", "surrogateescape")
    return '"%s"' % "".join(chr(each) if 32 <= each < 127 and each not in b'"\\' else "\\%03o" % each for each in data)
