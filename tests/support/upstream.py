# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upstream flanneld leaves on a host and in etcd when it ends, by version (spec 2.3, 5, 6, 8.3, appendix A).

Everything is made with the tools' own words, so that nothing of ours decides what upstream's state is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from tests.support.cluster import Cluster
from tests.support.netns import Host

NETWORK = ip_network("10.5.0.0/16")
NETWORK6 = ip_network("fd05::/48")
SUBNET = IPv4Network("10.5.34.0/24")
MULTICAST = "224.0.0.0/4"
MAC, MAC6 = "c6:d2:32:6f:8f:44", "c6:d2:32:6f:8f:66"


@dataclass(frozen=True)
class Peer:
    """Another host, as upstream knows it. mac: of its VTEP."""

    subnet: Union[IPv4Network, IPv6Network]
    public_ip: str
    mac: str


@dataclass(frozen=True)
class Side:
    """One family of one host. program: iptables or ip6tables. mac: "" where the kernel chose it."""

    network: str
    subnet: Union[IPv4Network, IPv6Network]
    multicast: str
    program: str
    device: str
    local: str
    mac: str


@dataclass(frozen=True)
class Upstream:
    """The flanneld of one host, run with --ip-masq.

    version: "v0.28", "v0.14" or "v0.9.1", which had no ipip. nftables: EnableNFTables, which v0.28 knows. subnet6: in
    dual stack, here for v0.28 with vxlan and iptables.
    """

    host: Host
    version: str
    backend: str
    nftables: bool = False
    subnet: IPv4Network = SUBNET
    subnet6: Optional[IPv6Network] = None

    @property
    def lease_key(self) -> str:
        """Below subnets/."""
        return "&".join(str(side.subnet).replace("/", "-") for side in self.sides)

    @property
    def sides(self) -> Tuple[Side, ...]:
        # before v0.14 the kernel chose the MAC
        mac = "" if self.version == "v0.9.1" else MAC
        address, address6 = str(self.host.address), str(self.host.address6)
        device = "flannel.ipip" if self.backend == "ipip" else "flannel.1"
        v4 = Side(str(NETWORK), self.subnet, MULTICAST, "iptables", device, address, mac)
        if self.subnet6 is None:
            return (v4,)
        v6 = Side(str(NETWORK6), self.subnet6, "ff00::/8", "ip6tables", "flannel-v6.1", address6, MAC6)
        return (v4, v6)

    def _side_of(self, peer: Peer) -> Side:
        (side,) = [side for side in self.sides if side.subnet.version == peer.subnet.version]
        return side

    # --- files and etcd

    def leave_subnet_env(self) -> None:
        """Spec 3.1."""
        mtu = {"vxlan": 1450, "ipip": 1480}.get(self.backend, 1500)
        lines = (
            f"FLANNEL_NETWORK={NETWORK}",
            f"FLANNEL_SUBNET={self.subnet.network_address + 1}/{self.subnet.prefixlen}",
            *self._describe_v6(),
            f"FLANNEL_MTU={mtu}",
            "FLANNEL_IPMASQ=true",
        )
        self.host.subnet_file.parent.mkdir(parents=True, exist_ok=True)
        self.host.subnet_file.write_text("".join(f"{line}\n" for line in lines))

    def _describe_v6(self) -> List[str]:
        if self.subnet6 is None:
            return []
        first = f"{self.subnet6.network_address + 1}/{self.subnet6.prefixlen}"
        return [f"FLANNEL_IPV6_NETWORK={NETWORK6}", f"FLANNEL_IPV6_SUBNET={first}"]

    def leave_lease(self, cluster: Cluster) -> None:
        """Spec 2.3: PublicIPv6 came with v0.15, VNI with v0.14."""
        value: Dict[str, Any] = {"PublicIP": str(self.host.address)}
        if self.version == "v0.28":
            value["PublicIPv6"] = str(self.host.address6) if self.subnet6 else None
        value["BackendType"] = self.backend
        if self.backend == "vxlan":
            number = {} if self.version == "v0.9.1" else {"VNI": 1}
            for name, side in zip(("BackendData", "BackendV6Data"), self.sides):
                value[name] = {**number, "VtepMAC": self._read_mac(side.device)}
        cluster.put_with_lease(f"subnets/{self.lease_key}", json.dumps(value, separators=(",", ":")))

    def _read_mac(self, device: str) -> str:
        return self.host.execute("cat", f"/sys/class/net/{device}/address").strip()

    # --- data path

    def leave_data_path(self, peers: Sequence[Peer]) -> None:
        """Spec 5.2, 5.3, 5.5, with the entries of all these peers."""
        if self.backend == "vxlan":
            for side in self.sides:
                self._leave_device(side)
        elif self.backend == "ipip":
            self._leave_tunnel()
        for peer in peers:
            if self.backend == "vxlan":
                self._leave_vxlan_peer(peer)
            elif self.backend == "ipip":
                self.host.ip(f"route add {peer.subnet} via {peer.public_ip} dev flannel.ipip onlink")
            else:
                self.host.ip(f"route add {peer.subnet} via {peer.public_ip} dev eth0")

    def _leave_device(self, side: Side) -> None:
        """50 bytes of overhead for IPv6, too, which needs 70 (A13)."""
        address = f"address {side.mac}" if side.mac else ""
        kind = f"vxlan id 1 local {side.local} dev eth0 nolearning dstport 8472"
        self.host.ip(f"link add {side.device} {address} mtu 1450 txqueuelen 0 type {kind}")
        self.host.ip(f"addr add {side.subnet.network_address} dev {side.device}")
        self.host.ip(f"link set {side.device} up")

    def _leave_tunnel(self) -> None:
        """Without path MTU discovery of its own, which is no difference to us."""
        self.host.ip(f"link add flannel.ipip type ipip local {self.host.address} nopmtudisc")
        self.host.ip("link set flannel.ipip mtu 1480")
        self.host.ip(f"addr add {self.subnet.network_address} dev flannel.ipip")
        self.host.ip("link set flannel.ipip up")

    def _leave_vxlan_peer(self, peer: Peer) -> None:
        vtep, device = peer.subnet.network_address, self._side_of(peer).device
        self.host.ip(f"neigh replace {vtep} lladdr {peer.mac} dev {device} nud permanent")
        self.leave_fdb_entry(peer)
        self.host.ip(f"route replace {peer.subnet} via {vtep} dev {device} onlink")

    def leave_fdb_entry(self, peer: Peer) -> None:
        """That of an earlier MAC of a peer stays for ever (A16)."""
        entry = f"{peer.mac} dev {self._side_of(peer).device} dst {peer.public_ip} self permanent"
        self.host.execute("bridge", "fdb", "replace", *entry.split())

    def leave_blackhole(self) -> None:
        """--ip-blackhole-route on a host that had no bridge yet (spec 6.5)."""
        self.host.ip(f"route add blackhole {self.subnet}")

    # --- firewall

    def leave_firewall(self) -> None:
        if self.version != "v0.28":
            self._append(self.legacy_rules())
        elif self.nftables:
            self.host.execute("sh", "-c", f"nft -f - <<'EOF'\n{self.nft_script()}EOF")
        else:
            self._leave_chains(self.rules())

    def leave_remains_of_iptables(self) -> None:
        """What v0.28 could not remove when it was switched to nftables (spec 6.4, A22)."""
        self._leave_chains([rule for rule in self.rules() if " -t nat -A FLANNEL-" not in rule])

    def _leave_chains(self, rules: Sequence[str]) -> None:
        for side in self.sides:
            self.host.execute(side.program, "-t", "nat", "-N", "FLANNEL-POSTRTG")
            self.host.execute(side.program, "-t", "filter", "-N", "FLANNEL-FWD")
        self._append(rules)

    def _append(self, rules: Sequence[str]) -> None:
        for rule in rules:
            self.host.execute("sh", "-c", rule)

    def legacy_rules(self) -> List[str]:
        """Spec 6.6: without chains and comments; only of IPv4."""
        random = " --random-fully" if self.version == "v0.14" else ""
        nat, forward = "iptables -t nat -A POSTROUTING", "iptables -t filter -A FORWARD"
        return [
            f"{nat} -s {NETWORK} -d {NETWORK} -j RETURN",
            f"{nat} -s {NETWORK} ! -d {MULTICAST} -j MASQUERADE{random}",
            f"{nat} ! -s {NETWORK} -d {self.subnet} -j RETURN",
            f"{nat} ! -s {NETWORK} -d {NETWORK} -j MASQUERADE{random}",
            f"{forward} -s {NETWORK} -j ACCEPT",
            f"{forward} -d {NETWORK} -j ACCEPT",
        ]

    def rules(self) -> List[str]:
        """Spec 6.1, as command lines."""
        return [f"{side.program} {rule}" for side in self.sides for rule in _write_rules(side)]

    def nft_script(self) -> str:
        """Spec 6.3: what one start does, for IPv4; the table of IPv6 is made and stays empty."""
        filtering = "type filter hook forward priority filter; policy accept;"
        translating = "type nat hook postrouting priority srcnat; policy accept;"
        return f"""\
add table ip flannel-ipv4 {{ comment "rules for flannel-ipv4"; }}
add table ip6 flannel-ipv6 {{ comment "rules for flannel-ipv6"; }}
add chain ip flannel-ipv4 forward {{ {filtering} comment "chain to accept flannel traffic"; }}
flush chain ip flannel-ipv4 forward
add rule ip flannel-ipv4 forward ip saddr {NETWORK} accept
add rule ip flannel-ipv4 forward ip daddr {NETWORK} accept
add chain ip flannel-ipv4 postrtg {{ {translating} comment "chain to manage traffic masquerading by flannel"; }}
flush chain ip flannel-ipv4 postrtg
add rule ip flannel-ipv4 postrtg meta mark 0x00004000 return
add rule ip flannel-ipv4 postrtg ip saddr {self.subnet} ip daddr {NETWORK} return
add rule ip flannel-ipv4 postrtg ip saddr {NETWORK} ip daddr {self.subnet} return
add rule ip flannel-ipv4 postrtg ip saddr != {self.subnet} ip daddr {NETWORK} return
add rule ip flannel-ipv4 postrtg ip saddr {NETWORK} ip daddr != {MULTICAST} masquerade fully-random
add rule ip flannel-ipv4 postrtg ip saddr != {NETWORK} ip daddr {NETWORK} masquerade fully-random
"""


def _write_rules(side: Side) -> List[str]:
    network, subnet = side.network, side.subnet
    masq = "-m comment --comment 'flanneld masq'"
    forward = "-m comment --comment 'flanneld forward'"
    nat = "-t nat -A FLANNEL-POSTRTG"
    return [
        f"-t nat -A POSTROUTING {masq} -j FLANNEL-POSTRTG",
        f"{nat} -m mark --mark 0x4000/0x4000 {masq} -j RETURN",
        f"{nat} -s {subnet} -d {network} {masq} -j RETURN",
        f"{nat} -s {network} -d {subnet} {masq} -j RETURN",
        f"{nat} ! -s {network} -d {subnet} {masq} -j RETURN",
        f"{nat} -s {network} ! -d {side.multicast} {masq} -j MASQUERADE --random-fully",
        f"{nat} ! -s {network} -d {network} {masq} -j MASQUERADE --random-fully",
        f"-t filter -A FORWARD {forward} -j FLANNEL-FWD",
        f"-t filter -A FLANNEL-FWD -s {network} {forward} -j ACCEPT",
        f"-t filter -A FLANNEL-FWD -d {network} {forward} -j ACCEPT",
    ]
