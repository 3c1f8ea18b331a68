# What site_patch takes from the role's variables, and the errors where they are wrong.
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError
from ansible_collections.primus.patches.plugins.plugin_utils import _role

DEFAULTS: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[4] / "roles" / "megatron_bridge" / "defaults" / "main.yml").read_text()
)
ONE, TWO = "/opt/one/bin/python", "/opt/two/bin/python"


def options(**variables: Any) -> list[dict[str, Any]]:
    given = {f"megatron_bridge_{name}": value for name, value in variables.items()}
    return _role.options({**DEFAULTS, **given}, lambda value: value)


@pytest.mark.parametrize(
    ("given", "places"),
    [
        pytest.param({}, [("", "")], id="none: Ansible's own interpreter"),
        pytest.param({"pythons": ""}, [("", "")], id="nor an empty text"),
        pytest.param({"pythons": [ONE, TWO], "paths": ["/site"]}, [(ONE, ""), (TWO, ""), ("", "/site")], id="several"),
        pytest.param({"pythons": ONE}, [(ONE, "")], id="a text is a list of one"),
        pytest.param({"pythons": "/opt/a,b/bin/python"}, [("/opt/a,b/bin/python", "")], id="whatever is in it"),
        pytest.param({"pythons": [[ONE], TWO]}, [(ONE, ""), (TWO, "")], id="lists in a list"),
        pytest.param({"paths": ["~/site", "$HOME/x"]}, [("", "~/site"), ("", "$HOME/x")], id="of the node's home"),
    ],
)
def test_each_environment_is_named_by_one_of_two_options(given: dict[str, Any], places: list[tuple[str, str]]) -> None:
    assert [(each["python"], each["path"]) for each in options(**given)] == places


def test_imports_are_for_interpreters_and_for_what_is_to_be_there() -> None:
    imports = DEFAULTS["megatron_bridge_imports"]
    assert [each["validate"] for each in options(pythons=[ONE], paths=["/site"])] == [imports, []]
    assert options(pythons=[ONE], state="absent")[0]["validate"] == []


@pytest.mark.parametrize(
    ("patches", "files", "names"),
    [
        (["one"], [], ["one"]),
        (["one"], ["patches/"], ["one", "src"]),
        ("one", ["patches/"], ["one", "src"]),
        ("one,two", ["patches/"], ["one", "two", "src"]),
        ([["one"], "two"], ["patches/"], ["one", "two", "src"]),
        ([], ["patches/"], []),
    ],
)
def test_patches_of_files_are_used_besides_those_that_are_named(patches: Any, files: list[str], names: Any) -> None:
    (found,) = options(patches=patches, patch_files=files)
    assert (found["name"], found["src"]) == (names, files)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"state": "gone"}, "value of megatron_bridge_state must be one of: present, absent, got: gone"),
        ({"timeout": "long"}, "argument 'megatron_bridge_timeout' is of type str"),
        ({"pythons": [ONE, None]}, "megatron_bridge_pythons: expected paths, found an empty one"),
        ({"paths": [""]}, "megatron_bridge_paths: expected paths, found an empty one"),
        ({"shared": [1]}, "argument 'megatron_bridge_shared' is of type list"),
    ],
)
def test_a_wrong_value_is_told_with_the_name_of_its_variable(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        options(**given)
    assert expected in str(caught.value)
