# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that flannel v0.9 to v0.14 left directly in POSTROUTING and FORWARD (spec 6.6); upstream never removes them.

They are recognised by exact match with the networks of this instance. Those in POSTROUTING only where upstream's
masquerading stands, too: with masquerading of another form people also wrote the exceptions from it by hand. Those in
FORWARD, a pair that people also wrote by hand, only where it stands as a pair and where our own chain does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import AbstractSet, Collection, Dict, Iterator, List, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, Family, Network, family_of

from . import Change, KernelError, Key, Notice
from .iptables import MULTICAST, PROGRAMS, Programs, restore_rules, save_rules
from .programs import MissingProgram
from .scope import Scope


@dataclass(frozen=True)
class LegacyRule:
    """One such rule. table, chain: where it stands; rule: as iptables-save prints it; copies: how often."""

    family: Family
    table: str
    chain: str
    rule: str
    copies: int

    @property
    def key(self) -> Key:
        return (self.family.name, self.table, self.rule)

    @property
    def device(self) -> str:
        return ""

    def __str__(self) -> str:
        return f"{self.family.name} {self.table}/{self.chain} {self.rule}"


class LegacyRuleTable:
    """Such rules in all families. forwarding: those whose FORWARD our own chain serves."""

    name = "legacy iptables rule"
    kinds = (LegacyRule,)

    def __init__(
        self, scope: Scope, forwarding: Collection[Family], programs: Mapping[Family, Programs] = PROGRAMS
    ) -> None:
        self._scope = scope
        self._forwarding = frozenset(forwarding)
        self._programs = programs

    def dump(self) -> Dict[Key, LegacyRule]:
        found: Dict[Key, LegacyRule] = {}
        for family in FAMILIES:
            networks = [network for network in self._scope.networks if family_of(network) == family]
            if not networks:
                continue
            try:
                saved = save_rules(family, self._programs)
            except MissingProgram:
                continue
            nat, forward = (
                saved[table].chains.get(chain, []) if table in saved else []
                for table, chain in (("nat", "POSTROUTING"), ("filter", "FORWARD"))
            )
            masquerading = [network for network in networks if not _masquerades(network).isdisjoint(nat)]
            legacy = [
                ("nat", "POSTROUTING", rule) for rule in nat if self._is_masquerade_rule(rule, masquerading)
            ]
            if family in self._forwarding:
                legacy += [("filter", "FORWARD", rule) for rule in _forward_rules(forward, networks)]
            for table, chain, rule in legacy:
                thing = LegacyRule(family, table, chain, rule, legacy.count((table, chain, rule)))
                found[thing.key] = thing
        return found

    def owns(self, thing: LegacyRule) -> bool:
        return True

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        for family in FAMILIES:
            mine = [change for change in changes if change.thing.family == family]
            lines: Dict[str, List[str]] = {}
            for rule in (change.thing for change in mine):
                lines.setdefault(rule.table, []).extend([f"-D {rule.chain} {rule.rule}"] * rule.copies)
            try:
                if lines:
                    restore_rules(family, lines, self._programs)
            except KernelError as error:
                errors.update({change.key: error for change in mine})
        return errors

    def notice(self, message: object) -> Optional[Notice]:
        """None: nobody makes such rules any more."""
        return None

    def _is_masquerade_rule(self, rule: str, networks: Sequence[Network]) -> bool:
        for network in networks:
            if rule in _masquerades(network) or rule == f"-s {network} -d {network} -j RETURN":
                return True
            start, end = f"! -s {network} -d ", " -j RETURN"
            if rule.startswith(start) and rule.endswith(end):
                return self._is_subnet(rule[len(start) : -len(end)])
        return False

    def _is_subnet(self, text: str) -> bool:
        try:
            subnet = ip_network(text)
        except ValueError:
            return False
        return self._scope.has_slot(subnet) or any(
            subnet.subnet_of(network)  # type: ignore[arg-type]
            for network in self._scope.former
            if network.version == subnet.version
        )


def _masquerades(network: Network) -> AbstractSet[str]:
    """The rules that masquerade; v0.14 made them with --random-fully where it could."""
    multicast = MULTICAST[family_of(network)]
    plain = {f"-s {network} ! -d {multicast} -j MASQUERADE", f"! -s {network} -d {network} -j MASQUERADE"}
    return plain | {f"{rule} --random-fully" for rule in plain}


def _forward_rules(rules: Sequence[str], networks: Sequence[Network]) -> Iterator[str]:
    pairs = [(f"-s {network} -j ACCEPT", f"-d {network} -j ACCEPT") for network in networks]
    for pair in zip(rules, rules[1:]):
        if pair in pairs:
            yield from pair
