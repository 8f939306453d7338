# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forwards for the backend udp in user space: a path for each device, and which peer it sends where (spec 5.4).

Two tables, as beside them for what the kernel does itself (udp_kernel.py): peers know nothing of the thread that serves
them. The thread ends with its device; then the kernel tells that the device is gone, or has no carrier any more, and
everything on it is looked at again.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Callable, Collection, Dict, Mapping, Optional, Sequence, Set, Tuple

from flanneld.udp.counts import Counts
from flanneld.udp.early import EarlyRecord
from flanneld.udp.loop import Forwarding
from flanneld.udp.peer_map import PeerMap
from flanneld.udp.traffic import Traffic

from . import Change, Datapath, KernelError, Key, Notice
from .bulk import describe_change
from .refusal import explain_os_error

if TYPE_CHECKING:  # most kernels need not be asked for it when forwarding begins
    from .udp_kernel import KernelSpace


@dataclass(frozen=True)
class UdpPath:
    """Forwarding between a TUN and a socket bound to local:port. own: address of the TUN, which answers come from."""

    device: str
    local: IPv4Address
    port: int
    own: IPv4Address

    @property
    def key(self) -> Key:
        return self.device

    def __str__(self) -> str:
        return f"{self.device} over {self.local}:{self.port}"


@dataclass(frozen=True)
class UdpPeer:
    """Packets for this subnet go to that host, and packets out of it are believed if they come from there."""

    device: str
    subnet: IPv4Network
    public: IPv4Address

    @property
    def key(self) -> Key:
        return self.subnet

    def __str__(self) -> str:
        return f"{self.subnet} at {self.public} dev {self.device}"


@dataclass
class UserSpace:
    """What both tables are about: the path that runs, if one does, and peers and counts, which outlive it.

    keep: told of every change and the subnets of peers that it is about, so that the next process can begin where this
    one ends. kernel: what forwards beside it
    in the kernel; None: nothing yet. capable: subnets of peers that may be sent to from there. why: what decided for
    kernel or user space. fault: what the kernel has against the programs that should run; "" for nothing.
    why_joining, joining_fault: the same for the joining of TCP packets, why_early, early_fault: and for the program in
    the driver of the network card. early: which of those are ours.
    """

    peers: PeerMap = field(default_factory=lambda: PeerMap({}))
    counts: Counts = field(default_factory=Counts)
    path: Optional[UdpPath] = None
    forwarding: Optional[Forwarding] = None
    keep: Callable[[UserSpace, Collection[IPv4Network]], None] = lambda space, subnets: None
    kernel: Optional[KernelSpace] = None
    capable: Set[IPv4Network] = field(default_factory=set)
    why: str = ""
    fault: str = ""
    why_joining: str = ""
    joining_fault: str = ""
    why_early: str = ""
    early_fault: str = ""
    early: EarlyRecord = field(default_factory=EarlyRecord)


class UdpPathTable:
    """The paths of this process: at most one."""

    name = "udp path"
    kinds = (UdpPath,)

    def __init__(self, space: UserSpace) -> None:
        self._space = space

    def dump(self) -> Dict[Key, UdpPath]:
        path, forwarding = self._space.path, self._space.forwarding
        if path is None or forwarding is None or not forwarding.is_running():
            return {}
        return {path.key: path}

    def owns(self, thing: UdpPath) -> bool:
        return True

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        for change in changes:
            self._stop()
            if change.after is None:
                continue
            try:
                self._start(change.after)
            except OSError as error:
                errors[change.key] = _explain(change, error)
        self._space.keep(self._space, ())
        return errors

    def _stop(self) -> None:
        if self._space.forwarding is not None:
            self._space.forwarding.stop()
        self._space.path, self._space.forwarding = None, None

    def _start(self, path: UdpPath) -> None:
        traffic = Traffic(path.own.packed, self._space.peers, counts=self._space.counts)
        forwarding = Forwarding(path.device, str(path.local), path.port, traffic)
        forwarding.start()
        self._space.path, self._space.forwarding = path, forwarding

    def read_counts(self) -> Counts:
        """Of all paths so far, in user space and in the kernel."""
        forwarding, kernel = self._space.forwarding, self._space.kernel
        counts = self._space.counts.copy() if forwarding is None else forwarding.read_counts()
        if kernel is not None:
            counts.add(kernel.read_counts())
        return counts

    def read_datapath(self) -> Datapath:
        space = self._space
        kernel, path = space.kernel, None if space.kernel is None else space.kernel.path
        if kernel is None or path is None:
            return Datapath("user", space.fault or space.why)
        why_joining = space.joining_fault or space.why_joining
        why, why_early = space.fault or space.why, space.early_fault or space.why_early
        return Datapath(
            "kernel", why, path.joining is not None, why_joining, bool(kernel.list_early()), why_early
        )

    def notice(self, message: object) -> Optional[Notice]:
        """None: the link table hears of the device."""
        return None


class UdpPeerTable:
    """Where a path sends, by longest prefix."""

    name = "udp peer"
    kinds = (UdpPeer,)

    def __init__(self, space: UserSpace, device: str) -> None:
        self._space = space
        self._device = device

    def dump(self) -> Dict[Key, UdpPeer]:
        peers = self._space.peers.peers
        return {subnet: UdpPeer(self._device, subnet, public) for subnet, public in peers.items()}

    def owns(self, thing: UdpPeer) -> bool:
        return True

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        for change in changes:
            peer: UdpPeer = change.thing
            if change.after is None:
                self._space.peers.remove(peer.subnet)
            else:
                self._space.peers.put(peer.subnet, peer.public)
        self._space.keep(self._space, [change.thing.subnet for change in changes])
        return {}

    def notice(self, message: object) -> Optional[Notice]:
        """None: nobody else knows of them."""
        return None


def make_user_space(device: str, space: Optional[UserSpace] = None) -> Tuple[UdpPathTable, UdpPeerTable]:
    """The tables of one path; device: of the TUN. space: where one may run already."""
    space = UserSpace() if space is None else space
    return UdpPathTable(space), UdpPeerTable(space, device)


def start_forwarding(
    space: UserSpace, path: UdpPath, peers: Mapping[IPv4Network, IPv4Address]
) -> Optional[KernelError]:
    """Begin before there are tables. Returns what the kernel has against it."""
    space.peers = PeerMap(peers)
    return UdpPathTable(space).apply([Change(path.key, None, path)]).get(path.key)


def _explain(change: Change, error: OSError) -> KernelError:
    path: UdpPath = change.thing
    subject = describe_change("udp path", change)
    if error.errno == errno.EADDRINUSE:
        cause = f"UDP port {path.port} of {path.local} is in use by another program"
        return KernelError(
            subject, cause, f"see which: ss -lunp sport = :{path.port}; end it", errno.EADDRINUSE
        )
    if error.errno == errno.EBUSY:
        cause = f"another process has {path.device} open"
        return KernelError(subject, cause, "end it (fuser /dev/net/tun)", errno.EBUSY)
    return explain_os_error(subject, error)
