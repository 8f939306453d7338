# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data path: what passes from a container to one on another host, by backend, and without any."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Sequence, Tuple, Union

from tests.bench.daemon import Running, Subject
from tests.bench.results import OURS, Result, Row
from tests.bench.settings import Settings
from tests.bench.traffic import PORT
from tests.support.agent import ROOT
from tests.support.cluster import Cluster
from tests.support.netns import Container, Host
from tests.support.traffic import assert_ping

ABOUT = (
    "From a container to one on another host, one TCP connection, all on this machine: senders, receivers and both "
    "hosts share its processors, so that a ratio is one of what the whole way costs. The hosts are network namespaces "
    "with a bridge between them. In larger pieces: 64 KiB cross the wire at once, as between virtual machines of one "
    "host. In frames: nothing larger than 1500 bytes does, as on a real wire. Processor time is the whole machine's."
)
_TRAFFIC, _PLAIN_LOOP = (ROOT / "tests" / "bench" / f"{name}.py" for name in ("traffic", "plain_loop"))
NETWORK, LOOP_MTU = "10.5.0.0/16", 1472
TCP_SECONDS, FLOOD_SECONDS, PINGS = "2", "1", "300"
LARGER, FRAMES = "in larger pieces", "in frames"
WIRES = {LARGER: "on", FRAMES: "off"}
"""What the hosts' network cards do to TCP: `ethtool -K eth0 tso ... gso ...`."""


class Case(NamedTuple):
    """backend "": without a daemon. more: flags of ours alone; a peer has no such case. routed: the containers hang on
    no bridge."""

    name: str
    backend: str
    more: Tuple[str, ...] = ()
    routed: bool = False


VXLAN = Case("vxlan", "vxlan")
UDP = Case("udp", "udp")
SINGLY = Case("udp, TCP not joined", "udp", ("--udp-gro=off",))
USER = Case("udp in user space", "udp", ("--udp-datapath=user",))
IN_DRIVER = Case("udp, native XDP", "udp", ("--udp-xdp=force",))
VXLAN_ROUTED = Case("vxlan without a bridge", "vxlan", routed=True)
UDP_ROUTED = Case("udp without a bridge", "udp", routed=True)
RAW = Case("from host to host", "")
PLAIN_LOOP = Case("udp, a packet to a system call", "")
CASES = (
    RAW,
    Case("host-gw", "host-gw"),
    VXLAN,
    UDP,
    SINGLY,
    IN_DRIVER,
    VXLAN_ROUTED,
    UDP_ROUTED,
    USER,
    PLAIN_LOOP,
)


class Figure(NamedTuple):
    words: str
    unit: str


TCP = Figure("TCP", "Gbit/s")
SMALL = Figure("packets of 64 bytes", "1000/s")
RTT = Figure("ping", "us")
CPU = Figure("processor time for TCP", "s/GB")
FIGURES = (TCP, SMALL, RTT, CPU)


class Ratio(NamedTuple):
    """Of one case to another, both measured in the same round. goals: by wire."""

    figure: Figure
    case: Case
    to: Case
    goals: Dict[str, float]
    at_least: bool = True


RATIOS = (
    Ratio(TCP, UDP, VXLAN, {LARGER: 0.9, FRAMES: 0.8}),
    Ratio(TCP, UDP_ROUTED, VXLAN_ROUTED, {LARGER: 0.9, FRAMES: 0.8}),
    Ratio(TCP, IN_DRIVER, VXLAN, {FRAMES: 0.95}),
    Ratio(SMALL, UDP, VXLAN, {LARGER: 1.0, FRAMES: 1.0}),
    Ratio(RTT, UDP, VXLAN, {LARGER: 1.2, FRAMES: 1.2}, at_least=False),
    Ratio(TCP, UDP, SINGLY, {FRAMES: 1.2}),
    Ratio(TCP, USER, PLAIN_LOOP, {LARGER: 1.5}),
)


@dataclass(frozen=True)
class Lane:
    """Two ends between which one case runs, in a network of its own."""

    subject: Subject
    case: Case
    hosts: Tuple[Host, Host]
    ends: Tuple[Union[Host, Container], Union[Host, Container]]

    def set_wire(self, offload: str) -> None:
        for host in self.hosts:
            host.execute("ethtool", "-K", "eth0", "tso", offload, "gso", offload)

    def measure(self) -> Dict[str, float]:
        """By the words of a figure."""
        source, target = self.ends
        with _start(target, "receive", str(target.address)) as receiver:
            _run(source, "send", str(target.address), TCP_SECONDS)
            octets, seconds, busy = json.loads(receiver.communicate()[0])
        before = self._count_received()
        # nobody reads: what counts is what arrives
        with target.open_socket(socket.SOCK_DGRAM) as port:
            port.bind((str(target.address), PORT))
            _run(source, "flood", str(target.address), FLOOD_SECONDS)
            arrived = self._count_received() - before
        (answer,) = _run(source, "ping", str(target.address), PINGS)
        return {
            TCP.words: 8 * octets / seconds / 1e9,
            CPU.words: busy / (octets / 1e9),
            SMALL.words: arrived / float(FLOOD_SECONDS) / 1000,
            RTT.words: 1e6 * answer,
        }

    def _count_received(self) -> int:
        return int(self.ends[1].execute("cat", "/sys/class/net/eth0/statistics/rx_packets"))


def _command(where: Union[Host, Container], *arguments: str) -> Sequence[str]:
    return (*where.prefix, sys.executable, "-I", str(_TRAFFIC), *arguments)


def _start(where: Union[Host, Container], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(_command(where, *arguments), stdout=subprocess.PIPE, text=True)


def _run(where: Union[Host, Container], *arguments: str) -> List[float]:
    """What it printed."""
    command = _command(where, *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    numbers: List[float] = json.loads(done.stdout)
    return numbers


class DataPath:
    """Rows in the order in which they were first measured."""

    def __init__(self, cluster: Cluster, settings: Settings, stack: ExitStack) -> None:
        self._cluster = cluster
        self._stack = stack
        self._rows: Dict[str, Row] = {}
        self.lanes = [
            self._open_lane(number, subject, case)
            for number, (subject, case) in enumerate(list_lanes(settings.subjects))
        ]

    @property
    def rows(self) -> Tuple[Row, ...]:
        return tuple(self._rows.values())

    def measure_round(self) -> None:
        for wire, offload in WIRES.items():
            found: Dict[Tuple[str, Case], Dict[str, float]] = {}
            for lane in self.lanes:
                lane.set_wire(offload)
                found[lane.subject.name, lane.case] = lane.measure()
            for figure in FIGURES:
                for (subject, case), samples in found.items():
                    row = Row(f"{wire}, {case.name}: {figure.words}", figure.unit)
                    self._add(row, subject, samples[figure.words])
            for ratio in RATIOS:
                ours, others = (found[OURS, case][ratio.figure.words] for case in (ratio.case, ratio.to))
                what = f"{wire}: {ratio.figure.words}, {ratio.case.name} to {ratio.to.name}"
                row = Row(what, "", ratio.goals.get(wire, 0.0), ratio.at_least)
                self._add(row, OURS, ours / others)

    def _add(self, row: Row, subject: str, sample: float) -> None:
        self._rows.setdefault(row.what, row).add(subject, sample)

    def _open_lane(self, number: int, subject: Subject, case: Case) -> Lane:
        one, two = (self._add_host(2 * number + end) for end in (1, 2))
        if case == RAW:
            return Lane(subject, case, (one, two), (one, two))
        if case == PLAIN_LOOP:
            self._start_loop(one, two, "10.5.1.1/24")
            self._start_loop(two, one, "10.5.2.1/24")
        else:
            self._start_daemons(subject, case, f"/bench/data-path-{number}", one, two)
        ends = (one.add_container(), two.add_container())
        if case == IN_DRIVER:  # joining is the card's
            for host in (one, two):
                host.execute("ethtool", "-K", "eth0", "gro", "on")
        if case.routed:
            one.take_off_bridge(ends[0])
            two.take_off_bridge(ends[1])
        assert_ping(*ends)
        assert_ping(*reversed(ends))
        return Lane(subject, case, (one, two), ends)

    def _start_daemons(self, subject: Subject, case: Case, prefix: str, *hosts: Host) -> None:
        config = {"Network": NETWORK, "Backend": {"Type": case.backend}}
        self._cluster.etcd.put(f"{prefix}/config", json.dumps(config))
        for host in hosts:
            daemon = Running(subject, host, self._cluster.etcd.endpoint, prefix, case.more)
            self._stack.enter_context(daemon).wait_published()

    def _start_loop(self, host: Host, other: Host, bridge: str) -> None:
        command = (
            *host.prefix,
            sys.executable,
            "-I",
            str(_PLAIN_LOOP),
            str(host.address),
            str(other.address),
        )
        loop = self._stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        self._stack.callback(loop.kill)
        assert loop.stdout is not None
        assert loop.stdout.readline() == "ready\n", "the loop did not start"
        host.ip(f"link set flannel0 mtu {LOOP_MTU} up")
        host.ip(f"route add {NETWORK} dev flannel0")
        host.subnet_file.parent.mkdir()
        host.subnet_file.write_text(f"FLANNEL_SUBNET={bridge}\nFLANNEL_MTU={LOOP_MTU}\n")

    def _add_host(self, number: int) -> Host:
        host = Host(self._cluster.switch, number)
        self._stack.callback(host.delete)
        return host


def list_lanes(subjects: Sequence[Subject]) -> List[Tuple[Subject, Case]]:
    """Ours first; a peer has the backends that it knows, and nothing without one."""
    ours, *peers = subjects
    others = [(peer, case) for peer in peers for case in CASES if case.backend and not case.more]
    return [*((ours, case) for case in CASES), *others]


def measure(settings: Settings) -> Result:
    with Cluster() as cluster, ExitStack() as stack:
        section = DataPath(cluster, settings, stack)
        for number in range(settings.rounds):
            section.measure_round()
            settings.tell(f"data path: round {number + 1} of {settings.rounds}")
    return Result("data-path", "Data path", ABOUT, section.rows)
