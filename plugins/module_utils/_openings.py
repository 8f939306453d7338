# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""What a host has to let in from the other hosts, and to forward, under a network config (spec 5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import OptionError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family, Network

VXLAN_PORT = 8472
"""What Linux takes for port 0, unless a parameter of its module says otherwise."""
IKE_PORTS = (500, 4500)
"""4500 is also that of ESP in UDP (RFC 3948)."""
PROTOCOLS: Mapping[str, int] = {"IP in IP": 4, "ESP": 50}
"""Those without ports, by number. Programs do not agree on names: "ipip" is 4 for one, 94 for another."""

_WIREGUARD_PORTS: Mapping[Family, str] = {IPV4: "ListenPort", IPV6: "ListenPortV6"}
_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Opening:
    """One way in. protocol: "udp", "tcp" or a name of PROTOCOLS; port: None for the latter.
    family: the one that it is for, None for both."""

    protocol: str
    port: Optional[int] = None
    family: Optional[Family] = None

    def __str__(self) -> str:
        if self.port is None:
            return f"IP protocol {PROTOCOLS[self.protocol]}"
        return f"{self.protocol.upper()} port {self.port}"


def list_openings(config: NetworkConfig) -> Tuple[Opening, ...]:
    """What other hosts send to this one; nothing where the backend has no packets of its own."""
    find = _FINDERS.get(config.backend.type)
    return () if find is None else find(config)


def list_udp_ports(config: NetworkConfig) -> Tuple[int, ...]:
    """The UDP ports among them, each once."""
    ports = (opening.port for opening in list_openings(config) if opening.protocol == "udp")
    return tuple(dict.fromkeys(port for port in ports if port is not None))


def list_forwarded(config: NetworkConfig) -> Tuple[Network, ...]:
    """The networks whose packets this host forwards, from and to its containers."""
    pools = (config.pool(family) for family in config.families)
    return tuple(pool.network for pool in pools if pool is not None)


def find_wireguard_port(config: NetworkConfig, family: Family) -> int:
    """What the device for that family listens on (spec 5.7)."""
    separate = config.backend.options["Mode"] == "separate"
    return _read_port(config, _WIREGUARD_PORTS[family if separate else IPV4])


def parse_opening(text: str) -> Opening:
    """An opening of its own, such as "2379/tcp". Raises OptionError."""
    match = re.fullmatch(r"([0-9]{1,5})/(tcp|udp)", text)
    if match is None or not 0 < int(match[1]) <= _HIGHEST_PORT:
        raise OptionError(f"option ports: {text}", "is no port", "write one such as 2379/tcp or 4789/udp")
    return Opening(match[2], int(match[1]))


def _read_port(config: NetworkConfig, key: str) -> int:
    value = config.backend.options[key]
    return value if isinstance(value, int) else 0


def _find_vxlan(config: NetworkConfig) -> Tuple[Opening, ...]:
    return (Opening("udp", _read_port(config, "Port") or VXLAN_PORT),)


def _find_udp(config: NetworkConfig) -> Tuple[Opening, ...]:
    return (Opening("udp", _read_port(config, "Port")),)


def _find_wireguard(config: NetworkConfig) -> Tuple[Opening, ...]:
    if config.backend.options["Mode"] != "separate":
        return (Opening("udp", find_wireguard_port(config, IPV4)),)
    return tuple(Opening("udp", find_wireguard_port(config, family), family) for family in config.families)


def _find_ipip(config: NetworkConfig) -> Tuple[Opening, ...]:
    return (Opening("IP in IP"),)


def _find_ipsec(config: NetworkConfig) -> Tuple[Opening, ...]:
    ike = tuple(Opening("udp", port) for port in IKE_PORTS)
    return ike if config.backend.options["UDPEncap"] else (*ike, Opening("ESP"))


_FINDERS: Mapping[str, Callable[[NetworkConfig], Tuple[Opening, ...]]] = {
    "vxlan": _find_vxlan,
    "udp": _find_udp,
    "wireguard": _find_wireguard,
    "ipip": _find_ipip,
    "ipsec": _find_ipsec,
}
