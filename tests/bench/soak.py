# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes long: a million events, minutes of churn, five hundred hosts at once, ten thousand leases: `make soak`.

Each scenario says what it saw and fails if that is not what it should be. What could grow is compared with what it was
at first; nothing is held against an absolute time.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

importlib.import_module("tests.conftest")  # makes the collection importable
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Subnets

from tests.bench.allocation import join_together
from tests.bench.control_plane import reach_etcd
from tests.bench.daemon import RouteEar, Running, list_subjects
from tests.bench.leases import ON_LINK, Writer, make_subnet, make_value
from tests.support.agent import build_bundle
from tests.support.cluster import Cluster
from tests.support.etcd import EtcdServer
from tests.support.netns import Host, enter_private_namespaces

EVENTS = 1_000_000
PEERS = 1000
AT_ONCE = 50
"""Leases that end, and as many that begin, in one revision of the store."""
LOOKS = 20
GROWTH = 1.05
"""So much may be resident in the last quarter of the events to what was in the second: the first warms up."""

CHURN_SECONDS = 300
CHURN_RATE = 100
LAG_GROWTH = 2.0
"""How much later than in its first third a lease may be programmed in the last third of the churn, in the median."""
LAG_ALLOWANCE = 0.05
"""Seconds that a busy machine may add to that."""

HOSTS, SUBNETS, ATTEMPTS = 500, 1023, 1.5
MANY = 10_000
LAYOUT = Layout.from_prefix("/soak")


@contextmanager
def agent_among(peers: int, backend: str = "vxlan") -> Iterator[Tuple[Writer, Host, Running]]:
    """An agent that has programmed so many peers, and a writer to the etcd it watches."""
    # a million events are more than etcd keeps
    with Cluster(
        etcd_flags=("--auto-compaction-mode=revision", "--auto-compaction-retention=1000")
    ) as cluster:
        reach_etcd(cluster)
        writer = Writer(cluster.etcd.endpoint)
        writer.fill(LAYOUT, backend, peers)
        host = Host(cluster.switch, 1)
        cluster.at_end(host.delete)
        host.ip(f"address add {ON_LINK} dev eth0")
        (ours,) = list_subjects("")
        with Running(ours, host, cluster.etcd.endpoint, LAYOUT.prefix) as daemon:
            daemon.wait_routes(peers)
            daemon.wait_idle()
            yield writer, host, daemon
        writer.close()


def soak_memory(events: int = EVENTS) -> str:
    """A cluster whose hosts come and go a million times needs no more memory at the end."""
    resident: List[float] = []
    steps = events // (2 * AT_ONCE)
    with agent_among(PEERS) as (writer, host, daemon):
        ear = RouteEar(host)
        for step in range(steps):
            first = step * AT_ONCE
            gone = range(first, first + AT_ONCE)
            come = range(first + PEERS, first + PEERS + AT_ONCE)
            writer.exchange(LAYOUT, "vxlan", _around(gone), _around(come))
            ear.wait_for(make_subnet(_around(come)[-1]))
            if step % (steps // LOOKS) == 0:
                daemon.wait_idle()
                resident.append(daemon.memory)
        ear.close()
        daemon.wait_routes(PEERS)
    quarter = len(resident) // 4
    before, after = statistics.median(resident[quarter : 2 * quarter]), statistics.median(resident[-quarter:])
    assert after <= before * GROWTH, f"resident memory grew from {before:.1f} to {after:.1f} MB: {resident}"
    return f"{events} events: {before:.1f} MB resident in the second quarter, {after:.1f} MB in the last"


def _around(numbers: range) -> List[int]:
    """Numbers of hosts that do not end: after the 40,000th comes the first again."""
    return [number % 40_000 for number in numbers]


def soak_churn(seconds: int = CHURN_SECONDS) -> str:
    """A hundred events a second, for minutes: the agent keeps up."""
    lags: List[float] = []
    with agent_among(PEERS) as (writer, host, _daemon):
        ear = RouteEar(host)
        began = time.monotonic()
        for second in range(seconds):
            for event in range(CHURN_RATE // 2):
                number = PEERS + second * CHURN_RATE + event
                due = began + second + event * 2 / CHURN_RATE
                time.sleep(max(0.0, due - time.monotonic()))
                key = LAYOUT.subnet_key(Subnets(make_subnet(number % 40_000)))
                written = time.monotonic()
                writer.put(key, make_value(number % 40_000, "vxlan"))
                if event == 0:
                    ear.wait_for(make_subnet(number % 40_000))
                    lags.append(time.monotonic() - written)
                writer.delete(key)
        behind = time.monotonic() - began - seconds
        ear.close()
    third = len(lags) // 3
    first, last = statistics.median(lags[:third]), statistics.median(lags[-third:])
    assert last <= first * LAG_GROWTH + LAG_ALLOWANCE, (
        f"a lease took {first:.3f} s at first and {last:.3f} s at last"
    )
    return (
        f"{CHURN_RATE} events a second for {seconds} s (written {max(0.0, behind):.1f} s late): "
        f"programmed after {1000 * first:.1f} ms in the first third, {1000 * last:.1f} ms in the last"
    )


def soak_joining(hosts: int = HOSTS, subnets: int = SUBNETS) -> str:
    """Hosts that join at once each get a subnet of their own, and seldom lose a race for one."""
    with tempfile.TemporaryDirectory() as directory, EtcdServer(Path(directory)) as etcd:
        joined = join_together(etcd.endpoint, "/soak", hosts, subnets)
    distinct = {one["subnet"] for one in joined}
    assert len(distinct) == len(joined) == hosts, f"{hosts} hosts have {len(distinct)} subnets"
    mean = statistics.mean(one["attempts"] for one in joined)
    assert mean <= ATTEMPTS, f"{mean:.2f} attempts of a host in the mean"
    return f"{hosts} hosts, {subnets} subnets: {len(distinct)} distinct, {mean:.2f} attempts in the mean"


def soak_many(leases: int = MANY) -> str:
    """Ten thousand leases are listed and applied, one more is a route, one that ends is none."""
    with agent_among(leases) as (writer, host, daemon):
        ear = RouteEar(host)
        writer.put(LAYOUT.subnet_key(Subnets(make_subnet(leases))), make_value(leases, "vxlan"))
        ear.wait_for(make_subnet(leases))
        ear.close()
        daemon.wait_routes(leases + 1)
        counts = [len(host.ip("neigh show dev flannel.1 nud permanent").splitlines())]
        counts.append(len(host.execute("bridge", "fdb", "show", "dev", "flannel.1").splitlines()))
        assert counts == [leases + 1] * 2, f"neighbours, FDB entries: {counts}"
        return f"{leases} leases: as many routes, neighbours and FDB entries; {daemon.memory:.0f} MB resident"


SCENARIOS: Dict[str, Callable[[], str]] = {
    "many": soak_many,
    "joining": soak_joining,
    "churn": soak_churn,
    "memory": soak_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.bench.soak", description="flanneld for a long time"
    )
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; all by default"
    )
    names = parser.parse_args().scenarios or list(SCENARIOS)
    unknown = sorted(set(names) - SCENARIOS.keys())
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
    build_bundle()
    enter_private_namespaces()
    failed = False
    for name in names:
        try:
            print(f"{name}: {SCENARIOS[name]()}", flush=True)
        except AssertionError as error:
            failed = True
            print(f"{name}: FAILED: {error}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
