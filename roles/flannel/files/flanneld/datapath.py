# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data path of this node: what its lease, its peers and the underlay make the host have, and subnet.env."""

from __future__ import annotations

import functools
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import AbstractSet, Any, Callable, FrozenSet, Hashable, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._subnet import Network

from flanneld.apart import DividedReconciler
from flanneld.backends import Host, Node, find_backend
from flanneld.backends.room import require_room
from flanneld.consumers import find_bare_bridges, find_pending, find_users
from flanneld.leasing.conflicts import Rules
from flanneld.leasing.peers import Outcome
from flanneld.options import Options
from flanneld.outputs.files import read_regular, write_atomically
from flanneld.outputs.subnet_env import render_subnet_env
from flanneld.plan import (
    FIREWALL,
    IMPOSSIBLE,
    NETLINK,
    choose_firewall,
    desired_node,
    desired_peer,
    list_additional,
    list_devices,
    make_scope,
    make_tables,
)
from flanneld.reconciler import WHOLE_TABLE
from flanneld.startup import choose
from flanneld.tables import Datapath, Forwarder, KernelError, OnUnderlay, Worker
from flanneld.tables.link import read_links
from flanneld.tables.notifications import (
    KernelMessages,
    Post,
    watch_kernel,
    watch_netfilter,
    watch_policies,
)
from flanneld.tables.policy import PolicyTable
from flanneld.tables.underlay import Underlay, read_interfaces, read_underlay
from flanneld.udp.counts import Counts

log = logging.getLogger(__name__)

OURSELVES: Hashable = ("this node",)
"""The owner, in the reconciler, of what exists once on a host. Peers own theirs under the key of their lease."""


class DataPath:
    """node: this host, which changes with its lease and its interface. host: what the backend's `prepare` is given.

    former_devices, former_networks: of an earlier network config. fault: why the external interface would not be
    chosen now.
    """

    def __init__(
        self,
        options: Options,
        node: Node,
        host: Host,
        former_devices: FrozenSet[str],
        former_networks: Tuple[Network, ...],
    ) -> None:
        self._options = options
        self._host = host
        self._backend = find_backend(node.config)
        self._underlay_suspect = False
        self._written: Optional[str] = None
        self._in_use: Optional[bytes] = None
        self.node = node
        self.fault: Optional[FlannelError] = None
        self.underlay = read_underlay(node.choice.interface.name)
        require_room(node.config, self.underlay.name, self.underlay.mtu)
        self._ours = desired_node(options, node, self._backend, self.underlay)
        self._devices = former_devices | list_devices(self._ours)
        scope = make_scope(node, self._devices, former_networks, host.record, host.user_space)
        additional = list_additional(host, self._backend, scope)
        self._read_periodically = (*NETLINK, *(table.name for table in additional))
        self._additional = additional
        self._on_underlay = tuple(table.name for table in additional if isinstance(table, OnUnderlay))
        self._forwarders = tuple(table for table in additional if isinstance(table, Forwarder))
        tables = make_tables(node.instance, scope, self._ours, additional)
        self.reconciler = DividedReconciler(tables)

    # --- what should be

    def bring_up(self) -> None:
        """What exists once on this host. Raises KernelError when waiting will not help."""
        self.reconciler.want(OURSELVES, self._ours)
        self.reconciler.mark_all()
        self.reconciler.reconcile()
        for error in self.problems():
            if error.errno in IMPOSSIBLE:
                raise error

    def follow(self, outcome: Outcome) -> None:
        """Carry out what the news about peers mean."""
        if outcome.complete:
            self.reconciler.allow_removal()
        for key in outcome.dropped:
            self.reconciler.forget(key)
        for lease in outcome.accepted:
            objects = desired_peer(self._backend, self.node, lease, self.underlay, outcome.peers)
            self.reconciler.want(lease.key, objects)

    def become(self, node: Node) -> None:
        """The same host with another lease or interface. The peers are to be handed out again after it."""
        self.node = node
        self.underlay = self._read_underlay(node.choice.interface.name)
        self._ours = desired_node(self._options, node, self._backend, self.underlay)
        self.reconciler.want(OURSELVES, self._ours)

    def make_rules(self) -> Rules:
        """What the leases of other hosts are held against."""
        node = self.node
        own: FrozenSet[Hashable] = frozenset(
            claim for family in node.config.families for claim in self._backend.claims(node.lease, family)
        )
        return Rules(
            own=node.lease,
            config=node.config,
            underlay=tuple(address.network for address in self.underlay.addresses),
            own_addresses=frozenset(address.ip for address in self.underlay.addresses)
            | frozenset(filter(None, (node.choice.public_ip, node.choice.public_ipv6))),
            own_claims=own,
            address=functools.partial(self._backend.find_address, node),
            refuse=self._backend.refuse,
            claims=self._backend.claims,
        )

    # --- what is

    def list_threads(self) -> Iterator[Tuple[str, Callable[[Post, threading.Event], None]]]:
        """Name and body of each thread that tells us what has changed, or changes what takes long."""
        yield "kernel", watch_kernel
        yield "netfilter", watch_netfilter
        for table in self._additional:
            if isinstance(table, PolicyTable):
                yield table.name, watch_policies
            elif isinstance(table, Worker):
                yield table.name, table.work
        if self.reconciler.is_divided:
            yield "apart", self.reconciler.work_apart

    def note(self, batch: KernelMessages) -> None:
        """Take in notifications of the kernel."""
        for message in batch.messages:
            self.reconciler.note(message)
            if self.underlay.concerned_by(message):
                self._underlay_suspect = True
                for name in self._on_underlay:
                    self.reconciler.mark(name)

    def suspect_all(self) -> None:
        """Anything in the kernel may have changed without our knowing."""
        self._underlay_suspect = True
        self._check_written()
        for name in self._read_periodically:
            self.reconciler.mark(name)

    def suspect_policies(self) -> None:
        """IPsec policies may have changed."""
        self.reconciler.mark(PolicyTable.name)

    def suspect_firewall(self) -> None:
        """Our rules may have changed."""
        for name in FIREWALL:
            self.reconciler.mark(name)

    def refresh_underlay(self) -> Optional[Node]:
        """Look at the external interface again, if it may have changed. Returns the node as it is now, None if it is
        as before.

        An interface that does not fit any more stays the one in use (`fault` says why): its address comes back, or
        another one takes over.
        """
        if not self._underlay_suspect:
            return None
        self._underlay_suspect = False
        choice, local = self._choose_again()
        try:
            underlay = self._read_underlay(choice.interface.name)
        except KernelError as error:
            if self.fault is None:  # else it is told already why
                self._note_fault(error)
            return None
        if choice == self.node.choice and underlay == self.underlay:
            return None
        if replace(underlay, onlink=self.underlay.onlink) != self.underlay:
            log.info("External interface has changed: %s", underlay)
        attributes = self._backend.attributes(local, choice, self.node.config)
        lease = replace(self.node.lease, attributes=attributes)
        return replace(self.node, choice=choice, local=local, lease=lease)

    def _choose_again(self) -> Tuple[InterfaceChoice, Any]:
        """The interface and what the backend makes of it; those so far when there is no better one."""
        config, so_far = self.node.config, self.node.choice
        try:
            choice = choose(self._options, config, so_far)
            require_room(config, choice.interface.name, choice.interface.mtu)
            if _same_place(choice, so_far):
                self.fault = None
                return so_far, self.node.local
            local = self._backend.prepare(replace(self._host, choice=choice), config)
        except FlannelError as error:
            self._note_fault(error)
            return so_far, self.node.local
        self.fault = None
        return choice, local

    def _read_underlay(self, name: str) -> Underlay:
        """As it is; with the MTU so far where the present one leaves no room, which `fault` tells."""
        underlay = read_underlay(name)
        try:
            require_room(self.node.config, name, underlay.mtu)
        except FlannelError:
            return replace(underlay, mtu=self.underlay.mtu)
        return underlay

    def _note_fault(self, error: FlannelError) -> None:
        if str(error) != str(self.fault):
            log.error("External interface, keeping %s: %s", self.node.choice.interface.name, error)
        self.fault = error

    # --- how it is

    @property
    def firewall(self) -> str:
        """What our rules are made with: "iptables", "nftables" or "none"."""
        return choose_firewall(self._options, self.node.config)

    @property
    def mtu(self) -> int:
        """Of a container's interface."""
        return self._backend.mtu(self.node.config, self.underlay.mtu)

    def read_counts(self) -> Optional[Counts]:
        """What was forwarded for udp; None with other backends."""
        return next((table.read_counts() for table in self._forwarders), None)

    def read_datapath(self) -> Optional[Datapath]:
        """What forwards for udp; None with other backends."""
        return next((table.read_datapath() for table in self._forwarders), None)

    @property
    def devices(self) -> AbstractSet[str]:
        """Names of our own devices, whether they exist or not."""
        return self._devices

    @property
    def published(self) -> bool:
        """subnet.env says what is true now."""
        return self._written == self._render()

    def problems(self) -> List[KernelError]:
        """What stands between us and a node that works, apart from peers."""
        return self._only_ours(self.reconciler.problems())

    def _only_ours(self, problems: Mapping[Tuple[str, Hashable], KernelError]) -> List[KernelError]:
        ours = {WHOLE_TABLE, *(thing.key for thing in self._ours)}
        return [error for (_table, key), error in problems.items() if key in ours]

    def find_users(self) -> Tuple[str, ...]:
        """Interfaces, ours left out, that have an address in our subnet. Raises KernelError."""
        return find_users(self.node.lease.subnets, read_interfaces()[0], self._devices)

    def find_pending(self) -> Tuple[str, ...]:
        """What somebody has to restart to use the present subnet.env. Raises KernelError."""
        bare = find_bare_bridges(read_links())
        return tuple(find_pending(self.node, read_interfaces()[0], self._devices, self.mtu, bare))

    def publish(self) -> bool:
        """Write subnet.env once what it promises stands; True if it was written now. Raises FileError.

        Another program that is away or slow does not keep containers from their addresses.
        """
        text = self._render()
        if text == self._written or self._only_ours(self.reconciler.near_problems()):
            return False
        if (
            self._in_use is None
        ):  # a boot leaves nothing below /run; else Docker has what the former life wrote
            self._in_use = self._read_written()
        write_atomically(Path(self._options.subnet_file), text, 0o644)
        log.info("Wrote subnet file to %s", self._options.subnet_file)
        if self._in_use not in (b"", text.encode()):
            log.warning("%s has changed; restart Docker to use it", self._options.subnet_file)
        self._written, self._in_use = text, text.encode()
        return True

    def _check_written(self) -> None:
        """Somebody may have changed or removed subnet.env: it is then written again."""
        if self._written is None:
            return
        if self._read_written() != self._written.encode():
            log.warning("%s was changed or removed, writing it again", self._options.subnet_file)
            self._written = None

    def _read_written(self) -> bytes:
        """subnet.env as it is; empty if it is not there."""
        try:
            return read_regular(Path(self._options.subnet_file))
        except OSError:
            return b""

    def _render(self) -> str:
        return render_subnet_env(self.node.config, self.node.lease.subnets, self.mtu, self._options.ip_masq)


def _same_place(one: InterfaceChoice, other: InterfaceChoice) -> bool:
    """Interface and addresses are the same; what else the interface has, and why it was chosen, is no matter."""
    return (one.interface.name, one.ipv4, one.ipv6, one.public_ip, one.public_ipv6) == (
        other.interface.name,
        other.ipv4,
        other.ipv6,
        other.public_ip,
        other.public_ipv6,
    )
