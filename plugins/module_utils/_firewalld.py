# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Openings by firewalld: two policies of ours, one for what comes in and one for what is forwarded.

A policy (firewalld.policies(5)) is asked before the zones, whatever zone an interface is in or is moved to, and what is
in it is ours as a whole. It cannot be made at run time, so the first one costs a reload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._openings import PROTOCOLS
from ansible_collections.weft.flannel.plugins.module_utils._passage import Passage, Plan

Command = Tuple[str, ...]

_PROGRAM = "firewall-cmd"
_PERMANENT = (_PROGRAM, "--permanent")
_DIRECTORY = "/etc/firewalld/policies"
_NO_RULES: FrozenSet[str] = frozenset()


@dataclass(frozen=True)
class Policy:
    """egress: "HOST" for what comes in, "ANY" for what is forwarded. rules: firewalld's rich rules.
    usual: everything else is as a new policy of ours has it."""

    egress: str
    rules: FrozenSet[str]
    usual: bool = True


Policies = Mapping[str, Policy]


def read_policies(output: str) -> Dict[str, Policy]:
    """By name, from what `firewall-cmd --list-all-policies` prints."""
    return dict(_read_policy(block.splitlines()) for block in output.split("\n\n") if block.strip())


def _read_policy(lines: Sequence[str]) -> Tuple[str, Policy]:
    name = lines[0].split()[0]
    values: Dict[str, str] = {}
    rules = []
    for line in lines[1:]:
        # Rich rules have a line each, after a tab; a setting has two blanks before it.
        if line.startswith("\t"):
            rules.append(line.strip())
        else:
            key, _colon, value = line.strip().partition(":")
            values[key] = value.strip()
    egress = values.pop("egress-zones", "")
    return name, Policy(egress, frozenset(rules), {**_USUAL, **values} == _USUAL)


_USUAL = {
    "priority": "-1",
    "target": "CONTINUE",
    "ingress-zones": "ANY",
    "services": "",
    "ports": "",
    "protocols": "",
    "masquerade": "no",
    "forward-ports": "",
    "source-ports": "",
    "icmp-blocks": "",
    "rich rules": "",
}


def plan_policies(
    name: str, passages: Sequence[Passage], permanent: Policies, runtime: Policies, exclusive: bool
) -> Plan:
    """From the policies that are there, on disk and in force, to those that let the passages through.

    exclusive: rules that are not wanted go. A policy without rules is none.
    """
    wanted = {
        f"{name}-in": Policy("HOST", frozenset(_render_hosts(passages))),
        f"{name}-fw": Policy("ANY", frozenset(_render_networks(passages))),
    }
    before: List[str] = []
    after: List[str] = []
    commands: List[Command] = []
    reload = False
    changes_in_force: List[Command] = []
    for policy_name, policy in wanted.items():
        saved, in_force = permanent.get(policy_name), runtime.get(policy_name)
        rules = policy.rules if exclusive or saved is None else policy.rules | saved.rules
        target = Policy(policy.egress, rules) if rules else None
        before += [*_describe("permanent", policy_name, saved), *_describe("runtime", policy_name, in_force)]
        after += [*_describe("permanent", policy_name, target), *_describe("runtime", policy_name, target)]
        commands += _change_saved(policy_name, saved, target)
        if _has_frame_of(in_force, target):
            changes_in_force += _change_rules((_PROGRAM,), policy_name, in_force, target)
        else:
            reload = True
    commands += [(_PROGRAM, "--reload")] if reload else changes_in_force
    return Plan(tuple(before), tuple(after), tuple(commands))


def _has_frame_of(policy: Optional[Policy], target: Optional[Policy]) -> bool:
    """Both are there, or neither, and they differ in their rules at most."""
    if policy is None or target is None:
        return policy is target
    return (policy.egress, policy.usual) == (target.egress, target.usual)


def _change_saved(name: str, saved: Optional[Policy], target: Optional[Policy]) -> Iterator[Command]:
    if _has_frame_of(saved, target):
        yield from _change_rules(_PERMANENT, name, saved, target)
        return
    if saved is not None:
        yield (*_PERMANENT, f"--delete-policy={name}")
    if target is None:
        # firewalld renames the file of a policy that it deletes.
        yield ("rm", "--force", f"{_DIRECTORY}/{name}.xml.old")
    else:
        yield (*_PERMANENT, f"--new-policy={name}")
        yield (*_PERMANENT, f"--policy={name}", "--add-ingress-zone=ANY")
        yield (*_PERMANENT, f"--policy={name}", f"--add-egress-zone={target.egress}")
        yield from _change_rules(_PERMANENT, name, None, target)


def _change_rules(
    program: Command, name: str, policy: Optional[Policy], target: Optional[Policy]
) -> Iterator[Command]:
    had = policy.rules if policy is not None else _NO_RULES
    wanted = target.rules if target is not None else _NO_RULES
    for option, rules in (("--add-rich-rule", wanted - had), ("--remove-rich-rule", had - wanted)):
        if rules:
            yield (*program, f"--policy={name}", *(f"{option}={rule}" for rule in sorted(rules)))


def _describe(layer: str, name: str, policy: Optional[Policy]) -> Iterator[str]:
    if policy is not None:
        yield f"{layer} policy {name}: ANY -> {policy.egress}{'' if policy.usual else ', changed by somebody'}"
        yield from (f"{layer} policy {name}: {rule}" for rule in sorted(policy.rules))


def _render_hosts(passages: Sequence[Passage]) -> Iterator[str]:
    for passage in passages:
        host, opening = passage.host, passage.opening
        if host is None or opening is None:
            continue
        start = f'rule family="ipv{host.version}" source address="{host}"'
        if opening.port is None:
            yield f'{start} protocol value="{PROTOCOLS[opening.protocol]}" accept'
        else:
            yield f'{start} port port="{opening.port}" protocol="{opening.protocol}" accept'


def _render_networks(passages: Sequence[Passage]) -> Iterator[str]:
    for passage in passages:
        for word, network in (("source", passage.source), ("destination", passage.destination)):
            if network is not None:
                yield f'rule family="ipv{network.version}" {word} address="{network}" accept'
