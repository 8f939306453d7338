# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent as a host runs it: the bundle, under the system's Python, watched the way systemd does."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Dict, List, Optional

from tests.support.netns import Host, execute
from tests.support.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable  # the interpreter that runs the tests has the libraries that are to be tested
BUNDLE = ROOT / "build" / "flanneld-compiled.pyz"


def build_bundle() -> None:
    """What `make bundle` does, with the byte code of this Python."""
    packed = BUNDLE.with_name("flanneld.pyz")
    execute(PYTHON, str(ROOT / "plugins" / "plugin_utils" / "_bundle.py"), str(packed))
    compiler = ROOT / "plugins" / "module_utils" / "_bytecode.py"
    execute(PYTHON, str(compiler), "compile", str(packed), str(BUNDLE))


class ServiceManager:
    """The end of sd_notify(3) that systemd holds: it reads all the time, so that a sender never waits.

    received: the assignments that came. ready_too_early: READY=1 came when `promised` did not exist.
    """

    def __init__(self, path: Path, promised: Path) -> None:
        self._promised = promised
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.forget()
        self._thread.start()

    def forget(self) -> None:
        """Start over with a new process."""
        self.received: List[str] = []
        self.ready_too_early = False

    def _read(self) -> None:
        while message := self._socket.recv(4096):
            assignments = message.decode().splitlines()
            self.ready_too_early |= "READY=1" in assignments and not self._promised.exists()
            self.received.extend(assignments)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


class Agent:
    """One flanneld on one host. It can be started again after it ended; the log goes on.

    instance: where the host has several agents, the name of this one. environment: what it is started with besides.
    """

    def __init__(self, host: Host, *arguments: str, instance: str = "") -> None:
        self.host = host
        self.arguments = (f"--instance={instance}", *arguments) if instance else arguments
        self.environment: Dict[str, str] = {}
        suffix = f"-{instance}" if instance else ""
        self.subnet_file = host.run_dir / f"flannel{suffix}" / "subnet.env"
        self._log_file = host.run_dir / f"flanneld{suffix}.log"
        self._log_file.touch()
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._notify = f"notify{suffix}"
        self._manager = ServiceManager(host.run_dir / self._notify, self.subnet_file)

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    def complaints(self) -> List[str]:
        """Warnings and errors in the log."""
        return [line for line in self.log.splitlines() if re.match(r"[WEF]\d{4} ", line)]

    def wait_complaint(self, number: int) -> str:
        """Wait for the first, second... warning or error, and return it."""
        what = f"complaint {number} of flanneld on {self.host.name}"
        return wait_until(lambda: self.complaints()[number - 1 : number], what)[0]

    @property
    def pid(self) -> int:
        assert self._process is not None, "the agent was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running
        self._manager.forget()
        environment = {
            "PATH": os.environ["PATH"],
            "NOTIFY_SOCKET": f"/run/{self._notify}",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
        }
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.host.prefix, PYTHON, str(BUNDLE), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    @property
    def status(self) -> str:
        """What `systemctl status` would show; "" before the first word."""
        words = [line for line in list(self._manager.received) if line.startswith("STATUS=")]
        return words[-1].partition("=")[2] if words else ""

    @property
    def ready(self) -> bool:
        """True if READY=1 came since the last start."""
        return "READY=1" in self._manager.received

    def forget(self) -> None:
        """Forget what it told systemd so far: `ready` and `status` are those after this."""
        self._manager.forget()

    def wait_ready(self, timeout: float = 2 * PATIENCE) -> None:
        """Wait for READY=1, which promises that subnet.env exists."""

        def ready() -> bool:
            assert self.running, f"flanneld on {self.host.name} ended with exit code {self.wait()}"
            return self.ready

        wait_until(ready, f"READY=1 from flanneld on {self.host.name}", timeout)
        assert not self._manager.ready_too_early, "READY=1 came before subnet.env"

    def wait_log(self, text: str, timeout: float = PATIENCE) -> str:
        """Wait for a log line that contains `text`, and return the last such line."""

        def find() -> str:
            running = self.running  # asked first, so that nothing it logs before its end is missed
            lines = [line for line in self.log.splitlines() if text in line]
            assert lines or running, f"flanneld on {self.host.name} ended without {text!r} in its log"
            return lines[-1] if lines else ""

        return wait_until(find, f"{text!r} in the log of flanneld on {self.host.name}", timeout)

    def wait(self) -> int:
        """Wait for it to end by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(timeout=2 * PATIENCE)

    def kill(self) -> None:
        """kill -9: no chance to say goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=PATIENCE)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it as systemd or a terminal would; its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(timeout=PATIENCE)

    def close(self) -> None:
        if self.running:
            self.kill()
        self._manager.close()
