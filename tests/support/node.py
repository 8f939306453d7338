# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the cluster, and what an engineer would look at on it."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Dict, List, Optional, Union

from tests.support.agent import Agent
from tests.support.netns import Container, Host

PREFIX = "/coreos.com/network"
OUR_ROUTE = re.compile(r"\bproto (102|flannel)\b")
OUR_NAME = re.compile(
    r"\bflannel(-v6)?\.1\b|\bflannel\.ipip\b|\bflannel0\b|\bflannel-(join|gro)\b|\bFLANNEL-"
)
DEVICES = {"flannel.1": "-4", "flannel-v6.1": "-6", "flannel.ipip": "-4", "flannel0": "-4"}
"""Our devices, and what `ip` is told to see the addresses of their family only."""


class Node:
    """A host, its agent and one container."""

    def __init__(self, host: Host, agent: Agent) -> None:
        self.host = host
        self.agent = agent
        self._container: Optional[Container] = None

    @property
    def container(self) -> Container:
        """Attached at the first use, for which subnet.env must be there."""
        if self._container is None:
            self._container = self.host.add_container()
        return self._container

    @property
    def lease_key(self) -> str:
        """In a network with IPv4."""
        env = self.host.subnet_env
        subnets = [self.host.subnet] + ([self.host.subnet6] if "FLANNEL_IPV6_SUBNET" in env else [])
        return f"{PREFIX}/subnets/{'&'.join(str(subnet).replace('/', '-') for subnet in subnets)}"

    def routes(self) -> List[str]:
        """Of the main table, whoever made them; IPv4."""
        return _lines(self.host.ip("route"))

    def routes6(self) -> List[str]:
        """Of the main table, whoever made them; IPv6."""
        return _lines(self.host.ip("-6 route"))

    def routes_to(self, subnet: Union[IPv4Network, IPv6Network, str]) -> List[str]:
        return _lines(self.host.ip(f"{'-6' if ':' in str(subnet) else '-4'} route show {subnet}"))

    def neighbours(self, device: str = "flannel.1") -> List[str]:
        """Of a VXLAN device."""
        return _lines(self.host.ip(f"neigh show dev {device} nud permanent"))

    def fdb(self, device: str = "flannel.1") -> List[str]:
        """Of a VXLAN device."""
        return _lines(self.host.execute("bridge", "fdb", "show", "dev", device))

    def firewall(self, command: str = "iptables") -> List[str]:
        """Our chains, and of the chains that jump to them all rules up to the last such jump."""
        rules = [rule for table in ("nat", "filter") for rule in self._rules(command, table)]
        found: List[str] = []
        for parent in ("POSTROUTING", "FORWARD"):
            chain = [rule for rule in rules if rule.startswith(f"-A {parent} ")]
            while chain and "-j FLANNEL-" not in chain[-1]:
                chain.pop()
            found += chain
        return found + [rule for rule in rules if rule.startswith("-A FLANNEL-")]

    def _rules(self, command: str, table: str) -> List[str]:
        return _lines(self.host.execute(command, "-t", table, "-S"))

    def state(self) -> Dict[str, List[str]]:
        """All that the agent keeps in the kernel, so that equal states are equally good."""
        routes = [route for route in (*self.routes(), *self.routes6()) if OUR_ROUTE.search(route)]
        firewall = self.firewall() + self.firewall("ip6tables")
        state = {"routes": sorted(routes), "firewall": firewall}
        for line in _lines(self.host.ip("-d -o link")):
            device = line.split(": ")[1].partition("@")[0]
            if device in DEVICES:
                state[device] = [line.split(": ", 1)[1], *self._on_device(device)]
        return state

    def _on_device(self, device: str) -> List[str]:
        """Addresses, neighbours and FDB entries; none if it has just gone."""
        commands = (
            ("ip", DEVICES[device], "-br", "addr", "show", device, "scope", "global"),
            ("ip", "neigh", "show", "dev", device, "nud", "permanent"),
            ("bridge", "fdb", "show", "dev", device),
        )
        return [
            line for command in commands for line in sorted(_lines(self.host.execute(*command, check=False)))
        ]

    def foreign_state(self) -> Dict[str, List[str]]:
        """All that is in the kernel and not the agent's; counters and what comes and goes by itself left out."""
        commands = {
            "devices": ("ip", "-br", "link"),
            "addresses": ("ip", "-4", "-br", "addr"),
            "neighbours": ("ip", "neigh", "show", "nud", "permanent"),
            "routes": ("ip", "route"),
            "IPv6 routes": ("ip", "-6", "route"),
            "firewall": ("iptables", "-S"),
            "IPv6 firewall": ("ip6tables", "-S"),
        }
        return {
            what: [line for line in _lines(self.host.execute(*command)) if not _is_ours(line)]
            for what, command in commands.items()
        }

    @property
    def vtep_mac(self) -> str:
        return self._mac("flannel.1")

    @property
    def vtep_mac6(self) -> str:
        return self._mac("flannel-v6.1")

    def _mac(self, device: str) -> str:
        return self.host.execute("cat", f"/sys/class/net/{device}/address").strip()

    def describe(self) -> str:
        return f"$ log of flanneld\n{self.agent.log}\n{self.host.describe()}"


def _is_ours(line: str) -> bool:
    return bool(OUR_ROUTE.search(line) or OUR_NAME.search(line))


def _lines(output: str) -> List[str]:
    return [" ".join(line.split()) for line in output.splitlines()]
