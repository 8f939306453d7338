# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""flanneld on this host, as anybody sees it who is not flanneld: its unit, its files, and its answer on its socket."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Set, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._docker import parse_properties
from ansible_collections.weft.flannel.plugins.module_utils._docker_host import CommandRunner
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._libraries import PROGRAM_DIRECTORY

DEFAULT = "default"
_SECONDS = 10.0
_PATH = "/status"
_INSTANCE = "[a-z0-9]{1,12}"
_ARCHIVE = re.compile(r"flanneld-(?P<version>.+)-[0-9a-f]+\.pyz")
_PROPERTIES = "LoadState,ActiveState,SubState,UnitFileState,ExecMainStatus,NRestarts"
# Clocks and file systems round.
_SLACK = 2.0


class AgentError(FlannelError):
    """The agent does not tell how it is."""


class AgentAbsent(AgentError):
    """No agent runs for this network."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_agent(path: str) -> str:
    """The JSON text of the report. path: of the socket. Raises AgentAbsent, AgentError."""
    subject = f"flanneld at {path}"
    connection = _UnixConnection(path)
    try:
        connection.request("GET", _PATH)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except (FileNotFoundError, ConnectionRefusedError):
        raise AgentAbsent(subject, "it is not running", "start it") from None
    except PermissionError:
        raise AgentError(subject, "this user may not ask it", "run this as root") from None
    except (OSError, http.client.HTTPException) as error:
        raise AgentError(
            subject,
            f"it runs, but does not answer: {str(error) or type(error).__name__}",
            "look into its log; if it stays so, restart it (the data path stays) and report it with flanneld dump",
        ) from error
    finally:
        connection.close()
    if not isinstance(load_document(text), dict):
        raise AgentError(subject, f"its answer is {answer.status}, and no report", "look into its log")
    return text


def load_document(text: str) -> Any:
    """The JSON value, None when it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


class InstanceError(FlannelError):
    """No instance can have this name."""


def name_unit(instance: str) -> str:
    """As flanneld/instance.py has it, like the next two."""
    return "flanneld.service" if instance == DEFAULT else f"flanneld@{instance}.service"


def name_run_directory(instance: str) -> str:
    return "/run/flannel" if instance == DEFAULT else f"/run/flannel-{instance}"


def name_state_directory(instance: str) -> str:
    return "/var/lib/flanneld" if instance == DEFAULT else f"/var/lib/flanneld-{instance}"


@dataclass(frozen=True)
class Unit:
    """What systemd says about a unit of flanneld. exit_code: of its last process, see docs/exit-codes.md."""

    name: str
    load: str
    active: str
    sub: str
    enabled: str
    exit_code: int
    restarts: int


@dataclass(frozen=True)
class Program:
    """The archives on this host. archive: the one the link chooses, "" for none; former: the others, newest first;
    changed_at: when the link was made, in seconds since 1970."""

    archive: str = ""
    version: str = ""
    former: Tuple[str, ...] = ()
    changed_at: float = 0.0


@dataclass(frozen=True)
class Agent:
    """One instance of flanneld. report: what docs/status.md describes, None if it does not answer; silence: why not.
    outdated: it was started before the program that is installed now."""

    instance: str
    unit: Unit
    report: Optional[Mapping[str, Any]]
    silence: str
    subnet_env: Mapping[str, str]
    outdated: bool

    @property
    def state(self) -> str:
        """ "ready", "not_ready", "starting", "silent" (it runs and does not answer), "stopped", "absent"."""
        if self.report is not None:
            if self.report.get("ready") is True:
                return "ready"
            return "starting" if self.report.get("phase") == "starting" else "not_ready"
        if self.silence:
            return "silent"
        return "absent" if self.unit.load == "not-found" else "stopped"

    @property
    def problems(self) -> Tuple[str, ...]:
        """Why it is not ready, each with the next step; empty if it is."""
        if self.report is not None:
            waiting = self.report.get("waiting_for") or ""
            reasons = tuple(self.report.get("not_ready") or ())
            return reasons or ((f"it waits: {waiting}",) if waiting and self.state == "starting" else ())
        if self.silence:
            return (self.silence,)
        if self.unit.load == "not-found":
            return (f"{self.unit.name} is not installed; run weft.flannel.site on this host",)
        if self.unit.active in ("activating", "failed"):
            return (
                f"{self.unit.name} does not stay up, last exit code {self.unit.exit_code}; "
                f"see: journalctl -u {self.unit.name} -n 30",
            )
        return (f"{self.unit.name} is {self.unit.active}; systemctl start {self.unit.name}",)

    @property
    def pending(self) -> Tuple[str, ...]:
        """What somebody has to do for a change to take effect."""
        told = tuple(self.report.get("pending") or ()) if self.report is not None else ()
        restart = f"restart flanneld, which runs an earlier program: systemctl restart {self.unit.name}"
        return (*told, restart) if self.outdated else told

    @property
    def drift(self) -> Tuple[str, ...]:
        """Objects on this host that are not as they should be right now: ("route: 2 of 5 wrong",)."""
        tables = self.report.get("tables") or () if self.report is not None else ()
        return tuple(
            f"{table['name']}: {table['wrong']} of {table['wanted']} wrong"
            + (f", {table['problems']} refused by the kernel" if table["problems"] else "")
            for table in tables
            if table["wrong"] or table["problems"]
        )


def check_instance(name: str) -> str:
    """The name, if an instance may have it. Raises InstanceError."""
    if re.fullmatch(_INSTANCE, name) is None or name == "flanneld":
        raise InstanceError(
            f"instance {name!r}",
            "an instance has at most 12 lower-case letters and digits, and is not called flanneld",
            "name one of those in /etc/flanneld, or none for all of them",
        )
    return name


def find_instances(root: Path = Path("/")) -> Tuple[str, ...]:
    """Which instances have settings, a state directory or a run directory on this host; the default one first."""
    found: Set[str] = set()
    for pattern, expression in (
        ("etc/flanneld/*.env", rf"(?P<name>{_INSTANCE}|flanneld)\.env"),
        ("var/lib/flanneld*", rf"flanneld(-(?P<name>{_INSTANCE}))?"),
        ("run/flannel*", rf"flannel(-(?P<name>{_INSTANCE}))?"),
    ):
        for path in root.glob(pattern):
            match = re.fullmatch(expression, path.name)
            if match:
                found.add(DEFAULT if match["name"] in (None, "flanneld") else match["name"])
    return tuple(sorted(found, key=lambda name: (name != DEFAULT, name)))


def read_program(directory: Path = Path(PROGRAM_DIRECTORY)) -> Program:
    """Which program is installed by the role, and which it could go back to."""
    link = directory / "flanneld.pyz"
    archives = sorted(directory.glob("flanneld-*.pyz"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not link.is_symlink():
        return Program(former=tuple(path.name for path in archives))
    archive = link.resolve().name
    match = _ARCHIVE.fullmatch(archive)
    return Program(
        archive,
        match["version"] if match else "",
        tuple(path.name for path in archives if path.name != archive),
        link.lstat().st_mtime,
    )


def read_agent(host: CommandRunner, instance: str, program: Program) -> Agent:
    """One instance, running or not."""
    report: Optional[Mapping[str, Any]] = None
    silence = ""
    run_directory = name_run_directory(instance)
    try:
        report = load_document(ask_agent(f"{run_directory}/flanneld.sock"))
    except AgentAbsent:
        pass
    except AgentError as error:
        silence = str(error)
    return Agent(
        instance,
        read_unit(host, name_unit(instance)),
        report,
        silence,
        read_subnet_env(Path(run_directory) / "subnet.env"),
        report is not None and time.time() - float(report["uptime"]) < program.changed_at - _SLACK,
    )


def read_unit(host: CommandRunner, name: str) -> Unit:
    """What systemd says; "not-found" where there is no systemd, too."""
    try:
        _status, output, _errors = host.run_command(["systemctl", "show", name, f"--property={_PROPERTIES}"])
    except OSError:
        output = ""
    properties = parse_properties(output)
    return Unit(
        name,
        properties.get("LoadState", "not-found"),
        properties.get("ActiveState", "inactive"),
        properties.get("SubState", "dead"),
        properties.get("UnitFileState", ""),
        int(properties.get("ExecMainStatus") or 0),
        int(properties.get("NRestarts") or 0),
    )


def read_subnet_env(path: Path) -> Dict[str, str]:
    """The variables of subnet.env (spec 3.1); empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def describe_agent(agent: Agent) -> Dict[str, Any]:
    """An entry of the return value `instances`."""
    report = agent.report or {}
    lease = report.get("lease") or {}
    return {
        "instance": agent.instance,
        "state": agent.state,
        "ready": agent.state == "ready",
        "problems": list(agent.problems),
        "pending": list(agent.pending),
        "drift": list(agent.drift),
        "version": report.get("version", ""),
        "outdated": agent.outdated,
        "backend": report.get("backend", ""),
        "mtu": report.get("mtu") or int(agent.subnet_env.get("FLANNEL_MTU") or 0),
        "subnets": [subnet for subnet in (lease.get("ipv4"), lease.get("ipv6")) if subnet],
        "subnet_env": dict(agent.subnet_env),
        "unit": {
            "name": agent.unit.name,
            "load": agent.unit.load,
            "active": agent.unit.active,
            "sub": agent.unit.sub,
            "enabled": agent.unit.enabled,
            "exit_code": agent.unit.exit_code,
            "restarts": agent.unit.restarts,
        },
        "report": agent.report,
    }
