# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""What Docker's default bridge should be, what it is, and what keeps flannel's options from reaching it. All pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from ipaddress import IPv4Network
from itertools import islice
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError

# The variables that docker-options.sh writes; the generator appends them to dockerd's command.
OPTION_VARIABLES = ("$DOCKER_OPT_BIP", "$DOCKER_OPT_IPMASQ", "$DOCKER_OPT_MTU")
# Keys of daemon.json, which are also dockerd's flags. dockerd refuses to start when one of the first three is in both
# places, and when there is a bridge of the operator's beside --bip.
OPTIONS_OF_FLANNEL = ("bip", "mtu", "ip-masq", "bridge")
# Docker's own choice of default-address-pools, and how many subnets of each pool are tried.
_DOCKERS_POOLS: Sequence[Mapping[str, Any]] = [
    {"base": f"172.{second}.0.0/16", "size": 16} for second in range(17, 32)
]
_TRIED = 256
_FLAG = re.compile(r"(?<![\w-])(?:--?(?P<long>bip|mtu|ip-masq|bridge)(?![\w-])|-b(?=[\s=]))")


class DockerError(FlannelError):
    """Docker cannot be asked, or cannot be brought in line with subnet.env."""


@dataclass(frozen=True)
class Bridge:
    """Docker's default bridge: its address with prefix length ("10.5.72.1/24"), the MTU that containers get in
    bytes, and whether Docker masquerades what leaves it."""

    address: str
    mtu: int
    ip_masq: bool

    def differences(self, other: Bridge) -> Tuple[str, ...]:
        """What would change from this bridge to the other: ("mtu 1500 -> 1450",); empty if nothing."""
        pairs = (
            (field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self)
        )
        return tuple(f"{name} {before} -> {after}" for name, before, after in pairs if before != after)


@dataclass(frozen=True)
class Conflict:
    """A line of the operator's that sets what flannel sets. line counts from 1."""

    path: str
    line: int
    text: str
    option: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: remove {self.option!r} from: {self.text}"


def wanted_bridge(path: str, subnet_env: str) -> Bridge:
    """The bridge that subnet.env asks for (spec 3.1). Raises DockerError if the file lacks a key."""
    values = dict(line.split("=", 1) for line in subnet_env.splitlines() if "=" in line)
    try:
        # FLANNEL_IPMASQ=true: flanneld masquerades, so Docker must not.
        return Bridge(
            values["FLANNEL_SUBNET"], int(values["FLANNEL_MTU"]), values["FLANNEL_IPMASQ"] != "true"
        )
    except (KeyError, ValueError) as error:
        raise DockerError(
            path, f"it is not a subnet.env of flanneld: {error!r}", "restart flanneld"
        ) from error


def running_bridge(network: Mapping[str, Any], links: str) -> Bridge:
    """The bridge as it is.

    network: the answer to GET /networks/bridge of Docker's API, for MTU and masquerading; the device tells the MTU
    of its ports, not what containers will get. links: `ip -j address show dev docker0`, for the address.
    """
    options = network.get("Options") or {}
    addresses = [
        f"{entry['local']}/{entry['prefixlen']}"
        for link in json.loads(links or "[]")
        for entry in link.get("addr_info", [])
        if entry["family"] == "inet"
    ]
    return Bridge(
        addresses[0] if addresses else "none",
        int(options.get("com.docker.network.driver.mtu", 1500)),
        options.get("com.docker.network.bridge.enable_ip_masquerade", "true") == "true",
    )


def parse_properties(text: str) -> Dict[str, str]:
    """The output of `systemctl show`; a property that comes in several lines (EnvironmentFiles) is joined."""
    properties: Dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            properties[name] = f"{properties[name]} {value}" if name in properties else value
    return properties


def is_wired(exec_start: str) -> bool:
    """True if the command of docker.service (property ExecStart) ends in flannel's options."""
    words = exec_start.partition("argv[]=")[2].partition(" ;")[0].split()
    return all(variable in words for variable in OPTION_VARIABLES)


def has_options_of_flannel(command: Sequence[str]) -> bool:
    """True if dockerd was started with flannel's options; a host whose operator sets them has never been wired."""
    return all(any(word.startswith(flag) for word in command) for flag in ("--bip=", "--ip-masq=", "--mtu="))


def find_in_daemon_json(path: str, text: str) -> Tuple[Conflict, ...]:
    """The keys of daemon.json that flannel sets as flags. Raises DockerError if it is not JSON."""
    if not text.strip():
        return ()
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise DockerError(
            path, f"it is not JSON: {error}", "correct it; dockerd cannot read it either"
        ) from error
    return tuple(
        locate(path, text, option, re.compile(rf'"{option}"\s*:'))
        for option in OPTIONS_OF_FLANNEL
        if isinstance(settings, dict) and option in settings
    )


def locate(path: str, text: str, option: str, pattern: re.Pattern[str]) -> Conflict:
    """Where in the file the option stands; line 1 if the file is one long line."""
    found = pattern.search(text)
    line = text.count("\n", 0, found.start()) if found else 0
    return Conflict(path, line + 1, text.splitlines()[line].strip(), option)


def find_in_lines(path: str, text: str) -> Tuple[Conflict, ...]:
    """The flags of dockerd in a unit file or an environment file that flannel sets too; comments do not count."""
    return tuple(
        Conflict(path, number, line.strip(), found.group("long") or "bridge")
        for number, line in enumerate(text.splitlines(), 1)
        if not line.lstrip().startswith(("#", ";"))
        for found in _FLAG.finditer(line)
    )


def plan_restart(
    running: Optional[Bridge], wanted: Optional[Bridge], containers: Tuple[str, ...], consent: bool
) -> Tuple[bool, str]:
    """(restart Docker now?, what is pending instead).

    running is None while Docker is stopped, wanted while there is no subnet.env: Docker reads it when it starts.
    """
    if running is None or wanted is None or not running.differences(wanted):
        return False, ""
    if containers and not consent:
        return False, (
            f"Docker must be restarted to take its bridge from subnet.env ({', '.join(running.differences(wanted))}); "
            f"that stops {len(containers)} running container(s): {', '.join(containers)}; "
            "allow it with flannel_docker_restart: true"
        )
    return True, ""


def choose_own_bridge(path: str, text: str, taken: Sequence[str]) -> str:
    """The address that Docker would give its bridge by itself: "172.17.0.1/16", or the next one that is free.

    path, text: daemon.json, which may name other pools. taken: where the host has IPv4 routes to. Raises DockerError.
    """
    try:
        settings: Mapping[str, Any] = json.loads(text) if text.strip() else {}
        pools: Sequence[Mapping[str, Any]] = settings.get("default-address-pools") or _DOCKERS_POOLS
        subnets = [
            subnet
            for pool in pools
            if ":" not in pool["base"]
            for subnet in islice(IPv4Network(pool["base"]).subnets(new_prefix=int(pool["size"])), _TRIED)
        ]
        networks = [IPv4Network(destination, strict=False) for destination in taken]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DockerError(path, f"its address pools cannot be read: {error!r}", "correct them") from error
    for subnet in subnets:
        if not any(subnet.overlaps(network) for network in networks):
            return f"{subnet[1]}/{subnet.prefixlen}"
    raise DockerError(path, "no address pool of Docker's is free", "name one in default-address-pools")


def plan_return(from_subnet: bool, containers: Tuple[str, ...], consent: bool) -> Tuple[bool, str]:
    """(restart Docker now, so that it gets its own bridge back?, what is pending instead).

    from_subnet: the bridge that it has now is the one that flannel's options ask for.
    """
    if not from_subnet:
        return False, ""
    if containers and not consent:
        return False, (
            "Docker must be restarted to get its own bridge back; "
            f"that stops {len(containers)} running container(s): {', '.join(containers)}; "
            "allow it with flannel_docker_restart: true"
        )
    return True, ""
