# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forwards for udp begins again where the process before left off, first of all: long before libraries are loaded
and etcd was asked. The device, its address and its route have stayed; so packets have a way as soon as somebody reads.

The record is the counterpart of what other backends leave in the kernel. It lies below /run, and ends with the boot as
the device does. The data path that is built later finds the path running, and changes what differs.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Collection, Dict, FrozenSet, NamedTuple, Optional, Sequence, Set

from flanneld.instance import Instance
from flanneld.outputs.files import FileError, read_regular, write_atomically
from flanneld.udp.early import EarlyProgram, EarlyRecord

if TYPE_CHECKING:  # most hosts need not load what forwards
    from flanneld.tables.udp import UdpPath, UserSpace

log = logging.getLogger(__name__)

_VERSION = 1
_CHANGES = 1000
"""So many at least are added to a file before it is written anew; with more peers as many as there are peers."""
_PARTS = ("device", "local", "port", "own")
_OF_CHANGES = ([str, str, bool], [str, type(None), bool])

Peers = Dict[IPv4Network, IPv4Address]


class Forwarded(NamedTuple):
    """What a process forwarded at last. capable: subnets of peers that the kernel was told to send to."""

    path: UdpPath
    peers: Peers
    capable: FrozenSet[IPv4Network] = frozenset()


class Record:
    """Of the path that runs, and its peers, in a file: all in its first line, and a line for each change since. No
    method raises: without a record the start is as any other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = ""
        self._kept: Optional[UdpPath] = None
        self._changes = 0

    def keep(self, space: UserSpace, subnets: Collection[IPv4Network]) -> None:
        """Write down what has become of these peers; all, where the path is another one; nothing where nothing runs."""
        try:
            if space.path is None:
                self._path.unlink(missing_ok=True)
                self._kept = None
            elif self._kept != space.path or self._has_grown(space) or not self._path.exists():
                self._write(space, space.path)
            else:
                self._add(space, subnets)
        except (FileError, OSError) as error:
            self._kept = None
            if self._told != str(error):
                self._told = str(error)
                log.warning("%s; the next restart forwards later than it could", error)

    def _has_grown(self, space: UserSpace) -> bool:
        return self._changes > max(_CHANGES, len(space.peers.peers))

    def _write(self, space: UserSpace, path: UdpPath) -> None:
        kept = Forwarded(path, dict(space.peers.peers), frozenset(space.capable))
        write_atomically(self._path, format_record(kept), 0o600)
        self._kept, self._changes = path, 0

    def _add(self, space: UserSpace, subnets: Collection[IPv4Network]) -> None:
        """Raises OSError."""
        lines = (_format_change(one, space.peers.peers.get(one), one in space.capable) for one in subnets)
        text = "".join(lines).encode("utf-8")
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if os.write(descriptor, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        finally:
            os.close(descriptor)
        self._changes += len(subnets)

    def recall(self) -> Optional[Forwarded]:
        """None when there is none, or none that can be used."""
        try:
            return parse_record(read_regular(self._path).decode("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s: it cannot be used, and counts as not there: %s", self._path, error)
            return None


class EarlyFile(EarlyRecord):
    """In a file, for the next process as well."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def keep(self, programs: Sequence[EarlyProgram]) -> None:
        if not programs:
            self._path.unlink(missing_ok=True)
            return
        text = json.dumps({"version": _VERSION, "programs": list(programs)}, separators=(",", ":")) + "\n"
        try:
            write_atomically(self._path, text, 0o600)
        except FileError as error:
            raise OSError(errno.EIO, str(error)) from error

    def recall(self) -> Sequence[EarlyProgram]:
        """Nothing where there is no such file, or none that we wrote."""
        try:
            document = json.loads(read_regular(self._path))
            listed = document["programs"] if document["version"] == _VERSION else ()
            return tuple(EarlyProgram(str(device), int(number)) for device, number in listed)
        except (OSError, ValueError, KeyError, TypeError):
            return ()


def open_user_space(instance: Instance) -> UserSpace:
    """The user-space path of this process, for one that begins."""
    from flanneld.tables.udp import UserSpace

    early = EarlyFile(Path(instance.udp_early_record))
    return UserSpace(keep=Record(Path(instance.udp_record)).keep, early=early)


def resume_forwarding(instance: Instance) -> Optional[UserSpace]:
    """The user-space path of this process, which runs if one ran before and its device stands. None: none is known to
    have run, nor programs in drivers."""
    path = Path(instance.udp_record)
    if not path.exists() and not Path(instance.udp_early_record).exists():
        return None
    from flanneld.tables.udp import start_forwarding

    space, found = open_user_space(instance), Record(path).recall()
    if found is None or found.path.device != instance.tun_device or not _stands(found.path.device):
        return space
    space.capable = set(found.capable)
    error = start_forwarding(space, found.path, found.peers)
    if error is None:
        log.info("Forwarding again on %s, for %d peers of the last life", found.path, len(found.peers))
    else:  # the data path tries it again, with more to go by
        log.warning("%s", error)
    return space


def _stands(device: str) -> bool:
    try:
        return socket.if_nametoindex(device) > 0
    except OSError:
        return False


def format_record(kept: Forwarded) -> str:
    return (
        json.dumps(
            {
                "version": _VERSION,
                **{name: str(getattr(kept.path, name)) for name in _PARTS},
                "peers": {str(subnet): str(public) for subnet, public in kept.peers.items()},
                "capable": [str(subnet) for subnet in kept.peers if subnet in kept.capable],
            },
            separators=(",", ":"),
        )
        + "\n"
    )


def _format_change(subnet: IPv4Network, public: Optional[IPv4Address], capable: bool) -> str:
    """public: None for a peer that has gone."""
    return json.dumps([str(subnet), None if public is None else str(public), capable]) + "\n"


def parse_record(text: str) -> Forwarded:
    """Raises ValueError."""
    first, *changes = text.split("\n")
    if not changes or changes.pop():
        raise ValueError("its last line is cut off")
    found = _parse_whole(first)
    peers, capable = dict(found.peers), set(found.capable)
    for line in changes:
        _parse_change(line, peers, capable)
    return Forwarded(found.path, peers, frozenset(capable))


def _parse_change(line: str, peers: Peers, capable: Set[IPv4Network]) -> None:
    """Carry it out. Raises ValueError."""
    change = json.loads(line)
    if not isinstance(change, list) or [type(part) for part in change] not in _OF_CHANGES:
        raise ValueError("a change in it cannot be read")
    subnet = IPv4Network(change[0])
    capable.discard(subnet)
    if change[1] is None:
        peers.pop(subnet, None)
        return
    peers[subnet] = IPv4Address(change[1])
    if change[2]:
        capable.add(subnet)


def _parse_whole(line: str) -> Forwarded:
    """Raises ValueError."""
    from flanneld.tables.udp import UdpPath

    document = json.loads(line)
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise ValueError(f"it is no record of version {_VERSION}")
    peers, parts = document.get("peers"), [document.get(name) for name in _PARTS]
    capable = document.get("capable", [])  # an older process did not write it
    if not isinstance(peers, dict) or not isinstance(capable, list):
        raise ValueError("something is missing in it")
    if not all(isinstance(one, str) for one in (*parts, *peers.values(), *capable)):
        raise ValueError("something is missing in it")
    device, local, port, own = map(str, parts)
    if not 0 < int(port) < 65536:
        raise ValueError(f"{port} is no port")
    return Forwarded(
        UdpPath(device, IPv4Address(local), int(port), IPv4Address(own)),
        {IPv4Network(subnet): IPv4Address(public) for subnet, public in peers.items()},
        frozenset(map(IPv4Network, capable)),
    )
