# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd hears, over a real socket, also when it does not read it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import flanneld
import pytest
from flanneld.outputs import notify as module
from flanneld.outputs.notify import Notifier


class Systemd:
    """The other end."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(15)

    def read(self) -> str:
        return self._socket.recv(8192).decode()

    def read_what_is_there(self) -> list[str]:
        self._socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.read())
        except BlockingIOError:
            return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    end = Systemd(address)
    yield end
    end.close()


def fill(notifier: Notifier) -> int:
    """Notify until the socket takes no more; returns how many datagrams it took."""
    for number in range(100_000):
        notifier.notify(f"STATUS={number}")
        if notifier.ping_watchdog() is not None:
            return number
    raise AssertionError("the socket is never full")


def test_assignments_arrive_in_one_datagram(systemd):
    Notifier().notify("READY=1", "STATUS=lease 10.1.2.0/24, 3 peers")
    assert systemd.read() == "READY=1\nSTATUS=lease 10.1.2.0/24, 3 peers"


def test_an_abstract_socket_is_reached(monkeypatch):
    name = f"weft-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    end = Systemd(f"\0{name}")
    try:
        Notifier().notify("READY=1")
        assert end.read() == "READY=1"
    finally:
        end.close()


def test_outside_a_unit_nothing_happens(monkeypatch, caplog):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notifier = Notifier()
    notifier.notify("READY=1")
    assert notifier.ping_watchdog() is None
    assert not caplog.records


def test_a_socket_that_nobody_reads_does_not_stop_the_agent(systemd, tmp_path):
    """libsystemd's sd_notify() waits there for ever, and holds all threads."""
    source = (
        "from flanneld.outputs.notify import notify\nfor number in range(5000): notify(f'STATUS={number}')"
    )
    subprocess.run(
        [sys.executable, "-c", source],
        check=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(Path(flanneld.__file__).parents[1])},
    )
    assert systemd.read() == "STATUS=0"


def test_ready_is_not_lost_in_a_full_socket(systemd):
    notifier = Notifier()
    fill(notifier)
    notifier.notify("READY=1")
    notifier.notify("STATUS=old")
    notifier.notify("STATUS=new")
    assert "READY=1" not in "\n".join(systemd.read_what_is_there())
    assert notifier.ping_watchdog() is None
    (late,) = systemd.read_what_is_there()
    assert sorted(late.splitlines()) == ["READY=1", "STATUS=new"]


def test_what_comes_from_etcd_cannot_assign(systemd):
    Notifier().notify("STATUS=lease 10.1.2.0-24\nMAINPID=1\r\nSTOPPING=1 is bad")
    assert systemd.read() == "STATUS=lease 10.1.2.0-24 MAINPID=1 STOPPING=1 is bad"


def test_a_long_status_does_not_cost_readiness(systemd):
    """systemd drops a datagram of more than 4096 bytes as a whole."""
    Notifier().notify("STATUS=" + "é" * 5000, "READY=1")
    datagram = systemd.read()
    assert len(datagram.encode()) < 4096
    assert datagram.splitlines()[1] == "READY=1"


def test_a_socket_that_is_gone_is_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    notifier = Notifier()
    notifier.notify("STATUS=1")
    notifier.notify("STATUS=2")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path / "none") in caplog.text


def test_reloading_carries_the_clock(systemd):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    module.notify_reloading()
    reloading, stamp = systemd.read().splitlines()
    assert reloading == "RELOADING=1"
    name, _equals, value = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_the_watchdog_is_fed_at_half_its_period(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "100000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier()
    assert notifier.ping_watchdog() == pytest.approx(50, abs=1)
    assert systemd.read() == "WATCHDOG=1"
    again = notifier.ping_watchdog()
    assert again is not None
    assert 0 < again <= 50
    assert systemd.read_what_is_there() == []
    # 200 us: every round is late
    monkeypatch.setenv("WATCHDOG_USEC", "200")
    assert notifier.ping_watchdog() is not None
    assert systemd.read_what_is_there() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    ("period", "pid"), [("", ""), ("0", ""), ("soon", ""), ("-5", ""), ("100000000", "1")]
)
def test_no_watchdog_of_ours(systemd, monkeypatch, period, pid):
    monkeypatch.setenv("WATCHDOG_USEC", period)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    assert Notifier().ping_watchdog() is None
    assert systemd.read_what_is_there() == []
