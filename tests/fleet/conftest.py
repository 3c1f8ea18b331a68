# Fixtures of the fleet's tests: nodes on a network of their own, and the controller that is plugged into it.
from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from lab import controller, fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


@pytest.fixture
def start_fleet() -> Iterator[Callable[[Iterable[fleet.Node]], fleet.Fleet]]:
    """Return ``start_fleet(nodes)``: a running fleet; skips with the reason where this machine cannot hold one."""
    with contextlib.ExitStack() as stack:

        def start(nodes: Iterable[fleet.Node]) -> fleet.Fleet:
            reason = fleet.why_not()
            if reason and os.environ.get("CI") != "true":
                pytest.skip(reason)
            return stack.enter_context(fleet.Fleet(nodes, **fleet.seen()))

        yield start


@pytest.fixture
def control(tmp_path: Path, collection: Path) -> Callable[[fleet.Fleet], controller.Controller]:
    """Return ``control(fleet)``: a controller on the fleet's network with the settings that the docs recommend."""

    def make(nodes: fleet.Fleet) -> controller.Controller:
        return controller.Controller(
            tmp_path / "controller", collection, enter=nodes.enter, base=controller.ROOT / "docs" / "ansible.cfg"
        )

    return make
