# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the state directory up to date, without a write for every event."""

from __future__ import annotations

import time
from typing import Callable, Optional

from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease

from flanneld.leasing.peers import Peers
from flanneld.outputs.remembered import RememberedLease
from flanneld.outputs.state_dir import StateDir

PAUSE = 5.0
"""Seconds between two writes of the peers."""


class Memory:
    """config_text: of the network config that this life runs with."""

    def __init__(
        self, state: StateDir, config_text: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._state = state
        self._config_text = config_text
        self._clock = clock
        self._due: Optional[float] = None
        self._next = clock()

    def note_lease(self, lease: Lease, ttl: int, cluster_id: int) -> None:
        """The store has our lease, and keeps it for that many seconds: write it down. cluster_id: 0 if unknown."""
        until = None if lease.is_reservation else time.time() + ttl
        self._state.remember_lease(RememberedLease(self._config_text, lease, cluster_id, until))

    def note_peers(self) -> None:
        """The peers have changed: write them down soon."""
        if self._due is None:
            self._due = self._next

    @property
    def wait(self) -> Optional[float]:
        """Seconds until the peers are to be written, None when there is nothing to write."""
        return None if self._due is None else self._due - self._clock()

    def write_due(self, peers: Peers) -> None:
        """Write the peers if it is time."""
        if self._due is not None and self._due <= self._clock():
            self.write(peers)

    def write(self, peers: Peers) -> None:
        """Write the peers now, if they have changed."""
        known = peers.known()
        if self._due is not None and known is not None:
            self._state.remember_peers(known)
        self._due, self._next = None, self._clock() + PAUSE
