# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The store on etcd v3, through the stubs of the etcd3 library (0.12).

The library's own client and watcher are not used: they hide the response header, drop watches and spin while
etcd is away. docs/decisions/0002-etcd3-guards.md names each of its faults, our guard and what was measured.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Optional, Tuple, TypeVar

from ansible_collections.weft.flannel.plugins.module_utils._endpoint import (
    Endpoint,
    TLSFiles,
    TLSMaterial,
    find_connection_fault,
    parse_endpoint,
    read_tls_files,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    StoreAuthError,
    StoreCompacted,
    StoreError,
    StoreLeaseLost,
    StoreLibraryMissing,
    StoreTimeout,
    StoreUnavailable,
)
from ansible_collections.weft.flannel.plugins.module_utils._libraries import reach_environment
from ansible_collections.weft.flannel.plugins.module_utils._store import (
    KeyValue,
    Listing,
    StoreOptions,
    WatchBatch,
    WatchEvent,
    WriteResult,
)

Answer = TypeVar("Answer")

# A server that is frozen or behind a broken path is noticed 6 + 3 seconds after its last word. etcd closes
# connections that ping more often than every 5 s (its --grpc-keepalive-min-time). Which of the options
# matters depends on the gRPC version; together they hold from 1.51 to 1.85.
_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.http2.ping_timeout_ms", 3000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_time_between_pings_ms", 5000),
    # A list of many thousand leases is one answer; gRPC's limit is 4 MiB.
    ("grpc.max_receive_message_length", -1),
    # Two stores must not share a connection and its back-off.
    ("grpc.use_local_subchannel_pool", 1),
    # http_proxy in the environment of a play or a service is not meant for etcd.
    ("grpc.enable_http_proxy", 0),
)

# "Require leader" (spec 2.8): a member that has lost its cluster ends the watch instead of keeping it silent.
_REQUIRE_LEADER = (("hasleader", "true"),)

# How often a waiting watch looks at its stop event, in seconds.
_STOP_INTERVAL = 0.25

# Seconds for the connection that finds out why gRPC could not connect.
_FAULT_TIMEOUT = 2.0


# What etcd answers when the token of a login is no longer worth anything, or there is none yet because etcd
# knew no users when we logged in. "Revision": users or roles have changed since a JSON web token was signed.
_STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "user name is empty")

# The least that flanneld needs, for whoever makes the role. Both are prefixes (etcdctl's --prefix).
_LEAST_RIGHTS = (
    "read on PREFIX/config and readwrite below PREFIX/subnets/ and PREFIX/nodes/ (PREFIX: --etcd-prefix), "
    "and readwrite on PREFIX/config for whoever writes the network config"
)


@dataclass(frozen=True)
class Library:
    """The loaded library. grpc: the module; rpc: etcd3.etcdrpc, messages and stubs."""

    grpc: Any
    rpc: Any


def load_library() -> Library:
    """Import etcd3 and gRPC, set up for this process. Raises StoreLibraryMissing."""
    # The agent starts programs (iptables-restore) and Ansible forks: gRPC's fork handlers would stop its
    # threads for each of them. Its log goes to stderr and repeats what our errors say. Names are resolved as
    # by every other program of the host (nsswitch), not by gRPC's own resolver. All three may be overridden
    # from outside.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_DNS_RESOLVER", "native")
    try:
        try:
            return _import_library()
        except ImportError:
            if not reach_environment():
                raise
            return _import_library()
    except ImportError as error:
        raise StoreLibraryMissing(
            "Python library etcd3",
            f"cannot be imported ({error})",
            "install python3-etcd3 (Debian, Ubuntu), or etcd3 and grpcio with pip, for this Python; or have the role "
            "bring them, with flannel_python: venv",
        ) from error
    except TypeError as error:
        raise StoreLibraryMissing(
            "Python library etcd3",
            "protobuf was loaded earlier in this process, with an implementation that etcd3 cannot use",
            "set PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python in the environment",
        ) from error


def _import_library() -> Library:
    _choose_protobuf()
    # The library's generated code is old: newer protobufs warn about every line of it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import grpc

        with _empty_package("etcd3"):
            from etcd3 import etcdrpc
    return Library(grpc, etcdrpc)


@contextlib.contextmanager
def _empty_package(name: str) -> Iterator[None]:
    """Meanwhile a package has only what is imported from it by name. etcd3 would load its client, its locks and their
    libraries first, which nobody here uses, and which a start of flanneld would wait for. Raises ImportError."""
    if name in sys.modules:
        yield
        return
    found = importlib.util.find_spec(name)
    if found is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        yield
    finally:
        del sys.modules[name]


def _choose_protobuf() -> None:
    """etcd3's generated code fails on upb, protobuf's usual implementation since 4.21. Where upb is not
    installed (protobuf 3, and Debian's 3.21 with the C++ implementation) the choice stays with protobuf: it
    is faster."""
    try:
        upb = importlib.util.find_spec("google._upb._message")
    except ModuleNotFoundError:
        upb = None
    if upb is not None:
        os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"


class _Connection:
    """One gRPC channel to one endpoint, with the stubs on it."""

    def __init__(self, endpoint: Endpoint, tls: Optional[TLSMaterial], library: Library) -> None:
        grpc, rpc = library.grpc, library.rpc
        self.endpoint = endpoint
        self.tls = tls
        self.answered = False
        # What etcd gave us for user and password; None before the login, "" where etcd wants none.
        self.token: Optional[str] = None
        self.channel: Any
        if tls is None:
            self.channel = grpc.insecure_channel(endpoint.target, options=_CHANNEL_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(tls.roots, tls.key, tls.certificate)
            self.channel = grpc.secure_channel(endpoint.target, credentials, options=_CHANNEL_OPTIONS)
        self.auth: Any = rpc.AuthStub(self.channel)
        self.kv: Any = rpc.KVStub(self)
        self.lease: Any = rpc.LeaseStub(self)
        self.watch: Any = rpc.WatchStub(self)

    # The stubs take this connection for their channel: every call then carries the token of its time.

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._with_token(self.channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._with_token(self.channel.unary_stream(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._with_token(self.channel.stream_stream(*arguments, **options))

    def _with_token(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def send(request: Any, metadata: Tuple[Tuple[str, str], ...] = (), **options: Any) -> Any:
            token = (("token", self.token),) if self.token else ()
            return call(request, metadata=(*metadata, *token), **options)

        return send


class EtcdStore:
    """The Store protocol on an etcd cluster. See _store.Store for what each call does and raises."""

    def __init__(self, options: StoreOptions, library: Library) -> None:
        self._tls_files = TLSFiles(options.ca_cert, options.client_cert, options.client_key)
        scheme = "https" if self._tls_files.given else "http"
        self._endpoints = tuple(parse_endpoint(text, scheme) for text in options.endpoints)
        self._username, self._password = options.username, options.password
        if self._username:
            self._refuse_plaintext()
        self._timeout = options.timeout
        self._library = library
        self._next = 0
        self._connection: Optional[_Connection] = None
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()

    # keys

    def get(self, key: str) -> Optional[KeyValue]:
        request = self._library.rpc.RangeRequest(key=_encode(key))
        answer = self._call(f"etcd key {key}", lambda c: c.kv.Range(request, timeout=self._timeout))
        return _first_item(answer.kvs)

    def list(self, key_or_prefix: str) -> Listing:
        request = self._library.rpc.RangeRequest(key=_encode(key_or_prefix), range_end=_end_of(key_or_prefix))
        subject = f"etcd keys {key_or_prefix}"
        answer = self._call(subject, lambda c: c.kv.Range(request, timeout=self._timeout))
        items = tuple(_item(kv) for kv in answer.kvs)
        return Listing(items, answer.header.revision, answer.header.cluster_id)

    def create(self, key: str, value: bytes, lease_id: int = 0) -> WriteResult:
        return self.replace(key, value, 0, lease_id)

    def replace(self, key: str, value: bytes, expected_mod_revision: int, lease_id: int = 0) -> WriteResult:
        rpc = self._library.rpc
        put = rpc.PutRequest(key=_encode(key), value=value, lease=lease_id)

        def holds(current: Optional[KeyValue]) -> bool:
            return current is not None and current.value == value and current.lease_id == lease_id

        return self._write(key, expected_mod_revision, rpc.RequestOp(request_put=put), holds)

    def delete(self, key: str, expected_mod_revision: int) -> WriteResult:
        rpc = self._library.rpc
        removal = rpc.DeleteRangeRequest(key=_encode(key))
        return self._write(
            key,
            expected_mod_revision,
            rpc.RequestOp(request_delete_range=removal),
            lambda current: current is None,
        )

    def _write(
        self,
        key: str,
        expected_mod_revision: int,
        operation: Any,
        holds: Callable[[Optional[KeyValue]], bool],
    ) -> WriteResult:
        rpc = self._library.rpc
        request = rpc.TxnRequest(
            compare=[self._last_changed_at(key, expected_mod_revision)],
            success=[operation],
            failure=[self._look_at(key)],
        )
        answer, repeated = self._commit(key, request)
        if answer.succeeded:
            return WriteResult(True, answer.header.revision, None)
        current = _first_item(answer.responses[0].response_range.kvs)
        if repeated and holds(current):
            # An earlier attempt was carried out and its answer was lost on the way.
            return WriteResult(True, current.mod_revision if current else answer.header.revision, None)
        return WriteResult(False, answer.header.revision, current)

    def move(
        self, key: str, expected_mod_revision: int, new_key: str, value: bytes, lease_id: int = 0
    ) -> WriteResult:
        rpc = self._library.rpc
        put = rpc.PutRequest(key=_encode(new_key), value=value, lease=lease_id)
        removal = rpc.DeleteRangeRequest(key=_encode(key))
        request = rpc.TxnRequest(
            compare=[self._last_changed_at(key, expected_mod_revision), self._last_changed_at(new_key, 0)],
            success=[rpc.RequestOp(request_put=put), rpc.RequestOp(request_delete_range=removal)],
            failure=[self._look_at(new_key), self._look_at(key)],
        )
        answer, repeated = self._commit(key, request)
        if answer.succeeded:
            return WriteResult(True, answer.header.revision, None)
        current, old = (_first_item(response.response_range.kvs) for response in answer.responses)
        arrived = current is not None and (current.value, current.lease_id) == (value, lease_id)
        if repeated and old is None and current is not None and arrived:
            return WriteResult(True, current.mod_revision, None)
        return WriteResult(False, answer.header.revision, current)

    def _last_changed_at(self, key: str, mod_revision: int) -> Any:
        compare = self._library.rpc.Compare
        return compare(key=_encode(key), target=compare.MOD, result=compare.EQUAL, mod_revision=mod_revision)

    def _look_at(self, key: str) -> Any:
        rpc = self._library.rpc
        return rpc.RequestOp(request_range=rpc.RangeRequest(key=_encode(key)))

    def _commit(self, key: str, request: Any) -> Tuple[Any, bool]:
        """etcd's answer to a transaction, and whether it was sent more than once."""
        attempts = 0

        def send(connection: _Connection) -> Any:
            nonlocal attempts
            attempts += 1
            return connection.kv.Txn(request, timeout=self._timeout)

        answer = self._call(f"etcd key {key}", send)
        return answer, attempts > 1

    # leases

    def grant(self, ttl_seconds: int) -> int:
        request = self._library.rpc.LeaseGrantRequest(TTL=ttl_seconds)
        answer = self._call("etcd lease", lambda c: c.lease.LeaseGrant(request, timeout=self._timeout))
        return int(answer.ID)

    def keep_alive(self, lease_id: int) -> int:
        request = self._library.rpc.LeaseKeepAliveRequest(ID=lease_id)

        def send(connection: _Connection) -> Any:
            answers = connection.lease.LeaseKeepAlive(iter((request,)), timeout=self._timeout)
            try:
                return self._take_first(answers, connection)
            finally:
                answers.cancel()

        answer = self._call(_lease_name(lease_id), send)
        # etcd answers for a lease that is gone with a time to live of 0, not with an error.
        if lease_id != answer.ID or answer.TTL <= 0:
            raise _lease_lost(_lease_name(lease_id))
        return int(answer.TTL)

    def time_to_live(self, lease_id: int) -> int:
        request = self._library.rpc.LeaseTimeToLiveRequest(ID=lease_id)
        answer = self._call(
            _lease_name(lease_id), lambda c: c.lease.LeaseTimeToLive(request, timeout=self._timeout)
        )
        return max(int(answer.TTL), -1)

    def revoke(self, lease_id: int) -> None:
        request = self._library.rpc.LeaseRevokeRequest(ID=lease_id)
        with contextlib.suppress(StoreLeaseLost):
            self._call(_lease_name(lease_id), lambda c: c.lease.LeaseRevoke(request, timeout=self._timeout))

    # watch

    def watch(self, key_or_prefix: str, from_revision: int, stop: threading.Event) -> Iterator[WatchBatch]:
        if from_revision < 1:
            raise ValueError(f"a watch starts at revision 1 or later, not {from_revision}")
        return self._watch(key_or_prefix, from_revision, stop)

    def _watch(self, key_or_prefix: str, from_revision: int, stop: threading.Event) -> Iterator[WatchBatch]:
        rpc = self._library.rpc
        subject = f"etcd watch of {key_or_prefix}"
        creation = rpc.WatchCreateRequest(
            key=_encode(key_or_prefix), range_end=_end_of(key_or_prefix), start_revision=from_revision
        )
        request = rpc.WatchRequest(create_request=creation)
        stream: Optional[_WatchStream] = None
        try:
            stream = self._call(subject, lambda connection: self._open_stream(connection, request, stop))
            for answer in self._read(stream, subject):
                if stop.is_set():
                    return
                if answer.canceled:
                    raise _explain_end(answer, subject, self._username)
                if answer.events:
                    yield _batch(answer.events)
        except _Stopped:
            return
        except StoreUnavailable:
            if not stop.is_set():
                raise
        finally:
            if stream is not None:
                stream.end()

    def _open_stream(self, connection: _Connection, request: Any, stop: threading.Event) -> _WatchStream:
        if self._username:
            # Where the token is stale, old etcds confirm a watch that never delivers; a read says so.
            watched = request.create_request
            probe = self._library.rpc.RangeRequest(
                key=watched.key, range_end=watched.range_end, count_only=True
            )
            connection.kv.Range(probe, timeout=self._timeout)
        stream = _WatchStream(connection, request, self._timeout, stop)
        try:
            stream.first = self._take_first(stream.stream, connection)
        except (self._library.grpc.RpcError, StoreUnavailable):
            stream.end()
            if stop.is_set():
                raise _Stopped from None
            if stream.overdue:
                raise self._explain_timeout(connection) from None
            raise
        return stream

    def _read(self, stream: _WatchStream, subject: str) -> Iterator[Any]:
        """The answers of an open watch. It ends with an error: etcd does not end a stream by itself."""
        try:
            yield from stream.answers()
        except self._library.grpc.RpcError as error:
            self._drop()
            raise self._explain_answer(error, subject) or self._explain_silence(
                error, stream.connection
            ) from None
        self._drop()
        raise self._explain_early_end(stream.connection)

    def _take_first(self, answers: Any, connection: _Connection) -> Any:
        """The first answer of a stream; for a watch it says that the watch exists."""
        for answer in answers:
            return answer
        raise self._explain_early_end(connection)

    # connection

    def close(self) -> None:
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.channel.close()

    def _call(self, subject: str, send: Callable[[_Connection], Answer]) -> Answer:
        """What etcd answers to `send`, tried at most once per endpoint, beginning with the connected one.

        A connection that was kept from an earlier call may have been closed by etcd in the meantime: its failure
        says nothing about any endpoint and does not count.
        """
        faults: List[StoreError] = []
        renewed = False
        while len(faults) < len(self._endpoints):
            connection = self._connect()
            try:
                if self._username and connection.token is None:
                    connection.token = self._log_in(connection)
                answer = send(connection)
            except self._library.grpc.RpcError as error:
                if self._username and not renewed and _is_stale(error):
                    # Tokens end after minutes without a call, and with a change of the user.
                    renewed, connection.token = True, None
                    continue
                refusal = self._explain_answer(error, subject)
                if refusal is not None:
                    connection.answered = True
                    raise refusal from None
                if not connection.answered or self._is_timeout(error):
                    faults.append(self._explain_silence(error, connection))
                self._drop()
            except StoreUnavailable as fault:
                faults.append(fault)
                self._drop()
            except ValueError:
                # What gRPC raises on a channel that close() has closed in the meantime.
                if not self._closed:
                    raise
                raise self._explain_closed() from None
            else:
                connection.answered = True
                return answer
        raise self._summarise(faults)

    def _connect(self) -> _Connection:
        if os.getpid() != self._process:
            raise StoreError(
                "etcd store",
                "it was opened before this process was forked",
                "open one after the fork: gRPC has threads",
            )
        with self._lock:
            if self._closed:
                raise self._explain_closed()
            if self._connection is None:
                endpoint = self._endpoints[self._next]
                # Read anew for every connection: certificates are renewed in place.
                tls = read_tls_files(self._tls_files) if endpoint.tls else None
                self._connection = _Connection(endpoint, tls, self._library)
            return self._connection

    def _log_in(self, connection: _Connection) -> str:
        """The token for our user and password; "" where etcd has authentication turned off, which it may turn on."""
        if self._password is None:
            raise AssertionError("nobody logs in without a password")
        request = self._library.rpc.AuthenticateRequest(name=self._username, password=self._password())
        try:
            return str(connection.auth.Authenticate(request, timeout=self._timeout).token)
        except self._library.grpc.RpcError as error:
            details = error.details() or ""
            if "authentication is not enabled" in details:
                return ""
            if "authentication failed" in details:
                raise StoreAuthError(
                    f"etcd user {self._username}",
                    "etcd knows no such user with this password",
                    "correct the user name or the password (etcdctl user list, etcdctl user passwd)",
                ) from None
            raise

    def _refuse_plaintext(self) -> None:
        plain = [str(endpoint) for endpoint in self._endpoints if not endpoint.tls]
        if plain:
            raise StoreError(
                f"etcd user {self._username}",
                f"its password would go in clear text to {', '.join(plain)}",
                "use https:// endpoints, and the CA file of etcd, with a user name; or give none",
            )

    def _drop(self) -> None:
        """Give up the connection; the next one goes to the next endpoint. A channel that has failed is never
        kept: it would go on connecting in the background for as long as etcd is away."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._next = (self._next + 1) % len(self._endpoints)
        if connection is not None:
            connection.channel.close()

    # errors

    def _explain_answer(self, error: Any, subject: str) -> Optional[StoreError]:
        """What etcd answered instead of doing as asked; None when the error is one of the connection."""
        codes = self._library.grpc.StatusCode
        code, details = error.code(), (error.details() or "").replace("etcdserver: ", "")
        if code == codes.NOT_FOUND and "lease" in details:
            return _lease_lost(subject)
        if code in (codes.UNAUTHENTICATED, codes.PERMISSION_DENIED) or "user name is empty" in details:
            return _refuse(subject, details, self._username)
        if code == codes.RESOURCE_EXHAUSTED:  # no space left, or too many requests: it passes, like an outage
            return StoreUnavailable(
                subject,
                details,
                "see `etcdctl alarm list` and `etcdctl endpoint status`; free space in etcd, then disarm",
            )
        if code in (
            codes.INVALID_ARGUMENT,
            codes.FAILED_PRECONDITION,
            codes.OUT_OF_RANGE,
            codes.UNIMPLEMENTED,
        ):
            return StoreError(
                subject, f"etcd refuses the request ({details})", "check that it is etcd 3.3 or later"
            )
        return None

    def _is_timeout(self, error: Any) -> bool:
        return bool(error.code() == self._library.grpc.StatusCode.DEADLINE_EXCEEDED)

    def _explain_silence(self, error: Any, connection: _Connection) -> StoreError:
        """Why the connection failed."""
        if self._closed:
            return self._explain_closed()
        subject = f"etcd at {connection.endpoint}"
        if self._is_timeout(error):
            return self._explain_timeout(connection)
        if not connection.answered:
            fault = find_connection_fault(
                connection.endpoint, connection.tls, min(self._timeout, _FAULT_TIMEOUT)
            )
            if fault is not None:
                return fault
        return StoreUnavailable(
            subject,
            error.details() or "the connection failed",
            "check that etcd is healthy (etcdctl endpoint health)",
        )

    def _explain_timeout(self, connection: _Connection) -> StoreTimeout:
        return StoreTimeout(
            f"etcd at {connection.endpoint}",
            f"no answer within {self._timeout:g} s",
            "check that etcd is healthy (etcdctl endpoint health) and can be reached from this host",
        )

    def _explain_early_end(self, connection: _Connection) -> StoreUnavailable:
        return StoreUnavailable(
            f"etcd at {connection.endpoint}",
            "it ended the stream without an error",
            "check that nothing between this host and etcd speaks for it",
        )

    def _explain_closed(self) -> StoreUnavailable:
        return StoreUnavailable("etcd store", "it was closed", "open another one")

    def _summarise(self, faults: List[StoreError]) -> StoreError:
        """One error for all endpoints: of their common kind, or StoreUnavailable when they failed variously."""
        if len(faults) == 1:
            return faults[0]
        kinds = {type(fault) for fault in faults}
        kind = kinds.pop() if len(kinds) == 1 else StoreUnavailable
        endpoints = ", ".join(str(endpoint) for endpoint in self._endpoints)
        causes = ", ".join(f"{fault.subject.replace('etcd at ', '')}: {fault.cause}" for fault in faults)
        steps = " or ".join(dict.fromkeys(fault.next_step for fault in faults))
        return kind(f"etcd at {endpoints}", f"no endpoint can be used ({causes})", steps)


class _Stopped(Exception):
    """The stop event was set while a watch was being made."""


class _WatchStream:
    """One open watch, and the thread that ends it on its stop event or if etcd does not confirm it in time.

    gRPC cannot wait for an answer and for an event at the same time, and a deadline would end a healthy
    watch too.
    """

    def __init__(self, connection: _Connection, request: Any, timeout: float, stop: threading.Event) -> None:
        self.connection = connection
        self.overdue = False
        self.first: Any = None
        self._timeout = timeout
        self._stop = stop
        self._ended = threading.Event()
        self.stream: Any = connection.watch.Watch(self._send(request), metadata=_REQUIRE_LEADER)
        self._guard = threading.Thread(target=self._stand_guard, name="etcd-watch-guard", daemon=True)
        self._guard.start()

    def _send(self, request: Any) -> Iterator[Any]:
        yield request
        # To etcd's grpc-proxy the end of the requests means that the client is leaving.
        self._ended.wait()

    def _stand_guard(self) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._ended.wait(_STOP_INTERVAL):
            self.overdue = self.first is None and time.monotonic() > deadline
            if self.overdue or self._stop.is_set():
                self.stream.cancel()
                return

    def answers(self) -> Iterator[Any]:
        yield self.first
        yield from self.stream

    def end(self) -> None:
        self._ended.set()
        self.stream.cancel()
        self._guard.join(timeout=1.0)


def end_of_range(key_or_prefix: str) -> str:
    """Where a range ends: behind all keys with a prefix ("/" is followed by "0"); empty for a single key."""
    return key_or_prefix[:-1] + "0" if key_or_prefix.endswith("/") else ""


def _end_of(key_or_prefix: str) -> bytes:
    return _encode(end_of_range(key_or_prefix))


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _item(kv: Any) -> KeyValue:
    return KeyValue(
        key=kv.key.decode("utf-8", "surrogateescape"),
        value=kv.value,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        lease_id=kv.lease,
    )


def _first_item(kvs: Any) -> Optional[KeyValue]:
    return _item(kvs[0]) if kvs else None


def _batch(events: Any) -> WatchBatch:
    found = tuple(WatchEvent(event.type == event.DELETE, _item(event.kv)) for event in events)
    return WatchBatch(found, found[-1].item.mod_revision)


def _lease_name(lease_id: int) -> str:
    return f"etcd lease {lease_id:x}"


def _lease_lost(subject: str) -> StoreLeaseLost:
    return StoreLeaseLost(
        subject, "the etcd lease does not exist any more", "grant another and write the key again"
    )


def _is_stale(error: Any) -> bool:
    return any(text in (error.details() or "") for text in _STALE_TOKEN)


def _refuse(subject: str, details: str, username: str) -> StoreAuthError:
    user = f"user {username}" if username else "the user of this client certificate"
    if "user name is empty" in details and not username:
        return StoreAuthError(
            subject,
            f"etcd wants to know who asks ({details})",
            "give a user name and its password, or a client certificate with a user's name",
        )
    return StoreAuthError(
        subject,
        f"etcd refuses access to {user} ({details})",
        f"give {user} a role with at least {_LEAST_RIGHTS}",
    )


def _explain_end(answer: Any, subject: str, username: str) -> StoreError:
    """Why etcd cancelled a watch."""
    if answer.compact_revision:
        return StoreCompacted(
            subject,
            f"etcd has compacted its history up to revision {answer.compact_revision}",
            "list the keys and watch from there",
            answer.compact_revision,
        )
    for refusal in ("permission denied", "user name is empty"):
        if refusal in answer.cancel_reason:
            return _refuse(subject, refusal, username)
    return StoreUnavailable(
        subject,
        f"etcd cancelled it ({answer.cancel_reason or 'no reason given'})",
        "list the keys and watch again",
    )
