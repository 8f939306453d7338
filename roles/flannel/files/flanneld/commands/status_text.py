# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report on one screen: first whether all is well, and if not, what to do; then where to look."""

from __future__ import annotations

from typing import Iterator, List, Optional, Sequence, Tuple

from flanneld.outputs.one_line import escape
from flanneld.outputs.report import LeaseReport, PeerReport, Report, StoreReport, TableReport

_SHOWN_PEERS = 10
_WELL = "ok"
_DATAPATHS = {"kernel": "the kernel", "user": "user space"}


def format_status(report: Report, all_peers: bool) -> str:
    """all_peers: a line for each peer, and not only for those that are not well."""
    return "".join(
        f"{escape(line)}\n"
        for line in (
            *_head(report),
            *_facts(report),
            *_peers(report, all_peers),
            *_data_path(report.tables),
            *_traffic(report),
            *_section("to do", report.pending),
            *_section("keys in the store that are no leases", report.unreadable),
            *_section(
                "last errors",
                [f"{format_seconds(e.ago)} ago{_times(e.count)}: {e.text}" for e in report.last_errors],
            ),
        )
    )


def format_seconds(seconds: float) -> str:
    """45 s, 12 min, 3 h 5 min, 2 d 4 h: two units at most."""
    whole = max(0, int(seconds))
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole // 60} min" if whole >= 120 else f"{whole} s"


def _head(report: Report) -> Iterator[str]:
    state = "ready" if report.ready else "NOT READY"
    phase = "" if report.phase == "serving" else f", {report.phase}"
    yield (
        f"{state}{phase}: flanneld {report.version} on {report.host}, network {report.instance}, "
        f"pid {report.pid}, for {format_seconds(report.uptime)}"
    )
    yield from (f"  - {reason}" for reason in report.not_ready)
    if report.waiting_for:
        yield f"  waiting to {report.waiting_for}"
    yield ""


def _facts(report: Report) -> Iterator[str]:
    yield _row("lease", _lease(report.lease))
    yield _row(
        "backend",
        f"{report.backend or 'not known yet'}, MTU {report.mtu or '-'}, firewall {report.firewall or '-'}",
    )
    interface = report.interface
    if interface is not None:
        addresses = " ".join(filter(None, (interface.ipv4, interface.ipv6)))
        public = " ".join(filter(None, (interface.public_ip, interface.public_ipv6)))
        yield _row("interface", f"{interface.name} {addresses}, MTU {interface.mtu} ({interface.reason})")
        yield _row("public IP", public)
    else:
        yield _row("interface", "not chosen yet")
    yield _row("store", _store(report.store))
    yield _row("", f"{report.store.prefix} at {', '.join(report.store.endpoints)}")
    yield _row("subnet.env", report.subnet_file)
    yield _row("node id", report.node_id or "-")


def _lease(lease: Optional[LeaseReport]) -> str:
    if lease is None:
        return "none yet"
    words = [" ".join(filter(None, (lease.ipv4, lease.ipv6)))]
    if lease.reservation:
        words.append("a reservation, never expires")
    elif lease.expires_in is not None:
        words.append(f"expires in {format_seconds(lease.expires_in)} unless renewed")
        words.append(f"renewed {lease.renewals} times")
    if not lease.held:
        words.append("NOT HELD: the store does not have it as ours")
    return ", ".join(words)


def _store(store: StoreReport) -> str:
    words = [f"{'reachable' if store.reachable else 'OUT OF REACH'} for {format_seconds(store.since)}"]
    words.append(f"revision {store.revision}")
    if store.watch_breaks:
        words.append(f"watch lost {store.watch_breaks} times")
    if store.from_disk:
        words.append("peers and lease are from disk, NOT CONFIRMED by the store")
    if store.last_error and not store.reachable:
        words.append(store.last_error)
    return ", ".join(words)


def _peers(report: Report, all_peers: bool) -> Iterator[str]:
    bad = [peer for peer in report.peers if not _is_well(peer)]
    shown: Sequence[PeerReport] = report.peers if all_peers else bad[:_SHOWN_PEERS]
    count = f"{len(report.peers) - len(bad)} well" + (f", {len(bad)} NOT" if bad else "")
    yield _row("peers", count if report.peers else "none")
    yield from _table([_peer_cells(peer) for peer in shown])
    if not all_peers and len(bad) > _SHOWN_PEERS:
        yield f"    and {len(bad) - _SHOWN_PEERS} more: flanneld status --peers"


def _is_well(peer: PeerReport) -> bool:
    return peer.state == "peer" and peer.data_path == _WELL


def _peer_cells(peer: PeerReport) -> Tuple[str, ...]:
    address = " ".join(filter(None, (peer.public_ip, peer.public_ipv6)))
    fault = "" if peer.data_path in ("", _WELL) else peer.data_path
    what = ": ".join(filter(None, ("" if peer.state == "peer" and fault else peer.state, peer.reason)))
    return (peer.lease, address, "; ".join(filter(None, (what, fault))))


def _data_path(tables: Sequence[TableReport]) -> Iterator[str]:
    wrong = sum(table.wrong + table.problems for table in tables)
    state = "NOT AS IT SHOULD BE" if wrong else "as it should be" if tables else "not known yet"
    yield _row("data path", state)
    cells = [("", "wanted", "wrong", "refused", "put right since start")]
    cells += [
        (table.name, str(table.wanted), str(table.wrong), str(table.problems), str(table.repairs))
        for table in tables
        if table.wanted or table.wrong or table.problems or table.repairs
    ]
    yield from _table(cells if len(cells) > 1 else [])


def _traffic(report: Report) -> Iterator[str]:
    """What is forwarded for the backend udp, by what."""
    if report.udp is None:
        return
    udp, dropped = report.udp, [drop for drop in report.udp_dropped if drop.packets]
    yield _row(
        "forwarded", f"by {_DATAPATHS.get(udp.datapath, udp.datapath)}" + (f": {udp.why}" if udp.why else "")
    )
    for title, packets, octets in (
        ("sent", udp.sent_packets, udp.sent_bytes),
        ("received", udp.received_packets, udp.received_bytes),
    ):
        yield _row(title, f"{packets} packets, {octets} bytes")
    if udp.datapath == "kernel":
        why = f": {udp.why_joining}" if udp.why_joining else ""
        yield _row("joined", f"{udp.joined_packets} packets{why}" if udp.joining else f"not{why}")
        if udp.xdp or udp.why_xdp != "not asked for":
            yield _row("native XDP", f"{'runs' if udp.xdp else 'not'}: {udp.why_xdp}")
    yield _row("dropped", f"{sum(drop.packets for drop in dropped)} packets")
    yield from _table([(drop.direction, drop.reason, str(drop.packets)) for drop in dropped])


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield f"{title}:"
        yield from (f"  - {line}" for line in lines)


def _times(count: int) -> str:
    return f" ({count} times)" if count > 1 else ""


def _row(name: str, value: str) -> str:
    return f"  {name:<11} {value}".rstrip()


def _table(rows: Sequence[Sequence[str]]) -> List[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return [
        "    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    ]
