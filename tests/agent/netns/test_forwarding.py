# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may drop forwarded packets in spite of our rules, told from the real rulesets."""

from __future__ import annotations

from typing import Dict, Iterator, List

import pytest
from flanneld.tables.forwarding import find_forward_drops

from tests.support.kernel import fresh_namespace, sh


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with fresh_namespace():
        yield


def chains() -> List[str]:
    return [f"{drop.family} {drop.chain}" for drop in find_forward_drops()]


FIREWALLD = (
    "nft 'add table inet firewalld; add chain inet firewalld filter_FORWARD "
    "{ type filter hook forward priority filter + 10; policy accept; }; "
    "add rule inet firewalld filter_FORWARD ct state established,related accept; "
    "add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited'"
)
TABLE = "nft 'add table inet t; add chain inet t c { type filter hook forward priority 0; policy drop; }'"
GUARD = "-t raw -A PREROUTING -d 10.5.1.2/32 ! -i docker0 -j DROP"
GUARD6 = "-t raw -A PREROUTING -d fd05:0:0:1::2/128 ! -i docker0 -j DROP"
SITUATIONS: Dict[str, List[str]] = {
    "nothing": [],
    "docker": ["iptables-nft -P FORWARD DROP"],
    "docker and IPv6": ["iptables-nft -P FORWARD DROP", "ip6tables-nft -P FORWARD DROP"],
    "docker with legacy": ["iptables-legacy -P FORWARD DROP"],
    "docker 28": [f"iptables-nft {GUARD}", f"ip6tables-nft {GUARD6}"],
    "docker 28 with legacy": [f"iptables-legacy {GUARD}"],
    "a raw table of the operator": [
        "iptables-nft -t raw -A PREROUTING -d 203.0.113.9/32 -j DROP",
        "iptables-nft -t raw -A PREROUTING -d 10.5.1.2/32 ! -i docker0 -j ACCEPT",
        "iptables-legacy -t raw -A PREROUTING -s 203.0.113.9/32 ! -i eth0 -j DROP",
    ],
    "firewalld": [FIREWALLD],
    "a table of the operator": [TABLE],
    "one that accepts": [TABLE, "nft add rule inet t c counter accept"],
    "a drop for some": [
        "nft add table ip t",
        "nft add chain ip t c '{ type filter hook forward priority 0; }'",
        "nft add rule ip t c ip saddr 203.0.113.0/24 drop",
    ],
    "docker, and we are before": [
        "iptables-nft -P FORWARD DROP",
        "iptables-nft -N FLANNEL-FWD",
        "iptables-nft -A FORWARD -m comment --comment x -j FLANNEL-FWD",
    ],
    "docker, and we are behind": [
        "iptables-nft -P FORWARD DROP",
        "iptables-nft -N FLANNEL-FWD",
        "iptables-nft -A FORWARD -o docker0 -j DROP",
        "iptables-nft -A FORWARD -j FLANNEL-FWD",
    ],
    "legacy, and we are before": [
        "iptables-legacy -P FORWARD DROP",
        "iptables-legacy -N FLANNEL-FWD",
        "iptables-legacy -A FORWARD -j FLANNEL-FWD",
    ],
}
FOUND: Dict[str, List[str]] = {
    "docker": ["ip filter FORWARD"],
    "docker and IPv6": ["ip filter FORWARD", "ip6 filter FORWARD"],
    "docker with legacy": ["ip filter FORWARD"],
    "docker 28": ["ip raw PREROUTING", "ip6 raw PREROUTING"],
    "docker 28 with legacy": ["ip raw PREROUTING"],
    "firewalld": ["inet firewalld filter_FORWARD"],
    "a table of the operator": ["inet t c"],
    "docker, and we are behind": ["ip filter FORWARD"],
}


@pytest.mark.parametrize("what", SITUATIONS)
def test_what_may_drop_is_named(what: str) -> None:
    for command in SITUATIONS[what]:
        sh(command)
    assert chains() == FOUND.get(what, [])


def test_each_says_what_to_do() -> None:
    for command in (FIREWALLD, TABLE, "iptables-nft -P FORWARD DROP"):
        sh(command)
    lines = sorted(map(str, find_forward_drops()))
    assert "firewall-cmd --permanent --zone=trusted" in lines[0]
    assert lines[1] == (
        "firewall chain inet t c: its policy is drop; accept the flannel network there as source and as destination"
    )
    assert "--iptables-forward-rules" in lines[2]


def test_a_host_without_the_programs_has_none() -> None:
    sh("iptables-nft -P FORWARD DROP")
    assert find_forward_drops("no-nft", {"ip": "no-iptables-save"}) == ()
