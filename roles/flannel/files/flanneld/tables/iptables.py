# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our iptables chains, each with its jump (spec 6.1, 6.2).

A check is one `iptables-save`, a repair one `iptables-restore`, for each family: atomic for each iptables table, so
that rules are never missing for a moment, and without a process per rule. Rules are compared, in order, as the text
iptables-save prints.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family

from . import Change, KernelError, Key, Notice
from .programs import MissingProgram, run_program
from .scope import Scope

_LOCK_SECONDS = "5"
_CHAIN_PREFIX = "FLANNEL-"  # jumps of other instances, and ours, may share the head of a parent chain
_FULLY_RANDOM_SINCE = (1, 6, 2)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_NEEDLESS_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\(?=')")  # iptables-save writes it's as it\'s

MULTICAST: Mapping[Family, str] = MappingProxyType({IPV4: "224.0.0.0/4", IPV6: "ff00::/8"})
"""Destinations that no flannel rule masquerades (spec 6.1)."""


class Programs(NamedTuple):
    """The iptables programs of one family, by name or path."""

    iptables: str
    save: str
    restore: str


PROGRAMS: Mapping[Family, Programs] = MappingProxyType(
    {
        IPV4: Programs("iptables", "iptables-save", "iptables-restore"),
        IPV6: Programs("ip6tables", "ip6tables-save", "ip6tables-restore"),
    }
)


@dataclass(frozen=True)
class Chain:
    """One chain of ours with all its rules, and the jump that leads to it.

    table: "nat" or "filter". rules, jump: as iptables-save prints them after "-A <chain> ".
    parent: the chain that jumps here. The jump is right when it is there exactly once, and before it are only jumps
    to other flannel chains. A chain as found on the host has jump "" when that is not so.
    """

    family: Family
    table: str
    name: str
    rules: Tuple[str, ...]
    parent: str
    jump: str

    @property
    def key(self) -> Key:
        return (self.family.name, self.table, self.name)

    @property
    def device(self) -> str:
        return ""

    def __str__(self) -> str:
        return f"{self.family.name} {self.table}/{self.name}"


@dataclass
class SavedTable:
    """One table as iptables-save printed it. chains: rules of each chain, in order. policies: "-" for user chains."""

    chains: Dict[str, List[str]] = field(default_factory=dict)
    policies: Dict[str, str] = field(default_factory=dict)

    def find_chain(self, family: Family, table: str, name: str) -> Optional[Chain]:
        """That chain of this table as it is, with its jump; None if there is none."""
        if name not in self.chains:
            return None
        parents = {chain for chain, _rule in self.references(name)}
        parent = parents.pop() if len(parents) == 1 else ""
        jump = self.well_placed_jump(parent, name) if parent else ""
        return Chain(family, table, name, tuple(self.chains[name]), parent, jump)

    def references(self, name: str) -> List[Tuple[str, str]]:
        """All (chain, rule) that jump to this chain."""
        return [
            (chain, rule)
            for chain, rules in self.chains.items()
            for rule in rules
            if name in rule and _target(rule) == name
        ]

    def well_placed_jump(self, parent: str, name: str) -> str:
        """The jump from parent to this chain; "" unless it is the only one and at the head."""
        jumps = [rule for chain, rule in self.references(name) if chain == parent]
        if len(jumps) != 1:
            return ""
        for rule in self.chains[parent]:
            if rule == jumps[0]:
                return rule
            if not _target(rule).startswith(_CHAIN_PREFIX):
                break
        return ""


class IptablesTable:
    """Our chains in nat and filter, for the families given.

    Without the programs there is nothing to see, and every chain that is wanted fails with MissingProgram. So it is
    with one family that cannot be read, which leaves the other alone: writing begins with reading.
    """

    name = "iptables"
    kinds = (Chain,)

    def __init__(
        self, scope: Scope, families: Sequence[Family], programs: Mapping[Family, Programs] = PROGRAMS
    ) -> None:
        self._scope = scope
        self._families = tuple(families)
        self._programs = programs

    def dump(self) -> Dict[Key, Chain]:
        found: Dict[Key, Chain] = {}
        unreadable: List[KernelError] = []
        for family in self._families:
            try:
                tables = save_rules(family, self._programs)
            except MissingProgram:
                continue
            except KernelError as error:
                unreadable.append(error)
                continue
            for table, saved in tables.items():
                for name in self._scope.chains:
                    chain = saved.find_chain(family, table, name)
                    if chain is not None:
                        found[chain.key] = chain
        if unreadable and len(unreadable) == len(self._families):
            raise unreadable[0]
        return found

    def owns(self, thing: Chain) -> bool:
        return thing.name in self._scope.chains

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        for family in self._families:
            mine = [c for c in changes if c.thing.family == family]
            if not mine:
                continue
            try:
                restore_rules(
                    family, _write_changes(mine, save_rules(family, self._programs)), self._programs
                )
            except KernelError as error:
                errors.update({change.key: error for change in mine})
        return errors

    def notice(self, message: object) -> Optional[Notice]:
        """None: the kernel says that rules changed, but not usefully which (see watch_netfilter)."""
        return None


def save_rules(family: Family, programs: Mapping[Family, Programs] = PROGRAMS) -> Dict[str, SavedTable]:
    """All tables of a family, by name. Raises KernelError; MissingProgram without iptables-save."""
    return parse_save(run_program((programs[family].save,)), programs[family].iptables)


def restore_rules(
    family: Family, lines: Mapping[str, Sequence[str]], programs: Mapping[Family, Programs] = PROGRAMS
) -> None:
    """Carry out the lines for each table (":CHAIN - [0:0]", "-A ...", "-D ..."), each table at once or not at all.

    Raises KernelError.
    """
    script = [line for table in sorted(lines) for line in (f"*{table}", *lines[table], "COMMIT")]
    run_program((programs[family].restore, "--noflush", "-w", _LOCK_SECONDS), "\n".join(script) + "\n")


def has_random_fully(family: Family, programs: Mapping[Family, Programs] = PROGRAMS) -> bool:
    """True if this iptables knows MASQUERADE --random-fully (1.6.2 and later).

    True, too, if there is none to ask: that is reported by the table, which is where it can be tried again.
    """
    try:
        text = run_program((programs[family].iptables, "--version"))
    except KernelError:
        return True
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", text)
    return found is not None and tuple(int(part) for part in found.groups()) >= _FULLY_RANDOM_SINCE


def parse_save(text: str, program: str = "iptables") -> Dict[str, SavedTable]:
    """The tables in the output of iptables-save, by name. program: iptables or ip6tables, for messages.

    Raises KernelError when a table that matters holds rules that iptables cannot show.
    """
    tables: Dict[str, SavedTable] = {}
    current = SavedTable()
    for line in text.split("\n"):  # a comment may hold what else splitlines() takes for the end of a line
        hidden = re.match(r"# Table `(nat|filter)' is incompatible", line)
        if hidden is not None:
            raise KernelError(
                f"{program} table {hidden[1]}",
                "holds rules that iptables cannot show, made with nft",
                "let nothing but iptables write the nft tables nat and filter, or set EnableNFTables",
            )
        if line.startswith("*"):
            current = tables.setdefault(line[1:].strip(), SavedTable())
        elif line.startswith(":"):
            name, policy = (*line[1:].split(), "", "")[:2]
            current.chains.setdefault(name, [])
            current.policies[name] = policy
        elif line.startswith("-A "):
            # without match and target it only counts, and nothing follows the name
            name, _space, rule = line[3:].partition(" ")
            # Of thousands of other rules (kube-proxy) only the place matters.
            text = canonical_rule(rule) if _CHAIN_PREFIX in line else rule
            current.chains.setdefault(name, []).append(text)
    return tables


def canonical_rule(rule: str) -> str:
    """The rule with quotes exactly where a word needs them: versions differ about it.

    As it is, if it is but the first line of one: a comment with a line break is printed over several.
    """
    try:
        words = shlex.split(_NEEDLESS_ESCAPE.sub(r"\1", rule))
    except ValueError:
        return rule
    return " ".join(word if re.fullmatch(r"[\w./:,=!-]+", word) else _quote(word) for word in words)


def _quote(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write_changes(changes: Sequence[Change], saved: Mapping[str, SavedTable]) -> Dict[str, List[str]]:
    lines: Dict[str, List[str]] = {}
    for change in changes:
        table = change.thing.table
        lines.setdefault(table, []).extend(_write_change(change, saved.get(table, SavedTable())))
    return lines


def _write_change(change: Change, saved: SavedTable) -> List[str]:
    chain: Chain = change.thing
    jumps = [f"-D {parent} {rule}" for parent, rule in saved.references(chain.name)]
    if change.after is None:
        gone = chain.name not in saved.chains
        return jumps + ([] if gone else [f"-F {chain.name}", f"-X {chain.name}"])
    rules = [f"-A {chain.name} {rule}" for rule in chain.rules]
    # Declaring a chain makes it, or empties it; nobody sees it empty, because all of it takes effect at COMMIT.
    declared = [f":{chain.name} - [0:0]", *rules]
    if saved.well_placed_jump(chain.parent, chain.name) == chain.jump and len(jumps) == 1:
        return declared
    return declared + jumps + [f"-I {chain.parent} 1 {chain.jump}"]


def _target(rule: str) -> str:
    found = re.search(r"(?:^| )-[jg] (\S+)", _QUOTED.sub("", rule))  # a comment may say anything
    return found[1] if found is not None else ""
