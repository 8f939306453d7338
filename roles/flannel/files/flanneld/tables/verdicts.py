# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What chains of nftables (as `nft --json` lists them) do with the packets of one network that come in by one device.

Read without the kernel, so with one restraint: a rule about anything else than the device and the addresses (ports,
states, sets, what iptables hides in "xt") is for other packets, as far as we know.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Iterator, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import Network

Rule = Sequence[Mapping[str, Any]]
ACCEPT, DROP = "accept", "drop"
_REFUSALS = frozenset({"drop", "reject"})
_TARGETS = frozenset({"accept", "drop", "reject", "return", "jump", "goto"})
_BESIDES = frozenset({"counter", "log"})  # say nothing about which packets a rule is for


@dataclass(frozen=True)
class Flow:
    """Packets from and to addresses in a network, that come in by a device. Of what is None nothing is known."""

    device: Optional[str] = None
    network: Optional[Network] = None

    def concerns(self, family: str) -> bool:
        """Whether chains of this family ("ip", "ip6", "inet") see them."""
        return (
            self.network is None or family not in ("ip", "ip6") or self.network.version == _VERSIONS[family]
        )


_VERSIONS: Mapping[str, int] = {"ip": 4, "ip6": 6}


def judge(chains: Mapping[str, Sequence[Rule]], name: str, flow: Flow) -> Optional[str]:
    """ACCEPT or DROP, None when the chain is left without either. chains: of one table; the kernel refuses loops."""
    for rule in chains.get(name, ()):
        kind, target = _find_verdict(rule)
        if not kind or not all(_fits(part, flow) for part in rule):
            continue
        if kind == "return":
            return None
        if kind in _REFUSALS:
            return DROP
        if kind == "accept":
            return ACCEPT
        found = judge(chains, target, flow)
        if found is not None or kind == "goto":
            return found
    return None


def _find_verdict(rule: Rule) -> Tuple[str, str]:
    """What the rule does, and the chain that it leads to; "" if it does nothing that matters."""
    for part in rule:
        for kind, value in part.items():
            if kind in _TARGETS:
                return kind, value["target"] if isinstance(value, dict) and "target" in value else ""
            if kind == "xt" and _name_xt(value) == "REJECT":
                return "reject", ""
    return "", ""


def _fits(part: Mapping[str, Any], flow: Flow) -> bool:
    """Whether this part of a rule lets the rule be for the flow."""
    ((kind, value),) = part.items()
    if kind == "match":
        return _matches(value, flow)
    if kind == "xt":
        return _name_xt(value) in ("comment", "REJECT", "LOG")
    return kind in _BESIDES or kind in _TARGETS


def _name_xt(value: Optional[Mapping[str, Any]]) -> str:
    """The name of iptables' match or target; nft before 1.0.6 does not tell it."""
    return str(value.get("name", "")) if value is not None else ""


def _matches(match: Mapping[str, Any], flow: Flow) -> bool:
    left, wanted = match["left"], tuple(_list_values(match["right"]))
    if left == {"meta": {"key": "iifname"}} and flow.device is not None:
        same = any(_is_name(flow.device, value) for value in wanted)
        return same if match["op"] == "==" else not same and match["op"] == "!="
    field = left.get("payload", {}).get("field") if isinstance(left, dict) else None
    if field in ("saddr", "daddr") and flow.network is not None and match["op"] == "==":
        return any(_holds(value, flow.network) for value in wanted)
    return False


def _list_values(right: Any) -> Iterator[Any]:
    if isinstance(right, dict) and "set" in right:
        yield from right["set"]
    else:
        yield right


def _is_name(device: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return device.startswith(value[:-1]) if value.endswith("*") else device == value


def _holds(value: Any, network: Network) -> bool:
    """True if the address or prefix of a rule has the whole network in it."""
    try:
        if isinstance(value, dict):
            prefix = value["prefix"]
            outer = ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False)
        else:
            outer = ip_network(ip_address(value))
    except (KeyError, TypeError, ValueError):
        return False
    return outer.version == network.version and network.subnet_of(outer)  # type: ignore[arg-type]
