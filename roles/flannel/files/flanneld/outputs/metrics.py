# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of /metrics, in Prometheus' names and base units; docs/status.md explains each.

They are read from one report per scrape, so they agree with each other and with `flanneld status`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterable, List, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

from flanneld.outputs.report import LeaseReport, Report

PHASES = ("starting", "serving", "stopping")
PEER_STATES = ("peer", "refused", "kept")

Sample = Tuple[Tuple[str, ...], float]
"""Values of the labels, and the figure."""


class MetricsLibraryMissing(FlannelError):
    """prometheus_client cannot be imported on this host."""


@dataclass(frozen=True)
class Figure:
    """One metric.

    read: its samples, none where there is no such figure now. counts: it only grows, from 0 at the agent's start.
    """

    name: str
    help: str
    read: Callable[[Report], Iterable[Sample]]
    labels: Tuple[str, ...] = ()
    counts: bool = False


def render_metrics(report: Report) -> Tuple[bytes, str]:
    """The page in Prometheus' text format, and its content type. Raises MetricsLibraryMissing."""
    # a tenth of a second to load, for those who scrape
    try:
        from prometheus_client import (
            CONTENT_TYPE_LATEST,
            CollectorRegistry,
            ProcessCollector,
            generate_latest,
        )
    except ImportError as error:
        raise MetricsLibraryMissing(
            "/metrics",
            f"the library prometheus_client cannot be loaded ({error})",
            "install python3-prometheus-client (Debian, Ubuntu), elsewhere prometheus_client from PyPI",
        ) from error
    registry = CollectorRegistry()
    registry.register(_ReportCollector(report))
    ProcessCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _ReportCollector:
    """What the library asks for the metrics."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for figure in FIGURES:
            kind = CounterMetricFamily if figure.counts else GaugeMetricFamily
            family = kind(figure.name, figure.help, labels=figure.labels)
            for values, number in figure.read(self._report):
                family.add_metric([_printable(value) for value in values], number)
            yield family


def _printable(text: str) -> str:
    """Names from the kernel may hold bytes that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _one(read: Callable[[Report], float]) -> Callable[[Report], List[Sample]]:
    return lambda report: [((), float(read(report)))]


def _of_lease(read: Callable[[LeaseReport], Optional[float]]) -> Callable[[Report], List[Sample]]:
    """None: there is no such figure now."""

    def find(report: Report) -> List[Sample]:
        value = None if report.lease is None else read(report.lease)
        return [] if value is None else [((), float(value))]

    return find


def _per_table(field: str) -> Callable[[Report], List[Sample]]:
    return lambda report: [((table.name,), float(getattr(table, field))) for table in report.tables]


def _of_udp(field: str) -> Callable[[Report], List[Sample]]:
    """None but with the backend udp."""
    return lambda report: [] if report.udp is None else [((), float(getattr(report.udp, field)))]


def _describe_datapath(report: Report) -> List[Sample]:
    return [] if report.udp is None else [((report.udp.datapath, report.udp.why), 1.0)]


def _describe_joining(report: Report) -> List[Sample]:
    udp = report.udp
    return [] if udp is None else [((str(udp.joining).lower(), udp.why_joining), 1.0)]


def _describe_xdp(report: Report) -> List[Sample]:
    udp = report.udp
    return [] if udp is None else [((str(udp.xdp).lower(), udp.why_xdp), 1.0)]


def _count_drops(report: Report) -> List[Sample]:
    return [((drop.direction, drop.reason), float(drop.packets)) for drop in report.udp_dropped]


def _count_phases(report: Report) -> List[Sample]:
    return [((phase,), float(report.phase == phase)) for phase in PHASES]


def _count_peers(report: Report) -> List[Sample]:
    states = [peer.state for peer in report.peers]
    return [((state,), float(states.count(state))) for state in PEER_STATES]


def _count_broken_paths(report: Report) -> int:
    return sum(peer.state != "refused" and peer.data_path != "ok" for peer in report.peers)


def _describe_agent(report: Report) -> List[Sample]:
    return [((report.instance, report.node_id, report.host, report.backend, report.firewall), 1.0)]


def _describe_lease(report: Report) -> List[Sample]:
    lease = report.lease
    return [] if lease is None else [((lease.key, lease.ipv4, lease.ipv6), 1.0)]


def _describe_interface(report: Report) -> List[Sample]:
    card = report.interface
    if card is None:
        return []
    return [((card.name, card.ipv4, card.ipv6, card.public_ip, card.public_ipv6), 1.0)]


def _measure_interface_mtu(report: Report) -> List[Sample]:
    return [] if report.interface is None else [((report.interface.name,), float(report.interface.mtu))]


FIGURES: Tuple[Figure, ...] = (
    # how it is
    Figure("flannel_ready", "1 if what subnet.env promises holds.", _one(lambda report: report.ready)),
    Figure(
        "flannel_not_ready_reasons",
        "Reasons why it is not ready.",
        _one(lambda report: len(report.not_ready)),
    ),
    Figure(
        "flannel_pending_steps",
        "Changes that take effect once somebody has done something.",
        _one(lambda report: len(report.pending)),
    ),
    Figure("flannel_phase", "1 for the phase the agent is in.", _count_phases, ("phase",)),
    Figure("flannel_uptime_seconds", "Time since the agent started.", _one(lambda report: report.uptime)),
    Figure(
        "flannel_recent_errors",
        "Different warnings and errors that the agent remembers, at most 20.",
        _one(lambda report: len(report.last_errors)),
    ),
    # what it is
    Figure(
        "flannel_build_info",
        "Version of the agent.",
        lambda report: [((report.version,), 1.0)],
        ("version",),
    ),
    Figure(
        "flannel_agent_info",
        "What the agent is set up as.",
        _describe_agent,
        ("flannel_instance", "node_id", "host", "backend", "firewall"),
    ),
    Figure(
        "flannel_interface_info",
        "The external interface and the published addresses.",
        _describe_interface,
        ("interface", "ipv4", "ipv6", "public_ip", "public_ipv6"),
    ),
    Figure(
        "flannel_interface_mtu_bytes",
        "MTU of the external interface.",
        _measure_interface_mtu,
        ("interface",),
    ),
    Figure("flannel_mtu_bytes", "FLANNEL_MTU, which containers use.", _one(lambda report: report.mtu)),
    # its lease
    Figure("flannel_lease_info", "The lease of this host.", _describe_lease, ("key", "ipv4", "ipv6")),
    Figure(
        "flannel_lease_held",
        "1 if this host has a lease that stood at the last renewal.",
        _one(lambda report: report.lease is not None and report.lease.held),
    ),
    Figure(
        "flannel_lease_reservation",
        "1 if the lease is a reservation, which does not expire.",
        _of_lease(lambda lease: lease.reservation),
    ),
    Figure(
        "flannel_lease_remaining_seconds",
        "Time until the lease ends unless it is renewed; absent for a reservation.",
        _of_lease(lambda lease: lease.expires_in),
    ),
    Figure(
        "flannel_lease_ttl_seconds",
        "Time for which the lease is granted at each renewal; absent for a reservation.",
        _of_lease(lambda lease: lease.ttl),
    ),
    Figure(
        "flannel_lease_renewals_total",
        "Renewals since the agent started.",
        _of_lease(lambda lease: lease.renewals),
        counts=True,
    ),
    # the store
    Figure(
        "flannel_store_info",
        "etcd, as the agent is set up for it.",
        lambda report: [((",".join(report.store.endpoints), report.store.prefix), 1.0)],
        ("endpoints", "prefix"),
    ),
    Figure(
        "flannel_store_reachable",
        "1 if the watch of leases works.",
        _one(lambda report: report.store.reachable),
    ),
    Figure(
        "flannel_store_state_seconds",
        "Time for which flannel_store_reachable has been as it is.",
        _one(lambda report: report.store.since),
    ),
    Figure(
        "flannel_store_revision",
        "etcd revision of the last news.",
        _one(lambda report: report.store.revision),
    ),
    Figure(
        "flannel_store_from_disk",
        "1 if peers and lease come from the state directory and etcd has not confirmed them.",
        _one(lambda report: report.store.from_disk),
    ),
    Figure(
        "flannel_store_watch_breaks_total",
        "How often the watch of leases was lost since the agent started.",
        _one(lambda report: report.store.watch_breaks),
        counts=True,
    ),
    # the others
    Figure("flannel_peers", "Leases of other hosts, by what became of them.", _count_peers, ("state",)),
    Figure(
        "flannel_peers_broken",
        "Peers whose data path the kernel refused.",
        _one(_count_broken_paths),
    ),
    Figure(
        "flannel_unreadable_leases",
        "Keys among the leases that are no leases.",
        _one(lambda report: len(report.unreadable)),
    ),
    # this host's kernel
    Figure("flannel_table_wanted", "Objects that should exist.", _per_table("wanted"), ("table",)),
    Figure("flannel_table_wrong", "Objects that are missing or differ.", _per_table("wrong"), ("table",)),
    Figure("flannel_table_problems", "Objects that the kernel refused.", _per_table("problems"), ("table",)),
    Figure(
        "flannel_table_repairs_total",
        "Objects that were right and had to be put right again since the agent started.",
        _per_table("repairs"),
        ("table",),
        counts=True,
    ),
    # what is forwarded for udp
    Figure(
        "flannel_udp_datapath_info",
        "What forwards for the backend udp, kernel or user (space), and why that one; absent with other backends.",
        _describe_datapath,
        ("datapath", "why"),
    ),
    Figure(
        "flannel_udp_joining_info",
        "Whether TCP packets that arrive for the backend udp in the kernel are joined to larger ones, and why.",
        _describe_joining,
        ("joining", "why"),
    ),
    Figure(
        "flannel_udp_xdp_info",
        "Whether the driver of the network card takes in packets for the backend udp (native XDP), and why.",
        _describe_xdp,
        ("xdp", "why"),
    ),
    Figure(
        "flannel_udp_sent_packets_total",
        "Packets that the backend udp has sent to other hosts since the agent started; absent with other backends.",
        _of_udp("sent_packets"),
        counts=True,
    ),
    Figure("flannel_udp_sent_bytes_total", "Bytes of these packets.", _of_udp("sent_bytes"), counts=True),
    Figure(
        "flannel_udp_received_packets_total",
        "Packets that the backend udp has received from other hosts since the agent started.",
        _of_udp("received_packets"),
        counts=True,
    ),
    Figure(
        "flannel_udp_received_bytes_total",
        "Bytes of these packets.",
        _of_udp("received_bytes"),
        counts=True,
    ),
    Figure(
        "flannel_udp_joined_packets_total",
        "Packets of TCP that the kernel has joined to larger ones when they arrived for the backend udp.",
        _of_udp("joined_packets"),
        counts=True,
    ),
    Figure(
        "flannel_udp_dropped_packets_total",
        "Packets that the backend udp has dropped since the agent started.",
        _count_drops,
        ("direction", "reason"),
        counts=True,
    ),
)
"""All of them, in the order of the page. The library adds process_* (CPU, memory, descriptors)."""
