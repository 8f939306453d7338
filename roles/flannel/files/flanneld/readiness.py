# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the agent is, said in one value: for systemd's status line, /readyz, /metrics and `flanneld status`."""

from __future__ import annotations

import os
import time
from typing import Iterator, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

from flanneld import __version__
from flanneld.config_watch import ConfigWatch
from flanneld.datapath import DataPath
from flanneld.leasing import Identity
from flanneld.leasing.peers import Peers
from flanneld.options import Options
from flanneld.outputs.journal import LastErrors
from flanneld.outputs.notify import notify
from flanneld.outputs.report import (
    DropReport,
    InterfaceReport,
    LeaseReport,
    PeerReport,
    Report,
    StoreReport,
    TableReport,
    UdpReport,
)
from flanneld.standing import Standing
from flanneld.startup import Joined
from flanneld.tables import Datapath
from flanneld.udp.counts import Counts

STARTED = time.monotonic()


class Readiness:
    """users: who keeps a lost subnet in use here. was_ready: systemd was told so."""

    def __init__(
        self,
        options: Options,
        joined: Joined,
        path: DataPath,
        peers: Peers,
        standing: Standing,
        config: ConfigWatch,
        errors: LastErrors,
    ) -> None:
        self._options = options
        self._identity = joined.claim.identity
        self._path = path
        self._peers = peers
        self._standing = standing
        self._config = config
        self._errors = errors
        self._told = ""
        self.users: Tuple[str, ...] = ()
        self.was_ready = False

    def find_reasons(self) -> Iterator[str]:
        """Why what subnet.env promises does not hold, each with the next step."""
        standing, key = self._standing, self._path.node.lease.key
        if standing.conflict is not None:
            users = ", ".join(self.users)
            yield f"{standing.conflict}" + (
                f"; {users} still has an address in it: stop the containers there and remove the address "
                f"(Docker: systemctl stop docker; ip link delete {self.users[0]}), then start them again"
                if users
                else ""
            )
        elif standing.may_be_lost:
            yield (
                f"lease {key} ran out {-int(standing.expires_in or 0)} s ago without being renewed, another host may "
                "get the subnet: bring etcd back in reach"
            )
        if self._path.fault is not None:
            yield f"external interface: {self._path.fault}"
        for error in self._path.problems():
            yield str(error)
        if not self._path.published:
            yield f"{self._options.subnet_file} is not written yet"

    def find_pending(self) -> Iterator[str]:
        """What somebody has to do for a change to take effect."""
        if self._config.pending:
            yield self._config.pending
        try:
            yield from self._path.find_pending()
        except FlannelError as error:
            yield f"unknown: {error}"

    def tell_systemd(self) -> None:
        """One line for `systemctl status`."""
        standing = self._standing
        words = [f"lease {self._path.node.lease.key}", f"{self._peers.count} peers"]
        if self._peers.refused:
            words.append(f"{len(self._peers.refused)} leases refused")
        words.append("etcd in reach" if standing.watching else "etcd out of reach")
        if standing.from_disk:
            words.append("lease and peers from disk")
        reasons = list(self.find_reasons())
        line = ", ".join([f"NOT READY: {reasons[0]}", *words] if reasons else words)
        if line != self._told:
            self._told = line
            notify(f"STATUS={line}")

    def make_report(self) -> Report:
        """Everything, now."""
        node, standing = self._path.node, self._standing
        reasons, counts = tuple(self.find_reasons()), self._path.read_counts()
        datapath = self._path.read_datapath()
        return Report(
            version=__version__,
            instance=node.instance.name,
            pid=os.getpid(),
            uptime=time.monotonic() - STARTED,
            phase="serving",
            waiting_for="",
            ready=not reasons,
            not_ready=reasons,
            pending=tuple(self.find_pending()),
            node_id=self._identity.id,
            host=self._identity.host,
            backend=node.config.backend.type,
            mtu=self._path.mtu,
            firewall=self._path.firewall,
            subnet_file=self._options.subnet_file,
            lease=LeaseReport(
                key=node.lease.key,
                ipv4=str(node.lease.subnets.v4 or ""),
                ipv6=str(node.lease.subnets.v6 or ""),
                reservation=standing.reservation,
                expires_in=standing.expires_in,
                ttl=standing.ttl,
                held=standing.held,
                renewals=standing.renewals,
            ),
            interface=InterfaceReport(
                name=node.choice.interface.name,
                mtu=self._path.underlay.mtu,
                ipv4=str(node.choice.ipv4 or ""),
                ipv6=str(node.choice.ipv6 or ""),
                public_ip=str(node.choice.public_ip or ""),
                public_ipv6=str(node.choice.public_ipv6 or ""),
                reason=node.choice.reason,
            ),
            store=StoreReport(
                endpoints=self._options.endpoints,
                prefix=self._options.etcd_prefix,
                reachable=standing.watching,
                since=standing.watching_for,
                revision=self._peers.revision,
                from_disk=standing.from_disk,
                watch_breaks=standing.watch_breaks,
                last_error=standing.last_error,
            ),
            peers=tuple(self._report_peers()),
            unreadable=self._peers.unreadable,
            tables=tuple(
                TableReport(one.name, one.wanted, one.wrong, one.problems, one.repairs)
                for one in self._path.reconciler.figures()
            ),
            udp=None if counts is None or datapath is None else _report_udp(counts, datapath),
            udp_dropped=() if counts is None else tuple(_report_drops(counts)),
            last_errors=self._errors.recent_errors(),
        )

    def _report_peers(self) -> Iterator[PeerReport]:
        problems = self._path.reconciler.problems_by_owner()
        for peer in self._peers.snapshot():
            attributes, error = peer.lease.attributes, problems.get(peer.lease.key)
            yield PeerReport(
                lease=peer.lease.key,
                public_ip=str(attributes.public_ip or ""),
                public_ipv6=str(attributes.public_ipv6 or ""),
                state=peer.state,
                reason=peer.reason,
                data_path="" if peer.state == "refused" else "ok" if error is None else str(error),
            )


def _report_udp(counts: Counts, datapath: Datapath) -> UdpReport:
    return UdpReport(
        counts.sent_packets,
        counts.sent_bytes,
        counts.received_packets,
        counts.received_bytes,
        datapath.name,
        datapath.why,
        counts.joined_packets,
        datapath.joining,
        datapath.why_joining,
        datapath.early,
        datapath.why_early,
    )


def _report_drops(counts: Counts) -> Iterator[DropReport]:
    for drop, packets in counts.dropped.items():
        yield DropReport(drop.direction, drop.reason, packets)


def report_starting(options: Options, identity: Identity, errors: LastErrors, waiting_for: str) -> Report:
    """An agent that has no lease yet. waiting_for: what it waits for, and why; "" if it does not."""
    return Report(
        version=__version__,
        instance=options.instance,
        pid=os.getpid(),
        uptime=time.monotonic() - STARTED,
        phase="starting",
        waiting_for=waiting_for,
        ready=False,
        not_ready=(f"waiting to {waiting_for}" if waiting_for else "starting",),
        pending=(),
        node_id=identity.id,
        host=identity.host,
        backend="",
        mtu=0,
        firewall="",
        subnet_file=options.subnet_file,
        lease=None,
        interface=None,
        store=StoreReport(options.endpoints, options.etcd_prefix, False, 0.0, 0, False, 0, ""),
        peers=(),
        unreadable=(),
        tables=(),
        udp=None,
        udp_dropped=(),
        last_errors=errors.recent_errors(),
    )
