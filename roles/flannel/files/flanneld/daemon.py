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
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, Hashable, List, Optional

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError, FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._store import open_store

from flanneld import __version__
from flanneld.backends import Node, find_backend
from flanneld.instance import Instance
from flanneld.leasing import (
    ConfigSeen,
    LeaseChanges,
    LeaseGone,
    LeaseKept,
    LeaseListing,
    SubnetManager,
    WatchBroken,
)
from flanneld.leasing.conflicts import Rules
from flanneld.leasing.etcd import EtcdSubnetManager
from flanneld.leasing.peers import Outcome, Peers
from flanneld.options import Options
from flanneld.outputs.files import write_atomically
from flanneld.outputs.notify import notify
from flanneld.outputs.state_dir import StateDir
from flanneld.outputs.subnet_env import render_subnet_env
from flanneld.plan import FIREWALL, IMPOSSIBLE, NETLINK, desired_node, make_tables
from flanneld.reconciler import WHOLE_TABLE, Reconciler
from flanneld.startup import Stopped, check_usable, join_network
from flanneld.tables import KernelError
from flanneld.tables.notifications import (
    FirewallTouched,
    KernelMessages,
    NotificationsLost,
    watch_kernel,
    watch_netfilter,
)
from flanneld.tables.underlay import read_underlay

log = logging.getLogger(__name__)

OURSELVES: Hashable = ("this node",)
"""The owner, in the reconciler, of what exists once on a host. Peers own theirs under the key of their lease."""


@dataclass(frozen=True)
class Stop:
    """We were told to end."""


@dataclass(frozen=True)
class ThreadDied:
    """A thread ended by an error that nobody expected."""

    name: str
    error: BaseException


def run(options: Options) -> None:
    """Join the network and serve until SIGTERM or SIGINT. Raises the FlannelError that made it impossible."""
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    stop = threading.Event()
    _end_on_signals(inbox, stop)
    log.info("flanneld %s, etcd %s", __version__, options.etcd_endpoints)
    instance = Instance()
    manager = EtcdSubnetManager(
        options.layout,
        functools.partial(open_store, options.store),
        margin=options.subnet_lease_renew_margin * 60,
    )
    try:
        node = join_network(options, instance, manager, stop)
        Daemon(options, node, manager, inbox, stop).serve()
    except Stopped:
        pass
    finally:
        stop.set()
        notify("STOPPING=1")


def _end_on_signals(inbox: queue.SimpleQueue[object], stop: threading.Event) -> None:
    def end(number: int, frame: Any) -> None:
        log.info("shutdownHandler sent cancel signal...")
        signal.signal(number, signal.SIG_DFL)  # a second signal kills at once
        stop.set()
        inbox.put(Stop())

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


class Daemon:
    """A node with a lease, serving. Everything but `stop` and `_missing` belongs to the thread that calls `serve`."""

    def __init__(
        self,
        options: Options,
        node: Node,
        manager: SubnetManager,
        inbox: queue.SimpleQueue[object],
        stop: threading.Event,
    ) -> None:
        self._options = options
        self._node = node
        self._manager = manager
        self._inbox = inbox
        self._stop = stop
        self._missing = threading.Event()
        self._backend = find_backend(node.config)
        self._underlay = read_underlay(node.choice.interface.name)
        self._underlay_suspect = False
        self._ours = desired_node(options, node, self._backend, self._underlay)
        former = StateDir(Path(options.state_dir)).list_devices()
        self._reconciler = Reconciler(make_tables(node, self._ours, former))
        self._peers = Peers(self._rules(), options.store_lost_grace)
        self._kernel_due = time.monotonic() + options.kernel_resync
        self._firewall_due = time.monotonic() + options.iptables_resync
        self._published: Optional[str] = None
        self._watch_works = False
        self._reported = ""
        self._config_seen: Optional[str] = None
        self._handlers: Dict[type, Callable[[Any], None]] = {
            LeaseListing: self._on_listing,
            LeaseChanges: self._on_changes,
            WatchBroken: self._on_watch_broken,
            LeaseKept: self._on_lease_kept,
            LeaseGone: self._on_lease_gone,
            ConfigSeen: self._on_config,
            KernelMessages: self._on_kernel,
            NotificationsLost: self._on_notifications_lost,
            FirewallTouched: self._on_firewall,
            ThreadDied: self._on_thread_died,
            Stop: lambda message: None,
        }

    def serve(self) -> None:
        """Bring this node up, tell systemd, and keep everything as it should be until told to stop."""
        # listen first: what changes while we read the kernel is then noticed
        self._spawn("kernel", watch_kernel)
        self._spawn("netfilter", watch_netfilter)
        self._reconciler.want(OURSELVES, self._ours)
        self._reconciler.mark_all()
        self._reconciler.reconcile()
        self._raise_if_impossible()
        self._publish()
        self._spawn("leases", self._manager.watch_leases)
        self._spawn("config", self._manager.watch_config)
        self._spawn("hold", functools.partial(self._manager.hold, self._node.lease, self._missing))
        retry: Optional[float] = 0.0
        while not self._stop.is_set():
            self._take_messages(retry)
            self._do_what_is_due()
            retry = self._reconciler.reconcile()
            self._publish()
            self._report()

    # --- messages

    def _spawn(self, name: str, body: Callable[[Callable[[object], None], threading.Event], None]) -> None:
        def guarded() -> None:
            try:
                body(self._inbox.put, self._stop)
            except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to
                self._inbox.put(ThreadDied(name, error))

        threading.Thread(target=guarded, name=name, daemon=True).start()

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
        waits = [self._kernel_due - now, self._firewall_due - now]
        expiry = self._peers.next_expiry()
        if expiry is not None:
            waits.append(expiry - now)
        if retry is not None:
            waits.append(retry)
        return max(0.0, min(waits))

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        self._follow(self._peers.expire(now))
        if self._kernel_due <= now:
            self._underlay_suspect = True
            for name in NETLINK:
                self._reconciler.mark(name)
            self._kernel_due = now + self._options.kernel_resync
        if self._firewall_due <= now:
            self._reconciler.mark(FIREWALL)
            self._firewall_due = now + self._options.iptables_resync
        if self._underlay_suspect:
            self._refresh_underlay()

    # --- news from the store

    def _on_listing(self, listing: LeaseListing) -> None:
        self._follow(self._peers.see_listing(listing, time.monotonic()))
        if not self._watch_works:
            log.info("watching for new subnet leases, %d peers", self._peers.count)
        self._watch_works = True

    def _on_changes(self, changes: LeaseChanges) -> None:
        self._follow(self._peers.see_changes(changes))

    def _follow(self, outcome: Outcome) -> None:
        for key in outcome.dropped:
            log.info("Subnet removed: %s", key)
        for lease in outcome.accepted:
            address = lease.attributes.public_ip or lease.attributes.public_ipv6
            log.info("Subnet added: %s via %s", lease.key, address)
        self._carry_out(outcome)

    def _carry_out(self, outcome: Outcome) -> None:
        if outcome.own_missing:
            self._missing.set()
        if outcome.complete:
            self._reconciler.allow_removal()
        for key in outcome.dropped:
            self._reconciler.forget(key)
        for lease in outcome.accepted:
            self._reconciler.want(lease.key, self._backend.desired_for(self._node, lease, self._underlay))

    def _on_watch_broken(self, message: WatchBroken) -> None:
        if self._watch_works:
            log.warning(
                "Lost the watch of leases, keeping the %d known peers: %s", self._peers.count, message.error
            )
        self._watch_works = False

    def _on_lease_kept(self, message: LeaseKept) -> None:
        self._node = replace(self._node, lease=message.lease)

    def _on_lease_gone(self, message: LeaseGone) -> None:
        raise message.error

    def _on_config(self, message: ConfigSeen) -> None:
        """The config is read once: changing it under running containers needs their bridge to change, too."""
        seen = (message.text or "").strip()
        if seen == self._config_seen:
            return
        first, self._config_seen = self._config_seen is None, seen
        key = self._options.layout.config
        try:
            config = self._read_config(message.text)
        except FlannelError as error:
            log.error(
                "network config %s: %s; %s: this agent keeps the old one", key, error.cause, error.next_step
            )
            return
        if config != self._node.config:
            log.warning(
                "network config %s has changed; this agent keeps the old one: restart flanneld to use it", key
            )
        elif not first:
            log.info("network config %s is again the one this agent runs with", key)

    def _read_config(self, text: Optional[str]) -> NetworkConfig:
        if text is None:
            raise ConfigError(
                "network config", "the key is gone", "write it with weft.flannel.flannel_network"
            )
        config = parse_config(text)
        check_usable(config)
        return config

    # --- news from the kernel

    def _on_kernel(self, batch: KernelMessages) -> None:
        for message in batch.messages:
            self._reconciler.note(message)
            self._underlay_suspect = self._underlay_suspect or self._underlay.concerned_by(message)

    def _on_notifications_lost(self, message: NotificationsLost) -> None:
        self._underlay_suspect = True
        self._reconciler.mark_all()

    def _on_firewall(self, message: FirewallTouched) -> None:
        self._reconciler.mark(FIREWALL)

    def _on_thread_died(self, message: ThreadDied) -> None:
        raise message.error

    def _refresh_underlay(self) -> None:
        """Read the external interface again; when it has changed, derive everything again."""
        self._underlay_suspect = False
        try:
            underlay = read_underlay(self._node.choice.interface.name)
        except FlannelError as error:
            log.error("%s", error)
            return
        if underlay == self._underlay:
            return
        before, self._underlay = self._underlay, underlay
        if replace(before, onlink=underlay.onlink) != underlay:
            log.info("External interface has changed: %s", underlay)
        self._ours = desired_node(self._options, self._node, self._backend, underlay)
        self._reconciler.want(OURSELVES, self._ours)
        # peers that are handed out again are no news
        self._carry_out(self._peers.rebase(self._rules()))

    # --- this node

    def _rules(self) -> Rules:
        own: FrozenSet[Hashable] = frozenset(
            claim
            for family in self._node.config.families
            for claim in self._backend.claims(self._node.lease, family)
        )
        return Rules(
            own=self._node.lease,
            config=self._node.config,
            underlay=tuple(address.network for address in self._underlay.addresses),
            own_addresses=frozenset(address.ip for address in self._underlay.addresses)
            | frozenset(filter(None, (self._node.choice.public_ip, self._node.choice.public_ipv6))),
            own_claims=own,
            refuse=self._backend.refuse,
            claims=self._backend.claims,
        )

    def _problems(self) -> List[KernelError]:
        """What stands between us and a node that works, apart from peers."""
        ours = {WHOLE_TABLE, *(thing.key for thing in self._ours)}
        return [error for (_table, key), error in self._reconciler.problems().items() if key in ours]

    def _raise_if_impossible(self) -> None:
        for error in self._problems():
            if error.errno in IMPOSSIBLE:
                raise error

    def _publish(self) -> None:
        """Write subnet.env once what it promises stands, then tell systemd that we are ready."""
        if self._problems():
            return
        mtu = self._backend.mtu(self._node.config, self._underlay)
        text = render_subnet_env(self._node.config, self._node.lease.subnets, mtu, self._options.ip_masq)
        if text == self._published:
            return
        write_atomically(Path(self._options.subnet_file), text, 0o644)
        log.info("Wrote subnet file to %s", self._options.subnet_file)
        if self._published is None:
            log.info("flannel is ready")
            notify("READY=1")
        else:
            log.warning("%s has changed; restart Docker to use it", self._options.subnet_file)
        self._published = text

    def _report(self) -> None:
        """One line for `systemctl status`."""
        words = [f"lease {self._node.lease.key}", f"{self._peers.count} peers"]
        if self._peers.refused:
            words.append(f"{len(self._peers.refused)} leases refused")
        words.append("etcd in reach" if self._watch_works else "etcd out of reach")
        words += [str(error) for error in self._problems()]
        report = ", ".join(words)
        if report != self._reported:
            self._reported = report
            notify(f"STATUS={report}")
