# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker and CNI take from us: subnet.env, and the bridges they made from it."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Dict, Iterator, List, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, IPV4, Network, parse_cidr

from flanneld.commands.checks import FAIL, Check, Finding
from flanneld.commands.facts import Facts
from flanneld.consumers import advise_renewal

_KEYS = tuple(
    zip(FAMILIES, ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"), ("FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK"))
)


def check_subnet_env(facts: Facts) -> Iterator[Finding]:
    """CNI: `failed to load flannel 'subnet.env' file`."""
    path = facts.settings.options.subnet_file
    if facts.subnet_env is None:
        step = "see whether the agent is ready: flanneld status; it writes the file when its data path stands"
        yield Finding(FAIL, f"{path} does not exist: Docker and CNI cannot start containers", step)
        return
    if not facts.subnet_env.get("FLANNEL_MTU", "").isdigit():
        yield Finding(FAIL, f"{path} has no FLANNEL_MTU", "restart the agent, which writes it anew")
    lease = facts.own_lease.subnets if facts.own_lease is not None else None
    for family, key, _network_key in _KEYS:
        wanted = lease.of(family) if lease is not None else None
        found = _parse(facts.subnet_env.get(key, ""))
        if wanted is not None and found != wanted:
            step = "restart the agent, then what uses the file (Docker, CNI)"
            yield Finding(FAIL, f"{path}: {key} is {found or 'missing'}, our lease is {wanted}", step)


def check_bridges(facts: Facts) -> Iterator[Finding]:
    """CNI: `"cni0" already has an IP address different from`: made from an earlier subnet; or its MTU is too large."""
    environment = facts.subnet_env or {}
    mtu = environment.get("FLANNEL_MTU", "")
    for device, addresses in _find_bridges(facts):
        restart = advise_renewal(facts.settings.instance, device)
        for address, subnet in addresses:
            if subnet is not None and ip_interface(address).ip not in subnet:
                cause = f"{device} has {address}, which is not in our subnet {subnet}"
                yield Finding(FAIL, cause, restart)
        if mtu.isdigit() and facts.links[device].mtu > int(mtu) and device not in facts.bare_bridges:
            cause = f"{device} has MTU {facts.links[device].mtu}, FLANNEL_MTU is {mtu}: large packets hang"
            yield Finding(FAIL, cause, restart)


def _find_bridges(facts: Facts) -> Iterator[Tuple[str, List[Tuple[str, Optional[Network]]]]]:
    """Devices of others with addresses in our network: (device, [(address, our subnet of that family)])."""
    environment = facts.subnet_env or {}
    networks = {family: _parse(environment.get(key, "")) for family, _subnet_key, key in _KEYS}
    subnets = {family: _parse(environment.get(key, "")) for family, key, _network_key in _KEYS}
    found: Dict[str, List[Tuple[str, Optional[Network]]]] = {}
    for entry in facts.addresses:
        family = IPV4 if entry.interface.version == 4 else FAMILIES[1]
        network = networks[family]
        if network is None or entry.interface.ip not in network:
            continue
        if entry.device in facts.devices.values() or entry.device not in facts.links:
            continue
        found.setdefault(entry.device, []).append((str(entry.interface), subnets[family]))
    yield from found.items()


def _parse(text: str) -> Optional[Network]:
    try:
        return parse_cidr(text) if text else None
    except AddressError:
        return None


CHECKS = (
    Check("subnet.env", check_subnet_env),
    Check("bridges of Docker and CNI fit it", check_bridges),
)
