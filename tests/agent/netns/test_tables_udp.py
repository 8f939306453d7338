# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TUN devices, and the path and peer tables of udp, against the real kernel: a dump tells what really forwards."""

from __future__ import annotations

import os
import socket
import threading
from ipaddress import ip_address, ip_network
from typing import Iterator, List

import pytest
from flanneld.reconciler import Reconciler
from flanneld.tables import Change
from flanneld.tables.device import OtherLink
from flanneld.tables.link import LinkTable
from flanneld.tables.notifications import KernelMessages, open_kernel_socket, read_news
from flanneld.tables.scope import Scope
from flanneld.tables.tun_link import TunLink
from flanneld.tables.udp import UdpPath, UdpPathTable, UdpPeer, UdpPeerTable, make_user_space
from flanneld.udp.tun import open_queue

from tests.support.kernel import add_underlay, fresh_namespace, sh
from tests.support.packets import udp
from tests.support.waiting import wait_until

SCOPE = Scope(frozenset({"flannel0"}), "eth0", ())
LINK = TunLink("flannel0", 1472)
PATH = UdpPath("flannel0", ip_address("192.0.2.1"), 8285, ip_address("10.5.34.0"))
PEER = UdpPeer("flannel0", ip_network("10.5.72.0/24"), ip_address("192.0.2.2"))

pytestmark = pytest.mark.newest


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with fresh_namespace():
        add_underlay("eth0", "192.0.2.1/24")
        yield


@pytest.fixture
def tables() -> Iterator[List[object]]:
    path, peers = make_user_space("flannel0")
    yield [LinkTable(SCOPE), path, peers]
    path.apply([Change("flannel0", PATH, None)])


def make(tables: List[object]) -> Reconciler:
    """All of it, as the agent makes it."""
    reconciler = Reconciler(tables)  # type: ignore[arg-type]
    reconciler.want("node", [LINK, PATH])
    reconciler.want("peer", [PEER])
    reconciler.mark_all()
    reconciler.reconcile()
    assert reconciler.settled, reconciler.problems()
    return reconciler


def threads() -> List[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("udp path")]


def test_a_tun_stays_without_a_process() -> None:
    table = LinkTable(SCOPE)
    assert table.apply([Change("flannel0", None, LINK)]) == {}
    assert table.dump()["flannel0"] == LINK
    assert table.owns(table.dump()["flannel0"])
    shown = " ".join(sh("ip -d link show flannel0"))
    assert "mtu 1472" in shown
    assert "tun type tun pi off vnet_hdr on persist on" in shown
    assert table.apply([Change("flannel0", LINK, TunLink("flannel0", 1400))]) == {}
    assert table.dump()["flannel0"].mtu == 1400
    assert table.apply([Change("flannel0", LINK, None)]) == {}
    assert "flannel0" not in table.dump()


@pytest.mark.parametrize(
    "command", ["ip tuntap add dev flannel0 mode tap", "ip link add flannel0 type bridge"]
)
def test_a_device_of_another_kind_is_not_ours_and_gives_way_to_ours(command: str) -> None:
    sh(command)
    table = LinkTable(SCOPE)
    found = table.dump()["flannel0"]
    assert isinstance(found, OtherLink)
    assert not table.owns(found)
    assert table.apply([Change("flannel0", found, LINK)]) == {}
    assert table.dump()["flannel0"] == LINK


def test_the_tun_of_a_process_is_not_ours() -> None:
    sh("ip tuntap add dev flannel0 mode tun")
    descriptor = open_queue("flannel0")
    try:
        import fcntl

        fcntl.ioctl(descriptor, 0x400454CB, 0)  # TUNSETPERSIST: it goes with us now
        table = LinkTable(SCOPE)
        found = table.dump()["flannel0"]
        assert not table.owns(found)
        error = table.apply([Change("flannel0", found, LINK)])["flannel0"]
        assert "another process has flannel0 open" in str(error)
    finally:
        os.close(descriptor)


def test_a_queue_is_opened_only_of_a_device_that_stands() -> None:
    with pytest.raises(OSError, match="No such device"):
        open_queue("flannel0")
    assert "flannel0" not in LinkTable(SCOPE).dump()


def test_a_dump_tells_what_runs(tables: List[object]) -> None:
    reconciler = make(tables)
    _link, path, peers = tables
    assert isinstance(path, UdpPathTable)
    assert isinstance(peers, UdpPeerTable)
    assert path.dump() == {"flannel0": PATH}
    assert peers.dump() == {PEER.subnet: PEER}
    assert threads() == ["udp path flannel0"]
    reconciler.forget("peer")
    reconciler.forget("node")
    reconciler.allow_removal()
    reconciler.reconcile()
    assert (path.dump(), peers.dump(), threads()) == ({}, {}, [])
    assert "flannel0" not in LinkTable(SCOPE).dump()


def test_another_local_address_is_bound(tables: List[object]) -> None:
    reconciler = make(tables)
    sh("ip addr add 192.0.2.77/24 dev eth0")
    moved = UdpPath("flannel0", ip_address("192.0.2.77"), 8285, PATH.own)
    reconciler.want("node", [LINK, moved])
    reconciler.reconcile()
    assert reconciler.settled
    assert "192.0.2.77:8285" in " ".join(sh("ss -lun"))
    assert "192.0.2.1:8285" not in " ".join(sh("ss -lun"))
    assert len(threads()) == 1


@pytest.mark.parametrize("end", ["an error nobody expected", "the device is deleted"])
def test_when_the_thread_ends_the_kernel_tells_and_it_runs_again(tables: List[object], end: str) -> None:
    reconciler = make(tables)
    path = tables[1]
    assert isinstance(path, UdpPathTable)
    with open_kernel_socket() as kernel:
        if end == "the device is deleted":
            sh("ip link del flannel0")
        else:
            forwarding = path._space.forwarding
            assert forwarding is not None
            forwarding.traffic.from_wire = None  # type: ignore[assignment,method-assign]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(udp("10.5.72.2", "10.5.34.2", b""), ("192.0.2.1", 8285))
        wait_until(lambda: path.dump() == {}, "the path has ended")

        def repaired() -> bool:
            for news in read_news(kernel):
                if isinstance(news, KernelMessages):
                    for message in news.messages:
                        reconciler.note(message)
            reconciler.reconcile()
            return reconciler.settled and path.dump() == {"flannel0": PATH}

        wait_until(repaired, "notifications alone bring it back")
    assert threads() == ["udp path flannel0"]
    assert reconciler.repairs["udp path"] >= 1


def test_a_port_that_another_program_has_is_told(tables: List[object]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("192.0.2.1", 8285))
        LinkTable(SCOPE).apply([Change("flannel0", None, LINK)])
        path = tables[1]
        assert isinstance(path, UdpPathTable)
        error = path.apply([Change("flannel0", None, PATH)])["flannel0"]
        assert "ss -lunp sport = :8285" in str(error)
        assert (path.dump(), threads()) == ({}, [])
