# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the cluster, and what an engineer would look at on it."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import Dict, List, Optional, Union

from tests.support.agent import Agent
from tests.support.netns import Container, Host

PREFIX = "/coreos.com/network"
OUR_ROUTE = re.compile(r"\bproto (102|flannel)\b")
OUR_NAME = re.compile(r"\bflannel\.1\b|\bFLANNEL-")


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
        return f"{PREFIX}/subnets/{str(self.host.subnet).replace('/', '-')}"

    def routes(self) -> List[str]:
        """Of the main table, whoever made them."""
        return _lines(self.host.ip("route"))

    def routes_to(self, subnet: Union[IPv4Network, str]) -> List[str]:
        return _lines(self.host.ip(f"route show {subnet}"))

    def neighbours(self) -> List[str]:
        """Of the VXLAN device."""
        return _lines(self.host.ip("neigh show dev flannel.1"))

    def fdb(self) -> List[str]:
        """Of the VXLAN device."""
        return _lines(self.host.execute("bridge", "fdb", "show", "dev", "flannel.1"))

    def firewall(self) -> List[str]:
        """Our chains, and of the chains that jump to them all rules up to the last such jump."""
        rules = [rule for table in ("nat", "filter") for rule in self._rules(table)]
        found: List[str] = []
        for parent in ("POSTROUTING", "FORWARD"):
            chain = [rule for rule in rules if rule.startswith(f"-A {parent} ")]
            while chain and "-j FLANNEL-" not in chain[-1]:
                chain.pop()
            found += chain
        return found + [rule for rule in rules if rule.startswith("-A FLANNEL-")]

    def _rules(self, table: str) -> List[str]:
        return _lines(self.host.execute("iptables", "-t", table, "-S"))

    def state(self) -> Dict[str, List[str]]:
        """All that the agent keeps in the kernel, so that equal states are equally good."""
        routes = [route for route in self.routes() if OUR_ROUTE.search(route)]
        state = {"routes": sorted(routes), "firewall": self.firewall()}
        if "flannel.1" in self.host.ip("-br link"):
            state["device"] = [_lines(self.host.ip("-d -o link show flannel.1"))[0].split(": ", 1)[1]]
            state["addresses"] = _lines(self.host.ip("-4 -br addr show flannel.1"))
            state["neighbours"] = sorted(self.neighbours())
            state["fdb"] = sorted(self.fdb())
        return state

    def foreign_state(self) -> Dict[str, List[str]]:
        """All that is in the kernel and not the agent's; counters and what comes and goes by itself left out."""
        commands = {
            "devices": ("ip", "-br", "link"),
            "addresses": ("ip", "-4", "-br", "addr"),
            "neighbours": ("ip", "neigh", "show", "nud", "permanent"),
            "routes": ("ip", "route"),
            "firewall": ("iptables", "-S"),
        }
        return {
            what: [line for line in _lines(self.host.execute(*command)) if not _is_ours(line)]
            for what, command in commands.items()
        }

    @property
    def vtep_mac(self) -> str:
        return self.host.execute("cat", "/sys/class/net/flannel.1/address").strip()

    def describe(self) -> str:
        return f"$ log of flanneld\n{self.agent.log}\n{self.host.describe()}"


def _is_ours(line: str) -> bool:
    return bool(OUR_ROUTE.search(line) or OUR_NAME.search(line))


def _lines(output: str) -> List[str]:
    return [" ".join(line.split()) for line in output.splitlines()]
