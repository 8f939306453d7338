# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the agent is: one value, made by its loop when somebody asks; `status`, /readyz and /metrics all show it.

docs/status.md explains each figure, and is part of our interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple


@dataclass(frozen=True)
class PeerReport:
    """One lease of another host.

    state: "peer" (the data path to it is wanted), "refused" (see reason), "kept" (gone from the store, but kept
    because the store lost data). data_path: "ok", or what the kernel refused; "" for a refused lease.
    """

    lease: str
    public_ip: str
    public_ipv6: str
    state: str
    reason: str
    data_path: str


@dataclass(frozen=True)
class TableReport:
    """One kind of object on this host.

    wanted: how many should exist. wrong: how many do not, or differ. repairs: how many that were right had to be put
    right again since the start. problems: how many the kernel refused.
    """

    name: str
    wanted: int
    wrong: int
    problems: int
    repairs: int


@dataclass(frozen=True)
class LeaseReport:
    """Our own lease.

    expires_in, ttl: seconds, until it ends and for which it is granted; None for a reservation. held: it stood at the
    last renewal or change.
    """

    key: str
    ipv4: str
    ipv6: str
    reservation: bool
    expires_in: Optional[float]
    ttl: Optional[float]
    held: bool
    renewals: int


@dataclass(frozen=True)
class InterfaceReport:
    """The external interface, and what we publish of it."""

    name: str
    mtu: int
    ipv4: str
    ipv6: str
    public_ip: str
    public_ipv6: str
    reason: str


@dataclass(frozen=True)
class StoreReport:
    """etcd as the watch of leases sees it.

    since: seconds for which reachable has been as it is. revision: of the last news. from_disk: peers and lease come
    from the state directory and were not confirmed by the store yet. watch_breaks: how often the watch was lost.
    last_error: "" when there was none.
    """

    endpoints: Tuple[str, ...]
    prefix: str
    reachable: bool
    since: float
    revision: int
    from_disk: bool
    watch_breaks: int
    last_error: str


@dataclass(frozen=True)
class UdpReport:
    """What the backend udp has forwarded since this process began: packets of containers, and their bytes, to other
    hosts and from them. datapath: what does it, "kernel" or "user". why: what decided for that one. joined_packets: of
    TCP, which arrived as part of larger ones. joining: whether that is done; why_joining: why, or why not. xdp: the
    driver of the network card takes in packets; why_xdp: why, or why not."""

    sent_packets: int
    sent_bytes: int
    received_packets: int
    received_bytes: int
    datapath: str
    why: str
    joined_packets: int
    joining: bool
    why_joining: str
    xdp: bool
    why_xdp: str


@dataclass(frozen=True)
class DropReport:
    """Packets that it has not forwarded. direction: "out" or "in". reason: see docs/backends/udp.md."""

    direction: str
    reason: str
    packets: int


@dataclass(frozen=True)
class ErrorReport:
    """Something that went wrong. ago: seconds since the last time. count: how often, since the start."""

    ago: float
    count: int
    text: str


@dataclass(frozen=True)
class Report:
    """The agent at one moment.

    phase: "starting" (see waiting_for), "serving", "stopping". ready: what subnet.env promises holds.
    not_ready: the reasons why not, each with its next step. pending: what somebody has to do for a change to take
    effect ("restart Docker: ..."). unreadable: keys below subnets/ that are no leases. mtu: FLANNEL_MTU. udp: None with
    other backends, whose packets the kernel counts.
    """

    version: str
    instance: str
    pid: int
    uptime: float
    phase: str
    waiting_for: str
    ready: bool
    not_ready: Tuple[str, ...]
    pending: Tuple[str, ...]
    node_id: str
    host: str
    backend: str
    mtu: int
    firewall: str
    subnet_file: str
    lease: Optional[LeaseReport]
    interface: Optional[InterfaceReport]
    store: StoreReport
    peers: Tuple[PeerReport, ...]
    unreadable: Tuple[str, ...]
    tables: Tuple[TableReport, ...]
    udp: Optional[UdpReport]
    udp_dropped: Tuple[DropReport, ...]
    last_errors: Tuple[ErrorReport, ...]
