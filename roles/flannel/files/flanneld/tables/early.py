# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that the driver of a network card runs on each frame, before the kernel makes a packet of it: native XDP
(linux/if_link.h). Never the generic one, which comes after the card's joining and is no gain.

A device has one such program or none, and the kernel names it by a number alone. So what is ours is written down before
it is attached, until the next boot, which ends the program, too.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import List, Sequence

from flanneld.udp.early import EarlyProgram, EarlyRecord

from .device import IFINFOMSG
from .offload import read_gro
from .rtnetlink import (
    RTM_GETLINK,
    U32,
    Message,
    RouteSocket,
    index_of,
    pack_attribute,
    parse_attributes,
)

_RTM_SETLINK = 19
_IFLA_XDP, _NESTED = 43, 0x8000
_FD, _ATTACHED, _FLAGS, _NUMBER, _DRIVERS_NUMBER = 1, 2, 3, 4, 5  # IFLA_XDP_*
_BY_DRIVER, _BY_SEVERAL = 1, 4  # XDP_ATTACHED_DRV, XDP_ATTACHED_MULTI
_IF_NONE, _NATIVE = 1, 4  # XDP_FLAGS_UPDATE_IF_NOEXIST, XDP_FLAGS_DRV_MODE
_INT = struct.Struct("=i")
_DEVICES = Path("/sys/class/net")
_VIRTUAL_DRIVERS = frozenset({"virtio_net"})


def find_attached(record: EarlyRecord) -> List[EarlyProgram]:
    """Those of ours that are still where they were attached. Raises OSError."""
    return [one for one in record.recall() if read_program(one.device) == one.number]


def read_program(device: str) -> int:
    """The number of the program that the driver runs; 0: none, or no such device. Raises OSError."""
    try:
        body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, index_of(device), 0, 0)
    except OSError:
        return 0
    with RouteSocket() as kernel:
        return _parse(kernel.ask(RTM_GETLINK, body))


def put_program(device: str, program: int, ours: Sequence[EarlyProgram]) -> None:
    """Have the driver run it, in place of one of ours; no other is touched. program: its descriptor. Raises OSError."""
    mine = read_program(device) in {one.number for one in ours}
    _write(device, program, _NATIVE if mine else _NATIVE | _IF_NONE)


def remove_program(found: EarlyProgram) -> None:
    """What is gone already is none to remove. Raises OSError."""
    if read_program(found.device) == found.number:
        _write(found.device, -1, _NATIVE)


def find_obstacle(device: str) -> str:
    """Why a program in its driver costs more than it saves, in words; "" for a network card of its own, which joins TCP
    packets. Raises OSError."""
    driver = _DEVICES / device / "device" / "driver"
    if not driver.exists():
        return f"{device} is no network card"
    name = driver.resolve().name
    if name in _VIRTUAL_DRIVERS:
        return f"{device} is a virtual network card ({name})"
    return "" if read_gro(device) else f"{device} joins no packets (ethtool -K {device} gro on)"


def _write(device: str, program: int, flags: int) -> None:
    body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, index_of(device), 0, 0)
    wanted = pack_attribute(_FD, _INT.pack(program)) + pack_attribute(_FLAGS, U32.pack(flags))
    with RouteSocket() as kernel:
        message = Message(_RTM_SETLINK, 0, body + pack_attribute(_IFLA_XDP | _NESTED, wanted))
        (refusal,) = kernel.write([message])
    if refusal is not None:
        raise OSError(refusal.errno, refusal.text or f"XDP on {device}: {os.strerror(refusal.errno)}")


def _parse(message: Message) -> int:
    xdp = parse_attributes(parse_attributes(message.body, IFINFOMSG.size).get(_IFLA_XDP, b""), 0)
    how = xdp.get(_ATTACHED, b"\0")[0]
    number = {_BY_DRIVER: _NUMBER, _BY_SEVERAL: _DRIVERS_NUMBER}.get(how)
    return U32.unpack(xdp[number])[0] if number in xdp else 0
