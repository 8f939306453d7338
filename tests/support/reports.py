# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report in which no two figures are equal, so that none can be shown as another."""

from __future__ import annotations

from flanneld.outputs.report import (
    DropReport,
    ErrorReport,
    InterfaceReport,
    LeaseReport,
    PeerReport,
    Report,
    StoreReport,
    TableReport,
    UdpReport,
)


def make_report() -> Report:
    """An agent that serves, and to which everything has happened once."""
    return Report(
        version="0.1.2",
        instance="blue",
        pid=4711,
        uptime=1234.5,
        phase="serving",
        waiting_for="fetch network config",
        ready=True,
        not_ready=("the kernel refused flannel.1; load vxlan", "lease lost; see flanneld check"),
        pending=("restart Docker: FLANNEL_MTU changed", "restart flanneld: config", "remove eth9"),
        node_id="6f1c",
        host="node-a",
        backend="vxlan",
        mtu=1450,
        firewall="nftables",
        subnet_file="/run/flannel-blue/subnet.env",
        lease=LeaseReport(
            key="10.1.2.0-24-fd00:1:2::-64",
            ipv4="10.1.2.0/24",
            ipv6="fd00:1:2::/64",
            reservation=False,
            expires_in=80000.25,
            ttl=86400.0,
            held=True,
            renewals=17,
        ),
        interface=InterfaceReport(
            name="eth1",
            mtu=1500,
            ipv4="192.0.2.11",
            ipv6="2001:db8::11",
            public_ip="198.51.100.11",
            public_ipv6="2001:db8:1::11",
            reason="it has the default route",
        ),
        store=StoreReport(
            endpoints=("https://192.0.2.1:2379", "https://192.0.2.2:2379"),
            prefix="/coreos.com/network",
            reachable=True,
            since=99.75,
            revision=123456,
            from_disk=False,
            watch_breaks=6,
            last_error="no endpoint answered",
        ),
        peers=(
            PeerReport("10.1.3.0-24", "192.0.2.13", "2001:db8::13", "peer", "", "ok"),
            PeerReport("10.1.4.0-24", "192.0.2.14", "2001:db8::14", "peer", "", "FDB entry: no buffer space"),
            PeerReport("10.1.5.0-24", "192.0.2.15", "2001:db8::15", "kept", "the store lost data", "ok"),
            *(
                PeerReport(f"10.1.{n}.0-24", f"192.0.2.{n}", "", "refused", f"overlaps {n}", "")
                for n in (16, 17, 18, 19)
            ),
        ),
        unreadable=tuple(f"/coreos.com/network/subnets/bad-{n}" for n in range(7)),
        tables=(
            TableReport("link", wanted=21, wrong=22, problems=23, repairs=24),
            TableReport("route", wanted=31, wrong=32, problems=33, repairs=34),
        ),
        udp=UdpReport(
            sent_packets=61,
            sent_bytes=62000,
            received_packets=63,
            received_bytes=64000,
            datapath="kernel",
            why="a trial went well",
            joined_packets=65,
            joining=True,
            why_joining="another trial went well",
            xdp=True,
            why_xdp="asked for",
        ),
        udp_dropped=tuple(DropReport(f"way {n}", f"reason {n}", 71 + n) for n in range(5)),
        last_errors=tuple(ErrorReport(41.5 + n, 51 + n, f"error {n}") for n in range(8)),
    )
