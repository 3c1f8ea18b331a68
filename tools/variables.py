# What ./dev variables runs: the tables of the role's variables, written from its argument_specs.
"""Writes the tables in ``roles/megatron_bridge/README.md`` from ``meta/argument_specs.yml``, their one source."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import yaml

ROLE = Path(__file__).resolve().parent.parent / "roles" / "megatron_bridge"
BEGIN = "<!-- From meta/argument_specs.yml by ./dev variables; change it there. -->\n"
END = "<!-- /variables -->\n"
CODE = re.compile(r"(?<![\w/])(?:megatron_bridge_\w+(?:=\w+)?|primus\.patches\.\w+|/[\w*/.-]*\w)")
LONGEST = 60  # characters of a default; a longer one is for the description to tell
# Heading -> the entry points that have exactly these variables.
TABLES = {
    "For set-up, revert and audit": {"setup", "audit"},
    "For set-up and revert": {"setup"},
    "For the audit": {"audit"},
}


def tables() -> str:
    """Return the tables of all variables, in Markdown."""
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text("utf-8"))["argument_specs"]
    options = {name: option for entry in specs.values() for name, option in entry["options"].items()}
    entries = {name: {entry for entry in specs if name in specs[entry]["options"]} for name in options}
    parts = []
    for heading, wanted in TABLES.items():
        rows = [row(name, options[name]) for name, found in entries.items() if found == wanted]
        parts.append("\n".join([f"{heading}:\n", "| variable | default | meaning |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def row(name: str, option: dict[str, Any]) -> str:
    """Return a variable's row of its table."""
    description = option["description"]
    meaning = CODE.sub(r"`\g<0>`", description if isinstance(description, str) else " ".join(description))
    if "choices" in option and option["type"] == "str":
        meaning = f"{' or '.join(f'`{choice}`' for choice in option['choices'])}. {meaning}"
    return f"| `{name}` | {default(option['default'])} | {meaning} |"


def default(value: Any) -> str:
    """Return a default as the table has it: as YAML can be written, or what to read for it."""
    text = value if isinstance(value, str) else json.dumps(value).replace('"', "")
    if "{{" in text or len(text) > LONGEST:
        return "see there"
    return f"`{text}`" if text else "empty"


def written(page: str) -> str:
    """Return the page with its tables as they are to be."""
    before, begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"expected the lines {BEGIN.strip()} and {END.strip()} in {ROLE / 'README.md'}, found none")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def main() -> None:
    """Write them."""
    argparse.ArgumentParser(prog="./dev variables", description=__doc__).parse_args()
    page = ROLE / "README.md"
    page.write_text(written(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
