# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPsec policies: what goes between two subnets goes through a tunnel or not at all (spec 5.6).

They are the kernel's, whether there is a tunnel or not: nothing leaves in clear while one comes up or charon is away.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Dict, Mapping, Optional, Sequence, Union

from . import Change, KernelError, Key, Notice
from .bulk import describe_change
from .refusal import explain_os_error, explain_refusal
from .rtnetlink import Message
from .scope import Scope
from .xfrm import FoundPolicy, Tunnel, XfrmSocket, dump_policies, pack_policy, pack_policy_removal

REQID = 11
"""Upstream's, for every tunnel."""
_NO_IPSEC = (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)


@dataclass(frozen=True)
class Policy:
    """Packets in this direction ("out", "in", "fwd") from one subnet to another come or go by this tunnel only."""

    direction: str
    source: IPv4Network
    destination: IPv4Network
    tunnel: Tunnel

    @property
    def key(self) -> Key:
        return (self.direction, self.source, self.destination)

    @property
    def device(self) -> str:
        return ""

    def __str__(self) -> str:
        return f"{self.direction} {self.source} to {self.destination} by {self.tunnel}"


@dataclass(frozen=True)
class OtherPolicy:
    """One that flannel would not make. Ours for the same subnets takes its place."""

    direction: str
    source: IPv4Network
    destination: IPv4Network

    @property
    def key(self) -> Key:
        return (self.direction, self.source, self.destination)

    def __str__(self) -> str:
        return f"{self.direction} {self.source} to {self.destination}"


class PolicyTable:
    """IPv4 policies of the host. Ours: between two subnets of our network, by a tunnel of flannel's reqid, without a
    priority, which every IKE daemon gives to its own."""

    name = "ipsec policy"
    kinds = (Policy,)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def dump(self) -> Dict[Key, Union[Policy, OtherPolicy]]:
        try:
            policies = [_name_policy(found) for found in dump_policies()]
        except OSError as error:
            if error.errno in _NO_IPSEC:
                return {}
            raise explain_os_error("IPsec policies", error) from error
        return {policy.key: policy for policy in policies}

    def owns(self, thing: Union[Policy, OtherPolicy]) -> bool:
        return (
            isinstance(thing, Policy)
            and thing.tunnel.reqid == REQID
            and self._scope.has_subnet(thing.source)
            and self._scope.has_subnet(thing.destination)
        )

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        try:
            with XfrmSocket() as kernel:
                outcomes = kernel.write([_pack_change(change) for change in changes])
        except OSError as error:
            return {c.key: explain_os_error(describe_change(self.name, c), error) for c in changes}
        return {
            change.key: explain_refusal(describe_change(self.name, change), refusal.errno, refusal.text)
            for change, refusal in zip(changes, outcomes)
            if refusal is not None and not (change.after is None and refusal.errno == errno.ENOENT)
        }

    def notice(self, message: object) -> Optional[Notice]:
        """None: policies are announced elsewhere (notifications.watch_policies), and read again as a whole."""
        return None


def _name_policy(found: FoundPolicy) -> Union[Policy, OtherPolicy]:
    if found.tunnel is None:
        return OtherPolicy(found.direction, found.source, found.destination)
    return Policy(found.direction, found.source, found.destination, found.tunnel)


def _pack_change(change: Change) -> Message:
    if change.after is None:
        gone: Policy = change.thing
        return pack_policy_removal(gone.direction, gone.source, gone.destination)
    policy: Policy = change.after
    return pack_policy(policy.direction, policy.source, policy.destination, policy.tunnel)
