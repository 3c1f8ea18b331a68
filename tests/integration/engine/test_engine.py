# One call from request to result: check mode against the run, imports before the write, several files, other writers.
from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import packages, sandbox, snapshot
from lab.sandbox import USER, needs_mounts, needs_root
from module_utils import _commit, _engine, _imports, _locks, _patching, _preflight
from module_utils._catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORE = "primus-patches"
TEXT = "# An interface.\nimport os\n\nANSWER = 42\n"
CORE = "one = 1\ntwo = 2\n"
RESULT = ("changed", "msg", "patches", "imports", "diff", "failed", "backup_file")


ONE = [{"reexport": {"source": ".core", "names": ["one"]}}]


def definition(name: str = "thing_names", **values: Any) -> dict[str, Any]:
    return {
        **dict(name=name, package="thing", versions=">=2,<3", file="api.py", revision=2),
        **dict(reason="A test.", upstream="none", retire="Never."),
        "edits": [{"reexport": {"source": ".core", "names": ["one", "two"]}}],
        **values,
    }


def third(name: str, file: str) -> dict[str, Any]:
    return definition(name, file=file)


@pytest.fixture
def site() -> Iterator[Path]:
    """Yield a site-packages with the distribution ``thing`` 2.5, in a place that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="primus-engine-") as top:
        Path(top).chmod(0o755)
        site = Path(top) / "site-packages"
        install(site)
        yield site


def install(site: Path, version: str = "2.5", **files: str | bytes) -> None:
    texts: dict[str, bytes | str] = {"__init__": f"__version__ = '{version}'\n", "core": CORE, "api": TEXT, **files}
    packages.install(site, "thing", version, {f"thing/{name}.py": text for name, text in texts.items()})


def run(site: Path, check: bool = False, diff: bool = False, **parameters: Any) -> dict[str, Any]:  # noqa: FBT001, FBT002
    """Return the result of a call as the module makes it."""
    request = {
        **dict(operation="patch", name=None, definitions=[definition()], python=None, path=str(site), state="present"),
        **dict(unsupported="fail", missing="fail", backup=False, imports=[], verify="always", timeout=60.0),
        **dict(import_environment={}, check_mode=check, diff=diff, catalogue=list(CATALOGUE)),
        **parameters,
    }
    return _engine.run(request)


def told(result: dict[str, Any]) -> dict[str, Any]:
    """Return what check mode and the run must agree on: all but how long an import took."""
    imports = [{**found, "seconds": None} for found in result.get("imports", [])]
    # (Of what was not refused, the message says in check mode that it would be done, and else that it was.)
    refused = result["msg"] if result.get("failed") else None
    return {**{key: result.get(key) for key in RESULT}, "msg": refused, "imports": imports}


def found(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(patch["state"], patch["action"]) for patch in result["patches"]]


def compiled(site: Path) -> Path:
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-f", str(site / "thing" / "api.py")], check=True)
    (path,) = (site / "thing" / "__pycache__").glob("api.*.pyc")
    return path


# -- check mode ------------------------------------------------------------------------------------------------------


def native(site: Path) -> None:
    install(site, api="from .core import one, two\n")


def applied(site: Path) -> None:
    assert run(site)["changed"]


def outdated(site: Path) -> None:
    assert run(site, definitions=[definition(revision=1, edits=ONE)])["changed"]


def newer(site: Path) -> None:
    assert run(site, definitions=[definition(revision=3, edits=ONE)])["changed"]


def edited(site: Path) -> None:
    applied(site)
    api = site / "thing" / "api.py"
    api.write_text(api.read_text().replace("    two,\n", "    two, one,\n"))


def unsupported(site: Path) -> None:
    shutil.rmtree(site)
    install(site, "3.0")


def lost_a_name(site: Path) -> None:
    install(site, core="one = 1\n")


def unparsable(site: Path) -> None:
    install(site, api="import os\nthis is no Python\n")


def missing(site: Path) -> None:
    shutil.rmtree(site)
    site.mkdir()


def without_the_file(site: Path) -> None:
    (site / "thing" / "api.py").unlink()


# what is there -> (state, action of present or None where it is refused, action of absent or None)
TABLE: list[tuple[Callable[[Path], None], str, str | None, str | None]] = [
    (lambda _site: None, "pending", "apply", "none"),
    (native, "native", "none", "none"),
    (applied, "applied", "none", "revert"),
    (outdated, "outdated", "migrate", "revert"),
    (unsupported, "unsupported", None, "none"),
    (lost_a_name, "unsupported", None, "none"),
    (missing, "missing", None, "none"),
    (newer, "conflict", None, None),
    (edited, "conflict", None, None),
    (unparsable, "conflict", None, None),
    (without_the_file, "conflict", None, None),
]


@pytest.mark.parametrize("diff", [False, True])
@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("bytecode", [False, True])
@pytest.mark.parametrize(("prepare", "expected", "present", "absent"), TABLE)
def test_check_mode_tells_what_the_run_does_and_touches_nothing(
    site: Path,
    prepare: Callable[[Path], None],
    expected: str,
    present: str | None,
    absent: str | None,
    bytecode: bool,  # noqa: FBT001
    state: str,
    diff: bool,  # noqa: FBT001
) -> None:
    prepare(site)
    if bytecode and (site / "thing" / "api.py").exists() and prepare is not unparsable:
        compiled(site)
    action = present if state == "present" else absent
    before = snapshot.take(site)
    predicted = run(site, check=True, diff=diff, state=state)
    assert snapshot.take(site) == before
    done = run(site, diff=diff, state=state)
    assert told(predicted) == told(done)
    assert found(done) == [(expected, action or "none")]
    assert bool(done.get("failed")) == (action is None)
    assert done["changed"] == (action not in (None, "none"))
    assert ("diff" in done) == (diff and action is not None)
    if not done["changed"]:
        assert snapshot.take(site) == before
        return
    assert bool(done.get("diff", {}).get("prepared")) == diff
    after = snapshot.take(site)
    again = run(site, check=True, diff=diff, state=state)
    assert told(again) == told(run(site, diff=diff, state=state))
    assert (again["changed"], found(again)[0][1]) == (False, "none")
    assert again.get("diff") in (None, {"prepared": ""})
    assert snapshot.take(site) == after


@pytest.mark.parametrize(("unsupported_", "prepare"), [("unsupported", unsupported), ("missing", missing)])
def test_skipping_is_the_same_in_check_mode_and_tries_no_import(
    site: Path, unsupported_: str, prepare: Callable[[Path], None]
) -> None:
    prepare(site)
    parameters = {unsupported_: "skip", "imports": ["no_such_module"]}
    before = snapshot.take(site)
    results = [run(site, check=check, **parameters) for check in (True, False)]
    assert told(results[0]) == told(results[1])
    assert (found(results[1]), results[1]["changed"], results[1]["imports"]) == ([(unsupported_, "skip")], False, [])
    assert "failed" not in results[1]
    assert snapshot.take(site) == before


def test_check_mode_takes_no_lock_and_opens_nothing_for_writing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that would are replaced by ones that fail the test."""

    def never(*arguments: Any, **_keywords: Any) -> None:
        raise AssertionError(f"check mode called this with {arguments}")

    compiled(site)
    opened: list[int] = []
    open_ = os.open
    monkeypatch.setattr(
        _commit.os,
        "open",
        lambda path, flags, *rest, **more: (opened.append(flags), open_(path, flags, *rest, **more))[1],
    )
    for module, name in ((_locks.fcntl, "flock"), (_locks.fcntl, "lockf")):
        monkeypatch.setattr(module, name, never)
    for name in ("rename", "replace", "unlink", "mkdir", "utime", "chmod", "chown"):
        monkeypatch.setattr(_commit.os, name, never)
    assert run(site, check=True, backup=True)["changed"]
    assert opened, "inode flags are read"
    assert not [flags for flags in opened if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)]


def test_check_mode_proves_the_import_as_the_run_does(site: Path) -> None:
    before = snapshot.take(site)
    predicted = run(site, check=True, imports=["thing.api:one,two", "thing"])
    assert snapshot.take(site) == before
    assert [(done["name"], done["ok"], done["proof"]) for done in predicted["imports"]] == [
        ("thing.api:one,two", True, "before"),
        ("thing", True, "before"),
    ]
    assert told(run(site, imports=["thing.api:one,two", "thing"])) == told(predicted)


@pytest.mark.parametrize("state", ["present", "absent"])
def test_backups_are_made_of_what_is_changed_and_not_in_check_mode(site: Path, state: str) -> None:
    if state == "absent":
        applied(site)
    text = (site / "thing" / "api.py").read_bytes()
    predicted = run(site, check=True, state=state, backup=True)
    assert "backup_file" not in predicted
    assert "backup_file" not in predicted["patches"][0]["files"][0]
    done = run(site, state=state, backup=True)
    assert done["backup_file"] == done["patches"][0]["files"][0]["backup_file"]
    assert Path(done["backup_file"]).read_bytes() == text
    assert Path(done["backup_file"]).parent == site / "thing"
    names = os.listdir(site / "thing")
    assert "backup_file" not in run(site, state=state, backup=True)
    assert os.listdir(site / "thing") == names


# -- causes that can be read -----------------------------------------------------------------------------------------


def both(site: Path, **parameters: Any) -> str:
    """Return the message with which check mode and the run fail alike, having changed nothing."""
    before = snapshot.take(site)
    results = [run(site, check=check, diff=True, imports=["no_such_module"], **parameters) for check in (True, False)]
    assert all(result["failed"] and not result["changed"] for result in results), results
    assert told(results[0]) == told(results[1])
    assert [patch["name"] for patch in results[0]["patches"]] == ["thing_names"], "the states are told all the same"
    assert results[0]["imports"] == [], "no import is tried for what cannot be written"
    assert snapshot.take(site) == before
    return str(results[0]["msg"])


@needs_root
def test_an_unwritable_directory_fails_in_check_mode_too(site: Path) -> None:
    message = sandbox.child(lambda: both(site), user=USER)
    assert message.startswith(
        f"{site}/thing: expected a writable directory, found mode drwxr-xr-x, owner 0, and this is"
    )


@needs_root
def test_an_owner_that_cannot_be_kept_fails_in_check_mode_too(site: Path) -> None:
    (site / "thing").chmod(0o777)
    message = sandbox.child(lambda: both(site), user=USER)
    assert message.startswith(f"{site}/thing/api.py: expected a file of user {USER} (api.py), found owner 0:0")


@needs_root
@pytest.mark.parametrize("name", ["thing", "thing/api.py"])
def test_an_immutable_flag_fails_in_check_mode_too(site: Path, name: str) -> None:
    sandbox.flag(site / name, sandbox.IMMUTABLE)
    try:
        assert "found it immutable" in both(site)
    finally:
        sandbox.flag(site / name, 0)


@needs_mounts
def test_a_read_only_file_system_fails_in_check_mode_too(site: Path) -> None:
    def test() -> str:
        sandbox.read_only(site)
        assert run(site, operation="info", check=True)["patches"][0]["state"] == "pending", "an audit works there"
        return both(site)

    message = sandbox.child(test, mounts=True)
    assert message == f"{site}/thing: expected a writable directory, found a read-only file system"


@needs_mounts
def test_a_file_that_something_is_mounted_on_fails_in_check_mode_too(site: Path) -> None:
    def test() -> str:
        sandbox.mount(site / "thing/api.py", "--bind", str(site / "thing/api.py"))
        return both(site)

    message = sandbox.child(test, mounts=True)
    assert message == f"{site}/thing/api.py: expected a replaceable file, found it mounted by itself (findmnt)"


def fill_up(site: Path) -> None:
    """Mount a small file system in place of the site and fill it up."""
    sandbox.mount(site, "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs")
    install(site, api=TEXT + "#" * 8000 + "\n")
    with (site / "filler").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"-" * 4096):
                pass
        except OSError:
            return


@needs_mounts
def test_a_full_disk_fails_in_check_mode_too(site: Path) -> None:
    def test() -> str:
        fill_up(site)
        return both(site)

    message = sandbox.child(test, mounts=True)
    assert re.fullmatch(rf"{site}/thing: expected room for \d+ bytes, found 0", message)


@needs_mounts
def test_a_disk_that_turns_out_to_be_full_leaves_everything_as_it_was(site: Path) -> None:
    """The free space is not looked at beforehand here, as where a quota is what runs out."""

    def test() -> str:
        fill_up(site)
        _preflight._room = lambda *_arguments: None
        before = snapshot.take(site / "thing" / "api.py", site / "thing" / "core.py")
        names = sorted(map(str, site.rglob("*")))
        result = run(site, backup=True)
        assert (result["failed"], result["changed"], found(result)) == (True, False, [("pending", "apply")])
        assert sorted(map(str, site.rglob("*"))) == names
        assert snapshot.take(site / "thing" / "api.py", site / "thing" / "core.py") == before
        return str(result["msg"])

    message = sandbox.child(test, mounts=True)
    assert re.match(rf"{site}/thing/api\.py: .*No space left on device.*; nothing was changed$", message)


@needs_root
def test_a_directory_of_bytecode_that_cannot_be_read_fails_in_check_mode_too(site: Path) -> None:
    """Nobody can tell what is stale in there."""
    compiled(site)
    for path in (site / "thing", *(site / "thing").rglob("*")):
        os.chown(path, USER, sandbox.GROUP)
    os.chown(site / "thing" / "__pycache__", 0, 0)
    (site / "thing" / "__pycache__").chmod(0o700)
    message = sandbox.child(lambda: both(site), user=USER)
    assert message == (
        f"{site}/thing/__pycache__: expected a directory of bytecode of the owner of api.py, found one that is of "
        "user 0 and cannot be read (Permission denied). Remove it; nothing was written"
    )
    os.chown(site / "thing" / "__pycache__", USER, sandbox.GROUP)
    (site / "thing" / "__pycache__").chmod(0o300)
    message = sandbox.child(lambda: both(site), user=USER)
    assert message == f"{site}/thing/__pycache__: expected a readable directory of bytecode, found: Permission denied"


def test_what_the_system_refuses_unforeseen_is_one_message_with_the_states(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system stops answering after the plan was made (statvfs fails, as on a stale NFS handle)."""

    def stale(_descriptor: int) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(_commit.os, "fstatvfs", stale)
    assert (
        both(site) == f"{site}/thing/api.py: cannot be told whether it can be replaced: [Errno 116] Stale file handle"
    )


# -- imports ---------------------------------------------------------------------------------------------------------


def test_a_failing_import_keeps_a_change_from_being_written(site: Path) -> None:
    before = snapshot.take(site)
    for check in (True, False):
        result = run(site, check=check, imports=["thing.api:one", "thing.api:three"])
        assert (result["failed"], result["changed"], found(result)) == (True, False, [("pending", "apply")])
        assert [(done["ok"], done["proof"]) for done in result["imports"]] == [(True, "before"), (False, "before")]
        assert result["msg"].startswith(
            "import failed, with the change served from memory; nothing was written: thing.api:three ("
        )
        assert snapshot.take(site) == before


def test_a_change_that_breaks_an_import_is_not_made(site: Path) -> None:
    """The new block runs what fails only then: a source module that raises."""
    install(site, core="one = two = 1\nraise RuntimeError('out of order')\n")
    before = snapshot.take(site)
    assert run(site, definitions=[], name=None)["failed"]
    result = run(site, imports=["thing.api"])
    assert "out of order" in result["msg"]
    assert result["imports"][0]["cause"] == "exception"
    assert snapshot.take(site) == before
    assert run(site, imports=["thing.api"], verify="never")["changed"]


@pytest.mark.parametrize(("verify", "tried"), [("always", True), ("changed", False), ("never", False)])
def test_without_a_change_only_always_tries_what_is_there(site: Path, verify: str, tried: bool) -> None:  # noqa: FBT001
    applied(site)
    result = run(site, imports=["thing.api:one"], verify=verify)
    assert [(done["ok"], done["proof"]) for done in result["imports"]] == ([(True, "none")] if tried else [])
    broken = run(site, imports=["thing.api:three"], verify=verify)
    assert bool(broken.get("failed")) == tried
    if tried:
        assert broken["msg"].startswith("import failed, as the files are: thing.api:three (expected three in thing.api")


@pytest.mark.parametrize(("verify", "tried"), [("always", True), ("changed", True), ("never", False)])
def test_a_change_is_proven_once_unless_never(site: Path, verify: str, tried: bool) -> None:  # noqa: FBT001
    result = run(site, imports=["thing.api:one"], verify=verify)
    assert result["changed"]
    assert [done["proof"] for done in result["imports"]] == (["before"] if tried else [])


def test_taking_a_patch_out_is_proven_as_well(site: Path) -> None:
    applied(site)
    before = snapshot.take(site)
    result = run(site, state="absent", imports=["thing.api:one"])
    assert (result["failed"], result["imports"][0]["proof"]) == (True, "before")
    assert snapshot.take(site) == before
    assert run(site, state="absent", imports=["thing.api:ANSWER"])["changed"]


# -- the bytes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        b"# -*- coding: latin-1 -*-\nimport os\nNAME = '\xe9'\n",
        TEXT.rstrip("\n").encode(),
        b"import os",
        b"import os\n\x0c\nNAME = 1\n",
        "import os\nNAME = '\u2028\x85\x1c'\n".encode(),
    ],
)
def test_absent_gives_back_exactly_what_present_found(site: Path, text: bytes) -> None:
    install(site, api=text)
    assert run(site, imports=["thing.api:one,two"])["changed"]
    api = site / "thing" / "api.py"
    assert api.read_bytes() != text
    result = run(site, state="absent")
    assert (result["changed"], result["patches"][0]["integrity"]) == (True, "patched")
    assert api.read_bytes() == text
    assert run(site)["patches"][0]["integrity"] == "pristine"


@pytest.mark.parametrize("version", ["4.56.2", "4.57.6"])
def test_the_real_wheels_bytes_come_back(tree: Callable[[str], Path], version: str) -> None:
    site = tree(version)
    before = snapshot.take(site)
    parameters: dict[str, Any] = {"definitions": None, "name": ["transformers_modeling_utils"]}
    assert found(run(site, **parameters)) == [("pending", "apply")]
    reverted = run(site, state="absent", **parameters)
    assert (found(reverted), reverted["patches"][0]["integrity"]) == ([("applied", "revert")], "patched")
    again = run(site, check=True, **parameters)
    assert (found(again), again["patches"][0]["integrity"]) == ([("pending", "apply")], "pristine")
    after = snapshot.take(site)
    assert {path: entry[8] for path, entry in after.items() if STORE not in str(path)} == {
        path: entry[8] for path, entry in before.items()
    }


# -- diffs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("\n"),
        "import os",
        TEXT.replace("\n", "\r\n"),
        "import os\n\x0c\nNAME = '\u2028\x85'\n",
        "import os\n" + "".join(f"# line {number}\n" for number in range(6000)),
    ],
)
@pytest.mark.parametrize(
    "tool", [["git", "apply", "-p1", "--unsafe-paths", "-"], ["patch", "-p0", "--posix", "--binary"]]
)
def test_a_diff_is_one_that_git_and_patch_read(site: Path, text: str, tool: list[str]) -> None:
    if not shutil.which(tool[0]):
        pytest.skip(f"no {tool[0]} here")
    install(site, api=text)
    api = site / "thing" / "api.py"
    predicted = run(site, check=True, diff=True)["diff"]["prepared"]
    assert predicted.splitlines()[:2] == [f"--- {api}\t(before)", f"+++ {api}\t(after)"]
    assert len(predicted) < 1500, "no second copy of the file"
    copy = site / "copy"
    copy.mkdir()
    shutil.copy(api, copy / "api.py")
    subprocess.run(
        tool,
        input=predicted.replace(f"{api}\t", "api.py\t" if tool[0] == "patch" else "/api.py\t").encode(),
        cwd=copy,
        check=True,
    )
    assert run(site, diff=True)["diff"]["prepared"] == predicted
    assert (copy / "api.py").read_bytes() == api.read_bytes()


def test_a_diff_names_every_file(site: Path) -> None:
    install(site, other=TEXT)
    result = run(site, diff=True, definitions=[definition(), third("other_names", "other.py")])
    assert re.findall(r"^\+\+\+ .*/(\w+)\.py\t", result["diff"]["prepared"], re.MULTILINE) == ["api", "other"]


# -- several patches -------------------------------------------------------------------------------------------------


def test_one_refused_patch_keeps_all_others_from_being_written(site: Path) -> None:
    install(site, other="import os\nthis is no Python\n")
    before = snapshot.take(site)
    for check in (True, False):
        result = run(site, check=check, definitions=[definition(), third("other_names", "other.py")])
        assert (result["failed"], result["changed"]) == (True, False)
        assert found(result) == [("pending", "apply"), ("conflict", "none")]
        assert result["msg"].startswith("other_names: conflict: thing 2.5 in ")
        assert result["msg"].endswith("Nothing was written.")
        assert snapshot.take(site) == before


def test_patches_of_one_file_are_one_change_and_come_out_again_in_any_way(site: Path) -> None:
    install(site, extra="three = 3\n")
    other = definition("b_names", edits=[{"reexport": {"source": ".extra", "names": ["three"]}}])
    text = (site / "thing" / "api.py").read_bytes()
    result = run(site, definitions=[definition(), other], backup=True, imports=["thing.api:one,three"])
    assert found(result) == [("pending", "apply")] * 2
    assert [patch["files"][0]["backup_file"] for patch in result["patches"]] == [result["backup_file"]] * 2
    assert Path(result["backup_file"]).read_bytes() == text
    for first, second in ((definition(), other), (other, definition())):
        assert run(site, state="absent", definitions=[first])["changed"]
        assert run(site, state="absent", definitions=[second])["changed"]
        assert (site / "thing" / "api.py").read_bytes() == text
        run(site, definitions=[definition(), other])


def without_store(site: Path) -> dict[Path, bytes]:
    """Return the files, but for facts: one about bytes that are nowhere does no harm."""
    return {path: path.read_bytes() for path in site.rglob("*") if path.is_file() and STORE not in path.parts}


@pytest.mark.parametrize("number", range(1, 10))
def test_a_failed_write_is_told_with_the_states_and_changes_nothing(
    site: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The n-th rename fails: as a disk that breaks between two files."""
    install(site, second=TEXT, third=TEXT)
    wanted = [definition(), third("second_names", "second.py"), third("third_names", "third.py")]
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    rename, calls = os.rename, []

    def fail(source: str, target: str, **where: int) -> None:
        calls.append(target)
        if len(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO), source, None, target)
        rename(source, target, **where)

    monkeypatch.setattr(_commit.os, "rename", fail)
    result = run(site, definitions=wanted, imports=["thing.api:one"])
    assert (result["failed"], result["changed"]) == (True, False)
    assert found(result) == [("pending", "apply")] * 3
    assert re.fullmatch(
        rf"{site}/\S+/{re.escape(calls[number - 1])}: Input/output error; nothing was changed", result["msg"]
    )
    assert without_store(site) == before
    monkeypatch.undo()
    assert run(site, definitions=wanted)["changed"], "the next run converges"


# -- who else is at it -----------------------------------------------------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, *others: Callable[[], Any]) -> list[list[str]]:
    """Let others act between plan and commit, one before each try; return the imports that were tried, call by call."""
    commit, prove = _commit.commit, _imports.prove
    queue, tried = list(others), []

    def late(*arguments: Any) -> Any:
        if queue:
            other = queue.pop(0)
            with monkeypatch.context() as undone:
                undone.setattr(_commit, "commit", commit)
                other()
        return commit(*arguments)

    def note(imports: list[str], *rest: Any, **more: Any) -> Any:
        tried.append(imports)
        return prove(imports, *rest, **more)

    monkeypatch.setattr(_commit, "commit", late)
    monkeypatch.setattr(_imports, "prove", note)
    return tried


def test_what_another_node_did_meanwhile_is_not_done_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = meanwhile(monkeypatch, lambda: run(site))
    result = run(site, imports=["thing.api:one"], diff=True, backup=True)
    assert (result["changed"], found(result)) == (False, [("applied", "none")])
    assert [(done["ok"], done["proof"]) for done in result["imports"]] == [(True, "before")]
    assert tried == [["thing.api:one"]], "proven for these very bytes: not tried again"
    assert (result["diff"], "backup_file" in result) == ({"prepared": ""}, False)
    assert sorted(os.listdir(site / "thing")) == ["__init__.py", "api.py", "core.py"]


def test_a_file_that_another_one_edited_meanwhile_is_planned_and_proven_again(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = site / "thing" / "api.py"
    tried = meanwhile(monkeypatch, lambda: api.write_text(TEXT + "MORE = 1\n"))
    result = run(site, imports=["thing.api:one"])
    assert (result["changed"], found(result)) == (True, [("pending", "apply")])
    assert "MORE = 1\n" in api.read_text()
    assert len(tried) == 2
    assert run(site, state="absent")["changed"]
    assert api.read_text() == TEXT + "MORE = 1\n"


def test_a_file_that_cannot_be_patched_any_more_is_left_alone(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = site / "thing" / "api.py"
    meanwhile(monkeypatch, lambda: api.write_text("import os\nno Python\n"))
    result = run(site)
    assert (result["failed"], result["changed"], found(result)) == (True, False, [("conflict", "none")])
    assert api.read_text() == "import os\nno Python\n"


def test_a_file_that_others_change_many_times_is_not_given_up_yet(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = site / "thing" / "api.py"
    meanwhile(monkeypatch, *[lambda n=number: api.write_text(TEXT + f"N = {n}\n") for number in range(50)])
    assert run(site)["changed"]
    assert b"N = 49" in api.read_bytes()


def test_a_file_that_changes_for_ever_is_given_up(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = site / "thing" / "api.py"
    monkeypatch.setattr(_patching, "_SECONDS", 0.0)
    meanwhile(monkeypatch, *[lambda n=number: api.write_text(TEXT + f"N = {n}\n") for number in range(50)])
    result = run(site)
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"] == f"{api}: changed by somebody else again and again; nothing was written"
    assert "one" not in api.read_text()
    assert sorted(os.listdir(site / "thing")) == ["__init__.py", "api.py", "core.py"]


def together(site: Path, count: int, states: tuple[str, ...], prepare: str = "") -> list[tuple[bool, str, str]]:
    """Run as many processes at once on one tree; (changed, state as found, action) of each."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from module_utils import _engine, _locks\n"
        f"{prepare}\n"
        "request = json.loads(sys.stdin.readline()); print('ready', flush=True); sys.stdin.readline()\n"
        "print(json.dumps(_engine.run(request)))\n"
    )
    plugins = str(Path(_engine.__file__).parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-B", "-c", code, plugins], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _process in range(count)
    ]
    for number, process in enumerate(processes):
        request = dict(
            operation="patch", definitions=[definition()], path=str(site), state=states[number % len(states)]
        )
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    results = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert not [result["msg"] for result in results if result.get("failed")]
    return [(result["changed"], *found(result)[0]) for result in results]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_of_many_nodes_at_once_exactly_one_reports_the_change(site: Path, state: str) -> None:
    compiled(site)
    if state == "absent":
        applied(site)
    results = together(site, 12, (state,))
    ours, others = (
        (("pending", "apply"), ("applied", "none"))
        if state == "present"
        else (("applied", "revert"), ("pending", "none"))
    )
    assert sorted(results) == sorted([(True, *ours)] + [(False, *others)] * 11)
    assert sorted(os.listdir(site / "thing")) == ["__init__.py", "__pycache__", "api.py", "core.py"]
    assert len(os.listdir(site / "thing" / "__pycache__")) == 1


@pytest.mark.parametrize("locks", [True, False])
def test_nodes_that_want_different_things_leave_one_of_both_and_no_stale_bytecode(site: Path, locks: bool) -> None:  # noqa: FBT001
    """Without locks flock answers as a file system does that has none: the bytes never depend on them."""
    compiled(site)
    without = "def none(*_): raise OSError(37, 'No locks available')\n_locks.fcntl.flock = none"
    for _round in range(3):
        together(site, 10, ("present", "absent"), "" if locks else without)
        text = (site / "thing" / "api.py").read_text()
        assert run(site, check=True)["patches"][0]["state"] in ("applied", "pending")
        assert sorted(os.listdir(site / "thing")) == ["__init__.py", "__pycache__", "api.py", "core.py"]
        code = f"import sys; sys.path.insert(0, {str(site)!r}); import thing.api as m; print(hasattr(m, 'one'))"
        done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str("one" in text)


def test_a_leftover_of_a_killed_run_is_in_nobodys_way(site: Path) -> None:
    (site / "thing" / ".api.py.abcd.primus-tmp").write_text("half")
    assert run(site)["changed"]
    assert run(site, state="absent")["changed"]
