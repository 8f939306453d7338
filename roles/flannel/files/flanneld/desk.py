# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where other threads ask how the agent is. Its loop answers: that an answer comes shows that the loop is alive."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Callable, Optional

from flanneld.outputs.report import Report

_SECONDS = 5.0


@dataclass(frozen=True)
class ReportWanted:
    """Somebody waits for a report."""

    reply: queue.SimpleQueue[Report]


class Desk:
    """starting: the answer until the loop runs; it is given what the start waits for, "" if nothing.

    After close() the answer is the last report.
    """

    def __init__(self, inbox: queue.SimpleQueue[object], starting: Callable[[str], Report]) -> None:
        self._inbox = inbox
        self._starting: Optional[Callable[[str], Report]] = starting
        self._waiting_for = ""

    def tell_waiting(self, what: str) -> None:
        """what: what the start waits for, and why; "" when it does not any more."""
        self._waiting_for = what

    def open(self) -> None:
        """From now on the loop answers."""
        self._starting = None

    def close(self, last: Report) -> None:
        """The loop does not answer any more."""
        self._starting = lambda waiting_for: last

    def ask(self) -> Optional[Report]:
        """The report; None when the loop does not answer in time. From any thread."""
        starting = self._starting
        if starting is not None:
            return starting(self._waiting_for)
        reply: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._inbox.put(ReportWanted(reply))
        try:
            return reply.get(timeout=_SECONDS)
        except queue.Empty:
            return None
