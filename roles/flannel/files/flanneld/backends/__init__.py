# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backend is: one impure step, and pure functions from leases to objects that should exist.

A backend is a module with the functions of `Backend`. It is written for one `Family` at a time and run for each
family that the network config turns on; it never talks to the kernel, the store or another backend.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Hashable,
    Iterable,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    cast,
)

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError, FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV6, Address, Family

from flanneld.instance import Instance
from flanneld.tables import Object, Table
from flanneld.tables.extension import NO_RECORD, Record
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay
from flanneld.tables.wireguard_keys import Secret

if TYPE_CHECKING:  # most hosts need not load what forwards
    from flanneld.tables.udp import UserSpace

_BUILT = {
    "vxlan": "flanneld.backends.vxlan",
    "host-gw": "flanneld.backends.hostgw",
    "udp": "flanneld.backends.udp",
    "alloc": "flanneld.backends.alloc",
    "ipip": "flanneld.backends.ipip",
    "wireguard": "flanneld.backends.wireguard",
    "ipsec": "flanneld.backends.ipsec",
    "extension": "flanneld.backends.extension",
}
_IPV4_ONLY = frozenset({"ipip", "ipsec", "udp"})
_ROUTED_BY_OTHERS = frozenset({"alloc", "extension"})


class BackendError(FlannelError):
    """The backend cannot run on this host."""


@dataclass(frozen=True)
class WireguardKeys:
    """Where `wireguard` has its secrets from.

    recall: the private key that this host had last, by the device it was for: of that device if it stands, else of the
        state directory, else upstream's; None when there is none.
    remember: keeps the private key in the state directory.
    read_psk: the pre-shared key in the file of this host, None when there is no file. Raises FlannelError.
    """

    recall: Callable[[str], Optional[Secret]]
    remember: Callable[[Secret], None]
    read_psk: Callable[[], Optional[Secret]]


NO_KEYS = WireguardKeys(lambda device: None, lambda key: None, lambda: None)


@dataclass(frozen=True)
class Host:
    """What a backend may look at before there is a lease."""

    instance: Instance
    choice: InterfaceChoice
    device_mac: Callable[[str], Optional[str]]
    """MAC address of an existing VXLAN device, None when there is none of that name."""
    recall_mac: Callable[[str], Optional[str]]
    """What the state directory says for a device, None when it says nothing."""
    remember_mac: Callable[[str, str], None]
    remember_device: Callable[[str], None]
    """So that a device without a MAC is known as ours under another network config."""
    wireguard: WireguardKeys = NO_KEYS
    record: Record = NO_RECORD
    """What `extension` has done on this host."""
    user_space: Optional[UserSpace] = None
    """What forwards for `udp` since before the backend was known."""
    allows_commands: bool = False
    """Commands from the network config may be run here (--allow-extension-commands)."""
    ipsec_psk_file: str = ""
    """With the pre-shared key of `ipsec`; "" when it stands in the network config."""
    udp_datapath: str = "auto"
    """What is to forward for `udp`: "kernel", "user", or "auto", the kernel where it can."""
    udp_gro: str = "auto"
    """Whether the kernel is to join TCP packets that arrive for `udp`: "off", or "auto", where it can."""
    udp_xdp: str = "off"
    """Whether the driver of the network card is to take in packets for `udp`: "off", "auto" on a card of its own, or
    "force" on whatever has such a driver."""


@dataclass(frozen=True)
class Node:
    """This host as the backends see it: what it was told, what it chose, what it leased."""

    instance: Instance
    config: NetworkConfig
    choice: InterfaceChoice
    lease: Lease
    local: Any
    """What this backend's `prepare` returned."""
    tx_checksum: Optional[bool] = None
    """Our devices leave checksums to the network card; None leaves that to the host."""


class Backend(Protocol):
    """The functions of a backend module, in the order in which they are called."""

    def prepare(self, host: Host, config: NetworkConfig) -> Any:
        """The only impure step: load or make what is this host's own (a MAC, a key). Raises BackendError."""

    def attributes(self, local: Any, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
        """What our lease publishes (spec 2.3)."""

    def devices(self, instance: Instance, config: NetworkConfig) -> Mapping[Family, str]:
        """Names of the devices that it makes, by the family that goes through them."""

    def overhead(self, config: NetworkConfig, family: Family) -> int:
        """Bytes that are around a container's packet of that family on the underlay (spec 5.0)."""

    def tables(self, instance: Instance, scope: Scope) -> Sequence[Table]:
        """Tables of kinds that no other backend has, made once for a process; they come behind addresses."""

    def mtu(self, config: NetworkConfig, underlay: int) -> int:
        """The MTU of a container's interface, in bytes (spec 5.0). underlay: that of the external interface."""

    def desired(self, node: Node, underlay: Underlay) -> Iterable[Object]:
        """What exists once on a host: devices, their addresses."""

    def find_address(self, node: Node, peer: Lease, family: Family) -> Optional[Address]:
        """Where packets for a peer's subnet of that family are sent; None when its lease tells no such place."""

    def refuse(self, peer: Lease, family: Family) -> Optional[str]:
        """Why this lease cannot be a peer of this backend, None when it can."""

    def claims(self, peer: Lease, family: Family) -> Iterable[Hashable]:
        """What a lease claims for its host alone, beyond its subnet (a MAC address)."""

    def desired_for(self, node: Node, peer: Lease, underlay: Underlay) -> Iterable[Object]:
        """What one peer needs."""


def find_backend(config: NetworkConfig) -> Backend:
    """The backend that a network config names. Raises ConfigError when this agent does not have it."""
    require_backend(config)
    return cast(Backend, importlib.import_module(_BUILT[config.backend.type]))


def require_backend(config: NetworkConfig) -> None:
    """Loads nothing: a running agent's archive may be another one by now. Raises ConfigError as find_backend does."""
    kind = config.backend.type
    if kind not in _BUILT:
        raise ConfigError(
            "network config",
            f"this agent does not have the backend type {kind}"
            + (", which is what a config without Backend means" if config.backend_was_absent else ""),
            f"set Backend.Type to one of: {', '.join(sorted(_BUILT))}",
        )
    if kind in _IPV4_ONLY and IPV6 in config.families:
        raise ConfigError(
            "network config",
            f"the backend type {kind} carries IPv4 only, and EnableIPv6 is true",
            f"leave EnableIPv6 out, or set Backend.Type to one of: {', '.join(sorted(_BUILT.keys() - _IPV4_ONLY))}",
        )


def is_routed_by_others(config: NetworkConfig) -> bool:
    """True if the routes to other hosts are made by somebody else on the host: one that looks like upstream's is then
    not upstream's leftover."""
    return config.backend.type in _ROUTED_BY_OTHERS
