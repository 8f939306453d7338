# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real etcd member for tests: started on free ports, and everything that can happen to one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions

from tests.support.waiting import PATIENCE

ROOT_PASSWORD = "root-password"
SMALL = "--quota-backend-bytes=200000"
"""The flag of a member that `fill_up` fills up."""


@dataclass(frozen=True)
class ServerTLS:
    """Certificate files of a member that serves TLS. trusted_ca: it asks every client for a certificate.

    ca_cert, client_cert, client_key: what its clients need.
    """

    ca_cert: Path
    cert: Path
    key: Path
    trusted_ca: Optional[Path] = None
    client_cert: Optional[Path] = None
    client_key: Optional[Path] = None


class EtcdServer:
    """One etcd member (Debian's etcd) with its data under `directory`.

    prefix: what runs the commands, such as ("ip", "netns", "exec", "sw"); it must exec, so that the process
        started is etcd itself.
    address: where it listens for clients, an IPv4 or IPv6 address. Ports are free ones of the caller's
        network namespace; give `port` where the prefix leads into another one (the peer port is then port + 1).
    flags: further ones of etcd.
    name: of the member. joins: the members of a running cluster that has been told of this one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        prefix: Sequence[str] = (),
        address: str = "127.0.0.1",
        port: int = 0,
        tls: Optional[ServerTLS] = None,
        flags: Sequence[str] = (),
        name: str = "one",
        joins: Sequence[EtcdServer] = (),
    ) -> None:
        self.name = name
        self._joins = tuple(joins)
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "etcd.log"
        self.address = address
        self.tls = tls
        self._prefix = tuple(prefix)
        self._flags = tuple(flags)
        self._login: Tuple[str, ...] = ()
        self.port = port or find_free_port(address)
        self._peer_port = port + 1 if port else find_free_port("127.0.0.1")
        # A member with TLS has a plain door for etcdctl: its certificate may be what a test breaks.
        self._control = f"http://127.0.0.1:{find_free_port('127.0.0.1')}" if tls else self.endpoint
        self._process: Optional[subprocess.Popen[bytes]] = None

    # what it is

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self._authority}"

    @property
    def options(self) -> StoreOptions:
        """Options for a store on this member alone."""
        if self.tls is None:
            return StoreOptions((self.endpoint,))
        return StoreOptions(
            (self.endpoint,),
            ca_cert=str(self.tls.ca_cert),
            client_cert=str(self.tls.client_cert or ""),
            client_key=str(self.tls.client_key or ""),
        )

    @property
    def pid(self) -> int:
        assert self._process is not None, "etcd is not running"
        return self._process.pid

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self._peer_port}"

    # life

    def start(self) -> EtcdServer:
        """Start the member and wait until it answers."""
        assert self._process is None, "etcd is running already"
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, "etcd", *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "ETCD_UNSUPPORTED_ARCH": os.uname().machine},
            )
        self._wait_until_healthy()
        return self

    def stop(self) -> None:
        """End it in an orderly way (SIGTERM), frozen or not. Without effect when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        # Its threads do not all stop at once: one may still be sending an answer.
        os.waitpid(self.pid, os.WUNTRACED)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> EtcdServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # its data

    def put(self, key: Union[str, bytes], value: str) -> None:
        self.ctl("put", key, value)

    def delete(self, key: Union[str, bytes]) -> None:
        self.ctl("del", key)

    def compact(self, revision: int) -> None:
        """Forget everything before that revision, at once."""
        self.ctl("compact", "--physical", str(revision))

    def wipe(self) -> None:
        """Empty its data directory and start it again: a new store, revision 1, with the same cluster id."""
        self.stop()
        shutil.rmtree(self.data)
        self.start()

    def snapshot(self, path: Path) -> None:
        self.ctl("snapshot", "save", str(path))

    def restore(self, path: Path) -> None:
        """Go back to a snapshot: stop, replace the data, start."""
        self.stop()
        shutil.rmtree(self.data)
        self._run(
            "etcdctl", "snapshot", "restore", str(path), f"--data-dir={self.data}", "--name=one",
            f"--initial-cluster=one={self.peer_url}", f"--initial-advertise-peer-urls={self.peer_url}",
        )  # fmt: skip
        self.start()

    def fill_up(self) -> None:
        """Write until there is no space left, of which a member with the flag SMALL has little."""
        for number in range(100):
            try:
                self.put(f"/ballast/{number}", "x" * 50000)
            except subprocess.CalledProcessError as error:
                if b"database space exceeded" in error.stderr:
                    return
                raise
        raise AssertionError("there is more space than SMALL says")

    def make_space(self) -> None:
        """After `fill_up`, what an operator does."""
        self.ctl("del", "--prefix", "/ballast/")
        revision = json.loads(self.ctl("get", "/", "--write-out=json"))["header"]["revision"]
        self.compact(revision)
        self.ctl("defrag")
        self.ctl("alarm", "disarm")

    def enable_auth(self) -> None:
        """Make the user root, as whom etcdctl then works, and turn authentication on."""
        for command in (f"user add root:{ROOT_PASSWORD}", "user grant-role root root", "auth enable"):
            self.ctl(*command.split())
        self._login = (f"--user=root:{ROOT_PASSWORD}",)

    def ctl(self, *arguments: Union[str, bytes]) -> str:
        """etcdctl on this member; returns what it printed."""
        return self._run("etcdctl", f"--endpoints={self._control}", *self._login, *arguments)

    def count_calls(self, method: str) -> int:
        """How many calls of that gRPC method etcd has begun to serve, such as "Authenticate"."""
        with urllib.request.urlopen(f"{self._control}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        pattern = rf'^grpc_server_started_total{{.*grpc_method="{method}".*}} (\d+)$'
        return sum(int(count) for count in re.findall(pattern, text, re.MULTILINE))

    # inside

    @property
    def _authority(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def _arguments(self) -> List[str]:
        arguments = [
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={self.endpoint}" + (f",{self._control}" if self.tls else ""),
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={','.join(f'{each.name}={each.peer_url}' for each in (*self._joins, self))}",
            f"--initial-cluster-state={'existing' if self._joins else 'new'}",
            "--unsafe-no-fsync",
            "--logger=zap",
            "--log-level=warn",
        ]
        if self.tls is not None:
            arguments += [f"--cert-file={self.tls.cert}", f"--key-file={self.tls.key}"]
            if self.tls.trusted_ca is not None:
                arguments += ["--client-cert-auth", f"--trusted-ca-file={self.tls.trusted_ca}"]
        return [*arguments, *self._flags]

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self._process is not None
            if self._process.poll() is not None:
                self._process = None
                raise RuntimeError(f"etcd ended at once:\n{self.log.read_text()[-2000:]}")
            try:
                self.ctl("endpoint", "health")
                return
            except subprocess.CalledProcessError as error:
                if time.monotonic() > deadline:
                    self.kill()
                    raise RuntimeError(f"etcd did not become healthy: {error.stderr}") from error
            time.sleep(0.05)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        # A stopped process takes a SIGTERM only when it goes on.
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _run(self, *command: Union[str, bytes]) -> str:
        done = subprocess.run(
            [*self._prefix, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=PATIENCE,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        return done.stdout.decode("utf-8", "replace")


def find_free_port(address: str) -> int:
    """A TCP port that nobody listens on at that address right now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
