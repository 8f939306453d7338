# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Docker on this host, as seen by a module: its unit, its files, its API."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Protocol, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._docker import (
    Bridge,
    Conflict,
    DockerError,
    choose_own_bridge,
    find_in_daemon_json,
    find_in_lines,
    has_options_of_flannel,
    is_wired,
    parse_properties,
    running_bridge,
    wanted_bridge,
)

SUBNET_ENV = "/run/flannel/subnet.env"
DAEMON_JSON = "/etc/docker/daemon.json"
SOCKET = "/var/run/docker.sock"
# What flannel itself adds to docker.service; everything else there is the operator's or the package's.
OUR_FILES = ("10-flannel.conf", "zz-flannel.conf", "docker_opts.env")
# A restart waits for containers to end (10 s each by default, in parallel) and starts those with a restart policy.
API_TIMEOUT = 120.0


class CommandRunner(Protocol):
    """What is used here of AnsibleModule."""

    def run_command(self, args: List[str], *, check_rc: bool = False) -> Tuple[int, str, str]:
        """Its exit status, what it wrote, and what it complained about."""


@dataclass(frozen=True)
class Container:
    """A running container: its id and its name."""

    id: str
    name: str


@dataclass(frozen=True)
class DockerState:
    """What a host's Docker is like. running and containers are known only while it is active, wanted only once
    flanneld has written subnet.env. from_subnet: it was started with flannel's options."""

    installed: bool
    active: bool
    wired: bool
    conflicts: Tuple[Conflict, ...]
    wanted: Optional[Bridge]
    running: Optional[Bridge]
    containers: Tuple[Container, ...]
    live_restore: bool
    from_subnet: bool = False

    @property
    def differences(self) -> Tuple[str, ...]:
        """What a restart of Docker would change about its bridge."""
        if self.running is None or self.wanted is None:
            return ()
        return self.running.differences(self.wanted)

    @property
    def container_names(self) -> Tuple[str, ...]:
        return tuple(container.name for container in self.containers)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over Docker's socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def call_docker(method: str, path: str) -> Any:
    """One call of Docker's API; the decoded answer, None if it has none. Raises DockerError."""
    connection = _UnixConnection("localhost", timeout=API_TIMEOUT)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        raise DockerError(f"Docker at {SOCKET}", str(error), "see: journalctl -u docker") from error
    finally:
        connection.close()
    # 304: the container already is what the call asks for
    if answer.status >= 400:
        cause = f"{method} {path} was answered {answer.status}: {body.decode(errors='replace').strip()}"
        raise DockerError(f"Docker at {SOCKET}", cause, "see: journalctl -u docker")
    return json.loads(body) if body.strip() else None


def read_docker(host: CommandRunner) -> DockerState:
    """Everything about Docker on this host. Raises DockerError."""
    properties = read_unit(host)
    installed = properties.get("LoadState") == "loaded"
    active = properties.get("ActiveState") == "active"
    text = read_text(SUBNET_ENV)
    running: Optional[Bridge] = None
    containers: Tuple[Container, ...] = ()
    live_restore = False
    # Only an active Docker is asked: a call on its socket would start one that somebody has stopped.
    if active:
        running = read_bridge(host)
        containers = tuple(
            Container(item["Id"], item["Names"][0].lstrip("/"))
            for item in call_docker("GET", "/containers/json")
        )
        live_restore = bool(call_docker("GET", "/info").get("LiveRestoreEnabled"))
    return DockerState(
        installed,
        active,
        is_wired(properties.get("ExecStart", "")),
        tuple(find_conflicts(properties)),
        wanted_bridge(SUBNET_ENV, text) if text else None,
        running,
        containers,
        live_restore,
        active and has_options_of_flannel(read_command(properties.get("MainPID", ""))),
    )


def read_command(pid: str) -> List[str]:
    """The command that a process was started with; empty if there is none."""
    return read_text(f"/proc/{pid}/cmdline").split("\0")


def read_unit(host: CommandRunner) -> Dict[str, str]:
    """The properties of docker.service that matter here; LoadState tells if there is one."""
    names = "LoadState,ActiveState,FragmentPath,DropInPaths,EnvironmentFiles,ExecStart,MainPID"
    _status, output, _errors = host.run_command(
        ["systemctl", "show", "docker.service", f"--property={names}"]
    )
    return parse_properties(output)


def read_bridge(host: CommandRunner) -> Bridge:
    _status, links, _errors = host.run_command(["ip", "-j", "address", "show", "dev", "docker0"])
    return running_bridge(call_docker("GET", "/networks/bridge"), links)


def find_conflicts(properties: Mapping[str, str]) -> Iterator[Conflict]:
    """What the operator has set of the options that come from subnet.env. Raises DockerError."""
    yield from find_in_daemon_json(DAEMON_JSON, read_text(DAEMON_JSON))
    unit_files = [properties.get("FragmentPath", ""), *properties.get("DropInPaths", "").split()]
    # "/etc/default/docker (ignore_errors=yes)", one or several
    environment_files = [
        word for word in properties.get("EnvironmentFiles", "").split() if word.startswith("/")
    ]
    for path in filter(None, unit_files + environment_files):
        if Path(path).name not in OUR_FILES:
            yield from find_in_lines(path, read_text(path))


def read_text(path: str) -> str:
    """The content of a file; empty if there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def restart_docker(host: CommandRunner, state: DockerState) -> None:
    """Restart Docker and start again every container that was running. Raises DockerError.

    With live-restore a running container keeps dockerd from changing its bridge, so there they are stopped first.
    """
    _stop_containers(state)
    _call_systemctl(host, "restart")
    _start_containers(state)


def return_bridge(host: CommandRunner, state: DockerState) -> None:
    """Restart Docker with a bridge of its own, and start again what was running. Raises DockerError.

    Docker remembers the address of its bridge in its data directory, beyond the device and beyond the option. Only
    another option makes it forget, so it gets one for the length of a start.
    """
    text = read_text(DAEMON_JSON)
    address = choose_own_bridge(DAEMON_JSON, text, _read_routes(host))
    _stop_containers(state)
    _call_systemctl(host, "stop")
    host.run_command(["ip", "link", "delete", "dev", "docker0"])
    with _added_setting(Path(DAEMON_JSON), text, "bip", address):
        _call_systemctl(host, "start")
    _start_containers(state)


@contextmanager
def _added_setting(path: Path, text: str, key: str, value: str) -> Iterator[None]:
    """daemon.json with one key more; afterwards it is, to the byte, as it was."""
    existed, directory_existed = path.exists(), path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**(json.loads(text) if text.strip() else {}), key: value}), encoding="utf-8")
    try:
        yield
    finally:
        if existed:
            path.write_text(text, encoding="utf-8")
        else:
            path.unlink()
        if not directory_existed:
            path.parent.rmdir()


def _read_routes(host: CommandRunner) -> List[str]:
    """Where the host's routes lead, but for those of Docker's bridge and the default ones."""
    _status, output, _errors = host.run_command(["ip", "-j", "-4", "route", "show"])
    return [
        route["dst"]
        for route in json.loads(output or "[]")
        if route.get("dst") not in (None, "default") and route.get("dev") != "docker0"
    ]


def _stop_containers(state: DockerState) -> None:
    if state.live_restore:
        for container in state.containers:
            call_docker("POST", f"/containers/{container.id}/stop")


def _call_systemctl(host: CommandRunner, verb: str) -> None:
    """Raises DockerError."""
    status, _output, errors = host.run_command(["systemctl", verb, "docker.service"])
    if status != 0:
        raise DockerError(
            "docker.service", f"it does not {verb}: {errors.strip()}", "see: journalctl -u docker"
        )


def _start_containers(state: DockerState) -> None:
    # Those started with --rm are gone for good once they have been stopped.
    left = {item["Id"] for item in call_docker("GET", "/containers/json?all=1")}
    for container in state.containers:
        if container.id in left:
            call_docker("POST", f"/containers/{container.id}/start")
