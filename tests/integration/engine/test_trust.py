# Trust: as whom root works on a tree of somebody else's, and what it refuses. With real users.
from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lab import engine, environments, interpreters, sandbox, snapshot
from lab.owners import noted, noting, patch, refusal, site_of, venv_of
from lab.sandbox import GROUP, USER, give, needs_root
from module_utils import _boot, _discovery

pytestmark = needs_root
OTHER = 61003
WAYS_OUT = ("become_user", "chmod go-w", "trust_writers: true")


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


@pytest.mark.parametrize("mode", [0o775, 0o757], ids=oct)
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


# --- where root is nobody in particular


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
