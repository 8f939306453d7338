# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One flannel network on this host, and every name it owns.

No other code builds a path, a device name or a chain name. The instance `default` has upstream's names, so that a
host can move between the two daemons in place; every other instance carries its own name as a suffix.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV6, Family

DEFAULT = "default"


@dataclass(frozen=True)
class Instance:
    """name: `default`, or a short word of lower-case letters and digits."""

    name: str = DEFAULT

    @property
    def _suffix(self) -> str:
        return "" if self.name == DEFAULT else f"-{self.name}"

    @property
    def state_dir(self) -> str:
        """What must survive a reboot: MAC addresses, later keys and identity."""
        return f"/var/lib/flanneld{self._suffix}"

    @property
    def subnet_file(self) -> str:
        """The env file that Docker and CNI read (spec 3.1)."""
        return f"/run/flannel{self._suffix}/subnet.env"

    def vxlan_device(self, vni: int, family: Family) -> str:
        """Device name of a VTEP (spec 5.3): flannel.1, flannel-v6.1."""
        base = "flannel-v6" if family is IPV6 else "flannel"
        return f"{base}.{vni}{self._suffix}"

    @property
    def masquerade_chain(self) -> str:
        return f"FLANNEL-POSTRTG{self._suffix.upper()}"

    @property
    def forward_chain(self) -> str:
        return f"FLANNEL-FWD{self._suffix.upper()}"
