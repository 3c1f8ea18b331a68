# Edits: what counts as bound, where a block goes however a file is laid out, and that undoing gives the bytes back.
from __future__ import annotations

import ast
import re
import sys
import types
import warnings
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _edits, _reexport
from ansible_collections.primus.patches.plugins.module_utils._edits import Text
from ansible_collections.primus.patches.plugins.module_utils._errors import Conflict, Unsupported
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNER = "two_names"
EDIT = _reexport.Reexport("module.py", ".core", ("Thing", "other"))
SOURCE = b"class Thing: pass\ndef other(): pass\ndef third(): pass\n"


def target(source: bytes | None = SOURCE, owner: str = OWNER, revision: int = 1) -> _edits.Target:
    """Return a package ``pkg`` whose module ``pkg.core`` has this source; None: it has no such module."""
    modules = {} if source is None else {"pkg.core": ("core.py", source)}
    return _edits.Target("pkg", owner, revision, modules.get, lambda _file: _edits.ABSENT)


class Undone(NamedTuple):
    text: bytes
    revision: int
    line: int


def changed(edit: Any, text: bytes, about: _edits.Target) -> bytes | None:
    """Return the text with the edit, which parses and can be taken out; None where there is nothing to do: native."""
    after = edit.do(Text(text), about).data
    if after == text:
        return None
    _edits.parse(after, "the result")
    assert edit.undo(Text(after), about) == Text(text)
    return after


def undone_by(edit: Any, text: bytes, owner: str) -> Undone | None:
    """Return the text without the block and what its mark says; None without a block."""
    marked = _reexport.marked(text, owner)
    return None if marked is None else Undone(edit.undo(Text(text), target(owner=owner)).data, *marked)


def do(text: bytes | str, owner: str = OWNER, *, edit: _reexport.Reexport = EDIT, revision: int = 1) -> bytes | None:
    """Return the text with the block; None: native."""
    before = text.encode() if isinstance(text, str) else text
    return changed(edit, before, target(owner=owner, revision=revision))


def done(text: bytes | str, **options: Any) -> bytes:
    """Return the text with the block, which must have been needed."""
    after = do(text, **options)
    assert after is not None
    return after


def undo(text: bytes, owner: str = OWNER) -> bytes | None:
    undone = undone_by(EDIT, text, owner)
    return undone and undone.text


def block(*names: str, owner: str = OWNER, revision: int = 1) -> str:
    """Return a block as it is written, with its final newline."""
    lines = "".join(f"    {name},\n" for name in names or EDIT.names)
    return (
        f"# >>> primus.patches: {owner}, revision {revision} >>>\n"
        f"from .core import (  # noqa: F401\n{lines})\n"
        f"# <<< primus.patches: {owner} <<<\n"
    )


def added(text: bytes | str) -> list[str]:
    """Return the names that the block adds to the text."""
    return re.findall(r"^    (\w+),$", done(text).decode(), re.MULTILINE)


# --- the decision: by what the module binds, not by how it is written


@pytest.mark.parametrize(
    "text",
    [
        "from .core import Thing, other\n",
        "from .core import (other,  # a comment\n   Thing)\n",
        "from .core import \\\n    Thing, \\\n    other\n",
        "from .core import third as Thing, other as other\n",
        "from .core import Thing\nimport os\nfrom .core import other\n",
        "from pkg.core import Thing\nfrom .core import other\n",
        "from elsewhere import Thing, other\n",
        "import a.b as Thing, other.inner\n",
        "from . import core\nThing = core.Thing\nother = core.other\n",
        "Thing = other = None\n",
        "(Thing, [other, *rest]) = make()\n",
        "Thing: type = make()\nother: object = make()\n",
        "class Thing: pass\nasync def other(): pass\n",
        "def Thing(): pass\ndef other(): pass\n",
        "import os; from .core import Thing; from .core import other\n",
        "del Thing, other\nfrom .core import Thing, other\n",
        "from .core import third\n\n\nfrom .core import Thing, other\n",
    ],
)
def test_a_module_that_binds_every_name_is_native_however_it_does_so(text: str) -> None:
    assert do(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    from .core import Thing\nexcept ImportError:\n    Thing = None\n",
        "if flag:\n    from .core import Thing\nelse:\n    Thing = None\n",
        "def f():\n    from .core import Thing\n    global other\n",
        "class C:\n    from .core import Thing\n",
        "with suppress(ImportError):\n    from .core import Thing\n",
        "with make() as Thing:\n    pass\n",
        "for Thing in ():\n    pass\n",
        "while flag:\n    Thing = 1\n",
        "from .core import *\n",
        "Thing: type\n",
        "from .core import Thing\ndel Thing\n",
        "from .core import Thing, third\ndel (third, [Thing])\n",
        "from .core import Thing as thing\n",
        "import pkg.Thing\n",
        "x.Thing = y[Thing] = 1\n",
        "lambda Thing: [Thing for Thing in ()]\n",
        '"""from .core import Thing"""\n',
        "# from .core import Thing\n",
        "print('from .core import Thing')\n",
        "__getattr__ = make()\n",
    ],
)
def test_a_name_that_is_bound_only_perhaps_or_elsewhere_is_bound_again(text: str) -> None:
    text = text if "\ndel" not in text else text + "from .core import third\n"  # (a place below the del)
    assert added(f"import os\n{text}from .core import other\n") == ["Thing"]


def test_a_name_that_is_deleted_further_down_cannot_be_bound_by_a_block_above() -> None:
    with pytest.raises(Conflict, match="the file would not bind Thing even with the block; nothing is written"):
        do("from .core import Thing, other\ndel Thing\n")


@pytest.mark.parametrize(
    "source",
    [
        b"class third: pass\n",
        b"def f():\n    def Thing(): pass\n    other = 1\n",
        b"class C:\n    Thing = other = 1\n",
        b"from .x import Thing as thing, other as another\n",
        b"Thing: type\nother: type\n",
        b"from .x import *\n",
    ],
)
def test_names_that_the_source_does_not_define_are_listed(source: bytes) -> None:
    with pytest.raises(Unsupported, match=r"^pkg\.core does not define Thing, other$"):
        changed(EDIT, b"import os\n", target(source))


@pytest.mark.parametrize(
    "source",
    [
        b"class Thing: pass\nasync def other(): pass\n",
        b"try:\n    from a import Thing\nexcept ImportError:\n    class Thing: pass\nfinally:\n    other = 1\n",
        b"if flag:\n    import Thing\nelse:\n    def other(): pass\n",
        b"with make():\n    if flag:\n        Thing = 1\n    elif other:\n        other: int = 1\n",
        b"from a import b as Thing\n(other, x) = 1, 2\n",
    ],
)
def test_the_source_may_define_a_name_in_try_if_and_with(source: bytes) -> None:
    assert changed(EDIT, b"import os\n", target(source)) is not None


def test_an_import_of_what_the_source_no_longer_defines_is_not_native() -> None:
    source = b"class Thing: pass\n"
    with pytest.raises(Unsupported, match=r"^pkg\.core does not define other$"):
        changed(EDIT, b"from .core import Thing, other\n", target(source))
    with pytest.raises(Unsupported, match=r"^pkg\.core does not define gone$"):
        changed(EDIT, b"from pkg.core import Thing, gone as other\n", target(source))


def test_an_import_from_elsewhere_does_not_need_the_source() -> None:
    assert changed(EDIT, b"from elsewhere import Thing, other\n", target(None)) is None


def test_a_source_that_is_not_there_or_does_not_parse_is_a_conflict_that_names_it() -> None:
    with pytest.raises(Conflict, match=r"expected the module pkg\.core beside the file, found none"):
        changed(EDIT, b"import os\n", target(None))
    with pytest.raises(Conflict, match=r"^core\.py does not parse at line 2: "):
        changed(EDIT, b"import os\n", target(b"\n(\n"))


@pytest.mark.parametrize(
    ("package", "source", "expected"),
    [
        ("pkg", ".core", "pkg.core"),
        ("pkg.sub", ".core", "pkg.sub.core"),
        ("pkg.sub", "..core", "pkg.core"),
        ("pkg.sub", "pkg.core", "pkg.core"),
        ("pkg.sub.deep", "...a.b", "pkg.a.b"),
        ("a.b.c", ".....x", "x"),  # above the top: nothing of the package
    ],
)
def test_a_relative_source_is_resolved_as_an_import_is(package: str, source: str, expected: str) -> None:
    asked: list[str] = []
    edit = _reexport.Reexport("module.py", source, ("Thing",))
    with pytest.raises(Conflict):
        changed(edit, b"import os\n", target()._replace(package=package, module=asked.append))
    assert asked == [expected]


# --- the place: @ marks where the block is expected

PLACES = {
    "after the import of the source": "import os\nfrom .core import third\n@import sys\n",
    "after the last of several": "from .core import a\nimport os\nfrom .core import b\n@import sys\n",
    "after the absolute import of the source": "from pkg.core import a\n@import sys\n",
    "after the last import without one": "import os\nfrom . import core\n@x = 1\n",
    "a module of another package is another": "from ..core import a\nfrom .core.x import a\nfrom x.core import a@",
    "one in a try is no place": "from a import b\n@try:\n    from .core import c\nexcept ImportError:\n    pass\n",
    "one in an if is no place": "from a import b\n@if x:\n\tfrom .core import c\n\timport d\n",
    "one in a function is no place": "import a\n@def f():\n    from .core import c\n",
    "one in a docstring is no place": 'import a\n@"""\nfrom .core import c\n"""\n',
    "one in a comment is no place": "import a\n@# from .core import c\n",
    "not inside parentheses": "from .core import (\n    a,\n    b,\n)\n@x = 1\n",
    "not between parentheses and their comment": "from .core import (\n    a\n)  # why\n@\nx = 1\n",
    "not at a backslash": "from .core import a, \\\n    b\n@x = 1\n",
    "not inside what follows a semicolon": 'from .core import a; x = """\nimport b\n"""\n@y = 1\n',
    "not inside the second that follows one": "import a; b = (1,\n 2); c = [\n]\n@d = 1\n",
    "after a line of several imports": "import a; from .core import b; import c\n@x = 1\n",
    "a trailing semicolon": "import a;\n@x = 1\n",
    "after a future import": "from __future__ import annotations\n@x = 1\n",
    "below a docstring with a future import": '"""Doc."""\nfrom __future__ import annotations\nimport a\n@',
    "a file of one import": "import a\n@",
    "a file of one import without a newline": "import a@",
    "an import at the end without a newline": "x = 1\nimport a@",
    "a comment at the end without a newline": "import a  # why@",
    "an import before an end without a newline": "import a\n@x = 1",
    "a form feed before": "\x0cimport a\n@x = 1\n",
    "a form feed after": "import a\n@\x0c\nx = 1\n",
    "a form feed on the line": "import a\x0c\n@x = 1\n",
    "a vertical tab and a separator in a string": "x = 'a\x0b\x1c\x85\u2028b'\nimport a\n@x = 1\n",
    "tabs": "if x:\n\ty = 1\nimport a\t# tab\n@if x:\n\ty = 1\n",
    "a shebang and a cookie": "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\nimport a\n@",
    "blank lines and spaces at the end": "import a\n@   \n\n\t\n",
    "an import far below": "import a\n" + "x = 1\n" * 500 + "import b\n@y = 1\n",
    "a continued line": "import a; \\\n@x = 1\n",
}


def at(template: str, inserted: str) -> str:
    """Return the template with the block in place of the @, which takes its newline before it at the end of a file."""
    before, _at, after = template.partition("@")
    ends_a_line = not before or before.endswith(("\n", "\r"))
    return before + (inserted if ends_a_line else "\n" + inserted[:-1]) + after


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("template", PLACES.values(), ids=PLACES)
def test_the_block_goes_between_statements_and_has_the_line_ends_of_the_file(template: str, newline: str) -> None:
    before, after = (
        text.replace("\n", newline).encode() for text in (template.replace("@", ""), at(template, block()))
    )
    if newline.encode() not in before:  # (nothing tells)
        after = after.replace(newline.encode(), b"\n")
    assert done(before) == after
    assert undo(after) == before


def test_the_block_has_the_line_end_of_the_import_where_they_are_mixed() -> None:
    before = b"import a\nfrom .core import b\r\nx = 1\ny = 2\r"
    after = b"import a\nfrom .core import b\r\n" + block().replace("\n", "\r\n").encode() + b"x = 1\ny = 2\r"
    assert done(before) == after
    assert undo(after) == before


@pytest.mark.parametrize(
    ("cookie", "codec"),
    [
        ("", "utf-8"),
        ("", "utf-8-sig"),
        ("# coding: utf-8-sig\n", "utf-8-sig"),
        ("# -*- coding: latin-1 -*-\n", "latin-1"),
        ("#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n", "cp1252"),
        ("# coding: iso-8859-15\n", "iso-8859-15"),
        ("# coding: shift_jis\n", "shift_jis"),
    ],
)
def test_bytes_in_any_encoding_stay_as_they_are(cookie: str, codec: str) -> None:
    word = "ソ表" if codec == "shift_jis" else "é€"[: 1 if codec == "latin-1" else 2]
    before = f"{cookie}x = '{word}'\nimport a  # {word}\n@y = '{word}'\n"
    after = done(before.replace("@", "").encode(codec))
    assert after == at(before, block()).encode(codec)
    assert undo(after) == before.replace("@", "").encode(codec)


@pytest.mark.parametrize(
    "text",
    [
        '# coding: unicode_escape\nx = """\\u000a"""; \\u000aimport os\ny = """\nz"""\n',
        '# coding: utf-7\nx = """+AAoACgAKAAo-"""\nimport os\ny = """\na\nb\nc\n"""\n',
    ],
)
def test_a_codec_that_makes_lines_of_its_own_cannot_lead_the_block_astray(text: str) -> None:
    try:
        after = done(text)
    except Conflict:
        return
    compile(after, "pkg/module.py", "exec")  # right by luck; a block inside of a string was refused by the proof
    assert undo(after) == text.encode()


def test_a_block_that_lands_inside_of_a_string_is_refused() -> None:
    with pytest.raises(Conflict, match="the file would not bind Thing, other even with the block"):
        do('# coding: unicode_escape\nx = 1\\u000aimport os\ny = """\na"""\n')


# --- no place, or no module: a conflict that says why


@pytest.mark.parametrize(
    "text", ["", "x = 1\n", '"""Doc."""\n', "try:\n    import a\nexcept ImportError:\n    pass\n", "\n# only\n"]
)
def test_a_file_without_a_top_level_import_is_a_conflict(text: str) -> None:
    with pytest.raises(Conflict, match="expected a top-level import statement to put the block after, found none"):
        do(text)


NESTED = b"".join(b" " * depth + b"if x:\n" for depth in range(150)) + b" " * 150 + b"pass\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"import a\nfrom .core import (\n", "at line 2: "),
        (b"import a\n  x = 1\n", "at line 2: unexpected indent"),
        (b"import a\nprint 'x'\n", "at line 2: "),
        (b"import a\nx = '\xe9'\n", "utf-8"),
        (b"# coding: no_such_codec\nimport a\n", "no_such_codec"),
        (b"# coding: rot13\nimport a\n", "rot13"),
        (b"\xef\xbb\xbf# coding: latin-1\nimport a\n", "with BOM"),
        (b"import a\n" + NESTED, "too many levels of indentation"),
        (b"import a\nx = " + b"(" * 5000 + b")" * 5000 + b"\n", "."),
        (b"import a\nx = " + b"-" * 100000 + b"1\n", "."),
        (b"import a\n<<<<<<< HEAD\n", "at line 2: "),
    ],
    ids=lambda value: repr(value[:40]),  # (as a whole they are far too long for a report)
)
def test_a_file_that_does_not_parse_is_a_conflict_that_says_where(text: bytes, reason: str) -> None:
    with pytest.raises(Conflict, match=f"^the file does not parse.*(?:{reason})") as caught:
        do(text)
    assert not str(caught.value).endswith(": ")


@pytest.mark.parametrize("text", [b"import a\n\0", "import a\n".encode("utf-16")])
def test_a_file_that_is_no_text_is_a_conflict(text: bytes) -> None:
    with pytest.raises(Conflict, match=r"expected text in module\.py, found a binary file"):
        do(text)


def test_what_only_some_pythons_can_parse_is_patched_or_a_conflict() -> None:
    text = b"import a\nx = a" + b".b" * 100000 + b"\n"
    with suppress(Conflict):
        assert undo(done(text)) == text


def test_what_python_would_warn_of_is_not_our_business() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert do("import a\nx = '\\d'\nassert (x, 'y')\n")


# --- taking a block out


def test_what_holds_no_block_of_the_patch_has_nothing_to_undo() -> None:
    for text in (b"", b"import a\n", b"# primus.patches\nimport a\n", done("import a\n", owner="two_names_more")):
        assert undone_by(EDIT, text, OWNER) is None


def test_undoing_tells_the_revision_and_the_line_of_the_block() -> None:
    undone = undone_by(EDIT, done("\r\nimport a\r\n", revision=12), OWNER)
    assert undone == Undone(b"\r\nimport a\r\n", 12, 3)


TEXT = f"import a\n{block()}x = 1\n"
HAND_EDITED = {
    "doubled": TEXT + block(),
    "doubled at once": f"import a\n{block() * 2}",
    "with an end mark more": TEXT + "# <<< primus.patches: two_names <<<\n",
    "without its end mark": TEXT.replace("# <<< primus.patches: two_names <<<\n", ""),
    "without its begin mark": TEXT.replace("# >>> primus.patches: two_names, revision 1 >>>\n", ""),
    "without its import": "import a\n" + re.sub(r"from .*\n\)\n", "", block(), flags=re.DOTALL),
    "with a line more": TEXT.replace(")\n", ")\nfrom .core import third\n"),
    "with a comment more": TEXT.replace("    Thing,\n", "    Thing,  # mine\n"),
    "with a blank line": TEXT.replace(")\n", ")\n\n"),
    "without its last comma": TEXT.replace("other,\n", "other\n"),
    "indented in a try": "import a\ntry:\n" + re.sub("^", "    ", block(), flags=re.MULTILINE) + "\nfinally: pass\n",
    "marks the wrong way round": "import a\n"
    + "".join(reversed(block().splitlines(keepends=True))).replace("    ", "x = "),
    "another's end mark": TEXT.replace("# <<< primus.patches: two_names", "# <<< primus.patches: twonames"),
    "a revision that is no number": TEXT.replace("revision 1", "revision one"),
    "a revision beyond all numbers": TEXT.replace("revision 1", "revision " + "9" * 5000),
    "quoted in a docstring, and there": f'"""\n{block()}"""\n' + TEXT,
    "begin mark quoted in a docstring": f'"""\n{block().splitlines()[0]}\n"""\nimport a\n',
}


@pytest.mark.parametrize("text", HAND_EDITED.values(), ids=HAND_EDITED)
def test_a_block_that_is_not_as_it_was_written_is_a_conflict_that_tells_the_lines(text: str) -> None:
    with pytest.raises(Conflict) as caught:
        undone_by(EDIT, text.encode(), OWNER)
    message = str(caught.value)
    if not message.startswith("the file does not parse"):
        lines = [
            n
            for n, line in enumerate(text.splitlines(), 1)
            if re.search(r"(>>>|<<<) primus.patches: two_names\b", line)
        ]
        assert message == (
            "expected one block from '# >>> primus.patches: two_names, ...' to '# <<< ...' as it was written, found "
            f"something else (marks at lines {', '.join(map(str, lines))}): it was edited by hand since; restore the "
            "block, or the file from its wheel"
        )


def test_a_block_whose_line_ends_were_converted_with_the_file_is_still_a_block() -> None:
    after = done("import a\nx = 1\n")
    assert undo(after.replace(b"\n", b"\r\n")) == b"import a\r\nx = 1\r\n"
    assert done("import a\r\nx = 1\r\n") == after.replace(b"\n", b"\r\n")


# --- several patches in one file


def test_the_block_of_another_patch_neither_binds_nor_holds_a_place() -> None:
    before = done("import a\nx = 1\n", owner="zz")
    assert done(before, owner="aa").decode() == f"import a\n{block(owner='aa')}{block(owner='zz')}x = 1\n"


def test_blocks_tell_who_which_revision_and_what() -> None:
    text = done(done("import a\r\nx = 1", owner="b", revision=2), owner="a", revision=3)
    assert _reexport.blocks(text) == [("a", 3, ".core", ("Thing", "other")), ("b", 2, ".core", ("Thing", "other"))]
    assert _reexport.blocks(b"import a\n") == _reexport.blocks(b"(") == []


def test_a_block_in_a_string_is_none() -> None:
    quoted = f'x = """\n{block(owner="b")}"""\nimport a\n'
    after = done(quoted)
    assert [found.owner for found in _reexport.blocks(after)] == [OWNER]
    assert _reexport.without_blocks(after) == quoted.encode()
    with pytest.raises(Conflict, match="the file does not parse"):
        _reexport.blocks(f"{block()}(".encode())


def test_a_block_of_the_same_owner_that_is_there_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="expected no block of two_names, found one that no fact explains: take it out"):
        do(done("import a\n"))
    with pytest.raises(Conflict, match="expected one block from"):
        do(HAND_EDITED["with a line more"])
    edited = HAND_EDITED["with a line more"].encode()
    assert EDIT.undo(Text(edited), target()) is None
    assert _reexport.without_blocks(edited) == edited


def test_made_is_a_module_that_binds_every_name() -> None:
    assert EDIT.made(Text(b"from x import Thing, other\n"))
    assert not any(EDIT.made(Text(text)) for text in (b"from x import Thing\n", b"(", None))
    assert EDIT.held(Text(b"from x import Thing, other\n")) is None


def test_a_file_that_is_not_there_is_a_conflict() -> None:
    with pytest.raises(Conflict, match=r"expected the file module\.py, found none"):
        EDIT.do(_edits.ABSENT, target())
    assert EDIT.undo(_edits.ABSENT, target()) == _edits.ABSENT


# --- properties


STATEMENTS = [
    "import os",
    "import os; x = 1",
    "import os, \\\n    sys;",
    "from .core import third",
    "from .core import (\n    Thing,  # é\n    third,\n)",
    "from pkg.core import Thing as T",
    "from pkg.core import \\\n    other",
    "from . import core",
    'from .core import third; x = """a\nfrom .core import nothing\nimport nothing\n"""',
    'import os; y = [\n1,\n]; z = """\n"""',
    '"""Doc é.\n\nimport nothing\nfrom .core import other\n"""',
    f'x = """\n{block(owner="elsewhere")}"""',
    "try:\n    raise ImportError\n    from .core import Thing, other\nexcept ImportError:\n    import sys",
    "if no:\n\timport os\n\tfrom .core import Thing\nelse:\n\timport sys",
    "def f():\n    from .core import Thing\n    return Thing",
    "class C:\n    from .core import other\n    import os",
    "with nothing:\n    import os",
    "for i in ():\n    from .core import Thing",
    "Thing = 1",
    "other: int",
    "other: int = 1",
    "del Thing",
    "if no:\n    del other",
    "from .star import *",
    "# a comment: é \\",
    "\x0c",
    "",
    "    # indented",
    'x = "\\\né"',
    "x = (\n\n  1)  # é",
    "import os; \\\nx = 2",
]
ENCODINGS = [
    ("", "utf-8"),
    ("", "utf-8-sig"),
    ("#!/usr/bin/python3\n# coding: utf-8-sig\n", "utf-8-sig"),
    ("# coding: latin-1\n", "latin-1"),
    ("#!/usr/bin/python3\n# vim: fileencoding=cp1252\n", "cp1252"),
]


@st.composite
def modules(draw: st.DrawFn) -> bytes:
    """Return the bytes of a module: statements x line ends x encodings x final newline."""
    statements = draw(st.lists(st.sampled_from(STATEMENTS), max_size=9))
    if draw(st.booleans()):
        statements.insert(0, "from __future__ import annotations")
    if draw(st.integers(0, 5)):
        statements.insert(draw(st.integers(0, len(statements))), "import os")
    cookie, codec = draw(st.sampled_from(ENCODINGS))
    text = cookie + "\n".join(statements) + draw(st.sampled_from(["\n", "", "\n\n", "  "]))
    ends = draw(st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=1, max_size=4))
    lines = text.split("\n")
    text = lines[0] + "".join(ends[number % len(ends)] + line for number, line in enumerate(lines[1:]))
    return text.encode(codec)


def lines_of(text: bytes) -> list[bytes]:
    return re.split(rb"\r\n|\r|\n", text)


def compiled(text: bytes) -> types.CodeType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compile(text, "module.py", "exec", dont_inherit=True)
    except SyntaxError:
        return None


def namespace(code: types.CodeType) -> dict[str, Any] | None:
    """Return what a module of ``pkg`` binds when it really runs; None when it raises (a del of what is not there)."""
    names: dict[str, Any] = {"__name__": "pkg.module", "__package__": "pkg", "no": False, "nothing": nullcontext()}
    try:
        exec(code, names)  # noqa: S102 (of this file's own statements)
    except NameError:
        return None
    return names


@pytest.fixture(scope="module")
def pkg() -> Iterator[None]:
    """Put a package ``pkg`` with ``pkg.core`` and ``pkg.star`` in sys.modules."""
    package, core, star = (types.ModuleType(name) for name in ("pkg", "pkg.core", "pkg.star"))
    package.__path__ = []  # type: ignore[attr-defined]
    package.core = core  # type: ignore[attr-defined]
    exec(SOURCE, core.__dict__)  # noqa: S102
    star.__all__ = []  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        for module in (package, core, star):
            patch.setitem(sys.modules, module.__name__, module)
        yield


EXAMPLES = settings(max_examples=4 * settings.default.max_examples)


@pytest.mark.usefixtures("pkg")
@EXAMPLES
@given(modules())
def test_any_module_gets_a_block_that_binds_every_name_and_comes_out_again(text: bytes) -> None:
    if compiled(text) is None:
        return
    try:
        after = do(text)
    except Conflict as error:
        event("conflict: " + str(error)[:30])
        imports = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert not imports or b"del Thing" in text
        return
    event("native" if after is None else "pending")
    result = compiled(text if after is None else after)
    assert result is not None
    names = namespace(result)
    assert names is None or {"Thing", "other"} <= names.keys()
    if after is None:
        return
    undone = undone_by(EDIT, after, OWNER)
    assert undone is not None
    assert undone.text == text
    assert do(undone.text) == after  # so a second run finds it applied
    lines, rest = lines_of(after), lines_of(text)
    length = len(lines) - len(rest)
    assert lines[: undone.line - 1] + lines[undone.line - 1 + length :] == rest
    names_added = [line.decode("ascii").strip(" ,") for line in lines[undone.line + 1 :][: length - 4]]
    assert names_added
    assert names_added == [name for name in EDIT.names if name in names_added]


@EXAMPLES
@given(modules(), st.permutations("abc"), st.permutations("abc"))
@example(b"import a\nx = 1\n", ["a", "b", "c"], ["b", "a", "c"])
@example(b"from .core import third\r\nimport a\r\n", ["b", "a", "c"], ["a", "b", "c"])
@example(b"import a", ["b", "c", "a"], ["c", "b", "a"])
@example(b"x = 1\nimport a\r", ["c", "b", "a"], ["b", "c", "a"])
def test_three_patches_of_one_module_come_and_go_in_any_order(text: bytes, come: list[str], go: list[str]) -> None:
    if compiled(text) is None:
        return
    now = text
    try:
        for owner in come:
            after = do(now, owner)
            if after is None:
                assert now == text
                return
            now = after
    except Conflict:
        assert now == text  # what admits one patch admits them all
        return
    assert _reexport.without_blocks(now) == text
    for owner in go:
        undone = undone_by(EDIT, now, owner)
        assert undone is not None
        assert do(undone.text, owner) == now
        now = undone.text
    assert now == text
