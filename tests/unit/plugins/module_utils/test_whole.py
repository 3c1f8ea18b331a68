# The edits `write` and `delete`: whole contents, and what they may replace.
from __future__ import annotations

import hashlib

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _edits
from ansible_collections.primus.patches.plugins.module_utils._edits import ABSENT, Text
from ansible_collections.primus.patches.plugins.module_utils._errors import Conflict
from ansible_collections.primus.patches.plugins.module_utils._whole import Delete, Write

TARGET = _edits.Target("pkg", "p", 1, lambda _module: None, lambda _file: ABSENT)
OLD = Text(b"x = 1\n")
SHA = hashlib.sha256(b"x = 1\n").hexdigest()
EMPTY = hashlib.sha256(b"").hexdigest()


def write(content: str, replaces: str | None = None, file: str = "module.py") -> Write:
    return Write(file, content, replaces)


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (write("y = 2\n", "absent"), ABSENT, Text(b"y = 2\n")),
        (write("", "absent"), ABSENT, Text(b"")),
        (write("y = 2\n", SHA), OLD, Text(b"y = 2\n")),
        (write("y = 2\n", SHA), OLD._replace(executable=True), Text(b"y = 2\n", executable=True)),
        (write("y = 2\n"), OLD, Text(b"y = 2\n")),
        (write("y = 2\n"), ABSENT, Text(b"y = 2\n")),
        (write("y\nz\n"), Text(b"x\r\n"), Text(b"y\r\nz\r\n")),
        (write("# coding: latin-1\nx = 'é'\n", "absent"), ABSENT, Text(b"# coding: latin-1\nx = '\xe9'\n")),
        (
            write("# coding: latin-1\nx = 'é'\n", "absent", "a.txt"),
            ABSENT,
            Text("# coding: latin-1\nx = 'é'\n".encode()),
        ),
        (write("x = 'é'\n"), Text(b"# coding: latin-1\nx = '\xe9'\n"), Text("x = 'é'\n".encode())),
        (write("\ufeffx = 'é'\n", "absent"), ABSENT, Text("x = 'é'\n".encode("utf-8-sig"))),
        (Delete("module.py", SHA), OLD, ABSENT),
        (Delete("module.py"), OLD, ABSENT),
        (Delete("module.py", EMPTY), Text(b""), ABSENT),
    ],
)
def test_whole_files_come_and_go(edit: Write | Delete, before: Text, after: Text) -> None:
    assert edit.do(before, TARGET) == after
    assert edit.made(after)
    assert not edit.made(before)


@pytest.mark.parametrize(
    ("edit", "text", "error"),
    [
        (write("y\n", "absent"), OLD, f"expected no file, found a file of SHA-256 {SHA}"),
        (write("y\n", EMPTY), OLD, f"expected a file of SHA-256 {EMPTY}, found a file of SHA-256 {SHA}"),
        (write("y\n", SHA), ABSENT, f"expected a file of SHA-256 {SHA}, found no file"),
        (Delete("module.py", EMPTY), OLD, f"expected a file of SHA-256 {EMPTY}, found a file of SHA-256 {SHA}"),
        (Delete("module.py", SHA), ABSENT, "expected a file to delete, found none"),
        (Delete("module.py"), ABSENT, "expected a file to delete, found none"),
        (
            write("# coding: ascii\nx = 'é'\n", "absent"),
            ABSENT,
            "the file is in ascii, which has no 'é': write it in another way",
        ),
    ],
)
def test_what_is_not_what_the_edit_expects_is_a_conflict(edit: Write | Delete, text: Text, error: str) -> None:
    with pytest.raises(Conflict) as caught:
        edit.do(text, TARGET)
    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("edit", "needed"),
    [
        (write("y\n"), True),
        (write("y\n", "absent"), False),
        (write("y\n", SHA), False),
        (Delete("a"), True),
        (Delete("a", SHA), False),
        (Delete("a", moved=True), False),
    ],
)
def test_only_an_edit_that_does_not_say_what_it_replaces_needs_a_proven_file(
    edit: Write | Delete, *, needed: bool
) -> None:
    assert edit.needs_pristine is needed


def test_only_of_a_new_file_it_is_known_what_was_before() -> None:
    assert write("y\n", "absent").undo(Text(b"y\n"), TARGET) == ABSENT
    assert write("y\n", "absent").undo(Text(b"z\n"), TARGET) is None
    assert write("y\n", SHA).undo(Text(b"y\n"), TARGET) is None
    assert Delete("a", SHA).undo(ABSENT, TARGET) is None


def test_a_file_that_has_the_content_holds_it() -> None:
    assert write("y\n").held(Text(b"y\r\n")) == "line 1"
    assert write("y\n").held(Text(b"y")) is None
    assert Delete("a").held(OLD) is None
