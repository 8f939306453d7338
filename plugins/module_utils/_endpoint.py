# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Where etcd listens, the TLS files to speak to it, and why a connection to it fails.

Standard library only.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple
from urllib.parse import urlsplit

from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    StoreAuthError,
    StoreError,
    StoreTLSError,
    StoreUnavailable,
)

DEFAULT_PORT = 2379

# Where distributions keep all trusted CAs in one file, after OpenSSL's own opinion: Debian, Fedora and EL.
_SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

# RFC 9113, 3.4: how a client opens HTTP/2, with an empty SETTINGS frame; the server answers with its own.
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"

# Seconds in which a server that refuses our certificate says so.
_VERDICT_TIMEOUT = 0.5


@dataclass(frozen=True)
class Endpoint:
    """One address of etcd. host: a name or an address without brackets."""

    host: str
    port: int
    tls: bool

    @property
    def target(self) -> str:
        """As gRPC wants it: "host:port", IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.target}"


def parse_endpoint(text: str, default_scheme: str) -> Endpoint:
    """The endpoint that `text` names (spec 2.9); `default_scheme` ("http", "https") for one without a scheme.

    Raises StoreError. Its text does not repeat an endpoint that contains a user name or password.
    """
    text = text.strip()
    if "@" in text:  # before anything reads it: a "/", "#" or "?" in a password would end the host there
        raise _bad_endpoint(_shown(text), "carries a user name")
    try:
        parts = urlsplit(text if "://" in text else f"{default_scheme}://{text}")
        port = parts.port if parts.port is not None else DEFAULT_PORT
    except ValueError as error:
        raise _bad_endpoint(_shown(text), str(error)) from None
    if parts.scheme not in ("http", "https"):
        raise _bad_endpoint(_shown(text), f"scheme {parts.scheme!r} is not supported")
    if not parts.hostname or port == 0:
        raise _bad_endpoint(_shown(text), "host or port is missing")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _bad_endpoint(_shown(text), "something follows the port")
    return Endpoint(parts.hostname, port, parts.scheme == "https")


def _shown(text: str) -> str:
    return text.rpartition("@")[2]


def _bad_endpoint(shown: str, cause: str) -> StoreError:
    return StoreError(f"etcd endpoint {shown!r}", cause, "write it as http://host:port or https://host:port")


@dataclass(frozen=True)
class TLSFiles:
    """Paths, "" where not given. Any of them makes an endpoint without a scheme a TLS one."""

    ca_cert: str
    client_cert: str
    client_key: str

    @property
    def given(self) -> bool:
        return bool(self.ca_cert or self.client_cert or self.client_key)


@dataclass(frozen=True)
class TLSMaterial:
    """TLS files as they were read. roots, certificate, key: PEM, None where there is none.

    context: the same for the standard library.
    """

    roots: Optional[bytes]
    certificate: Optional[bytes]
    key: Optional[bytes]
    context: ssl.SSLContext


def read_tls_files(files: TLSFiles) -> TLSMaterial:
    """Read and check the files; the system's CAs are taken where no CA is given (spec 2.9).

    Raises StoreTLSError: only one of certificate and key is given; a file is missing, unreadable or not PEM;
    the key is encrypted or not that of the certificate.
    """
    if bool(files.client_cert) != bool(files.client_key):
        given, missing = ("certificate", "key") if files.client_cert else ("key", "certificate")
        raise StoreTLSError(
            f"etcd client {given} {files.client_cert or files.client_key}",
            f"it comes without its {missing}",
            f"give the client {missing} too, or neither",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    ca_path = files.ca_cert or _find_system_bundle()
    roots = _read_file("etcd CA certificate", ca_path) if ca_path else None
    if roots is not None:
        try:
            context.load_verify_locations(cafile=ca_path)
        except ssl.SSLError as error:
            raise StoreTLSError(
                f"etcd CA certificate {ca_path}",
                f"not a PEM certificate ({_reason(error)})",
                "give the CA's PEM file",
            ) from None
    if not files.client_cert:
        return TLSMaterial(roots, None, None, context)
    certificate = _read_file("etcd client certificate", files.client_cert)
    key = _read_file("etcd client key", files.client_key)
    try:
        # The empty password keeps OpenSSL from asking the terminal for one.
        context.load_cert_chain(files.client_cert, files.client_key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise _explain_pair(files, key, error) from None
    return TLSMaterial(roots, certificate, key, context)


def _find_system_bundle() -> str:
    found = [
        path
        for path in (ssl.get_default_verify_paths().cafile, *_SYSTEM_BUNDLES)
        if path and Path(path).is_file()
    ]
    return found[0] if found else ""


def _read_file(what: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise StoreTLSError(
            f"{what} {path}", "no such file", "correct the path or put the file there"
        ) from None
    except OSError as error:
        raise StoreTLSError(
            f"{what} {path}", f"cannot be read ({error.strerror})", "make it a file that this user may read"
        ) from None


def _explain_pair(files: TLSFiles, key: bytes, error: Exception) -> StoreTLSError:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return StoreTLSError(
            f"etcd client key {files.client_key}",
            f"it is not the key of the certificate {files.client_cert}",
            "give the two files that were made together",
        )
    if b"ENCRYPTED" in key:
        return StoreTLSError(
            f"etcd client key {files.client_key}",
            "it is encrypted",
            "give an unencrypted key, readable by root only",
        )
    return StoreTLSError(
        f"etcd client certificate {files.client_cert} and key {files.client_key}",
        f"not a PEM certificate and its PEM key ({_reason(error)})",
        "give the PEM files",
    )


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or str(error)).replace("_", " ").lower()


def find_connection_fault(
    endpoint: Endpoint, tls: Optional[TLSMaterial], timeout: float
) -> Optional[StoreError]:
    """Why a connection cannot be made, found by making one; None when there is nothing wrong with it.

    gRPC calls every such fault "unavailable"; the standard library tells a refused connection from an
    unknown name and a wrong certificate. timeout: seconds for each step.
    """
    subject = f"etcd at {endpoint}"
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout) as plain:
            if tls is None:
                return _find_plaintext_fault(subject, plain)
            return _find_tls_fault(subject, plain, endpoint.host, tls.context)
    except socket.gaierror as error:
        return StoreUnavailable(
            subject,
            f"the name {endpoint.host} cannot be resolved ({error.strerror})",
            "correct the name, or DNS",
        )
    except socket.timeout:
        return StoreUnavailable(
            subject, "no answer", "check that etcd runs there, and routes and firewalls on the way to it"
        )
    except OSError as error:
        return StoreUnavailable(
            subject,
            (error.strerror or str(error)).lower(),
            "check that etcd runs there and listens on that address",
        )


def _find_plaintext_fault(subject: str, plain: socket.socket) -> Optional[StoreError]:
    plain.sendall(_HTTP2_PREFACE)
    try:
        answer = plain.recv(3)
    except ConnectionResetError:
        answer = b""
    if not answer:
        return _closed_early(subject, "the first request", "with TLS", "https")
    return None


def _find_tls_fault(
    subject: str, plain: socket.socket, host: str, context: ssl.SSLContext
) -> Optional[StoreError]:
    try:
        with context.wrap_socket(plain, server_hostname=host) as secured:
            # In TLS 1.3 the server judges our certificate after the handshake. If it likes it, it waits for us.
            secured.settimeout(_VERDICT_TIMEOUT)
            secured.recv(1)
    except socket.timeout:
        return None
    except ssl.SSLCertVerificationError as error:
        return StoreTLSError(subject, *_explain_verification(host, error.verify_message))
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError):
        return _closed_early(subject, "the TLS handshake", "without TLS", "http")
    except ssl.SSLError as error:
        return _explain_handshake(subject, error)
    return None


def _closed_early(subject: str, moment: str, suspect: str, scheme: str) -> StoreUnavailable:
    """Not an error of TLS: a server that is being stopped does the same."""
    return StoreUnavailable(
        subject,
        f"it closed the connection during {moment}, as a server {suspect} does",
        f"write the endpoint with {scheme}:// if that is so, else check that etcd is healthy",
    )


def _explain_verification(host: str, message: str) -> Tuple[str, str]:
    text = message.lower().rstrip(".")
    if "mismatch" in text or "not valid for" in text:
        return (
            f"its certificate is not for {host}",
            f"use a name or address that the certificate holds, or add {host} to its subjectAltName",
        )
    if "expired" in text or "not yet valid" in text:
        return f"its certificate cannot be used now ({text})", "renew it, or correct this host's clock"
    return (
        f"its certificate is not signed by the given CA ({text})",
        "give the CA that signed etcd's certificate",
    )


def _explain_handshake(subject: str, error: ssl.SSLError) -> StoreError:
    reason = _reason(error)
    if "certificate required" in reason or "bad certificate" in reason or "unknown ca" in reason:
        return StoreAuthError(
            subject,
            f"it refuses our client certificate ({reason})",
            "give a client certificate and key signed by the CA that etcd trusts (--trusted-ca-file)",
        )
    if "wrong version number" in reason or "record layer failure" in reason:
        return StoreTLSError(
            subject, "it does not speak TLS", "write the endpoint with http:// if it has no TLS"
        )
    return StoreTLSError(
        subject, f"the TLS handshake failed ({reason})", "compare etcd's TLS settings with ours"
    )
