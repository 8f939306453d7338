# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One daemon on one host, measured from outside: any that takes flannel's flags."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Tuple

from flanneld.tables.route import parse_route
from flanneld.tables.rtnetlink import RTM_NEWROUTE, parse_messages

from tests.bench.results import OURS
from tests.support.agent import BUNDLE, PYTHON
from tests.support.netns import Host

_PATIENCE = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")
_NETLINK_ROUTE, _RTMGRP_IPV4_ROUTE = 0, 0x40


@dataclass(frozen=True)
class Subject:
    """A program to be measured."""

    name: str
    command: Tuple[str, ...]


def list_subjects(peer: str) -> Tuple[Subject, ...]:
    """Ours, and what `--peer` names."""
    ours = Subject(OURS, (PYTHON, str(BUNDLE)))
    return (ours, Subject(Path(peer).name, (str(Path(peer).resolve()),))) if peer else (ours,)


class Running:
    """The daemon, from its start on. A context manager; at its end it is killed. more: flags besides those that every
    flannel has."""

    def __init__(
        self, subject: Subject, host: Host, endpoint: str, prefix: str, more: Tuple[str, ...] = ()
    ) -> None:
        self._host = host
        self._before = _identify(host.subnet_file)
        flags = (f"--etcd-endpoints={endpoint}", f"--etcd-prefix={prefix}", "--iface=eth0")
        environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        log = host.run_dir / "bench.log"
        with log.open("ab") as output:
            self._began = time.monotonic()
            self._process = subprocess.Popen(
                [*host.prefix, *subject.command, *flags, *more],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
        self._log = log

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._began

    def wait_published(self) -> None:
        """Until it has written subnet.env in this life."""
        self._wait(lambda: _identify(self._host.subnet_file) not in (None, self._before), 0.001)

    def wait_routes(self, routes: int) -> None:
        """Until the host has so many routes that go through a peer."""
        self._wait(lambda: self._count_routes() >= routes, 0.02)

    def wait_idle(self) -> None:
        """Until it uses no processor time for half a second: echoes are heard, the state is on disk."""
        spent = -1.0

        def is_idle() -> bool:
            nonlocal spent
            before, spent = spent, self.cpu
            return before == spent

        self._wait(is_idle, 0.5)

    def _wait(self, condition: Callable[[], bool], pause: float) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it did not get there:\n{self._log.read_text()[-3000:]}")
            time.sleep(pause)

    def _count_routes(self) -> int:
        table = Path(f"/proc/{self._process.pid}/net/route").read_bytes()
        # third column: a gateway
        return sum(line.split(b"\t", 3)[2] != b"00000000" for line in table.splitlines()[1:])

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far, of all its threads, in the kernel too."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def memory(self) -> float:
        """MB that are resident now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


class RouteEar:
    """Hears of routes on a host at the moment they are made."""

    def __init__(self, host: Host) -> None:
        self._socket = host.open_netlink(_NETLINK_ROUTE, _RTMGRP_IPV4_ROUTE)
        self._socket.settimeout(_PATIENCE)

    def wait_for(self, subnet: object) -> None:
        """Until a route to that subnet is made."""
        while True:
            for _sequence, message in parse_messages(self._socket.recv(1 << 16)):
                route = parse_route(message) if message.type == RTM_NEWROUTE else None
                if route is not None and route.destination == subnet:
                    return

    def close(self) -> None:
        self._socket.close()


def _identify(path: Path) -> Optional[Tuple[int, int]]:
    """Another value for each time the file was written; None: there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
