# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How we stand with the store: is our lease held, is the watch alive, what went wrong last."""

from __future__ import annotations

from typing import Callable, Optional

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease

from flanneld.leasing import HoldFailed, LeaseConflict, LeaseKept, WatchBroken
from flanneld.leasing.nodes import read_clock


class Standing:
    """confirmed: the store itself gave us the lease in this life. Times are seconds of `clock`, which goes on while
    the host is suspended, as that of etcd does.

    ttl: seconds that the lease is granted for, None for a reservation. expires_in: seconds that it has left.
    """

    def __init__(
        self,
        lease: Lease,
        ttl: int,
        expires_in: float,
        confirmed: bool,
        clock: Callable[[], float] = read_clock,
    ) -> None:
        self._clock = clock
        self.reservation = lease.is_reservation
        self.ttl: Optional[float] = None if self.reservation else ttl
        self._expires_at: Optional[float] = None if self.reservation else clock() + expires_in
        self.from_disk = not confirmed
        self.conflict: Optional[FlannelError] = None
        self.held = confirmed
        self.renewals = 0
        self.watching = False
        self.watching_since = clock()
        self.watch_breaks = 0
        self.last_error = ""

    @property
    def expires_in(self) -> Optional[float]:
        """Seconds that our lease has left, below 0 when it has ended; None for a reservation."""
        if self.reservation or self._expires_at is None:
            return None
        return self._expires_at - self._clock()

    @property
    def may_be_lost(self) -> bool:
        """The time of our lease has run out without a renewal: the store may have given the subnet to another host."""
        expires_in = self.expires_in
        return expires_in is not None and expires_in <= 0

    def see_kept(self, message: LeaseKept, before: Lease) -> None:
        """The store has our lease. before: as we knew it."""
        self.renewals += message.lease == before
        self.reservation = message.lease.is_reservation
        self.ttl = None if self.reservation else message.ttl
        self._expires_at = None if self.ttl is None else self._clock() + self.ttl
        self.held, self.conflict, self.from_disk = True, None, False

    def see_conflict(self, message: LeaseConflict) -> None:
        self.held, self.conflict = False, message.error
        self.last_error = str(message.error)

    def see_failure(self, message: HoldFailed) -> None:
        self.last_error = str(message.error)

    def see_news(self) -> None:
        """The watch of leases told something."""
        if not self.watching:
            self.watching, self.watching_since = True, self._clock()

    def see_break(self, message: WatchBroken) -> None:
        self.last_error = str(message.error)
        if self.watching:
            self.watching, self.watching_since = False, self._clock()
            self.watch_breaks += 1

    @property
    def watching_for(self) -> float:
        """Seconds for which `watching` has been as it is."""
        return self._clock() - self.watching_since
