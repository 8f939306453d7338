# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`flanneld network`: the network `flannel` of podman or nerdctl, made from subnet.env."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._envfile import parse_env_file

from flanneld.commands.settings import Settings, asks_for_help, read_settings, take_switches
from flanneld.instance import DEFAULT
from flanneld.options import UsageError
from flanneld.outputs.container_network import (
    CONFLIST_FILE,
    NAME,
    NETAVARK_FILE,
    ContainerNetwork,
    ContainerNetworkError,
    is_ours,
    read_network,
    render_conflist,
    render_netavark,
)
from flanneld.outputs.files import FileError, write_atomically
from flanneld.tables.device import OtherLink
from flanneld.tables.link import read_links
from flanneld.tables.programs import SEARCH, run_program
from flanneld.tables.underlay import read_interfaces

USAGE = """\
flanneld network --podman|--nerdctl|--remove [--dry-run]

Makes the network `flannel`, whose containers have addresses of this host's subnet and its MTU, from subnet.env:
    podman run --network flannel ...      nerdctl run --network flannel ...
flannel-network.service calls it at boot and whenever subnet.env changes. Containers that run are left alone.

  --podman    for podman, with the backend that it has, netavark or CNI
  --nerdctl   for nerdctl, and whatever else reads /etc/cni/net.d
  --remove    take it away again; a bridge that containers use stays
  --dry-run   say what would change, and change nothing

Exit code: 0 done, or nothing to do, 1 the network cannot be made, 7 the kernel refused, 8 a file cannot be written.
"""
FILES = (NETAVARK_FILE, CONFLIST_FILE)


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Raises UsageError, ContainerNetworkError, FileError, KernelError."""
    if asks_for_help(arguments):
        print(USAGE, end="")
        return 0
    switches, flags = take_switches(arguments, ("podman", "nerdctl", "remove", "dry-run"))
    what = switches - {"dry-run"}
    if len(what) != 1:
        raise UsageError(
            "flanneld network", f"{len(what)} of --podman, --nerdctl and --remove are given", "give one"
        )
    settings = read_settings(flags, environment)
    if settings.instance.name != DEFAULT:
        raise UsageError(
            f"flag --instance={settings.instance.name}",
            "podman and nerdctl take their network from the instance default",
            "leave it out",
        )
    for line in _apply(settings, what.pop(), "dry-run" in switches):
        print(line)
    return 0


def _apply(settings: Settings, what: str, dry: bool) -> List[str]:
    """What has changed, line by line."""
    network = None if what == "remove" else _read(Path(settings.options.subnet_file))
    bridge = settings.instance.container_bridge
    wanted: Mapping[str, str] = {}
    if network is not None:
        _refuse_shared_subnet(network, bridge)
        wanted = _make_files(network, what, bridge)
    for path in wanted:
        _refuse_others(Path(path))
    changes = _find_changes(wanted)
    if not dry:
        for path, text in changes.items():
            _write(Path(path), text)
    done = [f"{'written' if text else 'removed'}: {path}" for path, text in changes.items()]
    return [f"would be {line}" if dry else line for line in done] + _settle_bridge(network, bridge, dry)


def _read(path: Path) -> ContainerNetwork:
    """Raises ContainerNetworkError."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ContainerNetworkError(
            str(path),
            f"it cannot be read: {error.strerror}",
            "see whether flanneld is ready: flanneld status",
        ) from error
    return read_network(str(path), parse_env_file(text))


def _make_files(network: ContainerNetwork, what: str, bridge: str) -> Dict[str, str]:
    """The files that there are to be; none as long as there is no podman. Raises ContainerNetworkError."""
    if what == "nerdctl":
        return {CONFLIST_FILE: render_conflist(network, bridge)}
    if shutil.which("podman", path=SEARCH) is None:
        print("podman is not installed: it gets its network when it is")
        return {}
    if find_backend(run_program(("podman", "info", "--format", "json"))) == "netavark":
        return {NETAVARK_FILE: render_netavark(network, bridge)}
    return {CONFLIST_FILE: render_conflist(network, bridge)}


def find_backend(info: str) -> str:
    """What makes podman's networks, "netavark" or "cni", by `podman info --format json`; podman 3 knows only CNI.

    podman itself says it, once and for good, when it is first asked: were a conflist of ours there before, it would
    take CNI. Raises ContainerNetworkError.
    """
    try:
        return str(json.loads(info)["host"].get("networkBackend") or "cni")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ContainerNetworkError(
            "podman info --format json", f"prints what is not understood: {error!r}", "run it by hand"
        ) from error


def _refuse_shared_subnet(network: ContainerNetwork, bridge: str) -> None:
    """Two bridges with one subnet: the kernel would send packets to either. Raises ContainerNetworkError."""
    bridges = {
        link.name for link in read_links().values() if isinstance(link, OtherLink) and link.kind == "bridge"
    }
    for interface in read_interfaces()[0]:
        shared = [a.address for a in interface.addresses if network.has(a.address)]
        if shared and interface.name in bridges - {bridge}:
            raise ContainerNetworkError(
                f"network {NAME}",
                f"{interface.name} has {shared[0]} of this host's subnet, and one bridge alone can be there",
                f"give up one of the two (flannel_docker: false is for Docker), then: ip link delete {interface.name}",
            )


def _refuse_others(path: Path) -> None:
    """Raises ContainerNetworkError."""
    text = _read_text(path)
    if text and not is_ours(text):
        raise ContainerNetworkError(
            str(path),
            f"it is a network {NAME} that flanneld has not made, and there can be one of that name",
            "remove it, or move it to another name",
        )


def _find_changes(wanted: Mapping[str, str]) -> Dict[str, str]:
    """Paths with what gets there; "" for those of ours that go: podman may have got another backend."""
    found = {path: _read_text(Path(path)) for path in FILES}
    return {
        path: wanted.get(path, "")
        for path, text in found.items()
        if text != wanted.get(path, "") and (path in wanted or is_ours(text))
    }


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """Raises FileError."""
    if text:
        write_atomically(path, text, 0o644)
        return
    try:
        path.unlink()
    except OSError as error:
        raise FileError(str(path), f"it cannot be removed: {error.strerror}", "remove it by hand") from error


def _settle_bridge(network: Optional[ContainerNetwork], bridge: str, dry: bool) -> List[str]:
    """A bridge of what subnet.env said before, or that nobody wants any more, goes if no container uses it.

    netavark removes its bridge with the last container; CNI leaves it, and refuses new containers because of its
    address. network: None if none is wanted. Raises KernelError.
    """
    links = {i: link for i, link in read_links().items() if isinstance(link, OtherLink)}
    found = {interface.name: interface for interface in read_interfaces()[0]}.get(bridge)
    if found is None or (network is not None and network.fits(found)):
        return []
    ports = sum(1 for link in links.values() if link.master in links and links[link.master].name == bridge)
    if ports:
        return [
            f"left: {bridge}, on which {ports} container(s) have what they were started with: stop them all, "
            f"then, if it is still there: ip link delete {bridge}"
        ]
    if not dry:
        run_program(("ip", "link", "delete", "dev", bridge))
    return [f"{'would be ' if dry else ''}removed: {bridge}, which no container uses"]
