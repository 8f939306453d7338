# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may drop forwarded packets in spite of our rules, told from the real rulesets."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Dict, Iterator, List

import pytest
from flanneld.tables.forwarding import find_forward_drops
from flanneld.tables.verdicts import Flow

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
    "connections that stand pass, others do not": [
        "iptables-nft -P FORWARD DROP",
        "iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ],
    "a reject at the end": [
        "iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "iptables-nft -A FORWARD -j REJECT --reject-with icmp-host-prohibited",
    ],
    "a reject at the end, with legacy": [
        "iptables-legacy -A FORWARD -m state --state RELATED,ESTABLISHED -j ACCEPT",
        "iptables-legacy -A FORWARD -j REJECT --reject-with icmp-host-prohibited",
    ],
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
    "connections that stand pass, others do not": ["ip filter FORWARD"],
    "a reject at the end": ["ip filter FORWARD"],
    "a reject at the end, with legacy": ["ip filter FORWARD"],
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


IN, OUT = Flow("flannel.1", ip_network("10.5.0.0/16")), Flow("docker0", ip_network("10.5.0.0/16"))
ZONES = [
    FIREWALLD.replace("reject with icmpx admin-prohibited", "jump zones").replace(
        "add rule", "add chain inet firewalld trusted; add chain inet firewalld zones; add rule", 1
    ),
    "nft add rule inet firewalld trusted oifname nothing accept",
    "nft add rule inet firewalld trusted accept",
    "nft add rule inet firewalld zones iifname flannel.1 goto trusted",
    "nft add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited",
]
"""Our device is in the zone that accepts all, and the bridge in none."""
OUR_FLOWS: Dict[str, List[str]] = {
    "docker and IPv6, in a network without": ["ip6tables-nft -P FORWARD DROP"],
    "docker 28 and IPv6, in a network without": [f"ip6tables-nft {GUARD6}"],
    "legacy and IPv6, in a network without": ["ip6tables-legacy -P FORWARD DROP"],
    "a table that accepts the network": [
        TABLE,
        "nft add rule inet t c ip saddr 10.4.0.0/15 ip daddr { 10.5.0.0/16, 192.0.2.1 } accept",
    ],
    "iptables that accepts the network": [
        "iptables-nft -P FORWARD DROP",
        "iptables-nft -A FORWARD -s 10.5.0.0/16 -m comment --comment x -j ACCEPT",
    ],
    "firewalld with both in a zone that accepts": [
        *ZONES,
        'nft insert rule inet firewalld zones iifname "dock*" goto trusted',
    ],
}
DROPPED: Dict[str, List[str]] = {
    "firewalld with one of them in no zone": ZONES,
    "a table that accepts a part of the network": [
        TABLE,
        "nft add rule inet t c ip saddr 10.5.3.0/24 accept",
    ],
    "a table that accepts others": [TABLE, "nft add rule inet t c ip saddr != 10.5.0.0/16 accept"],
    "a table that accepts one port": [TABLE, "nft add rule inet t c iifname flannel.1 tcp dport 80 accept"],
    "a drop of our device": [
        "nft add table ip t",
        "nft add chain ip t c '{ type filter hook forward priority 0; }'",
        "nft add rule ip t c iifname flannel.1 drop",
    ],
}


@pytest.mark.parametrize("what", OUR_FLOWS)
def test_what_lets_our_packets_through_is_not_named(what: str) -> None:
    for command in OUR_FLOWS[what]:
        sh(command)
    assert find_forward_drops((IN, OUT)) == ()


@pytest.mark.parametrize("what", DROPPED)
def test_what_drops_our_packets_is_named(what: str) -> None:
    for command in DROPPED[what]:
        sh(command)
    assert len(find_forward_drops((IN, OUT))) == 1


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
    assert find_forward_drops(nft="no-nft", legacy={"ip": "no-iptables-save"}) == ()
