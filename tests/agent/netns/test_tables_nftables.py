# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables table with the real program: what is written reads back equal, and whatever is done to it is undone."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Dict, Iterator, Mapping, Tuple

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    Family,
    Network,
)
from flanneld.firewall import Masquerade, Policy, make_firewall_tables, source_tables
from flanneld.instance import Instance
from flanneld.reconciler import Reconciler
from flanneld.tables import Change, KernelError
from flanneld.tables.nftables import NftablesTable, NftTable, has_random_fully
from flanneld.tables.programs import MissingProgram
from flanneld.tables.scope import Scope

from tests.support.firewall import POLICIES, golden, nft_table
from tests.support.kernel import fresh_namespace, sh

NAMES = {family: Instance().nftables_table(family) for family in FAMILIES}
SCOPE = Scope(frozenset(), "eth0", (), frozenset({"FLANNEL-POSTRTG", "FLANNEL-FWD"}))
OTHERS = (
    "'add table inet theirs; add chain inet theirs c { type filter hook forward priority 0; }; "
    "add rule inet theirs c ip saddr 10.42.0.0/16 accept'"
)


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with fresh_namespace():
        yield


def wanted(family: Family, spared: Tuple[Network, ...] = (), name: str = "default") -> NftTable:
    policy = POLICIES[family]
    masquerade = Masquerade(True, spared)
    return nft_table(
        Policy(family, policy.network, policy.subnet, masquerade, policy.forward), Instance(name)
    )


def bring_in(*tables: NftTable) -> NftablesTable:
    kept = NftablesTable({table.family: table.name for table in tables})
    found = kept.dump()
    assert kept.apply([Change(table.key, found.get(table.key), table) for table in tables]) == {}
    assert kept.dump() == {table.key: table for table in tables}
    return kept


def nft(command: str) -> None:
    sh(f"nft {command}")


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_nft_prints_the_golden_text(family: Family) -> None:
    bring_in(wanted(family))
    word = "ip" if family is IPV4 else "ip6"
    assert sh(f"nft list table {word} {NAMES[family]}") == [
        line.strip() for line in golden("nft-list", family)
    ]


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
@pytest.mark.parametrize(
    "spared",
    [
        ("192.168.7.0/24", "fd99::/64"),
        ("203.0.113.9/32", "fd99::9/128"),
        ("0.0.0.0/0", "::/0"),
        ("10.96.0.0/12", "fd99:8000::/19"),
    ],
)
def test_spared_destinations_read_back_equal(family: Family, spared: Tuple[str, ...]) -> None:
    bring_in(wanted(family, tuple(ip_network(text) for text in spared)))


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_the_chain_that_keeps_the_source_reads_back_equal(family: Family) -> None:
    """Alone, beside rules of iptables, and with the others."""
    policy = replace(POLICIES[family], keep_source=True)
    bring_in(*source_tables(Instance(), policy))
    bring_in(nft_table(policy))


def test_what_is_written_twice_is_there_once() -> None:
    bring_in(*(wanted(family) for family in FAMILIES))
    bring_in(*(wanted(family) for family in FAMILIES))


SPOILED: Dict[str, str] = {
    **{f"rule {number} of postrtg gone": f"postrtg {number}" for number in range(6)},
    **{f"rule {number} of forward gone": f"forward {number}" for number in range(2)},
    "foreign rule first": "insert rule ip flannel-ipv4 postrtg ip saddr 10.0.0.0/8 masquerade",
    "foreign rule last": "add rule ip flannel-ipv4 postrtg counter accept",
    "rule twice": "add rule ip flannel-ipv4 forward ip daddr 10.42.0.0/16 accept",
    "rule in upstream's form": "add rule ip flannel-ipv4 postrtg meta mark 0x4000 return",
    "chain emptied": "flush chain ip flannel-ipv4 postrtg",
    "chain gone": "'flush chain ip flannel-ipv4 forward; delete chain ip flannel-ipv4 forward'",
    "foreign chain": "add chain ip flannel-ipv4 theirs",
    "foreign set": "'add set ip flannel-ipv4 theirs { type ipv4_addr; }'",
    "policy changed": "'chain ip flannel-ipv4 forward { policy drop; }'",
    "put to sleep": "'add table ip flannel-ipv4 { flags dormant; }'",
    "table emptied": "flush table ip flannel-ipv4",
    "table gone": "delete table ip flannel-ipv4",
    "everything gone": "flush ruleset",
}


@pytest.mark.parametrize("what", SPOILED)
def test_a21_what_was_spoiled_is_seen_and_put_right(what: str) -> None:
    """Upstream never looks at its nftables rules again."""
    nft(OTHERS)
    tables = [wanted(family) for family in FAMILIES]
    bring_in(*tables)
    reconciler = Reconciler(make_firewall_tables(Instance(), SCOPE, tables))
    reconciler.want("us", tables)
    assert reconciler.reconcile() is None
    command = SPOILED[what]
    if what.endswith("gone") and what.startswith("rule"):
        command = delete_rule(*command.split())
    nft(command)
    theirs = sh("nft list ruleset inet")
    assert NftablesTable(NAMES).dump().get(tables[0].key) != tables[0]
    reconciler.mark(NftablesTable.name)
    assert reconciler.reconcile() is None
    assert NftablesTable(NAMES).dump() == {table.key: table for table in tables}
    assert reconciler.repairs[NftablesTable.name] == (2 if what == "everything gone" else 1)
    assert sh("nft list ruleset inet") == theirs
    reconciler.mark(NftablesTable.name)
    reconciler.reconcile()
    assert reconciler.repairs[NftablesTable.name] == (2 if what == "everything gone" else 1), "only once"


def delete_rule(chain: str, number: str) -> str:
    """The command that deletes one of our rules."""
    lines = sh(f"nft --handle list chain ip flannel-ipv4 {chain}")
    handles = [line.rsplit(" ", 1)[1] for line in lines if "# handle" in line and "chain" not in line]
    return f"delete rule ip flannel-ipv4 {chain} handle {handles[int(number)]}"


def test_rules_in_another_order_are_put_right() -> None:
    table = wanted(IPV4)
    kept = bring_in(table)
    nft(delete_rule("postrtg", "1"))
    nft(f"add rule ip flannel-ipv4 postrtg {table.chains[1].rules[1]}")
    assert sorted(kept.dump()[table.key].chains[1].rules) == sorted(table.chains[1].rules)
    assert kept.dump()[table.key] != table
    bring_in(table)


def test_upstreams_table_is_taken_over_whole() -> None:
    """As v0.28 leaves it: the mark compared whole, and rule 4 the wrong way round."""
    lines = "\n".join(golden("nft-list", IPV4))
    lines = lines.replace("meta mark & 0x00004000 == 0x00004000", "meta mark 0x00004000").replace(
        "ip saddr != 10.42.0.0/16 ip daddr 10.42.3.0/24 return",
        "ip saddr != 10.42.3.0/24 ip daddr 10.42.0.0/16 return",
    )
    nft(f"'{lines}'")
    assert NftablesTable(NAMES).dump()[wanted(IPV4).key] != wanted(IPV4)
    bring_in(wanted(IPV4))


def test_instances_do_not_see_each_other() -> None:
    default, blue = wanted(IPV4), wanted(IPV4, name="blue")
    bring_in(default)
    kept = bring_in(blue)
    assert not kept.owns(default)
    assert kept.apply([Change(blue.key, blue, None)]) == {}
    assert NftablesTable(NAMES).dump() == {default.key: default}


def test_a_table_nobody_wants_goes_and_may_be_gone_already() -> None:
    kept = bring_in(wanted(IPV4))
    for _time in range(2):
        assert kept.apply([Change(wanted(IPV4).key, wanted(IPV4), None)]) == {}
        assert sh("nft list tables") == []


def test_this_kernel_masquerades_fully_randomly_in_both_families_and_nothing_is_left_of_the_question() -> (
    None
):
    assert [has_random_fully(family) for family in FAMILIES] == [True, True]
    assert sh("nft list tables") == []


# --- what goes wrong


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    path.chmod(0o755)
    return os.fspath(path)


def test_a21_fully_random_is_asked_for_each_family(tmp_path: Path) -> None:
    """Upstream asks for IPv4 and does the same for IPv6."""
    answers: Mapping[Family, int] = {IPV4: 0, IPV6: 1}
    program = script(tmp_path / "nft", "grep -q 'table ip ' || { echo 'Error: Not supported' >&2; exit 1; }")
    assert {family: int(not has_random_fully(family, program)) for family in FAMILIES} == answers


def test_a23_without_nft_each_wanted_table_fails_and_nothing_else() -> None:
    table = NftablesTable(NAMES, "no-nft")
    assert table.dump() == {}
    error = table.apply([Change(wanted(IPV4).key, None, wanted(IPV4))])[wanted(IPV4).key]
    assert isinstance(error, MissingProgram)
    assert str(error).startswith("no-nft: is not installed; install the package")
    assert has_random_fully(IPV4, "no-nft"), "left to the table to report"


def test_a_failure_is_no_empty_table(tmp_path: Path) -> None:
    program = script(
        tmp_path / "nft",
        "echo 'netlink: Error: cache initialization failed: Protocol not supported' >&2; exit 1",
    )
    with pytest.raises(KernelError, match="Protocol not supported"):
        NftablesTable(NAMES, program).dump()


def test_one_family_that_fails_does_not_stop_the_other(tmp_path: Path) -> None:
    program = script(
        tmp_path / "nft",
        'cat > "$0.in"; grep -q "ip6" "$0.in" && { echo "Error: Address family not supported" >&2; exit 1; }; '
        'exec nft --file "$0.in"',
    )
    tables = [wanted(family) for family in (IPV6, IPV4)]
    errors = NftablesTable(NAMES, program).apply([Change(table.key, None, table) for table in tables])
    assert set(errors) == {wanted(IPV6).key}
    assert NftablesTable(NAMES).dump() == {wanted(IPV4).key: wanted(IPV4)}
