# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The one exception tree of the collection and of flanneld.

Every error says what object it is about, what is wrong with it, and what to do next. The texts reach operators
as they are (module failure, agent log, exit message), so none of them may carry a secret.
"""

from __future__ import annotations

from typing import Optional


class FlannelError(Exception):
    """Base of all errors raised on purpose.

    subject: the thing that is wrong, with its name ("network config /coreos.com/network/config").
    cause: what is wrong with it, in the words of the spec where it has any.
    next_step: what the reader can do about it, as an imperative.
    """

    def __init__(self, subject: str, cause: str, next_step: str) -> None:
        super().__init__(subject, cause, next_step)
        self.subject = subject
        self.cause = cause
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.subject}: {self.cause}; {self.next_step}"


class AddressError(FlannelError):
    """A text is not the address or CIDR it should be."""


class ConfigError(FlannelError):
    """The network config cannot be used (spec 1.1-1.5)."""


class LeaseError(FlannelError):
    """A lease key or value cannot be read (spec 2.2, 2.3)."""


class OutOfSubnets(FlannelError):
    """No free subnet is left in the pool (spec 2.7)."""


class InterfaceError(FlannelError):
    """No interface fits the request (spec 4)."""


class CertificateError(FlannelError):
    """A certificate, its key or its authority cannot be used or made."""


class StoreError(FlannelError):
    """Base of what can go wrong with etcd."""


class StoreLibraryMissing(StoreError):
    """The etcd3 library cannot be imported on this host."""


class StoreUnavailable(StoreError):
    """No endpoint answered, or etcd has no space or no capacity left: the same call may work later."""


class StoreTimeout(StoreUnavailable):
    """An endpoint accepted the call but did not answer within the deadline."""


class StoreAuthError(StoreError):
    """etcd answered, and refused us (certificate, role)."""


class StoreTLSError(StoreError):
    """The TLS files are unusable: missing, unreadable, not a pair."""


class MemberError(StoreError):
    """The members of the etcd cluster cannot be changed like this."""


class StoreCompacted(StoreError):
    """The revision asked for is gone; list again and watch from there."""

    def __init__(
        self, subject: str, cause: str, next_step: str, compact_revision: Optional[int] = None
    ) -> None:
        super().__init__(subject, cause, next_step)
        self.compact_revision = compact_revision


class StoreLeaseLost(StoreError):
    """The etcd lease does not exist any more."""


class FileError(FlannelError):
    """A file of the host cannot be read, written or removed."""


class OptionError(FlannelError):
    """An option of a module has a value that cannot be used."""


class SubnetTaken(FlannelError):
    """The subnet, or a part of it, belongs to another host."""
