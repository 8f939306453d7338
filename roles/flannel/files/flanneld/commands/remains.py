# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is ours on this host when no agent runs: which names, networks and files, as far as anything here tells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._envfile import parse_env_file
from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._interface import choose_interface
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    Network,
    family_of,
    parse_cidr,
)

from flanneld.backends import is_routed_by_others
from flanneld.commands.settings import Settings
from flanneld.instance import DEFAULT, Instance
from flanneld.outputs.state_dir import StateDir
from flanneld.resuming import open_user_space
from flanneld.tables.address import AddressTable
from flanneld.tables.device import OtherLink
from flanneld.tables.link import read_links
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import lookup_route, read_interfaces
from flanneld.tables.vxlan_link import VxlanLink

_NETWORKS = ("FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK")
_SUBNETS = ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")


@dataclass(frozen=True)
class Remains:
    """scope: what of the kernel's is ours. unclear: devices with a name of ours of which nothing says so."""

    scope: Scope
    unclear: Tuple[str, ...]


def find_remains(settings: Settings, state: StateDir) -> Remains:
    """Networks are known from the last network config and from subnet.env. Raises KernelError."""
    environment = _read_subnet_env(Path(settings.options.subnet_file))
    remembered = state.recall_lease()
    config = parse_config(remembered.config) if remembered else _guess_config(environment)
    former = tuple(_parse_networks(environment, _NETWORKS))
    pools = tuple(pool for pool in map(config.pool, config.families) if pool) if config else ()
    instance = settings.instance
    known = Scope(
        devices=state.list_devices() | _name_devices(instance, config),
        underlay="" if config is not None and is_routed_by_others(config) else _find_underlay(settings),
        pools=pools,
        chains=frozenset({instance.masquerade_chain, instance.forward_chain}),
        former=former,
    )
    named = _find_named_devices(instance)
    inside = {
        address.device
        for address in AddressTable(known).dump().values()
        if known.has_address(address.interface.ip)
    }
    if instance.tun_device in inside:  # the pair beside it has no address
        inside |= set(instance.joining_devices)
    # The names of other instances end in their own name; those of the default one might be another flannel's.
    ours = named if instance.name != DEFAULT else named & (known.devices | inside)
    space = open_user_space(instance)
    scope = Scope(known.devices | ours, known.underlay, pools, known.chains, former, user_space=space)
    return Remains(scope, tuple(sorted(named - scope.devices)))


def list_run_files(settings: Settings) -> List[Path]:
    """What the agent makes anew at every boot, as far as it exists."""
    instance = settings.instance
    made = (instance.socket, instance.lock, instance.udp_record, instance.udp_early_record)
    paths = map(Path, (settings.options.subnet_file, *made))
    return [path for path in paths if path.exists() or path.is_symlink()]


def find_upstream() -> Optional[int]:
    """The process id of upstream's flanneld in this network namespace: what is here may be what it uses."""
    here = Path("/proc/self/ns/net").stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
            if name != "flanneld" or _is_python(process):
                continue
            if (process / "ns/net").stat().st_ino == here:
                return int(process.name)
        except OSError:
            continue  # it has ended, or is not ours to look at
    return None


def _is_python(process: Path) -> bool:
    """Ours, called by its name; upstream's is a program of its own."""
    return (process / "exe").resolve().name.startswith("python")


def _read_subnet_env(path: Path) -> Mapping[str, str]:
    try:
        return parse_env_file(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}


def _guess_config(environment: Mapping[str, str]) -> Optional[NetworkConfig]:
    """The network config that subnet.env was made under, as far as that matters here."""
    networks = _parse_networks(environment, _NETWORKS)
    lengths = {family_of(subnet): subnet.prefixlen for subnet in _parse_networks(environment, _SUBNETS)}
    document: dict[str, object] = {"EnableIPv4": False, "Backend": {"Type": "vxlan"}}
    for family in {family_of(network) for network in networks} & lengths.keys():
        infix = "" if family is IPV4 else "IPv6"
        first = next(network for network in networks if family_of(network) is family)
        document.update({f"{infix}Network": str(first), f"{infix}SubnetLen": lengths[family]})
        document["EnableIPv4" if family is IPV4 else "EnableIPv6"] = True
    try:
        return parse_config(json.dumps(document))
    except FlannelError:
        return None


def _parse_networks(environment: Mapping[str, str], keys: Sequence[str]) -> List[Network]:
    found: List[Network] = []
    for text in ",".join(environment.get(key, "") for key in keys).split(","):
        try:
            found.append(parse_cidr(text.strip()))
        except AddressError:
            continue
    return found


def _name_devices(instance: Instance, config: Optional[NetworkConfig]) -> FrozenSet[str]:
    vni = config.backend.options.get("VNI") if config else None
    if not isinstance(vni, int):
        return frozenset()
    try:
        return frozenset(instance.vxlan_device(vni, family) for family in FAMILIES)
    except FlannelError:  # too long a name is no device's
        return frozenset()


def _find_named_devices(instance: Instance) -> FrozenSet[str]:
    """Devices of our kinds that have the name which this instance would give them."""
    found = (link for link in read_links().values() if not isinstance(link, OtherLink))
    return frozenset(
        link.name
        for link in found
        if link.name
        in (_name_for(instance, link.vni) if isinstance(link, VxlanLink) else instance.fixed_devices)
    )


def _name_for(instance: Instance, vni: int) -> FrozenSet[str]:
    try:
        return frozenset(instance.vxlan_device(vni, family) for family in FAMILIES)
    except FlannelError:
        return frozenset()


def _find_underlay(settings: Settings) -> str:
    """The external interface, "" if none fits any more."""
    interfaces, default_routes = read_interfaces()
    for families in ((IPV4,), FAMILIES):
        try:
            choice = choose_interface(
                settings.options.interface, families, interfaces, default_routes, lookup_route
            )
        except FlannelError:
            continue
        return choice.interface.name
    return ""
