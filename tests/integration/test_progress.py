# The line that tells how far a task is: on a real terminal, with nothing of it left behind, and nowhere else.
from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from lab import controller, engine, environments, interpreters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

NODES = 22
LINE = r"(\d+) of 22 nodes done: (\d+) changed, (\d+) failed; (\d+) left(?:, about \d+ (?:s|min))?"
# A terminal of 80 columns, whose output comes out as this command's own. (What reads it takes returns for newlines.)
TERMINAL = """
import fcntl, os, pty, struct, sys, termios
sized = "import fcntl, os, struct, sys, termios; size = struct.pack('HHHH', 24, 80, 0, 0); " \\
    "fcntl.ioctl(1, termios.TIOCSWINSZ, size); os.execvp(sys.argv[1], sys.argv[1:])"
command = [sys.executable, "-c", sized, *sys.argv[1:]]
status = pty.spawn(command, lambda descriptor: os.read(descriptor, 1024).replace(b"\\r", b"<return>"))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def screen(output: str) -> list[str]:
    """Return the lines that stand on a terminal in the end."""
    lines = [""]
    column = 0
    for part in re.findall(r"\r|\n|\x1b\[K|[^\r\n\x1b]+|\x1b", output):
        if part == "\n":
            lines.append("")
        elif part == "\r":
            column = 0
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        else:
            assert part != "\x1b", "what else would move the cursor?"
            lines[-1] = lines[-1][:column] + part + lines[-1][column + len(part) :]
            column += len(part)
    return lines


@pytest.fixture
def fleet(venv: Callable[..., Path]) -> dict[str, Any]:
    """Return an inventory of many hosts, of which one needs the patch and one has no such interpreter."""
    done, todo = venv(), venv()
    for environment in (done, todo):
        engine.thing(environments.site_packages(environment))
    engine.ask("patch", environments.python_of(done), definitions=[engine.PATCH])
    hosts: dict[str, Any] = {f"n{number:02d}": {} for number in range(1, NODES + 1)}
    hosts["n01"] = {"python": str(environments.python_of(todo))}
    hosts["n02"] = {"python": "/nowhere/bin/python"}
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": str(interpreters.system()),
        "python": str(environments.python_of(done)),
    }
    return {"all": {"hosts": hosts, "vars": variables}}


def run(tmp_path: Path, collection: Path, fleet: dict[str, Any], *, terminal: bool, **environment: str) -> str:
    """Return what ansible-playbook printed."""
    wrap = [sys.executable, "-c", TERMINAL] if terminal else []
    where = controller.Controller(tmp_path / f"{terminal:d}", collection, lambda _at, command: [*wrap, *command])
    task = {"primus.patches.site_patch": {"definitions": [engine.PATCH], "python": "{{ python }}"}}
    play = {"hosts": "all", "gather_facts": False, "tasks": [task, {"ansible.builtin.debug": {"msg": "behind it"}}]}
    environment = {"TERM": "xterm", "CI": "", "ANSIBLE_VERBOSITY": "0", "ANSIBLE_FORKS": "4", **environment}
    settings = {"callbacks_enabled": "primus.patches.fleet_summary", "deprecation_warnings": "false"}
    done = where.playbook([play], "--check", inventory=fleet, environment=environment, settings=settings)
    assert done.rc == 2, done
    return done.stdout.replace("<return>", "\r").replace(str(where.directory), "(here)")


def test_a_terminal_shows_a_line_and_keeps_nothing_of_it(
    tmp_path: Path, collection: Path, fleet: dict[str, Any]
) -> None:
    output = run(tmp_path, collection, fleet, terminal=True)
    told = [tuple(map(int, match)) for match in re.findall(LINE, output)]
    assert told[0] == (0, 0, 0, NODES)
    assert [each[0] for each in told] == list(range(NODES))
    assert all(done + left == NODES for done, _changed, _failed, left in told)
    assert told[-1][1] + told[-1][2] >= 1  # (of the two odd nodes, one may be the last)
    shown = screen(output)
    assert not re.search("nodes done", "\n".join(shown))
    without = run(tmp_path, collection, fleet, terminal=False)
    assert sorted(line.rstrip() for line in shown) == sorted(line.rstrip() for line in screen(without))


@pytest.mark.parametrize(
    ("terminal", "environment", "nodes"),
    [
        (True, {"CI": "true"}, NODES),
        (True, {"TERM": "dumb"}, NODES),
        (False, {}, NODES),
        (True, {}, NODES - 2),
    ],
)
def test_where_nobody_watches_nothing_of_it_is_printed(
    tmp_path: Path,
    collection: Path,
    fleet: dict[str, Any],
    terminal: bool,  # noqa: FBT001
    environment: dict[str, str],
    nodes: int,
) -> None:
    fleet["all"]["hosts"] = dict(list(fleet["all"]["hosts"].items())[:nodes])
    output = run(tmp_path, collection, fleet, terminal=terminal, **environment)
    assert "nodes done" not in output
    assert "\x1b" not in output
    assert "n03" in output
