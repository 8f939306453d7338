# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent loads what its backend needs: what others need would cost every start and every host's memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Set

import pytest

from tests.conftest import COLLECTIONS, ROOT

LOAD = (
    "import sys, flanneld.cli, flanneld.service, flanneld.serving, flanneld.backends.{}; print(*sys.modules)"
)
OF_OTHERS = {
    "flanneld.tables.connection",
    "flanneld.tables.shared_key",
    "flanneld.tables.wireguard",
    "flanneld.tables.wireguard_netlink",
    "flanneld.commands.facts",
    "pyroute2",
}


def load(backend: str) -> Set[str]:
    """All modules of a process that is as far as an agent with its lease."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(backend)],
        env={"PYTHONPATH": f"{COLLECTIONS}:{ROOT / 'roles' / 'flannel' / 'files'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("backend", ["vxlan", "hostgw", "udp", "alloc"])
def test_nothing_of_other_backends_is_loaded(backend: str) -> None:
    assert load(backend) & OF_OTHERS == set()


def test_wireguard_loads_its_own() -> None:
    assert "flanneld.tables.wireguard_netlink" in load("wireguard")
