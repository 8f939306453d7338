# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends a play with what it cost: tasks per host, and seconds, as one row of a table in Markdown."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any, Dict, List

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: tally
type: aggregate
short_description: What a play cost
description:
  - Tasks per host, skipped ones included, and seconds. TALLY_LABEL names the row.
"""

# What works on the controller alone; every other task, and every item of its loop, is a Python started on the host.
ON_CONTROLLER = {
    "assert",
    "debug",
    "fail",
    "import_tasks",
    "include_role",
    "include_tasks",
    "meta",
    "set_fact",
}


class CallbackModule(CallbackBase):
    """Counts results by host; a skipped task has been looked at and counts."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "tally"

    def __init__(self) -> None:
        super().__init__()
        self._start = time.monotonic()
        self._tasks: Counter[str] = Counter()
        self._on_host: Counter[str] = Counter()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._count(result, self._items(result))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._count(result, self._items(result))

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._count(result, [])

    def v2_playbook_on_stats(self, stats: Any) -> None:
        seconds = time.monotonic() - self._start
        label = os.environ.get("TALLY_LABEL", "play")
        self._display.display(
            f"| {label} | {len(self._tasks)} | {seconds:.0f} s | {self._spread(self._tasks)}"
            f" | {self._spread(self._on_host)} |"
        )

    def _items(self, result: Any) -> List[Dict[str, Any]]:
        items: List[Dict[str, Any]] = result._result.get("results", []) if result._task.loop else [{}]
        return [item for item in items if not item.get("skipped")]

    def _count(self, result: Any, items: List[Dict[str, Any]]) -> None:
        name = result._host.get_name()
        self._tasks[name] += 1
        if result._task.action.rpartition(".")[2] not in ON_CONTROLLER:
            self._on_host[name] += len(items)

    @staticmethod
    def _spread(counts: Counter[str]) -> str:
        """Of most hosts, and of the one with the most, which has etcd."""
        ordered = sorted(counts.values())
        return f"{ordered[len(ordered) // 2]}; {ordered[-1]}" if ordered else "0"
