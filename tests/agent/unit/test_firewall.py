# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall rules, word for word (spec 6.1, 6.3, 9.2), and which tables they are kept in.

tests/agent/netns proves that iptables and nft print what the files in golden/ say, and what the rules do to packets.
"""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_network
from typing import List

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, IPV4
from flanneld.firewall import Masquerade, Policy, iptables_chains, nftables_tables
from flanneld.instance import Instance
from flanneld.tables import KernelError
from flanneld.tables.iptables import canonical_rule, parse_save
from flanneld.tables.nftables import parse_table
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.firewall import POLICIES, golden, nft_table

MASQ = '-m comment --comment "flanneld masq"'
SPARED = (ip_network("192.168.7.0/24"), ip_network("fd99::/64"))


@pytest.fixture(params=FAMILIES, ids=[family.name for family in FAMILIES])
def policy(request: pytest.FixtureRequest) -> Policy:
    return POLICIES[request.param]


def test_the_iptables_chains_are_the_golden_ones(policy: Policy) -> None:
    lines: List[str] = []
    for chain in iptables_chains(Instance(), policy):
        lines += [f"*{chain.table}", f"-A {chain.parent} {chain.jump}"]
        lines += [f"-A {chain.name} {rule}" for rule in chain.rules]
    assert lines == golden("iptables-save", policy.family)


def test_the_nftables_rules_are_the_golden_ones(policy: Policy) -> None:
    table = nft_table(policy)
    rules = [f"\t\t{rule}" for chain in table.chains for rule in chain.rules]
    lines = golden("nft-list", policy.family)
    assert lines[:2] == [f"table {table} {{", f'\tcomment "rules for {table.name}"']
    assert [line for line in lines if line.endswith(("return", "accept", "fully-random"))] == rules
    assert [line for line in lines if "chain to" in line] == [
        f'\t\tcomment "{c.comment}"' for c in table.chains
    ]


def test_the_option_for_random_ports_can_be_left_out(policy: Policy) -> None:
    plain = replace(policy, masquerade=Masquerade(random_fully=False))
    rules = iptables_chains(Instance(), plain)[0].rules
    assert [rule for rule in rules if "MASQUERADE" in rule] == [
        rule for rule in rules if rule.endswith("MASQUERADE")
    ]
    table = nft_table(plain)
    assert [rule.endswith(" masquerade") for rule in table.chains[1].rules] == [False] * 4 + [True] * 2


def test_spared_destinations_return_before_the_first_masquerade(policy: Policy) -> None:
    spared = replace(policy, masquerade=Masquerade(True, SPARED))
    own = next(network for network in SPARED if network.version == policy.network.version)
    before, after = (iptables_chains(Instance(), one)[0].rules for one in (policy, spared))
    assert after == (*before[:4], f"-s {policy.network} -d {own} {MASQ} -j RETURN", *before[4:])
    before, after = (nft_table(one).chains[1].rules for one in (policy, spared))
    ip = "ip" if policy.family is IPV4 else "ip6"
    assert after == (*before[:4], f"{ip} saddr {policy.network} {ip} daddr {own} return", *before[4:])


@pytest.mark.parametrize(
    ("spared", "iptables", "nft"),
    [
        (
            "203.0.113.9/32",
            "-s 10.42.0.0/16 -d 203.0.113.9/32 ",
            "ip saddr 10.42.0.0/16 ip daddr 203.0.113.9 return",
        ),
        ("0.0.0.0/0", "-s 10.42.0.0/16 -m comment", "ip saddr 10.42.0.0/16 return"),
    ],
)
def test_single_and_all_addresses_are_written_as_the_programs_print_them(
    spared: str, iptables: str, nft: str
) -> None:
    policy = replace(POLICIES[IPV4], masquerade=Masquerade(True, (ip_network(spared),)))
    assert iptables_chains(Instance(), policy)[0].rules[4].startswith(iptables)
    assert nft_table(policy).chains[1].rules[4] == nft


def test_each_part_can_be_declined(policy: Policy) -> None:
    no_masquerade, no_forward = replace(policy, masquerade=None), replace(policy, forward=False)
    nothing = replace(policy, masquerade=None, forward=False)
    assert [chain.name for chain in iptables_chains(Instance(), no_masquerade)] == ["FLANNEL-FWD"]
    assert [chain.name for chain in iptables_chains(Instance(), no_forward)] == ["FLANNEL-POSTRTG"]
    assert iptables_chains(Instance(), nothing) == ()
    assert [chain.name for chain in nft_table(no_masquerade).chains] == ["forward"]
    assert [chain.name for chain in nft_table(no_forward).chains] == ["postrtg"]
    assert nftables_tables(Instance(), no_forward) == (nft_table(no_forward),), "and no opening"
    assert nftables_tables(Instance(), nothing) == ()


def test_the_names_are_those_of_the_instance(policy: Policy) -> None:
    names = [chain.name for chain in iptables_chains(Instance("blue"), policy)]
    assert names == ["FLANNEL-POSTRTG-BLUE", "FLANNEL-FWD-BLUE"]
    table = nft_table(policy, Instance("blue"))
    assert table.name == f"flannel-{policy.family.name}-blue"


@pytest.mark.parametrize(
    ("printed", "rule"),
    [
        ("-j ACCEPT", "-j ACCEPT"),
        ("-m comment --comment flanneld -j ACCEPT", "-m comment --comment flanneld -j ACCEPT"),
        ('-m comment --comment "flanneld" -j ACCEPT', "-m comment --comment flanneld -j ACCEPT"),
        ('-m comment --comment "flanneld masq" -j X', '-m comment --comment "flanneld masq" -j X'),
        ("! -s fd05::/48 -m mark --mark 0x4000/0x4000", "! -s fd05::/48 -m mark --mark 0x4000/0x4000"),
        ('--comment "it\\\'s" -j X', '--comment "it\'s" -j X'),
        ('--comment "of two', '--comment "of two'),
    ],
)
def test_quotes_are_where_they_are_needed(printed: str, rule: str) -> None:
    assert canonical_rule(printed) == rule


@pytest.mark.parametrize("text", ['a "quoted" word', "a \\ backslash", "a $dollar", "a 'single' one"])
def test_comments_of_others_survive_being_moved(text: str) -> None:
    """Rules of others are given back to iptables-restore when their jump to us is deleted."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    once = canonical_rule(f"-m comment --comment {quoted} -j X")
    assert canonical_rule(once) == once
    assert f"--comment {quoted} -j X" in once


PIECES = [
    "*nat",
    ":POSTROUTING",
    "-A POSTROUTING",
    " ",
    "-j FLANNEL-FWD",
    '"',
    "\\",
    "'",
    "\n",
    "\u2028",
    "\udcfc",
    "#",
]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
def test_no_output_of_iptables_save_ends_the_agent(text: str) -> None:
    for saved in parse_save(text).values():
        saved.find_chain(IPV4, "nat", "FLANNEL-FWD")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "Error: something",
        '{"nftables": 7}',
        '{"nftables": [{"chain": {}}]}',
        '{"nftables": [{"rule": {"chain": "postrtg", "expr": []}}]}',
        '{"nftables": [{"chain": {"name": "c"}}, {"rule": {"chain": "c", "expr": ["accept"]}}]}',
    ],
)
def test_output_of_nft_that_is_not_understood_is_never_taken_for_an_empty_table(text: str) -> None:
    with pytest.raises(KernelError, match="is not understood"):
        parse_table(IPV4, "flannel-ipv4", text)


WORDS = [
    "chain",
    "rule",
    "table",
    "set",
    "expr",
    "match",
    "left",
    "right",
    "op",
    "payload",
    "protocol",
    "field",
    "meta",
    "key",
    "&",
    "prefix",
    "addr",
    "len",
    "name",
    "accept",
    "masquerade",
    "flags",
    "comment",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["ip", "daddr", "mark", "==", "10.5.0.0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None)
@given(st.lists(JSON, max_size=5))
def test_no_output_of_nft_ends_the_agent(entries: List[object]) -> None:
    whole = {
        "nftables": [
            {"chain": {"name": "postrtg"}},
            {"rule": {"chain": "postrtg", "expr": entries}},
            *entries,
        ]
    }
    try:
        table = parse_table(IPV4, "flannel-ipv4", json.dumps(whole))
    except KernelError:
        return
    assert table != nft_table(POLICIES[IPV4])
