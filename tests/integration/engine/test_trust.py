# Trust: as whom root works on a tree of somebody else's, and what it refuses. With real users, links and races.
from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import py_compile
import shutil
import stat
import subprocess
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, environments, interpreters, sandbox, snapshot
from lab.sandbox import GROUP, USER, give, needs_root
from module_utils import _boot, _discovery
from module_utils._errors import SitePatchError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = needs_root
OTHER = 61003
WAYS_OUT = ("become_user", "chmod go-w", "trust_writers: true")


@pytest.fixture
def home(public: Path) -> Path:
    """Return the home of a user, below a directory that everybody may enter."""
    (public / "home").mkdir()
    return public / "home"


@pytest.fixture
def roots(public: Path) -> Path:
    """Return a directory of root's that everybody may enter."""
    (public / "root").mkdir(mode=0o755)
    return public / "root"


def site_of(home: Path, user: int = USER) -> Path:
    """Make a site-packages with ``thing`` in a home and give all of it to a user."""
    site = home / "site-packages"
    engine.thing(site)
    give(home, user)
    return site


def venv_below(top: Path) -> tuple[Path, Path]:
    """Make a virtual environment with ``thing``, of a Python that every user may start; interpreter, site-packages."""
    environment = environments.bare(interpreters.system(), top / "venv")
    site = environments.site_packages(environment)
    engine.thing(site)
    return environments.python_of(environment), site


def noting(home: Path) -> str:
    """Return code that notes in ``home/users`` as whom it runs."""
    return f"import os; open({str(home / 'users')!r}, 'a').write('%d ' % os.geteuid())\n"


def noted(home: Path) -> set[str]:
    """Return as whom such code has run."""
    return set((home / "users").read_text().split()) if (home / "users").exists() else set()


def venv_of(home: Path) -> tuple[Path, Path]:
    """Make a user's own virtual environment, whose code notes as whom it runs."""
    python, site = venv_below(home)
    (site / "early.pth").write_text(noting(home))
    give(home)
    return python, site


def patch(python: Path | None = None, operation: str = "patch", **parameters: Any) -> dict[str, Any]:
    return engine.ask(operation, python, **{"definitions": [engine.PATCH], **parameters})


def refusal(python: Path | None = None, **parameters: Any) -> str:
    """Return the message with which check mode and the run refuse alike, having changed nothing."""
    told = []
    for check in (True, False):
        try:
            result = patch(python, check_mode=check, **parameters)
        except SitePatchError as error:
            result = {"failed": True, "changed": False, "msg": str(error)}
        assert result.get("failed"), result
        assert not result["changed"]
        told.append(result["msg"])
    assert told[0] == told[1]
    return str(told[0])


# --- as the owner


def test_root_works_on_a_directory_as_its_owner(home: Path) -> None:
    site = site_of(home)
    (site / "thing").chmod(0o700)
    assert patch(path=site)["changed"]
    made = (site / "thing" / "api.py").stat()
    assert (made.st_uid, made.st_gid) == (USER, GROUP)
    assert engine.BLOCK in (site / "thing" / "api.py").read_bytes()
    assert patch(path=site, state="absent")["changed"]
    assert engine.ask("info", definitions=[engine.PATCH], path=site)["patches"][0]["state"] == "pending"


def test_nothing_of_an_environment_runs_as_root(home: Path) -> None:
    """Neither what starts with the interpreter, nor what is imported, nor what an import starts."""
    python, site = venv_of(home)
    (site / "noted.py").write_text(noting(home))
    give(home)
    result = patch(python, imports=["thing.api:Thing", "noted"])
    assert result["changed"], result
    assert [done["ok"] for done in result["imports"]] == [True, True]
    assert noted(home) == {str(USER)}
    assert len((home / "users").read_text().split()) >= 3
    assert (site / "thing" / "api.py").stat().st_uid == USER


def test_what_the_interpreter_of_roots_finds_in_a_users_tree_is_done_as_that_user(home: Path, roots: Path) -> None:
    """As an editable install into the system's Python: by a .pth file of root's."""
    environment = environments.bare(interpreters.system(), roots / "venv")
    (environments.site_packages(environment) / "editable.pth").write_text(str(site_of(home)))
    assert patch(environments.python_of(environment))["changed"]
    assert (home / "site-packages" / "thing" / "api.py").stat().st_uid == USER


def test_the_home_of_root_is_not_that_of_the_work(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, site = venv_of(home)
    monkeypatch.setenv("HOME", "/root")
    (site / "early.pth").write_text(f"import os; open({str(home / 'told')!r}, 'w').write(str(dict(os.environ)))\n")
    patch(python)
    told = eval((home / "told").read_text())  # noqa: S307 (of our own making)
    assert (told["HOME"], told["USER"], told["LOGNAME"]) == ("/", str(USER), str(USER))


def test_a_user_on_an_own_tree_sees_no_difference(home: Path) -> None:
    """Whoever else may write there, and whoever owns what."""
    site = site_of(home)
    (site / "thing").chmod(0o777)
    os.chown(site / "thing", 0, 0)
    assert sandbox.child(lambda: patch(path=site), user=USER)["changed"]


# --- refused


@pytest.mark.parametrize("mode", [0o775, 0o757])
@pytest.mark.parametrize("where", ["home", "home/site-packages", "home/site-packages/thing"])
def test_root_refuses_a_directory_on_the_way_that_others_may_write(home: Path, where: str, mode: int) -> None:
    site = site_of(home)
    (home.parent / where).chmod(mode)
    before = snapshot.take(home)
    message = refusal(path=site)
    kind = stat.filemode(stat.S_IFDIR | mode)
    assert (
        f"{home.parent / where}: expected that only root and {USER} may write there, found {kind} of {USER}" in message
    )
    assert all(way in message for way in WAYS_OUT)
    assert snapshot.take(home) == before
    assert patch(path=site, trust_writers=True)["changed"]
    assert (site / "thing" / "api.py").stat().st_uid == USER, "still as the owner"


def test_root_refuses_its_own_tree_where_others_may_write(home: Path) -> None:
    site = site_of(home, user=0)
    (site / "thing").chmod(0o777)
    assert "expected that only root may write there" in refusal(path=site)
    assert patch(path=site, trust_writers=True)["changed"]


def test_an_acl_that_lets_somebody_else_write_counts(home: Path) -> None:
    site = site_of(home)
    done = subprocess.run(["setfacl", "-m", f"u:{OTHER}:rwx", home], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no ACLs on this file system: {done.stderr}")
    assert f"{home}: expected that only root and {USER} may write there" in refusal(path=site)


@sandbox.needs_mounts
@pytest.mark.parametrize(
    ("owner", "group", "members", "refused"),
    [
        ("alice", "alice", "", False),
        ("alice", "alice", "bob", True),
        ("alice", "users", "", True),
        ("root", "staff", "", False),
        ("root", "staff", "bob", True),
        ("root", "users", "", True),
    ],
)
def test_a_group_that_is_as_good_as_the_owner_may_write(
    home: Path,
    tmp_path: Path,
    owner: str,
    group: str,
    members: str,
    refused: bool,  # noqa: FBT001
) -> None:
    """User private groups, and Debian's staff; the accounts are those of a mount that only this test sees."""
    groups = {"root": 0, "alice": USER, "staff": 50, "users": 100}
    site = site_of(home, user=0 if owner == "root" else USER)
    give(home, 0 if owner == "root" else USER, groups[group])
    (site / "thing").chmod(0o775)
    (tmp_path / "passwd").write_text(
        f"root:x:0:0::/root:/bin/sh\nalice:x:{USER}:{USER}::/:/bin/sh\nbob:x:7:7::/:/bin/sh\n"
    )
    lines = (f"{name}:x:{number}:{members if name == group else ''}\n" for name, number in groups.items())
    (tmp_path / "group").write_text("".join(lines))

    def run() -> str | None:
        for name in ("passwd", "group"):
            sandbox.mount(Path("/etc") / name, "--bind", str(tmp_path / name))
        result = patch(path=site, check_mode=True)
        return result["msg"] if result.get("failed") else None

    message = sandbox.child(run, mounts=True)
    assert (message is not None) == refused, message
    if message:
        assert f"{site}/thing: expected that only" in message


def test_a_sticky_directory_does_not_count_where_the_entry_is_the_owners(home: Path) -> None:
    site = site_of(home)
    home.chmod(0o1777)
    assert patch(path=site, check_mode=True)["changed"]
    os.chown(home, 0, 0)
    assert patch(path=site)["changed"]


@pytest.mark.parametrize("which", ["site-packages", "site-packages/thing", "site-packages/thing/api.py"])
def test_root_refuses_where_owners_differ(home: Path, which: str) -> None:
    site = site_of(home)
    os.chown(home / which, OTHER, GROUP)
    before = snapshot.take(home)
    message = refusal(path=site)
    assert str(home / which) in message
    assert "expected" in message
    assert snapshot.take(home) == before


def test_an_interpreter_that_somebody_else_may_replace_is_not_started(home: Path) -> None:
    """The link lies in a directory of root's that everybody may write; what it leads to is the system's own."""
    common = home / "common"
    common.mkdir()
    common.chmod(0o777)
    python = common / "python"
    python.symlink_to(interpreters.system())
    assert f"{common}: expected that only root may write there" in refusal(python)
    common.chmod(0o755)
    assert "package thing: expected it in" in refusal(python)


def test_an_interpreter_of_another_user_than_the_link_to_it_is_not_started(home: Path) -> None:
    python, _site = venv_of(home)
    other = home.parent / "other"
    other.mkdir()
    (other / "python").symlink_to(python)
    give(other, OTHER)
    assert "expected that only root and" in refusal(other / "python")
    assert not noted(home)


# --- what a user could lead root to


def cached(file: Path, mode: str = "TIMESTAMP") -> Path:
    return Path(py_compile.compile(str(file), invalidation_mode=py_compile.PycInvalidationMode[mode]))


def test_a_directory_of_bytecode_that_is_a_link_is_left_alone(home: Path, roots: Path) -> None:
    """It leads into an environment of root's: its bytecode would become the user's, who gets code run as root."""
    target = cached(engine.thing(roots) / "api.py")
    site = site_of(home)
    (site / "thing" / "__pycache__").symlink_to(target.parent)
    before = snapshot.take(roots)
    results = [patch(path=site, check_mode=check) for check in (True, False)]
    assert snapshot.take(roots) == before
    for result in results:
        assert result["patches"][0]["message"].endswith("__pycache__ is a symbolic link: not touched")
    assert [result["changed"] for result in results] == [True, True]


def test_nothing_is_written_where_such_bytecode_would_go_on_being_used(home: Path, roots: Path) -> None:
    target = cached(engine.thing(roots) / "api.py", "UNCHECKED_HASH")
    site = site_of(home)
    (site / "thing" / "__pycache__").symlink_to(target.parent)
    before = snapshot.take(home)
    message = refusal(path=site)
    assert "is a symbolic link; Python would go on using api." in message
    assert message.endswith("Remove it; nothing was written")
    assert snapshot.take(home) == before


def test_a_link_to_a_secret_of_roots_is_not_read(home: Path, roots: Path) -> None:
    site = site_of(home)
    secret = roots / "secret.py"
    secret.write_text("import os\nPASSWORD = 'hush-hush'\n")
    secret.chmod(0o600)
    (site / "thing" / "api.py").unlink()
    (site / "thing" / "api.py").symlink_to(secret)
    os.lchown(site / "thing" / "api.py", USER, GROUP)
    for check in (True, False):
        assert "hush-hush" not in json.dumps(patch(path=site, check_mode=check, diff=True))
    assert (site / "thing" / "api.py").is_symlink()


def test_a_link_in_roots_own_tree_through_a_users_directory_is_not_followed(home: Path, roots: Path) -> None:
    """The user leads it on to a secret of root's: what it finally is belongs to root, as the first link does."""
    (roots / "secret.py").write_text("import os\nPASSWORD = 'hush-hush'\n")
    (roots / "secret.py").chmod(0o600)
    api = engine.thing(roots / "site") / "api.py"
    api.unlink()
    api.symlink_to(home / "api.py")
    (home / "api.py").symlink_to(roots / "secret.py")
    give(home)
    try:
        result = patch(path=roots / "site", check_mode=True, diff=True)
    except SitePatchError as error:
        result = {"failed": True, "msg": str(error)}
    assert result["failed"]
    assert "hush-hush" not in json.dumps(result)


def test_a_directory_that_is_swapped_for_a_link_leads_root_nowhere(home: Path, roots: Path) -> None:
    """RENAME_EXCHANGE in a loop: the file that was planned for is replaced, or nothing."""
    site = site_of(home)
    other = engine.thing(roots / "site")
    (home / "link").symlink_to(other)
    os.lchown(home / "link", USER, GROUP)
    before = snapshot.take(roots)
    stop = threading.Event()
    swaps = [0]

    def swap() -> None:
        libc = ctypes.CDLL(None)
        names = (os.fsencode(home / "link"), os.fsencode(site / "thing"))
        while not stop.is_set():
            libc.renameat2(-100, names[0], -100, names[1], 2)
            swaps[0] += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(40):
            patch(path=site, state="absent" if number % 2 else "present")
    finally:
        stop.set()
        thread.join()
    assert swaps[0] > 100
    assert snapshot.take(roots) == before


# --- what a user's tree could make root run


def answering(home: Path, answer: bytes) -> Path:
    """Make a user's program that is called python and gives an answer of its own; it notes as whom it runs."""
    program = home / "python"
    program.write_text(
        f"#!{interpreters.system()}\n{noting(home)}import sys\n"
        f"os.write(int(sys.argv[-1].partition(':')[0]), {answer!r})\n"
    )
    program.chmod(0o755)
    give(home)
    return program


@pytest.mark.parametrize(
    "answer",
    [
        b'{"belongs": [0, 0], "patches": []}',
        b'{"belongs": "/root", "patches": []}',
        b'{"belongs": 1}',
        b"old \xff",
        b"{}",
    ],
)
def test_an_interpreter_of_a_users_has_no_say_in_who_is_next(home: Path, answer: bytes) -> None:
    python = answering(home, answer)
    with contextlib.suppress(SitePatchError):
        patch(python, check_mode=True)
    assert noted(home) == {str(USER)}


@pytest.mark.parametrize("answer", [b"[" * 100_000, b'{"patches": 5}', b'{"patches": [5]}', b"old \xff", b"7"])
def test_an_answer_that_is_none_is_the_failure_of_its_interpreter(home: Path, answer: bytes) -> None:
    assert "expected a Python interpreter of version 3.8 or newer, found" in refusal(answering(home, answer))


def test_libraries_of_a_users_are_not_run_by_root_when_its_interpreter_starts(home: Path, roots: Path) -> None:
    home.chmod(0o777)
    python, site = venv_below(roots)
    (site / "early.pth").write_text(noting(home))
    give(site)
    engine.ask("info", python, definitions=[engine.PATCH])
    assert "0" not in noted(home)


def test_what_a_pth_file_names_is_a_place_that_code_is_run_from(home: Path, roots: Path) -> None:
    """Python looks for sitecustomize there, too."""
    python, site = venv_below(roots)
    (site / "further.pth").write_text(str(home))
    (home / "sitecustomize.py").write_text(noting(home))
    (home / "usercustomize.py").write_text(noting(home))
    give(home)
    with contextlib.suppress(SitePatchError):
        patch(python)
    assert "0" not in noted(home)


def open_to_all(home: Path, _site: Path) -> dict[str, Any]:
    os.chown(home, 0, 0)
    home.chmod(0o777)
    return {"path": home}


def in_src(home: Path, _site: Path) -> dict[str, Any]:
    (home / "src").mkdir()
    (home / "evil.py").rename(home / "src" / "evil.py")
    os.chown(home, 0, 0)
    give(home / "src")
    return {"path": home}


def in_site_packages(home: Path, site: Path) -> dict[str, Any]:
    (site / "evil").mkdir()
    (home / "evil.py").rename(site / "evil" / "__init__.py")
    give(site / "evil")
    return {}


def in_a_zip(home: Path, site: Path) -> dict[str, Any]:
    with zipfile.ZipFile(home / "evil.zip", "w") as archive:
        archive.write(home / "evil.py", "evil.py")
    (home / "evil.py").unlink()
    (site / "zipped.pth").write_text(str(home / "evil.zip"))
    return {}


def by_a_finder(home: Path, site: Path) -> dict[str, Any]:
    finder = (
        "import sys, importlib.util\nclass F:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'evil':\n"
        f"            return importlib.util.spec_from_file_location(name, {str(home / 'evil.py')!r})\n"
        "sys.meta_path.append(F())\n"
    )
    (site / "editable_finder.py").write_text(finder)
    (site / "editable.pth").write_text("import editable_finder\n")
    return {}


def by_pythonpath(home: Path, _site: Path) -> dict[str, Any]:
    return {"import_environment": {"PYTHONPATH": str(home)}}


ONLY_ROOT = "expected that only root may write there"
NOT_RUN = "ImportError: root does not run "


@pytest.mark.parametrize(
    ("lead", "message"),
    [
        (open_to_all, ONLY_ROOT),
        (in_src, ONLY_ROOT),
        (in_site_packages, NOT_RUN),
        (in_a_zip, ONLY_ROOT),
        (by_a_finder, NOT_RUN),
        (by_pythonpath, ONLY_ROOT),
    ],
)
def test_root_imports_nothing_of_a_users_however_it_is_found(
    home: Path, roots: Path, lead: Callable[[Path, Path], dict[str, Any]], message: str
) -> None:
    """The environment is root's own, and something in it leads to the user's code."""
    python, site = venv_below(roots)
    (home / "evil.py").write_text(noting(home))
    give(home)
    assert message in refusal(python, operation="check", definitions=[], imports=["evil"], **lead(home, site))
    assert not noted(home)


def test_root_changes_nothing_of_its_own_where_its_imports_would_run_as_a_user(home: Path, roots: Path) -> None:
    """The environment is root's, its sys.path leads into a home."""
    python, site = venv_below(roots)
    (site / "further.pth").write_text(str(home))
    (home / "evil.py").write_text(noting(home))
    give(home)
    message = refusal(python, imports=["evil"])
    assert "expected one owner, found" in message
    assert f"the work is done as {USER}, whom the interpreter, or what it imports from, belongs to" in message
    assert not noted(home)
    assert patch(path=site)["changed"], "without the interpreter nothing is run"


def test_one_user_does_not_run_the_code_of_another_for_root(home: Path, roots: Path) -> None:
    python, _site = venv_of(home)
    (roots / "evil.py").write_text(noting(home))
    give(roots, OTHER)
    (home / "users").unlink(missing_ok=True)
    assert "expected one owner" in refusal(python, path=roots, imports=["evil"])


def test_a_user_alone_in_a_namespace_is_no_root(home: Path) -> None:
    """As in rootless containers that map one id alone: the kernel decides, as for any user."""
    site = site_of(home)
    code = (
        "import sys, json; sys.path[:0] = sys.argv[1:3]; from lab import engine; "
        "print(json.dumps(engine.ask('patch', path=sys.argv[3], definitions=[engine.PATCH])))"
    )
    copy = home / "copy"
    shutil.copytree(engine.PLUGINS / "module_utils", copy / "plugins" / "module_utils")
    shutil.copytree(Path(engine.__file__).parent, copy / "tests" / "lab")
    give(copy)
    python = shutil.which("unshare") or "unshare"
    command = [python, "--user", "--map-root-user", interpreters.system(), "-B", "-c", code]
    arguments = [str(copy / "plugins"), str(copy / "tests"), str(site)]

    def run() -> tuple[str, str]:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, cwd="/")
        return done.stdout, done.stderr

    out, err = sandbox.child(run, user=USER)
    if not out and ("unshare failed" in err or "Operation not permitted" in err):
        pytest.skip(f"no user namespaces for users here: {err}")
    assert json.loads(out)["changed"], (out, err)


def test_root_that_may_not_become_others_says_so(home: Path) -> None:
    """As in a container without CAP_SETUID."""
    site = site_of(home)
    message = without(lambda: refusal(path=site), 6, 7)  # CAP_SETGID, CAP_SETUID
    assert message.startswith(f"this process cannot become user {USER}: ")
    assert "become_user" in message


# --- what cannot be told


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_package_that_cannot_be_entered_is_not_taken_for_missing(
    home: Path, roots: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = _boot.texts(_boot.__spec__)  # (another user may not be able to read the checkout)
    monkeypatch.setattr(_boot, "texts", lambda _spec: texts)
    site = site_of(home)
    (site / "thing").chmod(0o700)
    python = environments.python_of(environments.bare(interpreters.system(), roots / "venv"))
    (environments.site_packages(roots / "venv") / "further.pth").write_text(str(site))
    give(roots, OTHER)
    for asked in ({"path": site}, {"python": python}):
        result = sandbox.child(lambda asked=asked: patch(state=state, **asked), user=OTHER)
        assert result.get("failed"), result
        assert result["msg"].startswith("cannot be told: ")
        assert str(site / "thing") in result["msg"]
        assert "Permission denied" in result["msg"]


@pytest.mark.parametrize("odd", ["fifo", "zero", "sparse"])
def test_odd_bytecode_neither_blocks_nor_fills(home: Path, odd: str) -> None:
    site = site_of(home)
    file = Path(importlib.util.cache_from_source(str(site / "thing" / "api.py")))
    file.parent.mkdir()
    if odd == "fifo":
        os.mkfifo(file)
    elif odd == "zero":
        file.symlink_to("/dev/zero")
    else:
        with file.open("wb") as stream:
            stream.truncate(2 << 30)
    give(home)
    for check in (True, False):
        assert patch(path=site, check_mode=check)["changed"]
    assert not os.path.lexists(file)


def test_setuid_and_setgid_are_not_set_again(home: Path) -> None:
    site = site_of(home)
    (site / "thing" / "api.py").chmod(0o6755)
    assert patch(path=site)["changed"]
    assert stat.S_IMODE((site / "thing" / "api.py").stat().st_mode) == 0o755


# --- where root is nobody in particular


def without_override(run: Any) -> Any:
    """Run in a child of root that may become others, without rights over their files: as where NFS squashes root."""
    return without(run, 1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def without(run: Any, *capabilities: int) -> Any:
    """Run in a child of root without some capabilities, by their numbers (linux/capability.h)."""

    def limited() -> Any:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in capabilities:
            assert libc.prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
        data = (ctypes.c_uint32 * 6)()
        assert libc.capget(header, data) == 0
        for word in (0, 1, 2):
            data[word] &= ~sum(1 << capability for capability in capabilities)
        assert libc.capset(header, data) == 0
        return run()

    return sandbox.child(limited)


def test_a_home_that_only_its_owner_may_enter_is_worked_on_all_the_same(home: Path) -> None:
    python, site = venv_of(home)
    home.chmod(0o700)
    assert without_override(lambda: patch(python))["changed"]
    assert without_override(lambda: patch(path=site, state="absent"))["changed"]


def test_a_directory_below_roots_that_may_not_be_read_is_told(home: Path) -> None:
    """As below /home on NFS, where root is nobody: an audit that is silent about it would count it as right."""
    site_of(home)
    (home / "closed").mkdir(mode=0o700)
    give(home)
    request = {"operation": "info", "definitions": [engine.PATCH], "roots": [str(home)], "timeout": 60.0}
    results = without_override(lambda: _discovery.call(None, request))["environments"]
    assert [result.get("failed", False) for result in results] == [False, True]
    assert results[1]["msg"].endswith(f"1 directories cannot be read ({home}/closed: Permission denied)")


def test_what_root_could_not_see_of_the_way_is_looked_at_by_the_owner(home: Path) -> None:
    python, _site = venv_of(home)
    python.parent.chmod(0o777)
    home.chmod(0o700)
    message = without_override(lambda: refusal(python))
    assert f"cannot become user {USER}, or others may write on the way to it" in message
    assert not noted(home)
