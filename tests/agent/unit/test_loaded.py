# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent loads what its backend needs: what others need would cost every start and every host's memory."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Dict, FrozenSet, Set

import pytest

from tests.conftest import COLLECTIONS, ROOT

LOAD = (
    "import sys, flanneld.cli, flanneld.service, flanneld.serving, flanneld.backends.{}\n"
    "from ansible_collections.weft.flannel.plugins.module_utils._etcd import load_library\n"
    "load_library()\n"
    "print(*sys.modules)"
)
BACKENDS = ("vxlan", "hostgw", "udp", "alloc", "ipip", "wireguard", "ipsec", "extension")
# Beside its module in backends. What finds and removes the leftovers of another backend is no such thing: every host
# has it.
OF_ONE: Dict[str, Set[str]] = {
    "udp": {
        "flanneld.bpf.assembler",
        "flanneld.bpf.system_call",
        "flanneld.bpf.udp_programs",
        "flanneld.tables.early",
        "flanneld.tables.udp",
        "flanneld.tables.udp_joining",
        "flanneld.tables.udp_kernel",
        "flanneld.udp.coalescing",
        "flanneld.udp.loop",
        "flanneld.udp.packet",
        "flanneld.udp.peer_map",
        "flanneld.udp.segmentation",
        "flanneld.udp.traffic",
    },
    "wireguard": {
        "flanneld.backends.wireguard_peers",
        "flanneld.tables.wireguard",
        "flanneld.tables.wireguard_netlink",
    },
    "ipsec": {"flanneld.tables.connection", "flanneld.tables.shared_key"},
}
OF_NONE = {
    "etcd3.client",
    "etcd3.locks",
    "tenacity",
    "flanneld.commands.facts",
    "prometheus_client",
    "pyroute2",
}


@functools.cache
def load(backend: str) -> FrozenSet[str]:
    """All modules of a process that is as far as an agent with its lease."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(backend)],
        env={"PYTHONPATH": f"{COLLECTIONS}:{ROOT / 'roles' / 'flannel' / 'files'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(done.stdout.split())


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_loaded_that_others_need_or_nobody(backend: str) -> None:
    others = {f"flanneld.backends.{other}" for other in BACKENDS if other != backend}
    others.update(*(modules for other, modules in OF_ONE.items() if other != backend))
    assert load(backend) & (others | OF_NONE) == set()


@pytest.mark.parametrize("backend", OF_ONE)
def test_what_a_backend_needs_is_loaded_for_it(backend: str) -> None:
    """Else the names above are none of ours any more."""
    assert OF_ONE[backend] <= load(backend)
