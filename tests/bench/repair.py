# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long flanneld takes to start and to put things right, in the usual case: `python3 tests/bench/repair.py`.

Not a test: a loaded machine makes the figures worse, and nothing wrong. The time for a repair includes noticing it
here, which takes about as long as the commands that read the host's state.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from pathlib import Path
from typing import List, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

importlib.import_module("tests.conftest")  # makes the collection importable
from tests.support.agent import build_bundle
from tests.support.cluster import Cluster
from tests.support.damage import IN_THE_FIREWALL, ON_THE_DEVICE, ON_THE_HOST, Damage
from tests.support.netns import enter_private_namespaces
from tests.support.node import Node
from tests.support.traffic import assert_ping
from tests.support.waiting import wait_until

ROUNDS = 5


def report(what: str, seconds: Sequence[float]) -> None:
    print(f"{what:32} median {statistics.median(seconds):5.2f} s   worst {max(seconds):5.2f} s")


def time_start(node: Node) -> float:
    """From exec to READY=1, when subnet.env is there."""
    began = time.monotonic()
    node.agent.start()
    node.agent.wait_ready()
    return time.monotonic() - began


def time_repair(one: Node, two: Node, damage: Damage) -> float:
    """From the moment the damage is done until the kernel looks as it did before."""
    whole = one.state()
    damage(one, two)
    began = time.monotonic()
    wait_until(lambda: one.state() == whole, damage.__name__, timeout=60)
    return time.monotonic() - began


def measure(backend: str, damages: Sequence[Damage]) -> None:
    print(f"--- {backend}")
    with Cluster() as cluster:
        cluster.configure(backend)
        one, two = (cluster.add_node(number, "--ip-masq") for number in (1, 2))
        report("first start", [time_start(one), time_start(two)])
        assert_ping(one.container, two.container)
        restarts: List[float] = []
        for _round in range(ROUNDS):
            one.agent.kill()
            restarts.append(time_start(one))
        report("restart after kill -9", restarts)
        for damage in damages:
            report(damage.__name__, [time_repair(one, two, damage) for _round in range(ROUNDS)])


if __name__ == "__main__":
    build_bundle()
    enter_private_namespaces()
    measure("vxlan", ON_THE_DEVICE + ON_THE_HOST + IN_THE_FIREWALL)
    measure("host-gw", ON_THE_HOST)
