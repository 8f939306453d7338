# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How we stand with the store, told by its messages."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Network

from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreUnavailable
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease, Subnets
from flanneld.leasing import HoldFailed, LeaseConflict, LeaseKept, LeaseTaken, WatchBroken
from flanneld.standing import Standing

LEASE = Lease(Subnets(IPv4Network("10.5.1.0/24")), Attributes(), 7, 7, 99)
AWAY = StoreUnavailable("etcd", "is away", "wait")
TAKEN = LeaseTaken("lease 10.5.1.0-24", "another host holds it", "do something")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_from_the_store_counts_down_from_its_grant():
    clock = Clock()
    standing = Standing(LEASE, 60, 60, True, clock)
    clock.now += 20
    assert (standing.expires_in, standing.ttl, standing.held, standing.from_disk) == (40, 60, True, False)
    clock.now += 40
    assert standing.may_be_lost


def test_time_goes_on_while_the_host_is_suspended(monkeypatch):
    """etcd does not sleep with us; a host that wakes up without it must not take its lease for good."""
    standing = Standing(LEASE, 60, 60, True)
    asleep = time.clock_gettime(time.CLOCK_BOOTTIME) + 100
    monkeypatch.setattr(time, "clock_gettime", lambda clock: asleep if clock == time.CLOCK_BOOTTIME else 0.0)
    assert standing.may_be_lost


def test_a_lease_from_disk_is_not_held_and_goes_on_counting_down():
    standing = Standing(LEASE, 60, 10, False, Clock())
    assert (standing.expires_in, standing.held, standing.from_disk, standing.may_be_lost) == (
        10,
        False,
        True,
        False,
    )


def test_keeping_it_confirms_it_and_ends_a_conflict():
    clock = Clock()
    standing = Standing(LEASE, 60, 10, False, clock)
    standing.see_conflict(LeaseConflict(TAKEN))
    assert standing.conflict is TAKEN
    assert not standing.held
    assert standing.last_error == str(TAKEN)
    standing.see_kept(LeaseKept(LEASE, 30), LEASE)
    assert standing.conflict is None
    assert standing.held
    assert not standing.from_disk
    assert (standing.expires_in, standing.ttl) == (30, 30)


def test_only_a_lease_that_stays_as_it_is_counts_as_renewed():
    standing = Standing(LEASE, 60, 60, True)
    standing.see_kept(LeaseKept(replace(LEASE, mod_revision=8), 60), LEASE)
    assert standing.renewals == 0
    standing.see_kept(LeaseKept(LEASE, 60), LEASE)
    assert standing.renewals == 1


def test_a_reservation_has_no_end():
    standing = Standing(LEASE, 60, 60, True)
    standing.see_kept(LeaseKept(replace(LEASE, lease_id=0), 0), LEASE)
    assert (standing.reservation, standing.expires_in, standing.ttl, standing.may_be_lost) == (
        True,
        None,
        None,
        False,
    )


def test_the_watch_breaks_once_for_each_time_it_worked():
    clock = Clock()
    standing = Standing(LEASE, 60, 60, True, clock)
    standing.see_break(WatchBroken(AWAY))
    assert standing.watch_breaks == 0
    standing.see_news()
    clock.now += 5
    assert standing.watching
    assert standing.watching_for == 5
    standing.see_break(WatchBroken(AWAY))
    standing.see_break(WatchBroken(AWAY))
    assert not standing.watching
    assert standing.watching_for == 0
    assert standing.watch_breaks == 1


def test_a_failed_renewal_is_remembered_and_changes_nothing_else():
    standing = Standing(LEASE, 60, 60, True)
    standing.see_failure(HoldFailed(AWAY))
    assert standing.last_error == str(AWAY)
    assert standing.held
