# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a device leaves checksums to the network card: what `ethtool -K DEVICE tx on|off` sets (linux/ethtool.h).

A VXLAN device has one such feature, tx-checksum-ip-generic. Cards that get the checksums of encapsulated packets wrong
need it off (spec 10-B, 8.8).
"""

from __future__ import annotations

import fcntl
import socket
import struct
from array import array

_SIOCETHTOOL = 0x8946
_GET_TX_CHECKSUM, _SET_TX_CHECKSUM = 0x16, 0x17  # ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM
_IFREQ = struct.Struct("@16sP16x")  # struct ifreq with a pointer in its union


def read_tx_checksum(name: str) -> bool:
    """True if checksums are left to the card. Raises OSError (ENODEV)."""
    return bool(_call(name, _GET_TX_CHECKSUM, 0))


def set_tx_checksum(name: str, on: bool) -> None:
    """Leave checksums to the card, or make the kernel compute them. Raises OSError."""
    _call(name, _SET_TX_CHECKSUM, int(on))


def _call(name: str, command: int, value: int) -> int:
    argument = array("I", (command, value))  # struct ethtool_value
    request = _IFREQ.pack(name.encode(), argument.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as kernel:
        fcntl.ioctl(kernel, _SIOCETHTOOL, request)
    return argument[1]
