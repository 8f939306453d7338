# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling systemd how we are (sd_notify(3)), when it started us.

The protocol is one datagram of assignments to the socket that NOTIFY_SOCKET names, stable by systemd's promise. We
send it ourselves: libsystemd's sd_notify() waits while the socket is full, and its Python binding lets no other
thread run meanwhile, so that a busy systemd would stop leases and data path.

Called from the agent's main thread only.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Dict, Optional

log = logging.getLogger(__name__)

_LONGEST_VALUE = 1000  # bytes; systemd drops a datagram of more than 4096 as a whole, READY=1 with it


class Notifier:
    """What systemd has not taken yet is kept, the newest value of each name, and sent with the next call."""

    def __init__(self) -> None:
        self._unsent: Dict[str, str] = {}
        self._last_ping: Optional[float] = None
        self._failure = ""

    def notify(self, *assignments: str) -> None:
        """Send assignments such as `READY=1` or `STATUS=...`, without waiting.

        Outside a unit of Type=notify nothing happens.
        """
        address = os.environ.get("NOTIFY_SOCKET", "")
        if not address:
            return
        for assignment in assignments:
            name, _equals, value = assignment.partition("=")
            self._unsent[name] = _clean(value)
        if self._unsent:
            self._send("\0" + address[1:] if address.startswith("@") else address)

    def ping_watchdog(self) -> Optional[float]:
        """Call it in every round of the loop: tells systemd's watchdog that the loop turns, and sends what is unsent.

        Returns the seconds within which it wants to be called again; None: when it suits.
        """
        period = _find_watchdog_period()
        now = time.monotonic()
        if period is None:
            self.notify()
            return 1.0 if self._unsent else None
        due = now if self._last_ping is None else self._last_ping + period / 2
        if due <= now:
            self._last_ping = due = now
            self.notify("WATCHDOG=1")
            due += period / 2
        else:
            self.notify()
        return min(due - now, 1.0) if self._unsent else due - now

    def _send(self, address: str) -> None:
        text = "\n".join(f"{name}={value}" for name, value in self._unsent.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto(text.encode("utf-8", "replace"), address)
        except BlockingIOError:
            return  # the socket is full: next time
        except OSError as error:
            self._tell_once(f"systemd cannot be told how we are (NOTIFY_SOCKET={address!r}): {error}")
            return
        self._unsent.clear()
        self._failure = ""

    def _tell_once(self, failure: str) -> None:
        if failure != self._failure:
            self._failure = failure
            log.warning("%s", failure)


def _clean(value: str) -> str:
    """One line, and short: texts from etcd reach STATUS=, and a second line would be a second assignment."""
    line = " ".join(value.split())
    return line.encode("utf-8", "replace")[:_LONGEST_VALUE].decode("utf-8", "ignore")


def _find_watchdog_period() -> Optional[float]:
    """Seconds of WatchdogSec= (sd_watchdog_enabled(3)), None without one, or when it is meant for another process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isascii() and text.isdigit() and int(text) > 0 else None


_systemd = Notifier()
notify = _systemd.notify
ping_watchdog = _systemd.ping_watchdog


def notify_reloading() -> None:
    """At SIGHUP, for units of Type=notify-reload; `notify("READY=1")` ends it."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify("RELOADING=1", f"MONOTONIC_USEC={now}")
