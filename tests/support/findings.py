# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What weft.flannel.verify registers on hosts that are well, for tests to break."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Tuple

MTU = 1450

# Name, and the results of the four tasks: what the filter build_verification takes.
Host = List[Any]


class Cluster:
    """hosts: their findings, in the order of the play. Everything in them may be changed."""

    def __init__(self, *names: str, families: Tuple[str, ...] = ("ipv4",)) -> None:
        self.hosts: Dict[str, Host] = {}
        self._families = families
        for number, name in enumerate(names, 1):
            places = {family: self._place(number, family) for family in families}
            probe = {"id": f"{number:032x}", "ipv4": None, "ipv6": None, **places}
            status = {"rc": 0, "stdout": json.dumps(self._status(number, name))}
            self.hosts[name] = [name, probe, {"answers": []}, {"heard": []}, status]
        for source in names:
            for target in names:
                if source != target:
                    for family in families:
                        self._let_through(source, target, family)

    @staticmethod
    def _place(number: int, family: str) -> Dict[str, Any]:
        address = f"10.42.{number}.254" if family == "ipv4" else f"fd42:0:0:{number:x}::ff7f"
        return {"address": address, "mtu": MTU, "bridge": "docker0"}

    @staticmethod
    def _status(number: int, name: str) -> Dict[str, Any]:
        return {
            "ready": True, "not_ready": [], "pending": [], "version": "0.1.0", "uptime": 7200.0, "host": name,
            "backend": "vxlan", "mtu": MTU, "firewall": "iptables",
            "lease": {"ipv4": f"10.42.{number}.0/24", "ipv6": "", "expires_in": 80000.0, "ttl": 86400.0, "held": True,
                      "reservation": False},
            "interface": {"name": "eth0", "mtu": 1500, "ipv4": f"192.0.2.{number}", "ipv6": "",
                          "public_ip": f"192.0.2.{number}", "public_ipv6": ""},
            "store": {"reachable": True, "last_error": ""},
            "peers": [],
            "tables": [{"name": "route", "wanted": 2, "wrong": 0, "problems": 0, "repairs": 1}],
            "last_errors": [],
        }  # fmt: skip

    def _let_through(self, source: str, target: str, family: str) -> None:
        own, other = self.hosts[source][1], self.hosts[target][1]
        self.hosts[source][2]["answers"].append(
            {"peer": target, "family": family, "reached": True, "answered_by": other["id"],
             "seen_as": own[family]["address"], "round_trip_ms": 0.25, "mtu": MTU, "mtu_wanted": MTU,
             "host_reached": None, "error": None}
        )  # fmt: skip
        self.hosts[target][3]["heard"].append(
            {
                "id": own["id"],
                "family": family,
                "packets": 9,
                "largest": MTU,
                "seen_as": [own[family]["address"]],
            }
        )

    def answer(self, source: str, target: str, family: str = "ipv4") -> Dict[str, Any]:
        """The one that the source got from the target, to be changed."""
        return next(
            answer
            for answer in self.hosts[source][2]["answers"]
            if (answer["peer"], answer["family"]) == (target, family)
        )

    def lose_answer(self, source: str, target: str, host_reached: bool = False) -> None:
        """The question arrives, the answer does not."""
        for family in self._families:
            self.answer(source, target, family).update(
                reached=False,
                answered_by=None,
                seen_as=None,
                round_trip_ms=None,
                mtu=None,
                host_reached=host_reached,
            )

    def lose_question(self, source: str, target: str, host_reached: bool = False) -> None:
        """The question does not arrive either."""
        self.lose_answer(source, target, host_reached)
        own = self.hosts[source][1]["id"]
        removed = self.hosts[target][3]
        removed["heard"] = [item for item in removed["heard"] if item["id"] != own]

    def change_status(self, name: str, **changes: Any) -> None:
        result = self.hosts[name][4]
        result["stdout"] = json.dumps({**json.loads(result["stdout"]), **changes})

    @property
    def findings(self) -> List[Host]:
        return list(self.hosts.values())
