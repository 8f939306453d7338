# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `wg` says about a host, and what can be read on the network between hosts."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from dataclasses import dataclass
from typing import Dict, List, Tuple

from tests.support.cluster import Cluster
from tests.support.netns import FILES, execute
from tests.support.node import Node
from tests.support.waiting import wait_until

DEVICES = ("flannel-wg", "flannel-wg-v6")
NONE = "(none)"


@dataclass(frozen=True)
class WgPeer:
    """One line of `wg show DEVICE dump`. handshake: seconds since 1970, 0 for never; keepalive: "off" or seconds."""

    psk: str
    endpoint: str
    allowed: Tuple[str, ...]
    handshake: int
    keepalive: str


@dataclass(frozen=True)
class WgDevice:
    """The first line, and the others by public key."""

    private_key: str
    public_key: str
    port: int
    peers: Dict[str, WgPeer]


def show(node: Node, device: str = "flannel-wg") -> WgDevice:
    """What the tool reads from the kernel, which shares no line of code with us."""
    first, *rest = node.host.execute("wg", "show", device, "dump").splitlines()
    private_key, public_key, port, _mark = first.split("\t")
    peers: Dict[str, WgPeer] = {}
    for line in rest:
        key, psk, endpoint, allowed, handshake, _rx, _tx, keepalive = line.split("\t")
        sources = () if allowed == NONE else tuple(sorted(allowed.split(",")))
        peers[key] = WgPeer(psk, endpoint, sources, int(handshake), keepalive)
    return WgDevice(private_key, public_key, int(port), peers)


def exists(node: Node, device: str) -> bool:
    return device in node.host.execute("wg", "show", "interfaces").split()


def index(node: Node, device: str = "flannel-wg") -> int:
    """Another device of the same name would have another one."""
    (link,) = json.loads(node.host.execute("ip", "-j", "link", "show", device))
    return int(link["ifindex"])


def state(node: Node) -> Dict[str, List[str]]:
    """All that the agent keeps in the kernel, without what WireGuard changes by itself."""
    found = node.state()
    found["routes"] = sorted(
        route for route in (*node.routes(), *node.routes6()) if "102" in route or "flannel" in route
    )
    for device in DEVICES:
        with contextlib.suppress(AssertionError):  # it is gone at the moment
            links = json.loads(node.host.execute("ip", "-j", "addr", "show", device))
            addresses = sorted(
                f"{one['local']}/{one['prefixlen']}"
                for one in links[0]["addr_info"]
                if one["scope"] == "global"
            )
            there = show(node, device)
            found[device] = [
                f"{links[0]['mtu']} {'UP' in links[0]['flags']} {addresses}",
                f"{there.private_key} {there.port}",
                *sorted(
                    f"{key} {peer.psk} {peer.allowed} {peer.keepalive}" for key, peer in there.peers.items()
                ),
            ]
    return found


def data_of(cluster: Cluster, key: str) -> Dict[str, object]:
    """The value of a lease."""
    value: Dict[str, object] = json.loads(cluster.leases()[key])
    return value


class Capture:
    """Every packet of one host on the switch, from `with` to its end, as tcpdump writes it.

    readable: how often the payload was in it. encrypted: how many packets of WireGuard there were.
    """

    def __init__(self, cluster: Cluster, node: Node, payload: bytes) -> None:
        self._switch, self._payload = cluster.switch, payload
        self._file = FILES / f"capture-{node.host.name}.pcap"
        self._port = node.host.name
        self.readable = self.encrypted = 0

    def __enter__(self) -> Capture:
        command = ("tcpdump", "-i", self._port, "-U", "-s", "0", "-Z", "root", "-w", str(self._file))
        # setpriv: it dies with the test process, however that ends.
        self._process = subprocess.Popen(
            (*self._switch.prefix, "setpriv", "--pdeathsig", "KILL", "--", *command),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._file.exists, "tcpdump listens")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self.readable = self._file.read_bytes().count(self._payload)
        read = ("tcpdump", "-nn", "-q", "-t", "-r", str(self._file), "udp port 51820 or udp port 51821")
        self.encrypted = len(execute(*read).splitlines())
        self._file.unlink()
