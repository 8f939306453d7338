# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""strongSwan's charon on a host, as flannel-charon.service runs it, and what it says about its tunnels."""

from __future__ import annotations

import os
import re
import subprocess
from typing import List, Optional

from tests.support.netns import Host
from tests.support.waiting import PATIENCE, wait_until

PROGRAM = "/usr/lib/ipsec/charon"
DIRECTORY = "/run/flannel/charon"
CONFIG = f"""\
charon {{
    load = random nonce openssl aes sha1 sha2 hmac gcm kdf gmp curve25519 kernel-netlink socket-default vici
    replay_window = 1024
    install_routes = no
    plugins {{
        vici {{
            socket = unix://{DIRECTORY}/charon.vici
        }}
    }}
    filelog {{
        stderr {{
            default = 1
            enc = 0
            time_format = %H:%M:%S
            flush_line = yes
        }}
    }}
}}
"""
"""What roles/flannel/templates/charon.conf.j2 becomes, but for where it logs to."""


class Charon:
    """One charon on one host. It can be started again after it ended; the log goes on."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.directory = host.run_dir / "flannel" / "charon"
        self._log_file = host.run_dir / "charon.log"
        self._log_file.touch()
        self._process: Optional[subprocess.Popen[bytes]] = None

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    def start(self) -> None:
        """Returns when it can be asked."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for left in ("charon.vici", "../../charon.pid"):
            (self.directory / left).unlink(missing_ok=True)
        config = self.host.run_dir / "charon.conf"
        config.write_text(CONFIG)
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.host.prefix, PROGRAM],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "STRONGSWAN_CONF": "/run/charon.conf"},
            )
        wait_until((self.directory / "charon.vici").exists, f"charon of {self.host.name} listens")

    def kill(self) -> None:
        """kill -9: no goodbye to the others, and its states stay in the kernel."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=PATIENCE)

    def stop(self) -> None:
        """As systemd would."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)

    def swanctl(self, *arguments: str) -> str:
        return self.host.execute("swanctl", *arguments, "--uri", f"unix://{DIRECTORY}/charon.vici")

    def connections(self) -> List[str]:
        """Names of what is loaded."""
        lines = self.swanctl("--list-conns").splitlines()
        return sorted(line.partition(": ")[0] for line in lines if re.match(r"\S", line))

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


def states(host: Host) -> List[str]:
    """SPIs of what the kernel encrypts and decrypts with."""
    return sorted(
        re.findall(r"\bspi (0x[0-9a-f]{8}) .*reqid 11\b", host.execute("ip", "-o", "xfrm", "state"))
    )


def policies(host: Host) -> List[str]:
    """All IPsec policies, a line for each; those of single sockets, which charon has, left out."""
    text = host.execute("ip", "-o", "xfrm", "policy").replace(" ptype main", "")
    lines = (" ".join(line.replace("\\", " ").split()) for line in text.splitlines())
    return sorted(line for line in lines if " dir " in line)


def policies_since(host: Host) -> List[str]:
    """Direction and subnets of each policy, and when it was made: one that is made anew is another."""
    text = host.execute("ip", "-s", "-o", "xfrm", "policy")
    found = re.findall(r"^src (\S+) dst (\S+) .*?\bdir (\w+) .*? add (\S+ \S+) use", text, re.MULTILINE)
    return sorted(f"{direction} {source} {target} {since}" for source, target, direction, since in found)
