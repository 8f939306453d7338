# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upstream's functional test of a backend: a dummy device in each host's subnet, and pings between them."""

from __future__ import annotations

from typing import List

from tests.support.netns import NODAD, Host, Interface, execute
from tests.support.waiting import wait_until


def assert_dummies_ping(one: Host, two: Host) -> None:
    """`dummy0` with $FLANNEL_SUBNET on both hosts, and three pings each way from address to address.

    The same over IPv6 where the hosts have $FLANNEL_IPV6_SUBNET.
    """
    for host in (one, two):
        host.ip("link add dummy0 type dummy")
        host.ip("link set dummy0 up")
        for address in _addresses(host):
            host.ip(f"addr add {address} dev dummy0{NODAD[address.version]}")
    for source, target in ((one, two), (two, one)):
        for own, other in zip(_addresses(source), _addresses(target)):
            _assert_ping(source, own, other)
    for host in (one, two):
        host.ip("link del dummy0")


def _assert_ping(host: Host, own: Interface, other: Interface) -> None:
    def ping(count: int) -> str:
        # Not as the host's own process: that takes an emulated processor a second each time.
        entry = ("nsenter", f"--net=/run/netns/{host.name}")
        options = ("-I", str(own.ip), "-c", str(count), "-i", "0.2", "-W", "2")
        return execute(*entry, "ping", *options, str(other.ip), check=False)

    # Ready means that the host is whole, not that its peers know it already.
    wait_until(lambda: " 1 received" in ping(1), f"{host.name} ({own.ip}) reaches {other.ip}")
    answers = ping(3)
    assert " 3 received" in answers, answers


def _addresses(host: Host) -> List[Interface]:
    over_ipv6 = "FLANNEL_IPV6_SUBNET" in host.subnet_env
    return [host.bridge_address, *([host.bridge_address6] if over_ipv6 else [])]
