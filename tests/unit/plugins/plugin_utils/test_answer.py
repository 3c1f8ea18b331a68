# What a node may answer: the description agrees with the report's schema and with what the modules' documentation says.
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ansible_collections.primus.patches.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.primus.patches.plugins.modules import import_check, site_patch, site_patch_info
from ansible_collections.primus.patches.plugins.plugin_utils._answer import (
    LONGEST_TEXT,
    MOST,
    Odd,
    answered,
    received,
    visible,
)
from ansible_collections.primus.patches.plugins.plugin_utils._asked import left_out
from ansible_collections.primus.patches.tests.lab.observations import edit, file, held, imported, patch, process, result
from ansible_collections.primus.patches.tests.lab.schema import SCHEMA as REPORT
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = REPORT["$defs"]
WHOLE = result(
    patch(
        others=[{"path": "/a", "version": "1", "where": "sys.path"}],
        files=[{**file("/a.py"), "backup_file": "/a.bak"}],
        integrity="pristine",
    ),
    imports=[imported()],
    processes={"candidates": [process(1)], "unreadable": 0},
    integrity=[held(edit(), reason="not all was looked at: an example")],
    msg="fine",
    changed=True,
    backup_file="/a.bak",
)
_VARIANT = SCHEMA["undeclared"]["properties"]["files"]["items"]["properties"]["variants"]["items"]["properties"]
_OF_EDIT = ("sha256", "size", "note", "lines_added", "lines_removed")
EDIT = {"properties": {key: _VARIANT[key] for key in _OF_EDIT}, "required": [*_OF_EDIT, "owner", "time"]}
INSIDE = {  # where in an answer it stands -> where in the schema
    ("patches", 0): SCHEMA["patch"],
    ("patches", 0, "files", 0): SCHEMA["file"],
    ("patches", 0, "files", 0, "file"): SCHEMA["file"]["properties"]["file"]["oneOf"][1],
    ("patches", 0, "files", 0, "bytecode", 0): SCHEMA["file"]["properties"]["bytecode"]["oneOf"][1]["items"],
    ("patches", 0, "others", 0): SCHEMA["patch"]["properties"]["others"]["oneOf"][1]["items"],
    ("imports", 0): SCHEMA["import"],
    ("integrity", 0): SCHEMA["held"],
    ("integrity", 0, "counts"): SCHEMA["held"]["properties"]["counts"],
    ("integrity", 0, "found", 0): EDIT,
    ("processes", "candidates", 0): SCHEMA["environment"]["properties"]["processes"]["oneOf"][1]["properties"][
        "candidates"
    ]["items"],
}
SAMPLES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 2**53 + 1, "", "text", [], ["text"], [1], {}, {"a": 1}),
    *("a" * 40, "a" * 64, "A" * 64, "a" * 41),
)


def with_value(where: tuple[Any, ...], value: Any) -> Any:
    answer = json.loads(json.dumps(WHOLE))
    inside = answer
    for key in where[:-1]:
        inside = inside[key]
    inside[where[-1]] = value
    return answer


def fits(answer: Any) -> bool:
    try:
        answered(answer)
    except Odd:
        return False
    return True


def test_what_the_modules_answer_goes_through_as_it_is() -> None:
    assert answered(WHOLE) == WHOLE
    assert received(WHOLE) == WHOLE


@pytest.mark.parametrize(
    ("where", "key"),
    [(where, key) for where, schema in INSIDE.items() for key in schema["properties"] if key != "predicted"],
)
def test_the_description_agrees_with_the_schema_of_the_report(where: tuple[Any, ...], key: str) -> None:
    schema = INSIDE[where]["properties"][key]
    valid = jsonschema.Draft202012Validator({**schema, "$defs": SCHEMA}).is_valid
    words = SCHEMA["state"]["enum"] if "$ref" in schema else schema.get("enum", ())
    for value in (*words, *SAMPLES):
        described = fits(with_value((*where, key), value))
        assert valid(value) or not described, value
        # (What is too large, or has no name, would be a report, but is no answer; and so is an action of null.)
        assert described or not valid(value) or value in (2**53 + 1, "", None), value


NEEDED = [  # (of what a report keeps of its own, a node says nothing)
    (where, key) for where, schema in INSIDE.items() for key in schema["required"] if key not in ("predicted", "since")
]


@pytest.mark.parametrize(("where", "key"), [each for each in NEEDED if "integrity" in each[0] or each[0][-1] == "file"])
def test_what_a_report_must_have_of_a_file_or_a_distribution_a_node_must_tell(where: tuple[Any, ...], key: str) -> None:
    answer = json.loads(json.dumps(WHOLE))
    inside = answer
    for each in where:
        inside = inside[each]
    del inside[key]
    with pytest.raises(Odd, match=rf"expected the key {key}, found \d+ entries"):
        answered(answer)
    told = received({"environments": [answer, result(patch())]})["environments"]
    assert [each.get("failed", False) for each in told] == [True, False], "it is the failure of that environment alone"


@pytest.mark.parametrize("module", [site_patch, site_patch_info, import_check])
def test_all_that_the_modules_are_documented_to_return_is_described(module: Any) -> None:
    documented = yaml.safe_load(Path(module.__file__).with_suffix(".yml").read_text())["RETURN"]
    assert set(documented) - {"environments"} <= set(answered(WHOLE))
    for name in ("patches", "imports", "integrity"):
        keys = set((documented.get(name) or {}).get("contains", ()))
        assert keys <= set(answered(WHOLE)[name][0]) | {"traceback"}


def test_what_may_have_its_way_on_the_controller_is_left_out() -> None:
    keys = ("ansible_facts", "ansible_stats", "add_host", "add_group", "results", "ansible_job_id", "_ansible_notify")
    assert answered({**WHOLE, **{key: {"a": 1} for key in keys}, "skipped": True, "unreachable": True}) == WHOLE


def test_an_odd_environment_hides_none_of_the_others() -> None:
    odd = result(patch(state="fine"), environment={"python": "/a", "path": None})
    found = received({"environments": [odd, result(patch())], "patches": 5})
    assert [each.get("failed", False) for each in found["environments"]] == [True, False]
    assert found["environments"][0]["environment"] == {"python": "/a", "path": None}
    assert [each["name"] for each in found["patches"]] == [patch()["name"]]


def test_texts_are_cut_and_lists_are_not() -> None:
    assert len(answered({"msg": "m" * 10**6})["msg"]) == LONGEST_TEXT
    most = [imported(f"m{number}") for number in range(MOST)]
    assert len(answered({"imports": most})["imports"]) == MOST
    with pytest.raises(Odd, match=r"imports: expected a list of at most 1,000 entries, found 1,001 entries\."):
        answered({"imports": [*most, imported()]})


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b\r\u202e\u2066\u2028\ud800\n\t")))
def test_what_is_visible_stays_so_and_is_in_every_encoding(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert visible(shown) == shown
    assert not set(shown) & {"\x1b", "\x9b", "\r", "\0", "\x07", "\u202e", "\u2066", "\u2028"}


NAME = patch()["name"]
MISSING = [{"name": NAME, "state": "missing", "action": "none"}]
SKIPPED = [{"name": NAME, "state": "missing", "action": "skip"}]
PENDING = [{"name": NAME, "state": "pending", "action": "apply"}]
JSON = [imported("json")]


@pytest.mark.parametrize(
    ("module", "arguments", "answer", "expected"),
    [
        ("site_patch", {"name": NAME}, {"patches": PENDING}, []),
        ("site_patch", {"name": [NAME]}, {"patches": []}, [f"patch {NAME}"]),
        ("site_patch", {"name": f"{NAME},b"}, {"patches": PENDING}, ["patch b"]),
        ("site_patch", {"name": NAME}, {}, [f"patch {NAME}"]),
        ("site_patch", {"name": NAME}, {"failed": True}, []),
        ("site_patch", {"definitions": [{"name": "a"}]}, {"patches": PENDING}, ["patch a"]),
        ("site_patch", {"name": "", "definitions": '{"name": "a"}'}, {"patches": PENDING}, ["patch a"]),
        ("site_patch", {"name": NAME, "validate": ["json"]}, {"patches": PENDING}, ["import json"]),
        ("site_patch", {"name": NAME, "validate": ["json"]}, {"patches": SKIPPED}, []),
        ("site_patch", {"name": NAME, "validate": ["json"]}, {"environments": [{"patches": MISSING}]}, []),
        (
            "site_patch",
            {"name": NAME, "validate": ["json"]},
            {"environments": [{"patches": PENDING}, {"failed": True}]},
            ["import json"],
        ),
        ("site_patch", {"name": NAME, "validate": "json", "verify": "never"}, {"patches": PENDING}, []),
        ("site_patch", {"name": NAME, "validate": "json", "verify": "changed"}, {"patches": PENDING}, []),
        (
            "site_patch",
            {"name": NAME, "validate": "json", "verify": "changed"},
            {"patches": PENDING, "changed": True},
            ["import json"],
        ),
        ("site_patch_info", {}, {"patches": []}, [f"patch {each['name']}" for each in CATALOGUE]),
        ("site_patch_info", {"name": NAME, "imports": ["json"]}, {"patches": PENDING, "imports": JSON}, []),
        ("site_patch_info", {"name": NAME, "imports": ["json"]}, {"patches": PENDING}, ["import json"]),
        ("site_patch_info", {"name": NAME, "imports": ["json"]}, {"environments": [{"patches": MISSING}]}, []),
        ("site_patch_info", {"name": NAME, "imports": ["json"]}, {"patches": SKIPPED}, []),
        ("site_patch_info", {}, {"environments": []}, ["environments"]),
        (
            "site_patch_info",
            {"name": NAME},
            {"environments": [{"patches": PENDING}, {"patches": []}]},
            [f"patch {NAME}"],
        ),
        ("site_patch_info", {"name": NAME}, {"environments": [{"patches": PENDING}, {"failed": True}]}, []),
        ("site_patch_info", {"roots": ["/home"]}, {"environments": [{"patches": []}]}, []),
        ("site_patch_info", {"name": NAME, "integrity": ["all"]}, {"patches": PENDING}, ["integrity"]),
        ("site_patch_info", {"name": NAME, "integrity": ["all"]}, {"patches": PENDING, "integrity": []}, []),
        ("site_patch_info", {"name": NAME, "integrity": []}, {"patches": PENDING}, []),
        ("site_patch_info", {"roots": ["/home"]}, {"patches": PENDING}, ["environments"]),
        ("import_check", {"imports": "json"}, {"patches": [], "imports": JSON}, []),
        ("import_check", {"imports": ["json", "csv"]}, {"imports": JSON}, ["import csv"]),
        ("import_check", {"imports": "json", "preview": NAME}, {"imports": JSON}, [f"patch {NAME}"]),
    ],
)
def test_what_was_asked_has_to_be_in_the_answer(
    module: str, arguments: dict[str, Any], answer: dict[str, Any], expected: list[str]
) -> None:
    assert left_out(module, arguments, answer) == expected


def test_the_physical_copy_is_a_name() -> None:
    assert answered(result(patch(copy_id="a")))["patches"][0]["copy_id"] == "a"
