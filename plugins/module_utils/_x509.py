# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Certificates and keys, read and made with the library cryptography, as RFC 5280 has them.

Importing this file needs only the standard library, so that a module can say where the library is missing. It works
with the cryptography 38 of Debian 12; what only the controller does (signing) may need 42.
"""

from __future__ import annotations

import importlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, List

from ansible_collections.weft.flannel.plugins.module_utils._errors import CertificateError, FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._libraries import reach_environment
from ansible_collections.weft.flannel.plugins.module_utils._tls import Certificate, Wanted, split_names

# A host whose clock is behind takes a new certificate all the same.
_CLOCK_SKEW = timedelta(hours=1)


class CertificateLibraryMissing(FlannelError):
    """The library cryptography cannot be imported here."""


@dataclass(frozen=True)
class Authority:
    """A certificate authority: certificate and key are objects of the library. pem: the certificate's text."""

    certificate: Any
    key: Any
    pem: str
    facts: Certificate


def _load(name: str) -> Any:
    try:
        try:
            return importlib.import_module(f"cryptography.{name}")
        except ImportError:
            if not reach_environment():
                raise
            return importlib.import_module(f"cryptography.{name}")
    except ImportError as error:
        raise CertificateLibraryMissing(
            "Python library cryptography",
            f"cannot be imported ({error})",
            "install python3-cryptography (Debian, Ubuntu), or cryptography with pip, for this Python; or have the "
            "role bring it, with flannel_python: venv",
        ) from None


def read_certificate(pem: bytes, subject: str) -> Certificate:
    """What the first certificate in the text says. subject: what an error names. Raises CertificateError."""
    return _describe_certificate(_parse_certificate(pem, subject), subject)


def _parse_certificate(pem: bytes, subject: str) -> Any:
    try:
        return _load("x509").load_pem_x509_certificate(pem)
    except ValueError:
        raise CertificateError(
            subject, "it is no certificate in PEM", "put a good one there, or remove the file"
        ) from None


def _describe_certificate(certificate: Any, subject: str) -> Certificate:
    x509, hashes = _load("x509"), _load("hazmat.primitives.hashes")
    try:
        extensions = certificate.extensions
    except ValueError as error:
        raise CertificateError(subject, f"its extensions cannot be read ({error})", "replace it") from None
    alternatives = _find_extension(extensions, x509.SubjectAlternativeName)
    purposes = _find_extension(extensions, x509.ExtendedKeyUsage) or ()
    constraints = _find_extension(extensions, x509.BasicConstraints)
    names: List[str] = []
    if alternatives is not None:
        names += sorted(str(ip) for ip in alternatives.get_values_for_type(x509.IPAddress))
        names += sorted(alternatives.get_values_for_type(x509.DNSName))
    oids = x509.oid.ExtendedKeyUsageOID
    known = (("server", oids.SERVER_AUTH), ("client", oids.CLIENT_AUTH))
    return Certificate(
        common_name=_common_name(certificate.subject),
        names=tuple(names),
        usages=tuple(usage for usage, oid in known if oid in purposes),
        authority=constraints is not None and constraints.ca,
        issuer=_common_name(certificate.issuer),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=_time_of(certificate, "not_valid_before"),
        not_after=_time_of(certificate, "not_valid_after"),
    )


def _find_extension(extensions: Any, kind: Any) -> Any:
    return next((extension.value for extension in extensions if isinstance(extension.value, kind)), None)


def _common_name(name: Any) -> str:
    attributes = name.get_attributes_for_oid(_load("x509").oid.NameOID.COMMON_NAME)
    return str(attributes[0].value) if attributes else ""


def _time_of(certificate: Any, name: str) -> datetime:
    # From cryptography 42 on the times carry their zone, under another name.
    aware = getattr(certificate, f"{name}_utc", None)
    found: datetime = aware if aware is not None else getattr(certificate, name).replace(tzinfo=timezone.utc)
    return found


def make_key() -> bytes:
    """A new private key on P-256, as PEM without a passphrase."""
    serialization = _load("hazmat.primitives.serialization")
    curves = _load("hazmat.primitives.asymmetric.ec")
    pem: bytes = curves.generate_private_key(curves.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def read_key(pem: bytes, subject: str) -> Any:
    """The private key in the text. subject: what an error names. Raises CertificateError, which never shows the key."""
    try:
        return _load("hazmat.primitives.serialization").load_pem_private_key(pem, password=None)
    except TypeError:
        raise CertificateError(
            subject, "it is encrypted", "put the key without its passphrase there, readable by root only"
        ) from None
    except ValueError:
        raise CertificateError(
            subject, "it is no private key in PEM", "put the right one there, or remove the file"
        ) from None


def is_pair(certificate_pem: bytes, key_pem: bytes) -> bool:
    """Whether the key is that of the certificate. Raises CertificateError when one cannot be read."""
    certificate = _parse_certificate(certificate_pem, "certificate")
    return _public_bytes(certificate) == _public_bytes(read_key(key_pem, "private key"))


def _public_bytes(owner: Any) -> bytes:
    serialization = _load("hazmat.primitives.serialization")
    text: bytes = owner.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return text


def make_request(key_pem: bytes, common_name: str) -> str:
    """A certificate signing request (RFC 2986) that proves possession of the key, as PEM.

    It asks for nothing: what the certificate says is decided by whoever signs it.
    """
    x509 = _load("x509")
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(common_name))
    key = read_key(key_pem, "private key")
    return _pem(builder.sign(key, _hash_for(key)))


def make_authority_certificate(key_pem: bytes, common_name: str, days: int, now: datetime) -> str:
    """The certificate of an authority for that key, as PEM. It signs no other authorities."""
    x509 = _load("x509")
    key = read_key(key_pem, "private key")
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(_name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pem(builder.sign(key, _hash_for(key)))


def read_authority(certificate_pem: bytes, key_pem: bytes, subject: str, now: datetime) -> Authority:
    """The authority of these two files, if it can sign now. subject: what an error names. Raises CertificateError."""
    certificate = _parse_certificate(certificate_pem, f"{subject}, ca.crt")
    facts = _describe_certificate(certificate, f"{subject}, ca.crt")
    key = read_key(key_pem, f"{subject}, ca.key")
    if _public_bytes(certificate) != _public_bytes(key):
        raise CertificateError(
            subject, "ca.key is not the key of ca.crt", "put the two files there that belong together"
        )
    if not facts.authority:
        raise CertificateError(
            subject, "ca.crt is not the certificate of an authority", "put one there that may sign others"
        )
    if not facts.not_before <= now <= facts.not_after:
        raise CertificateError(
            subject,
            f"ca.crt is valid from {facts.not_before:%Y-%m-%d} to {facts.not_after:%Y-%m-%d}, and today it is not",
            "correct the clock of the controller, or move the directory away to have a new authority made",
        )
    return Authority(certificate, key, certificate_pem.decode("ascii", "replace"), facts)


def is_issued_by(certificate_pem: bytes, authority: Authority) -> bool:
    """Whether the authority has signed the certificate. Raises CertificateError when it cannot be read."""
    exceptions = _load("exceptions")
    try:
        _parse_certificate(certificate_pem, "certificate").verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, exceptions.InvalidSignature):
        return False
    return True


def sign(authority: Authority, request_pem: str, wanted: Wanted, now: datetime) -> str:
    """A certificate for the key of the request, as PEM. Everything else in it is what is wanted, not what is asked for.

    It does not outlive the authority. Raises CertificateError for a request that cannot be read or is not signed.
    """
    x509 = _load("x509")
    public_key = _read_request(request_pem, wanted.common_name).public_key()
    addresses, dns_names = split_names(wanted.names)
    names = [
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        *(x509.DNSName(name) for name in dns_names),
    ]
    oids = x509.oid.ExtendedKeyUsageOID
    purposes = {"server": oids.SERVER_AUTH, "client": oids.CLIENT_AUTH}
    signer = _find_extension(authority.certificate.extensions, x509.SubjectKeyIdentifier)
    identifiers = x509.AuthorityKeyIdentifier
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(wanted.common_name))
        .issuer_name(authority.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - _CLOCK_SKEW, authority.facts.not_before))
        .not_valid_after(min(now + timedelta(days=wanted.days), authority.facts.not_after))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purposes[usage] for usage in wanted.usages]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            identifiers.from_issuer_public_key(authority.key.public_key())
            if signer is None
            else identifiers.from_issuer_subject_key_identifier(signer),
            critical=False,
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _pem(builder.sign(authority.key, _hash_for(authority.key)))


def _read_request(pem: str, common_name: str) -> Any:
    subject = f"certificate request of {common_name}"
    try:
        request = _load("x509").load_pem_x509_csr(pem.encode())
    except ValueError:
        raise CertificateError(subject, "it is no request in PEM", "run again") from None
    if not request.is_signature_valid:
        raise CertificateError(
            subject,
            "it is not signed with the key that it is for",
            "find out who changed it on the way from the host",
        )
    return request


def _name(common_name: str) -> Any:
    x509 = _load("x509")
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)])


def _key_usage(*allowed: str) -> Any:
    bits = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return _load("x509").KeyUsage(**{bit: bit in allowed for bit in bits})


def _hash_for(key: Any) -> Any:
    """What to sign with; the Edwards curves have it built in."""
    name = type(key).__name__
    return None if "Ed25519" in name or "Ed448" in name else _load("hazmat.primitives.hashes").SHA256()


def _pem(made: Any) -> str:
    text: bytes = made.public_bytes(_load("hazmat.primitives.serialization").Encoding.PEM)
    return text.decode()
