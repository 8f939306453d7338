# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that forward for the backend udp in the kernel, and whether they can be had where the tests run."""

from __future__ import annotations

import contextlib
import os
import signal
from functools import cache
from typing import Iterator, List, Optional

import pytest
from flanneld.tables.udp_kernel import try_programs

from tests.support.asking import read_report
from tests.support.kernel import add_underlay, fresh_namespace
from tests.support.node import Node
from tests.support.traffic import assert_ping


def require_programs() -> None:
    """Skip the test where none can be loaded: in a user namespace, which tests make that are not run by root."""
    reason = _find_obstacle()
    if reason is not None:
        pytest.skip(f"programs cannot be loaded here: {reason}")


@cache
def _find_obstacle() -> Optional[str]:
    with fresh_namespace():
        add_underlay("eth0", "192.0.2.1/24")
        try:
            try_programs("eth0")
        except OSError as error:
            return str(error)
    return None


def know_each_other(one: Node, two: Node) -> None:
    """Each has learned of the other, and its MAC address: from then on the kernel does it alone."""
    assert_ping(one.container, two.container)
    assert_ping(two.container, one.container)


@contextlib.contextmanager
def held_still(*nodes: Node) -> Iterator[None]:
    """Their agents do nothing meanwhile: what passes, the kernel passes."""
    for node in nodes:
        os.kill(node.agent.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for node in nodes:
            os.kill(node.agent.pid, signal.SIGCONT)


@contextlib.contextmanager
def single_frames(*nodes: Node, checksums: str = "on") -> Iterator[None]:
    """No larger pieces on the wire between them meanwhile. checksums: "off": they are finished, as on a real one."""
    for node in nodes:
        node.host.execute("ethtool", "-K", "eth0", "tso", "off", "gso", "off", "tx", checksums)
    try:
        yield
    finally:
        for node in nodes:
            node.host.execute("ethtool", "-K", "eth0", "tx", "on", "tso", "on", "gso", "on")


def count_joined(node: Node) -> int:
    return int(read_report(node.agent)["udp"]["joined_packets"])


def programs_of(node: Node) -> List[str]:
    shown = node.host.execute("tc", "filter", "show", "dev", "eth0", "ingress", check=False)
    shown += node.host.execute("tc", "filter", "show", "dev", "flannel0", "egress", check=False)
    return [line for line in shown.splitlines() if "flanneld flannel0" in line]


def number_in_driver(node: Node) -> int:
    """Of the program in the driver of its eth0; 0: none. The generic way is none."""
    shown = node.host.ip("link show eth0").split()
    return int(shown[shown.index("prog/xdp") + 2]) if "prog/xdp" in shown and "xdpgeneric" not in shown else 0
