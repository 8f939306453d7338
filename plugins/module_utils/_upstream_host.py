# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Another flanneld on this host, as a module finds it: its unit, its process, its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._docker import parse_properties
from ansible_collections.weft.flannel.plugins.module_utils._docker_host import CommandRunner
from ansible_collections.weft.flannel.plugins.module_utils._upstream import (
    OUR_UNIT_FILE,
    UNITS,
    Command,
    Problem,
    Settings,
    UpstreamError,
    find_program,
    is_ours,
    read_process,
    read_unit_files,
    translate,
)

RECORD = "/etc/flanneld/upstream/found.json"
"""What weft.flannel.migrate has found before it changed anything; kept for the way back."""
_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,FragmentPath,DropInPaths,ExecStart,MainPID,BoundBy"
_ENABLED = ("enabled", "enabled-runtime")
_ACTIVE = ("active", "activating", "reloading")


@dataclass(frozen=True)
class Unit:
    """A unit that starts another flanneld. bound: units that stop when it does."""

    name: str
    path: str
    drop_ins: Tuple[str, ...]
    active: bool
    enabled: bool
    pid: int
    bound: Tuple[str, ...]

    @property
    def is_in_the_way(self) -> bool:
        """Whether it runs, will run after a boot, or has the place of our unit file."""
        return self.active or self.enabled or self.path == OUR_UNIT_FILE


def find_units(host: CommandRunner) -> Tuple[Unit, ...]:
    """The units that start another flanneld, those that run first."""
    try:
        _status, output, _errors = host.run_command(
            ["systemctl", "show", f"--property={_PROPERTIES}", *UNITS, "*.service"]
        )
    except OSError:
        return ()
    found: Dict[str, Unit] = {}
    for block in output.split("\n\n"):
        properties = parse_properties(block)
        if properties.get("LoadState") == "loaded" and _starts_another(properties):
            unit = _read_unit(properties)
            found[unit.name] = unit
    return tuple(sorted(found.values(), key=lambda unit: (not unit.active, not unit.enabled, unit.name)))


def _starts_another(properties: Mapping[str, str]) -> bool:
    """By its process if it has one: the unit file may be ours already, and the process not yet."""
    pid = int(properties.get("MainPID") or 0)
    if pid:
        process = _read_process(pid)
        if process is not None:
            return True
        if is_ours(_read_words(pid)):
            return False
    words = properties.get("ExecStart", "").replace("argv[]=", " ").split()
    if is_ours(words):
        return False
    return properties.get("Id") in UNITS or find_program(words) is not None


def _read_unit(properties: Mapping[str, str]) -> Unit:
    return Unit(
        properties["Id"],
        properties.get("FragmentPath", ""),
        tuple(properties.get("DropInPaths", "").split()),
        properties.get("ActiveState") in _ACTIVE,
        properties.get("UnitFileState") in _ENABLED,
        int(properties.get("MainPID") or 0),
        tuple(properties.get("BoundBy", "").split()),
    )


def _read_words(pid: int) -> List[str]:
    return (_read_text(f"/proc/{pid}/cmdline") or "").rstrip("\0").split("\0")


def _read_process(pid: int) -> Optional[Command]:
    variables = (_read_text(f"/proc/{pid}/environ") or "").split("\0")
    environment = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    return read_process(_read_words(pid), environment)


def _read_text(path: str) -> Optional[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def read_command(unit: Unit) -> Command:
    """What its process was started with; if there is none, what systemd would start. Raises UpstreamError."""
    process = _read_process(unit.pid) if unit.pid else None
    if process is not None:
        return process
    texts = (_read_text(path) for path in (unit.path, *unit.drop_ins))
    return read_unit_files(unit.name, [text for text in texts if text], _read_text)


def describe_upstream(host: CommandRunner) -> Dict[str, Any]:
    """The return values of flannel_upstream_info."""
    units = [unit for unit in find_units(host) if unit.is_in_the_way]
    former = json.loads(_read_text(RECORD) or "null")
    if not units:
        return {
            "changed": False,
            "found": False,
            "former": former,
            **_describe_settings(Settings({}, (), ())),
        }
    unit = units[0]
    try:
        settings = translate(read_command(unit))
    except UpstreamError as error:
        settings = Settings({}, (Problem("", str(error)),), ())
    problems = (*settings.problems, *_find_problems(unit, units[1:]))
    return {
        "changed": False,
        "found": True,
        "former": former,
        "unit": {
            "name": unit.name,
            "path": unit.path,
            "drop_ins": list(unit.drop_ins),
            "active": unit.active,
            "enabled": unit.enabled,
        },
        **_describe_settings(Settings(settings.variables, problems, settings.notes)),
    }


def _describe_settings(settings: Settings) -> Dict[str, Any]:
    return {
        "variables": dict(settings.variables),
        "problems": [{"flag": problem.flag, "message": problem.message} for problem in settings.problems],
        "notes": list(settings.notes),
    }


def _find_problems(unit: Unit, others: List[Unit]) -> Iterator[Problem]:
    for other in others:
        yield Problem(
            "",
            f"{other.name} ({other.path}) starts a flanneld too: disable it, so that one is left "
            f"(systemctl disable --now {other.name})",
        )
    for name in unit.bound:
        yield Problem(
            "", f"{name} is bound to {unit.name} (BindsTo=) and would stop with it: make that Wants= first"
        )
    for path in unit.drop_ins:
        if f"/{Path(OUR_UNIT_FILE).name}.d/" in path and not path.startswith("/etc/systemd/system/"):
            yield Problem(
                "", f"the drop-in {path} would change weft.flannel's unit of the same name: remove it first"
            )
