# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""udp: a TUN, whose packets go into UDP datagrams as they are, and back (spec 5.4). IPv4 only.

Programs in the kernel do that where they can be had, for plain packets; a thread does it for all others.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import logging
import os
from dataclasses import dataclass
from typing import Hashable, Iterable, Iterator, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, Address, Family

from flanneld.backends import BackendError, Host, Node
from flanneld.instance import Instance
from flanneld.tables import Object, Table
from flanneld.tables.address import LinkAddress
from flanneld.tables.early import find_obstacle
from flanneld.tables.route import Route
from flanneld.tables.scope import Scope
from flanneld.tables.tun_link import TunLink
from flanneld.tables.udp import UdpPath, UdpPeer, UserSpace, make_user_space
from flanneld.tables.udp_joining import try_joining
from flanneld.tables.udp_kernel import UdpKernelPath, UdpKernelPeer, make_kernel_tables, try_programs
from flanneld.tables.underlay import Underlay
from flanneld.tables.veth_link import plan_pair
from flanneld.udp.tun import DEVICE, probe

log = logging.getLogger(__name__)

OVERHEAD = 28
"""Bytes around an inner packet: outer IPv4 20, UDP 8."""
CAPABILITY = "KernelPath"
"""Key in the BackendData of a lease: true where programs in the kernel take in packets. Nobody else's udp has any
BackendData, and none looks at it."""


def _port(config: NetworkConfig) -> int:
    value = config.backend.options["Port"]
    return value if isinstance(value, int) else 0


@dataclass(frozen=True)
class Local:
    """in_kernel: programs in the kernel are to forward. joins: and TCP packets that arrive are to be joined. early: and
    the driver of the network card is to take in packets, if it can."""

    in_kernel: bool
    joins: bool = False
    early: bool = False


def prepare(host: Host, config: NetworkConfig) -> Local:
    if not _port(config):
        cause = "Backend.Port is 0, and the others could not know which port that becomes"
        raise ConfigError("network config", cause, "leave Port out, which means 8285, or write a number")
    try:
        probe()
    except OSError as error:
        raise _explain_no_tun(error) from error
    host.remember_device(host.instance.tun_device)
    in_kernel, why = _choose_datapath(host)
    log.info("udp: forwarding in %s: %s", "the kernel" if in_kernel else "user space", why)
    joins, why_joining = _choose_joining(host) if in_kernel else (False, "")
    if in_kernel:
        log.info("udp: TCP packets %s: %s", "are joined" if joins else "arrive one by one", why_joining)
    if joins:
        for device in host.instance.joining_devices:
            host.remember_device(device)
    early, why_early = _choose_early(host) if in_kernel else (False, "")
    if in_kernel and host.udp_xdp != "off":
        log.info("udp: native XDP %s: %s", "is tried" if early else "is not tried", why_early)
    space = host.user_space
    if space is not None:
        space.why, space.why_joining, space.why_early = why, why_joining, why_early
    return Local(in_kernel, joins, early)


def _choose_datapath(host: Host) -> Tuple[bool, str]:
    """And why. By trying, because no version tells what a kernel was built with and what a service may do."""
    if host.udp_datapath == "user":
        return False, "asked for"
    try:
        try_programs(host.choice.interface.name)
    except OSError as error:
        cause = error.strerror or str(error)
        if error.errno in (errno.EPERM, errno.EACCES) and error.strerror == os.strerror(error.errno):
            cause += ": it takes CAP_BPF (before Linux 5.8 CAP_SYS_ADMIN) and bpf(2), which the role gives"
        if host.udp_datapath == "kernel":
            step = "leave --udp-datapath=kernel out: user space forwards then"
            raise BackendError("udp in the kernel of this host", cause, step) from error
        return False, f"the kernel cannot: {cause}"
    return True, "asked for" if host.udp_datapath == "kernel" else "a trial went well"


def _choose_joining(host: Host) -> Tuple[bool, str]:
    """And why, in the same way."""
    if host.udp_gro == "off":
        return False, "asked for"
    try:
        try_joining()
    except OSError as error:
        return False, f"the kernel cannot: {error.strerror or error}"
    return True, "a trial went well"


def _choose_early(host: Host) -> Tuple[bool, str]:
    """And why. Without a trial: to attach a program may take the link down for a moment, which is enough of it once."""
    if host.udp_xdp == "off":
        return False, "not asked for"
    if host.udp_xdp == "force":
        return True, "asked for"
    try:
        obstacle = find_obstacle(host.choice.interface.name)
    except OSError as error:
        return False, f"the kernel cannot: {error.strerror or error}"
    return not obstacle, obstacle or "asked for"


def _explain_no_tun(error: OSError) -> BackendError:
    if error.errno in (errno.EPERM, errno.EACCES):
        cause = f"{DEVICE} may not be opened: {error.strerror}"
        step = (
            "let the service have it (systemd: DeviceAllow=/dev/net/tun rw, PrivateDevices=no; the role does)"
        )
    else:
        cause = f"the kernel has no tun ({DEVICE}: {error.strerror})"
        step = "load the kernel module (modprobe tun), or choose another backend in the network config"
    return BackendError("udp on this host", cause, step)


def attributes(local: Local, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
    data = json.dumps({CAPABILITY: True}, separators=(",", ":")) if local.in_kernel else None
    return Attributes(public_ip=choice.public_ip, backend_data=data)


def devices(instance: Instance, config: NetworkConfig) -> Mapping[Family, str]:
    return {IPV4: instance.tun_device}


def overhead(config: NetworkConfig, family: Family) -> int:
    return OVERHEAD


def tables(instance: Instance, scope: Scope) -> Sequence[Table]:
    space = UserSpace() if scope.user_space is None else scope.user_space
    return (*make_kernel_tables(instance.tun_device, space), *make_user_space(instance.tun_device, space))


def mtu(config: NetworkConfig, underlay: int) -> int:
    return underlay - OVERHEAD


def desired(node: Node, underlay: Underlay) -> Iterator[Object]:
    device, subnet, pool = node.instance.tun_device, node.lease.subnets.v4, node.config.ipv4
    local = node.choice.ipv4
    if subnet is None or pool is None or local is None:
        return
    yield TunLink(device, mtu(node.config, underlay.mtu))
    # the network address, not the first usable one: that belongs to the container bridge
    yield LinkAddress(device, ipaddress.ip_interface((subnet.network_address, IPV4.bits)))
    yield UdpPath(device, local, _port(node.config), subnet.network_address)
    if node.local.in_kernel:
        joining = node.instance.joining_devices if node.local.joins else None
        yield from plan_pair(joining) if joining else ()
        early = node.local.early
        yield UdpKernelPath(device, underlay.name, local, _port(node.config), joining, early)
    yield Route(pool.network, None, device)


def find_address(node: Node, peer: Lease, family: Family) -> Optional[Address]:
    return peer.attributes.public_address(family)


def refuse(peer: Lease, family: Family) -> Optional[str]:
    """Leases of every BackendType are peers, and those without one: this backend's own lease has none."""
    return None


def claims(peer: Lease, family: Family) -> Iterable[Hashable]:
    return ()


def desired_for(node: Node, peer: Lease, underlay: Underlay) -> Iterator[Object]:
    subnet, public = peer.subnets.v4, peer.attributes.public_ip
    if subnet is not None and public is not None:
        yield UdpPeer(node.instance.tun_device, subnet, public)
        if node.local.in_kernel:
            yield UdpKernelPeer(node.instance.tun_device, subnet, public, _is_capable(peer))


def _is_capable(peer: Lease) -> bool:
    """What else may stand in the BackendData of a lease is no matter: those of every backend are peers."""
    try:
        data = json.loads(peer.attributes.backend_data or "null")
    except ValueError:
        return False
    return isinstance(data, dict) and data.get(CAPABILITY) is True
