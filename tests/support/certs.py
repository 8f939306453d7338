# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for tests, made with the openssl command."""

from __future__ import annotations

import ipaddress
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence


@dataclass(frozen=True)
class KeyPair:
    """Paths of a PEM certificate and its unencrypted PEM key."""

    cert: Path
    key: Path


class CertificateAuthority:
    """A CA with its files in `directory`: <name>.crt, <name>.key and those of what it issues."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._pair = KeyPair(directory / f"{name}.crt", directory / f"{name}.key")
        _run_openssl("req", "-x509", *_NEW_KEY, "-days", "30", "-subj", f"/CN={name}",
                     "-keyout", self._pair.key, "-out", self._pair.cert)  # fmt: skip

    @property
    def cert(self) -> Path:
        return self._pair.cert

    def issue(self, name: str, hosts: Sequence[str] = (), days: int = 30) -> KeyPair:
        """A certificate with common name `name`, for servers and clients, holding these names and addresses.

        days: how long it is valid; 0: it has expired a second later.
        """
        pair = KeyPair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        request = self._directory / f"{name}.csr"
        extensions = self._directory / f"{name}.ext"
        alternatives = ",".join(_alternative_name(host) for host in (hosts or (name,)))
        extensions.write_text(f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={alternatives}\n")
        _run_openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", pair.key, "-out", request)
        _run_openssl("x509", "-req", "-in", request, "-CA", self._pair.cert, "-CAkey", self._pair.key,
                     "-CAcreateserial", "-days", str(days), "-extfile", extensions, "-out", pair.cert)  # fmt: skip
        return pair


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_signing_key(directory: Path) -> KeyPair:
    """A key for JSON web tokens (RS256); `cert` is the public key."""
    pair = KeyPair(directory / "signing.pub", directory / "signing.key")
    _run_openssl("genrsa", "-out", pair.key, "2048")
    _run_openssl("rsa", "-in", pair.key, "-pubout", "-out", pair.cert)
    return pair


def encrypt_key(key: Path, encrypted: Path, password: str) -> None:
    """Write a copy of the key that needs a password."""
    _run_openssl("pkcs8", "-topk8", "-in", key, "-out", encrypted, "-passout", f"pass:{password}")


def _alternative_name(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return f"DNS:{host}"
    return f"IP:{host}"


def _run_openssl(*arguments: object) -> None:
    subprocess.run(
        ["openssl", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=30,
    )
