# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes on the hosts of a test cluster: what the modules flannel_probe and flannel_probe_info do there.

Run as a program, this is one call on one host: what to do and its arguments as JSON, the result as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence

if TYPE_CHECKING:
    from tests.support.node import Node

ROOT = Path(__file__).resolve().parents[2]
SUBNET_FILE = "/run/flannel/subnet.env"
LIFETIME = 240


class Probe:
    """The probe of one host."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.standing: Dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self.node.host.name

    def stand(self) -> Probe:
        self.standing = self._call("stand")
        return self

    def remove(self) -> List[Dict[str, Any]]:
        """What it has heard."""
        heard: List[Dict[str, Any]] = self._call("remove")
        return heard

    def ask(self, *others: Probe) -> List[Dict[str, Any]]:
        """One answer for each of the others and each family."""
        peers = [{"name": other.name, **other.standing} for other in others]
        answers: List[Dict[str, Any]] = self._call("ask", peers)
        return answers

    @property
    def address(self) -> str:
        """In IPv4."""
        return str(self.standing["ipv4"]["address"])

    @property
    def processes(self) -> List[int]:
        """On this host: those whose socket the probe is asked at."""
        lines = self.node.host.execute("ss", "-Hxlp").splitlines()
        return [
            int(line.split("pid=")[1].split(",")[0])
            for line in lines
            if "weft.flannel.probe" in line and "pid=" in line
        ]

    def _call(self, what: str, argument: object = None) -> Any:
        return json.loads(self.node.host.execute(*command(what, argument)))


def command(what: str, argument: object = None) -> Sequence[str]:
    """The command line of one call."""
    return (sys.executable, str(Path(__file__)), what, json.dumps(argument))


def ask_all(probes: Sequence[Probe]) -> Dict[str, List[Dict[str, Any]]]:
    """The answers that each gets from all others, by host."""
    return {probe.name: probe.ask(*(other for other in probes if other is not probe)) for probe in probes}


def main() -> Any:
    sys.path.insert(0, str(ROOT / "build" / "ac"))
    from ansible_collections.weft.flannel.plugins.module_utils import _probe_process as process

    what, argument = sys.argv[1], json.loads(sys.argv[2])
    if what == "stand":
        standing = process.start_probe(SUBNET_FILE, process.read_subnet_file(SUBNET_FILE), LIFETIME)
        places = {
            f"ipv{place.address.version}": {"address": str(place.address), "mtu": place.mtu, "bridge": place.bridge}
            for place in standing.places
        }  # fmt: skip
        return {"id": standing.id, **places}
    if what == "ask":
        return process.ask_probe(SUBNET_FILE, {"peers": argument, "timeout": 1.0, "tries": 2})
    return process.stop_probe(SUBNET_FILE)


if __name__ == "__main__":
    print(json.dumps(main()))
