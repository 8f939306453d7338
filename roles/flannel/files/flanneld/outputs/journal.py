# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log: klog's text format on stderr, as upstream writes it (spec 8.7), with priorities for systemd's journal."""

from __future__ import annotations

import logging
import os
import sys
import time

_KLOG = {"DEBUG": "I", "INFO": "I", "WARNING": "W", "ERROR": "E", "CRITICAL": "F"}
_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


class KlogFormatter(logging.Formatter):
    """`I0629 14:28:35.866793    5522 daemon.py:386] message`, one line per record."""

    def __init__(self, prefix_priority: bool) -> None:
        super().__init__()
        self._prefix_priority = prefix_priority

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        stamp = time.strftime("%m%d %H:%M:%S", time.localtime(record.created))
        micros = int(record.created % 1 * 1_000_000)
        head = f"{_KLOG.get(record.levelname, 'I')}{stamp}.{micros:06d} {record.process or 0:7d}"
        line = f"{head} {record.filename}:{record.lineno}] {message}"
        if not self._prefix_priority:
            return line
        priority = f"<{_PRIORITY.get(record.levelname, 6)}>"
        return "\n".join(priority + part for part in line.splitlines())


def set_up_log(verbosity: int) -> None:
    """verbosity: as upstream's -v; above 0 the log tells every change of a peer and of the kernel."""
    handler = logging.StreamHandler(sys.stderr)
    # sd-daemon(3): a line that starts with <N> has that priority in the journal
    handler.setFormatter(KlogFormatter(prefix_priority="JOURNAL_STREAM" in os.environ))
    root = logging.getLogger("flanneld")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.DEBUG if verbosity > 0 else logging.INFO)
