# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network that is not served right now has left on this host: what status tells when no agent answers."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import AbstractSet, Iterator, Mapping

from flanneld.commands.settings import Settings
from flanneld.commands.status_text import format_seconds
from flanneld.outputs.state_dir import StateDir
from flanneld.tables import KernelError
from flanneld.tables.device import OtherLink
from flanneld.tables.link import read_links

_SECONDS = 10.0


def describe_traces(settings: Settings) -> Iterator[str]:
    """Lines about the unit, the last lease, subnet.env and devices, and what to do."""
    unit = settings.instance.unit
    properties = read_unit(unit)
    yield f"  unit        {unit}: {describe_unit(properties)}"
    yield f"  settings    {settings.source}"
    state = StateDir(Path(settings.options.state_dir))
    remembered = state.recall_lease()
    if remembered is None:
        yield f"  last lease  none is known ({settings.options.state_dir})"
    else:
        yield f"  last lease  {remembered.lease.key}, {_describe_end(remembered.until)}"
    yield f"  subnet.env  {_describe_subnet_env(Path(settings.options.subnet_file))}"
    yield f"  devices     {_describe_devices(state.list_devices())}"
    yield ""
    yield "Containers keep their connections as long as devices and routes stand; changes of other hosts are missed."
    yield f"Next: {find_next_step(unit, properties)}"


def read_unit(unit: str) -> Mapping[str, str]:
    """The properties of a unit that matter here; empty without systemd."""
    names = "LoadState,ActiveState,SubState,Result,UnitFileState,ExecMainStatus,NRestarts"
    try:
        done = subprocess.run(
            ["systemctl", "show", f"--property={names}", unit],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value for name, _equals, value in pairs if value}


def describe_unit(properties: Mapping[str, str]) -> str:
    if not properties:
        return "systemd does not answer"
    if properties.get("LoadState") == "not-found":
        return "not installed"
    words = [f"{properties.get('ActiveState', '?')} ({properties.get('SubState', '?')})"]
    words.append(properties.get("UnitFileState", "not enabled"))
    if properties.get("ExecMainStatus", "0") != "0":
        words.append(f"last exit code {properties['ExecMainStatus']} (docs/exit-codes.md)")
    return ", ".join(words)


def find_next_step(unit: str, properties: Mapping[str, str]) -> str:
    """What to do about an agent that does not run."""
    if not properties or properties.get("LoadState") == "not-found":
        return "install it with the role weft.flannel.flannel, or start flanneld the way this host does"
    if properties.get("LoadState") == "masked":
        return f"systemctl unmask {unit}, then systemctl start {unit}"
    if properties.get("ActiveState") in ("activating", "failed"):
        return f"it does not stay up; the reason: journalctl -u {unit} -n 30"
    return f"systemctl start {unit}"


def _describe_end(until: object) -> str:
    if not isinstance(until, float):
        return "a reservation"
    left = until - time.time()
    if left > 0:
        return f"which stands in the store for another {format_seconds(left)}"
    return f"which ended {format_seconds(-left)} ago: the subnet may be another host's by now"


def _describe_subnet_env(path: Path) -> str:
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return f"{path}: {' '.join(words)}"


def _describe_devices(names: AbstractSet[str]) -> str:
    try:
        links = read_links().values()
    except KernelError as error:
        return str(error)
    found = [
        f"{link.name} ({', '.join(filter(None, ('up' if link.up else 'DOWN', f'MTU {link.mtu}', link.mac)))})"
        for link in links
        if not isinstance(link, OtherLink) and link.name in names
    ]
    return ", ".join(found) or "none"
