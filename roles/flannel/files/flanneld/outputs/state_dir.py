# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must survive a reboot: identity, MAC addresses, keys, the last lease and peers, what commands have done."""

from __future__ import annotations

import logging
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, FrozenSet, Iterable, List, Optional, Sequence, Set, Tuple, TypeVar

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._mac import parse_mac

from flanneld.instance import LONGEST_DEVICE_NAME
from flanneld.leasing import Identity, KnownPeers
from flanneld.outputs.files import FileError, read_regular, write_atomically
from flanneld.outputs.identity import make_id, name_machine, read_boot_id
from flanneld.outputs.remembered import (
    Damaged,
    RememberedIdentity,
    RememberedLease,
    format_hooks,
    format_identity,
    format_peers,
    format_remembered_lease,
    parse_hooks,
    parse_identity,
    parse_peers,
    parse_remembered_lease,
)
from flanneld.tables.extension import Hook
from flanneld.tables.wireguard_keys import Secret, format_key, parse_secret

log = logging.getLogger(__name__)

MACHINE_ID = Path("/etc/machine-id")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_IDENTITY, _LEASE, _PEERS, _HOOKS = "identity.json", "lease.json", "peers.json", "extension.json"
_WIREGUARD = "wireguard.key"
_MAC, _MARK = ".mac", ".device"
_DEVICE = re.compile(r"flannel[-.a-z0-9]*")
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")
"""What write_atomically leaves behind when the power goes."""

_MISSING = {
    _IDENTITY: "this host gets a new id",
    _LEASE: "this start has to wait for etcd",
    _PEERS: "the peers are unknown until etcd answers",
    _WIREGUARD: "this host gets a new WireGuard key, unless its device still has one",
    _HOOKS: "SubnetRemoveCommand is not run for peers that have gone since",
}
"""What a file that counts as not there means now."""
_UNWRITTEN = {
    _IDENTITY: "this host gets another id at its next start",
    _LEASE: "the next start has to wait for etcd, should it be away",
    _PEERS: "the next start knows older peers, or none, until etcd answers",
    _WIREGUARD: "this host gets a new WireGuard key at the next boot, which the peers learn from our lease",
    _HOOKS: "the next start does not run SubnetRemoveCommand for all peers that have gone",
}
"""What a file that cannot be written means for the next start."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class StateDir:
    """path: the directory; it need not exist.

    No method raises: what cannot be read counts as not there, what cannot be written is given up, and either is told
    once per file. A process has one StateDir, because it remembers what it has told.
    """

    path: Path
    _void: Set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    """Files that count as not there although they are."""
    _unread: Dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _unwritten: Dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was told about files that could not be read or written."""

    # --- identity

    def read_identity(self, machine_id_path: Path = MACHINE_ID, boot_id_path: Path = BOOT_ID) -> Identity:
        """Who this host is; made at the first start. To be called before anything else is recalled.

        A directory made on another machine (a copied disk, an image with state in it) is emptied: two hosts with one
        identity, lease and MAC address would take each other's subnet. Where the machine-id is missing now, nothing
        speaks for that.
        """
        machine = name_machine(machine_id_path)
        stored = self._recall(_IDENTITY, parse_identity, _MISSING[_IDENTITY])
        if stored is not None and machine not in ("", stored.machine):
            self._forget_other_machine(stored.machine, machine)
            stored = None
        if stored is None:
            stored = RememberedIdentity(make_id(), machine)
            if not self._void:
                self._remember(_IDENTITY, format_identity(stored), _UNWRITTEN[_IDENTITY])
        return Identity(stored.id, read_boot_id(boot_id_path), socket.gethostname())

    def _forget_other_machine(self, other: str, machine: str) -> None:
        """The old identity stays until all else is gone, so that the next start notices what is left."""
        paths = [path for path in self.list_files() if Path(path).name != _IDENTITY]
        gone = [Path(path).name for path in _remove(paths)]
        left = [Path(path).name for path in paths if Path(path).name not in gone]
        self._void.update(left)
        log.warning(
            "State directory %s was made for machine %s, but this is machine %s (hashes of /etc/machine-id): it was"
            " copied here, perhaps with an image. Forgetting what is the other host's (%s)%s; this host gets an id of"
            " its own. Leave the directory out of images",
            self.path,
            other or "without a machine-id",
            machine,
            ", ".join(gone) or "nothing",
            f", ignoring what cannot be removed ({', '.join(left)})" if left else "",
        )

    # --- MAC addresses

    def recall_mac(self, device: str) -> Optional[str]:
        """The MAC address that was remembered for a device, None when there is none."""
        if not _is_our_device(device):
            return None
        return self._recall(f"{device}{_MAC}", _parse_mac, f"{device} gets a new MAC address if it is gone")

    def remember_mac(self, device: str, mac: str) -> None:
        """Keep it for the next boot."""
        if not _is_our_device(device):
            log.warning("Not remembering the MAC address of %r: it is no device of ours", device)
            return
        lost = f"{device} gets a new MAC address at the next boot, which the peers learn from our lease"
        self._remember(f"{device}{_MAC}", f"{mac}\n", lost)

    # --- keys

    def recall_wireguard_key(self) -> Optional[Secret]:
        """Our private key as it was last remembered, None when there is none."""
        return self._recall(_WIREGUARD, _parse_private_key, _MISSING[_WIREGUARD])

    def remember_wireguard_key(self, key: Secret) -> None:
        """Keep it for the next boot."""
        self._remember(_WIREGUARD, f"{format_key(key.reveal())}\n", _UNWRITTEN[_WIREGUARD])

    # --- devices

    def remember_device(self, device: str) -> None:
        """Keep its name, so that it is known as ours under another network config. One with a MAC is known by that."""
        if _is_our_device(device) and f"{device}{_MARK}" not in self._list_names():
            self._remember(
                f"{device}{_MARK}", "", f"{device} is not known as ours under another network config"
            )

    def list_devices(self) -> FrozenSet[str]:
        """Names of all devices that were remembered, also under an earlier network config."""
        names = (Path(name) for name in self._list_names() if name not in self._void)
        return frozenset(
            filter(_is_our_device, (name.stem for name in names if name.suffix in (_MAC, _MARK)))
        )

    # --- lease and peers

    def remember_lease(self, remembered: RememberedLease) -> None:
        """Keep our lease for a start without the store."""
        self._remember(_LEASE, format_remembered_lease(remembered), _UNWRITTEN[_LEASE])

    def recall_lease(self) -> Optional[RememberedLease]:
        """Our lease as it was last remembered, None when there is none."""
        return self._recall(_LEASE, parse_remembered_lease, _MISSING[_LEASE])

    def remember_peers(self, known: KnownPeers) -> None:
        """Keep the peers for a start without the store. Costs one fsync: not for every event."""
        self._remember(_PEERS, format_peers(known), _UNWRITTEN[_PEERS])

    def recall_peers(self) -> Optional[KnownPeers]:
        """The peers as they were last remembered, None when there are none."""
        return self._recall(_PEERS, parse_peers, _MISSING[_PEERS])

    # --- commands of the backend extension

    def remember_hooks(self, hooks: Sequence[Hook]) -> None:
        """Keep what was run for which peer. Costs one fsync."""
        self._remember(_HOOKS, format_hooks(hooks), _UNWRITTEN[_HOOKS])

    def recall_hooks(self) -> Tuple[Hook, ...]:
        """As they were last remembered; none when there are none."""
        return self._recall(_HOOKS, parse_hooks, _MISSING[_HOOKS]) or ()

    # --- all of it

    def list_files(self) -> Tuple[str, ...]:
        """Paths of all files here that are ours, in order."""
        return tuple(str(self.path / name) for name in sorted(filter(_is_our_file, self._list_names())))

    def list_secret_files(self) -> Tuple[str, ...]:
        """Those of them that hold a private key."""
        return tuple(path for path in self.list_files() if _WIREGUARD in Path(path).name)

    def forget_all(self) -> Tuple[str, ...]:
        """Remove all that is ours, and the directory if nothing is left in it; the paths of what is gone."""
        gone = _remove(self.list_files())
        try:
            self.path.rmdir()
        except OSError:  # it holds what is not ours, or is kept by systemd
            return gone
        return (*gone, str(self.path))

    # --- files

    def _list_names(self) -> List[str]:
        try:
            return [entry.name for entry in self.path.iterdir()]
        except OSError:
            return []

    def _recall(self, name: str, parse: Callable[[str], Value], meaning: str) -> Optional[Value]:
        if name in self._void:
            return None
        try:
            return parse(read_regular(self.path / name).decode("utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            cause = f"it cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            cause = "it is damaged: it is not text"
        except Damaged as error:
            cause = f"it is damaged: {error}"
        _tell_once(self._unread, name, f"{self.path / name}: {cause}; it counts as not there: {meaning}")
        return None

    def _remember(self, name: str, text: str, meaning: str) -> None:
        try:
            write_atomically(self.path / name, text, 0o600, directory_mode=0o700)
        except FileError as error:
            _tell_once(self._unwritten, name, f"{error}; until then, {meaning}")
            return
        self._void.discard(name)
        if self._unwritten.pop(name, None) is not None:
            log.info("%s: it could be written again", self.path / name)


def _remove(paths: Iterable[str]) -> Tuple[str, ...]:
    """Remove files; the paths of those that are gone."""
    gone: List[str] = []
    for path in paths:
        try:
            Path(path).unlink()
            gone.append(path)
        except OSError as error:
            log.warning("%s: it cannot be removed: %s; remove it by hand", path, error.strerror)
    return tuple(gone)


def _tell_once(told: Dict[str, str], name: str, text: str) -> None:
    if told.get(name) != text:
        told[name] = text
        log.warning("%s", text)


def _is_our_device(name: str) -> bool:
    return len(name) <= LONGEST_DEVICE_NAME and _DEVICE.fullmatch(name) is not None


def _is_our_file(name: str) -> bool:
    temporary = _TEMPORARY.fullmatch(name)
    name = temporary.group(1) if temporary else name
    return name in _MISSING or (Path(name).suffix in (_MAC, _MARK) and _is_our_device(Path(name).stem))


def _parse_private_key(text: str) -> Secret:
    """Raises Damaged, which does not say what it found."""
    key = parse_secret(text)
    if key is None:
        raise Damaged("it is not a key in base64")
    return key


def _parse_mac(text: str) -> str:
    """Raises Damaged."""
    try:
        return parse_mac(text.strip())
    except FlannelError as error:
        raise Damaged(error.cause) from error
