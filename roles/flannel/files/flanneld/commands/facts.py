# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything `flanneld check` looks at, read once; nothing is changed by it. The checks themselves are pure.

The only thing sent is a few pings to other hosts.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, FrozenSet, Iterator, Mapping, Optional, Tuple, TypeVar

from ansible_collections.weft.flannel.plugins.module_utils._agent import ask_agent
from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._envfile import parse_env_file
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Lease
from ansible_collections.weft.flannel.plugins.module_utils._network import BadLease, read_network
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry, node_from_item
from ansible_collections.weft.flannel.plugins.module_utils._openings import (
    Opening,
    list_openings,
    list_udp_ports,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store, open_store
from ansible_collections.weft.flannel.plugins.module_utils._subnet import Family

from flanneld.backends import Backend, find_backend
from flanneld.commands.asking import parse_report
from flanneld.commands.probes import Probe, can_ping, probe_paths
from flanneld.commands.settings import Settings
from flanneld.commands.traces import read_unit
from flanneld.consumers import find_bare_bridges
from flanneld.outputs.remembered import RememberedLease
from flanneld.outputs.report import Report
from flanneld.outputs.state_dir import StateDir
from flanneld.tables.address import AddressTable, LinkAddress
from flanneld.tables.device import Link, OtherLink, OwnLink
from flanneld.tables.fdb import FdbEntry, FdbTable
from flanneld.tables.forwarding import find_forward_drops
from flanneld.tables.link import read_links
from flanneld.tables.offload import read_tx_checksum
from flanneld.tables.programs import run_program
from flanneld.tables.route import Route, read_routes
from flanneld.tables.scope import Scope
from flanneld.tables.verdicts import Flow
from flanneld.tables.vxlan_link import VxlanLink
from flanneld.tables.wireguard_link import WireguardLink
from flanneld.tables.wireguard_netlink import read_device

USUAL_PREFIXES = (
    "/coreos.com/network",
    "/atomic.io/network",
    "/cluster.local/network",
    "/kube-centos/network",
    "/flannel/network",
    "/kube/network",
)
"""Where installation guides have put the network config."""
MOST_LIFETIMES = 500
"""Above this many leases only ours is asked for its time: each costs a call."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class StoreFacts:
    """What etcd holds. config: text, None when the key does not exist. elsewhere: other prefixes that have a config.
    lifetimes: seconds left, by key of the lease; reservations have none."""

    config: Optional[str]
    elsewhere: Tuple[str, ...]
    leases: Tuple[Lease, ...]
    bad_leases: Tuple[BadLease, ...]
    lifetimes: Mapping[str, int]
    nodes: Tuple[NodeEntry, ...]


@dataclass(frozen=True)
class Facts:
    """One host, as it can see itself. What could not be read is None, with the reason in the field beside it.

    sysctls: by path below /proc/sys, None for what does not exist. capabilities: of the agent, or of this process when
    none runs (capabilities(7), CapEff). udp_ports: local ports that somebody has opened. iptables, nftables: the
    rules as their programs print them, "" without such a program. tx_checksum: by name of our devices. public_keys: by
    name of our WireGuard devices, "" for one without. pings: there is a program to probe with. bare_bridges: those
    whose MTU says nothing.
    """

    settings: Settings
    unit: Mapping[str, str]
    report: Optional[Report]
    report_error: Optional[FlannelError]
    store: Optional[StoreFacts]
    store_error: Optional[FlannelError]
    config: Optional[NetworkConfig]
    config_error: Optional[FlannelError]
    remembered: Optional[RememberedLease]
    subnet_env: Optional[Mapping[str, str]]
    links: Mapping[str, Link]
    bare_bridges: FrozenSet[str]
    addresses: Tuple[LinkAddress, ...]
    routes: Tuple[Route, ...]
    fdb: Tuple[FdbEntry, ...]
    devices: Mapping[Family, str]
    sysctls: Mapping[str, Optional[str]]
    capabilities: int
    udp_ports: FrozenSet[int]
    iptables: str
    nftables: str
    forward_drops: Tuple[Tuple[str, str], ...]
    tx_checksum: Mapping[str, bool]
    public_keys: Mapping[str, str]
    probes: Tuple[Probe, ...]
    pings: bool

    @property
    def own_key(self) -> str:
        """Key of our lease below subnets/, "" when it is not known."""
        return _find_own_key(self.report, self.remembered)

    @property
    def own_lease(self) -> Optional[Lease]:
        """Our lease as the store has it."""
        leases = self.store.leases if self.store is not None else ()
        return next((lease for lease in leases if lease.key == self.own_key), None)

    @property
    def own_devices(self) -> Tuple[OwnLink, ...]:
        """Our devices that exist."""
        found = (self.links.get(name) for name in self.devices.values())
        return tuple(link for link in found if link is not None and not isinstance(link, OtherLink))

    @property
    def ports(self) -> Tuple[int, ...]:
        """UDP ports that the backend of the network config listens on."""
        return () if self.config is None else list_udp_ports(self.config)

    @property
    def openings(self) -> Tuple[Opening, ...]:
        """What other hosts send to this one."""
        return () if self.config is None else list_openings(self.config)

    def name_host(self, key: str) -> str:
        """The lease, and the host that holds it, where a node entry tells."""
        nodes = self.store.nodes if self.store is not None else ()
        hosts = [node.host for node in nodes if node.subnet == key]
        return f"{key} ({', '.join(hosts)})" if hosts else key


def read_facts(settings: Settings) -> Facts:
    """Raises KernelError when the kernel does not even list its devices."""
    instance = settings.instance
    report, report_error = _attempt(lambda: parse_report(ask_agent(instance.socket)))
    remembered = StateDir(Path(settings.options.state_dir)).recall_lease()
    store, store_error = _attempt(lambda: _read_store(settings, _find_own_key(report, remembered)))
    text = store.config if store is not None else remembered.config if remembered is not None else None
    config, config_error = _attempt(lambda: None if text is None else parse_config(text))
    links_by_index = read_links()
    devices = _name_devices(settings, config)
    links = {link.name: _complete(link, devices) for link in links_by_index.values()}
    scope = Scope(frozenset(devices.values()), "", ())
    subnet_env = _read_subnet_env(Path(settings.options.subnet_file))
    addresses = tuple(AddressTable(scope).dump().values())
    return Facts(
        settings=settings,
        unit=read_unit(instance.unit),
        report=report,
        report_error=report_error,
        store=store,
        store_error=store_error,
        config=config,
        config_error=config_error,
        remembered=remembered,
        subnet_env=subnet_env,
        links=links,
        bare_bridges=find_bare_bridges(links_by_index),
        addresses=addresses,
        routes=read_routes(),
        fdb=tuple(FdbTable(scope).dump().values()),
        devices=devices,
        sysctls={
            name: _read_text(Path("/proc/sys") / name)
            for name in (
                "net/ipv4/ip_forward",
                "net/ipv6/conf/all/forwarding",
                "net/bridge/bridge-nf-call-iptables",
            )
        },
        capabilities=_read_capabilities(report),
        udp_ports=frozenset(_read_udp_ports()),
        iptables=_read_rules("iptables-save", "-t", "filter"),
        nftables=_read_rules("nft", "list", "ruleset"),
        forward_drops=_read_forward_drops(tuple(_list_flows(config, report, devices, addresses))),
        tx_checksum=dict(_read_tx_checksums(devices, links)),
        public_keys=dict(_read_public_keys(devices, links)),
        probes=_probe(
            store, _find_own_key(report, remembered), _find_sizes(config, devices, links, subnet_env)
        ),
        pings=can_ping(),
    )


def _complete(link: Link, devices: Mapping[Family, str]) -> Link:
    """With what netlink does not tell, if it is ours."""
    if not isinstance(link, OtherLink) and link.name in devices.values():
        with contextlib.suppress(OSError):
            completed: Link = link.complete()
            return completed
    return link


def _find_own_key(report: Optional[Report], remembered: Optional[RememberedLease]) -> str:
    if report is not None and report.lease is not None:
        return report.lease.key
    return remembered.lease.key if remembered is not None else ""


def _probe(store: Optional[StoreFacts], own_key: str, sizes: Mapping[Family, int]) -> Tuple[Probe, ...]:
    others = [lease for lease in store.leases if lease.key != own_key] if store is not None else []
    return probe_paths(others, sizes)


def _find_sizes(
    config: Optional[NetworkConfig],
    devices: Mapping[Family, str],
    links: Mapping[str, Link],
    subnet_env: Optional[Mapping[str, str]],
) -> Dict[Family, int]:
    """Bytes on the underlay of a full packet of a container, by family; none where that is not known."""
    backend = _find_backend(config)
    if config is None or backend is None:
        return {}
    told = (subnet_env or {}).get("FLANNEL_MTU", "")
    if devices:
        mtus = {family: links[name].mtu for family, name in devices.items() if name in links}
    else:
        mtus = {family: int(told) for family in config.families if told.isdigit()}
    return {family: mtu + backend.overhead(config, family) for family, mtu in mtus.items()}


def _attempt(read: Callable[[], Value]) -> Tuple[Optional[Value], Optional[FlannelError]]:
    try:
        return read(), None
    except FlannelError as error:
        return None, error


def _read_store(settings: Settings, own_key: str) -> StoreFacts:
    layout = settings.options.layout
    store = open_store(settings.options.store)
    try:
        network = read_network(store, layout)
        asked = [
            lease
            for lease in network.leases
            if lease.lease_id and (lease.key == own_key or len(network.leases) <= MOST_LIFETIMES)
        ]
        return StoreFacts(
            config=_text(network.config),
            elsewhere=() if network.config is not None else tuple(_find_configs(store, layout)),
            leases=network.leases,
            bad_leases=network.bad_leases,
            lifetimes={lease.key: store.time_to_live(lease.lease_id) for lease in asked},
            nodes=tuple(_read_nodes(store, layout)),
        )
    finally:
        store.close()


def _text(item: Optional[KeyValue]) -> Optional[str]:
    return None if item is None else item.value.decode("utf-8", "replace")


def _find_configs(store: Store, layout: Layout) -> Iterator[str]:
    for prefix in USUAL_PREFIXES:
        other = Layout.from_prefix(prefix)
        with contextlib.suppress(FlannelError):  # a role may well see nothing but its own prefix
            if other != layout and store.get(other.config) is not None:
                yield prefix


def _read_nodes(store: Store, layout: Layout) -> Iterator[NodeEntry]:
    for item in store.list(layout.nodes).items:
        with contextlib.suppress(FlannelError):
            yield node_from_item(layout, item)


def _name_devices(settings: Settings, config: Optional[NetworkConfig]) -> Dict[Family, str]:
    backend = _find_backend(config)
    if config is None or backend is None:
        return {}
    with contextlib.suppress(FlannelError):  # a name too long is no device's
        return dict(backend.devices(settings.instance, config))
    return {}


def _find_backend(config: Optional[NetworkConfig]) -> Optional[Backend]:
    with contextlib.suppress(FlannelError):
        return None if config is None else find_backend(config)
    return None


def _read_subnet_env(path: Path) -> Optional[Mapping[str, str]]:
    text = _read_text(path)
    return None if text is None else parse_env_file(text)


def _read_text(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _read_capabilities(report: Optional[Report]) -> int:
    status = _read_text(Path(f"/proc/{report.pid if report is not None else 'self'}/status")) or ""
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)


def _read_udp_ports() -> Iterator[int]:
    for path in ("/proc/net/udp", "/proc/net/udp6"):
        for line in (_read_text(Path(path)) or "").splitlines()[1:]:
            yield int(line.split()[1].rpartition(":")[2], 16)


def _read_rules(*command: str) -> str:
    try:
        return run_program(command)
    except FlannelError:
        return ""


def _read_forward_drops(flows: Tuple[Flow, ...]) -> Tuple[Tuple[str, str], ...]:
    """(cause, next step) of each rule that drops what is forwarded, in spite of ours."""
    return tuple(
        (f"{drop.chain} ({drop.family}): {drop.cause}", drop.next_step)
        for drop in (find_forward_drops(flows) if flows else find_forward_drops())
    )


def _list_flows(
    config: Optional[NetworkConfig],
    report: Optional[Report],
    devices: Mapping[Family, str],
    addresses: Tuple[LinkAddress, ...],
) -> Iterator[Flow]:
    """What this host forwards for the network: from the other hosts, and from the bridges of its containers."""
    card = report.interface.name if report is not None and report.interface is not None else None
    for pool in map(config.pool, config.families) if config is not None else ():
        if pool is not None:
            bridges = {entry.device for entry in addresses if entry.interface.ip in pool.network}
            for device in (devices.get(pool.family, card), *sorted(bridges - {*devices.values()})):
                yield Flow(device, pool.network)


def _read_tx_checksums(
    devices: Mapping[Family, str], links: Mapping[str, Link]
) -> Iterator[Tuple[str, bool]]:
    """Of VXLAN devices: the others leave checksums to nobody."""
    for name in devices.values():
        if isinstance(links.get(name), VxlanLink):
            with contextlib.suppress(OSError):
                yield name, read_tx_checksum(name)


def _read_public_keys(devices: Mapping[Family, str], links: Mapping[str, Link]) -> Iterator[Tuple[str, str]]:
    for name in set(devices.values()):
        if isinstance(links.get(name), WireguardLink):
            with contextlib.suppress(FlannelError):  # only root may read it
                found = read_device(name)
                if found is not None:
                    yield name, found.public_key
