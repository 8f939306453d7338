# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An underlay that is slow and loses packets, with the kernel's netem."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import Iterator

from tests.support.netns import Host


@contextmanager
def bad_cables(*hosts: Host, delay: str, loss: str) -> Iterator[None]:
    """What these hosts send on eth0 comes late or never, such as delay="5ms", loss="5%"; something has to get lost."""
    for host in hosts:
        host.execute("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", delay, "loss", loss)
    yield
    lost = 0
    for host in hosts:
        (qdisc,) = json.loads(host.execute("tc", "-s", "-j", "qdisc", "show", "dev", "eth0", "root"))
        lost += qdisc["drops"]
        host.execute("tc", "qdisc", "del", "dev", "eth0", "root")
    assert lost, f"nothing got lost between {', '.join(host.name for host in hosts)}"
