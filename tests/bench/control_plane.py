# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control plane: from leases to routes, with up to ten thousand peers."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import Dict, Iterator, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Subnets

from tests.bench.daemon import RouteEar, Running, Subject
from tests.bench.leases import ON_LINK, Writer, make_subnet, make_value
from tests.bench.results import OURS, Result, Row
from tests.bench.settings import Settings
from tests.support.agent import PYTHON
from tests.support.cluster import Cluster
from tests.support.netns import UNDERLAY, Host, execute

BACKENDS = ("host-gw", "vxlan")
SIZES = (1000, 5000, 10000)
FEW = 3
EVENTS = 20
PARTS = (("host-gw", 5000), ("vxlan", 5000), ("vxlan", 10000))
UNTIL_PROGRAMMED = ("read", "judge", "derive", "program")
GOALS = {
    ("host-gw", 5000, "from the list"): 0.5,
    ("vxlan", 5000, "from the list"): 0.6,
    ("vxlan", 10000, "full pass"): 0.2,
    ("vxlan", 10000, "one event"): 5,
    ("vxlan", FEW, "memory"): 60,
    ("vxlan", 10000, "memory"): 130,
    ("vxlan", FEW, "start"): 0.35,
}
FLOOR = (PYTHON, "-Ic", "import grpc")
"""What a start cannot be faster than: Python and the library that speaks to etcd, and nothing of ours. -I: with the
byte code that Debian has made, wherever the variables of this process have Python look for it."""
ABOUT = (
    "Start: the daemon as a host runs it, beside etcd on the same machine, on a host that has a lease and no kernel "
    "state; processor time is that of the daemon. From the list, full pass: the agent's own parts in one process, the "
    "kernel included, etcd and gRPC not. Public IPs are all different and on the link."
)


class ControlPlane:
    """Rows in the order in which they were first measured."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._writer = Writer(cluster.etcd.endpoint)
        self._rows: Dict[Tuple[str, str], Row] = {}

    @property
    def rows(self) -> Tuple[Row, ...]:
        return tuple(self._rows.values())

    def fill(self) -> None:
        """A network for each case, side by side in one etcd."""
        for backend in BACKENDS:
            for hosts in (FEW, *SIZES):
                self._writer.fill(_layout(backend, hosts), backend, hosts)

    def measure_round(self) -> None:
        for backend, hosts in PARTS:
            self._measure_parts(backend, hosts)
        for backend in BACKENDS:
            for hosts in (FEW, *SIZES):
                for subject in self._settings.subjects:
                    self._measure_start(subject, backend, hosts)

    def _measure_parts(self, backend: str, hosts: int) -> None:
        command = [sys.executable, "-m", "tests.bench.parts", backend, str(hosts)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        seconds: Dict[str, float] = json.loads(done.stdout)
        total = sum(seconds[name] for name in UNTIL_PROGRAMMED)
        self._add(backend, hosts, "from the list", "list of leases to programmed", "s CPU", OURS, total)
        for name in (*UNTIL_PROGRAMMED, "program, of it in the kernel", "hear the echo"):
            self._add(backend, hosts, name, f"  {name}", "s CPU", OURS, seconds[name])
        self._add(
            backend, hosts, "full pass", "everything read and compared", "s CPU", OURS, seconds["full pass"]
        )

    def _measure_start(self, subject: Subject, backend: str, hosts: int) -> None:
        layout = _layout(backend, hosts)
        with self._host() as host:
            if hosts == FEW:  # its lease is warm from the second start on
                with Running(subject, host, self._cluster.etcd.endpoint, layout.prefix) as daemon:
                    daemon.wait_published()
                    daemon.wait_idle()
            with Running(subject, host, self._cluster.etcd.endpoint, layout.prefix) as daemon:
                daemon.wait_published()
                took, spent = daemon.age, daemon.cpu
                self._add(backend, hosts, "start", "start to subnet.env", "s", subject.name, took)
                if hosts == FEW:
                    self._compare_with_floor(subject, backend, took, spent)
                daemon.wait_routes(hosts)
                self._add(backend, hosts, "all", "start to all programmed", "s", subject.name, daemon.age)
                self._add(backend, hosts, "all, CPU", "the same", "s CPU", subject.name, daemon.cpu)
                daemon.wait_idle()
                self._add(backend, hosts, "idle, CPU", "start to idle", "s CPU", subject.name, daemon.cpu)
                self._add(backend, hosts, "memory", "resident, idle", "MB", subject.name, daemon.memory)
                if hosts == max(SIZES):
                    self._measure_events(subject, backend, hosts, host)

    def _compare_with_floor(self, subject: Subject, backend: str, took: float, spent: float) -> None:
        """took, spent: seconds until subnet.env was there, and of processor time."""
        floor_took, floor_spent = _measure_floor()
        for figure, unit, sample in (
            ("start to subnet.env", "s CPU", spent),
            ("start to subnet.env, to loading gRPC alone", "s / s", took / floor_took),
            ("start to subnet.env, to loading gRPC alone", "s CPU / s CPU", spent / floor_spent),
        ):
            self._add(backend, FEW, unit, figure, unit, subject.name, sample)

    def _measure_events(self, subject: Subject, backend: str, hosts: int, host: Host) -> None:
        layout, delays = _layout(backend, hosts), []
        ear = RouteEar(host)
        for number in range(hosts, hosts + EVENTS):
            key, value = layout.subnet_key(Subnets(make_subnet(number))), make_value(number, backend)
            began = time.monotonic()
            self._writer.put(key, value)
            ear.wait_for(make_subnet(number))
            delays.append(1000 * (time.monotonic() - began))
        ear.close()
        for number in range(hosts, hosts + EVENTS):
            self._writer.delete(layout.subnet_key(Subnets(make_subnet(number))))
        median = statistics.median(delays)
        self._add(
            backend, hosts, "one event", "one more lease, written to programmed", "ms", subject.name, median
        )

    def _add(
        self, backend: str, hosts: int, figure: str, words: str, unit: str, subject: str, sample: float
    ) -> None:
        name = f"{backend}, {hosts} peers: {words}"
        row = Row(name, unit, GOALS.get((backend, hosts, figure), 0.0))
        self._rows.setdefault((name, unit), row).add(subject, sample)

    @contextmanager
    def _host(self) -> Iterator[Host]:
        host = Host(self._cluster.switch, 1)
        try:
            host.ip(f"address add {ON_LINK} dev eth0")
            yield host
        finally:
            # the kernel takes its time with a namespace, and the next host has the same name
            host.ip("link delete eth0")
            host.delete()


def _measure_floor() -> Tuple[float, float]:
    """Seconds that it takes, and of processor time."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(FLOOR, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, spent


def _layout(backend: str, hosts: int) -> Layout:
    return Layout.from_prefix(f"/bench/{backend}-{hosts}")


def reach_etcd(cluster: Cluster) -> None:
    """Plug this process, too, into the switch that the cluster's etcd is on."""
    cluster.switch.ip(f"link add bench type veth peer name bench netns {os.getpid()}")
    cluster.switch.ip("link set bench master br0 up")
    execute("ip", "address", "add", f"{UNDERLAY[250]}/{UNDERLAY.prefixlen}", "dev", "bench")
    execute("ip", "link", "set", "bench", "up")


def measure(settings: Settings) -> Result:
    with Cluster() as cluster:
        reach_etcd(cluster)
        section = ControlPlane(cluster, settings)
        section.fill()
        for number in range(settings.rounds):
            section.measure_round()
            settings.tell(f"control plane: round {number + 1} of {settings.rounds}")
    return Result("control-plane", "Control plane", ABOUT, section.rows)
