# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network `flannel` of podman and nerdctl: what subnet.env says, in the words of netavark and of CNI. All pure.

Sources: what `podman network create` of podman 4.3 with netavark 1.4 writes; CNI specification 0.4.0 with the plugins
bridge, host-local and portmap of 1.1.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    IPV6,
    Address,
    Network,
    family_of,
    first_usable,
    parse_cidr,
)

NAME = "flannel"
NETAVARK_FILE = "/etc/containers/networks/flannel.json"
CONFLIST_FILE = "/etc/cni/net.d/90-flannel.conflist"
"""Not 10-flannel.conflist, which is what Kubernetes' installers write."""
_MARK = {"managed-by": "weft.flannel"}
_SUBNETS = ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")
_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


class ContainerNetworkError(FlannelError):
    """The network `flannel` of podman or nerdctl cannot be brought in line with subnet.env."""


@dataclass(frozen=True)
class ContainerNetwork:
    """What containers get. subnets: of this host, one for each family. mtu: in bytes."""

    subnets: Tuple[Network, ...]
    mtu: int

    def has(self, address: Address) -> bool:
        return any(address in subnet for subnet in self.subnets)

    def fits(self, bridge: Interface) -> bool:
        """True if this bridge is as the network has it."""
        addresses = [a.address for a in bridge.addresses if not a.address.is_link_local]
        return all(map(self.has, addresses)) and bridge.mtu <= self.mtu


def read_network(path: str, variables: Mapping[str, str]) -> ContainerNetwork:
    """What subnet.env, with these variables, asks for (spec 3.1). Raises ContainerNetworkError."""
    try:
        subnets = tuple(parse_cidr(variables[key]) for key in _SUBNETS if variables.get(key))
        mtu = int(variables["FLANNEL_MTU"])
    except (AddressError, KeyError, ValueError) as error:
        raise ContainerNetworkError(
            path, f"it is not a subnet.env of flanneld: {error!r}", "restart flanneld"
        ) from error
    if not subnets:
        raise ContainerNetworkError(path, "it names no subnet", "restart flanneld")
    return ContainerNetwork(subnets, mtu)


def render_netavark(network: ContainerNetwork, bridge: str) -> str:
    """The file as podman reads it where its backend is netavark.

    netavark has no setting that keeps it from masquerading: flanneld does (--keep-source).
    """
    return _write(
        {
            "name": NAME,
            # podman asks for one; that of its CNI networks is the same hash.
            "id": hashlib.sha256(NAME.encode()).hexdigest(),
            "driver": "bridge",
            "network_interface": bridge,
            "created": "2026-01-01T00:00:00Z",  # the same at every boot, so that nothing has changed
            "subnets": [{"subnet": str(subnet), "gateway": _gateway(subnet)} for subnet in network.subnets],
            "ipv6_enabled": any(family_of(subnet) is IPV6 for subnet in network.subnets),
            "internal": False,
            "dns_enabled": False,
            "labels": _MARK,
            "options": {"mtu": str(network.mtu)},
            "ipam_options": {"driver": "host-local"},
        }
    )


def render_conflist(network: ContainerNetwork, bridge: str) -> str:
    """The file as nerdctl, and podman where its backend is CNI, read it."""
    plugins: List[Dict[str, Any]] = [
        {
            "type": "bridge",
            "bridge": bridge,
            "isGateway": True,
            "ipMasq": False,  # flanneld does, for what leaves the network
            "hairpinMode": True,
            "mtu": network.mtu,
            "ipam": {
                "type": "host-local",
                "ranges": [
                    [{"subnet": str(subnet), "gateway": _gateway(subnet)}] for subnet in network.subnets
                ],
                "routes": [{"dst": _ANYWHERE[subnet.version]} for subnet in network.subnets],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return _write({"cniVersion": "0.4.0", "name": NAME, "nerdctlLabels": _MARK, "plugins": plugins})


def is_ours(text: str) -> bool:
    """True if a file of either kind is one that we have written, and not a network of the operator's."""
    try:
        document = json.loads(text)
    except ValueError:
        return False
    return isinstance(document, dict) and _MARK in (document.get("labels"), document.get("nerdctlLabels"))


def _gateway(subnet: Network) -> str:
    return first_usable(subnet).partition("/")[0]


def _write(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
