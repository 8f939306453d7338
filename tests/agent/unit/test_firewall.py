# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall chains, rule by rule (spec 6.1)."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family
from flanneld.firewall import forward_chain, masquerade_chain
from flanneld.tables.iptables import canonical_rule

MASQ = '-m comment --comment "flanneld masq"'
FORWARD = '-m comment --comment "flanneld forward"'
FAMILIES = [
    (IPV4, "10.5.0.0/16", "10.5.34.0/24", "224.0.0.0/4"),
    (IPV6, "fd05::/48", "fd05:0:0:22::/64", "ff00::/8"),
]


@pytest.mark.parametrize(("random_fully", "option"), [(True, " --random-fully"), (False, "")])
@pytest.mark.parametrize(("family", "network", "subnet", "multicast"), FAMILIES)
def test_masquerade(
    family: Family, network: str, subnet: str, multicast: str, random_fully: bool, option: str
) -> None:
    chain = masquerade_chain(family, ip_network(network), ip_network(subnet), random_fully, "FLANNEL-POSTRTG")
    assert chain.rules == (
        f"-m mark --mark 0x4000/0x4000 {MASQ} -j RETURN",
        f"-s {subnet} -d {network} {MASQ} -j RETURN",
        f"-s {network} -d {subnet} {MASQ} -j RETURN",
        f"! -s {network} -d {subnet} {MASQ} -j RETURN",
        f"-s {network} ! -d {multicast} {MASQ} -j MASQUERADE{option}",
        f"! -s {network} -d {network} {MASQ} -j MASQUERADE{option}",
    )
    assert (chain.table, chain.parent, chain.jump) == ("nat", "POSTROUTING", f"{MASQ} -j FLANNEL-POSTRTG")


@pytest.mark.parametrize(("family", "network", "subnet", "multicast"), FAMILIES)
def test_forward(family: Family, network: str, subnet: str, multicast: str) -> None:
    chain = forward_chain(family, ip_network(network), "FLANNEL-FWD")
    assert chain.rules == (f"-s {network} {FORWARD} -j ACCEPT", f"-d {network} {FORWARD} -j ACCEPT")
    assert (chain.table, chain.parent, chain.jump) == ("filter", "FORWARD", f"{FORWARD} -j FLANNEL-FWD")


def test_the_name_is_that_of_the_instance() -> None:
    chain = forward_chain(IPV4, ip_network("10.5.0.0/16"), "FLANNEL-FWD-BLUE")
    assert chain.name == "FLANNEL-FWD-BLUE"
    assert chain.jump.endswith(" -j FLANNEL-FWD-BLUE")


@pytest.mark.parametrize(
    ("printed", "rule"),
    [
        ("-j ACCEPT", "-j ACCEPT"),
        ("-m comment --comment flanneld -j ACCEPT", "-m comment --comment flanneld -j ACCEPT"),
        ('-m comment --comment "flanneld" -j ACCEPT', "-m comment --comment flanneld -j ACCEPT"),
        ('-m comment --comment "flanneld masq" -j X', '-m comment --comment "flanneld masq" -j X'),
        ("! -s fd05::/48 -m mark --mark 0x4000/0x4000", "! -s fd05::/48 -m mark --mark 0x4000/0x4000"),
    ],
)
def test_quotes_are_where_they_are_needed(printed: str, rule: str) -> None:
    assert canonical_rule(printed) == rule


@pytest.mark.parametrize("text", ['a "quoted" word', "a \\ backslash", "a $dollar", "a 'single' one"])
def test_comments_of_others_survive_being_moved(text: str) -> None:
    """Rules of others are given back to iptables-restore when their jump to us is deleted."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    once = canonical_rule(f"-m comment --comment {quoted} -j X")
    assert canonical_rule(once) == once
    assert f"--comment {quoted} -j X" in once
