# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host a container is on: the longest prefix of the peers' subnets that an address lies in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Dict, Mapping, Optional, Tuple

_MOST_REMEMBERED = 1 << 14  # addresses: who scans the network does not fill the memory


class PeerMap:
    """Never changed, but replaced whole: the thread that forwards needs no lock.

    Costs the same for one peer as for thousands. peers: the public address by the subnet.
    """

    def __init__(self, peers: Mapping[IPv4Network, IPv4Address]) -> None:
        self.peers: Mapping[IPv4Network, IPv4Address] = dict(peers)
        tables: Dict[int, Dict[int, str]] = {}
        for subnet, public in self.peers.items():
            table = tables.setdefault(32 - subnet.prefixlen, {})
            table[int(subnet.network_address) >> 32 - subnet.prefixlen] = str(public)
        self._tables: Tuple[Tuple[int, Dict[int, str]], ...] = tuple(sorted(tables.items()))
        self._remembered: Dict[bytes, Optional[str]] = {}

    def find(self, address: bytes) -> Optional[str]:
        """The public address of the peer that has this address (4 bytes), None when no peer has."""
        try:
            return self._remembered[address]
        except KeyError:
            found = self._look_up(int.from_bytes(address, "big"))
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[address] = found
        return found

    def _look_up(self, address: int) -> Optional[str]:
        for host_bits, table in self._tables:  # the longest prefixes first
            public = table.get(address >> host_bits)
            if public is not None:
                return public
        return None
