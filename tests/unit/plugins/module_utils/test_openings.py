# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each backend needs open, from its network config."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any, Sequence

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import (
    BACKENDS,
    NetworkConfig,
    parse_config,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import OptionError
from ansible_collections.weft.flannel.plugins.module_utils._openings import (
    Opening,
    list_forwarded,
    list_openings,
    list_udp_ports,
    parse_opening,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6

BOTH = {"EnableIPv6": True, "IPv6Network": "fd05::/48"}


def configure(backend: str, network: Any = None, **options: Any) -> NetworkConfig:
    document = {"Network": "10.5.0.0/16", "Backend": {"Type": backend, **options}, **(network or {})}
    return parse_config(json.dumps(document))


@pytest.mark.parametrize(
    ("config", "openings"),
    [
        (configure("vxlan"), ["UDP port 8472"]),
        (configure("vxlan", Port=4789), ["UDP port 4789"]),
        (configure("vxlan", BOTH), ["UDP port 8472"]),
        (configure("vxlan", DirectRouting=True), ["UDP port 8472"]),
        (configure("udp"), ["UDP port 8285"]),
        (configure("udp", Port=9000), ["UDP port 9000"]),
        (configure("ipip"), ["IP protocol 4"]),
        (configure("wireguard"), ["UDP port 51820"]),
        (configure("wireguard", BOTH), ["UDP port 51820", "UDP port 51821"]),
        (configure("wireguard", BOTH, Mode="auto", ListenPort=4000), ["UDP port 4000"]),
        (configure("wireguard", BOTH, Mode="ipv6", ListenPortV6=4000), ["UDP port 51820"]),
        (configure("ipsec"), ["UDP port 500", "UDP port 4500", "IP protocol 50"]),
        (configure("ipsec", UDPEncap=True), ["UDP port 500", "UDP port 4500"]),
        (configure("host-gw"), []),
        (configure("alloc"), []),
        (configure("extension", SubnetAddCommand="true"), []),
    ],
)
def test_what_is_let_in(config: NetworkConfig, openings: Sequence[str]) -> None:
    assert [str(opening) for opening in list_openings(config)] == openings
    ports = [int(text.rpartition(" ")[2]) for text in openings if text.startswith("UDP")]
    assert list(list_udp_ports(config)) == ports


def test_two_devices_of_wireguard_are_reached_by_one_family_each() -> None:
    first, second = list_openings(configure("wireguard", BOTH))
    assert (first.family, second.family) == (IPV4, IPV6)


@pytest.mark.parametrize("backend", sorted(set(BACKENDS)))
def test_every_backend_has_an_answer(backend: str) -> None:
    assert all(isinstance(opening, Opening) for opening in list_openings(configure(backend)))


def test_what_is_forwarded() -> None:
    assert list_forwarded(configure("host-gw", BOTH)) == (ip_network("10.5.0.0/16"), ip_network("fd05::/48"))
    only_ipv6 = configure("vxlan", {**BOTH, "EnableIPv4": False})
    assert list_forwarded(only_ipv6) == (ip_network("fd05::/48"),)


def test_an_opening_of_its_own() -> None:
    assert parse_opening("2379/tcp") == Opening("tcp", 2379)


@pytest.mark.parametrize("text", ["2379", "0/tcp", "70000/udp", "2379/sctp", "tcp/2379", "2379/tcp\n", ""])
def test_what_is_no_opening(text: str) -> None:
    with pytest.raises(OptionError, match="write one such as 2379/tcp"):
        parse_opening(text)
