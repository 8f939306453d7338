# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The keys of every backend in the network config (spec 1.6): their types, defaults and limits."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Tuple, Union

OptionValue = Union[None, bool, int, str, Tuple[str, ...]]

_HIGHEST_VNI = (1 << 24) - 1
_HIGHEST_PORT = (1 << 16) - 1
_LARGEST_MTU = 65535
IPSEC_PSK_LENGTH = 96
"""Octets that upstream asks for at least."""
_WIREGUARD_PSK_OCTETS = 32


@dataclass(frozen=True)
class BackendKey:
    """One key of a backend.

    kind: "int", "bool", "str", or "list" (of strings; one string alone is accepted), which are also Ansible's words.
    default: what an absent key means; None: taken from the host when the backend starts.
    secret: its value may not show in logs, diffs and errors.
    agreed: hosts that do not have the same value cannot reach each other.
    minimum, maximum: limits of an "int"; reason: why there is a limit.
    find_fault: what is wrong with a value of the right kind, in upstream's words, and what to write; None if nothing.
    """

    kind: str
    default: OptionValue = None
    secret: bool = False
    agreed: bool = False
    minimum: int = 0
    maximum: int = 0
    reason: str = ""
    find_fault: Optional[Callable[[str], Optional[Tuple[str, str]]]] = None


def _find_psk_fault(psk: str) -> Optional[Tuple[str, str]]:
    try:
        length = len(base64.b64decode(psk, validate=True))
    except (binascii.Error, ValueError):
        length = -1
    if psk == "" or length == _WIREGUARD_PSK_OCTETS:
        return None
    return "could not parse psk", "write the output of `wg genpsk`: base64 of 32 octets"


def _find_password_fault(psk: str) -> Optional[Tuple[str, str]]:
    # Without one, each host has it in a file.
    if psk == "" or len(psk.encode()) >= IPSEC_PSK_LENGTH:
        return None
    return (
        "config error, password is too short",
        f"write at least {IPSEC_PSK_LENGTH} characters, such as 48 random octets in hexadecimal",
    )


def _find_mode_fault(mode: str) -> Optional[Tuple[str, str]]:
    if mode in ("separate", "auto", "ipv4", "ipv6"):
        return None
    return "no valid Mode configured", "write separate, auto, ipv4 or ipv6, in lower case"


def _port(default: int) -> BackendKey:
    return BackendKey("int", default, agreed=True, maximum=_HIGHEST_PORT, reason="a UDP port has 16 bits")


_UNDERLAY_MTU = BackendKey("int", None, maximum=_LARGEST_MTU, reason="an IP packet has at most 65535 octets")
_CLOUD_CREDENTIALS = {
    "AccessKeyID": BackendKey("str", ""),
    "AccessKeySecret": BackendKey("str", "", secret=True),
}

BACKENDS: Mapping[str, Mapping[str, BackendKey]] = {
    "vxlan": {
        "VNI": BackendKey("int", 1, agreed=True, maximum=_HIGHEST_VNI, reason="a VNI has 24 bits (RFC 7348)"),
        # 0 lets the kernel choose: 8472 unless a module parameter says otherwise.
        "Port": _port(0),
        "MTU": _UNDERLAY_MTU,
        "GBP": BackendKey("bool", False, agreed=True),
        "Learning": BackendKey("bool", False),
        "DirectRouting": BackendKey("bool", False),
    },
    "host-gw": {},
    "udp": {"Port": _port(8285)},
    "ipip": {"DirectRouting": BackendKey("bool", False)},
    "wireguard": {
        "ListenPort": _port(51820),
        "ListenPortV6": _port(51821),
        "MTU": _UNDERLAY_MTU,
        "PSK": BackendKey("str", "", secret=True, agreed=True, find_fault=_find_psk_fault),
        "PersistentKeepaliveInterval": BackendKey(
            "int", 0, maximum=65535, reason="WireGuard keeps the interval in 16 bits of seconds"
        ),
        "Mode": BackendKey("str", "separate", agreed=True, find_fault=_find_mode_fault),
    },
    "ipsec": {
        "PSK": BackendKey("str", "", secret=True, agreed=True, find_fault=_find_password_fault),
        "UDPEncap": BackendKey("bool", False),
        "ESPProposal": BackendKey("str", "aes128gcm16-sha256-prfsha256-ecp256", agreed=True),
    },
    "extension": {
        "PreStartupCommand": BackendKey("str", ""),
        "PostStartupCommand": BackendKey("str", ""),
        "SubnetAddCommand": BackendKey("str", ""),
        "SubnetRemoveCommand": BackendKey("str", ""),
    },
    "alloc": {},
    "tencent-vpc": _CLOUD_CREDENTIALS,
    "aws-vpc": {"RouteTableID": BackendKey("list", None)},
    "gce": {},
    "ali-vpc": _CLOUD_CREDENTIALS,
}
