# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Allocation: many hosts that ask one etcd for a subnet at the same time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout

from tests.bench.leases import Writer
from tests.bench.results import OURS, Result, Row
from tests.bench.settings import Settings
from tests.support.etcd import EtcdServer

CASES = ((100, 255), (500, 1023), (500, 599))
"""(hosts, subnets of the network)"""
PROCESSES = 4
ABOUT = (
    "The agent's way to a lease, each host a thread with a connection of its own, in four processes that begin "
    "together, beside etcd on the same machine. An attempt is a write of a lease, whether it wins or not."
)


def join_together(endpoint: str, prefix: str, hosts: int, subnets: int) -> List[Dict[str, Any]]:
    """Have so many hosts take a lease in an empty network: what each got, and how (joining.py says the keys)."""
    writer = Writer(endpoint)
    writer.put(Layout.from_prefix(prefix).config, json.dumps(make_network(subnets)).encode())
    writer.close()
    share = hosts // PROCESSES
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.joining", endpoint, prefix, str(number * share), str(share)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", "a process did not get ready"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [json.loads(child.communicate()[0]) for child in children]
    return [one for answer in answers for one in answer]


def make_network(subnets: int) -> Dict[str, Any]:
    """A network config with so many subnets."""
    last = f"10.{64 + subnets // 256}.{subnets % 256}.0"
    return {
        "Network": "10.64.0.0/10",
        "SubnetLen": 24,
        "SubnetMin": "10.64.1.0",
        "SubnetMax": last,
        "Backend": {"Type": "vxlan"},
    }


def goal_for(hosts: int, subnets: int) -> float:
    """Attempts in the mean where half of the subnets stay free; none (0) where races for the last ones are the rule."""
    return 1.5 if subnets >= 2 * hosts else 0.0


def measure(settings: Settings) -> Result:
    rows: Dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as directory, EtcdServer(Path(directory)) as etcd:
        for number in range(settings.rounds):
            for hosts, subnets in CASES:
                joined = join_together(etcd.endpoint, f"/{number}/{hosts}-{subnets}", hosts, subnets)
                distinct = len({one["subnet"] for one in joined})
                attempts = [one["attempts"] for one in joined]
                for what, unit, sample, goal, at_least in (
                    ("distinct subnets", "", distinct, hosts, True),
                    (
                        "attempts of a host, mean",
                        "",
                        statistics.mean(attempts),
                        goal_for(hosts, subnets),
                        False,
                    ),
                    ("attempts of a host, most", "", max(attempts), 0, False),
                    ("time of a host", "s", statistics.median(one["seconds"] for one in joined), 0, False),
                    ("until the last has one", "s", max(one["seconds"] for one in joined), 0, False),
                ):
                    name = f"{hosts} hosts, {subnets} subnets: {what}"
                    rows.setdefault(name, Row(name, unit, goal, at_least)).add(OURS, sample)
            settings.tell(f"allocation: round {number + 1} of {settings.rounds}")
    return Result("allocation", "Allocation", ABOUT, tuple(rows.values()))
