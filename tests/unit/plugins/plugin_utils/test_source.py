# What a task's `src` becomes: definitions, as they stand in the files. Real playbooks: tests/integration/test_src.py.
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError
from ansible_collections.primus.patches.plugins.plugin_utils._source import with_definitions
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

PATCH: dict[str, Any] = {
    "name": "acme_limit",
    "package": "acme",
    "versions": ">=2.3,<3",
    "file": "api.py",
    "reason": "A test.",
    "upstream": "none",
    "retire": "Never.",
    "edits": [{"replace": {"before": "LIMIT = 10", "after": "LIMIT = 30"}}],
}
DIFF = "--- a/acme/api.py\n+++ b/acme/api.py\n@@ -1 +1 @@\n-LIMIT = 10\n+LIMIT = {{ 7 }}\n"
# (Not the control characters, which YAML has no place for.)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n{}%#!'\":-\\ "), min_size=1)


def sourced(source: Any, **more: Any) -> list[dict[str, Any]]:
    found = with_definitions({"src": source, "path": "/opt", **more}, str, DataLoader())
    assert set(found) == {"path", "definitions", *more}
    return found["definitions"]


@given(before=TEXT, after=TEXT, kind=st.sampled_from(["yml", "yaml", "json"]))
def test_definitions_in_files_are_what_stands_there(
    tmp_path_factory: pytest.TempPathFactory, before: str, after: str, kind: str
) -> None:
    definition = {**PATCH, "edits": [{"write": {"content": before + after}}, {"file": "b.py", "delete": None}]}
    definition["reason"] = after if after.strip() else "A test."
    path = tmp_path_factory.mktemp("source") / f"patch.{kind}"
    path.write_text(
        json.dumps(definition) if kind == "json" else yaml.safe_dump(definition, allow_unicode=True), encoding="utf-8"
    )
    (found,) = sourced([str(path)])
    assert found == definition
    assert {type(value) for value in found.values()} == {str, list}, "plain: of Ansible's own types none is left"


def test_what_is_encrypted_is_read_by_who_has_the_secret(tmp_path: Path) -> None:
    secret = VaultSecret(b"secret")
    header = "Description: A.\nPackage: acme\nVersions: ==1\n\n"
    for name, text in (("a.patch", header + DIFF), ("b.yml", yaml.safe_dump({**PATCH, "name": "b"}))):
        (tmp_path / name).write_bytes(VaultLib().encrypt(text, secret))
    loader = DataLoader()
    with pytest.raises(DefinitionError, match=r"a.patch: expected a file that can be read: .*(secret|password)"):
        with_definitions({"src": str(tmp_path)}, str, loader)
    loader.set_vault_secrets([("default", secret)])
    found = with_definitions({"src": str(tmp_path)}, str, loader)["definitions"]
    assert [each["name"] for each in found] == ["a", "b"]
    assert "{{ 7 }}" in found[0]["edits"][0]["diff"]
    assert not loader._tempfiles, "nothing that was decrypted is left"


@pytest.mark.parametrize("absent", [None, "", [], "nothing"])
def test_without_a_source_arguments_stay_as_they_are(absent: Any) -> None:
    arguments = {"name": ["a"], **({} if absent == "nothing" else {"src": absent})}
    assert with_definitions(arguments, str, DataLoader()) == {"name": ["a"]}


def test_a_directory_is_its_files_by_name_and_joins_what_is_written_out(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, text in (
        ("c.PATCH", DIFF),
        ("b.diff", DIFF),
        (".hidden.patch", "no patch"),
        ("notes.txt", "no patch"),
        ("below/a.json", json.dumps([PATCH, {**PATCH, "name": "second"}])),
    ):
        (tmp_path / name).write_text(text)
    beside = {"package": "acme", "versions": "*", "reason": "Another one."}
    source = [{"file": str(tmp_path), **beside}, str(tmp_path / "below")]
    found = sourced(source, definitions=[{**PATCH, "name": "own"}])
    assert [each["name"] for each in found] == ["own", "b", "c", "acme_limit", "second"]
    assert [each["reason"] for each in found[1:]] == [*["Another one."] * 2, *["A test."] * 2]
    assert "{{ 7 }}" in found[1]["edits"][0]["diff"]


def test_src_among_the_names_stands_for_all_that_it_brings(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump({**PATCH, "name": name}))
    for asked, names in (
        (["c", "src"], ["c", "a", "b"]),
        ("src,c", ["a", "b", "c"]),
        (["b", "src", "b"], ["b", "a"]),
        (["b"], ["b"]),
    ):
        arguments = {"name": asked, "src": str(tmp_path), "definitions": [{**PATCH, "name": "c"}]}
        assert with_definitions(arguments, str, DataLoader())["name"] == names
    (tmp_path / "src.yml").write_text(yaml.safe_dump({**PATCH, "name": "src"}))
    with pytest.raises(DefinitionError, match=r"src.yml: patch src: name: expected another one: it stands for all"):
        sourced(str(tmp_path))


def test_what_is_said_beside_a_file_wins_over_it(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(yaml.safe_dump(PATCH))
    (tmp_path / "a.patch").write_text(f"Description: A.\nPackage: acme\nVersions: ==1\n\n{DIFF}")
    beside = {"name": "mine", "versions": "==2.5"}
    for name in ("a.yml", "a.patch"):
        (found,) = sourced({"file": str(tmp_path / name), **beside})
        assert {key: found[key] for key in beside} == beside


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([["a"]], r"src: expected a path, or a mapping with one as file, found \['a'\]"),
        ([""], "src: expected a path, or a mapping with one as file, found ''"),
        ([{"file": "{0}/a.yml", "strip": 1}], "a.yml: patch acme_limit: strip: unknown key; known: name, "),
        (
            ["{0}/a.yml", "{0}/a.yml"],
            "a.yml: patch acme_limit: name: a patch of that name exists already, in .*/a.yml;",
        ),
        ([{"file": "{0}/a.yml", "name": "own"}], "a patch of that name exists already, in definitions; give yours"),
        (
            [{"file": "{0}/a.yml", "name": "transformers_modeling_utils"}],
            "exists already, in the catalogue; give yours",
        ),
        (["/dev/null"], "/dev/null: expected a file, or a directory that can be read: Not a directory"),
    ],
)
def test_what_cannot_be_used_is_an_error(tmp_path: Path, source: Any, message: str) -> None:
    (tmp_path / "a.yml").write_text(yaml.safe_dump(PATCH))
    source = json.loads(json.dumps(source).replace("{0}", str(tmp_path)))
    with pytest.raises(DefinitionError, match=message):
        sourced(source, definitions=[{**PATCH, "name": "own"}, "no definition", 5])
