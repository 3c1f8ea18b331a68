# Collecting: what no file leads to any more leaves the store, an hour later and during a write only.
from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from lab.stores import (
    AFTER,
    BEFORE,
    FACT,
    age,
    api,
    back,
    change,
    commit,
    facts,
    install,
    leftovers,
    originals,
    plant,
    store,
)
from module_utils import _commit, _locks, _store, _temporary
from module_utils._edits import Text
from module_utils._store import Store


@pytest.fixture
def site(public: Path) -> Path:
    return install(public / "site")


def test_what_no_file_leads_to_goes_an_hour_later_and_then_the_store_as_well(site: Path) -> None:
    commit(api(site))
    commit(back(api(site)))
    assert len(facts(site)) == 1, "another host may be just before it puts its file there"
    age(site)
    commit(change(site / "acme" / "old.py", Text(b"OLD = 1\n"), Text(b"OLD = 2\n")))
    assert len(facts(site)) == 2, "only the paths that are written are looked at"
    age(site)
    commit(api(site))
    age(site)
    commit(back(api(site)))
    assert [fact.path for fact in Store(str(site)).all()] == ["acme/old.py"]
    assert len(originals(site)) == 1
    commit(back(change(site / "acme" / "old.py", Text(b"OLD = 1\n"), Text(b"OLD = 2\n"))))
    assert not store(site).exists()


def test_a_chain_of_facts_and_what_cannot_be_understood_are_not_collected(site: Path) -> None:
    commit(api(site))
    path = site / "acme" / "api.py"
    commit(change(path, Text(AFTER), Text(AFTER + b"# 2\n")))
    plant(site, b"newer", _store.fact_name("acme/api.py", _store.sha(b"other")))
    age(site)
    commit(change(path, Text(AFTER + b"# 2\n"), Text(AFTER + b"# 3\n")))
    assert len(facts(site)) == 4
    assert Store(str(site)).original(FACT.original) == BEFORE


def test_what_another_fact_tells_of_stays_for_as_long_as_a_proof_is_owed(site: Path) -> None:
    path = site / "acme" / "api.py"
    commit(api(site))
    age(site)
    owed = change(path, Text(AFTER), Text(AFTER + b"# 2\n"))
    owed = owed._replace(original=BEFORE, fact=owed.fact and owed.fact._replace(original=FACT.original, proof="owed"))
    commit(owed)
    commit(back(owed))
    assert path.read_bytes() == AFTER
    assert FACT.written in {fact.written for fact in Store(str(site)).all()}


@pytest.mark.parametrize("which", ["store", "facts"])
def test_what_another_run_collects_meanwhile_is_kept_again(
    site: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    switch = _commit._Work.switch

    def late(work: Any, step: Any) -> bool:
        gone() if which == "facts" else shutil.rmtree(store(site))
        return switch(work, step)

    def gone() -> None:
        for path in facts(site):
            path.unlink()

    monkeypatch.setattr(_commit._Work, "switch", late)
    start = time.monotonic()
    assert _commit.commit([api(site)], backup=False) == {}
    assert time.monotonic() - start < _locks.SECONDS / 2, "its own locks are not waited for"
    assert Store(str(site)).original(FACT.original) == BEFORE
    assert len(facts(site)) == 1


def test_the_next_run_removes_what_a_killed_one_left_in_the_store(site: Path) -> None:
    commit(api(site))
    for directory in (store(site), store(site) / "facts", store(site) / "originals"):
        (directory / _temporary.hidden("x")).touch()
    _commit.sweep(api(site).place)
    assert leftovers(site) == []
