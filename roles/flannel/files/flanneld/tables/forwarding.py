# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What else on a host may drop the packets that flannel's forward rules accept, for `flanneld check`.

Every chain that hooks into prerouting and forwarding is asked, and one drop is enough: an accept elsewhere does not
overrule it. Docker 28 drops, before forwarding, what other hosts send to the addresses of its containers.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from . import KernelError
from .iptables import parse_save
from .nftables import NFT
from .programs import run_program
from .verdicts import DROP, Flow, Rule, judge

log = logging.getLogger(__name__)

LEGACY: Mapping[str, str] = MappingProxyType({"ip": "iptables-legacy-save", "ip6": "ip6tables-legacy-save"})
_OURS = "FLANNEL-"
_LEGACY_GUARD = re.compile(r"-d \S+ ! -i \S+ -j DROP")
_LEGACY_VERDICT = re.compile(r"-j (ACCEPT|DROP|REJECT)\b")  # of every packet
_RULE = "one of its rules drops or rejects whatever none before accepts"
_POLICY = "its policy is drop"
_ALL = Flow()


@dataclass(frozen=True)
class ForwardDrop:
    """One chain. family: "ip", "ip6" or "inet"; chain: with its table ("filter FORWARD")."""

    family: str
    chain: str
    cause: str
    next_step: str

    def __str__(self) -> str:
        return f"firewall chain {self.family} {self.chain}: {self.cause}; {self.next_step}"


def find_forward_drops(
    flows: Sequence[Flow] = (_ALL,), nft: str = NFT, legacy: Mapping[str, str] = LEGACY
) -> Tuple[ForwardDrop, ...]:
    """The chains that drop or reject packets of these flows, and that do not ask us first.

    With those chains in prerouting that drop what comes for a container by another way than its bridge.
    What cannot be read (no such program) is passed over. A chain named here may still accept flannel's packets by a
    rule about something else than devices and addresses.
    """
    found = [*_find_in_nft(nft, flows)]
    for family, program in legacy.items():
        if any(flow.concerns(family) for flow in flows):
            found += _find_in_legacy(family, program)
    return tuple(found)


def _find_in_nft(nft: str, flows: Sequence[Flow]) -> Iterator[ForwardDrop]:
    chains: List[Dict[str, Any]] = []
    tables: Dict[Tuple[str, str], Dict[str, List[Rule]]] = {}
    for entry in _list_ruleset(nft):
        if entry.get("chain", {}).get("hook") in ("forward", "prerouting"):
            chains.append(entry["chain"])
        elif "rule" in entry:
            rule = entry["rule"]
            table = tables.setdefault((rule["family"], rule["table"]), {})
            table.setdefault(rule["chain"], []).append(rule.get("expr", []))
    for chain in chains:
        family, name = chain["family"], chain["name"]
        concerned = [flow for flow in flows if flow.concerns(family)]
        rules = tables.get((family, chain["table"]), {})
        if chain["hook"] == "forward":
            causes = (_find_drop(chain.get("policy", "accept"), rules, name, flow) for flow in concerned)
            cause = next(filter(None, causes), "")
            if cause:
                yield _describe(family, chain["table"], name, cause)
        elif concerned and any(map(_guards_a_container, rules.get(name, []))):
            yield _describe_guard(family, chain["table"], name)


def _list_ruleset(nft: str) -> List[Dict[str, Any]]:
    try:
        entries = json.loads(run_program((nft, "--json", "list", "ruleset")))["nftables"]
    except (KernelError, ValueError, KeyError) as error:
        log.debug("nftables rules are not known: %s", error)
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


def _find_drop(policy: str, chains: Mapping[str, Sequence[Rule]], name: str, flow: Flow) -> str:
    """Why the chain drops the flow; "" if it does not."""
    rules = chains.get(name, ())
    if rules and _is_jump_to_us(rules[0]):
        return ""
    others = {chain: found for chain, found in chains.items() if not chain.startswith(_OURS)}
    verdict = judge(others, name, flow)
    if verdict == DROP:
        return _RULE
    return _POLICY if verdict is None and policy == "drop" else ""


def _guards_a_container(rule: Rule) -> bool:
    """True for: to this address, not through this bridge, drop."""
    matches = [part["match"] for part in rule if "match" in part]
    return (
        any("drop" in part for part in rule)
        and any(match["left"] == {"meta": {"key": "iifname"}} and match["op"] == "!=" for match in matches)
        and any(_field(match["left"]) == "daddr" for match in matches)
    )


def _field(left: Any) -> str:
    return str(left["payload"].get("field", "")) if isinstance(left, dict) and "payload" in left else ""


def _is_jump_to_us(rule: Rule) -> bool:
    """Of every packet: with a comment and a counter at most."""
    besides = [part for part in rule if not part.keys() & {"counter", "xt"}]
    return len(besides) == 1 and str(besides[0].get("jump", {}).get("target", "")).startswith(_OURS)


def _find_in_legacy(family: str, program: str) -> Iterator[ForwardDrop]:
    try:
        tables = parse_save(run_program((program,)))
    except KernelError as error:
        log.debug("rules of iptables-legacy are not known: %s", error)
        return
    forward, raw = tables.get("filter"), tables.get("raw")
    if forward is not None:
        rules = forward.chains.get("FORWARD", [])
        verdicts = [found[1] for found in map(_LEGACY_VERDICT.match, rules) if found]
        verdict = verdicts[0] if verdicts else forward.policies.get("FORWARD")
        if verdict in ("DROP", "REJECT") and not (rules and f"-j {_OURS}" in rules[0]):
            cause = _RULE if verdicts else _POLICY
            yield _describe(family, "filter", "FORWARD", f"{cause} (iptables-legacy)")
    if raw is not None and any(map(_LEGACY_GUARD.match, raw.chains.get("PREROUTING", []))):
        yield _describe_guard(family, "raw", "PREROUTING")


def _describe(family: str, table: str, chain: str, cause: str) -> ForwardDrop:
    step = "accept the flannel network there as source and as destination"
    if table == "filter" and chain == "FORWARD":
        step = "run flanneld with forward rules (--iptables-forward-rules), or " + step
    if table == "firewalld":
        step = (
            "put the bridge and flannel's device into a zone that forwards: firewall-cmd --permanent --zone=trusted "
            "--add-interface=docker0 --add-interface=flannel.1, then firewall-cmd --reload"
        )
    return ForwardDrop(family, f"{table} {chain}", cause, step)


def _describe_guard(family: str, table: str, chain: str) -> ForwardDrop:
    return ForwardDrop(
        family,
        f"{table} {chain}",
        "drops what comes for a container's own address by another way than its bridge (Docker 28 and later)",
        "start dockerd with --allow-direct-routing (28.2 and later; before, with DOCKER_INSECURE_NO_IPTABLES_RAW=1 in "
        "its environment)",
    )
