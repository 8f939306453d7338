# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forwards for the backend udp in the kernel: programs on two devices, and their map of peers.

Two tables, as for the path in user space, which stays beside them: it has what the programs leave alone. Programs and
maps stay in the kernel, and at work, when this process ends; the next one makes its own and puts them in their place.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from flanneld.bpf import system_call, udp_programs
from flanneld.bpf.udp_programs import TAKES_UNFINISHED, Place
from flanneld.udp.counts import IN_REFUSED, OUT_REFUSED, Counts
from flanneld.udp.early import EarlyProgram, EarlyRecord
from flanneld.udp.tun import open_passing_device, read_name

from . import Change, KernelError, Key, Notice, OnUnderlay, early
from .bulk import describe_change
from .filter import (
    EARLY,
    EGRESS,
    INGRESS,
    Filter,
    find_programs,
    find_touched,
    name_programs,
    put_filter,
    remove_filter,
)
from .refusal import RETRIED
from .rtnetlink import Message, index_of
from .udp import UserSpace

log = logging.getLogger(__name__)

_MOST_PEERS = 1 << 17  # 6 MB, of which older kernels want the right beforehand
_KEY = struct.Struct("=I4s")
_VALUE = struct.Struct("=4sI")
_SIOCGIFHWADDR, _ARPHRD_ETHER = 0x8927, 1
_IFREQ = struct.Struct("=16sH22x")
TRIAL = "flannel-try%d"
"""Names of devices that are there for a moment."""


class _Singly(OSError):
    """All runs, but TCP packets are not joined."""


@dataclass(frozen=True)
class UdpKernelPath:
    """Forwarding in the kernel between a TUN and the device whose address is local, to and from that port.

    joining: the pair of devices in which TCP packets that arrive are joined, where they go in and where they come out;
    None: they arrive as they come. early: the driver of the underlay is to take in what it can.
    """

    device: str
    underlay: str
    local: IPv4Address
    port: int
    joining: Optional[Tuple[str, str]] = None
    early: bool = False

    @property
    def key(self) -> Key:
        return self.device

    def __str__(self) -> str:
        joining = "" if self.joining is None else f", TCP packets joined in {self.joining[1]}"
        early = ", native XDP" if self.early else ""
        return f"{self.device} over {self.underlay}, {self.local}:{self.port}{joining}{early}"


@dataclass(frozen=True)
class FoundPrograms:
    """Programs of ours, by their name, that are not as a path of this process wants them: of an earlier process, or
    what somebody has left of ours."""

    device: str
    filters: FrozenSet[Filter]

    @property
    def key(self) -> Key:
        return self.device

    def __str__(self) -> str:
        return f"{self.device}: " + ", ".join(
            sorted(f"{one.direction} of {one.device}" for one in self.filters)
        )


@dataclass(frozen=True)
class UdpKernelPeer:
    """Packets out of this subnet are believed if they come from that host.

    capable: that host has such programs, too, and is sent its packets by ours; else user space sends them.
    """

    device: str
    subnet: IPv4Network
    public: IPv4Address
    capable: bool

    @property
    def key(self) -> Key:
        return self.subnet

    def __str__(self) -> str:
        return f"{self.subnet} at {self.public}{'' if self.capable else ' (sent to by user space)'}"


@dataclass
class KernelSpace:
    """The maps, by their descriptors, and what runs with them. path None: nothing does."""

    peers: int
    counters: int
    flows: int
    path: Optional[UdpKernelPath] = None
    filters: FrozenSet[Filter] = frozenset()

    def read_counts(self) -> Counts:
        """Of this process' programs so far. Raises OSError."""
        sums = system_call.read_sums(self.counters, udp_programs.COUNTERS)
        counts = Counts(
            sums[udp_programs.SENT_PACKETS],
            sums[udp_programs.SENT_BYTES],
            sums[udp_programs.RECEIVED_PACKETS],
            sums[udp_programs.RECEIVED_BYTES],
            sums[udp_programs.JOINED],
        )
        counts.dropped[OUT_REFUSED] = sums[udp_programs.SENT_REFUSED]
        counts.dropped[IN_REFUSED] = sums[udp_programs.RECEIVED_REFUSED]
        return counts

    def list_early(self) -> List[EarlyProgram]:
        """Of those that run, the one in the driver, if it does."""
        return [EarlyProgram(one.device, one.program) for one in self.filters if one.direction == EARLY]

    def put_peer(self, subnet: IPv4Network, public: IPv4Address, capable: bool) -> None:
        """Raises OSError."""
        value = _VALUE.pack(public.packed, TAKES_UNFINISHED if capable else 0)
        system_call.update(self.peers, _pack_key(subnet), value)

    def close(self) -> None:
        for descriptor in (self.peers, self.counters, self.flows):
            os.close(descriptor)


class UdpKernelPathTable(OnUnderlay):
    """The programs on this host that have our name: those of this process, or those found."""

    name = "udp kernel path"
    kinds = (UdpKernelPath,)

    def __init__(self, space: UserSpace, device: str) -> None:
        self._space = space
        self._device = device

    def dump(self) -> Dict[Key, object]:
        found = frozenset(self._read_filters())
        kernel = self._space.kernel
        if kernel is not None and kernel.path is not None and found == kernel.filters:
            return {self._device: kernel.path}
        return {self._device: FoundPrograms(self._device, found)} if found else {}

    def owns(self, thing: object) -> bool:
        return True

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        for change in changes:
            self._space.fault = self._space.joining_fault = self._space.early_fault = ""
            try:
                if change.after is None:
                    self._stop()
                else:
                    self._start(change.after)
            except _Singly as error:
                errors[change.key] = _explain_singly(describe_change(self.name, change), error)
                self._space.joining_fault = f"the kernel cannot: {errors[change.key].cause}"
            except OSError as error:
                errors[change.key] = _explain(describe_change(self.name, change), error)
                self._space.fault = f"the kernel cannot: {errors[change.key].cause}"
        return errors

    def notice(self, message: object) -> Optional[Notice]:
        """What is there now, when somebody has changed programs on one of our devices."""
        kernel = self._space.kernel
        if kernel is None or not isinstance(message, Message):
            return None
        if find_touched(message) not in {one.device for one in kernel.filters}:
            return None
        try:
            return Notice(self._device, self.dump().get(self._device))
        except KernelError:  # the next full check says why
            return None

    def _read_filters(self) -> List[Filter]:
        """In the order in which they may go: only those of tc know what that in the driver has marked. Raises
        KernelError."""
        try:
            found = early.find_attached(self._space.early)
            return [_describe_early(self._device, one) for one in found] + find_programs(self._device)
        except OSError as error:
            raise _explain(self.name, error) from error

    def _start(self, path: UdpKernelPath) -> None:
        """Raises OSError, and _Singly when all runs but the joining."""
        kernel = open_kernel_space(self._space)
        try:
            self._attach(kernel, path)
        except OSError as error:
            if path.joining is None:
                raise
            # what runs may send to a pair that is gone
            self._attach(kernel, replace(path, joining=None))
            raise _Singly(error.errno, error.strerror) from error

    def _attach(self, kernel: KernelSpace, path: UdpKernelPath) -> None:
        ours = frozenset(put_program(path, *one) for one in _list_programs(kernel, path))
        if path.early:
            ours |= self._attach_early(kernel, path)
        for other in frozenset(self._read_filters()) - ours:  # of another external interface, or another port
            _remove(other)
        kernel.path, kernel.filters = path, ours
        self._space.early.keep(kernel.list_early())

    def _attach_early(self, kernel: KernelSpace, path: UdpKernelPath) -> FrozenSet[Filter]:
        """None where the driver cannot: then the other programs do it all, until the next start."""
        try:
            made = put_early_program(kernel, path, self._space.early)
        except OSError as error:
            self._space.early_fault = f"the kernel cannot: {error.strerror or error}"
            log.warning("udp: no native XDP on %s: %s", path.underlay, self._space.early_fault)
            return frozenset()
        return frozenset({_describe_early(path.device, made)})

    def _stop(self) -> None:
        for found in self._read_filters():
            _remove(found)
        self._space.early.keep(())
        if self._space.kernel is not None:
            self._space.kernel.path, self._space.kernel.filters = None, frozenset()


class UdpKernelPeerTable:
    """What is in the map of peers, by longest prefix."""

    name = "udp kernel peer"
    kinds = (UdpKernelPeer,)

    def __init__(self, space: UserSpace, device: str) -> None:
        self._space = space
        self._device = device
        self._unpacked: Dict[Tuple[bytes, bytes], UdpKernelPeer] = {}

    def dump(self) -> Dict[Key, UdpKernelPeer]:
        if self._space.kernel is None:
            return {}
        peers, sizes = self._space.kernel.peers, (udp_programs.KEY_BYTES, udp_programs.PEER_BYTES)
        try:
            entries = list(system_call.read_entries(peers, *sizes))
        except OSError as error:
            raise _explain(self.name, error) from error
        # ten thousand addresses take longer to make than to read
        known = self._unpacked
        self._unpacked = {one: known.get(one) or _unpack_peer(self._device, *one) for one in entries}
        return {peer.subnet: peer for peer in self._unpacked.values()}

    def owns(self, thing: UdpKernelPeer) -> bool:
        return True

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        capable = self._space.capable
        for change in changes:
            peer: UdpKernelPeer = change.thing
            capable.discard(peer.subnet)
            try:
                kernel = open_kernel_space(self._space)
                if change.after is None:
                    system_call.delete(kernel.peers, _pack_key(peer.subnet))
                    continue
                kernel.put_peer(peer.subnet, peer.public, peer.capable)
            except OSError as error:
                errors[change.key] = _explain(describe_change(self.name, change), error)
                continue
            if peer.capable:
                capable.add(peer.subnet)
        self._space.keep(self._space, [change.thing.subnet for change in changes])
        return errors

    def notice(self, message: object) -> Optional[Notice]:
        """None: nobody else knows of them."""
        return None


def make_kernel_tables(device: str, space: UserSpace) -> Tuple[UdpKernelPathTable, UdpKernelPeerTable]:
    """device: the TUN. space: of the path in user space beside it."""
    return UdpKernelPathTable(space, device), UdpKernelPeerTable(space, device)


def open_kernel_space(space: UserSpace) -> KernelSpace:
    """The maps of this process, made at first with the peers that are known already, so that programs which replace
    those of an earlier process forward what those did. Raises OSError."""
    if space.kernel is None:
        made = make_maps()
        try:
            for subnet, public in space.peers.peers.items():
                made.put_peer(subnet, public, subnet in space.capable)
        except OSError:
            made.close()
            raise
        space.kernel = made
    return space.kernel


def _list_programs(kernel: KernelSpace, path: UdpKernelPath) -> Iterator[Tuple[str, bytes, str, str]]:
    """Name, code, device and direction, in the order in which packets from other hosts need them there. Raises OSError
    when a device is missing."""
    place = _place(kernel, path)
    if path.joining is not None:
        yield "flannel_joined", udp_programs.make_joined(place), path.joining[1], INGRESS
    yield "flannel_in", udp_programs.make_incoming(place), path.underlay, INGRESS
    yield "flannel_out", udp_programs.make_outgoing(place), path.device, EGRESS


def _place(kernel: KernelSpace, path: UdpKernelPath) -> Place:
    """Raises OSError when a device is missing."""
    tun, joining = index_of(path.device), 0 if path.joining is None else index_of(path.joining[0])
    return Place(tun, path.local.packed, path.port, kernel.peers, kernel.counters, kernel.flows, joining)


def put_program(path: UdpKernelPath, name: str, code: bytes, device: str, direction: str) -> Filter:
    """Load and attach it, in place of the one that this path has there. Raises OSError."""
    program = system_call.load_program(system_call.SCHED_CLS, code, name)
    try:
        put_filter(device, direction, name_programs(path.device), path.port, program)
        number = system_call.read_info(program).number
    finally:
        os.close(program)
    return Filter(device, direction, name_programs(path.device), path.port, number)


def put_early_program(kernel: KernelSpace, path: UdpKernelPath, record: EarlyRecord) -> EarlyProgram:
    """The same in the driver of the underlay. It is written down before, so that the next process knows it however this
    one ends. Raises OSError."""
    code = udp_programs.make_early(_place(kernel, path))
    program = system_call.load_program(system_call.XDP, code, "flannel_early", system_call.XDP_IN_PARTS)
    try:
        made = EarlyProgram(path.underlay, system_call.read_info(program).number)
        former = early.find_attached(record)
        record.keep([*former, made])
        early.put_program(path.underlay, program, former)
    finally:
        os.close(program)
    return made


def _describe_early(device: str, program: EarlyProgram) -> Filter:
    return Filter(program.device, EARLY, name_programs(device), 0, program.number)


def _remove(found: Filter) -> None:
    """Raises OSError."""
    if found.direction == EARLY:
        early.remove_program(EarlyProgram(found.device, found.program))
    else:
        remove_filter(found)


def try_programs(underlay: str) -> None:
    """Make all that the path needs, on a device that passes, and leave nothing. Raises OSError: what this kernel or
    this process may not, in words."""
    if _read_hardware_type(underlay) != _ARPHRD_ETHER:
        raise OSError(errno.EOPNOTSUPP, f"{underlay} is no Ethernet device")
    maps = make_maps()
    try:
        device = open_passing_device(TRIAL)
        try:
            name = read_name(device)
            path = UdpKernelPath(name, name, IPv4Address(0), 1)
            for one in _list_programs(maps, path):
                put_program(path, *one)
            maps.read_counts()
        finally:
            os.close(device)
    finally:
        maps.close()


def make_maps() -> KernelSpace:
    """Empty ones. Raises OSError."""
    made: List[int] = []
    try:
        for kind, key, value, entries, flags, name in (
            (
                system_call.LPM_TRIE,
                udp_programs.KEY_BYTES,
                udp_programs.PEER_BYTES,
                _MOST_PEERS,
                system_call.NO_PREALLOC,
                "flannel_peers",
            ),
            (system_call.PER_CPU_ARRAY, 4, 8 * udp_programs.COUNTERS, 1, 0, "flannel_counts"),
            (system_call.ARRAY, 4, udp_programs.FLOW_BYTES, udp_programs.FLOWS, 0, "flannel_flows"),
        ):
            made.append(system_call.create_map(kind, key, value, entries, flags, name))
    except OSError:
        for descriptor in made:
            os.close(descriptor)
        raise
    peers, counters, flows = made
    return KernelSpace(peers, counters, flows)


def _pack_key(subnet: IPv4Network) -> bytes:
    return _KEY.pack(subnet.prefixlen, subnet.network_address.packed)


def _unpack_peer(device: str, key: bytes, value: bytes) -> UdpKernelPeer:
    length, network = _KEY.unpack(key)
    public, flags = _VALUE.unpack(value)
    capable = bool(flags & TAKES_UNFINISHED)
    return UdpKernelPeer(device, IPv4Network((network, length)), IPv4Address(public), capable)


def _read_hardware_type(device: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as kernel:
        answer = fcntl.ioctl(kernel, _SIOCGIFHWADDR, _IFREQ.pack(device.encode(), 0))
    return int(_IFREQ.unpack(answer)[1])


def _explain(subject: str, error: OSError) -> KernelError:
    """Without its errno: the host has a path in user space, and need not give up."""
    step = f"packets take the way through user space meanwhile; {RETRIED}"
    return KernelError(subject, error.strerror or str(error), step)


def _explain_singly(subject: str, error: OSError) -> KernelError:
    step = f"TCP packets arrive one by one meanwhile; {RETRIED}"
    return KernelError(subject, error.strerror or str(error), step)
