# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd as process 1 of a host of the cluster, for what it makes of the units that the role installs. Needs root."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Mapping, Sequence

from tests.support.netns import FILES, Host, execute
from tests.support.waiting import PATIENCE, wait_until

_UNITS = "etc/systemd/system"


class Machine:
    """A host whose services systemd runs, from `boot` to `close`.

    files: what is on its disk besides what the system around it has: path without the leading / -> content.
    units: started at boot. masked: of the system around it, and not to run here.
    """

    def __init__(
        self, host: Host, files: Mapping[str, bytes], units: Sequence[str], masked: Sequence[str]
    ) -> None:
        self.host = host
        self._written = FILES / f"{host.name}-disk"
        for path, content in files.items():
            self.write(path, content)
        wants = self._written / _UNITS / "multi-user.target.wants"
        wants.mkdir(parents=True)
        for unit in units:
            (wants / unit).symlink_to(f"/{_UNITS}/{unit}")
        for unit in masked:
            (self._written / _UNITS / unit).symlink_to("/dev/null")

    def write(self, path: str, content: bytes) -> None:
        """A new file of root's; only before `boot`."""
        file = self._written / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o600 if path.endswith("-psk") else 0o644)

    def boot(self) -> None:
        """Returns when systemd answers; its units may still be starting."""
        work = FILES / f"{self.host.name}-work"
        group = Path("/sys/fs/cgroup", f"machine-{self.host.name}")
        overlays = []
        for place in ("etc", "usr/lib"):
            (self._written / place).mkdir(parents=True, exist_ok=True)
            (work / place).mkdir(parents=True)
            overlays.append(
                f"mount -t overlay -o lowerdir=/{place},upperdir={self._written / place},workdir={work / place}"
                f" overlay /{place}"
            )
        steps = (
            f"hostname {self.host.name}",
            *overlays,
            f"mount --bind {self.host.lib_dir} /var/lib",
            f"mount --bind {FILES / self.host.name / 'machine-id'} /etc/machine-id",
            f"mount --bind {self.host.run_dir} /run",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            # container: it then leaves the kernel's settings, its modules and the hardware alone.
            "exec env --ignore-environment container=test PATH=/usr/sbin:/usr/bin /lib/systemd/systemd",
        )
        group.mkdir(exist_ok=True)
        namespaces = ("--mount", "--uts", "--ipc", "--pid", "--cgroup", "--propagation=slave")
        inside = ("unshare", *namespaces, "--fork", "--kill-child", "--mount-proc", "--", "sh", "-ec")
        self._process = subprocess.Popen(
            [
                # In this order: `ip netns exec` shows a /sys without control groups.
                *("sh", "-ec", f'echo $$ > {group}/cgroup.procs; exec "$@"', "-"),
                *("ip", "netns", "exec", self.host.name, "setpriv", "--pdeathsig", "KILL", "--"),
                *(*inside, "\n".join(steps)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        wait_until(self._answers, f"systemd of {self.host.name}")

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            assert self._process.stderr is not None
            raise AssertionError(f"systemd ended: {self._process.stderr.read().decode()}")
        return (self.host.run_dir / "systemd/private").exists()

    def execute(self, *argv: str, check: bool = True) -> str:
        (init,) = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        entrance = ("nsenter", f"--target={init}", "--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup")
        return execute(*entrance, "--", *argv, check=check)

    def systemctl(self, *arguments: str) -> str:
        return self.execute("systemctl", *arguments)

    def wait_active(self, unit: str) -> None:
        """Wait until it has started; a unit of Type=notify has said so itself."""

        def is_active() -> bool:
            state = self.execute("systemctl", "is-active", unit, check=False).strip()
            assert state != "failed", self.journal(unit)
            return state == "active"

        wait_until(is_active, f"{unit} of {self.host.name}", 2 * PATIENCE)

    def main_pid(self, unit: str) -> str:
        return self.systemctl("show", "--property=MainPID", "--value", unit).strip()

    def journal(self, unit: str) -> str:
        return self.execute("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def close(self) -> None:
        with self._process:
            self._process.kill()
        for left in ("disk", "work"):
            shutil.rmtree(FILES / f"{self.host.name}-{left}")
