# site_patch in real ansible-playbook runs: check, run, check again, run again; what the nodes' files go through.
from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible import constants
from lab import environments, packages, sandbox, snapshot
from lab.sandbox import needs_mounts, needs_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.controller import Run

    Playbook = Callable[..., Run]
    Tree = Callable[[str], Path]

NAME = "transformers_modeling_utils"
FILE = "transformers/modeling_utils.py"
SEVEN = "transformers.modeling_utils:Conv1D,prune_layer"
THING = {
    **dict(name="thing_names", package="thing", versions=">=2,<3", file="api.py", revision=1),
    **dict(reason="A test.", upstream="none", retire="Never."),
    "edits": [{"reexport": {"source": ".core", "names": ["one", "two"]}}],
}
RESULT = ("changed", "failed", "patches", "diff")


def patch(**parameters: Any) -> dict[str, Any]:
    """Return a task; whatever it says, the play goes on."""
    return {"name": "Patch", "primus.patches.site_patch": parameters, "ignore_errors": True}


def play(*tasks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"hosts": "all", "gather_facts": False, "tasks": list(tasks)}]


def results(run: Run) -> list[dict[str, Any]]:
    return [{**task.result, "failed": task.status in ("failed", "ignored")} for task in run.of("site_patch")]


def told(result: dict[str, Any]) -> dict[str, Any]:
    imports = [{**found, "seconds": None} for found in result.get("imports") or []]
    # (Of what was not refused, the message says in check mode that it would be done, and else that it was.)
    refused = result["msg"] if result["failed"] else None
    return {**{key: result.get(key) or None for key in RESULT}, "msg": refused, "imports": imports}


def found(result: dict[str, Any]) -> tuple[str, str, bool]:
    (one,) = result["patches"]
    return one["state"], one["action"], result["changed"]


def thing(site: Path, version: str = "2.5") -> Path:
    files = {
        "__init__": f"__version__ = '{version}'\n",
        "core": "one = 1\ntwo = 2\n",
        "api": "import os\n\nWHICH = 'api'\n",
    }
    packages.install(site, "thing", version, {f"thing/{name}.py": text for name, text in files.items()})
    return site


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Yield a directory that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="primus-site-patch-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


# -- check, run, check again, run again ------------------------------------------------------------------------------


@pytest.mark.slow
def test_present_and_absent_are_predicted_done_and_then_idle(playbook: Playbook, tree: Tree) -> None:
    """One real wheel's file through eight runs, all in diff mode."""
    site = tree("4.57.6")
    original = snapshot.take(site)
    for state, action, state_before, state_after in (
        ("present", "apply", "pending", "applied"),
        ("absent", "revert", "applied", "pending"),
    ):
        plays = play(patch(name=NAME, path=str(site), state=state))
        before = snapshot.take(site)
        predicted = playbook(plays, check=True, diff=True)
        assert snapshot.take(site) == before
        done = playbook(plays, diff=True)
        after = snapshot.take(site)
        again = [playbook(plays, check=True, diff=True), playbook(plays, diff=True)]
        assert snapshot.take(site) == after
        assert [run.rc for run in (predicted, done, *again)] == [0] * 4, done
        assert [found(*results(run)) for run in (predicted, done, *again)] == [
            *[(state_before, action, True)] * 2,
            *[(state_after, "none", False)] * 2,
        ]
        assert told(*results(predicted)) == told(*results(done))
        assert told(*results(again[0])) == told(*results(again[1]))
        lines = results(done)[0]["diff"]["prepared"].splitlines()
        assert lines[:2] == [f"--- {site / FILE}\t(before)", f"+++ {site / FILE}\t(after)"]
        assert len(lines) < 25, "no second copy of 6,000 lines"
        assert f"+++ {site / FILE}" in predicted.stdout, "an operator sees it"
        assert f"+++ {site / FILE}" not in again[0].stdout
        sign = "+" if state == "present" else "-"
        assert [line for line in lines[2:] if line[0] in "+-"] == [
            sign + line
            for line in (
                f"# >>> primus.patches: {NAME}, revision 1 >>>",
                "from .pytorch_utils import (  # noqa: F401",
                *(
                    f"    {name},"
                    for name in ("Conv1D", "apply_chunking_to_forward", "find_pruneable_heads_and_indices")
                ),
                *(f"    {name}," for name in ("prune_conv1d_layer", "prune_layer", "prune_linear_layer")),
                ")",
                f"# <<< primus.patches: {NAME} <<<",
            )
        ]
    assert packages.recorded(site / FILE) == packages.listed(site, FILE)
    # (The store stays for an hour: another host may be about to need what is in it.)
    now = {name: entry[8] for name, entry in snapshot.take(site).items() if "primus-patches" not in str(name)}
    assert now == {name: entry[8] for name, entry in original.items()}


@pytest.mark.slow
def test_each_state_is_told_alike_by_check_mode_and_the_run(playbook: Playbook, tree: Tree, tmp_path: Path) -> None:
    """All states at once, in one play with --check and one without, each followed by absent."""
    sites = {version: tree(version) for version in ("4.57.6", "4.55.4", "5.0.0")}
    (tmp_path / "empty").mkdir()
    sites["empty"] = tmp_path / "empty"
    sites["broken"] = tree("4.56.2")
    (sites["broken"] / FILE).write_text("import os\nthis is no Python\n")
    tasks = [patch(name=NAME, path=str(site), **more) for site in sites.values() for more in ({}, {"state": "absent"})]
    tasks += [patch(name=NAME, path=str(sites["empty"]), missing="skip")]
    tasks += [{**patch(name=NAME, path=str(sites["4.57.6"])), "diff": False}]
    before = snapshot.take(*sites.values())
    predicted = results(playbook(play(*tasks), check=True, diff=True))
    assert snapshot.take(*sites.values()) == before
    done = results(playbook(play(*tasks), diff=True))
    expected = [
        *(("pending", "apply", True), ("applied", "revert", True)),
        *(("native", "none", False), ("native", "none", False)),
        *(("unsupported", "none", False), ("unsupported", "none", False)),
        *(("missing", "none", False), ("missing", "none", False)),
        *(("conflict", "none", False), ("conflict", "none", False)),
        ("missing", "skip", False),
        ("pending", "apply", True),
    ]
    assert [found(result) for result in done] == expected
    refused = [False, False, False, False, True, False, True, False, True, True, False, False]
    assert [result["failed"] for result in done] == refused
    # (check mode finds 4.57.6 still pending where the run finds it applied a task earlier)
    alike = [number for number in range(len(tasks)) if number != 1]
    assert [told(predicted[number]) for number in alike] == [told(done[number]) for number in alike]
    assert ["diff" in result for result in done] == [*(not failed for failed in refused[:-1]), False]


def test_a_skipped_patch_tries_no_import_and_a_refused_one_none_either(playbook: Playbook, tree: Tree) -> None:
    site = thing(tree("5.0.0"), "3.0")
    python = sys.executable
    common = {"path": str(site), "python": python, "validate": ["no_such_module"]}
    tasks = [
        patch(name=NAME, unsupported="skip", **common),
        patch(name=NAME, **common),
        patch(definitions=[THING], unsupported="skip", **common),
    ]
    done = results(playbook(play(*tasks)))
    assert [found(result) for result in done] == [
        ("unsupported", "skip", False),
        ("unsupported", "none", False),
        ("unsupported", "skip", False),
    ]
    assert [(result["imports"], result["failed"]) for result in done] == [([], False), ([], True), ([], False)]


def test_an_import_that_fails_keeps_the_change_from_being_written(playbook: Playbook, open_path: Path) -> None:
    site = thing(open_path / "site")
    common = {"definitions": [THING], "path": str(site), "python": sys.executable}
    before = snapshot.take(site)
    failing = play(patch(validate=["thing.api:one", "thing.api:three"], **common))
    for check in (True, False):
        (result,) = results(playbook(failing, check=check))
        assert (result["failed"], *found(result)) == (True, "pending", "apply", False)
        assert [(done["ok"], done["proof"], done["cause"]) for done in result["imports"]] == [
            (True, "before", None),
            (False, "before", "name"),
        ]
        assert (
            "nothing was written: thing.api:three (fails without the patch as well: expected three in thing.api"
            in result["msg"]
        )
        assert snapshot.take(site) == before
    tasks = [
        patch(validate=["thing.api:one"], verify="changed", **common),
        patch(validate=["thing.api:three"], verify="changed", **common),
        patch(validate=["thing.api:one"], **common),
        patch(validate=["thing.api:three"], **common),
        patch(validate=["thing.api:three"], verify="never", **common),
    ]
    done = results(playbook(play(*tasks)))
    assert [found(result) for result in done] == [("pending", "apply", True), *[("applied", "none", False)] * 4]
    assert [[import_["proof"] for import_ in result["imports"]] for result in done] == [
        ["before"],
        [],
        ["none"],
        ["none"],
        [],
    ]
    assert [result["failed"] for result in done] == [False, False, False, True, False]


def test_a_backup_is_named_in_the_result_and_not_made_in_check_mode(playbook: Playbook, tree: Tree) -> None:
    site = tree("4.56.2")
    names = set(os.listdir(site / "transformers"))
    plays = play(patch(name=NAME, path=str(site), backup=True))
    assert "backup_file" not in results(playbook(plays, check=True))[0]
    assert set(os.listdir(site / "transformers")) == names
    (result,) = results(playbook(plays))
    copy = Path(result["backup_file"])
    assert set(os.listdir(site / "transformers")) - names == {copy.name}
    assert re.fullmatch(r"modeling_utils\.py\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~", copy.name)
    assert packages.recorded(copy) == packages.listed(site, FILE)
    assert result["patches"][0]["files"][0]["backup_file"] == str(copy)


# -- package caches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_uvs_cache_stays_as_it_was(
    playbook: Playbook, wheel: Callable[[str, str], Path], tmp_path: Path, link: str
) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("no uv beside this interpreter: run the tests by ./dev test")
    site, cache = tmp_path / "site-packages", tmp_path / "cache"
    command = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--no-config", "--link-mode", link]
    command += ["--cache-dir", cache, "--target", site, "--python", sys.executable, wheel("transformers", "4.57.6")]
    subprocess.run(command, check=True)
    file = site / FILE
    assert file.is_symlink() if link == "symlink" else file.stat().st_nlink > 1, "it is linked to the cache"
    stored = next(path for path in cache.rglob(FILE) if not path.is_symlink())
    others = snapshot.take(cache)
    links = others.pop(str(stored))
    plays = play(patch(name=NAME, path=str(site)), patch(name=NAME, path=str(site), state="absent"))
    assert [found(result) for result in results(playbook(plays))] == [
        ("pending", "apply", True),
        ("applied", "revert", True),
    ]
    now = snapshot.take(cache)
    entry = now.pop(str(stored))
    assert now == others
    # (of a file that had a second name, the number of names and the time of that change are the file system's)
    same = range(9) if link == "symlink" else (0, 1, 2, 3, 5, 6, 8)
    assert [entry[number] for number in same] == [links[number] for number in same]
    assert (file.is_symlink(), file.stat().st_nlink) == (False, 1)
    assert packages.recorded(file) == packages.listed(site, FILE) == packages.recorded(stored)


# -- bytecode of the environment's own interpreter -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_bytecode_is_refreshed_by_the_environments_interpreter(
    playbook: Playbook, venv: Callable[[str], Path], version: str
) -> None:
    environment = venv(version)
    python, site = environments.python_of(environment), environments.site_packages(environment)
    thing(site)
    cache = site / "thing" / "__pycache__"
    for mode, flags in (("timestamp", []), ("checked-hash", ["-O"]), ("unchecked-hash", ["-OO"])):
        command = [
            python,
            *flags,
            "-m",
            "compileall",
            "-q",
            "-f",
            "--invalidation-mode",
            mode,
            site / "thing" / "api.py",
        ]
        subprocess.run(command, check=True)
    (cache / "api.cpython-27.pyc").write_bytes(b"of another one")
    before = snapshot.take(environment)
    common = {"definitions": [THING], "python": str(python), "validate": ["thing.api:WHICH"]}
    plays = [play(patch(state=state, **common)) for state in ("present", "absent")]
    assert found(*results(playbook(plays[0], check=True))) == ("pending", "apply", True)
    assert snapshot.take(environment) == before
    for plays_, names in zip(plays, ("True", "False"), strict=True):
        (result,) = results(playbook(plays_))
        assert (result["changed"], result["environment"]["python_version"][: len(version)]) == (True, version)
        assert sorted(path.name.split(".", 2)[2] for path in cache.iterdir()) == ["opt-1.pyc", "opt-2.pyc", "pyc"]
        for flags in ([], ["-O"], ["-OO"]):
            code = "import thing.api; print(hasattr(thing.api, 'one'))"
            done = subprocess.run([python, "-B", "-v", *flags, "-c", code], capture_output=True, text=True, check=True)
            assert done.stdout.strip() == names
            assert f"code object from '{cache}/api." in done.stderr, "valid: nothing is compiled"
    assert {path.read_bytes()[4] for path in cache.iterdir()} == {0, 3, 1}


# -- what nodes are like ---------------------------------------------------------------------------------------------


@needs_root
def test_what_a_user_may_not_do_fails_in_check_mode_with_the_runs_message(
    playbook: Playbook, open_path: Path, system_python: Path
) -> None:
    """A user who owns nothing, who owns the directory but not the file, and who owns all."""
    nobody = pwd.getpwnam("nobody")
    sites = {name: thing(open_path / name) for name in ("closed", "foreign", "own")}
    os.chown(sites["foreign"] / "thing", nobody.pw_uid, nobody.pw_gid)
    for path in (sites["own"], sites["own"] / "thing", *(sites["own"] / "thing").iterdir()):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    become = {"become": True, "become_user": "nobody", "become_method": "ansible.builtin.su"}
    plays = play(*[{**patch(definitions=[THING], path=str(site)), **become} for site in sites.values()])
    variables = {
        "ansible_pipelining": True,
        "ansible_python_interpreter": str(system_python),
        "ansible_become_flags": "-s /bin/sh",
    }
    before = snapshot.take(open_path)
    predicted = results(playbook(plays, check=True, variables=variables))
    assert snapshot.take(open_path) == before
    done = results(playbook(plays, variables=variables))
    assert [told(result) for result in predicted] == [told(result) for result in done]
    assert [found(result) for result in done] == [*[("pending", "apply", False)] * 2, ("pending", "apply", True)]
    assert done[0]["msg"].startswith(
        f"{sites['closed']}/thing: expected a writable directory, found mode drwxr-xr-x, owner 0"
    )
    assert done[1]["msg"].startswith(
        f"{sites['foreign']}/thing/api.py: expected a file of user {nobody.pw_uid} (api.py), found owner 0:0"
    )
    same = snapshot.take(sites["closed"], sites["foreign"])
    assert {path: before[path] for path in same} == same


@needs_mounts
def test_read_only_images_and_full_disks_are_refused_alike(playbook: Playbook, open_path: Path) -> None:
    site, full = thing(open_path / "site"), open_path / "full"
    full.mkdir()
    info = {"primus.patches.site_patch_info": {"definitions": [THING], "path": str(site)}}
    plays = play(*[patch(definitions=[THING], path=str(path)) for path in (site, full)], info)

    def runs() -> tuple[list[Any], list[Any], bool]:
        sandbox.read_only(site)
        sandbox.mount(full, "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs")
        thing(full)
        free = os.statvfs(full)
        (full / "filler").write_bytes(b"-" * free.f_bfree * free.f_frsize)
        before = snapshot.take(site, full)
        both = [playbook(plays, check=check) for check in (True, False)]
        audits = [run.one("site_patch_info").result["patches"][0]["state"] for run in both]
        return [told(result) for run in both for result in results(run)], audits, snapshot.take(site, full) == before

    told_, audits, same = sandbox.child(runs, mounts=True)
    assert same
    assert told_[:2] == told_[2:]
    assert told_[0]["msg"] == f"{site}/thing: expected a writable directory, found a read-only file system"
    assert re.fullmatch(rf"{full}/thing: expected room for \d+ bytes, found 0", told_[1]["msg"])
    assert all(result["failed"] and result["patches"][0]["state"] == "pending" for result in told_)
    assert audits == ["pending", "pending"]


@pytest.mark.parametrize("inject", ["false", "true"])
@pytest.mark.parametrize("verbosity", [2, 3])
def test_the_invocation_is_told_where_the_user_wants_it(
    playbook: Playbook, tree: Tree, verbosity: int, inject: str
) -> None:
    """From ansible-core 2.21 on by a setting, that older ones do not know: these show it from -vvv on."""
    task = patch(name=NAME, path=str(tree("4.57.6")))
    environment = {"ANSIBLE_VERBOSITY": str(verbosity), "ANSIBLE_INJECT_INVOCATION": inject}
    (result,) = results(playbook(play(task), environment=environment).exits(0))
    told = inject == "true" if hasattr(constants, "INJECT_INVOCATION") else verbosity > 2
    assert ("invocation" in result) == told
