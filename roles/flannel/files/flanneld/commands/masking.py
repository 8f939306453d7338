# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that takes secrets out of a text which leaves this host."""

from __future__ import annotations

import base64
import json
import re
from typing import Iterable, List, Set
from urllib.parse import quote

MASK = "***"
_SHORTEST = 4  # shorter ones would take half of every text along

_NAME = r"[\w-]*(?:password|passwd|passphrase|secret|token|psk|private_?key|preshared_?key|auth_?key|access_?key)s?"
_VALUE = r"""(?:
      \\+"(?:\\\\\\"|\\(?!")|[^"\\])*\\+"    # JSON inside JSON
    | "(?:[^"\\]|\\.)*"
    | '[^']*'
    | [^\s,;&'"}\\]+
)"""
_PATTERNS = (
    # a private key in PEM, on lines of its own or with "\n" in a JSON string
    (re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL), MASK),
    # user and password in an endpoint
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s]+@", re.IGNORECASE), rf"\1{MASK}@"),
    (re.compile(r"\b(authorization\W{1,4}(?:\w+\s+)?)[^\s'\"]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(basic|bearer)\s+[\w+/=.~-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    # name=value, "name": "value"
    (re.compile(rf"({_NAME}\\*[\"']?\s*[=:]\s*){_VALUE}", re.IGNORECASE | re.VERBOSE), rf"\1{MASK}"),
    # --name value
    (re.compile(rf"(--?{_NAME}\s+){_VALUE}", re.IGNORECASE | re.VERBOSE), rf"\1{MASK}"),
)

_PRESHARED = re.compile(r'"psk"\s*:\s*"([^"\\]{8,})"', re.IGNORECASE)


def mask(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, however they are spelt, and without whatever looks like one."""
    for spelling in sorted(_spell_all(secrets), key=len, reverse=True):
        text = text.replace(spelling, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def find_secrets(text: str) -> List[str]:
    """The pre-shared keys (ipsec, wireguard) in a network config that stands somewhere in this text."""
    plain = text.replace('\\"', '"')  # JSON inside JSON
    return _PRESHARED.findall(plain)


def _spell_all(secrets: Iterable[str]) -> Set[str]:
    spellings: Set[str] = set()
    for secret in secrets:
        if len(secret) < _SHORTEST:
            continue
        once = json.dumps(secret)[1:-1]
        spellings |= {secret, once, json.dumps(once)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        spellings |= {quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
    return spellings
