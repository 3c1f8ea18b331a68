# The only tests that use pytest-ansible; without it (not installed, or -p no:pytest-ansible) they are skipped.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lab import interpreters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Its end of life is announced; until then this is the one place that needs it.
pytestmark = [
    pytest.mark.ansible,
    pytest.mark.filterwarnings("ignore:Host management is deprecated", "ignore:AnsibleCollectionFinder has already"),
]


@pytest.fixture
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return pytest-ansible's dispatcher for the local machine."""
    if not request.config.pluginmanager.hasplugin("pytest-ansible"):
        pytest.skip("pytest-ansible is not installed, or switched off")
    # Left alone, Ansible may take a shim of pyenv's that does not run.
    monkeypatch.setenv("ANSIBLE_PYTHON_INTERPRETER", str(interpreters.system()))
    return request.getfixturevalue("localhost")


def test_site_patch_info_names_the_state_of_a_directory(here: Any, tree: Callable[[str], Path]) -> None:
    path = str(tree("4.57.6"))
    (result,) = getattr(here, "primus.patches.site_patch_info")(
        path=path, name=["transformers_modeling_utils"]
    ).values()
    assert not result["changed"]
    assert [(patch["name"], patch["state"]) for patch in result["patches"]] == [
        ("transformers_modeling_utils", "pending")
    ]
