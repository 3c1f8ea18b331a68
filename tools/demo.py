# The demonstration behind ./dev demo: the collection's main job on the real Megatron-Bridge, every step checked.
"""Makes .demo in the checkout: an installed collection, an inventory and two local "nodes" with real environments.

The nodes stay afterwards for trying more; ``./dev demo --clean`` removes them, and the environments in the cache.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab import cache, controller, environments, interpreters  # noqa: E402 (needs the line above)

DEMO = ROOT / ".demo"
MODELING_UTILS = "transformers/modeling_utils.py"


def main() -> None:
    """Run the demonstration, or clean up after it."""
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--clean", action="store_true", help="remove what the demonstration made, and do nothing else")
    if parser.parse_args().clean:
        clean()
        return
    sys.stdout.reconfigure(line_buffering=True)  # (in a pipe, too, progress is for now)
    # A build of torch for CUDA that finds nvcc but no GPU cannot tell for which one to compile: `import megatron.core`
    # ends in an IndexError. Nothing is compiled here, so any architecture will do.
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "8.0")
    start = time.monotonic()
    heading("Preparing: two local nodes with real environments, and the collection as a user installs it")
    node, node_5 = prepare()
    before_and_after(node)
    refuse(node_5)
    revert(node)
    heading(f"All steps gave what was expected ({time.monotonic() - start:.0f} s)")
    print("The nodes and the inventory are in .demo; ./dev demo --clean removes them.")


def clean() -> None:
    """Remove .demo and the environments in the cache (the tests build these again when they need them)."""
    for directory in (DEMO, *(cache.root() / kind for kind in ("megatron", "megatron-5"))):
        if directory.exists():
            print(f"removing {directory}")
            shutil.rmtree(directory)
    if (ROOT / ".venv").exists():
        print(f"{ROOT / '.venv'} and what else is in {cache.root()} stay, for the other commands of ./dev")


def prepare() -> tuple[Path, Path]:
    """Make .demo anew; return the environments of the node with Transformers 4.57 and of the one with 5."""
    shutil.rmtree(DEMO, ignore_errors=True)
    node = environments.megatron_copy(DEMO / "node" / "venv", print)
    node_5 = environments.megatron_5(DEMO / "node5" / "venv", print)
    controller.install_artifact(controller.build_artifact(DEMO / "artifact"), DEMO / "collections")
    local = {"ansible_connection": "local", "ansible_python_interpreter": str(interpreters.system())}
    pythons = {"node": environments.python_of(node), "node5": environments.python_of(node_5)}
    hosts = {name: {**local, "megatron_bridge_pythons": [str(path)]} for name, path in pythons.items()}
    (DEMO / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts}}, indent=2))
    (DEMO / "ansible.cfg").write_text(
        "[defaults]\n"
        "inventory = inventory.yml\n"
        "collections_path = collections\n"
        f"callback_plugins = {ROOT}/tests/lab/callback_plugins\n"
    )
    print(f"node:  {pythons['node']}, Transformers {environments.TRANSFORMERS}")
    print(f"node5: {pythons['node5']}, Transformers {environments.TRANSFORMERS_5}")
    return node, node_5


def before_and_after(node: Path) -> None:
    """Show the failing import, the prediction, the change, a second run without one, and the working imports."""
    file = environments.site_packages(node) / MODELING_UTILS
    pristine = file.read_bytes()

    heading("1. Before: code around Megatron-Bridge does not import")
    error = import_in(node, "blip.models.med")
    expect("cannot import name" in error, "`import blip.models.med` fails because names are gone", error)

    heading("2. setup_primus --check --diff: predicts the change, and proves the imports without writing")
    code, (result,) = playbook("setup_primus", "--limit", "node", "--check", "--diff")
    expect(code == 0 and result["changed"], "a change is predicted", result)
    expect(states(result) == [("pending", "apply")], "the patch is pending and would be applied", result)
    expect(
        all(one["ok"] and one["proof"] == "before" for one in result["imports"]) and bool(result["imports"]),
        "every import was really tried, with the patch served from memory, and passes",
        result,
    )
    expect(file.read_bytes() == pristine, "nothing was written", file)

    heading("3. setup_primus: applies the patch")
    code, (result,) = playbook("setup_primus", "--limit", "node")
    expect(code == 0 and result["changed"] and states(result) == [("pending", "apply")], "it was applied", result)

    heading("4. setup_primus again: all ok")
    code, (result,) = playbook("setup_primus", "--limit", "node")
    expect(code == 0 and not result["changed"], "nothing changes", result)
    expect(states(result) == [("applied", "none")], "the patch is there", result)

    heading("5. After: both imports work")
    for module in ("blip.models.med", "megatron.bridge"):
        error = import_in(node, module)
        expect(not error, f"`import {module}` works", error)


def refuse(node_5: Path) -> None:
    """Show that Transformers 5 is refused and left as it was."""
    heading(f"6. Transformers {environments.TRANSFORMERS_5}: refused, as the patch would break its imports")
    code, (result,) = playbook("setup_primus", "--limit", "node5")
    expect(code != 0 and states(result)[0][0] == "unsupported", "the playbook fails, the state is unsupported", result)
    expect(environments.TRANSFORMERS_5 in result["msg"], "the message names the version", result["msg"])
    expect(is_as_recorded(node_5), "the file is still the wheel's", node_5)
    error = import_in(node_5, "megatron.bridge")
    expect(not error, "`import megatron.bridge` still works there", error)


def revert(node: Path) -> None:
    """Show that revert_primus gives back the wheel's bytes."""
    heading("7. revert_primus: the wheel's bytes are back")
    expect(not is_as_recorded(node), "before: the file is not the wheel's", node)
    code, (result,) = playbook("revert_primus", "--limit", "node")
    expect(code == 0 and result["changed"] and states(result) == [("applied", "revert")], "it was reverted", result)
    expect(is_as_recorded(node), "its sha256 is the one in the wheel's RECORD", node)


def playbook(name: str, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Run a playbook of the collection in sight; return its exit code and site_patch's result in each environment."""
    record = DEMO / "results.jsonl"
    record.write_text("")
    words = ["ansible-playbook", f"primus.patches.{name}", *arguments]
    print(f"$ {shlex.join(words)}")
    environment = controller.clean_environment(DEMO / "home", LAB_RECORD=str(record))
    command = [controller.tool(words[0]), *words[1:]]
    code = subprocess.run(command, cwd=DEMO, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    results = [line["result"] for line in lines if line["action"] == "primus.patches.site_patch"]
    items = [item for result in results for item in result.get("environments", [result])]
    if len(items) != 1:
        fail(f"one result of primus.patches.site_patch from {shlex.join(words)}", items)
    return code, items


def import_in(environment: Path, module: str) -> str:
    """Import ``module`` with the interpreter of ``environment``; return the last line of the error, empty if none."""
    command = [str(environments.python_of(environment)), "-B", "-c", f"import {module}"]
    print(f"$ {shlex.join(command)}")
    clean = controller.clean_environment(DEMO / "home")
    done = subprocess.run(command, cwd="/", env=clean, capture_output=True, text=True, errors="replace", check=False)
    lines = done.stderr.strip().splitlines() if done.returncode else []
    return lines[-1] if lines else "" if done.returncode == 0 else f"exit {done.returncode}"


def is_as_recorded(environment: Path) -> bool:
    """Tell whether modeling_utils.py has the sha256 that the wheel's RECORD gives."""
    site_packages = environments.site_packages(environment)
    (record,) = site_packages.glob("transformers-*.dist-info/RECORD")
    with record.open(newline="") as file:
        recorded = {row[0]: row[1] for row in csv.reader(file)}[MODELING_UTILS]
    found = hashlib.sha256((site_packages / MODELING_UTILS).read_bytes()).digest()
    return recorded == "sha256=" + base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def states(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the state and action of each patch of a result."""
    return [(patch["state"], patch["action"]) for patch in result["patches"]]


def expect(holds: bool, what: str, found: object) -> None:  # noqa: FBT001 (reads as a sentence where it is called)
    """Say that ``what`` is so, or end the demonstration with what was found instead."""
    if not holds:
        fail(what, found)
    print(f"  as expected: {what}")


def fail(what: str, found: object) -> NoReturn:
    """End the demonstration, saying what was expected and what was found."""
    text = found if isinstance(found, str) else json.dumps(found, indent=2, default=str)
    sys.exit(f"\nThe demonstration failed.\nexpected: {what}\nfound: {text}")


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n=== {text}")


if __name__ == "__main__":
    main()
