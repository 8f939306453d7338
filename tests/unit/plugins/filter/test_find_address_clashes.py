# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that would publish one address are found and named; a host's own lease is no clash."""

from __future__ import annotations

from ansible_collections.weft.flannel.plugins.filter.find_address_clashes import find_address_clashes

SUBNET_ENV = (
    "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.7.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
)


def lease(public_ip: str, subnet: str) -> dict[str, str]:
    return {"public_ip": public_ip, "subnet": subnet}


def test_different_addresses_are_no_clash() -> None:
    hosts = [("n1", "192.0.2.1", ""), ("n2", "192.0.2.2", "")]
    assert find_address_clashes(hosts, [lease("192.0.2.3", "10.42.9.0/24")]) == []


def test_every_host_of_a_clash_is_named_once() -> None:
    hosts = [("n1", "10.0.2.15", ""), ("n2", "192.0.2.2", ""), ("n3", "10.0.2.15", "")]
    (clash,) = find_address_clashes(iter(hosts), [])
    assert clash.startswith("n1, n3 would all publish 10.0.2.15")
    assert "n2" not in clash


def test_a_lease_of_somebody_else_is_a_clash() -> None:
    (clash,) = find_address_clashes([("n1", "192.0.2.1", SUBNET_ENV)], [lease("192.0.2.1", "10.42.9.0/24")])
    assert clash.startswith("n1 would publish 192.0.2.1, but so does a live lease for 10.42.9.0/24")


def test_the_own_lease_is_not() -> None:
    assert find_address_clashes([("n1", "192.0.2.1", SUBNET_ENV)], [lease("192.0.2.1", "10.42.7.0/24")]) == []


def test_a_host_that_knows_of_no_subnet_does_not_own_a_lease() -> None:
    assert len(find_address_clashes([("n1", "192.0.2.1", "")], [lease("192.0.2.1", "10.42.7.0/24")])) == 1
