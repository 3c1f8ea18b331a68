# The proof on the real thing: blip-ci and Megatron-Bridge on a CPU, before, in preview, after, and after a revert.
from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, environments, packages, snapshot
from lab.old_script import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Run

    Playbook = Callable[..., Run]

pytestmark = pytest.mark.slow

PATCH = "transformers_modeling_utils"
SEVEN = f"transformers.modeling_utils:{','.join(NAMES)}"
IMPORTS = ["blip.models.med", "megatron.bridge", SEVEN]


def task(
    playbook: Playbook, module: str, environment: Path, *, check: bool = False, **parameters: Any
) -> dict[str, Any]:
    parameters = {"python": str(environments.python_of(environment)), **parameters}
    plays = [{"hosts": "all", "gather_facts": False, "tasks": [{f"primus.patches.{module}": parameters}]}]
    return playbook(plays, check=check, diff=True).one(module).result


def found(result: dict[str, Any]) -> list[tuple[bool, str | None, str]]:
    return [(done["ok"], done["cause"], done["proof"]) for done in result["imports"]]


def test_before_preview_apply_after_and_revert(playbook: Playbook, megatron_copy: Path) -> None:
    site = environments.site_packages(megatron_copy)
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_bytes()
    untouched = snapshot.take(megatron_copy)
    fails, passes, proven = (False, "name", "none"), (True, None, "none"), (True, None, "before")

    before = task(playbook, "import_check", megatron_copy, imports=IMPORTS)
    assert found(before) == [fails, passes, fails]
    assert "cannot import name 'apply_chunking_to_forward'" in before["imports"][0]["error"]
    assert before["imports"][1]["version"] == "0.2.0rc6"
    absent = ", ".join(name for name in NAMES if name != "id_tensor_storage")
    assert before["imports"][2]["error"] == f"expected {absent} in transformers.modeling_utils, found none ({file})"

    preview = task(playbook, "import_check", megatron_copy, imports=IMPORTS, preview=[PATCH])
    assert found(preview) == [proven, proven, proven]
    predicted = task(playbook, "site_patch", megatron_copy, check=True, name=[PATCH], validate=IMPORTS)
    assert (predicted["changed"], found(predicted)) == (True, [proven, proven, proven])
    assert snapshot.take(megatron_copy) == untouched

    applied = task(playbook, "site_patch", megatron_copy, name=[PATCH], validate=IMPORTS)
    assert (applied["changed"], found(applied)) == (True, [proven, proven, proven])
    assert applied["diff"] == predicted["diff"]
    again = task(playbook, "site_patch", megatron_copy, name=[PATCH], validate=IMPORTS)
    assert (again["changed"], again["patches"][0]["state"]) == (False, "applied")
    assert (again["patches"][0]["integrity"], found(again)) == ("patched", [passes, passes, passes])

    reverted = task(playbook, "site_patch", megatron_copy, name=[PATCH], state="absent", validate=["megatron.bridge"])
    assert (reverted["changed"], found(reverted)) == (True, [proven])
    assert file.read_bytes() == stock
    (record,) = site.glob("transformers-*.dist-info/RECORD")
    assert f"transformers/modeling_utils.py,{packages.recorded(file)}\n" in record.read_text()


def test_transformers_5_is_refused_and_megatron_bridge_still_imports(playbook: Playbook, megatron_5: Path) -> None:
    untouched = snapshot.take(megatron_5)
    refused = task(playbook, "site_patch", megatron_5, name=[PATCH], validate=IMPORTS)
    assert refused["msg"].startswith(f"{PATCH}: unsupported: transformers {environments.TRANSFORMERS_5} in ")
    assert refused["patches"][0]["state"] == "unsupported"
    assert f"expected version >=4.56,<5, found {environments.TRANSFORMERS_5}" in refused["msg"]
    skipped = task(playbook, "site_patch", megatron_5, name=[PATCH], validate=IMPORTS, unsupported="skip")
    assert (skipped["changed"], skipped["patches"][0]["action"], skipped["imports"]) == (False, "skip", [])
    result = task(playbook, "import_check", megatron_5, imports=["megatron.bridge"])
    assert found(result) == [(True, None, "none")]
    assert snapshot.take(megatron_5) == untouched


@pytest.fixture
def stale(tmp_path: Path, megatron_env: Path) -> Path:
    """Return a home in whose torch_extensions lies the lock of a job that was killed while it built the extension.

    `import megatron.bridge` builds `managed_alloc_runtime` by torch.utils.cpp_extension, which waits, without an end,
    for as long as a file `lock` lies in that extension's directory (torch.utils.file_baton).
    """
    home = tmp_path / "home-of-the-user"
    version = environments.site_packages(megatron_env).parent.name.replace("python", "py").replace(".", "")
    directory = home / ".cache" / "torch_extensions" / f"{version}_cpu" / "managed_alloc_runtime"
    directory.mkdir(parents=True)
    (directory / "lock").touch()
    return home


def test_a_stale_lock_in_the_users_cache_does_not_hang_the_check(
    megatron_env: Path, stale: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "TORCH_EXTENSIONS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(stale))
    before = snapshot.take(stale)
    python = environments.python_of(megatron_env)
    result = engine.ask("check", python, imports=["megatron.bridge"], timeout=120.0)
    assert not result.get("failed"), result["imports"]
    assert snapshot.take(stale) == before


def test_the_stale_lock_does_hang_whoever_uses_that_cache_and_the_check_says_where(
    megatron_env: Path, stale: Path
) -> None:
    """The control: the same import with the user's own cache, which the caller's values bring back."""
    extensions = stale / ".cache" / "torch_extensions"
    (torch_directory,) = extensions.iterdir()
    python = environments.python_of(megatron_env)
    start = time.monotonic()
    result = engine.ask(
        "check",
        python,
        imports=["megatron.bridge"],
        timeout=30.0,
        import_environment={"TORCH_EXTENSIONS_DIR": str(torch_directory)},
    )
    assert time.monotonic() - start < 40
    assert result["imports"][0]["cause"] == "timeout"
    assert "file_baton.py" in result["imports"][0]["traceback"].splitlines()[2]


def test_a_check_that_is_killed_half_way_leaves_no_lock(
    megatron_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "TORCH_EXTENSIONS_DIR"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home-of-the-user"
    home.mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    python = environments.python_of(megatron_env)
    slow = tmp_path / "slow"
    # Stops for ever where the lock is held, as a slow compiler would.
    packages.write(
        slow,
        {
            "half_way.py": (
                "import pathlib, time\nimport torch.utils.cpp_extension as c\n"
                "def build(*arguments, **keywords):\n"
                "    assert list(pathlib.Path(c._get_build_directory('x', False)).parents[1].rglob('lock'))\n"
                "    time.sleep(100)\n"
                "c._write_ninja_file_and_build_library = build\nimport megatron.bridge\n"
            )
        },
    )
    result = engine.ask(
        "check", python, imports=["half_way"], timeout=60.0, import_environment={"PYTHONPATH": str(slow)}
    )
    assert result["imports"][0]["cause"] == "timeout", result["imports"]
    assert "half_way.py" in result["imports"][0]["traceback"].splitlines()[2]
    assert list(home.rglob("*")) == []
    assert not [path for path in Path(tmp_path / "tmp").iterdir() if path.name.startswith("primus-imports-")]
