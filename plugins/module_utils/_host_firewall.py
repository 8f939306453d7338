# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The program that manages a host's own firewall, told to let the other hosts in.

Not the rules of flanneld itself: those masquerade and accept in FORWARD, and flanneld keeps them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple, Union

from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError, OptionError
from ansible_collections.weft.flannel.plugins.module_utils._firewalld import plan_policies, read_policies
from ansible_collections.weft.flannel.plugins.module_utils._gojson import encode
from ansible_collections.weft.flannel.plugins.module_utils._openings import (
    Opening,
    list_forwarded,
    list_openings,
    parse_opening,
)
from ansible_collections.weft.flannel.plugins.module_utils._options import refuse_secrets
from ansible_collections.weft.flannel.plugins.module_utils._passage import Passage, Plan
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, Address, Family, Network
from ansible_collections.weft.flannel.plugins.module_utils._ufw import parse_added, plan_rules

MANAGERS = ("firewalld", "ufw")
NONE = "none"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,14}")


class HostFirewallError(FlannelError):
    """The host's firewall manager cannot be asked, or does not do what it is told."""


class CommandRunner(Protocol):
    """What is used here of AnsibleModule."""

    def run_command(
        self, args: List[str], *, environ_update: Optional[Dict[str, str]] = None
    ) -> Tuple[int, str, str]:
        """Its exit status, what it wrote, and what it complained about."""

    def get_bin_path(self, arg: str, *, required: bool = False) -> Optional[str]:
        """The path of a program, if it is installed."""


WANTED_SPEC: Mapping[str, Mapping[str, Any]] = {
    "name": {"type": "str", "default": "flannel"},
    "manager": {"type": "str", "choices": ["auto", *MANAGERS], "default": "auto"},
    "config": {"type": "dict"},
    "ports": {"type": "list", "elements": "str", "default": []},
    "hosts": {"type": "list", "elements": "str", "default": []},
}


@dataclass(frozen=True)
class Wanted:
    """What the options ask for. openings: what to let in."""

    name: str
    openings: Tuple[Opening, ...]
    passages: Tuple[Passage, ...]


def read_wanted(params: Mapping[str, Any]) -> Wanted:
    """The options of WANTED_SPEC. Raises OptionError, ConfigError."""
    name = params["name"]
    if _NAME.fullmatch(name) is None:
        raise OptionError(
            f"option name: {name}",
            "is no name for openings",
            "write at most 15 lower-case letters, digits and dashes",
        )
    hosts = tuple(dict.fromkeys(_parse_host(text) for text in params["hosts"]))
    openings = [parse_opening(text) for text in params["ports"]]
    passages: List[Passage] = []
    families: Tuple[Family, ...] = FAMILIES
    if params["config"] is not None:
        refuse_secrets(params["config"])
        config = parse_config(encode(params["config"]))
        families = config.underlay_families
        openings = [*list_openings(config), *openings]
        for network in list_forwarded(config):
            passages += [Passage(source=network), Passage(destination=network)]
    versions = {family.version for family in families}
    for host in hosts:
        if host.version in versions:
            passages += [
                Passage(host=host, opening=opening)
                for opening in openings
                if opening.family is None or opening.family.version == host.version
            ]
    return Wanted(name, tuple(openings), tuple(passages))


def _parse_host(text: str) -> Union[Address, Network]:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise OptionError(
            f"option hosts: {text}",
            f"is no address: {error}",
            "write addresses such as 192.0.2.11, or networks such as 192.0.2.0/24",
        ) from None
    return network.network_address if network.prefixlen == network.max_prefixlen else network


def find_active(host: CommandRunner) -> Tuple[str, ...]:
    """The managers that are active. Raises HostFirewallError."""
    return tuple(name for name in MANAGERS if _is_active(host, name))


def choose_manager(host: CommandRunner, asked: str) -> str:
    """The manager that is active, NONE without one. Raises HostFirewallError if another one is asked for."""
    active = find_active(host)
    if asked == "auto":
        # With both, both filter: one that is open is not enough.
        if len(active) > 1:
            raise HostFirewallError(
                "firewall of this host",
                f"{' and '.join(active)} are active, and each drops what the other lets in",
                "disable one of them, or name one in option manager and open the other yourself",
            )
        return active[0] if active else NONE
    if asked not in active:
        raise HostFirewallError(
            f"firewall manager {asked}",
            "is not active on this host",
            f"start it ({_STARTED_BY[asked]}), or set option manager to auto, which takes what is active",
        )
    return asked


_STARTED_BY = {"firewalld": "systemctl enable --now firewalld", "ufw": "ufw enable"}


def _is_active(host: CommandRunner, manager: str) -> bool:
    program = host.get_bin_path(_PROGRAMS[manager])
    if program is None:
        return False
    if manager == "firewalld":
        return _run(host, program, "--state")[0] == 0
    status, output, errors = _run(host, program, "status")
    if status:
        raise _fault((program, "status"), errors or output)
    return output.startswith("Status: active")


_PROGRAMS = {"firewalld": "firewall-cmd", "ufw": "ufw"}


def plan_change(host: CommandRunner, manager: str, wanted: Wanted, exclusive: bool) -> Plan:
    """What has to be done; nothing with the manager NONE. Raises HostFirewallError, OptionError.

    exclusive: what stands under this name and is not wanted goes.
    """
    if manager == "firewalld":
        permanent, runtime = (
            read_policies(_ask(host, "firewall-cmd", *layer, "--list-all-policies"))
            for layer in (("--permanent",), ())
        )
        return plan_policies(wanted.name, wanted.passages, permanent, runtime, exclusive)
    if manager == "ufw":
        return plan_rules(
            wanted.name, wanted.passages, parse_added(_ask(host, "ufw", "show", "added")), exclusive
        )
    return Plan((), (), ())


def carry_out(host: CommandRunner, plan: Plan) -> None:
    """Run the commands of a plan. Raises HostFirewallError at the first that fails; a rerun goes on from there."""
    for command in plan.commands:
        _ask(host, *command)


def describe_plan(manager: str, wanted: Wanted, plan: Plan) -> Dict[str, Any]:
    """What flannel_host_firewall and its sibling return in common."""
    return {
        "manager": manager,
        "openings": [str(opening) for opening in wanted.openings],
        "missing": [line for line in plan.after if line not in plan.before],
    }


def build_diff(name: str, plan: Plan) -> Dict[str, str]:
    """The lines under that name before and after."""
    before, after = ("".join(f"{line}\n" for line in lines) for lines in (plan.before, plan.after))
    header = f"openings {name}"
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def _ask(host: CommandRunner, program: str, *arguments: str) -> str:
    """What the program prints. Raises HostFirewallError when it fails."""
    status, output, errors = _run(host, program, *arguments)
    if status:
        raise _fault((program, *arguments), errors or output)
    return output


def _run(host: CommandRunner, *command: str) -> Tuple[int, str, str]:
    return host.run_command(list(command), environ_update={"LC_ALL": "C", "LANGUAGE": "C"})


def _fault(command: Sequence[str], said: str) -> HostFirewallError:
    return HostFirewallError(
        f"command `{' '.join(command)}`", said.strip() or "failed", "run it on the host to see more"
    )
