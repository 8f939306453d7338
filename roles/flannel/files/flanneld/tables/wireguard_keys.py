# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of WireGuard (Curve25519): 32 octets, as text in base64."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from typing import Optional

OCTETS = 32

_PRIME = 2**255 - 19
_A24 = 121665


class Secret:
    """32 octets that show in no log, error, repr or comparison time: a private key, or a pre-shared one."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """For the kernel, or the one file that keeps it."""
        return self._octets

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        return hash(Secret)

    def __bool__(self) -> bool:
        return any(self._octets)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be written anywhere but by name")


NO_PSK = Secret(bytes(OCTETS))
"""What the kernel takes for no pre-shared key."""


def parse_key(text: str) -> Optional[bytes]:
    """The octets of a key in base64, None when it is none: of another length, or all zero, which nobody can own."""
    try:
        octets = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return octets if len(octets) == OCTETS and any(octets) else None


def parse_secret(text: str) -> Optional[Secret]:
    """The same for a key that nobody may see."""
    octets = parse_key(text)
    return None if octets is None else Secret(octets)


def format_key(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def generate_private_key() -> Secret:
    return Secret(_clamp(os.urandom(OCTETS)))


def derive_public_key(private: Secret) -> str:
    """X25519 of the base point (RFC 7748, section 5), in base64.

    In Python the time it takes depends on the key. That tells nobody anything: it is done once at a start, of one
    key, and no other host can have it done.
    """
    scalar = int.from_bytes(_clamp(private.reveal()), "little")
    x1, x2, z2, x3, z3, swap = 9, 1, 0, 9, 1, 0
    for position in range(254, -1, -1):
        bit = scalar >> position & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % _PRIME, x1 * (da - cb) ** 2 % _PRIME
        x2, z2 = aa * bb % _PRIME, e * (aa + _A24 * e) % _PRIME
    if swap:
        x2, z2 = x3, z3
    return format_key((x2 * pow(z2, _PRIME - 2, _PRIME) % _PRIME).to_bytes(OCTETS, "little"))


def _clamp(octets: bytes) -> bytes:
    """What makes 32 random octets a scalar of X25519; the kernel does the same with what it is given."""
    scalar = bytearray(octets)
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    return bytes(scalar)
