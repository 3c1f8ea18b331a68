# README.md: its blocks are pasted into one shell, in a fresh home, and print what it shows; its tables are true.
from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from lab import cache, checkout, controller, cores, environments, interpreters, pages, wheels
from lab.controller import ROOT
from lab.run import run
from module_utils._catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
ADDRESS = "https://github.com/primus-patches/primus.patches.git"
FAILED = "trap 'echo \"<exit $?>\"' ERR\n"
REQUIREMENT = f"transformers=={environments.TRANSFORMERS}"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory to paste in, beside a fresh home, /opt/venv with one file edited by hand, and a repository."""
    top = tmp_path_factory.mktemp("readme")
    for name in ("bin", "home", "here"):
        (top / name).mkdir()
    (top / "bin" / "python3").symlink_to(interpreters.own())
    checkout.copy(top / "repository")
    git = ("git", "-C", top / "repository", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=no")
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "All")):
        run(*git, *words)
    site = environments.site_packages(environments.bare(interpreters.usual(), top / "venv"))
    trainer = wheels.whole_tree(environments.TRANSFORMERS, site) / "transformers" / "trainer.py"
    logger = b"\nlogger = logging.get_logger(__name__)\n"
    assert trainer.read_bytes().count(logger) == 1
    trainer.write_bytes(trainer.read_bytes().replace(logger, logger[:-1] + b"  # quick fix\n"))
    return top / "here"


def paste(here: Path, script: str) -> str:
    """Run a script as somebody would who has nothing but Python, git and a package index; return what they see.

    Stand-ins: the collection's address leads to the checkout, pip keeps what it downloads and compiles nothing, and
    /opt/venv is elsewhere.
    """
    top = here.parent
    pip = Path.home() / ".config" / "pip" / "pip.conf"
    environment = {
        **controller.clean_environment(top / "home"),
        "PATH": f"{top / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PIP_CACHE_DIR": str(cache.root() / "pip"),
        "PIP_NO_COMPILE": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{top / 'repository'}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
        "NO_COLOR": "1",
        "COLUMNS": "80",
        **({"PIP_CONFIG_FILE": str(pip)} if pip.exists() else {}),
    }
    del environment["ANSIBLE_HOME"]  # (what follows from HOME, follows from it)
    script = script.replace("/opt/venv", str(top / "venv")).replace("/usr/bin/python3", str(interpreters.system()))
    done = pages.bash(FAILED + script, here, environment)
    return pages.shown(done.stdout, top / "venv").replace(str(top / "home"), "~")


def told(printed: str) -> str:
    """Return it without the notes about exit statuses."""
    return re.sub(r"^<exit \d+>\n", "", printed, flags=re.MULTILINE)


def exits(printed: str) -> list[int]:
    """Return the exit statuses other than 0."""
    return [int(found) for found in re.findall(r"^<exit (\d+)>$", printed, re.MULTILINE)]


@pytest.fixture(scope="module")
def printed(machine: Path) -> list[str]:
    """Return what each block for a shell printed, all pasted one after the other into one shell."""
    scripts = [text for language, text in BLOCKS if language == "shell"]
    parts = paste(machine, "echo '<next>'\n".join(scripts)).split("<next>\n")
    assert len(parts) == len(scripts), parts
    return parts


def shown(block: str) -> str:
    """Return a pattern of what a block shows as printed: its comments that begin a line; ``...`` stands for some."""
    lines = re.findall(r"^# (.*\n)", block, re.MULTILINE)
    assert lines
    return "".join("(.*\n)+" if line == "...\n" else re.escape(line) for line in lines)


def block(language: str, word: str) -> str:
    """Return the one block of that language that has a word."""
    (found,) = [text for kind, text in BLOCKS if kind == language and word in text]
    return str(found)


@pytest.mark.slow
@pytest.mark.xdist_group("readme")
class TestPasted:
    def test_one_file_audits_a_machine_and_changes_nothing(self, printed: list[str]) -> None:
        look = printed[0]
        assert re.search(rf"\n{shown(block('shell', 'verify'))}\Z", told(look)), look
        assert exits(look) == [1]

    def test_the_collection_is_installed(self, printed: list[str]) -> None:
        assert "primus.patches:" in printed[1]
        assert "was installed successfully" in printed[1]
        assert exits(printed[1]) == []

    def test_the_quick_start_prints_what_is_shown(self, printed: list[str]) -> None:
        quick, script = printed[2], block("shell", "inventory.yml")
        audit = re.split(r"PRIMUS PATCHES \*+\n", told(quick))[1].partition("\nPLAY ")[0]
        assert re.fullmatch(shown(script), audit), quick
        wanted = re.findall(r" # (\w+): ([\w ]*\w)(?: \(.*\))?$", script, re.MULTILINE)
        rows = re.findall(r"^FOUND +ACTION +NODES\n(\w+) +(.*?) +1  gpu001$", quick, re.MULTILINE)
        assert rows == wanted, quick
        assert len(wanted) == script.count("\nansible-playbook ") == 6
        assert exits(quick) == [2], "the first audit alone"

    def test_the_dockerfile_patches_and_prints_what_is_shown(self, machine: Path, printed: list[str]) -> None:
        dockerfile = block("dockerfile", "FROM")
        install, apply = re.findall(r"^RUN (.*)$", dockerfile, re.MULTILINE)
        # The image's Python is that of the quick start, where the same was installed.
        assert install == f"pip install {REQUIREMENT}"
        assert REQUIREMENT in block("shell", "inventory.yml")
        assert "COPY primus-patches.pyz /opt/\n" in dockerfile
        command = apply.replace("/opt/primus-patches.pyz", "primus.patches/dist/primus-patches.pyz")
        seen = paste(machine, f"PATH=~/primus-try/venv/bin:$PATH\n{command}\n")
        seen = seen.replace("~/primus-try/venv/bin/python3", "/usr/local/bin/python3")
        assert re.fullmatch(shown(dockerfile), seen), (seen, printed)

    def test_what_was_made_goes_by_the_lines_that_say_so(self, machine: Path, printed: list[str]) -> None:
        commands = re.findall(r"`(rm -r [^`]+)`", README)
        home = machine.parent / "home"
        collections = home / ".ansible" / "collections" / "ansible_collections"
        assert (collections / "primus" / "patches" / "MANIFEST.json").exists(), printed
        assert paste(machine, "\n".join(commands)) == ""
        assert not any(path.exists() for path in (home / "primus", home / "primus-try", collections / "primus"))


def row(name: str) -> str:
    """Return the text of a row of the table of what it is tested with."""
    (found,) = re.findall(rf"^\| {name} \| (.*) \|$", README, re.MULTILINE)
    return str(found)


def test_what_it_is_tested_with_is_what_the_tests_run() -> None:
    listed = [
        f"{core} on {'Python ' * (not number)}{pythons[0]}"
        for number, (core, pythons) in enumerate(cores.SUPPORTED.items())
    ]
    assert row("ansible-core") == ", ".join(listed)
    first, last = interpreters.PROMISED[0], interpreters.PROMISED[-1]
    assert row("environments").startswith(f"Python {first} to {last}; ")
    numbers = [int(version.partition(".")[2]) for version in interpreters.PROMISED]
    assert numbers == list(range(numbers[0], numbers[-1] + 1)), "a range leaves none out"
    versions = dict(each.split("==") for each in ("torch==2.13.0", REQUIREMENT, *environments.WITHOUT_DEPENDENCIES))
    imported = row("real imports").lower().replace(" ", "")
    for name, version in versions.items():
        assert f"{name}{version}" in imported
    assert environments.TRANSFORMERS_5 in row("real imports")


def test_what_is_in_the_box_is_what_is_in_the_box() -> None:
    box = README.partition("## What is in the box")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", box))
    names = {path.stem for kind in ("modules", "callback") for path in (ROOT / "plugins" / kind).glob("*.py")}
    names |= {path.stem for path in (ROOT / "plugins" / "filter").glob("*.yml")}
    names |= {path.stem for path in (ROOT / "plugins" / "lookup").glob("*.py")} - {"checked_hosts"}  # (the playbooks')
    names |= {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    names |= {path.name for path in (ROOT / "roles").iterdir()}
    assert named == names


def test_the_number_of_patches_is_that_of_the_catalogue() -> None:
    (number,) = re.findall(r"\[(\w+) patches\]\(docs/CATALOGUE\.md\)", README)
    assert {"six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}[number] == len(CATALOGUE)


def test_every_file_and_every_command_of_dev_that_is_named_exists() -> None:
    for name in re.findall(r"`(tests/[\w./]+)`|\]\((?!http)([^)#]+)", README):
        assert (ROOT / (name[0] or name[1])).exists(), name
    commands = re.findall(r'^    "([\w-]+)": \w+,$', (ROOT / "dev").read_text(), re.MULTILINE)
    for command in re.findall(r"(?:\./|primus\.patches/)dev (\w[\w-]*)", README):
        assert command in commands, command


@pytest.mark.ansible
def test_the_plays_and_tasks_of_the_page_about_operating_can_be_read(playbook: Callable[..., controller.Run]) -> None:
    page = (ROOT / "docs" / "OPERATING.md").read_text()
    role, tasks = (yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    for plays in (role, [{"hosts": "all", "gather_facts": False, "tasks": tasks}]):
        playbook(plays, "--syntax-check").exits(0)
    specs = yaml.safe_load((ROOT / "roles/megatron_bridge/meta/argument_specs.yml").read_text())["argument_specs"]
    known = {name for entry in specs.values() for name in entry["options"]} | {"megatron_bridge_"}
    assert set(re.findall(r"megatron_bridge_\w*", page)) <= known
    for name in re.findall(r"ansible-playbook .*?primus\.patches\.(\w+)", page):
        assert (ROOT / "playbooks" / f"{name}.yml").exists(), name


def test_the_inventory_is_one_and_sets_variables_of_the_role() -> None:
    (inventory,) = re.findall(r"<<'END'\n(.*?)^END$", README, re.MULTILINE | re.DOTALL)
    specs = yaml.safe_load((ROOT / "roles/megatron_bridge/meta/argument_specs.yml").read_text())["argument_specs"]
    variables = yaml.safe_load(inventory)["gpu_nodes"]["vars"]
    assert variables.keys() - {"ansible_python_interpreter"} <= specs["setup"]["options"].keys()


def test_the_tables_of_the_roles_readme_are_those_of_its_argument_specs() -> None:
    page = (ROOT / "roles" / "megatron_bridge" / "README.md").read_text()
    spec = importlib.util.spec_from_file_location("tools_variables", ROOT / "tools" / "variables.py")
    assert spec
    assert spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert page == tool.written(page), "run ./dev variables"
    specs = yaml.safe_load((ROOT / "roles/megatron_bridge/meta/argument_specs.yml").read_text())["argument_specs"]
    rows = re.findall(r"^\| `(megatron_bridge_\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted({name for entry in specs.values() for name in entry["options"]}), "each has one row"


def test_the_picture_is_small_and_once_in_the_artifact() -> None:
    pictures = [name for name in checkout.names() if name.endswith(".png")]
    assert pictures == ["docs/images/report.png"]
    assert (ROOT / pictures[0]).stat().st_size < 150_000
