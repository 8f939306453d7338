# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host a container is on: the longest prefix of the peers' subnets that an address lies in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Dict, Mapping, Optional, Tuple

_MOST_REMEMBERED = 1 << 14  # addresses: who scans the network does not fill the memory


class PeerMap:
    """Changed by one thread while another finds: every step of a change is one that Python makes whole, so that the
    one that forwards needs no lock.

    To find, and to change one peer, costs the same among one as among thousands.
    """

    def __init__(self, peers: Mapping[IPv4Network, IPv4Address]) -> None:
        self._peers: Dict[IPv4Network, IPv4Address] = {}
        self._tables: Tuple[Tuple[int, Dict[int, str]], ...] = ()
        self._remembered: Dict[bytes, Optional[str]] = {}
        for subnet, public in peers.items():
            self.put(subnet, public)

    @property
    def peers(self) -> Mapping[IPv4Network, IPv4Address]:
        """The public address by the subnet, as it is from now on."""
        return self._peers

    def put(self, subnet: IPv4Network, public: IPv4Address) -> None:
        """A peer that comes, or has another public address now."""
        self._peers[subnet] = public
        bits, number = _place(subnet)
        tables = dict(self._tables)
        if bits in tables:
            tables[bits][number] = str(public)
        else:
            tables[bits] = {number: str(public)}
            self._tables = tuple(sorted(tables.items()))
        self._forget()

    def remove(self, subnet: IPv4Network) -> None:
        """A peer that goes, if there is one."""
        if self._peers.pop(subnet, None) is not None:
            bits, number = _place(subnet)
            del dict(self._tables)[bits][number]
            self._forget()

    def _forget(self) -> None:
        """After a change, and into another dictionary: what is being found right now is remembered in the former."""
        self._remembered = {}

    def find(self, address: bytes) -> Optional[str]:
        """The public address of the peer that has this address (4 bytes), None when no peer has."""
        remembered = self._remembered
        try:
            return remembered[address]
        except KeyError:
            found = self._look_up(int.from_bytes(address, "big"))
        if len(remembered) >= _MOST_REMEMBERED:
            remembered.clear()
        remembered[address] = found
        return found

    def _look_up(self, address: int) -> Optional[str]:
        for host_bits, table in self._tables:  # the longest prefixes first
            public = table.get(address >> host_bits)
            if public is not None:
                return public
        return None


def _place(subnet: IPv4Network) -> Tuple[int, int]:
    """How many bits number its addresses, and the number that all of them begin with."""
    bits = 32 - subnet.prefixlen
    return bits, int(subnet.network_address) >> bits
