# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the way to other hosts carries packets as large as ours: small packets pass, large ones hang, else."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import List, Mapping, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Address, Family

MOST_PEERS = 5
_HEADERS: Mapping[Family, int] = {IPV4: 20 + 8, IPV6: 40 + 8}  # IP and ICMP echo
_SMALL = 56
_SECONDS = 2


def can_ping() -> bool:
    return shutil.which("ping") is not None


@dataclass(frozen=True)
class Probe:
    """The way to one host. key: of its lease. size: bytes of the outer packet around a full one of a container."""

    key: str
    address: Address
    size: int
    small_passes: bool
    large_passes: bool


def probe_paths(leases: Sequence[Lease], sizes: Mapping[Family, int]) -> Tuple[Probe, ...]:
    """Two pings that must not be fragmented to each of the first few hosts, all at once.

    leases: of other hosts. sizes: bytes on the underlay of a full packet of a container, by family.
    """
    if not can_ping():
        return ()
    begun: List[Tuple[str, Address, int, subprocess.Popen[bytes], subprocess.Popen[bytes]]] = []
    for family, size in sizes.items():
        for lease in leases[:MOST_PEERS]:
            address = lease.attributes.public_address(family)
            if address is None:
                continue
            large = _ping(address, size - _HEADERS[family])
            begun.append((lease.key, address, size, _ping(address, _SMALL), large))
    return tuple(
        Probe(key, address, size, small.wait() == 0, large.wait() == 0)
        for key, address, size, small, large in begun
    )


def _ping(address: Address, size: int) -> subprocess.Popen[bytes]:
    """Ends by itself. size: bytes of data."""
    return subprocess.Popen(
        ["ping", "-n", "-q", "-c", "1", "-w", str(_SECONDS), "-M", "do", "-s", str(size), str(address)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
