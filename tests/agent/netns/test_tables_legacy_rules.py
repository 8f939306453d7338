# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of flannel v0.9 to v0.14 (spec 6.6): found by exact match and removed; others' rules never."""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import ip_address, ip_network
from typing import Dict, Iterator, List, Mapping

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    AddressPool,
    Family,
)
from flanneld.tables import Change, Key
from flanneld.tables.iptables import Programs
from flanneld.tables.legacy_rules import LegacyRule, LegacyRuleTable
from flanneld.tables.scope import Scope

from tests.support.firewall import programs_of
from tests.support.kernel import fresh_namespace, sh

NETWORKS: Mapping[Family, str] = {IPV4: "10.5.0.0/16", IPV6: "fd05::/48"}
SUBNETS: Mapping[Family, str] = {IPV4: "10.5.34.0/24", IPV6: "fd05:0:0:22::/64"}
MULTICAST: Mapping[Family, str] = {IPV4: "224.0.0.0/4", IPV6: "ff00::/8"}
SCOPE = Scope(
    frozenset(),
    "eth0",
    (
        AddressPool(ip_network(NETWORKS[IPV4]), 24, ip_address("10.5.1.0"), ip_address("10.5.255.0")),
        AddressPool(
            ip_network(NETWORKS[IPV6]), 64, ip_address("fd05:0:0:1::"), ip_address("fd05:0:0:ffff::")
        ),
    ),
    former=(ip_network("10.4.0.0/16"),),
)


def masquerade_rules(version: str, network: str, subnet: str, multicast: str) -> List[str]:
    """What upstream appends to POSTROUTING, in its order."""
    random = " --random-fully" if version == "v0.14" else ""
    return [
        f"-s {network} -d {network} -j RETURN",
        f"-s {network} ! -d {multicast} -j MASQUERADE{random}",
        f"! -s {network} -d {subnet} -j RETURN",
        f"! -s {network} -d {network} -j MASQUERADE{random}",
    ]


def forward_rules(network: str) -> List[str]:
    return [f"-s {network} -j ACCEPT", f"-d {network} -j ACCEPT"]


class Host:
    """iptables of one variant, in a namespace of its own."""

    def __init__(self, variant: str) -> None:
        self.programs: Mapping[Family, Programs] = programs_of(variant)
        self.table = LegacyRuleTable(SCOPE, FAMILIES, self.programs)

    def append(self, family: Family, table: str, chain: str, *rules: str) -> None:
        for rule in rules:
            sh(f"{self.programs[family].iptables} -w -t {table} -A {chain} {rule}")

    def rules(self, family: Family, table: str, chain: str) -> List[str]:
        lines = sh(f"{self.programs[family].iptables} -w -t {table} -S {chain}")
        return [line.replace(f"-A {chain} ", "") for line in lines if line.startswith("-A")]

    def remove_all(self) -> Dict[Key, LegacyRule]:
        found = self.table.dump()
        assert self.table.apply([Change(key, rule, None) for key, rule in found.items()]) == {}
        assert self.table.dump() == {}
        return found


@pytest.fixture(params=["nft", "legacy"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with fresh_namespace():
        variant = str(request.param)
        usable = shutil.which(f"iptables-{variant}") and not subprocess.call(
            [f"ip6tables-{variant}", "-t", "nat", "-S"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if not usable:
            pytest.skip(f"this kernel or host has no iptables-{variant}")
        yield Host(variant)


@pytest.mark.parametrize("version", ["v0.9.1", "v0.14"])
@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_a_host_that_comes_from_an_old_version(host: Host, family: Family, version: str) -> None:
    host.append(family, "nat", "POSTROUTING", "-o lo -j ACCEPT")
    rules = masquerade_rules(version, NETWORKS[family], SUBNETS[family], MULTICAST[family])
    host.append(family, "nat", "POSTROUTING", *rules)
    host.append(family, "filter", "FORWARD", "-i docker0 -j ACCEPT", *forward_rules(NETWORKS[family]))
    assert len(host.remove_all()) == 6
    assert host.rules(family, "nat", "POSTROUTING") == ["-o lo -j ACCEPT"]
    assert host.rules(family, "filter", "FORWARD") == ["-i docker0 -j ACCEPT"]


def test_rules_of_both_versions_and_copies_all_go(host: Host) -> None:
    """v0.14 leaves those rules of v0.9 that it has in another form."""
    for version in ("v0.9.1", "v0.14", "v0.14"):
        rules = masquerade_rules(version, NETWORKS[IPV4], SUBNETS[IPV4], MULTICAST[IPV4])
        host.append(IPV4, "nat", "POSTROUTING", *rules)
    host.append(IPV4, "filter", "FORWARD", *forward_rules(NETWORKS[IPV4]), *forward_rules(NETWORKS[IPV4]))
    host.remove_all()
    assert host.rules(IPV4, "nat", "POSTROUTING") == host.rules(IPV4, "filter", "FORWARD") == []


def test_rules_of_a_network_that_this_host_left_go(host: Host) -> None:
    host.append(
        IPV4, "nat", "POSTROUTING", *masquerade_rules("v0.14", "10.4.0.0/16", "10.4.7.0/24", "224.0.0.0/4")
    )
    host.remove_all()
    assert host.rules(IPV4, "nat", "POSTROUTING") == []


OTHERS = [
    *masquerade_rules("v0.14", "10.6.0.0/16", "10.6.1.0/24", "224.0.0.0/4"),
    "-s 10.5.34.0/24 ! -o docker0 -j MASQUERADE",
    "-s 10.5.0.0/16 -d 192.168.0.0/16 -j RETURN",
    "-s 10.5.0.0/16 -j MASQUERADE",
    "! -s 10.5.0.0/16 -d 10.5.34.0/25 -j RETURN",
    "! -s 10.5.0.0/16 -d 203.0.113.0/24 -j RETURN",
    "! -s 10.5.0.0/16 -d 10.5.34.0/24 -o eth0 -j RETURN",
    "-s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment mine -j RETURN",
]


def test_rules_of_others_stay(host: Host) -> None:
    host.append(IPV4, "nat", "POSTROUTING", *OTHERS)
    host.append(IPV4, "filter", "FORWARD", *forward_rules("10.6.0.0/16"), "-s 10.5.0.0/16 -j ACCEPT")
    before = host.rules(IPV4, "nat", "POSTROUTING"), host.rules(IPV4, "filter", "FORWARD")
    assert host.remove_all() == {}
    assert (host.rules(IPV4, "nat", "POSTROUTING"), host.rules(IPV4, "filter", "FORWARD")) == before


def test_what_an_operator_wrote_instead_of_our_forward_rules_stays(host: Host) -> None:
    """The same pair by hand, where --iptables-forward-rules=false leaves FORWARD to the operator."""
    host.append(IPV4, "filter", "FORWARD", *forward_rules(NETWORKS[IPV4]))
    assert LegacyRuleTable(SCOPE, [IPV6], host.programs).dump() == {}


def test_what_an_operator_wrote_around_masquerading_of_another_form_stays(host: Host) -> None:
    """Without the exception, containers of other hosts would be masqueraded by the operator's rule."""
    first, _second, third, _fourth = masquerade_rules("v0.14", NETWORKS[IPV4], SUBNETS[IPV4], MULTICAST[IPV4])
    host.append(IPV4, "nat", "POSTROUTING", first, third, f"-s {NETWORKS[IPV4]} -o eth0 -j MASQUERADE")
    before = host.rules(IPV4, "nat", "POSTROUTING")
    assert host.remove_all() == {}
    assert host.rules(IPV4, "nat", "POSTROUTING") == before


def test_a_host_without_iptables_has_none() -> None:
    missing = Programs("no-iptables", "no-iptables-save", "no-iptables-restore")
    assert LegacyRuleTable(SCOPE, FAMILIES, {IPV4: missing, IPV6: missing}).dump() == {}
