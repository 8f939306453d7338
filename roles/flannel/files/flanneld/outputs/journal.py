# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log on stderr: klog's text format, as upstream writes it (spec 8.7), or one JSON object per line.

docs/log-lines.md lists the lines that people search for.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Tuple

from flanneld.outputs.one_line import escape
from flanneld.outputs.report import ErrorReport

_ROOT = "flanneld"
_KLOG = {"DEBUG": "I", "INFO": "I", "WARNING": "W", "ERROR": "E", "CRITICAL": "F"}
_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


class KlogFormatter(logging.Formatter):
    """`I0629 14:28:35.866793    5522 daemon.py:386] message`, one line per record."""

    def __init__(self, prefix_priority: bool) -> None:
        super().__init__()
        self._prefix_priority = prefix_priority

    def format(self, record: logging.LogRecord) -> str:
        message = escape(record.getMessage())
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


class JsonFormatter(logging.Formatter):
    """An object with time (RFC 3339, UTC), level, source (file:line) and message, and error (a traceback) if any."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created, timezone.utc)
        entry = {
            "time": stamp.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "source": f"{record.filename}:{record.lineno}",
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def set_up_log(verbosity: int, log_format: str = "text") -> None:
    """verbosity: as upstream's -v; above 0 the log tells every change of a peer and of the kernel.

    log_format: "text" or "json".
    """
    handler = logging.StreamHandler(sys.stderr)
    # sd-daemon(3): a line that starts with <N> has that priority in the journal; JSON carries its level itself
    text = KlogFormatter(prefix_priority="JOURNAL_STREAM" in os.environ)
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.DEBUG if verbosity > 0 else logging.INFO)


@dataclass(frozen=True)
class _Seen:
    when: float
    count: int


class LastErrors(logging.Handler):
    """Keeps the latest warnings and errors for Report.last_errors; a repeated text is one entry with a count."""

    def __init__(self, capacity: int = 20) -> None:
        super().__init__(logging.WARNING)
        self._capacity = capacity
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        with self._guard:
            before = self._seen.pop(text, _Seen(0.0, 0))
            self._seen[text] = _Seen(time.monotonic(), before.count + 1)
            if len(self._seen) > self._capacity:
                self._seen.popitem(last=False)

    def recent_errors(self) -> Tuple[ErrorReport, ...]:
        """Newest first."""
        now = time.monotonic()
        with self._guard:
            return tuple(
                ErrorReport(now - seen.when, seen.count, text) for text, seen in reversed(self._seen.items())
            )


def remember_errors() -> LastErrors:
    """A LastErrors that hears everything that the agent logs from now on; after set_up_log."""
    errors = LastErrors()
    logging.getLogger(_ROOT).addHandler(errors)
    return errors
