# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the agent is told to end, or to begin again."""

from __future__ import annotations

import logging
import queue
import signal
import socket
import threading
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stop:
    """We were told to end."""


class Ending:
    """Why the agent ends. SIGTERM and SIGINT end it; SIGHUP ends it to be started again, with everything read anew.

    A thread takes the signals from Python's wakeup descriptor: the kernel may hand one to any thread, and the main
    thread, waiting, would not hear of it for seconds; nor may a handler take a lock, which an Event and the log have.
    """

    def __init__(self, inbox: queue.SimpleQueue[object]) -> None:
        self._inbox = inbox
        self.stop = threading.Event()
        self.again = False
        self.ended = False
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _let_the_next_kill)
        signal.signal(signal.SIGHUP, _do_nothing)

    def _listen(self) -> None:
        while True:
            for number in self._reader.recv(64):
                self._take(number)

    def _take(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            log.info("shutdownHandler sent cancel signal...")
            self.again, self.ended = False, True
        elif number == signal.SIGHUP and not self.stop.is_set():
            log.info("SIGHUP: reading everything again")
            self.again = True
        else:
            return
        self.stop.set()
        self._inbox.put(Stop())


def _let_the_next_kill(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)


def _do_nothing(number: int, frame: Any) -> None:
    """A signal without a handler would end the process."""
