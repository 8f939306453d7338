# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Permanent neighbours: the ARP and NDP entries of the peers' VTEPs (spec 5.3)."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address

from . import Change, KernelError, Key, Notice
from .bulk import IndexOf, apply_in_bulk
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

NDMSG = struct.Struct("=BxxxiHBB")
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT = 0x80
_NTF_PROXY = 0x08


@dataclass(frozen=True)
class Neighbour:
    """A permanent entry: on this device, this address has this MAC ("c6:d2:32:6f:8f:44")."""

    device: str
    address: Address
    mac: str

    @property
    def key(self) -> Key:
        return (self.device, self.address.packed)

    def __str__(self) -> str:
        return f"{self.address} lladdr {self.mac} dev {self.device}"


class NeighbourTable:
    """Permanent neighbours of our devices. What the kernel learned by itself does not count as existing."""

    name = "neighbour"
    kinds = (Neighbour,)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def dump(self) -> Dict[Key, Neighbour]:
        found: Dict[Key, Neighbour] = {}
        try:
            with RouteSocket() as kernel:
                for family in (socket.AF_INET, socket.AF_INET6):
                    for message in kernel.dump(RTM_GETNEIGH, NDMSG.pack(family, 0, 0, 0, 0)):
                        neighbour = self._parse(message) if _is_permanent(message) else None
                        if neighbour is not None:
                            found[neighbour.key] = neighbour
        except OSError as error:
            raise explain_os_error("neighbours", error) from error
        return found

    def owns(self, thing: Neighbour) -> bool:
        return thing.device in self._scope.devices

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        return apply_in_bulk(self.name, changes, _pack_change, gone=frozenset({errno.ENOENT}))

    def notice(self, message: object) -> Optional[Notice]:
        if not isinstance(message, Message) or message.type not in (RTM_NEWNEIGH, RTM_DELNEIGH):
            return None
        neighbour = self._parse(message)
        if neighbour is None:
            return None
        exists = message.type == RTM_NEWNEIGH and _is_permanent(message)
        return Notice(neighbour.key, neighbour if exists else None)

    def _parse(self, message: Message) -> Optional[Neighbour]:
        """The entry, in any state; None if it is an FDB or proxy entry, or on a device that is not ours."""
        family, index, _state, flags, _kind = NDMSG.unpack_from(message.body)
        if family not in (socket.AF_INET, socket.AF_INET6) or flags & _NTF_PROXY:
            return None
        device = message.name(index)
        if device not in self._scope.devices:
            return None
        attributes = parse_attributes(message.body, NDMSG.size)
        if NDA_DST not in attributes:
            return None
        return Neighbour(device, address_from(attributes[NDA_DST]), mac_from(attributes.get(NDA_LLADDR, b"")))


def _is_permanent(message: Message) -> bool:
    state: int = NDMSG.unpack_from(message.body)[2]
    return bool(state & NUD_PERMANENT)


def _pack_change(change: Change, index_of: IndexOf) -> Message:
    neighbour: Neighbour = change.thing
    family = socket.AF_INET if neighbour.address.version == 4 else socket.AF_INET6
    body = NDMSG.pack(family, index_of(neighbour.device), NUD_PERMANENT, 0, 0) + pack_attribute(
        NDA_DST, neighbour.address.packed
    )
    if change.after is None:
        return Message(RTM_DELNEIGH, 0, body)
    body += pack_attribute(NDA_LLADDR, pack_mac(neighbour.mac))
    return Message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)
