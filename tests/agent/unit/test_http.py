# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages over real sockets, and clients that mean no good."""

from __future__ import annotations

import dataclasses
import http.client
import json
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Iterator, Optional

import pytest
from flanneld.outputs import http as module
from flanneld.outputs.http import CONNECTIONS, ListenError, Server, serve_tcp, serve_unix
from flanneld.outputs.report import Report

from tests.support.reports import make_report
from tests.support.waiting import wait_until

UNREADY = dataclasses.replace(
    make_report(), ready=False, not_ready=("lease lost; do this", "two\nlines; do that")
)


class Agent:
    """What is asked: its loop can be stuck, broken, or slow."""

    def __init__(self) -> None:
        self.report: Optional[Report] = make_report()
        self.broken = False
        self.asked = 0
        self.go = threading.Event()
        self.go.set()

    def ask(self) -> Optional[Report]:
        self.asked += 1
        self.go.wait(30)
        if self.broken:
            raise RuntimeError("a defect")
        return self.report


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("flanneld", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent()
    yield agent
    agent.go.set()


@pytest.fixture
def server(agent) -> Iterator[Server]:
    server = serve_tcp("127.0.0.1", 0, agent.ask)
    yield server
    server.close()


@pytest.fixture
def local(agent, tmp_path) -> Iterator[str]:
    path = str(tmp_path / "run" / "s")
    server = serve_unix(path, agent.ask)
    yield path
    server.close()


def fetch(where: Server | str, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPMessage]:
    connection = (
        UnixConnection(where)
        if isinstance(where, str)
        else http.client.HTTPConnection("127.0.0.1", where.port, timeout=30)
    )
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def send(server: Server, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(data)
        return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    connection.settimeout(30)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


# --- pages


def test_healthz_is_upstream_s_as_long_as_the_loop_answers(server, agent):
    assert fetch(server, "/healthz")[:2] == (200, "flanneld is running\n")
    agent.report = UNREADY
    assert fetch(server, "/healthz")[:2] == (200, "flanneld is running\n")
    agent.report = None
    status, body, _headers = fetch(server, "/healthz")
    assert status == 503
    assert body.startswith("flanneld does not answer: ")


def test_readyz_is_unready_again_when_it_is_not(server, agent):
    """Upstream's stays ready for ever."""
    assert fetch(server, "/readyz")[:2] == (200, "flanneld is ready\n")
    agent.report = UNREADY
    assert fetch(server, "/readyz")[:2] == (
        503,
        "flanneld is not ready yet\nlease lost; do this\ntwo lines; do that\n",
    )
    agent.report = None
    assert fetch(server, "/readyz")[0] == 503
    agent.report = make_report()
    assert fetch(server, "/readyz")[0] == 200


def test_metrics_are_those_of_the_report(server, agent):
    status, body, headers = fetch(server, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert "\nflannel_lease_renewals_total 17.0\n" in body
    assert agent.asked == 1
    agent.report = None
    assert fetch(server, "/metrics")[0] == 503


def test_metrics_without_the_library_name_the_package(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    status, body, _headers = fetch(server, "/metrics")
    assert status == 501
    assert "python3-prometheus-client" in body
    assert fetch(server, "/healthz")[0] == 200


def test_status_is_for_root_on_this_host(server, local):
    status, body, headers = fetch(local, "/status")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["version"] == make_report().version
    assert fetch(server, "/status")[0] == 404
    for path in ("/healthz", "/readyz", "/metrics"):
        assert fetch(local, path)[0] == 200


def test_a_query_is_no_part_of_the_page_s_name(server):
    assert fetch(server, "/healthz?verbose=1")[0] == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/status", "/none"])
def test_head_is_get_without_the_body(local, path):
    got, asked = fetch(local, path), fetch(local, path, "HEAD")
    assert asked[0] == got[0]
    assert asked[1] == ""
    assert asked[2]["Content-Type"] == got[2]["Content-Type"]
    assert int(asked[2]["Content-Length"]) > 0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(local)
        connection.sendall(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
        assert read_to_end(connection).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"])
def test_only_reading_is_allowed(server, agent, method):
    status, _body, headers = fetch(server, "/healthz", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert agent.asked == 0


def test_an_unknown_page_is_told_what_there_is(server, agent):
    assert fetch(server, "/")[:2] == (404, "there is /healthz, /readyz, /metrics\n")
    assert agent.asked == 0


def test_a_defect_is_an_answer_and_a_line_in_the_log(server, agent, caplog):
    agent.broken = True
    status, body, _headers = fetch(server, "/healthz")
    assert status == 500
    assert "a defect" not in body
    assert "a defect" in caplog.text


# --- clients


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"MARKER\r\n\r\n",
        b"GET /healthz MARKER/9.9\r\n\r\n",
        b"GET /MARKER HTTP/1.1\r\nHost: MARKER\r\nX-MARKER: MARKER\r\n\r\n",
        b"MARKER /healthz HTTP/1.1\r\n\r\n",
        b"GET /" + b"MARKER" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"MARKER: 1\r\n" * 500 + b"\r\n",
        b"\x16\x03\x01\x02\x00MARKER\r\n\r\n",
        b"\r\n",
        b"",
    ],
)
def test_nothing_that_was_sent_comes_back(server, request_bytes, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 1.0)
    assert b"MARKER" not in send(server, request_bytes)
    assert fetch(server, "/healthz")[0] == 200


def test_the_answer_names_no_versions(server):
    assert fetch(server, "/healthz")[2]["Server"] == "flanneld"


def test_a_client_that_says_nothing_is_let_go(server, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        assert connection.recv(1) == b""


def test_a_byte_now_and_then_does_not_hold_a_place(server, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.settimeout(0.1)

        def is_let_go() -> bool:
            try:
                connection.sendall(b"x")
                return connection.recv(1) == b""
            except socket.timeout:  # 3.9: no TimeoutError yet
                return False
            except ConnectionError:
                return True

        wait_until(is_let_go, "the server ends the connection")


def test_others_are_served_beside_a_client_that_says_nothing(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30):
        assert fetch(server, "/healthz")[0] == 200


def test_connections_are_limited_and_places_come_back(server, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_SECONDS", 2.0)
    before = threading.active_count()
    silent = [
        socket.create_connection(("127.0.0.1", server.port), timeout=30) for _number in range(3 * CONNECTIONS)
    ]
    try:
        # the last ones found no place; those that did are let go in their turn
        assert silent[-1].recv(1) == b""
        assert threading.active_count() <= before + CONNECTIONS

        def is_served() -> bool:
            try:
                return fetch(server, "/healthz")[0] == 200
            except (ConnectionError, http.client.HTTPException):
                return False

        wait_until(is_served, "a place is free again")
        # one of an earlier test may have been about to end when we counted
        wait_until(lambda: threading.active_count() <= before, "the threads have ended")
    finally:
        for connection in silent:
            connection.close()


def test_a_client_that_goes_away_hurts_nobody(server, agent, capfd):
    agent.go.clear()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    wait_until(lambda: agent.asked, "the request is there")
    connection.close()
    agent.go.set()
    assert fetch(server, "/healthz")[0] == 200
    assert capfd.readouterr().err == ""


# --- listening


def test_a_port_in_use_is_named(server, agent):
    with pytest.raises(ListenError) as caught:
        serve_tcp("127.0.0.1", server.port, agent.ask)
    assert caught.value.subject == f"http://127.0.0.1:{server.port}"
    assert "Address already in use" in caught.value.cause
    assert "--healthz-port" in caught.value.next_step


def test_an_address_that_is_not_ours_is_named(agent):
    with pytest.raises(ListenError, match=r"http://192\.0\.2\.1:8081: .*--healthz-ip"):
        serve_tcp("192.0.2.1", 8081, agent.ask)


@pytest.mark.parametrize("ip", ["300.1.1.1", "localhost", "", "::g"])
def test_what_is_no_address_is_named(agent, ip):
    with pytest.raises(ListenError, match="is no IP address; correct --healthz-ip"):
        serve_tcp(ip, 8081, agent.ask)


def test_ipv6(agent):
    server = serve_tcp("::1", 0, agent.ask)
    try:
        connection = http.client.HTTPConnection("::1", server.port, timeout=30)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        server.close()


def test_the_port_is_free_after_close_and_can_be_had_again(agent):
    server = serve_tcp("127.0.0.1", 0, agent.ask)
    port = server.port
    assert fetch(server, "/healthz")[0] == 200
    threads = threading.active_count()
    server.close()
    wait_until(lambda: threading.active_count() < threads, "its thread has ended")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30)
    serve_tcp("127.0.0.1", port, agent.ask).close()


def test_the_socket_is_root_s_alone_and_gone_after_close(agent, tmp_path):
    path = tmp_path / "s"
    server = serve_unix(str(path), agent.ask)
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    server.close()
    assert not path.exists()


def test_a_socket_of_an_agent_that_was_killed_is_replaced(agent, tmp_path):
    path = str(tmp_path / "s")
    source = "import socket, sys, os\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\nos._exit(9)"
    subprocess.run([sys.executable, "-c", source, path], check=False, timeout=60)
    assert Path(path).is_socket()
    server = serve_unix(path, agent.ask)
    try:
        assert fetch(path, "/readyz")[0] == 200
    finally:
        server.close()


def test_what_is_no_socket_is_left_alone_and_named(agent, tmp_path):
    path = tmp_path / "s"
    path.write_text("somebody's")
    with pytest.raises(ListenError, match=f"socket {path}: cannot listen"):
        serve_unix(str(path), agent.ask)
    assert path.read_text() == "somebody's"


def test_a_path_too_long_for_a_socket_is_named(agent, tmp_path):
    with pytest.raises(ListenError, match="too long"):
        serve_unix(str(tmp_path / ("x" * 110)), agent.ask)


def test_the_name_server_is_not_asked(agent, monkeypatch):
    def refuse(*arguments: object) -> str:
        raise AssertionError("the DNS was asked")

    for name in ("getfqdn", "gethostbyaddr", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    server = serve_tcp("127.0.0.1", 0, agent.ask)
    try:
        assert b"200 OK" in send(server, b"GET /healthz HTTP/1.0\r\n\r\n")
    finally:
        server.close()
