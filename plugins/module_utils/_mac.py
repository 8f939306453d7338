# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The MAC address of a VTEP (spec 2.3, 5.3)."""

from __future__ import annotations

import random
import re

from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError
from ansible_collections.weft.flannel.plugins.module_utils._gojson import quote

_MAC_TEXT = re.compile(r"[0-9a-fA-F]{2}(?:(?::[0-9a-fA-F]{2}){5}|(?:-[0-9a-fA-F]{2}){5})")
_MULTICAST_BIT = 0x01
_LOCAL_BIT = 0x02


def generate_mac(rng: random.Random) -> str:
    """A random unicast, locally administered MAC (IEEE 802), lower case with colons, as leases carry it."""
    octets = [rng.randrange(256) for _position in range(6)]
    octets[0] = octets[0] & ~_MULTICAST_BIT | _LOCAL_BIT
    return ":".join(f"{octet:02x}" for octet in octets)


def parse_mac(text: str) -> str:
    """The MAC of one VTEP, lower case with colons; separators may be colons or hyphens. Raises AddressError.

    A group address or all zeros is refused: as an FDB entry either would draw other peers' frames.
    """
    mac = text.replace("-", ":").lower()
    fault = _find_fault(text, mac)
    if fault:
        example = "write the MAC of the peer's VXLAN device, such as c6:d2:32:6f:8f:44"
        raise AddressError(f"MAC address {quote(text)}", fault, example)
    return mac


def _find_fault(text: str, mac: str) -> str:
    if not _MAC_TEXT.fullmatch(text):
        return "is not six hexadecimal octets"
    if int(mac[:2], 16) & _MULTICAST_BIT:
        return "is a group address"
    return "is all zeros" if mac == "00:00:00:00:00:00" else ""
