# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that docs/log-lines.md promises, in the log of a whole life: where operators search for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")

PAGE = Path(__file__).resolve().parents[3] / "docs" / "log-lines.md"
KEPT = re.findall(r"^\| `([^`]+)` \| kept \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
KLOG = re.compile(r"[IWEF]\d{4} \d{2}:\d{2}:\d{2}\.\d{6} +\d+ \w+\.py:\d+\] (.*)")


def test_every_line_that_is_kept_is_in_the_log_of_a_life(cluster: Cluster) -> None:
    first = cluster.add_node(1, "--subnet-lease-ttl=6", iface="")
    first.agent.start()
    first.agent.wait_log("Couldn't fetch network config")
    cluster.configure("vxlan")
    first.agent.wait_ready()
    (second,) = cluster.join(2)
    wait_until(lambda: "Subnet added: " in first.agent.log, "the peer is seen")
    subnet = first.host.subnet
    key = second.lease_key
    second.agent.kill()  # else it would put its lease back
    cluster.etcd.delete(key)
    wait_until(lambda: "Subnet removed: " in first.agent.log, "the peer is gone")
    wait_until(lambda: "Lease renewed, " in first.agent.log, "the lease is renewed")
    cluster.etcd.stop()
    wait_until(lambda: "Error renewing lease (" in first.agent.log, "a renewal fails")
    cluster.etcd.start()
    assert first.agent.stop() == 0
    lines = [found[1] for found in map(KLOG.match, first.agent.log.splitlines()) if found]
    missing = {line for line in KEPT if not any(re.match(as_pattern(line), one) for one in lines)}
    # of lives that go another way
    assert missing == {"Using %s as external address", "Found lease (", "Found previously leased subnet ("}
    assert any(line.startswith(f"Allocated lease (ip: {subnet} ") for line in lines), subnet


def as_pattern(line: str) -> str:
    return ".+".join(map(re.escape, line.split("%s")))
