# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for something to become true, without guessing how long it takes."""

from __future__ import annotations

import os
import time
from typing import Callable, TypeVar

# Seconds; generous, so that a loaded machine fails no test. An emulated one needs more.
PATIENCE = float(os.environ.get("WEFT_PATIENCE", "60"))
Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str, timeout: float = PATIENCE) -> Value:
    """Poll until `condition` returns something true, and return that. Raises AssertionError naming `what`."""
    deadline = time.monotonic() + timeout
    while True:
        asked = time.monotonic()
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what} (last: {value!r})"
        # Who asks by a dozen programs leaves the processor to what is waited for, most of the time.
        time.sleep(max(0.05, 3 * (time.monotonic() - asked)))
