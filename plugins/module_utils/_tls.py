# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""What a certificate has to be, when it has to be made anew, and how the difference is shown.

Pure: standard library only. _x509.py reads and makes certificates.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import CertificateError

USAGES = ("server", "client")

# RFC 5280, appendix A.1: ub-common-name.
_COMMON_NAME_MAX = 64

# RFC 1123, 2.1, with the "*" that a certificate may begin with.
_DNS_NAME = re.compile(
    r"(?=.{1,253}$)(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)


@dataclass(frozen=True)
class Certificate:
    """What a certificate says.

    names: DNS names and IP addresses of subjectAltName, as split_names orders them. usages: of USAGES, in that order.
    authority: whether it may sign others. fingerprint: SHA-256 in hexadecimal. Times are in UTC.
    """

    common_name: str
    names: Tuple[str, ...]
    usages: Tuple[str, ...]
    authority: bool
    issuer: str
    fingerprint: str
    not_before: datetime
    not_after: datetime

    def days_left(self, now: datetime) -> int:
        """Whole days until it ends; below 0 when it has ended."""
        return (self.not_after - now).days


@dataclass(frozen=True)
class Wanted:
    """What a certificate shall be.

    days: how long it is valid when it is made. renew_percent: it is made anew when less of its life is left.
    """

    common_name: str
    names: Tuple[str, ...]
    usages: Tuple[str, ...]
    days: int
    renew_percent: int


@dataclass(frozen=True)
class Present:
    """What a host has.

    certificate: None where there is none, or none that can be read; unreadable: why not, "" otherwise.
    issued_by_authority: whether the authority has signed it. has_key: whether its key lies beside it.
    """

    certificate: Optional[Certificate]
    unreadable: str
    issued_by_authority: bool
    has_key: bool


NOTHING_PRESENT = Present(None, "", False, False)


def read_wanted(
    common_name: str, names: Sequence[str], usages: Sequence[str], days: int, renew_percent: int
) -> Wanted:
    """The options of a certificate, checked. Raises CertificateError."""
    check_common_name(common_name)
    check_days(days)
    if not 1 <= renew_percent <= 99:
        raise CertificateError(
            f"renew_percent {renew_percent}", "it is no share of a life", "give 1 to 99; 33 is usual"
        )
    ordered = tuple(usage for usage in USAGES if usage in usages)
    if not ordered:
        raise CertificateError(
            f"certificate {common_name}", "usages is empty", "give server, client, or both"
        )
    if "server" in ordered and not names:
        raise CertificateError(
            f"certificate {common_name}",
            "it is for a server and names is empty, so that no client would believe it",
            "give the addresses and names that clients use in names",
        )
    return Wanted(common_name, order_names(names), ordered, days, renew_percent)


def check_common_name(common_name: str) -> None:
    """Raise CertificateError unless the text can be a common name."""
    if not 1 <= len(common_name) <= _COMMON_NAME_MAX:
        raise CertificateError(
            f"common_name {common_name!r}",
            f"it has {len(common_name)} characters",
            f"give 1 to {_COMMON_NAME_MAX}",
        )


def check_days(days: int) -> None:
    """Raise CertificateError unless a certificate can be valid that long."""
    if not 1 <= days <= 36500:
        raise CertificateError(f"days {days}", "nothing is valid that long", "give 1 to 36500")


def order_names(names: Sequence[str]) -> Tuple[str, ...]:
    """Names and addresses in the one spelling and order in which they are compared: addresses first, each once.

    Raises CertificateError for a text that is neither.
    """
    addresses, dns_names = split_names(names)
    return (*addresses, *dns_names)


def split_names(names: Sequence[str]) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """IP addresses, and DNS names in lower case. Raises CertificateError for a text that is neither."""
    addresses, dns_names = set(), set()
    for name in names:
        try:
            addresses.add(str(ipaddress.ip_address(name)))
        except ValueError:
            if not _DNS_NAME.fullmatch(name.lower()):
                raise CertificateError(
                    f"names {name!r}", "it is neither an IP address nor a DNS name", "correct it"
                ) from None
            dns_names.add(name.lower())
    return tuple(sorted(addresses)), tuple(sorted(dns_names))


def find_reasons(present: Present, wanted: Wanted, now: datetime) -> Tuple[str, ...]:
    """Why the certificate has to be made anew, in words; empty where it fits."""
    found = present.certificate
    if found is None:
        return (present.unreadable or "there is no certificate",)
    reasons = [
        (not present.has_key, "its key is missing, or is another one"),
        (not present.issued_by_authority, f"it comes from another authority ({found.issuer})"),
        (
            found.common_name != wanted.common_name,
            f"its common name is {found.common_name}, not {wanted.common_name}",
        ),
        (found.names != wanted.names, f"its names are {_list(found.names)}, not {_list(wanted.names)}"),
        (
            found.usages != wanted.usages,
            f"it is for {_list(found.usages)}, not for {_list(wanted.usages)}",
        ),
        (found.authority, "it is an authority's"),
        (found.not_before > now, "it is not valid yet"),
        (
            is_due(found, wanted.renew_percent, now),
            f"{max(found.days_left(now), 0)} of its {_life(found)} days are left",
        ),
    ]
    return tuple(text for applies, text in reasons if applies)


def is_due(certificate: Certificate, renew_percent: int, now: datetime) -> bool:
    """Whether less than that share of its life is left."""
    life = certificate.not_after - certificate.not_before
    return (certificate.not_after - now) * 100 < life * renew_percent


def describe(certificate: Optional[Certificate], authority: str, now: datetime) -> str:
    """A certificate as lines of text, for a diff; "" for none. authority: fingerprint of the one that signed it."""
    if certificate is None:
        return ""
    return _describe(
        certificate.common_name,
        certificate.names,
        certificate.usages,
        authority,
        f"{max(certificate.days_left(now), 0)} of {_life(certificate)} days left",
    )


def describe_wanted(wanted: Wanted, authority: str) -> str:
    """The same for a certificate that is made now: the same text whether it is, or would be in check mode."""
    return _describe(wanted.common_name, wanted.names, wanted.usages, authority, f"{wanted.days} days")


def _describe(
    common_name: str, names: Sequence[str], usages: Sequence[str], authority: str, validity: str
) -> str:
    lines = (
        f"common name: {common_name}",
        f"names: {_list(names)}",
        f"usages: {_list(usages)}",
        f"authority: {authority}",
        f"valid: {validity}",
    )
    return "".join(f"{line}\n" for line in lines)


def _life(certificate: Certificate) -> int:
    return (certificate.not_after - certificate.not_before).days


def _list(items: Sequence[str]) -> str:
    return ", ".join(items) or "none"
