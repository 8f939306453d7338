# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a device leaves to the network card or does for it: what `ethtool -K DEVICE tx|tso|gro on|off` sets
(linux/ethtool.h). All functions raise OSError, ENODEV for a device that has gone.

tx: checksums. A VXLAN device has one such feature, tx-checksum-ip-generic. Cards that get the checksums of
encapsulated packets wrong need it off (spec 10-B, 8.8). tso: TCP in larger pieces, which the card cuts up. gro: TCP
packets that follow upon each other arrive as a larger one.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from array import array

_SIOCETHTOOL = 0x8946
_GET_TX_CHECKSUM, _SET_TX_CHECKSUM = 0x16, 0x17  # ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM
_GET_TSO, _SET_TSO, _GET_GRO, _SET_GRO = 0x1E, 0x1F, 0x2B, 0x2C  # ETHTOOL_GTSO and so on
_IFREQ = struct.Struct("@16sP16x")  # struct ifreq with a pointer in its union


def read_tx_checksum(name: str) -> bool:
    """True if checksums are left to the card."""
    return bool(_call(name, _GET_TX_CHECKSUM, 0))


def set_tx_checksum(name: str, on: bool) -> None:
    """Leave checksums to the card, or make the kernel compute them."""
    _call(name, _SET_TX_CHECKSUM, int(on))


def read_tso(name: str) -> bool:
    """True if the device takes larger pieces of TCP."""
    return bool(_call(name, _GET_TSO, 0))


def set_tso(name: str, on: bool) -> None:
    """Hand it larger pieces, or single packets only."""
    _call(name, _SET_TSO, int(on))


def read_gro(name: str) -> bool:
    """True if TCP packets that arrive are joined."""
    return bool(_call(name, _GET_GRO, 0))


def set_gro(name: str, on: bool) -> None:
    """Join TCP packets that arrive, or not."""
    _call(name, _SET_GRO, int(on))


def _call(name: str, command: int, value: int) -> int:
    argument = array("I", (command, value))  # struct ethtool_value
    request = _IFREQ.pack(name.encode(), argument.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as kernel:
        fcntl.ioctl(kernel, _SIOCETHTOOL, request)
    return argument[1]
