# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of podman and nerdctl, as they read it."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Dict

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceAddress
from flanneld.commands.network import find_backend, run
from flanneld.options import UsageError
from flanneld.outputs.container_network import (
    ContainerNetwork,
    ContainerNetworkError,
    is_ours,
    read_network,
    render_conflist,
    render_netavark,
)

DUAL: Dict[str, str] = {
    "FLANNEL_NETWORK": "10.42.0.0/16",
    "FLANNEL_SUBNET": "10.42.5.1/24",
    "FLANNEL_IPV6_NETWORK": "fd00:42::/48",
    "FLANNEL_IPV6_SUBNET": "fd00:42:0:5::1/64",
    "FLANNEL_MTU": "1450",
    "FLANNEL_IPMASQ": "true",
}
PLAIN = {key: value for key, value in DUAL.items() if "IPV6" not in key}


def test_netavark_gets_the_subnet_its_first_address_and_the_mtu() -> None:
    document = json.loads(render_netavark(read_network("subnet.env", PLAIN), "flannel-br"))
    assert document["name"] == "flannel"
    assert document["network_interface"] == "flannel-br"
    assert document["subnets"] == [{"subnet": "10.42.5.0/24", "gateway": "10.42.5.1"}]
    assert document["options"] == {"mtu": "1450"}
    assert document["ipv6_enabled"] is False


def test_netavark_gets_both_families() -> None:
    document = json.loads(render_netavark(read_network("subnet.env", DUAL), "flannel-br"))
    assert document["subnets"][1] == {"subnet": "fd00:42:0:5::/64", "gateway": "fd00:42:0:5::1"}
    assert document["ipv6_enabled"] is True


@pytest.mark.parametrize("masquerades", ["true", "false"])
def test_no_plugin_of_cni_masquerades(masquerades: str) -> None:
    """Whether anybody does is flanneld's affair; the plugin would take the source address also towards other hosts."""
    network = read_network("subnet.env", {**DUAL, "FLANNEL_IPMASQ": masquerades})
    bridge, portmap = json.loads(render_conflist(network, "flannel-br"))["plugins"]
    assert bridge["ipMasq"] is False
    assert bridge["isGateway"] is True
    assert bridge["mtu"] == 1450
    assert bridge["ipam"] == {
        "type": "host-local",
        "ranges": [
            [{"subnet": "10.42.5.0/24", "gateway": "10.42.5.1"}],
            [{"subnet": "fd00:42:0:5::/64", "gateway": "fd00:42:0:5::1"}],
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    assert portmap["type"] == "portmap"


@pytest.mark.parametrize("render", [render_netavark, render_conflist])
def test_what_is_written_is_known_again_and_always_the_same(render) -> None:  # type: ignore[no-untyped-def]
    network = read_network("subnet.env", DUAL)
    assert is_ours(render(network, "flannel-br"))
    assert render(network, "flannel-br") == render(network, "flannel-br")


@pytest.mark.parametrize(
    "theirs",
    [
        "",
        "{",
        "[]",
        '{"name": "flannel", "labels": {}}',
        '{"name": "flannel", "labels": {"managed-by": "me"}}',
    ],
)
def test_what_others_have_written_is_not_ours(theirs: str) -> None:
    assert not is_ours(theirs)


@pytest.mark.parametrize(
    "spoiled", [{"FLANNEL_MTU": ""}, {"FLANNEL_SUBNET": "10.42.5.1/x"}, {"FLANNEL_SUBNET": ""}]
)
def test_a_subnet_env_that_lacks_something_is_refused(spoiled: Dict[str, str]) -> None:
    with pytest.raises(ContainerNetworkError, match=r"subnet.env: .*; restart flanneld"):
        read_network("subnet.env", {**PLAIN, **spoiled})


def bridge(mtu: int, *addresses: str) -> Interface:
    return Interface(7, "flannel-br", mtu, tuple(InterfaceAddress(ip_address(a), 24) for a in addresses))


@pytest.mark.parametrize(
    ("found", "fits"),
    [
        (bridge(1450, "10.42.5.1", "fe80::1"), True),
        (bridge(1450), True),
        (bridge(1450, "10.42.6.1"), False),
        (bridge(1450, "10.42.5.1", "10.42.6.1"), False),
        (bridge(1500, "10.42.5.1"), False),
    ],
)
def test_a_bridge_of_an_earlier_subnet_does_not_fit(found: Interface, fits: bool) -> None:
    assert ContainerNetwork((ip_network("10.42.5.0/24"),), 1450).fits(found) is fits


@pytest.mark.parametrize(
    ("info", "backend"),
    [
        ('{"host": {"networkBackend": "netavark"}}', "netavark"),
        ('{"host": {"networkBackend": "cni"}}', "cni"),
        ('{"host": {"arch": "amd64"}}', "cni"),  # podman 3
    ],
)
def test_podman_says_which_backend_it_has(info: str, backend: str) -> None:
    assert find_backend(info) == backend


def test_what_podman_says_may_not_be_understood() -> None:
    with pytest.raises(ContainerNetworkError, match="podman info"):
        find_backend("Error: something")


@pytest.mark.parametrize("arguments", [[], ["--podman", "--nerdctl"], ["--podman", "--instance=blue"]])
def test_bad_arguments_are_refused_by_name(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        run(arguments, {})
