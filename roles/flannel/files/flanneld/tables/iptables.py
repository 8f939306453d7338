# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our iptables chains, each with its jump (spec 6.1, 6.2).

A check is one `iptables-save`, a repair one `iptables-restore`, for each family: atomic for each iptables table, so
that rules are never missing for a moment, and without a process per rule. Rules are compared, in order, as the text
iptables-save prints.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family

from . import Change, KernelError, Key, Notice
from .refusal import RETRIED
from .scope import Scope

_SECONDS = 15.0
_LOCK_SECONDS = "5"
_CHAIN_PREFIX = "FLANNEL-"  # jumps of other instances, and ours, may share the head of a parent chain
_FULLY_RANDOM_SINCE = (1, 6, 2)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


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
    """One table as iptables-save printed it. chains: rules of each chain, in order."""

    chains: Dict[str, List[str]] = field(default_factory=dict)

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
    """Our chains in nat and filter, for the families given."""

    name = "iptables"
    kind = Chain

    def __init__(
        self, scope: Scope, families: Sequence[Family], programs: Mapping[Family, Programs] = PROGRAMS
    ) -> None:
        self._scope = scope
        self._families = tuple(families)
        self._programs = programs

    def dump(self) -> Dict[Key, Chain]:
        found: Dict[Key, Chain] = {}
        for family in self._families:
            for table, saved in self._save(family).items():
                for name in self._scope.chains & saved.chains.keys():
                    chain = _read_chain(family, table, name, saved)
                    found[chain.key] = chain
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
                script = _write_script(mine, self._save(family))
                _run((self._programs[family].restore, "--noflush", "-w", _LOCK_SECONDS), script)
            except KernelError as error:
                errors.update({change.key: error for change in mine})
        return errors

    def notice(self, message: object) -> Optional[Notice]:
        """None: the kernel says that rules changed, but not usefully which (see watch_netfilter)."""
        return None

    def _save(self, family: Family) -> Dict[str, SavedTable]:
        return parse_save(_run((self._programs[family].save,)))


def has_random_fully(family: Family, programs: Mapping[Family, Programs] = PROGRAMS) -> bool:
    """True if this iptables knows MASQUERADE --random-fully (1.6.2 and later).

    True, too, if there is none to ask: that is reported by the table, which is where it can be tried again.
    """
    try:
        text = _run((programs[family].iptables, "--version"))
    except KernelError:
        return True
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", text)
    return found is not None and tuple(int(part) for part in found.groups()) >= _FULLY_RANDOM_SINCE


def parse_save(text: str) -> Dict[str, SavedTable]:
    """The tables in the output of iptables-save, by name.

    Raises KernelError when a table that matters holds rules that iptables cannot show.
    """
    tables: Dict[str, SavedTable] = {}
    current = SavedTable()
    for line in text.splitlines():
        hidden = re.match(r"# Table `(nat|filter)' is incompatible", line)
        if hidden is not None:
            raise KernelError(
                f"iptables table {hidden[1]}",
                "holds rules that iptables cannot show, made with nft",
                "let nothing but iptables write the nft tables nat and filter, or set EnableNFTables",
            )
        if line.startswith("*"):
            current = tables.setdefault(line[1:].strip(), SavedTable())
        elif line.startswith(":"):
            current.chains.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            _option, name, rule = line.split(" ", 2)
            # Of thousands of other rules (kube-proxy) only the place matters.
            text = canonical_rule(rule) if _CHAIN_PREFIX in line else rule
            current.chains.setdefault(name, []).append(text)
    return tables


def canonical_rule(rule: str) -> str:
    """The rule with quotes exactly where a word needs them: versions differ about it."""
    return " ".join(
        word if re.fullmatch(r"[\w./:,=!-]+", word) else _quote(word) for word in shlex.split(rule)
    )


def _quote(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _read_chain(family: Family, table: str, name: str, saved: SavedTable) -> Chain:
    parents = [chain for chain, _rule in saved.references(name)]
    parent = parents[0] if len(set(parents)) == 1 else ""
    jump = saved.well_placed_jump(parent, name) if parent else ""
    return Chain(family, table, name, tuple(saved.chains[name]), parent, jump)


def _write_script(changes: Sequence[Change], saved: Mapping[str, SavedTable]) -> str:
    lines: List[str] = []
    for table in sorted({change.key[1] for change in changes}):  # type: ignore[index]
        lines.append(f"*{table}")
        for change in changes:
            if change.key[1] == table:  # type: ignore[index]
                lines += _write_change(change, saved.get(table, SavedTable()))
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


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


def _run(command: Sequence[str], script: str = "") -> str:
    """Standard output of the program, which reads the script. Raises KernelError."""
    search = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    program = shutil.which(command[0], path=search)
    if program is None:
        raise KernelError(
            command[0],
            "is not installed",
            "install iptables, or run without --ip-masq and with --iptables-forward-rules=false",
        )
    try:
        done = subprocess.run(
            [program, *command[1:]],
            input=script,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise KernelError(command[0], f"did not finish within {_SECONDS:.0f} s", RETRIED) from error
    except OSError as error:
        raise KernelError(
            command[0], f"cannot be run: {error.strerror}", "repair the iptables package"
        ) from error
    if done.returncode == 0:
        return done.stdout
    cause = done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"exit status {done.returncode}"
    step = RETRIED
    if "Permission denied" in done.stderr or "Operation not permitted" in done.stderr:
        step = "give flanneld CAP_NET_ADMIN and CAP_NET_RAW in this network namespace (flanneld.service does)"
    raise KernelError(" ".join(command), cause, step)
