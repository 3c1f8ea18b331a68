# Writes every task result as one JSON line to the file that LAB_RECORD names; the stdout callback stays the real one.
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: lab_record
type: notification
short_description: Records task results for the tests
description: Writes every task result as one JSON line to the file named by E(LAB_RECORD).
"""


class CallbackModule(CallbackBase):
    """Sees what any callback sees: results of tasks with C(no_log) come censored."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "lab_record"
    # Found in callback_plugins it is loaded as it is; enabled by name as well, it would be loaded a second time.
    CALLBACK_NEEDS_ENABLED = False

    def _record(self, status: str, result: Any) -> None:
        line = {
            "play": getattr(self, "_play", ""),
            "task": result.task.get_name(),
            "action": result.task.action,
            "host": result.host.get_name(),
            "status": status,
            "result": result.result,
        }
        with Path(os.environ["LAB_RECORD"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play.get_name()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record("changed" if result.result.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002 (Ansible's signature)
        self._record("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record("unreachable", result)
