# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From settings to a node with a lease: network config, interface, backend, subnet, in this order (spec 0.2).

When the store is away, the state directory stands in for it: a host comes up with its last config, lease and peers.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, FrozenSet, Optional, Tuple, TypeVar

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    FlannelError,
    StoreAuthError,
    StoreLeaseLost,
    StoreTLSError,
    StoreUnavailable,
)
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice, choose_interface
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import Address, Network

from flanneld.backends import Host, Node, find_backend, require_backend
from flanneld.backends.room import require_room
from flanneld.consumers import find_users
from flanneld.instance import Instance
from flanneld.last_life import LastLife
from flanneld.leasing import Claim, Identity, KnownPeers, SubnetManager
from flanneld.leasing.backoff import Backoff
from flanneld.options import Options
from flanneld.other_instances import require_usable
from flanneld.outputs.keys import find_ipsec_psk_file, make_wireguard_keys
from flanneld.outputs.notify import ping_watchdog
from flanneld.outputs.state_dir import StateDir
from flanneld.outputs.subnet_env import read_previous_subnets
from flanneld.resuming import open_user_space
from flanneld.tables.underlay import lookup_route, read_interfaces
from flanneld.tables.vxlan_link import read_vxlan_mac

if TYPE_CHECKING:
    from flanneld.tables.udp import UserSpace

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Stopped(Exception):
    """The agent was told to stop while it waited."""


@dataclass(frozen=True)
class Joined:
    """A host in its network.

    host: what the backend's `prepare` was given, for when the interface changes. config_text: of the network config,
    as the store or the state directory has it. confirmed: the store gave us the lease in this life; else it comes from
    the state directory. expires_in: seconds that it has left. peers: those of the life before, None when unknown.
    own_lost: our lease should have been in the store, and was not. former: networks of the last life that the config
    does not have any more, whose routes are ours to remove.
    """

    node: Node
    host: Host
    claim: Claim
    config_text: str
    confirmed: bool
    expires_in: float
    peers: Optional[KnownPeers]
    own_lost: bool
    former: Tuple[Network, ...]


@dataclass(frozen=True)
class Start:
    """What a start works with. tell: shown to whoever asks what we wait for; "" when we do not wait any more.
    user_space: what forwards for udp already."""

    options: Options
    instance: Instance
    manager: SubnetManager
    state: StateDir
    identity: Identity
    tell: Callable[[str], None]
    stop: threading.Event
    user_space: Optional[UserSpace] = None

    def wait_for(self, what: str, attempt: Callable[[], Result]) -> Result:
        """Try until it works. Each new reason for waiting is told once. Raises Stopped."""
        backoff = Backoff()
        told = ""
        while True:
            ping_watchdog()  # after SIGHUP the service is up for systemd, and may still wait for the store
            try:
                result = attempt()
            except (ConfigError, StoreUnavailable, StoreLeaseLost) as error:
                if self.stop.is_set():
                    raise Stopped from error
                if str(error) != told:
                    told = str(error)
                    log.error("Couldn't %s, waiting: %s", what, error)
                    self.tell(f"{what}: {error}")
            else:
                self.tell("")
                return result
            if backoff.wait(self.stop):
                raise Stopped


def join_network(start: Start) -> Joined:
    """A node with its lease. Waits for the store and a usable network config, unless the state directory has both;
    raises what cannot be waited for: InterfaceError, BackendError, OutOfSubnets, HostConflict, StoreAuthError,
    StoreTLSError; Stopped."""
    state, last = start.state, LastLife(start.state.recall_lease())
    text, confirmed = start.wait_for("fetch network config", lambda: _find_config(start, last))
    config = parse_config(text)
    log.info("Found network config - Backend type: %s", config.backend.type)
    if config.backend_was_absent:
        log.warning(
            "The network config has no Backend, which means udp to every flannel; write the type you want"
        )
    backend = find_backend(config)
    choice = _choose_first(start.options, config, last)
    space = start.user_space
    if space is None and config.backend.type == "udp":
        space = open_user_space(start.instance)
    host = Host(
        start.instance,
        choice,
        read_vxlan_mac,
        state.recall_mac,
        state.remember_mac,
        state.remember_device,
        make_wireguard_keys(start.options, start.instance, state),
        record=state,
        user_space=space,
        allows_commands=start.options.allow_extension_commands,
        ipsec_psk_file=find_ipsec_psk_file(start.options, start.instance),
        udp_datapath=start.options.udp_datapath,
        udp_gro=start.options.udp_gro,
        udp_xdp=start.options.udp_xdp,
    )
    require_room(config, choice.interface.name, choice.interface.mtu)
    local = backend.prepare(host, config)
    previous = read_previous_subnets(Path(start.options.subnet_file))
    claim = Claim(backend.attributes(local, choice, config), start.identity, previous, last.lease)
    log.info(
        "Created subnet manager: Etcd Local Manager with Previous Subnet: %s",
        (previous and previous.v4) or "None",
    )
    lease = None
    if confirmed:
        lease = start.wait_for("acquire lease", lambda: _acquire(start, claim, config, last))
    confirmed = lease is not None
    if lease is None:
        assert last.lease is not None, "without a lease on disk, the store is waited for"
        lease = replace(last.lease, attributes=claim.attributes)
        log.warning("Starting with lease %s and the peers of the last life", lease.key)
    time_left = None if confirmed else last.find_time_left()
    if time_left is not None and time_left < 0:
        log.warning(
            "It has ended meanwhile; should another host have it now, that shows when the store is back"
        )
    return Joined(
        node=Node(start.instance, config, choice, lease, local, start.options.tx_checksum),
        host=host,
        claim=claim,
        config_text=text,
        confirmed=confirmed,
        # a clock that is behind at boot (no battery, no NTP yet) makes no lease last longer than one can
        expires_in=min(start.options.subnet_lease_ttl, float("inf") if time_left is None else time_left),
        peers=state.recall_peers(),
        own_lost=confirmed and last.was_robbed(lease, text),
        former=last.find_former_networks(config),
    )


def _find_config(start: Start, last: LastLife) -> Tuple[str, bool]:
    """The text of a network config that can be used, and whether it is the store's; that of the last life when the
    store is away, or has lost it."""
    try:
        text = start.manager.read_config()
        require_usable(parse_config(text), start.instance)
    except (ConfigError, StoreUnavailable, StoreAuthError, StoreTLSError) as error:
        if last.remembered is None or not _can_do_without(start, error):
            raise
        require_backend(parse_config(last.remembered.config))
        log.warning("Couldn't fetch network config, using the one of the last start: %s", error)
        return last.remembered.config, False
    return text, True


def _can_do_without(start: Start, error: FlannelError) -> bool:
    """A store that refuses us is as good as away for a host that boots: an expired certificate must not leave its
    containers without a network. At a restart the operator is to hear of it at once, and nothing is lost by that."""
    refused = isinstance(error, (StoreAuthError, StoreTLSError))
    return not refused or not Path(start.options.subnet_file).exists()


def _choose_first(options: Options, config: NetworkConfig, last: LastLife) -> InterfaceChoice:
    if not (options.iface or options.iface_regex or options.iface_can_reach):
        log.info("Determining IP address of default interface")
    choice = choose(options, config, preferred=last.addresses)
    log.info(
        "Using interface with name %s and address %s: %s",
        choice.interface.name,
        choice.ipv4 or choice.ipv6,
        choice.reason,
    )
    for given, address in ((options.public_ip, choice.public_ip), (options.public_ipv6, choice.public_ipv6)):
        if given:
            log.info("Using %s as external address", address)
        elif address is not None:
            log.info("Defaulting external address to interface address (%s)", address)
    return choice


def choose(
    options: Options,
    config: NetworkConfig,
    keep: Optional[InterfaceChoice] = None,
    preferred: FrozenSet[Address] = frozenset(),
) -> InterfaceChoice:
    """The interface as the host has it now. keep: the choice so far, which stays as long as it fits. preferred:
    addresses of an earlier life.

    Raises InterfaceError, KernelError.
    """
    interfaces, defaults = read_interfaces()
    request, families = options.interface, config.underlay_families
    return choose_interface(request, families, interfaces, defaults, lookup_route, keep, preferred)


def _acquire(start: Start, claim: Claim, config: NetworkConfig, last: LastLife) -> Optional[Lease]:
    """A lease from the store; None when that of the last life has to do: the store is away, or has another subnet for
    us while containers are in the last one."""
    try:
        lease = start.manager.acquire(claim, config)
    except (StoreUnavailable, StoreAuthError, StoreTLSError) as error:
        if not last.had_config(config) or not _can_do_without(start, error):
            raise
        log.warning("Couldn't acquire lease: %s", error)
        return None
    if last.lease is None or last.is_followed_by(lease) or not last.fits(config) or lease.is_reservation:
        return lease  # a reservation is the operator's wish
    users = find_users(last.lease.subnets, read_interfaces()[0], start.state.list_devices())
    if not users:
        return lease
    log.error(
        "Lease %s is lost, but %s still has an address in it: not taking %s while that is so",
        last.lease.key,
        ", ".join(users),
        lease.key,
    )
    start.manager.release(lease)
    return None
