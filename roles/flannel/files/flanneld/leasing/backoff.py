# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long to wait before trying again."""

from __future__ import annotations

import random
import threading


class Backoff:
    """Doubles from `first` to `longest` seconds, each wait shortened at random by up to a quarter.

    The jitter keeps hosts that lost the store together from coming back together.
    """

    def __init__(self, first: float = 0.5, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def delay(self) -> float:
        """Seconds to wait now; the following wait is twice as long."""
        current = self._next
        self._next = min(current * 2, self._longest)
        return current * random.uniform(0.75, 1.0)

    def wait(self, stop: threading.Event) -> bool:
        """Wait; True when `stop` ended it."""
        return stop.wait(self.delay())

    def reset(self) -> None:
        self._next = self._first
