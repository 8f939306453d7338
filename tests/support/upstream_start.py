# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What upstream's flanneld v0.28 does to a host at its start, step by step after the text of the specification.

Each step works on the real kernel and store, and raises AssertionError where upstream would do something else than
go on with what is there: a new lease, a new device, a route deleted first.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Network, ip_interface, ip_network
from typing import Any, Dict, List, Optional, Sequence

from tests.support.cluster import Cluster
from tests.support.netns import Host
from tests.support.upstream import NETWORK, Peer, Upstream


def start_upstream(cluster: Cluster, upstream: Upstream, peers: Sequence[Peer]) -> None:
    """The whole start, in upstream's order (spec 0.2), with the peers that etcd names."""
    host = upstream.host
    previous = read_previous_subnet(host.subnet_file.read_text())
    assert previous == upstream.subnet
    assert find_lease(cluster.leases(), str(host.address)) == upstream.subnet
    if upstream.backend == "vxlan":
        difference = compare_device(host, vni=1, port=0, gbp=False)
        assert not difference, f"upstream would make flannel.1 anew: {difference}"
        configure_address(host, upstream.subnet)
    upstream.leave_lease(cluster)
    set_up_firewall(upstream)
    for peer in peers:
        if upstream.backend == "vxlan":
            add_vxlan_peer(host, peer)
        else:
            add_direct_route(host, peer)


def read_previous_subnet(text: str) -> Optional[IPv4Network]:
    """Spec 3.2: split on commas, what does not parse is skipped; more than one counts as none."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    found: List[IPv4Network] = []
    for part in values.get("FLANNEL_SUBNET", "").split(","):
        try:
            network = ip_interface(part).network
        except ValueError:
            continue
        assert isinstance(network, IPv4Network)
        found.append(network)
    return found[0] if len(found) == 1 else None


def find_lease(leases: Dict[str, str], public_ip: str) -> Optional[IPv4Network]:
    """Spec 2.7: the first lease in key order whose PublicIP is ours, if it is compatible with the config."""
    for key in sorted(leases):
        if json.loads(leases[key]).get("PublicIP") != public_ip:
            continue
        subnet = ip_network(key.rpartition("/")[2].replace("-", "/"))
        assert isinstance(subnet, IPv4Network)
        assert subnet.prefixlen == 24, f"{key} would be deleted"
        assert subnet.subnet_of(NETWORK), f"{key} would be deleted"
        return subnet
    return None


def compare_device(host: Host, vni: int, port: int, gbp: bool) -> str:
    """Spec 5.3, "Existing device": the first difference, "" for a device that is taken over as it is."""
    (device,) = json.loads(host.execute("ip", "-d", "-j", "link", "show", "flannel.1"))
    info: Dict[str, Any] = device["linkinfo"]
    data: Dict[str, Any] = info.get("info_data", {})
    wanted = {
        "link type": ("vxlan", info["info_kind"]),
        "vni": (vni, data.get("id")),
        "vtep (external) interface": ("eth0", data.get("link")),
        "vtep (external) IP": (str(host.address), data.get("local")),
        "group address": (None, data.get("group")),
        "l2miss": (False, bool(data.get("l2miss"))),
        "port": (port or data.get("port"), data.get("port")),  # 0 never conflicts
        "gbp": (gbp, bool(data.get("gbp"))),
    }
    return next((f"{what}: {a} vs {b}" for what, (a, b) in wanted.items() if a != b), "")


def configure_address(host: Host, subnet: IPv4Network) -> None:
    """Spec 5.0, EnsureV4AddressOnLink: nothing is to be removed or added; then the link is set up."""
    (device,) = json.loads(host.execute("ip", "-j", "-4", "addr", "show", "flannel.1"))
    found = {f"{one['local']}/{one['prefixlen']}" for one in device["addr_info"]}
    assert found == {f"{subnet.network_address}/32"}
    host.ip("link set flannel.1 up")


def add_vxlan_peer(host: Host, peer: Peer) -> None:
    """Spec 5.3, "Peer added": NeighSet, FDB, RouteReplace; the route is replaced, not joined by a second one."""
    vtep = peer.subnet.network_address
    host.ip(f"neigh replace {vtep} lladdr {peer.mac} dev flannel.1 nud permanent")
    entry = f"{peer.mac} dev flannel.1 dst {peer.public_ip} self permanent"
    host.execute("bridge", "fdb", "replace", *entry.split())
    host.ip(f"route replace {peer.subnet} via {vtep} dev flannel.1 onlink")


def add_direct_route(host: Host, peer: Peer) -> None:
    """Spec 5.0, RouteNetwork: the first route to the subnet is equal, so that it is left as it is."""
    (route,) = json.loads(host.execute("ip", "-j", "route", "show", str(peer.subnet)))
    assert (route["gateway"], route["dev"]) == (peer.public_ip, "eth0"), f"it would be deleted first: {route}"


def set_up_firewall(upstream: Upstream) -> None:
    """Spec 6.2, 6.3: chains that exist are flushed and filled; a rule that exists is deleted before it is appended."""
    host = upstream.host
    if upstream.nftables:
        upstream.leave_firewall()
        return
    for table, chain in (("nat", "FLANNEL-POSTRTG"), ("filter", "FLANNEL-FWD")):
        host.execute("iptables", "-t", table, "-F", chain)
    for rule in upstream.rules():
        host.execute("sh", "-c", f"{rule.replace(' -A ', ' -D ', 1)} 2>/dev/null; {rule}")
