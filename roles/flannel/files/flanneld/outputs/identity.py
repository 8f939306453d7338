# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machine this is, and which boot of it."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from pathlib import Path

APPLICATION = uuid.UUID("5b1f3a0e-6f0c-4a52-9d0b-3c8e7a94d216")
"""Makes our hash of a machine-id another one than every other program's (machine-id(5))."""

_MACHINE_ID = re.compile(r"[0-9a-fA-F]{32}")
_BOOT_ID = re.compile(r"[0-9a-fA-F-]{32,36}")


def name_machine(path: Path) -> str:
    """A hash of the machine-id, 32 hex digits; "" for a machine without one, or whose first boot is not over.

    The machine-id itself is confidential: it must leave neither the machine nor its file (machine-id(5)). The hash is
    what `systemd-id128 machine-id --app-specific` prints for our application id.
    """
    text = _read_line(path)
    if not _MACHINE_ID.fullmatch(text):
        return ""
    digest = hmac.new(bytes.fromhex(text), APPLICATION.bytes, hashlib.sha256).digest()
    return uuid.UUID(bytes=digest[:16], version=4).hex


def read_boot_id(path: Path) -> str:
    """The kernel's id of this boot; a random one where the kernel does not tell, so that no other host has the same."""
    text = _read_line(path)
    return text.lower() if _BOOT_ID.fullmatch(text) else str(uuid.uuid4())


def make_id() -> str:
    """A new id for a host: 32 hex digits."""
    return uuid.uuid4().hex


def _read_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
