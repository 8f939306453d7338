# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_interface_info, on interfaces and routes of the real kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from tests.contract_modules.conftest import Host, Outcome

# eth0 has the default route of IPv4; eth1 has both families and a route of its own.
HOST = """
ip link set lo up
ip link add eth0 mtu 1400 type veth peer name far0
ip link add eth1 mtu 9000 type veth peer name far1
ip address add 192.0.2.11/24 dev eth0
ip address add 198.51.100.11/24 dev eth1
ip address add 2001:db8:1::11/64 dev eth1 nodad
for name in far0 far1 eth0 eth1; do ip link set $name up; done
ip route add default via 192.0.2.1
ip route add 203.0.113.0/24 via 198.51.100.1
ip -6 route add default via 2001:db8:1::1
exec "$@"
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    own_user = () if os.getuid() == 0 else ("--map-root-user",)
    return Host(tmp_path, prefix=("unshare", "--net", *own_user, "sh", "-ec", HOST, "sh"))


def choose(host: Host, **options: Any) -> Outcome:
    return host.run("flannel_interface_info", options, "--check")


def test_the_default_route(host: Host) -> None:
    result = choose(host).result
    index = result.pop("index")
    assert index > 0
    assert {key: result[key] for key in ("interface", "mtu", "ipv4", "ipv6", "public_ip", "public_ipv6")} == {
        "interface": "eth0",
        "mtu": 1400,
        "ipv4": "192.0.2.11",
        "ipv6": None,
        "public_ip": "192.0.2.11",
        "public_ipv6": None,
    }
    assert "default route" in result["reason"]
    assert result["changed"] is False


@pytest.mark.parametrize(
    ("options", "interface", "public_ip"),
    [
        ({"iface": ["eth7", "eth1"]}, "eth1", "198.51.100.11"),
        ({"iface_regex": [r"^198\.51\."]}, "eth1", "198.51.100.11"),
        ({"iface_can_reach": "203.0.113.9"}, "eth1", "198.51.100.11"),
        ({"public_ip": "198.51.100.11"}, "eth1", "198.51.100.11"),
        ({"iface": ["eth1"], "public_ip": "203.0.113.7"}, "eth1", "203.0.113.7"),
    ],
    ids=["name", "regex", "can reach", "public ip", "public ip behind NAT"],
)
def test_what_is_asked_for(
    host: Host, options: Dict[str, Any], interface: str, public_ip: Optional[str]
) -> None:
    result = choose(host, **options).result
    assert (result["interface"], result["public_ip"]) == (interface, public_ip)


def test_both_families(host: Host) -> None:
    result = choose(host, iface=["eth1"], families=["ipv4", "ipv6"]).result
    assert (result["ipv4"], result["ipv6"]) == ("198.51.100.11", "2001:db8:1::11")


def test_a_failure_lists_what_exists(host: Host) -> None:
    outcome = choose(host, iface=["eth7"])
    assert outcome.failed
    assert outcome.result["error"] == "InterfaceError"
    assert "eth7" in outcome.result["cause"]
    assert "eth0:[192.0.2.11" in outcome.result["next_step"]
    assert "eth1:[198.51.100.11" in outcome.result["next_step"]


def test_no_route_to_the_host_to_reach(host: Host) -> None:
    outcome = choose(host, iface_can_reach="2001:db8:1::1", families=["ipv4"])
    assert outcome.failed
    assert "IPv6 is off" in outcome.result["msg"]
