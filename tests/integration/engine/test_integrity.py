# Undeclared edits: what was done to real wheels by hand is found, named and nothing else; hostile trees cost a line.
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import engine, environments, interpreters, packages, sandbox, snapshot, wheels
from lab.run import run
from lab.sandbox import needs_root
from module_utils import _differ, _integrity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EDIT = {"replace": {"before": "class IDNAError(UnicodeError):", "after": "class IDNAError(UnicodeError):  # ours"}}
MORE = {"write": {"content": "# ours\n", "replaces": "absent"}, "file": "extra/more.py"}
PATCH = engine.definition(name="idna_error", package="idna", versions="*", file="core.py", edits=[EDIT])


def verify(site: Path, *names: str, **options: Any) -> list[dict[str, Any]]:
    return _integrity.verify(names or ["all"], str(site), **options)


def one(site: Path, name: str = "thing", **options: Any) -> dict[str, Any]:
    (found,) = verify(site, name, **options)
    return found


def kinds(result: Mapping[str, Any]) -> dict[str, str]:
    """Return what was found by path, and hold the counts against that."""
    for kind, count in result["counts"].items():
        assert count == sum(entry["kind"] == kind for entry in result["found"]), result
    return {entry["path"]: entry["kind"] for entry in result["found"]}


def entry(result: Mapping[str, Any], path: str) -> dict[str, Any]:
    (found,) = [each for each in result["found"] if each["path"] == path]
    return found


@pytest.fixture
def site(tmp_path: Path) -> Path:
    engine.thing(tmp_path / "site")
    return tmp_path / "site"


# --- real installers


@pytest.mark.parametrize("how", wheels.INSTALLERS)
def test_edits_of_an_installed_wheel_are_found_and_nothing_is_before_them(venv: Callable[..., Path], how: str) -> None:
    environment = venv()
    python, where = environments.python_of(environment), environments.site_packages(environment)
    wheels.install(how, python, "idna", "3.11")
    run(python, "-m", "compileall", "-q", where)
    before = snapshot.take(environment)
    (clean,) = engine.ask("info", python, definitions=[PATCH], integrity=["idna"])["integrity"]
    assert (clean["source"], clean["reason"], clean["complete"], kinds(clean)) == ("RECORD", None, True, {})
    assert clean["files"] >= 12
    assert snapshot.take(environment) == before, "a look changes nothing"

    package = where / "idna"
    text = (package / "core.py").read_bytes()
    subprocess.run(["sed", "-i", "s/class IDNAError/class IDNAErr0r/", package / "core.py"], check=True)
    (package / "codec.py").unlink()
    (package / "compat.py").unlink()
    (package / "compat.py").symlink_to(package / "intranges.py")
    content = (package / "uts46data.py").read_bytes()
    (package / "uts46data.py").unlink()
    (package / "uts46data.py").write_bytes(content[:100])
    (package / "hack").mkdir()
    (package / "hack" / "mine.py").write_text("MINE = 1\n")
    (package / "__pycache__" / "hack.cpython-311.pyc").write_bytes(b"")
    (package / "package_data.py").chmod(0o755)
    (result,) = engine.ask("info", python, definitions=[PATCH], integrity=["idna"])["integrity"]
    assert kinds(result) == {
        "idna/core.py": "changed",
        "idna/codec.py": "missing",
        "idna/compat.py": "changed",
        "idna/uts46data.py": "changed",
        "idna/hack/mine.py": "added",
    }
    changed = entry(result, "idna/core.py")
    edited = (package / "core.py").read_bytes()
    assert changed["sha256"] == hashlib.sha256(edited).hexdigest()
    assert changed["recorded"] == hashlib.sha256(text).hexdigest()
    assert changed["size"] == len(edited)
    assert abs(changed["time"] - time.time()) < 3600
    assert changed["owner"]
    assert entry(result, "idna/compat.py")["note"] == f"a link to {package / 'intranges.py'}"


def test_what_a_patch_explains_is_declared_and_an_edit_on_top_of_it_is_not(venv: Callable[..., Path]) -> None:
    environment = venv()
    python, where = environments.python_of(environment), environments.site_packages(environment)
    wheels.install("pip", python, "idna", "3.11")
    patch = {**PATCH, "edits": [EDIT, MORE, {"delete": {}, "file": "compat.py"}]}
    assert engine.ask("patch", python, definitions=[patch])["changed"]
    (result,) = engine.ask("info", python, definitions=[patch], integrity=["patches"])["integrity"]
    assert kinds(result) == dict.fromkeys(("idna/core.py", "idna/compat.py", "idna/extra/more.py"), "declared")
    assert {tuple(each["patches"]) for each in result["found"]} == {("idna_error",)}

    core = where / "idna" / "core.py"
    core.write_bytes(core.read_bytes().replace(b"# ours", b"# ours and mine") + b"MORE = 1\n")
    (result,) = engine.ask("info", python, definitions=[patch], integrity=["patches"])["integrity"]
    assert kinds(result)["idna/core.py"] == "changed"
    found = entry(result, "idna/core.py")
    assert (found["lines_added"], found["lines_removed"]) == (2, 1), "the original is in the store"


def test_an_edit_that_a_patch_of_the_same_call_makes_is_declared_though_nobody_wrote_that_down(
    venv: Callable[..., Path],
) -> None:
    environment = venv()
    python, where = environments.python_of(environment), environments.site_packages(environment)
    wheels.install("pip", python, "idna", "3.11")
    run("sed", "-i", "s/class IDNAError(UnicodeError):/&  # ours/", where / "idna" / "core.py")
    packages.write(where, {"idna/extra/more.py": "# ours\n"})
    patch = {**PATCH, "edits": [EDIT, MORE]}
    result = engine.ask("info", python, definitions=[patch], integrity=["patches"])
    assert [each["state"] for each in result["patches"]] == ["applied"], result["patches"]
    (held,) = result["integrity"]
    assert kinds(held) == dict.fromkeys(("idna/core.py", "idna/extra/more.py"), "declared")
    assert {tuple(each["patches"]) for each in held["found"]} == {("idna_error",)}
    assert set(kinds(one(where, "idna")).values()) == {"changed", "added"}, "without it nobody knows"


def test_a_patch_over_somebodys_edit_does_not_hide_that(venv: Callable[..., Path]) -> None:
    environment = venv()
    python, where = environments.python_of(environment), environments.site_packages(environment)
    wheels.install("copy", python, "idna", "3.11")
    core = where / "idna" / "core.py"
    core.write_bytes(core.read_bytes() + b"MINE = 1\n")
    assert engine.ask("patch", python, definitions=[PATCH])["changed"]
    (result,) = engine.ask("info", python, definitions=[PATCH], integrity=["patches"])["integrity"]
    assert kinds(result) == {"idna/core.py": "changed"}
    assert entry(result, "idna/core.py")["patches"] == ["idna_error"]


def test_a_changed_library_is_told_by_its_size_and_by_its_bytes_where_that_is_asked_for(
    venv: Callable[..., Path],
) -> None:
    environment = venv()
    where = environments.site_packages(environment)
    wheels.install("copy", environments.python_of(environment), "MarkupSafe", "3.0.2")
    (library,) = (where / "markupsafe").glob("*.so")
    path = f"markupsafe/{library.name}"
    data = library.read_bytes()
    library.write_bytes(data[:-1] + b"\1")
    quick = one(where, "markupsafe")
    assert (kinds(quick), quick["sizes_only"], quick["complete"]) == ({}, 1, True)
    thorough = one(where, "markupsafe", libraries=True)
    assert (kinds(thorough), thorough["sizes_only"]) == ({path: "changed"}, 0)
    library.write_bytes(data + b"\0")
    assert kinds(one(where, "markupsafe")) == {path: "changed"}


def test_scripts_whose_first_line_an_installer_rewrites_cannot_be_told(venv: Callable[..., Path]) -> None:
    environment = venv()
    where = environments.site_packages(environment)
    wheels.install("copy", environments.python_of(environment), "charset-normalizer", "3.4.4")
    script = environment / "bin" / "normalizer"
    assert kinds(one(where, "charset-normalizer")) == {}
    script.write_text("#!/elsewhere/python\n" + script.read_text().partition("\n")[2])
    assert kinds(one(where, "charset-normalizer")) == {"../../../bin/normalizer": "untold"}
    script.unlink()
    assert kinds(one(where, "charset-normalizer")) == {"../../../bin/normalizer": "missing"}


def test_condas_packages_are_held_against_record_though_their_installer_is_not_in_it(prefix: Path) -> None:
    """Made without conda: what it leaves of a package that pip built, hard links to its cache, and its own name."""
    python = prefix / "bin" / "python"
    (site,) = prefix.glob("lib/*/site-packages")
    wheels.install("pip", python, "idna", "3.11")
    (site / "idna-3.11.dist-info" / "INSTALLER").write_text("conda")
    files = sorted(path for path in site.rglob("*") if path.is_file())
    for path in files:
        cached = prefix / "pkgs" / "idna-3.11-0" / path.relative_to(prefix)
        cached.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, cached)
    told = {"name": "idna", "version": "3.11", "files": [str(path.relative_to(prefix)) for path in files]}
    packages.write(prefix, {"conda-meta/history": "", "conda-meta/idna-3.11-0.json": json.dumps(told)})
    (clean,) = engine.ask("verify", python, integrity=["all"])["integrity"]
    assert (clean["source"], clean["complete"], clean["reason"], kinds(clean)) == ("RECORD", True, None, {})
    run("sed", "-i", "s/class IDNAError/class IDNAErr0r/", site / "idna" / "core.py")
    (site / "idna" / "codec.py").unlink()
    (held,) = engine.ask("verify", python, integrity=["all"])["integrity"]
    assert kinds(held) == {"idna/core.py": "changed", "idna/codec.py": "missing"}


def test_the_user_site_is_looked_at_with_the_scripts_of_its_own_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, base = interpreters.usual(), tmp_path / "base"
    monkeypatch.setenv("PYTHONUSERBASE", str(base))
    monkeypatch.setenv("PIP_BREAK_SYSTEM_PACKAGES", "1")  # (Debian's Python takes a user site for its own system)
    pip = ("-m", "pip", "--python", python, "install", "--user", "--no-index", "--no-deps", "--quiet")
    run(sys.executable, *pip, "--ignore-installed", wheels.wheel("charset-normalizer", "3.4.4"))
    (site,) = base.glob("lib/*/site-packages")

    def held() -> dict[str, Any]:
        (found,) = engine.ask("verify", python, integrity=["charset-normalizer"])["integrity"]
        return found  # type: ignore[no-any-return]

    clean = held()
    assert (clean["path"], clean["source"], clean["complete"], clean["reason"]) == (str(site), "RECORD", True, None)
    assert kinds(clean) == {}
    run("sed", "-i", "s/import/import  /", site / "charset_normalizer" / "md.py")
    (base / "bin" / "normalizer").unlink()
    assert kinds(held()) == {"charset_normalizer/md.py": "changed", "../../../bin/normalizer": "missing"}


# --- where it cannot be told


def test_where_record_is_not_there_or_no_measure_that_is_said(site: Path) -> None:
    packages.write(site, {"thing-1.5.dist-info/INSTALLER": "debian\n"})
    (site / "thing" / "api.py").write_text("")
    found = one(site)
    assert (found["source"], found["files"], found["complete"]) == (None, 0, False)
    assert found["reason"].startswith("cannot be told: Debian changed files after RECORD was written")
    (site / "thing-1.5.dist-info" / "RECORD").unlink()
    assert one(site)["reason"] == "cannot be told: no RECORD says what was installed"
    nothing = one(site, "other")
    assert nothing["reason"] == "cannot be told: no distribution of that name is installed there"
    assert (nothing["distribution"], nothing["complete"]) == ("other", False)


def test_an_interrupted_upgrade_cannot_be_told(site: Path) -> None:
    shutil.copytree(site / "thing-1.5.dist-info", site / "thing-1.6.dist-info")
    found = verify(site, "thing")
    assert [each["complete"] for each in found] == [False, False]
    assert all("thing-1.5.dist-info, thing-1.6.dist-info" in each["reason"] for each in found)


def test_debians_own_packages_cannot_be_told() -> None:
    python = Path("/usr/bin/python3")
    where = Path("/usr/lib/python3/dist-packages")
    if not python.exists() or not list(where.glob("*-info")):
        pytest.skip("no packages of Debian here")
    found = verify(where, "all")
    assert found
    assert [each for each in found if each["complete"] or each["found"]] == []


# --- what is and is not somebody's edit


def test_files_of_other_distributions_in_the_same_directories_are_no_edits(site: Path) -> None:
    packages.install(site, "thing_more", "1.0", {"thing/more.py": "", "thing/deep/other.py": ""})
    packages.install(site, "spread_one", "1.0", {"spread/one/__init__.py": ""})
    packages.write(site, {"spread/two/__init__.py": "", "thing/deep/mine.py": "", "top.py": ""})
    assert kinds(one(site)) == {"thing/deep/mine.py": "added"}
    assert kinds(one(site, "spread-one")) == {}, "a namespace is nobody's own"


def test_what_installers_and_runs_leave_is_no_edit(site: Path) -> None:
    info = "thing-1.5.dist-info"
    names = [f"{info}/{name}" for name in ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")]
    names += ["thing/__pycache__/x.nbi", "thing/old.pyc", "thing/api.py.123.2026-01-02@03:04:05~", "thing/.git/config"]
    packages.write(site, dict.fromkeys(names, ""))
    (site / info / "RECORD").open("a").write(f"{info}/METADATA,{packages.recorded(site / info / 'METADATA')}\n")
    assert kinds(one(site)) == {}
    packages.write(site, {"thing/api.py.orig": "", f"{info}/entry_points.txt": ""})
    assert kinds(one(site)) == {"thing/api.py.orig": "added", f"{info}/entry_points.txt": "added"}


def test_an_editable_checkout_is_held_against_gits_index(tmp_path: Path, venv: Callable[..., Path]) -> None:
    environment = venv()
    where, top = environments.site_packages(environment), tmp_path / "checkout"
    engine.source(top / "src" / "thing")
    packages.write(top, {".gitignore": "build/\n"})
    git = ["git", "-C", str(top), "-c", "user.name=a", "-c", "user.email=a@example", "-c", "init.defaultBranch=main"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    url = f'{{"url": "file://{top}", "dir_info": {{"editable": true}}}}'
    packages.install(where, "thing", "1.5", {"thing.pth": f"{top}/src\n"})
    packages.write(where, {"thing-1.5.dist-info/direct_url.json": url})
    clean = one(where)
    assert (clean["source"], clean["path"], clean["files"], kinds(clean)) == ("git", str(top), 4, {})
    original = (top / "src" / "thing" / "api.py").read_text()
    (top / "src" / "thing" / "api.py").write_text("EDITED = 1\n")
    (top / "src" / "thing" / "core.py").unlink()
    for command in (["status"], ["gc", "-q", "--prune=now"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
        edited = one(where)
        assert kinds(edited) == {"src/thing/api.py": "changed", "src/thing/core.py": "missing"}
        found = entry(edited, "src/thing/api.py")
        assert (found["lines_added"], found["lines_removed"]) == (1, original.count("\n")), "git has the original"
    shutil.rmtree(top / ".git")
    assert "git does not vouch for it" in one(where)["reason"]


# --- trees that were made to be odd


def test_what_lies_in_the_place_of_a_file_is_told_and_not_opened(site: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    thing = site / "thing"
    (thing / "api.py").unlink()
    os.mkfifo(thing / "api.py")
    (thing / "core.py").unlink()
    (thing / "core.py").symlink_to(tmp_path / "nowhere")
    os.mkfifo(thing / "fifo.py")
    (thing / "out").symlink_to(tmp_path)
    found = one(site)
    assert kinds(found) == {
        "thing/api.py": "changed",
        "thing/core.py": "changed",
        "thing/fifo.py": "added",
        "thing/out": "added",
    }
    notes = {each["path"]: each["note"] for each in found["found"]}
    assert notes == {
        "thing/api.py": "a FIFO, expected a regular file",
        "thing/core.py": "a link that leads to nothing",
        "thing/fifo.py": "a FIFO, expected a regular file",
        "thing/out": f"a link to {tmp_path}",
    }


def test_a_directory_swapped_for_a_link_is_one_line_and_nothing_behind_it_is_looked_at(
    site: Path, tmp_path: Path
) -> None:
    shutil.move(site / "thing", tmp_path / "elsewhere")
    (site / "thing").symlink_to(tmp_path / "elsewhere")
    found = one(site)
    assert kinds(found) == {"thing": "changed"}
    assert not found["complete"]
    assert "nothing behind it was looked at" in found["reason"]


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "thing/../../../x", "..", "a//b", "thing/./x"])
def test_a_record_that_leads_out_of_the_environment_is_not_followed(site: Path, path: str) -> None:
    record = site / "thing-1.5.dist-info" / "RECORD"
    record.write_text(record.read_text() + f"{path},sha256=AAAA,5\n")
    found = one(site)
    assert (kinds(found), found["complete"]) == ({}, False)
    assert found["reason"] == "not all was looked at: 1 files that RECORD lists lie outside of the environment"


PARTS = st.sampled_from(["..", ".", "", "thing", "api.py", "\0", "x" * 300, "é", '"', ",", "\udcff", "RECORD"])
ROWS = st.tuples(
    st.lists(PARTS, min_size=1, max_size=6).map("/".join),
    st.sampled_from(
        ["", "sha256=", "sha256=AAAA", "shake_128=AA", "none=AA", f"sha256={'A' * 43}", f"sha256={'é' * 43}"]
    ),
    st.sampled_from(["", "0", "-1", "9" * 30, "x", "٣"]),
).map(",".join)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, max_size=8) | st.lists(st.text(max_size=30), max_size=4))
def test_whatever_record_says_the_look_ends_and_tells_of_files_inside_alone(site: Path, rows: list[str]) -> None:
    record = site / "thing-1.5.dist-info" / "RECORD"
    record.write_bytes("\n".join(rows).encode("utf-8", "surrogateescape" if "\udcff" in "".join(rows) else "replace"))
    found = one(site)
    kinds(found)
    assert all(os.path.normpath(site / each["path"]).startswith(f"{site}/") for each in found["found"])
    json.dumps(found).encode("ascii")


def test_a_huge_file_costs_neither_memory_nor_more_than_the_time_that_there_is(site: Path) -> None:
    huge = site / "thing" / "huge.py"
    with huge.open("wb") as stream:
        stream.truncate(1 << 40)
    record = site / "thing-1.5.dist-info" / "RECORD"
    record.write_text(record.read_text() + f"thing/huge.py,sha256={'A' * 43},{1 << 40}\n")
    (site / "thing" / "zzz.py").write_text("")
    found = one(site, seconds=0.5)
    assert not found["complete"]
    assert found["reason"] == "not all was looked at: the time limit of 0.5 s was used up"
    record.write_text(record.read_text().replace(str(1 << 40), "5"))
    found = one(site)
    assert kinds(found) == {"thing/huge.py": "changed", "thing/zzz.py": "added"}
    assert entry(found, "thing/huge.py")["sha256"] is None, "it is known to differ, and not read"


def test_names_that_are_no_utf_8_are_told_in_escapes(site: Path) -> None:
    (Path(os.fsdecode(os.fsencode(site) + b"/thing/b\xff.py"))).write_text("")
    assert kinds(one(site)) == {"thing/b\\udcff.py": "added"}


def test_the_look_gives_way_to_others_and_the_process_keeps_its_own_priority(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    hold = _integrity._hold

    def note(*arguments: Any) -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        hold(*arguments)

    monkeypatch.setattr(_integrity, "_hold", note)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    one(site)
    assert found == [19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_very_many_edits_are_counted_and_not_all_listed(site: Path) -> None:
    packages.write(site, {f"thing/many/m{number:05}.py": "" for number in range(3000)})
    found = one(site)
    assert found["counts"]["added"] == 3000
    assert len(found["found"]) + found["left_out"] == 3000
    assert len(found["found"]) <= 1000


def test_a_tree_that_is_too_deep_is_told(site: Path) -> None:
    deep = "/".join(["d"] * 80)
    packages.write(site, {f"thing/{deep}/x.py": ""})
    found = one(site)
    assert not found["complete"]
    assert "more than 64 directories below each other" in found["reason"]


@needs_root
def test_a_file_that_may_not_be_read_cannot_be_told(public: Path) -> None:
    (engine.thing(public) / "core.py").chmod(0)
    found = sandbox.child(lambda: one(public), user=sandbox.USER)
    assert kinds(found) == {"thing/core.py": "untold"}
    assert found["found"][0]["note"] == "Permission denied"


@needs_root
def test_root_looks_as_the_owner_and_not_where_others_may_write(public: Path) -> None:
    engine.thing(public).joinpath("api.py").write_text("EDITED = 1\n")
    sandbox.give(public)
    (found,) = engine.ask("info", path=public, definitions=[engine.PATCH], integrity=["thing"])["integrity"]
    assert kinds(found) == {"thing/api.py": "changed"}
    public.chmod(0o777)
    other = {**engine.PATCH, "package": "other"}
    (found,) = engine.ask("info", path=public, definitions=[other], integrity=["thing"])["integrity"]
    assert (found["files"], found["complete"]) == (0, False)
    assert "expected that only" in found["reason"]


def test_lines_are_counted_in_the_time_that_reading_takes() -> None:
    text = b"".join(b"%d\n" % (number % 7) for number in range(200_000))
    assert _differ.lines(text, text[::-1] + b"x\n")["lines_added"] >= 1
    assert _differ.lines(b"a\nb\n", b"a\nc\nd\n") == {"lines_added": 2, "lines_removed": 1}
    assert _differ.lines(None, b"a") == {}
