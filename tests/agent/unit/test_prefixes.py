# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PrefixIndex against a plain comparison of everything with everything."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Union

from flanneld.leasing.prefixes import Prefix, PrefixIndex
from hypothesis import given
from hypothesis import strategies as st


def prefix(network: Union[IPv4Network, IPv6Network]) -> Prefix:
    return int(network.network_address), network.prefixlen


@st.composite
def networks(draw: st.DrawFn) -> IPv4Network:
    length = draw(st.integers(8, 32))
    # few bits, so that overlaps are frequent
    address = draw(st.integers(0, 255)) << 24 | draw(st.integers(0, 3)) << 14
    return IPv4Network((address & 0x0AFFFFFF, length), strict=False)


@given(st.lists(networks(), max_size=30), st.data())
def test_overlapping_is_what_a_full_scan_finds(stored: list, data: st.DataObject) -> None:
    index = PrefixIndex(32)
    for number, network in enumerate(stored):
        index.add(prefix(network), str(number))
    removed = (
        data.draw(st.sets(st.integers(0, max(0, len(stored) - 1)), max_size=len(stored))) if stored else set()
    )
    for number in removed:
        index.remove(prefix(stored[number]), str(number))
    probe = data.draw(networks())
    expected = {str(n) for n, network in enumerate(stored) if n not in removed and network.overlaps(probe)}
    assert set(index.overlapping(prefix(probe))) == expected


def test_ipv6() -> None:
    index = PrefixIndex(128)
    index.add(prefix(ip_network("fc00:1::/64")), "a")
    assert list(index.overlapping(prefix(ip_network("fc00::/16")))) == ["a"]
    assert list(index.overlapping(prefix(ip_network("fc00:2::/64")))) == []
