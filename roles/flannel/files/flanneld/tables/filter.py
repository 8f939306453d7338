# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs on what a device sends and receives: tc filters of the kind bpf below a clsact qdisc (linux/pkt_sched.h,
linux/pkt_cls.h). All functions raise OSError."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import List, Tuple

from .rtnetlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    U32,
    Message,
    RouteSocket,
    index_of,
    name_of,
    pack_attribute,
    parse_attributes,
    text_from,
)

INGRESS, EGRESS, EARLY = "ingress", "egress", "xdp"
"""Where a program runs. EARLY: in the driver of the device (early.py), which has one at most, without a preference."""
_OURS = "flanneld "
_PARENTS = {INGRESS: 0xFFFFFFF2, EGRESS: 0xFFFFFFF3}  # TC_H_CLSACT, TC_H_MIN_INGRESS and _EGRESS
_CLSACT_PARENT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWFILTER, _RTM_DELFILTER, _RTM_GETFILTER = 44, 45, 46
_TCA_KIND, _TCA_OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11  # TCA_BPF_*
_DIRECT_ACTION = 1
_NESTED = 0x8000
_TCMSG = struct.Struct("=B3xiIII")
_ETH_P_IP = 0x0800
_HANDLE = 1
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.EINVAL})


@dataclass(frozen=True)
class Filter:
    """One program that runs on a device. name: what `tc filter show` calls it. preference: the lowest comes first.
    program: its number in the kernel."""

    device: str
    direction: str
    name: str
    preference: int
    program: int


def name_programs(device: str) -> str:
    """What our programs are called that forward for this device of ours."""
    return _OURS + device


def find_programs(device: str) -> List[Filter]:
    """Ours for this device, wherever they are attached."""
    return [one for one in read_filters() if one.name == name_programs(device)]


def find_touched(message: Message) -> str:
    """The device of which a notification says that somebody, maybe ourselves, changed its filters or took away what
    they hang on; "" for one about something else."""
    if message.type not in (_RTM_NEWFILTER, _RTM_DELFILTER, _RTM_DELQDISC):
        return ""
    return name_of(_TCMSG.unpack_from(message.body)[1])


def read_filters() -> List[Filter]:
    """Those of the kind bpf on all devices."""
    found: List[Filter] = []
    with RouteSocket() as kernel:
        for index in _find_clsact(kernel):
            for direction, parent in _PARENTS.items():
                messages = _dump_filters(kernel, index, parent)
                found += [one for message in messages for one in _parse(message, direction)]
    return found


def put_filter(device: str, direction: str, name: str, preference: int, program: int) -> None:
    """Have a program run there, in place of one of that preference, without a packet in between that meets neither.
    program: its descriptor."""
    index = index_of(device)
    options = (
        pack_attribute(_BPF_FD, U32.pack(program))
        + pack_attribute(_BPF_NAME, name.encode() + b"\0")
        + pack_attribute(_BPF_FLAGS, U32.pack(_DIRECT_ACTION))
    )
    body = _TCMSG.pack(socket.AF_UNSPEC, index, _HANDLE, _PARENTS[direction], _pack_info(preference))
    body += pack_attribute(_TCA_KIND, b"bpf\0") + pack_attribute(_TCA_OPTIONS | _NESTED, options)
    clsact = _TCMSG.pack(socket.AF_UNSPEC, index, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
    clsact += pack_attribute(_TCA_KIND, b"clsact\0")
    with RouteSocket() as kernel:
        made, attached = kernel.write(
            [
                Message(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, clsact),
                Message(_RTM_NEWFILTER, NLM_F_CREATE | NLM_F_REPLACE, body),
            ]
        )
    if attached is not None:
        first = attached if made is None or made.errno == errno.EEXIST else made
        raise OSError(first.errno, first.text or f"tc filter on {device}")


def remove_filter(found: Filter) -> None:
    """And the qdisc, when nobody has anything below it any more. What is gone already is none to remove."""
    try:
        index = index_of(found.device)
    except OSError:
        return
    kind = pack_attribute(_TCA_KIND, b"bpf\0")
    info = _pack_info(found.preference)
    body = _TCMSG.pack(socket.AF_UNSPEC, index, _HANDLE, _PARENTS[found.direction], info) + kind
    with RouteSocket() as kernel:
        (refusal,) = kernel.write([Message(_RTM_DELFILTER, 0, body)])
        if refusal is not None and refusal.errno not in _GONE:
            raise OSError(refusal.errno, refusal.text or f"tc filter on {found.device}")
        try:
            used = any(_dump_filters(kernel, index, parent) for parent in _PARENTS.values())
        except OSError:  # without a qdisc there are no filters to ask for
            return
        if not used:
            clsact = _TCMSG.pack(socket.AF_UNSPEC, index, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
            kernel.write([Message(_RTM_DELQDISC, 0, clsact)])


def _dump_filters(kernel: RouteSocket, index: int, parent: int) -> List[Message]:
    return kernel.dump(_RTM_GETFILTER, _TCMSG.pack(socket.AF_UNSPEC, index, 0, parent, 0))


def _find_clsact(kernel: RouteSocket) -> Tuple[int, ...]:
    """Indexes of the devices that have one."""
    messages = kernel.dump(_RTM_GETQDISC, _TCMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
    return tuple(
        _TCMSG.unpack_from(message.body)[1]
        for message in messages
        if text_from(parse_attributes(message.body, _TCMSG.size).get(_TCA_KIND, b"")) == "clsact"
    )


def _parse(message: Message, direction: str) -> List[Filter]:
    """None or one: a chain of filters has an entry without a filter, too."""
    _family, index, _handle, _parent, info = _TCMSG.unpack_from(message.body)
    attributes = parse_attributes(message.body, _TCMSG.size)
    options = parse_attributes(attributes.get(_TCA_OPTIONS, b""), 0)
    if text_from(attributes.get(_TCA_KIND, b"")) != "bpf" or _BPF_ID not in options:
        return []
    name = text_from(options.get(_BPF_NAME, b""))
    return [Filter(name_of(index), direction, name, info >> 16, U32.unpack(options[_BPF_ID])[0])]


def _pack_info(preference: int) -> int:
    return preference << 16 | socket.htons(_ETH_P_IP)
