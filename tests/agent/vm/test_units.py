# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's units under systemd, with all their fences: the backends whose modules Molecule's machines may lack.

The files are the golden ones, which tests/unit/roles compares with what the role's templates become.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterator, Tuple

import pytest

from tests.support.agent import BUNDLE
from tests.support.charon import policies, states
from tests.support.cluster import Cluster
from tests.support.ipsec import PSK, add_charon, listening
from tests.support.machine import Machine
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_ping, source_seen
from tests.support.waiting import wait_until

pytestmark = pytest.mark.modules("esp4", "xfrm_user", "ipip", "wireguard")

GOLDEN = Path(__file__).resolve().parents[2] / "unit/roles/golden/defaults"
FLANNELD, CHARON = "flanneld.service", "flannel-charon.service"
KEY_AS_CREDENTIAL = b"[Service]\nLoadCredential=ipsec-psk:/etc/flanneld/ipsec-psk\n"
"""What backend-ipsec.conf says besides, where the key is not in the network config."""

Pair = Tuple[Cluster, Machine, Node, Node]


def collect_files(endpoint: str) -> Dict[str, bytes]:
    """What the role puts on a host for the backend ipsec, the key in a file."""
    settings = re.sub(
        "^FLANNELD_ETCD_ENDPOINTS=.*$",
        f"FLANNELD_ETCD_ENDPOINTS={endpoint}\nFLANNELD_IFACE=eth0",
        (GOLDEN / "flanneld.env").read_text(),
        flags=re.MULTILINE,
    )
    units = "etc/systemd/system"
    return {
        f"{units}/{FLANNELD}": (GOLDEN / FLANNELD).read_bytes(),
        f"{units}/{CHARON}": (GOLDEN / CHARON).read_bytes(),
        f"{units}/{FLANNELD}.d/20-backend.conf": (GOLDEN / "backend-ipsec.conf").read_bytes(),
        f"{units}/{FLANNELD}.d/30-key.conf": KEY_AS_CREDENTIAL,
        "etc/flanneld/flanneld.env": settings.encode(),
        "etc/flanneld/charon.conf": (GOLDEN / "charon.conf").read_bytes(),
        "etc/flanneld/ipsec-psk": f"{PSK}\n".encode(),
        "usr/lib/flanneld/flanneld": (GOLDEN / "flanneld.sh").read_bytes(),
        "usr/lib/flanneld/flanneld.pyz": BUNDLE.read_bytes(),
    }


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Pair]:
    """A host that systemd has booted with the role's units, and one as the other tests have it."""
    with Cluster() as cluster:
        cluster.configure("ipsec")
        one, two = cluster.add_node(1), cluster.add_node(2, "--ipsec-psk-file=/run/psk")
        key = two.host.run_dir / "psk"
        key.write_text(PSK)
        key.chmod(0o600)
        machine = Machine(
            one.host,
            collect_files(cluster.etcd.endpoint),
            units=(FLANNELD, CHARON),
            masked=("etcd.service", "strongswan.service"),
        )
        cluster.at_end(machine.close)
        machine.boot()
        add_charon(cluster, two).start()
        two.agent.start()
        machine.wait_active(FLANNELD)
        two.agent.wait_ready()
        yield cluster, machine, one, two


def test_ipsec(pair: Pair) -> None:
    """Its daemon in a unit of its own, which neither ends with flanneld nor takes tunnels with it."""
    cluster, machine, one, two = pair
    machine.wait_active(CHARON)
    with listening(cluster, one, two):
        for source, target in ((one.container, two.container), (two.container, one.container)):
            assert_ping(source, target)
            assert source_seen(source, target, target.address) == str(source.address)
        tunnels, charon = states(one.host), machine.main_pid(CHARON)
        with Pinger(one.container, two.container) as pinger:
            machine.systemctl("restart", FLANNELD)
        pinger.assert_nothing_lost()
        assert (states(one.host), machine.main_pid(CHARON)) == (tunnels, charon)

        machine.systemctl("kill", "--signal=KILL", CHARON)
        wait_until(lambda: machine.main_pid(CHARON) not in ("0", charon), "another charon")
        machine.wait_active(CHARON)
        assert_ping(one.container, two.container)
    assert_nothing_was_refused(machine)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["wireguard", "ipip"])
def test_others_under_the_same_unit(pair: Pair, backend: str) -> None:
    cluster, machine, one, two = pair
    cluster.configure(backend)
    two.agent.stop()
    two.agent.start()
    machine.systemctl("restart", FLANNELD)
    two.agent.wait_ready()
    # Where they are left on one host only, that one drops what no longer comes encrypted.
    wait_until(lambda: policies(one.host) + policies(two.host) == [], "the policies of ipsec are gone")
    for source, target in ((one.container, two.container), (two.container, one.container)):
        assert_ping(source, target)
        assert source_seen(source, target, target.address) == str(source.address)
    with Pinger(one.container, two.container) as pinger:
        machine.systemctl("restart", FLANNELD)
    pinger.assert_nothing_lost()
    assert_nothing_was_refused(machine)


def assert_nothing_was_refused(machine: Machine) -> None:
    """By the fences of the units: what they forbid is answered with EPERM or EACCES."""
    for unit in (FLANNELD, CHARON):
        journal = machine.journal(unit)
        assert not re.search("(?i)not permitted|permission denied|read-only file system", journal), journal
        assert "Started" in machine.execute("journalctl", "--no-pager", f"UNIT={unit}")
