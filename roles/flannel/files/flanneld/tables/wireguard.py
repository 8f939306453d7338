# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is inside our WireGuard devices: key and port, peers, and which peer a subnet belongs to (spec 5.7).

WireGuard announces nothing, so drift is found by the periodic pass. A peer and its subnets (allowed IPs) are objects of
their own: a subnet that moves to another key moves in one step, after the new peer is made and before the old one goes.
Only devices of ours are looked at, and everything in them is ours.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Network

from . import Change, KernelError, Key, Notice
from .bulk import describe_change
from .refusal import explain_os_error, explain_refusal
from .rtnetlink import Message
from .scope import Scope
from .wireguard_keys import NO_PSK, OCTETS, Secret, format_key
from .wireguard_netlink import (
    Endpoint,
    FoundDevice,
    FoundPeer,
    WireguardSocket,
    pack_allowed,
    pack_disallowed,
    pack_peer,
    pack_removal,
    pack_settings,
    read_device,
)

Read = Callable[[str], Optional[FoundDevice]]

_SESSION_SECONDS = 180  # REJECT_AFTER_TIME: what is older than that proves nothing
_SUBNETS_PER_REQUEST = 500  # an attribute has 64 KB


@dataclass(frozen=True)
class WireguardSettings:
    """Key and port of a device. public_key: base64, that of private_key, which is None in what was found."""

    device: str
    public_key: str
    port: int
    private_key: Optional[Secret] = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> Key:
        return self.device

    def __str__(self) -> str:
        return f"{self.device} key {self.public_key or '-'} port {self.port}"


@dataclass(frozen=True)
class WireguardPeer:
    """Another host. endpoint: where its lease says it is; it may well send from elsewhere (roam), which is no drift.
    None in what was found and was not told so by this process. keepalive: seconds, 0 for none."""

    device: str
    public_key: str
    endpoint: Optional[Endpoint]
    keepalive: int = 0
    psk: Secret = NO_PSK

    @property
    def key(self) -> Key:
        return (self.device, self.public_key)

    def __str__(self) -> str:
        at = f" at {self.endpoint}" if self.endpoint else ""
        return f"{self.public_key} dev {self.device}{at}"


@dataclass(frozen=True)
class AllowedSource:
    """The subnet of a peer: what goes there is encrypted for it, and comes from there only if it sent it."""

    device: str
    subnet: Network
    public_key: str

    @property
    def key(self) -> Key:
        return (self.device, self.subnet)

    def __str__(self) -> str:
        return f"{self.subnet} of {self.public_key} dev {self.device}"


class _DeviceReader:
    """What the three tables share. devices: names of ours, of which some may exist."""

    name: str

    def __init__(self, scope: Scope, devices: Sequence[str], read: Read = read_device) -> None:
        self._scope = scope
        self._devices = tuple(devices)
        self._read = read

    def _read_all(self) -> Dict[str, FoundDevice]:
        found = {name: self._read(name) for name in self._devices}
        return {name: device for name, device in found.items() if device is not None}

    def owns(self, thing: Any) -> bool:
        """Whatever is in a device of ours."""
        return thing.device in self._scope.devices

    def notice(self, message: object) -> Optional[Notice]:
        return None

    def _write(self, requests: Sequence[Tuple[Change, bytes]]) -> Dict[Key, KernelError]:
        """One request for each change."""
        refusals = _send([body for _change, body in requests])
        errors: Dict[Key, KernelError] = {}
        for (change, _body), error in zip(requests, refusals):
            gone = change.after is None and error is not None and error.errno == errno.ENODEV
            if error is not None and not gone:
                errors[change.key] = _explain(describe_change(self.name, change), error)
        return errors


class WireguardDeviceTable(_DeviceReader):
    """Key and port of each of our devices that exists; the firewall mark is left as it is."""

    name = "wireguard device"
    kinds = (WireguardSettings,)

    def dump(self) -> Dict[Key, WireguardSettings]:
        return {
            name: WireguardSettings(name, found.public_key, found.port)
            for name, found in self._read_all().items()
        }

    def owns(self, thing: Any) -> bool:
        """They go with their device."""
        return False

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        requests: List[Tuple[Change, bytes]] = []
        for change in changes:
            before: Optional[WireguardSettings] = change.before
            after: Optional[WireguardSettings] = change.after
            if after is None:
                continue
            same_key = before is not None and before.public_key == after.public_key
            same_port = before is not None and before.port == after.port
            key = None if same_key else after.private_key
            requests.append((change, pack_settings(after.device, key, None if same_port else after.port)))
        ports = {change.key: change.thing.port for change in changes}
        return {key: _explain_port(error, ports[key]) for key, error in self._write(requests).items()}


class WireguardPeerTable(_DeviceReader):
    """The peers of our devices, without their subnets.

    An endpoint is set when this process makes the peer, or when the lease says another one than it said before. A peer
    of an earlier life keeps the endpoint it has if a handshake within the last three minutes vouches for it.
    """

    name = "wireguard peer"
    kinds = (WireguardPeer,)

    def __init__(
        self,
        scope: Scope,
        devices: Sequence[str],
        read: Read = read_device,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(scope, devices, read)
        self._clock = clock
        self._told: Dict[Key, Endpoint] = {}
        self._seen: Dict[Key, FoundPeer] = {}

    def dump(self) -> Dict[Key, WireguardPeer]:
        found: Dict[Key, WireguardPeer] = {}
        self._seen = {}
        for device, there in self._read_all().items():
            for public_key, peer in there.peers.items():
                # Without what it was told it differs from every wanted one, so that apply() decides.
                endpoint = self._told.get((device, public_key)) if peer.endpoint is not None else None
                one = WireguardPeer(device, public_key, endpoint, peer.keepalive, peer.psk)
                found[one.key], self._seen[one.key] = one, peer
        self._told = {key: endpoint for key, endpoint in self._told.items() if key in found}
        return found

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        requests: List[Tuple[Change, bytes]] = []
        for change in changes:
            before: Optional[WireguardPeer] = change.before
            after: Optional[WireguardPeer] = change.after
            if after is not None:
                requests += [(change, body) for body in self._pack(before, after)]
            elif before is not None:
                requests.append((change, pack_removal(before.device, before.public_key)))
        errors = self._write(requests)
        for change in changes:
            if change.key not in errors:
                self._note(change.key, change.after)
        return errors

    def _pack(self, before: Optional[WireguardPeer], after: WireguardPeer) -> Iterator[bytes]:
        """One request, or none where all is right but for what this process has told the kernel."""
        endpoint = after.endpoint if before is None or self._needs_endpoint(after) else None
        same = before is not None and (before.psk, before.keepalive) == (after.psk, after.keepalive)
        if endpoint is not None or not same:
            yield pack_peer(after.device, after.public_key, after.psk, after.keepalive, endpoint)

    def _needs_endpoint(self, wanted: WireguardPeer) -> bool:
        """Of a peer that exists."""
        seen, told = self._seen.get(wanted.key), self._told.get(wanted.key)
        if seen is not None and seen.endpoint is None:
            return True
        if told is not None or seen is None:
            return told != wanted.endpoint
        alive = self._clock() - seen.handshake < _SESSION_SECONDS
        return seen.endpoint != wanted.endpoint and not alive

    def _note(self, key: Key, after: Optional[WireguardPeer]) -> None:
        self._seen.pop(key, None)  # it is another one now
        if after is None or after.endpoint is None:
            self._told.pop(key, None)
        else:
            self._told[key] = after.endpoint


class AllowedSourceTable(_DeviceReader):
    """Which peer of our devices each subnet belongs to."""

    name = "wireguard allowed-ips"
    kinds = (AllowedSource,)

    def dump(self) -> Dict[Key, AllowedSource]:
        sources = (
            AllowedSource(name, subnet, key)
            for name, found in self._read_all().items()
            for key, peer in found.peers.items()
            for subnet in peer.allowed
        )
        return {source.key: source for source in sources}

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        given: List[Tuple[Change, bytes]] = []
        taken: Dict[str, List[Change]] = {}
        for change in changes:
            before: Optional[AllowedSource] = change.before
            after: Optional[AllowedSource] = change.after
            if after is not None:
                given.append((change, pack_allowed(after.device, after.public_key, after.subnet)))
            elif before is not None:
                taken.setdefault(before.device, []).append(change)
        errors = self._write(given)
        for device, some in taken.items():
            errors.update(self._take_away(device, some))
        return errors

    def _take_away(self, device: str, changes: Sequence[Change]) -> Dict[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        nobody = format_key(os.urandom(OCTETS))
        for start in range(0, len(changes), _SUBNETS_PER_REQUEST):
            some = changes[start : start + _SUBNETS_PER_REQUEST]
            (error,) = _send(
                [pack_disallowed(device, nobody, [one.before.subnet for one in some if one.before])]
            )
            if error is not None and error.errno != errno.ENODEV:
                errors.update({one.key: _explain(describe_change(self.name, one), error) for one in some})
        return errors


def _send(bodies: Sequence[bytes]) -> List[Optional[OSError]]:
    """Why each was refused, None for done."""
    if not bodies:
        return []
    try:
        with WireguardSocket() as kernel:
            family = kernel.find_family()
            refusals = kernel.write([Message(family, 0, body) for body in bodies])
    except OSError as error:
        return [error] * len(bodies)
    return [None if one is None else OSError(one.errno, one.text) for one in refusals]


def _explain(subject: str, error: OSError) -> KernelError:
    if error.errno == errno.ENOENT:  # of the family, not of a peer
        return explain_refusal(subject, errno.EOPNOTSUPP, "the kernel has no wireguard")
    return explain_os_error(subject, error)


def _explain_port(error: KernelError, port: int) -> KernelError:
    if error.errno != errno.EADDRINUSE:
        return error
    step = f"see which: ss -lunp sport = :{port}; end it, or choose another ListenPort in the network config"
    return KernelError(error.subject, f"UDP port {port} is in use by another program", step, error.errno)
