# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forwarding database of our VXLAN devices: behind which host is which MAC (spec 5.3)."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address

from . import Change, KernelError, Key, Notice
from .bulk import IndexOf, apply_in_bulk
from .neighbour import NDA_DST, NDA_LLADDR, NDMSG, NUD_PERMANENT
from .refusal import explain_os_error
from .rtnetlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    Message,
    RouteSocket,
    address_from,
    mac_from,
    pack_attribute,
    pack_mac,
    parse_attributes,
)
from .scope import Scope

_NTF_SELF = 0x02  # the entry of the device itself, not of a bridge above it
_FLOOD_MAC = "00:00:00:00:00:00"  # the entry for unknown destinations; flannel makes none


@dataclass(frozen=True)
class FdbEntry:
    """A permanent entry: frames to this MAC go to the host with this (underlay) address."""

    device: str
    mac: str
    destination: Address

    @property
    def key(self) -> Key:
        return (self.device, self.mac)

    def __str__(self) -> str:
        return f"{self.mac} dst {self.destination} dev {self.device}"


class FdbTable:
    """Permanent FDB entries of our devices. Learned entries come and go and are none of our business."""

    name = "fdb"
    kinds = (FdbEntry,)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def dump(self) -> Dict[Key, FdbEntry]:
        try:
            with RouteSocket() as kernel:
                # This short header asks for all devices on every kernel (valid_fdb_dump_legacy).
                messages = kernel.dump(RTM_GETNEIGH, NDMSG.pack(socket.AF_BRIDGE, 0, 0, 0, 0))
        except OSError as error:
            raise explain_os_error("FDB entries", error) from error
        parsed = (self._parse(message) for message in messages if _is_permanent(message))
        return {entry.key: entry for entry in parsed if entry is not None}

    def owns(self, thing: FdbEntry) -> bool:
        return thing.device in self._scope.devices

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        return apply_in_bulk(self.name, changes, _pack_change, gone=frozenset({errno.ENOENT}))

    def notice(self, message: object) -> Optional[Notice]:
        if not isinstance(message, Message) or message.type not in (RTM_NEWNEIGH, RTM_DELNEIGH):
            return None
        entry = self._parse(message)
        if entry is None:
            return None
        exists = message.type == RTM_NEWNEIGH and _is_permanent(message)
        return Notice(entry.key, entry if exists else None)

    def _parse(self, message: Message) -> Optional[FdbEntry]:
        """The entry, in any state; None if it is not on a device of ours, or has no destination."""
        family, index, _state, flags, _kind = NDMSG.unpack_from(message.body)
        if family != socket.AF_BRIDGE or not flags & _NTF_SELF:
            return None
        device = message.name(index)
        if device not in self._scope.devices:
            return None
        attributes = parse_attributes(message.body, NDMSG.size)
        if NDA_DST not in attributes or NDA_LLADDR not in attributes:
            return None
        mac = mac_from(attributes[NDA_LLADDR])
        return None if mac == _FLOOD_MAC else FdbEntry(device, mac, address_from(attributes[NDA_DST]))


def _is_permanent(message: Message) -> bool:
    state: int = NDMSG.unpack_from(message.body)[2]
    return bool(state & NUD_PERMANENT)


def _pack_change(change: Change, index_of: IndexOf) -> Message:
    entry: FdbEntry = change.thing
    body = NDMSG.pack(socket.AF_BRIDGE, index_of(entry.device), NUD_PERMANENT, _NTF_SELF, 0)
    body += pack_attribute(NDA_LLADDR, pack_mac(entry.mac))
    if change.after is None:
        return Message(RTM_DELNEIGH, 0, body)
    body += pack_attribute(NDA_DST, entry.destination.packed)
    return Message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)
