# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our nftables tables, one for each family (spec 6.3).

A check is one `nft --json list table`, a repair one transaction that replaces the table, for each family: rules are
never missing for a moment. JSON is the form of nft's output that does not change with its version.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family

from . import Change, KernelError, Key, Notice
from .programs import MissingProgram, run_program

log = logging.getLogger(__name__)

NFT = "nft"
_ABSENT = "No such file or directory"
_FAMILY_WORD: Mapping[Family, str] = MappingProxyType({IPV4: "ip", IPV6: "ip6"})


@dataclass(frozen=True)
class NftChain:
    """One base chain. rules: as `nft list` prints them. comment: is written, but not compared: JSON lacks it."""

    name: str
    type: str
    hook: str
    priority: int
    rules: Tuple[str, ...]
    policy: str = "accept"
    comment: str = field(default="", compare=False)


@dataclass(frozen=True)
class NftTable:
    """One table of ours with all that is in it. foreign: what else somebody put there, as JSON."""

    family: Family
    name: str
    chains: Tuple[NftChain, ...]
    foreign: Tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return (self.family.name, self.name)

    @property
    def device(self) -> str:
        return ""

    def __str__(self) -> str:
        return f"{_FAMILY_WORD[self.family]} {self.name}"


class NftablesTable:
    """Our nftables table in each family given, by name; all others are never looked at.

    Without nft there is nothing to see, and every table that is wanted fails with MissingProgram.
    """

    name = "nftables"
    kinds = (NftTable,)

    def __init__(self, names: Mapping[Family, str], program: str = NFT) -> None:
        self._names = dict(names)
        self._program = program

    def dump(self) -> Dict[Key, NftTable]:
        found: Dict[Key, NftTable] = {}
        for family, name in self._names.items():
            try:
                text = run_program((self._program, "--json", "list", "table", _FAMILY_WORD[family], name))
            except MissingProgram:
                return {}
            except KernelError as error:
                if _ABSENT not in error.cause:
                    raise
                continue
            table = parse_table(family, name, text)
            found[table.key] = table
        return found

    def owns(self, thing: NftTable) -> bool:
        return self._names.get(thing.family) == thing.name

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, KernelError]:
        errors: Dict[Key, KernelError] = {}
        for change in changes:
            try:
                run_program((self._program, "--file", "-"), _write_change(change))
            except KernelError as error:
                errors[change.key] = error
        return errors

    def notice(self, message: object) -> Optional[Notice]:
        """None: that something in nftables changed is all that is told (see watch_netfilter)."""
        return None


def has_random_fully(family: Family, program: str = NFT) -> bool:
    """True if nft and kernel know `masquerade fully-random` in this family: asked by a transaction that is not made.

    True, too, if there is no nft to ask: that is reported by the table, which is where it can be tried again.
    """
    chain = NftChain("probe", "nat", "postrouting", 100, ("masquerade fully-random",))
    probe = NftTable(family, "flannel-probe", (chain,))
    try:
        run_program((program, "--check", "--file", "-"), write_table(probe))
    except MissingProgram:
        return True
    except KernelError as error:
        log.warning("nftables: random fully unsupported in %s: %s", family.name, error.cause)
        return False
    return True


def write_table(table: NftTable) -> str:
    """The table in the language of nft, as a file for `nft --file` that replaces it whole."""
    lines = [f"table {table} {{", f'\tcomment "rules for {table.name}"']
    for chain in table.chains:
        lines += [
            f"\tchain {chain.name} {{",
            f'\t\tcomment "{chain.comment}"',
            f"\t\ttype {chain.type} hook {chain.hook} priority {chain.priority}; policy {chain.policy};",
            *(f"\t\t{rule}" for rule in chain.rules),
            "\t}",
        ]
    return _write_removal(table) + "\n".join([*lines, "}"]) + "\n"


def _write_change(change: Change) -> str:
    return _write_removal(change.before) if change.after is None else write_table(change.after)


def _write_removal(table: Any) -> str:
    return f"add table {table}\ndelete table {table}\n"  # adding makes deleting right where there is none


def parse_table(family: Family, name: str, text: str) -> NftTable:
    """The table in the output of `nft --json list table`. Raises KernelError when it is not such output."""
    chains: Dict[str, Tuple[Dict[str, Any], List[str]]] = {}
    foreign: List[str] = []
    try:
        for entry in json.loads(text)["nftables"]:
            ((kind, value),) = entry.items()
            if kind == "chain":
                chains[value["name"]] = (value, [])
            elif kind == "rule":
                chains[value["chain"]][1].append(_render_rule(value))
            elif kind != "metainfo" and (kind != "table" or value.get("flags")):
                foreign.append(json.dumps(entry, sort_keys=True))
        return NftTable(
            family,
            name,
            tuple(_read_chain(value, rules) for value, rules in chains.values()),
            tuple(foreign),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KernelError(
            f"nft --json list table {_FAMILY_WORD[family]} {name}",
            f"prints what is not understood ({error!r})",
            "report it with the output of this command and of `nft --version`; --firewall=iptables needs no nft",
        ) from error


def _read_chain(value: Mapping[str, Any], rules: Sequence[str]) -> NftChain:
    return NftChain(
        name=value["name"],
        type=value.get("type", ""),
        hook=value.get("hook", ""),
        priority=value.get("prio", 0),
        rules=tuple(rules),
        policy=value.get("policy", ""),
    )


def _render_rule(rule: Mapping[str, Any]) -> str:
    words = [_render(expression) for expression in rule["expr"]]
    if "comment" in rule:
        words.append(f'comment "{rule["comment"]}"')
    return " ".join(words)


def _render(expression: Mapping[str, Any]) -> str:
    """The statement as `nft list` prints it, as far as it is one that we make; as JSON otherwise."""
    ((kind, value),) = expression.items()
    if kind == "match":
        try:
            return _render_match(value)
        except (KeyError, ValueError, TypeError):
            pass
    elif kind in ("accept", "return", "masquerade") and value is None:
        return kind
    elif kind == "masquerade" and value in ({"flags": "fully-random"}, {"flags": ["fully-random"]}):
        return "masquerade fully-random"
    elif kind == "snat" and _list_words(value.get("type_flags")) == ["prefix"]:
        return f"snat prefix to {_render_network(value['addr'])}"
    return json.dumps(expression, sort_keys=True)


def _list_words(value: Any) -> List[str]:
    """Flags, which some versions of nft write as a word where there is one, and others as a list."""
    return [value] if isinstance(value, str) else list(value or ())


def _render_match(match: Mapping[str, Any]) -> str:
    left, operator, right = match["left"], match["op"], match["right"]
    if "payload" in left:
        selector = f"{left['payload']['protocol']} {left['payload']['field']}"
        sign = "" if operator == "==" else f"{operator} "
        return f"{selector} {sign}{_render_network(right)}"
    masked, mask = left["&"]
    return f"meta {masked['meta']['key']} & 0x{mask:08x} {operator} 0x{right:08x}"


def _render_network(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}"))
