# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling systemd how we are (sd_notify(3)), when it started us."""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)


def notify(*assignments: str) -> None:
    """Send assignments such as `READY=1` or `STATUS=...`; nothing happens outside a unit of Type=notify."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    try:
        from systemd import daemon
    except ImportError:
        log.error(
            "systemd waits for us, but python3-systemd is missing: install it, or use Type=exec in the unit"
        )
        return
    daemon.notify("\n".join(assignments))
