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

from ansible_collections.weft.flannel.plugins.module_utils._subnet import overlaps

from tests.support.cluster import Cluster
from tests.support.netns import Host
from tests.support.upstream import NETWORK, NETWORK6, Peer, Side, Upstream


def start_upstream(cluster: Cluster, upstream: Upstream, peers: Sequence[Peer]) -> None:
    """The whole start, in upstream's order (spec 0.2), with the peers that etcd names."""
    host = upstream.host
    previous = read_previous_subnet(host.subnet_file.read_text())
    assert previous == upstream.subnet
    assert find_lease(cluster.leases(), str(host.address)) == upstream.lease_key
    for side in upstream.sides if upstream.backend == "vxlan" else ():
        difference = compare_device(host, side, vni=1, port=0, gbp=False)
        assert not difference, f"upstream would make {side.device} anew: {difference}"
        configure_address(host, side)
    if upstream.backend == "ipip":
        difference = compare_tunnel(host)
        assert not difference, f"upstream would make flannel.ipip anew: {difference}"
        host.ip("link set flannel.ipip mtu 1480")
        configure_address(host, upstream.sides[0])
    upstream.leave_lease(cluster)
    set_up_firewall(upstream)
    for peer in peers:
        if upstream.backend == "vxlan":
            add_vxlan_peer(host, peer)
        else:
            add_route(host, peer, "flannel.ipip" if upstream.backend == "ipip" else "eth0")


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


def find_lease(leases: Dict[str, str], public_ip: str) -> str:
    """Spec 2.7: the first lease in key order whose PublicIP is ours, if it is compatible with the config."""
    for key in sorted(leases):
        value, subnets = json.loads(leases[key]), key.rpartition("/")[2]
        if value.get("PublicIP") != public_ip:
            continue
        parts = [ip_network(part[::-1].replace("-", "/", 1)[::-1]) for part in subnets.split("&")]
        lengths = [(part.version, part.prefixlen) for part in parts]
        assert lengths in ([(4, 24)], [(4, 24), (6, 64)]), f"{key} would be deleted"
        assert (len(parts) == 2) == bool(value["PublicIPv6"]), f"{key} would be deleted"
        networks = {4: NETWORK, 6: NETWORK6}
        assert all(overlaps(part, networks[part.version]) for part in parts), f"{key} would be deleted"
        return subnets
    return ""


def compare_device(host: Host, side: Side, vni: int, port: int, gbp: bool) -> str:
    """Spec 5.3, "Existing device": the first difference, "" for a device that is taken over as it is."""
    (device,) = json.loads(host.execute("ip", "-d", "-j", "link", "show", side.device))
    info: Dict[str, Any] = device["linkinfo"]
    data: Dict[str, Any] = info.get("info_data", {})
    wanted = {
        "link type": ("vxlan", info["info_kind"]),
        "vni": (vni, data.get("id")),
        "vtep (external) interface": ("eth0", data.get("link")),
        "vtep (external) IP": (side.local, data.get("local6" if side.subnet.version == 6 else "local")),
        "group address": (None, data.get("group") or data.get("group6")),
        "l2miss": (False, bool(data.get("l2miss"))),
        "port": (port or data.get("port"), data.get("port")),  # 0 never conflicts
        "gbp": (gbp, bool(data.get("gbp"))),
    }
    return next((f"{what}: {a} vs {b}" for what, (a, b) in wanted.items() if a != b), "")


def compare_tunnel(host: Host) -> str:
    """Spec 5.5, step 3: the first difference, "" for a device that is taken over."""
    (device,) = json.loads(host.execute("ip", "-d", "-j", "link", "show", "flannel.ipip"))
    info: Dict[str, Any] = device["linkinfo"]
    data: Dict[str, Any] = info.get("info_data", {})
    wanted = {
        "link type": ("ipip", info["info_kind"]),
        "local": (str(host.address), data.get("local")),
        "remote": ("any", data.get("remote", "any")),
    }
    return next((f"{what}: {a} vs {b}" for what, (a, b) in wanted.items() if a != b), "")


def configure_address(host: Host, side: Side) -> None:
    """Spec 5.0, EnsureV4AddressOnLink and EnsureV6: nothing is to be removed or added; then the link is set up."""
    (device,) = json.loads(host.execute("ip", "-j", "addr", "show", side.device))
    version = {4: "inet", 6: "inet6"}[side.subnet.version]
    found = {
        f"{one['local']}/{one['prefixlen']}"
        for one in device["addr_info"]
        if one["family"] == version and one["scope"] == "global"
    }
    assert found == {f"{side.subnet.network_address}/{side.subnet.max_prefixlen}"}
    host.ip(f"link set {side.device} up")


def add_vxlan_peer(host: Host, peer: Peer) -> None:
    """Spec 5.3, "Peer added": NeighSet, FDB, RouteReplace; the route is replaced, not joined by a second one."""
    vtep = peer.subnet.network_address
    device = "flannel-v6.1" if peer.subnet.version == 6 else "flannel.1"
    host.ip(f"neigh replace {vtep} lladdr {peer.mac} dev {device} nud permanent")
    entry = f"{peer.mac} dev {device} dst {peer.public_ip} self permanent"
    host.execute("bridge", "fdb", "replace", *entry.split())
    host.ip(f"route replace {peer.subnet} via {vtep} dev {device} onlink")


def add_route(host: Host, peer: Peer, device: str) -> None:
    """Spec 5.0, RouteNetwork: the first route to the subnet is equal, so that it is left as it is."""
    (route,) = json.loads(host.execute("ip", "-j", "route", "show", str(peer.subnet)))
    assert (route["gateway"], route["dev"]) == (peer.public_ip, device), f"it would be deleted first: {route}"


def set_up_firewall(upstream: Upstream) -> None:
    """Spec 6.2, 6.3: chains that exist are flushed and filled; a rule that exists is deleted before it is appended."""
    host = upstream.host
    if upstream.nftables:
        upstream.leave_firewall()
        return
    for side in upstream.sides:
        host.execute(side.program, "-t", "nat", "-F", "FLANNEL-POSTRTG")
        host.execute(side.program, "-t", "filter", "-F", "FLANNEL-FWD")
    for rule in upstream.rules():
        host.execute("sh", "-c", f"{rule.replace(' -A ', ' -D ', 1)} 2>/dev/null; {rule}")
