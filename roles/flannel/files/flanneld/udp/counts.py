# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What went through the path of udp since the agent started, and what did not, and why (docs/backends/udp.md)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Dict, NamedTuple

OUT, IN = "out", "in"


class Drop(NamedTuple):
    """direction: "out", to other hosts, or "in", from them. reason: a name that status and metrics show."""

    direction: str
    reason: str


OUT_NOT_IPV4 = Drop(OUT, "not_ipv4")
OUT_MALFORMED = Drop(OUT, "malformed")
NO_PEER = Drop(OUT, "no_peer")
OUT_TTL = Drop(OUT, "ttl")
TOO_LARGE = Drop(OUT, "too_large")
OUT_REFUSED = Drop(OUT, "refused")
OVERRUN = Drop(IN, "overrun")
IN_MALFORMED = Drop(IN, "malformed")
FOREIGN = Drop(IN, "foreign_source")
WRONG_HOST = Drop(IN, "wrong_host")
IN_TTL = Drop(IN, "ttl")
IN_REFUSED = Drop(IN, "refused")

DROPS = (
    OUT_NOT_IPV4, OUT_MALFORMED, NO_PEER, OUT_TTL, TOO_LARGE, OUT_REFUSED,
    OVERRUN, IN_MALFORMED, FOREIGN, WRONG_HOST, IN_TTL, IN_REFUSED,
)  # fmt: skip


@dataclass
class Counts:
    """In user space written by the thread that forwards alone, so that no figure is lost; read from any.

    sent: packets that the kernel took for the wire, and their bytes without what is around them. received: those that
    it took from the wire for this host. joined: those of them that the kernel made part of larger ones.
    dropped: packets; has a figure for each of DROPS from the beginning.
    """

    sent_packets: int = 0
    sent_bytes: int = 0
    received_packets: int = 0
    received_bytes: int = 0
    joined_packets: int = 0
    dropped: Dict[Drop, int] = field(default_factory=lambda: dict.fromkeys(DROPS, 0))

    def copy(self) -> Counts:
        return replace(self, dropped=dict(self.dropped))

    def add(self, other: Counts) -> None:
        """What another path has counted."""
        self.sent_packets += other.sent_packets
        self.sent_bytes += other.sent_bytes
        self.received_packets += other.received_packets
        self.received_bytes += other.received_bytes
        self.joined_packets += other.joined_packets
        for drop, packets in other.dropped.items():
            self.dropped[drop] += packets
