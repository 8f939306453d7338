# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engineer on call reads: the text for each kind of state, and the exit codes scripts rely on."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Iterator

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._agent import AgentError
from flanneld.commands import status
from flanneld.commands.asking import parse_report
from flanneld.commands.status_text import format_seconds, format_status
from flanneld.commands.traces import find_next_step
from flanneld.instance import Instance
from flanneld.outputs.report import (
    DropReport,
    ErrorReport,
    InterfaceReport,
    LeaseReport,
    PeerReport,
    Report,
    StoreReport,
    TableReport,
    UdpReport,
)

GOLDEN = Path(__file__).parent / "golden"
STORE = StoreReport(
    endpoints=("https://192.0.2.1:2379", "https://192.0.2.2:2379"),
    prefix="/coreos.com/network",
    reachable=True,
    since=187000.0,
    revision=4711,
    from_disk=False,
    watch_breaks=0,
    last_error="",
)
WELL = Report(
    version="0.2.0",
    instance="default",
    pid=812,
    uptime=187200.5,
    phase="serving",
    waiting_for="",
    ready=True,
    not_ready=(),
    pending=(),
    node_id="3f2a" * 8,
    host="h1",
    backend="vxlan",
    mtu=1450,
    firewall="iptables",
    subnet_file="/run/flannel/subnet.env",
    lease=LeaseReport("10.5.72.0-24", "10.5.72.0/24", "", False, 80100.0, 86400.0, True, 6),
    interface=InterfaceReport("eth0", 1500, "192.0.2.1", "", "192.0.2.1", "", "it has the default route"),
    store=STORE,
    peers=(
        PeerReport("10.5.3.0-24", "192.0.2.3", "", "peer", "", "ok"),
        PeerReport("10.5.40.0-24", "192.0.2.40", "", "peer", "", "ok"),
    ),
    unreadable=(),
    tables=(
        TableReport("link", 1, 0, 0, 0),
        TableReport("route", 2, 0, 0, 3),
        TableReport("nftables", 0, 0, 0, 0),
    ),
    udp=None,
    udp_dropped=(),
    last_errors=(),
)
ILL = replace(
    WELL,
    ready=False,
    not_ready=(
        "link flannel.1: device flannel.9 uses VNI 1 on the same UDP port; remove it (ip link del flannel.9)",
    ),
    pending=("docker0 has 10.5.9.1, which is not in our subnet 10.5.72.0-24: restart Docker",),
    lease=LeaseReport("10.5.72.0-24", "10.5.72.0/24", "", False, 1500.0, 86400.0, False, 6),
    store=replace(
        STORE, reachable=False, since=3700.0, from_disk=True, watch_breaks=2, last_error="no answer"
    ),
    peers=(
        *WELL.peers,
        PeerReport("10.5.7.0-24", "192.0.2.7", "", "refused", "its subnet overlaps 10.5.3.0-24", "ok"),
        PeerReport("10.5.8.0-24", "192.0.2.8", "", "kept", "gone from the store", "ok"),
        PeerReport("10.5.9.0-24", "192.0.2.9", "", "peer", "", "route 10.5.9.0/24: network is unreachable"),
        *(PeerReport(f"10.5.{n}.0-24", f"192.0.2.{n}", "", "refused", "x", "ok") for n in range(100, 110)),
    ),
    unreadable=("subnets/junk",),
    tables=(TableReport("link", 1, 1, 1, 0), TableReport("route", 2, 0, 0, 12)),
    last_errors=(ErrorReport(75.0, 4, "Error renewing lease: no answer"), ErrorReport(4.2, 1, "once")),
)
STARTING = replace(
    WELL,
    ready=False,
    phase="starting",
    waiting_for="fetch network config: the key does not exist",
    not_ready=("waiting to fetch network config",),
    backend="",
    mtu=0,
    firewall="",
    node_id="",
    lease=None,
    interface=None,
    peers=(),
    tables=(),
)
RESERVED = replace(
    WELL, lease=LeaseReport("10.5.72.0-24", "10.5.72.0/24", "fd05:0:0:48::/64", True, None, None, True, 0)
)

UDP = replace(
    WELL,
    backend="udp",
    udp=UdpReport(4711, 5000000, 17, 800, "user", "asked for", 0, False, "", False, ""),
    udp_dropped=(
        DropReport("out", "no_peer", 12),
        DropReport("out", "ttl", 0),
        DropReport("in", "overrun", 3),
    ),
)


UDP_KERNEL = replace(
    UDP,
    udp=UdpReport(
        4711, 5000000, 17, 800, "kernel", "asked for", 12, True, "a trial went well", False, "not asked for"
    ),
)
UDP_SINGLY = replace(
    UDP,
    udp=UdpReport(
        4711, 5000000, 17, 800, "kernel", "a trial went well", 0, False, "asked for", True, "asked for"
    ),
)
UDP_NO_CARD = replace(
    UDP,
    udp=UdpReport(
        4711, 5000000, 17, 800, "kernel", "asked for", 12, True, "asked for", False, "eth0 is no network card"
    ),
)


@pytest.mark.parametrize(
    ("name", "report", "all_peers"),
    [
        ("status-ready", WELL, False),
        ("status-ready-peers", WELL, True),
        ("status-not-ready", ILL, False),
        ("status-starting", STARTING, False),
        ("status-reservation", RESERVED, False),
        ("status-udp", UDP, False),
        ("status-udp-kernel", UDP_KERNEL, False),
        ("status-udp-singly", UDP_SINGLY, False),
        ("status-udp-no-card", UDP_NO_CARD, False),
    ],
)
def test_the_text(name: str, report: Report, all_peers: bool) -> None:
    """To accept a changed text: run with ACCEPT_GOLDEN=1, and read the difference."""
    golden = GOLDEN / f"{name}.txt"
    text = format_status(report, all_peers)
    if os.environ.get("ACCEPT_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_what_stands_in_etcd_is_neither_a_line_nor_a_command_to_the_terminal() -> None:
    odd = "vxlan\n\x1b[2Jready\ud800"
    peer = replace(ILL.peers[0], state="refused", reason=odd)
    text = format_status(replace(ILL, peers=(peer,), unreadable=(odd,), not_ready=(odd,)), True)
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.count("vxlan\\n\\x1b[2Jready\\ud800") == 3


def test_it_fits_a_screen() -> None:
    assert len(format_status(ILL, False).splitlines()) <= 45


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.9, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (86400, "1 d"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_the_report_survives_json() -> None:
    assert parse_report(json.dumps(asdict(ILL))) == ILL
    assert parse_report(json.dumps(asdict(STARTING))) == STARTING


def test_a_newer_agent_may_say_more_but_not_less() -> None:
    document = asdict(WELL)
    assert parse_report(json.dumps({**document, "new": 1})) == WELL
    del document["mtu"]
    with pytest.raises(AgentError, match=r"another version.*mtu"):
        parse_report(json.dumps(document))


class _Answer(http.server.BaseHTTPRequestHandler):
    text = ""

    def do_GET(self) -> None:
        body = self.text.encode() if self.path == "/status" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def socket_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the agent of this test answers."""
    path = tmp_path / "flanneld.sock"
    monkeypatch.setattr(Instance, "socket", str(path))
    return path


@pytest.fixture
def serve(socket_path: Path) -> Iterator[object]:
    servers = []

    def start(text: str) -> None:
        handler = type("Handler", (_Answer,), {"text": text})
        server = socketserver.ThreadingUnixStreamServer(str(socket_path), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("report", "code"), [(WELL, 0), (ILL, 1), (STARTING, 1)])
def test_exit_codes_of_a_running_agent(serve, capsys, report, code) -> None:
    serve(json.dumps(asdict(report)))
    assert status.run([], {}) == code
    assert capsys.readouterr().out == format_status(report, False)
    assert status.run(["--json"], {}) == code
    assert parse_report(capsys.readouterr().out) == report


def test_peers_are_listed_when_asked_for(serve, capsys) -> None:
    serve(json.dumps(asdict(WELL)))
    status.run(["--peers"], {})
    assert "10.5.40.0-24" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "no json", "[1]", "{}"])
def test_an_agent_that_does_not_make_sense_is_exit_code_4(serve, capsys, text) -> None:
    serve(text)
    assert status.run([], {}) == 4
    assert "flanneld status:" in capsys.readouterr().err


def test_no_agent_is_exit_code_3_with_what_is_left_and_the_next_step(socket_path, tmp_path, capsys) -> None:
    subnet_env = tmp_path / "subnet.env"
    subnet_env.write_text("FLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\n")
    flags = [f"--subnet-file={subnet_env}", f"--state-dir={tmp_path}/state"]
    assert status.run(flags, {}) == 3
    told = capsys.readouterr().out
    assert told.startswith("NOT RUNNING")
    assert "FLANNEL_SUBNET=10.5.72.1/24 FLANNEL_MTU=1450" in told
    assert "last lease  none" in told
    assert "\nNext: " in told
    assert status.run([*flags, "--json"], {}) == 3
    assert capsys.readouterr().out == "null\n"


def test_a_socket_that_nobody_serves_any_more_is_no_agent(socket_path, capsys) -> None:
    socketserver.ThreadingUnixStreamServer(str(socket_path), _Answer).server_close()
    assert socket_path.exists()
    assert status.run([], {}) == 3


@pytest.mark.parametrize(
    ("properties", "step"),
    [
        ({}, "role weft.flannel.flannel"),
        ({"LoadState": "not-found"}, "role weft.flannel.flannel"),
        ({"LoadState": "masked"}, "systemctl unmask flanneld.service"),
        ({"LoadState": "loaded", "ActiveState": "activating"}, "journalctl -u flanneld.service"),
        ({"LoadState": "loaded", "ActiveState": "inactive"}, "systemctl start flanneld.service"),
    ],
)
def test_the_next_step(properties, step) -> None:
    assert step in find_next_step("flanneld.service", properties)
