# The command line: which patches are meant, what is printed of a result, and the exit status.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _command, _options, _outcome, _recorded
from ansible_collections.primus.patches.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HERE = {"python": "/opt/venv/bin/python", "python_version": "3.11.7", "prefix": "/opt/venv", "path": None}
PATCH: dict[str, Any] = {
    "name": "limit",
    "revision": 1,
    "revision_found": None,
    "state": "pending",
    "action": "apply",
    "integrity": "pristine",
    "package": "acme",
    "version": "2.3.0",
    "files": [{"path": "/opt/acme/api.py", "integrity": "pristine"}],
    "message": "acme 2.3.0 in /opt/acme: not applied; revision 1 is current",
}
APPLIED = {**PATCH, "name": "other", "state": "applied", "action": "none", "message": "acme 2.3.0 in /opt/acme: right"}
FILE: dict[str, Any] = {
    "path": "/opt/acme/api.py",
    "file": "acme/api.py",
    "as_written": True,
    "integrity": "patched",
    "patches": [{"name": "limit", "revision": 1}, {"name": "other", "revision": 2}],
    "when": "2026-01-02T03:04:05Z",
    "who": "root@gpu001",
    "message": None,
}
EDITED = {**FILE, "file": "acme/x.py", "as_written": False, "message": "edited since", "when": None, "who": None}


def result(*patches: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"changed": False, "environment": HERE, "patches": list(patches), **more}


def lines(text: str) -> list[str]:
    return text.splitlines()


# --- which patches


def test_patches_are_names_of_the_catalogue_files_and_directories(tmp_path: Path) -> None:
    diff = "Description: why\nPackage: acme\nVersions: *\n\n--- a/acme/x.py\n+++ b/acme/x.py\n@@ -1 +1 @@\n-a\n+b\n"
    for name in ("one.patch", "directory/Two-b.diff", "directory/three.patch", "directory/README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(diff)
    name = CATALOGUE[0]["name"]
    wanted = [str(tmp_path / "directory"), name, str(tmp_path / "one.patch")]
    names, definitions = _options.chosen(wanted)
    assert names == ["two_b", "three", name, "one"]
    assert [definition["name"] for definition in definitions] == ["two_b", "three", "one"]


def test_a_word_that_is_no_patch_and_no_path_names_the_catalogue() -> None:
    with pytest.raises(DefinitionError) as error:
        _options.chosen(["transformer_modeling"])
    assert str(error.value).startswith("--patch transformer_modeling: expected a patch of the catalogue (")
    assert CATALOGUE[0]["name"] in str(error.value)


def test_what_is_edited_while_it_is_read_is_not_what_an_answer_is_named_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diff = "Description: why\nPackage: acme\nVersions: *\n\n--- a/acme/x.py\n+++ b/acme/x.py\n@@ -1 +1 @@\n-a\n+b\n"
    file = tmp_path / "one.patch"
    file.write_text(diff)
    requests: list[dict[str, Any]] = []

    def asked() -> str | None:
        assert _command.main(["apply", "--path", str(tmp_path), "--patch", str(file)]) == 0
        return requests[-1]["answer"]

    def edited(patches: Sequence[str]) -> Any:
        found = chosen(patches)
        file.write_text(diff.replace("+b", "+c"))
        return found

    monkeypatch.setattr(_outcome, "carry_out", lambda request: requests.append(request) or result(APPLIED))
    assert asked() is None, "not without the hash of a program"
    monkeypatch.setattr(_recorded, "PROGRAM", "a hash")
    assert asked() == _recorded.name([str(file)])
    chosen = _options.chosen
    monkeypatch.setattr(_options, "chosen", edited)
    assert asked() is None
    monkeypatch.setattr(_options, "chosen", chosen)
    assert asked() == _recorded.name([str(file)])


# --- commands of other files


def test_a_command_whose_file_is_not_there_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_command, "OTHERS", (("_nothing", ("nothing",)),))
    with pytest.raises(SystemExit) as end:
        _command.main(["nothing"])
    assert end.value.code == 2
    assert "nothing" in capsys.readouterr().err
    assert _command.main(["list"]) == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        *(
            (["status", "--timeout", seconds], f"--timeout: expected seconds, found {seconds}\n")
            for seconds in ("0", "-1", "soon", "nan", "inf")
        ),
        # A variable of the shell that is not set is no environment.
        *(
            (["revert", "--all", option, ""], f"{option}: expected a path, found nothing")
            for option in ("--python", "--path", "--patch")
        ),
    ],
)
def test_what_an_option_cannot_be_is_an_error(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        _command.main(arguments)
    assert end.value.code == 2
    assert error in capsys.readouterr().err


# --- what is printed


def test_what_was_done_and_what_would_be() -> None:
    imports = [
        {"name": "acme.api", "ok": True, "proof": "before", "error": None},
        {"name": "acme.x", "ok": False, "proof": "before", "error": "ImportError: no x"},
    ]
    copied = {**PATCH, "files": [{**PATCH["files"][0], "backup_file": "/opt/acme/api.py.1~"}]}
    assert lines(_outcome.change(result(copied, APPLIED, imports=imports), check=False)) == [
        "/opt/venv/bin/python (Python 3.11.7)",
        "  applied        limit  acme 2.3.0  was pending: not applied; revision 1 is current",
        "  nothing to do  other  acme 2.3.0  applied: right",
        "  copy kept: /opt/acme/api.py.1~",
        "  imported      acme.api  before anything was written",
        "  import fails  acme.x    before anything was written: ImportError: no x",
    ]
    there = {**HERE, "path": "/opt/acme"}
    assert lines(_outcome.change({**result(PATCH), "environment": there}, check=True)) == [
        "/opt/acme",
        "  would apply  limit  acme 2.3.0  pending: not applied; revision 1 is current",
    ]


@pytest.mark.parametrize(
    ("action", "done", "would"),
    [
        ("none", "nothing to do", "nothing to do"),
        ("skip", "passed over", "passed over"),
        ("apply", "applied", "would apply"),
        ("migrate", "migrated", "would migrate"),
        ("revert", "reverted", "would revert"),
        ("restore", "restored", "would restore"),
    ],
)
def test_every_action_has_its_word(action: str, done: str, would: str) -> None:
    for check, word in ((False, done), (True, would)):
        text = _outcome.change(result({**PATCH, "action": action}), check=check)
        assert lines(text)[1].startswith("  %s  limit" % word)


def test_a_missing_package_has_neither_version_nor_integrity() -> None:
    patch = {**PATCH, "state": "missing", "version": None, "integrity": None, "message": "package acme: none"}
    assert lines(_outcome.status(result(patch, APPLIED)))[1:] == [
        "  missing  limit  acme        -         package acme: none",
        "  applied  other  acme 2.3.0  pristine  right",
    ]


def test_stores_are_told_by_file() -> None:
    stores = [{"root": "/opt", "files": [FILE, EDITED], "unclear": ["/opt/x.json: damaged"]}]
    assert lines(_outcome.stores(result(stores=stores))) == [
        "/opt/venv/bin/python (Python 3.11.7)",
        "/opt:",
        "  as written  acme/api.py  limit, other  2026-01-02T03:04:05Z  root@gpu001",
        "  DIFFERS     acme/x.py    limit, other  no date               by nobody known",
        "  cannot be told: /opt/x.json: damaged",
        "  acme/x.py: edited since",
    ]
    assert _outcome.of_stores(stores) == 1
    assert _outcome.of_stores([{**stores[0], "files": [FILE]}]) == 1
    assert _outcome.of_stores([{"root": "/opt", "files": [FILE], "unclear": []}]) == 0


def test_nothing_that_a_store_says_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;title\x07\n\udc80\u202e"
    file = {**FILE, "file": evil, "who": evil, "message": evil, "patches": [{"name": evil, "revision": 1}]}
    stores = result(stores=[{"root": evil, "files": [file], "unclear": [evil]}])
    patch = {**PATCH, "name": evil, "message": evil}
    _outcome.tell_error(evil)
    texts = [_outcome.stores(stores), _outcome.change(result(patch), check=True), _outcome.status(result(patch))]
    for text in (*texts, capsys.readouterr().err):
        assert "\\x1b]0;title\\x07" in text
        assert all(each.isprintable() for each in text.split("\n"))


@pytest.mark.parametrize(
    ("states", "skip", "status"),
    [
        (["applied", "native", "unneeded"], [], 0),
        ([], [], 0),
        (["applied", "pending"], [], 1),
        (["outdated"], [], 1),
        (["unsupported"], [], 1),
        (["unsupported"], ["unsupported"], 0),
        (["conflict"], ["unsupported", "missing"], 1),
        (["missing", "applied"], [], 2),
        (["missing", "applied"], ["missing"], 0),
        (["missing", "pending"], [], 1),
        (["unknown"], [], 2),
        (["unneeded, and still there"], [], 1),
    ],
)
def test_the_exit_status_of_a_look(states: list[str], skip: list[str], status: int) -> None:
    patches = [{"state": state.split(",")[0], "revision_found": 1 if "," in state else None} for state in states]
    assert _outcome.of_status(patches, skip) == status


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("x, or use state absent with restore: true, which", "x, or use primus-patches.pyz restore, which"),
        ("the owner, or set trust_writers: true", "the owner, or give --trust-writers"),
        ("run as its owner (become_user anna), mend", "run as its owner, mend"),
        ("set TORCH_CUDA_ARCH_LIST (import_environment), e.g.", "set TORCH_CUDA_ARCH_LIST, e.g."),
        ("add it in front of the diff, or give reason beside the file", "add it in front of the diff"),
        ("expected a directory, found a file", "expected a directory, found a file"),
    ],
)
def test_ways_out_are_those_of_the_command_line(message: str, told: str) -> None:
    assert _outcome.here(message) == told


def test_an_error_is_on_standard_error_and_json_on_the_other_one(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {**result(PATCH), "failed": True, "msg": "no"}
    assert _outcome.end(failed, "text", 0) == 2
    assert capsys.readouterr() == ("", "no\n")
    assert _outcome.end(failed, "text", 0, as_json=True) == 2
    assert capsys.readouterr().out.startswith('{\n  "changed": false,\n')
    assert _outcome.end(result(PATCH), "text", 1) == 1
    assert capsys.readouterr() == ("text\n", "")
