# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real firewalld in a network namespace, on a bus of its own, with nothing of the machine's configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Optional, Type

from tests.support.netns import Namespace
from tests.support.waiting import wait_until

INSTALLED = all(map(shutil.which, ("firewalld", "firewall-cmd", "dbus-daemon")))
_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
"""


class Firewalld:
    """firewalld from `with` to its end, with every interface in the zone that accepts all.

    backend: "nftables" or "iptables".
    """

    def __init__(self, where: Namespace, directory: Path, backend: str) -> None:
        self._where = where
        self._directory = directory
        self._bus: Optional[subprocess.Popen[bytes]] = None
        self._daemon: Optional[subprocess.Popen[bytes]] = None
        config = directory / "config"
        config.mkdir()
        (config / "firewalld.conf").write_text(
            f"DefaultZone=trusted\nFirewallBackend={backend}\nLockdown=no\n", encoding="ascii"
        )
        self._socket = directory / "bus"
        (directory / "bus.conf").write_text(_BUS.format(socket=self._socket), encoding="ascii")

    def _start(self, *argv: str) -> subprocess.Popen[bytes]:
        with (self._directory / "output").open("ab") as output:
            return subprocess.Popen(
                (*self._where.prefix, "setpriv", "--pdeathsig", "KILL", "--", *argv),
                env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self._socket}"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _ask(self, *arguments: str) -> bool:
        done = self._start("firewall-cmd", *arguments)
        return done.wait(timeout=60) == 0

    def __enter__(self) -> Firewalld:
        self._bus = self._start("dbus-daemon", f"--config-file={self._directory / 'bus.conf'}", "--nofork")
        wait_until(self._socket.exists, "the bus listens")
        self._daemon = self._start(
            "firewalld",
            "--nofork",
            "--nopid",
            f"--system-config={self._directory / 'config'}",
            f"--log-file={self._directory / 'log'}",
        )
        wait_until(lambda: self._ask("--state"), "firewalld runs")
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for process in (self._daemon, self._bus):
            if process is not None:
                process.terminate()
                process.wait(timeout=30)

    def reload(self) -> None:
        """What `firewall-cmd --reload` does. Raises AssertionError when it fails."""
        self.command("--reload")

    def command(self, *arguments: str) -> None:
        """firewall-cmd with these arguments. Raises AssertionError when it fails."""
        assert self._ask(*arguments), (self._directory / "output").read_text(encoding="utf-8")
