# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/healthz, /readyz and /metrics over TCP (spec 8.1), and the same with /status over a Unix socket for root.

Each answer is a function of one report. The server is the standard library's; what is ours are its limits: a number
of connections, a time for each, and that no answer repeats what the client sent.
"""

from __future__ import annotations

import errno
import functools
import io
import json
import logging
import socket
import socketserver
import stat
import threading
import time
from dataclasses import asdict, dataclass
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Mapping, Optional, Tuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

from flanneld.outputs.metrics import MetricsLibraryMissing, render_metrics
from flanneld.outputs.one_line import escape
from flanneld.outputs.report import Report

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

log = logging.getLogger(__name__)

Ask = Callable[[], Optional[Report]]
"""Asks the agent's loop how it is; None: it does not answer within a few seconds."""

REQUEST_SECONDS = 5.0
"""A request has to be here within this time, and an answer be taken within it."""
CONNECTIONS = 16
"""How many are served at one time, for each server; others are closed at once."""

_TEXT = "text/plain; charset=utf-8"
_STUCK = "flanneld does not answer: its loop is busy or stuck; look into its log, then restart it\n"


class ListenError(FlannelError):
    """An address or a socket that we should answer on cannot be had."""


@dataclass(frozen=True)
class Answer:
    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT


Page = Callable[[Report], Answer]


def show_health(report: Report) -> Answer:
    """That there is a report is all that is asked."""
    return _answer(HTTPStatus.OK, "flanneld is running\n")


def show_readiness(report: Report) -> Answer:
    if report.ready:
        return _answer(HTTPStatus.OK, "flanneld is ready\n")
    lines = ["flanneld is not ready yet", *(escape(" ".join(reason.split())) for reason in report.not_ready)]
    return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"{line}\n" for line in lines))


def show_metrics(report: Report) -> Answer:
    try:
        body, content_type = render_metrics(report)
    except MetricsLibraryMissing as error:
        return _answer(HTTPStatus.NOT_IMPLEMENTED, f"{error}\n")
    return Answer(HTTPStatus.OK, body, content_type)


def show_status(report: Report) -> Answer:
    """The fields of Report as JSON (docs/status.md)."""
    return Answer(HTTPStatus.OK, json.dumps(asdict(report)).encode("ascii"), "application/json")


PUBLIC: Mapping[str, Page] = {
    "/healthz": show_health,
    "/readyz": show_readiness,
    "/metrics": show_metrics,
}
LOCAL: Mapping[str, Page] = {**PUBLIC, "/status": show_status}


def serve_tcp(ip: str, port: int, ask: Ask) -> Server:
    """Serve PUBLIC until closed; port 0: any free one. Raises ListenError."""
    where = f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}"
    try:
        address = ip_address(ip)
    except ValueError as error:  # a name would be asked for in the DNS, which may be away
        raise ListenError(where, f"{ip!r} is no IP address", "correct --healthz-ip") from error
    kind = Server if address.version == 4 else _Tcp6Server
    try:
        return kind((ip, port), functools.partial(respond, ask, PUBLIC))
    except OSError as error:
        steps = {
            errno.EADDRINUSE: f"see what listens there (ss -ltnp sport = :{port}), or set another --healthz-port",
            errno.EADDRNOTAVAIL: "set --healthz-ip to an address of this host",
            errno.EACCES: "set --healthz-port to 1024 or more",
        }
        step = steps.get(error.errno or 0, "correct --healthz-ip and --healthz-port")
        raise ListenError(where, f"cannot listen: {error.strerror or error}", step) from error


def serve_unix(path: str, ask: Ask) -> Server:
    """Serve LOCAL on a socket for root until closed. The caller holds the lock of the instance: a socket that is
    there already was left by an earlier life, and is replaced. Raises ListenError."""
    try:
        Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_socket(path)
        return _UnixServer(path, functools.partial(respond, ask, LOCAL))
    except OSError as error:
        cause = f"cannot listen: {error.strerror or error}"
        raise ListenError(f"socket {path}", cause, "check the directory and what is in it") from error


def respond(
    ask: Ask, pages: Mapping[str, Page], environ: Dict[str, Any], start_response: StartResponse
) -> Iterable[bytes]:
    """The WSGI application (PEP 3333)."""
    method = environ["REQUEST_METHOD"]
    try:
        answer = _find_answer(ask, pages, method, environ["PATH_INFO"])
    except Exception:  # one broken page must not look like a dead agent
        log.exception("An HTTP request could not be answered")
        answer = _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "flanneld could not make this page; see its log\n")
    headers = [
        ("Server", "flanneld"),
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
    ]
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "GET, HEAD"))
    start_response(f"{answer.status.value} {answer.status.phrase}", headers)
    return [] if method == "HEAD" else [answer.body]


def _find_answer(ask: Ask, pages: Mapping[str, Page], method: str, path: str) -> Answer:
    page = pages.get(path)
    if page is None:
        return _answer(HTTPStatus.NOT_FOUND, f"there is {', '.join(pages)}\n")
    if method not in ("GET", "HEAD"):
        return _answer(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD\n")
    report = ask()
    return _answer(HTTPStatus.SERVICE_UNAVAILABLE, _STUCK) if report is None else page(report)


def _answer(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, text.encode("utf-8", "backslashreplace"))


def _remove_socket(path: str) -> None:
    try:
        if stat.S_ISSOCK(Path(path).lstat().st_mode):
            Path(path).unlink()
    except FileNotFoundError:
        pass


class _Hurried(io.RawIOBase):
    """What a connection sends, until its time is over: a byte now and then does not prolong it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + REQUEST_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            return self._connection.recv_into(buffer)
        finally:
            # for the answer: one time for all of it
            self._connection.settimeout(REQUEST_SECONDS)


class _Handler(WSGIRequestHandler):
    """One request per connection."""

    server_version = "flanneld"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Hurried(self.connection))

    def send_error(self, code: int, message: Optional[str] = None, explain: Optional[str] = None) -> None:
        """For requests that are no HTTP. The library's message repeats what was sent."""
        super().send_error(code)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: they come every few seconds, and say what the client likes."""


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """Answers in threads of its own from its construction until close(). Raises OSError."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_port = False
    request_queue_size = 128  # the library's 5 makes a burst of clients wait for a retransmission

    def __init__(self, address: Any, application: WSGIApplication) -> None:
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, _Handler)
        self.set_app(application)
        # nothing is polled for, so an idle agent sleeps
        self._thread = threading.Thread(target=self.serve_forever, args=(3600.0,), name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def close(self) -> None:
        """Stop listening; requests that are being answered end by themselves."""
        # wakes serve_forever, which shutdown() then waits for
        self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self.server_close()

    def server_bind(self) -> None:
        # not HTTPServer's, which asks the DNS for our name: it may be away
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "flanneld", 0
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was too slow; our own errors are told by respond()."""
        log.debug("An HTTP connection ended early", exc_info=True)


class _Tcp6Server(Server):
    address_family = socket.AF_INET6


class _UnixServer(Server):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        super().server_bind()
        # nobody can connect before server_activate() listens
        Path(self._path).chmod(0o600)

    def get_request(self) -> Tuple[Any, Any]:
        connection, _nothing = super().get_request()
        return connection, ("local", 0)

    def close(self) -> None:
        path = self._path
        super().close()
        _remove_socket(path)

    @property
    def _path(self) -> str:
        return str(self.socket.getsockname())
