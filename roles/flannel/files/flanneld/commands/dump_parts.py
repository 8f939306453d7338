# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a support archive: what each is called, and how it is had."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._agent import ask_agent
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store, open_store

from flanneld import __version__
from flanneld.commands.reading import run_program
from flanneld.commands.settings import Settings
from flanneld.outputs.state_dir import StateDir
from flanneld.tables.link import read_links

_JOURNAL_LINES = 2000
_COMMANDS: Tuple[Tuple[str, str], ...] = (
    ("kernel/links.json", "ip -d -s -j link"),
    ("kernel/addresses.json", "ip -d -j addr"),
    ("kernel/routes.json", "ip -d -j route show table all"),
    ("kernel/routes6.json", "ip -6 -d -j route show table all"),
    ("kernel/rules.json", "ip -j rule"),
    ("kernel/neighbours.json", "ip -d -s -j neigh"),
    ("kernel/fdb.json", "bridge -d -s -j fdb"),
    ("kernel/ipsec-policies.txt", "ip -s xfrm policy"),
    ("kernel/ipsec-states.txt", "ip -s xfrm state list nokeys"),
    ("kernel/sockets.txt", "ss -lunp"),
    ("kernel/wireguard.txt", "wg show"),  # which hides keys, as `wg showconf` does not
    ("kernel/modules.txt", "lsmod"),
    ("kernel/sysctls.txt", r"sysctl -a --pattern ip_forward|\.forwarding|rp_filter|bridge-nf|accept_ra$"),
    ("firewall/iptables.txt", "iptables-save -c"),
    ("firewall/ip6tables.txt", "ip6tables-save -c"),
    ("firewall/nftables.txt", "nft list ruleset"),
    ("versions/kernel.txt", "uname -a"),
    ("versions/iptables.txt", "iptables --version"),
    ("versions/nft.txt", "nft --version"),
    ("versions/systemd.txt", "systemctl --version"),
)


@dataclass(frozen=True)
class Part:
    """name: of the file in the archive. read: its text; may raise FlannelError or OSError."""

    name: str
    read: Callable[[], str]


def list_parts(settings: Settings) -> Iterator[Part]:
    """Everything, cheap and certain things first."""
    options, instance = settings.options, settings.instance
    yield Part("versions/flanneld.txt", _describe_versions)
    yield Part("versions/os-release.txt", functools.partial(_read_file, "/etc/os-release"))
    yield Part("settings.txt", functools.partial(_describe_settings, settings))
    yield Part("service.env", functools.partial(_read_file, instance.env_file))
    yield Part("subnet.env", functools.partial(_read_file, options.subnet_file))
    state = StateDir(Path(options.state_dir))
    for path in (path for path in state.list_files() if path not in state.list_secret_files()):
        yield Part(f"state/{Path(path).name}", functools.partial(_read_file, path))
    yield Part("status.json", functools.partial(ask_agent, instance.socket))
    for name, command in _COMMANDS:
        yield Part(name, functools.partial(run_program, command.split()))
    for device in _list_devices():
        yield Part(f"kernel/offloads-{device}.txt", functools.partial(run_program, ["ethtool", "-k", device]))
    yield Part("unit.txt", functools.partial(run_program, ["systemctl", "cat", instance.unit]))
    yield Part("unit-state.txt", functools.partial(run_program, ["systemctl", "show", instance.unit]))
    journal = [
        "journalctl",
        "-u",
        instance.unit,
        "-n",
        str(_JOURNAL_LINES),
        "--no-pager",
        "-o",
        "short-precise",
    ]
    yield Part("journal.txt", functools.partial(run_program, journal))
    if Path(instance.charon_dir).exists():
        journal[2] = instance.charon_unit
        yield Part("charon-journal.txt", functools.partial(run_program, list(journal)))
    yield Part("store.json", functools.partial(_describe_store, settings))


def list_secrets(settings: Settings) -> List[str]:
    """The secrets of this host that are in no part, but may be quoted in one."""
    options, instance = settings.options, settings.instance
    shared = (
        options.wireguard_psk_file or instance.wireguard_psk_file,
        options.ipsec_psk_file or instance.ipsec_psk_file,
    )
    keys = StateDir(Path(options.state_dir)).list_secret_files()
    secrets: List[str] = []
    for path in filter(None, (options.etcd_password_file, *shared, *keys)):
        with contextlib.suppress(OSError):  # nobody can have quoted it, then
            secrets.append(Path(path).read_text(encoding="utf-8", errors="replace").rstrip("\r\n"))
    return secrets


def _read_file(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _describe_versions() -> str:
    lines = [f"flanneld {__version__} from {sys.argv[0]}", f"Python {sys.version}"]
    for name in ("pyroute2", "etcd3", "grpc", "google.protobuf"):
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            lines.append(f"{name}: {error}")
        else:
            lines.append(
                f"{name} {getattr(module, '__version__', 'of unknown version')} from {module.__file__}"
            )
    return "\n".join(lines) + "\n"


def _describe_settings(settings: Settings) -> str:
    options = settings.options
    lines = [f"# from {settings.source}; what is not given has its default"]
    lines += [f"{field.name} = {getattr(options, field.name)!r}" for field in fields(options)]
    return "\n".join(lines) + "\n"


def _list_devices() -> List[str]:
    """Devices that traffic of the network may pass, without those of single containers."""
    try:
        names = [link.name for link in read_links().values()]
    except FlannelError:
        return []
    return [name for name in names if name != "lo" and not name.startswith("veth")]


def _describe_store(settings: Settings) -> str:
    store = open_store(settings.options.store)
    try:
        layout = settings.options.layout
        config = store.get(layout.config)
        subnets, nodes = store.list(layout.subnets), store.list(layout.nodes)
        document = {
            "prefix": layout.prefix,
            "revision": subnets.revision,
            "cluster_id": f"{subnets.cluster_id:x}",
            "config": None if config is None else _describe_item(store, config),
            "subnets": [_describe_item(store, item) for item in subnets.items],
            "nodes": [_describe_item(store, item) for item in nodes.items],
        }
    finally:
        store.close()
    return json.dumps(document, indent=2) + "\n"


def _describe_item(store: Store, item: KeyValue) -> Dict[str, Any]:
    """ttl: seconds left; None for a key without an etcd lease."""
    return {
        "key": item.key,
        "value": item.value.decode("utf-8", "replace"),
        "lease": f"{item.lease_id:x}",
        "ttl": store.time_to_live(item.lease_id) if item.lease_id else None,
        "create_revision": item.create_revision,
        "mod_revision": item.mod_revision,
        "version": item.version,
    }
