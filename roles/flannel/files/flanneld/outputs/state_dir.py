# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must survive a reboot: the MAC address of each VTEP that this host has had."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, Optional

from flanneld.outputs.files import FileError, write_atomically

log = logging.getLogger(__name__)

_SUFFIX = ".mac"


@dataclass(frozen=True)
class StateDir:
    """path: the directory; it need not exist. Whatever cannot be read in it counts as not there."""

    path: Path

    def recall_mac(self, device: str) -> Optional[str]:
        """The text that was remembered for a device, None when there is none."""
        try:
            return (self.path / f"{device}{_SUFFIX}").read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return None

    def remember_mac(self, device: str, mac: str) -> None:
        """A failure is logged: the next boot then makes a new MAC, and the peers learn it from our lease."""
        try:
            write_atomically(self.path / f"{device}{_SUFFIX}", f"{mac}\n", 0o600)
        except FileError as error:
            log.warning("%s", error)

    def list_devices(self) -> FrozenSet[str]:
        """Names of all devices that were remembered, also under an earlier network config."""
        try:
            return frozenset(entry.name[: -len(_SUFFIX)] for entry in self.path.glob(f"*{_SUFFIX}"))
        except OSError:
            return frozenset()
