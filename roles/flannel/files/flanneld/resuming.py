# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forwards for udp begins again where the process before left off, first of all: long before libraries are loaded
and etcd was asked. The device, its address and its route have stayed; so packets have a way as soon as somebody reads.

The record is the counterpart of what other backends leave in the kernel. It lies below /run, and ends with the boot as
the device does. The data path that is built later finds the path running, and changes what differs.
"""

from __future__ import annotations

import json
import logging
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Dict, Optional, Tuple

from flanneld.instance import Instance
from flanneld.outputs.files import FileError, read_regular, write_atomically
from flanneld.tables.udp import UdpPath, UserSpace, start_forwarding

log = logging.getLogger(__name__)

_VERSION = 1
_PARTS = ("device", "local", "port", "own")

Peers = Dict[IPv4Network, IPv4Address]


class Record:
    """Of the path that runs, and its peers, in a file. No method raises: without a record the start is as any other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = ""

    def keep(self, space: UserSpace) -> None:
        """Write down what is; nothing where nothing runs."""
        try:
            if space.path is None:
                self._path.unlink(missing_ok=True)
            else:
                write_atomically(self._path, format_record(space.path, dict(space.peers.peers)), 0o600)
        except (FileError, OSError) as error:
            if self._told != str(error):
                self._told = str(error)
                log.warning("%s; the next restart forwards later than it could", error)

    def recall(self) -> Optional[Tuple[UdpPath, Peers]]:
        """None when there is none, or none that can be used."""
        try:
            return parse_record(read_regular(self._path).decode("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s: it cannot be used, and counts as not there: %s", self._path, error)
            return None


def resume_forwarding(instance: Instance) -> UserSpace:
    """The user-space path of this process, which runs if one ran before and its device stands."""
    record = Record(Path(instance.udp_record))
    space = UserSpace(keep=record.keep)
    found = record.recall()
    if found is None or found[0].device != instance.tun_device or not _stands(found[0].device):
        return space
    path, peers = found
    error = start_forwarding(space, path, peers)
    if error is None:
        log.info("Forwarding again on %s, for %d peers of the last life", path, len(peers))
    else:  # the data path tries it again, with more to go by
        log.warning("%s", error)
    return space


def _stands(device: str) -> bool:
    try:
        return socket.if_nametoindex(device) > 0
    except OSError:
        return False


def format_record(path: UdpPath, peers: Peers) -> str:
    return (
        json.dumps(
            {
                "version": _VERSION,
                **{name: str(getattr(path, name)) for name in _PARTS},
                "peers": {str(subnet): str(public) for subnet, public in peers.items()},
            },
            separators=(",", ":"),
        )
        + "\n"
    )


def parse_record(text: str) -> Tuple[UdpPath, Peers]:
    """Raises ValueError."""
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise ValueError(f"it is no record of version {_VERSION}")
    peers, parts = document.get("peers"), [document.get(name) for name in _PARTS]
    if not isinstance(peers, dict) or not all(isinstance(one, str) for one in (*parts, *peers.values())):
        raise ValueError("something is missing in it")
    device, local, port, own = map(str, parts)
    if not 0 < int(port) < 65536:
        raise ValueError(f"{port} is no port")
    path = UdpPath(device, IPv4Address(local), int(port), IPv4Address(own))
    return path, {IPv4Network(subnet): IPv4Address(public) for subnet, public in peers.items()}
