# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's one loop: every thread only waits and posts here; here all state is kept, and the host is changed.

leases -> Peers -> backend.desired_for -> Reconciler -> tables (kernel, firewall)
                                              ^
                     kernel notifications, timers
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Optional

from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    FlannelError,
    StoreError,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease

from flanneld.apart import WorkedApart
from flanneld.backends import Node
from flanneld.config_watch import ConfigWatch
from flanneld.datapath import DataPath
from flanneld.desk import Desk, ReportWanted
from flanneld.ending import Stop
from flanneld.leasing import (
    ConfigSeen,
    HoldFailed,
    LeaseChanges,
    LeaseConflict,
    LeaseKept,
    LeaseListing,
    LeaseTaken,
    MoveOn,
    Publish,
    PutBack,
    SubnetManager,
    WatchBroken,
    Wish,
)
from flanneld.leasing.peers import Outcome, Peers
from flanneld.memory import Memory
from flanneld.options import Options
from flanneld.other_instances import require_usable
from flanneld.outputs.files import FileError
from flanneld.outputs.journal import LastErrors
from flanneld.outputs.notify import notify, ping_watchdog
from flanneld.outputs.state_dir import StateDir
from flanneld.readiness import Readiness
from flanneld.standing import Standing
from flanneld.startup import Joined
from flanneld.tables import News
from flanneld.tables.notifications import (
    FirewallTouched,
    KernelMessages,
    NotificationsLost,
    PoliciesTouched,
)

log = logging.getLogger(__name__)

_GOODBYE_SECONDS = 3.0
"""How long the end waits for the node entry to be taken back."""
_LOGGED_SINGLY = 200
"""So many peers of one piece of news have a line each: ten thousand would be a second's work, and nobody reads them."""
_CONFLICT_SECONDS = 2.0
"""Between two looks whether our lost subnet is still in use here."""


def tell_peers(outcome: Outcome) -> None:
    """A line for each peer that came or went; of thousands at once a line for the first, and how many there are."""
    for key in outcome.dropped[:_LOGGED_SINGLY]:
        log.info("Subnet removed: %s", key)
    for lease in outcome.accepted[:_LOGGED_SINGLY]:
        address = lease.attributes.public_ip or lease.attributes.public_ipv6
        log.info("Subnet added: %s via %s", lease.key, address)
    if max(len(outcome.dropped), len(outcome.accepted)) > _LOGGED_SINGLY:
        log.info("Subnets: %d added, %d removed at once", len(outcome.accepted), len(outcome.dropped))


@dataclass(frozen=True)
class ThreadDied:
    """A thread ended by an error that nobody expected."""

    name: str
    error: BaseException


class Daemon:
    """A node with a lease, serving. Everything but `stop` and `_wishes` belongs to the thread that calls `serve`.

    again: the loop ended because everything is to be read anew, and the agent wants to be started again.
    """

    def __init__(
        self,
        options: Options,
        joined: Joined,
        manager: SubnetManager,
        state: StateDir,
        desk: Desk,
        errors: LastErrors,
        inbox: queue.SimpleQueue[object],
        stop: threading.Event,
    ) -> None:
        self._options = options
        self._joined = joined
        self._manager = manager
        self._desk = desk
        self._inbox = inbox
        self._stop = stop
        self._wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        self._path = DataPath(options, joined.node, joined.host, state.list_devices(), joined.former)
        self._peers = Peers(self._path.make_rules(), options.store_lost_grace)
        self._standing = Standing(
            joined.node.lease, options.subnet_lease_ttl, joined.expires_in, joined.confirmed
        )
        self._memory = Memory(state, joined.config_text)
        self._config = ConfigWatch(
            options.layout.config,
            joined.node.config,
            joined.confirmed,
            functools.partial(require_usable, instance=joined.node.instance),
        )
        self._readiness = Readiness(
            options, joined, self._path, self._peers, self._standing, self._config, errors
        )
        self._kernel_due = time.monotonic() + options.kernel_resync
        self._firewall_due = time.monotonic() + options.iptables_resync
        self._conflict_due = 0.0
        self._overlapped: Optional[str] = None
        self._told_publishing = ""
        self.again = False
        self._handlers: Dict[type, Callable[[Any], None]] = {
            LeaseListing: self._on_listing,
            LeaseChanges: self._on_changes,
            WatchBroken: self._on_watch_broken,
            LeaseKept: self._on_lease_kept,
            LeaseConflict: self._on_lease_conflict,
            HoldFailed: self._standing.see_failure,
            ConfigSeen: self._on_config,
            KernelMessages: self._path.note,
            News: self._path.reconciler.note,
            NotificationsLost: self._on_notifications_lost,
            FirewallTouched: self._on_firewall,
            PoliciesTouched: lambda message: self._path.suspect_policies(),
            WorkedApart: lambda message: None,
            ReportWanted: self._on_report_wanted,
            ThreadDied: self._on_thread_died,
            Stop: lambda message: None,
        }

    def serve(self) -> None:
        """Bring this node up, tell systemd, and keep everything as it should be until told to stop."""
        # listen first: what changes while we read the kernel is then noticed
        for name, body in self._path.list_threads():
            self._spawn(name, body)
        self._path.bring_up()
        self._recall()
        if self._joined.confirmed:  # before anybody builds on it
            self._remember(self._path.node.lease, self._options.subnet_lease_ttl)
        self._publish()
        self._desk.open()
        node, claim = self._path.node, self._joined.claim
        # a lease from disk is looked for as the store last had it, with the address of that time
        held = node.lease if self._joined.confirmed or claim.last is None else claim.last
        self._spawn("leases", self._manager.watch_leases)
        self._spawn("config", self._manager.watch_config)
        hold = self._spawn(
            "hold", functools.partial(self._manager.hold, held, claim, node.config, self._wishes)
        )
        retry: Optional[float] = 0.0
        while not self._stop.is_set():
            self._take_messages(retry)
            self._do_what_is_due()
            retry = self._path.reconciler.reconcile()
            self._publish()
            self._readiness.tell_systemd()
        self._say_goodbye(hold)

    def _recall(self) -> None:
        """Begin with the peers of the life before: nothing of theirs is missing while the store is asked, or away."""
        if self._joined.peers is not None:
            self._follow(self._peers.recall(self._joined.peers))
        if self._joined.own_lost:
            self._peers.distrust("it had lost our own lease")
        self._path.reconciler.reconcile()

    def _say_goodbye(self, hold: threading.Thread) -> None:
        """The data path stays as it is; nodes/ says that we are gone."""
        last = self._readiness.make_report()
        self._desk.close(replace(last, phase="stopping", ready=False, not_ready=("flanneld is ending",)))
        self._memory.write(self._peers)
        hold.join(_GOODBYE_SECONDS)

    def release_lease(self) -> None:
        """Give our lease up for good, after `serve`: this host leaves the network."""
        lease = self._path.node.lease
        try:
            self._manager.release(lease)
            log.info("Released lease %s", lease.key)
        except StoreError as error:
            log.error("Couldn't release lease %s: %s", lease.key, error)

    # --- messages

    def _spawn(
        self, name: str, body: Callable[[Callable[[object], None], threading.Event], None]
    ) -> threading.Thread:
        def guarded() -> None:
            try:
                body(self._inbox.put, self._stop)
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to
                self._inbox.put(ThreadDied(name, error))

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def _take_messages(self, retry: Optional[float]) -> None:
        """Wait for the next message or timer, then take everything that is there."""
        try:
            message = self._inbox.get(timeout=self._find_wait(retry))
            while True:
                self._handlers[type(message)](message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            pass

    def _find_wait(self, retry: Optional[float]) -> float:
        now = time.monotonic()
        expiry = self._peers.next_expiry()
        waits: List[Optional[float]] = [
            self._kernel_due - now,
            self._firewall_due - now,
            None if expiry is None else expiry - now,
            self._conflict_due - now if self._standing.conflict is not None else None,
            self._memory.wait,
            ping_watchdog(),
            retry,
        ]
        return max(0.0, min(wait for wait in waits if wait is not None))

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        doubted = not self._peers.complete
        self._follow(self._peers.expire(now))
        if doubted and self._peers.complete:
            self._memory.note_peers()
        if self._kernel_due <= now:
            self._path.suspect_all()
            self._kernel_due = now + self._options.kernel_resync
        if self._firewall_due <= now:
            self._path.suspect_firewall()
            self._firewall_due = now + self._options.iptables_resync
        node = self._path.refresh_underlay()
        if node is not None:
            self._become(node)
        if self._standing.conflict is not None and self._conflict_due <= now:
            self._settle_conflict()
            self._conflict_due = now + _CONFLICT_SECONDS
        self._memory.write_due(self._peers)

    # --- news from the store

    def _on_listing(self, listing: LeaseListing) -> None:
        self._follow(self._peers.see_listing(listing, time.monotonic()))
        if not self._standing.watching:
            log.info("watching for new subnet leases, %d peers", self._peers.count)
        self._standing.see_news()
        self._memory.note_peers()

    def _on_changes(self, changes: LeaseChanges) -> None:
        self._follow(self._peers.see_changes(changes, time.monotonic()))
        self._memory.note_peers()

    def _follow(self, outcome: Outcome) -> None:
        tell_peers(outcome)
        self._carry_out(outcome)

    def _carry_out(self, outcome: Outcome) -> None:
        if outcome.own_missing or outcome.own_overlapped not in (None, self._overlapped):
            self._wishes.put(PutBack())
        self._overlapped = outcome.own_overlapped
        self._path.follow(outcome)

    def _on_watch_broken(self, message: WatchBroken) -> None:
        if self._standing.watching:
            log.warning(
                "Lost the watch of leases, keeping the %d known peers: %s", self._peers.count, message.error
            )
        self._standing.see_break(message)

    # --- our own lease

    def _on_lease_kept(self, message: LeaseKept) -> None:
        before = self._path.node.lease
        self._standing.see_kept(message, before)
        self._remember(message.lease, message.ttl)
        # what we asked to be published and is not yet counts already
        lease = replace(message.lease, attributes=before.attributes)
        if lease.key != before.key:
            log.warning("Our lease is %s now, it was %s", lease.key, before.key)
        if lease != before:
            self._become(replace(self._path.node, lease=lease))

    def _remember(self, lease: Lease, ttl: int) -> None:
        self._memory.note_lease(lease, ttl, self._peers.cluster_id or 0)

    def _on_lease_conflict(self, message: LeaseConflict) -> None:
        self._standing.see_conflict(message)
        self._conflict_due = 0.0

    def _settle_conflict(self) -> None:
        """Another subnet is only for a host where nothing uses the old one: containers cannot follow by themselves."""
        if not isinstance(self._standing.conflict, LeaseTaken):
            return
        try:
            users = self._path.find_users()
        except FlannelError as error:
            log.error("%s", error)
            return
        self._readiness.users = users
        if not users:
            self._wishes.put(MoveOn())

    def _become(self, node: Node) -> None:
        """Go on with another lease or interface: everything is derived anew; peers handed out again are no news."""
        if node.lease.attributes != self._path.node.lease.attributes:
            self._wishes.put(Publish(node.lease.attributes))
        try:
            self._path.become(node)
        except FlannelError as error:  # the interface went while we looked: it will be looked at again
            log.error("%s", error)
            return
        self._carry_out(self._peers.rebase(self._path.make_rules()))

    def _on_config(self, message: ConfigSeen) -> None:
        if self._config.see(message):
            self.again = True
            self._stop.set()

    # --- news from this host

    def _on_notifications_lost(self, message: NotificationsLost) -> None:
        self._path.suspect_all()
        self._path.reconciler.mark_all()

    def _on_firewall(self, message: FirewallTouched) -> None:
        self._path.suspect_firewall()

    def _on_report_wanted(self, message: ReportWanted) -> None:
        message.reply.put(self._readiness.make_report())

    def _on_thread_died(self, message: ThreadDied) -> None:
        raise message.error

    def _publish(self) -> None:
        """Write subnet.env once what it promises stands, then tell systemd that we are ready."""
        first = not self._readiness.was_ready
        try:
            written = self._path.publish()
        except FileError as error:
            if first:
                raise
            # containers run, and need us: it is tried again with the next check, and the status says so until then
            if str(error) != self._told_publishing:
                self._told_publishing = str(error)
                log.error("%s", error)
            return
        self._told_publishing = ""
        if written and first:
            log.info("flannel is ready")
            notify("READY=1")
            self._readiness.was_ready = True
