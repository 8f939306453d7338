# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The key-value store as flannel needs it: a small protocol, its values, and the way to open one.

Nothing here knows which library speaks to etcd: importing this file needs only the standard library, so a
module can be loaded on a host where etcd3 is missing and say so.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Callable, Iterator, Optional, Protocol, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreError


@dataclass(frozen=True)
class KeyValue:
    """One key as etcd holds it.

    key: text; bytes that are not UTF-8 are kept as surrogate escapes: a junk key can be named and deleted.
    lease_id: the etcd lease it hangs on, 0 if none (a reservation, spec 2.6).
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease_id: int


@dataclass(frozen=True)
class Listing:
    """A key, or all keys below a prefix in key order, at one revision of the store.

    revision: a watch from revision + 1 misses nothing and repeats nothing. Present for an empty prefix too.
    cluster_id: tells two clusters apart. etcd computes it from the member names, peer URLs and cluster token:
        a member that lost its data directory and was started again with the same flags has the same one.
    """

    items: Tuple[KeyValue, ...]
    revision: int
    cluster_id: int


@dataclass(frozen=True)
class WatchEvent:
    """One key that was put or deleted. Deleted: value b"", version, create_revision and lease_id 0, and
    mod_revision is the revision of the delete."""

    deleted: bool
    item: KeyValue


@dataclass(frozen=True)
class WatchBatch:
    """One whole answer of etcd; the events of one revision are never spread over two batches.

    revision: that of the last event: a watch from revision + 1 goes on exactly after this batch. (Not the one
        in the header of the answer: while etcd replays history, that is ahead of events still to come.)
    """

    events: Tuple[WatchEvent, ...]
    revision: int


@dataclass(frozen=True)
class WriteResult:
    """How a conditional write ended.

    succeeded: the store holds what was asked for. False: the condition did not hold, nothing was changed.
    revision: the revision that the write made, or the store's when it did not succeed.
    current: what is there when it did not succeed; None when the key does not exist, or the write succeeded.
    """

    succeeded: bool
    revision: int
    current: Optional[KeyValue]


@dataclass(frozen=True)
class StoreOptions:
    """Where etcd is and how to speak to it.

    endpoints: "http://host:port", "https://host:port", or "host:port", which is TLS if any of the files below
        is given. IPv6 literals in brackets. The port defaults to 2379. Tried in this order, beginning with
        the one that worked last.
    ca_cert: path of the CA certificate(s) that etcd's certificate is checked against; "": the system's.
    client_cert, client_key: paths of the certificate and key shown to etcd; both or none.
    timeout: seconds one endpoint may take for one call, the time to connect included. Every endpoint is tried
        once, and one more when a connection kept from an earlier call is lost: that bounds every call.
    username: the etcd user to log in as, over TLS only; "": none, only the client certificate counts.
    password: returns that user's password. It is asked at every login, so that a rotated password is taken, and
        a function, so that nothing that shows these options shows the password.
    """

    endpoints: Tuple[str, ...]
    ca_cert: str = ""
    client_cert: str = ""
    client_key: str = ""
    timeout: float = 5.0
    username: str = ""
    password: Optional[Callable[[], str]] = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise StoreError(
                "etcd endpoints", "none is given", "name at least one, such as http://10.0.0.1:2379"
            )
        if not self.timeout or self.timeout <= 0:
            raise StoreError(
                "etcd timeout",
                f"{self.timeout!r} is not a number of seconds above 0",
                "leave it at its default, 5",
            )
        if bool(self.username) != (self.password is not None):
            given, missing = ("user name", "password") if self.username else ("password", "user name")
            raise StoreError("etcd user", f"a {given} is given without a {missing}", "give both, or neither")


class Store(Protocol):
    """A key-value store with revisions, leases and watches.

    One Store belongs to one thread, except close(); every thread opens its own. It keeps one connection,
    made by the first call and made anew, on the next endpoint, after a failure. It never waits between
    attempts: whoever repeats a failed call backs off.

    Every call may raise StoreUnavailable (StoreTimeout), StoreTLSError and StoreAuthError. A write that
    raised StoreUnavailable may have been carried out all the same: read before writing again.
    """

    def get(self, key: str) -> Optional[KeyValue]:
        """The key as it is now, None if it does not exist."""

    def list(self, key_or_prefix: str) -> Listing:
        """One key, or (text ending in "/") all keys below a prefix."""

    def create(self, key: str, value: bytes, lease_id: int = 0) -> WriteResult:
        """Put the key if it does not exist. Raises StoreLeaseLost if the lease does not exist."""

    def replace(self, key: str, value: bytes, expected_mod_revision: int, lease_id: int = 0) -> WriteResult:
        """Put the key if it was last changed at that revision (0: if it does not exist); it then hangs on
        `lease_id` and on no other lease. Raises StoreLeaseLost if the lease does not exist."""

    def delete(self, key: str, expected_mod_revision: int) -> WriteResult:
        """Delete the key if it was last changed at that revision."""

    def move(
        self, key: str, expected_mod_revision: int, new_key: str, value: bytes, lease_id: int = 0
    ) -> WriteResult:
        """Put `new_key` on `lease_id` and delete `key`, in one revision, if `key` was last changed at that revision
        and `new_key` does not exist. `current` of the result is `new_key`. Raises StoreLeaseLost if the lease does
        not exist."""

    def grant(self, ttl_seconds: int) -> int:
        """Make a lease and return its id. etcd raises a very short time to live to its own minimum."""

    def keep_alive(self, lease_id: int) -> int:
        """Start the lease's time anew and return it in seconds. Raises StoreLeaseLost if it is gone."""

    def time_to_live(self, lease_id: int) -> int:
        """Seconds the lease has left, -1 if it is gone."""

    def revoke(self, lease_id: int) -> None:
        """End the lease and delete the keys that hang on it. A lease that is gone already is no error."""

    def watch(self, key_or_prefix: str, from_revision: int, stop: threading.Event) -> Iterator[WatchBatch]:
        """What happens to a key, or (text ending in "/") to all keys below a prefix, from that revision on.

        from_revision may lie in the past (its events come first) or in the future; at least 1 (ValueError).
        One-shot: returns within a second of `stop` being set, else raises StoreCompacted when the revision
        is gone, StoreUnavailable when the connection is lost or the server falls silent for about 10
        seconds. It never resumes by itself: list again and watch from there.
        """

    def close(self) -> None:
        """Give the connection back. From any thread, any number of times: a call or watch that is under way
        in the owner's thread raises StoreUnavailable, and so does every later one."""


def open_store(options: StoreOptions) -> Store:
    """A store on the etcd cluster of `options`. Connects at the first call, not here.

    Raises StoreLibraryMissing (naming the packages), StoreError when an endpoint cannot be read.
    """
    # Here and not above: this is where the library must exist, and _etcd needs the values of this file.
    from ansible_collections.weft.flannel.plugins.module_utils import _etcd

    return _etcd.EtcdStore(options, _etcd.load_library())
