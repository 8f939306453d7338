# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The iptables table with the real programs, nft and legacy: what is written reads back equal and keeps its place."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Tuple

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    Family,
    Network,
)
from flanneld.firewall import Masquerade, Policy, iptables_chains
from flanneld.instance import Instance
from flanneld.tables import Change, KernelError, Key
from flanneld.tables.iptables import Chain, IptablesTable, Programs, has_random_fully
from flanneld.tables.leftovers import LeftoverTable
from flanneld.tables.programs import MissingProgram
from flanneld.tables.scope import Scope

from tests.support.firewall import POLICIES, golden, programs_of
from tests.support.kernel import fresh_namespace, sh

NETWORKS: Mapping[Family, Network] = {IPV4: ip_network("10.5.0.0/16"), IPV6: ip_network("fd05::/48")}
SUBNETS: Mapping[Family, Network] = {IPV4: ip_network("10.5.34.0/24"), IPV6: ip_network("fd05:0:0:22::/64")}
SCOPE = Scope(frozenset(), "eth0", (), frozenset({"FLANNEL-POSTRTG", "FLANNEL-FWD"}))


class Firewall:
    """One variant of iptables, in an empty network namespace."""

    def __init__(self, variant: str) -> None:
        self.programs = programs_of(variant)
        self.table = IptablesTable(SCOPE, FAMILIES, self.programs)

    def run(self, family: Family, rule: str) -> None:
        sh(f"{self.programs[family].iptables} -w {rule}")

    def rules(self, family: Family, table: str, chain: str) -> List[str]:
        return sh(f"{self.programs[family].iptables} -w -t {table} -S {chain}")[1:]

    def bring_in(self, *chains: Chain) -> None:
        found = self.table.dump()
        assert self.table.apply([Change(chain.key, found.get(chain.key), chain) for chain in chains]) == {}
        found = self.table.dump()
        assert {chain.key: found[chain.key] for chain in chains} == {chain.key: chain for chain in chains}


@pytest.fixture(params=["nft", "legacy"])
def firewall(request: pytest.FixtureRequest) -> Iterator[Firewall]:
    with fresh_namespace():
        variant = str(request.param)
        usable = shutil.which(f"iptables-{variant}") and not subprocess.call(
            [f"ip6tables-{variant}", "-t", "nat", "-S"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if not usable:
            pytest.skip(f"this kernel or host has no iptables-{variant}")
        yield Firewall(variant)


def chains(
    family: Family, random_fully: bool = True, spared: Tuple[Network, ...] = (), name: str = "default"
) -> Tuple[Chain, ...]:
    policy = Policy(family, NETWORKS[family], SUBNETS[family], Masquerade(random_fully, spared), True)
    return iptables_chains(Instance(name), policy)


def masquerade(family: Family, random_fully: bool = True, spared: Tuple[Network, ...] = ()) -> Chain:
    return chains(family, random_fully, spared)[0]


def forward(family: Family) -> Chain:
    return chains(family)[1]


ALL = [make(family) for family in FAMILIES for make in (masquerade, forward)]


def test_what_is_written_reads_back_equal(firewall: Firewall) -> None:
    firewall.bring_in(*ALL)
    firewall.bring_in(*ALL)
    assert set(firewall.table.dump()) == {chain.key for chain in ALL}


def by_table(lines: List[str]) -> Dict[str, List[str]]:
    """The rules of each table in the output of iptables-save, without empty tables."""
    tables: Dict[str, List[str]] = {}
    rules: List[str] = []
    for line in lines:
        if line.startswith("*"):
            rules = tables.setdefault(line, [])
        elif line.startswith("-A"):
            rules.append(line)
    return {table: rules for table, rules in tables.items() if rules}


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_iptables_save_prints_the_golden_rules(firewall: Firewall, family: Family) -> None:
    firewall.bring_in(*iptables_chains(Instance(), POLICIES[family]))
    assert by_table(sh(firewall.programs[family].save)) == by_table(golden("iptables-save", family))


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
@pytest.mark.parametrize(
    "spared", [("192.168.7.0/24", "fd99::/64"), ("203.0.113.9/32", "fd99::9/128"), ("0.0.0.0/0", "::/0")]
)
def test_spared_destinations_read_back_equal(
    firewall: Firewall, family: Family, spared: Tuple[str, ...]
) -> None:
    firewall.bring_in(masquerade(family, spared=tuple(ip_network(text) for text in spared)))


SECOND_RULE = '-s 10.5.34.0/24 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j RETURN'
SPOILED: Dict[str, str] = {
    "jump gone": '-t nat -D POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
    "jump twice": "-t nat -A POSTROUTING -j FLANNEL-POSTRTG",
    "something before the jump": "-t nat -I POSTROUTING -s 10.5.34.0/24 ! -o docker0 -j MASQUERADE",
    "rule gone": "-t nat -D FLANNEL-POSTRTG 2",
    "rule added": "-t nat -I FLANNEL-POSTRTG -j ACCEPT",
    "rule twice": f"-t nat -A FLANNEL-POSTRTG {SECOND_RULE}",
    "rule replaced": "-t nat -R FLANNEL-POSTRTG 5 -s 10.5.0.0/16 -j MASQUERADE",
    "chain emptied": "-t nat -F FLANNEL-POSTRTG",
    "parent emptied": "-t nat -F POSTROUTING",
}


@pytest.mark.parametrize("rule", SPOILED.values(), ids=SPOILED.keys())
def test_what_was_spoiled_is_seen_and_put_right(firewall: Firewall, rule: str) -> None:
    firewall.bring_in(masquerade(IPV4), forward(IPV4))
    firewall.run(IPV4, rule)
    assert firewall.table.dump()[masquerade(IPV4).key] != masquerade(IPV4)
    firewall.bring_in(masquerade(IPV4))
    jumps = [line for line in firewall.rules(IPV4, "nat", "POSTROUTING") if "FLANNEL" in line]
    assert jumps == [f"-A POSTROUTING {masquerade(IPV4).jump}"]
    assert firewall.rules(IPV4, "nat", "POSTROUTING")[0] == jumps[0]


def test_a22_rules_in_another_order_are_seen_and_put_right(firewall: Firewall) -> None:
    """Upstream asks only whether each rule exists."""
    firewall.bring_in(masquerade(IPV4))
    before = firewall.rules(IPV4, "nat", "FLANNEL-POSTRTG")
    firewall.run(IPV4, f"-t nat -D FLANNEL-POSTRTG {SECOND_RULE}")
    firewall.run(IPV4, f"-t nat -A FLANNEL-POSTRTG {SECOND_RULE}")
    assert firewall.rules(IPV4, "nat", "FLANNEL-POSTRTG") != before
    assert firewall.table.dump()[masquerade(IPV4).key] != masquerade(IPV4)
    firewall.bring_in(masquerade(IPV4))
    assert firewall.rules(IPV4, "nat", "FLANNEL-POSTRTG") == before


def test_rules_go_in_their_order_and_all_at_once(firewall: Firewall) -> None:
    """Upstream's TestDeleteRules: what is ours goes, and a chain that is right is not written again."""
    firewall.bring_in(*ALL)
    found = firewall.table.dump()
    assert [found[chain.key] for chain in ALL] == ALL
    firewall.run(IPV4, "-t nat -A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE")
    firewall.run(IPV6, "-t nat -A POSTROUTING -s fd00:203::/64 -j MASQUERADE")
    assert firewall.table.apply([Change(chain.key, chain, None) for chain in ALL]) == {}
    assert firewall.table.dump() == {}
    assert firewall.rules(IPV4, "filter", "FORWARD") == []
    for family, other in ((IPV4, "203.0.113.0/24"), (IPV6, "fd00:203::/64")):
        assert firewall.rules(family, "nat", "POSTROUTING") == [f"-A POSTROUTING -s {other} -j MASQUERADE"]


def test_upstreams_chains_are_taken_over_and_the_jump_moved_to_the_front(firewall: Firewall) -> None:
    firewall.run(IPV4, "-P FORWARD DROP")
    firewall.run(IPV4, "-A FORWARD -i docker0 -j ACCEPT")
    firewall.run(IPV4, "-N FLANNEL-FWD")
    firewall.run(IPV4, '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD')
    firewall.bring_in(forward(IPV4))
    assert firewall.rules(IPV4, "filter", "FORWARD") == [
        '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
        "-A FORWARD -i docker0 -j ACCEPT",
    ]


def test_instances_share_the_front_of_the_parent_chain(firewall: Firewall) -> None:
    ours = forward(IPV4)
    theirs = chains(IPV4, name="blue")[1]
    their_table = IptablesTable(replace(SCOPE, chains=frozenset({theirs.name})), [IPV4], firewall.programs)
    firewall.bring_in(ours)
    assert their_table.apply([Change(theirs.key, None, theirs)]) == {}
    assert their_table.dump() == {theirs.key: theirs}
    assert firewall.table.dump() == {ours.key: ours}


def test_a_chain_nobody_wants_goes_with_its_jumps(firewall: Firewall) -> None:
    firewall.bring_in(*ALL)
    firewall.run(IPV4, "-t nat -A POSTROUTING -j FLANNEL-POSTRTG")
    firewall.run(IPV4, "-t nat -A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE")
    found = firewall.table.dump()
    key = masquerade(IPV4).key
    assert firewall.table.apply([Change(key, found[key], None)]) == {}
    assert set(firewall.table.dump()) == {chain.key for chain in ALL} - {key}
    assert firewall.rules(IPV4, "nat", "POSTROUTING") == ["-A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE"]
    assert firewall.table.apply([Change(key, found[key], None)]) == {}


def test_chains_of_others_are_not_ours(firewall: Firewall) -> None:
    firewall.run(IPV4, "-N DOCKER-USER")
    firewall.run(IPV4, "-N FLANNEL-FWD-BLUE")
    assert firewall.table.dump() == {}


def test_rules_of_others_that_only_mention_a_chain_stay(firewall: Firewall) -> None:
    rule = '-A FORWARD -m comment --comment "not \\"-j FLANNEL-FWD\\" -j FLANNEL-FWD x" -j ACCEPT'
    firewall.run(IPV4, rule)
    firewall.bring_in(forward(IPV4))
    found = firewall.table.dump()
    assert firewall.table.apply([Change(key, chain, None) for key, chain in found.items()]) == {}
    assert firewall.rules(IPV4, "filter", "FORWARD") == [rule]


ODD_RULES: Dict[str, Tuple[bytes, ...]] = {
    "counts only": (),
    "Latin-1": (b"-m", b"comment", b"--comment", b"Gr\xfc\xdfe", b"-j", b"ACCEPT"),
    "Latin-1, with our prefix": (b"-m", b"comment", b"--comment", b"FLANNEL- Gr\xfc\xdfe", b"-j", b"ACCEPT"),
    "several lines": (b"-m", b"comment", b"--comment", b"FLANNEL-\nof mine", b"-j", b"ACCEPT"),
}


@pytest.mark.parametrize("rule", ODD_RULES.values(), ids=ODD_RULES.keys())
def test_odd_rules_of_others_stay_and_do_not_end_the_agent(
    firewall: Firewall, rule: Tuple[bytes, ...]
) -> None:
    program = firewall.programs[IPV4]
    subprocess.run([program.iptables.encode(), b"-w", b"-A", b"FORWARD", *rule], check=True)
    before = subprocess.check_output([program.iptables, "-w", "-S", "FORWARD"])
    firewall.bring_in(forward(IPV4))
    found = firewall.table.dump()
    assert firewall.table.apply([Change(key, chain, None) for key, chain in found.items()]) == {}
    assert subprocess.check_output([program.iptables, "-w", "-S", "FORWARD"]) == before


@pytest.mark.parametrize("comment", [b"it's mine", b'"mine" \\', b"Gr\xfc\xdfe"])
def test_a_jump_of_somebody_else_goes_whatever_its_comment(firewall: Firewall, comment: bytes) -> None:
    program = firewall.programs[IPV4].iptables.encode()
    firewall.bring_in(forward(IPV4))
    jump = (b"-m", b"comment", b"--comment", comment, b"-j", b"FLANNEL-FWD")
    subprocess.run([program, b"-w", b"-A", b"FORWARD", *jump], check=True)
    assert firewall.table.dump()[forward(IPV4).key] != forward(IPV4)
    firewall.bring_in(forward(IPV4))
    assert firewall.rules(IPV4, "filter", "FORWARD") == [f"-A FORWARD {forward(IPV4).jump}"]


def test_this_iptables_masquerades_fully_randomly(firewall: Firewall) -> None:
    assert has_random_fully(IPV4, firewall.programs)
    plain = masquerade(IPV4, random_fully=False)
    firewall.bring_in(plain)
    assert firewall.table.dump()[plain.key] != masquerade(IPV4)


# --- what goes wrong


def test_a23_without_the_programs_each_wanted_chain_fails_and_nothing_else() -> None:
    """Upstream ends at its first start and carries on at the second."""
    table = IptablesTable(
        SCOPE, [IPV4], {IPV4: Programs("no-iptables", "no-iptables-save", "no-iptables-restore")}
    )
    assert table.dump() == {}
    for _start in range(2):
        errors = table.apply([Change(forward(IPV4).key, None, forward(IPV4))])
        error = errors[forward(IPV4).key]
        assert isinstance(error, MissingProgram)
        assert str(error).startswith("no-iptables-save: is not installed; install the package")
    assert has_random_fully(IPV4, {IPV4: Programs("no-iptables", "", "")}), "left to the table to report"


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    path.chmod(0o755)
    return os.fspath(path)


def test_what_the_program_says_is_the_cause(tmp_path: Path) -> None:
    save = script(tmp_path / "save", "exit 0")
    restore = script(tmp_path / "restore", "cat >&2; exit 2")
    table = IptablesTable(SCOPE, [IPV4], {IPV4: Programs("iptables", save, restore)})
    wanted = forward(IPV4)
    errors: Mapping[Key, KernelError] = table.apply([Change(wanted.key, None, wanted)])
    assert errors[wanted.key].cause == "*filter"


def test_a_table_that_iptables_cannot_show_is_not_taken_for_empty(tmp_path: Path) -> None:
    save = script(tmp_path / "save", "echo \"# Table \\`nat' is incompatible, use 'nft' tool.\"")
    table = IptablesTable(SCOPE, [IPV4], {IPV4: Programs("iptables", save, "iptables-restore")})
    with pytest.raises(KernelError, match="made with nft"):
        table.dump()


@pytest.mark.parametrize(
    ("version", "known"), [("v1.6.1", False), ("v1.6.2", True), ("v1.8.9 (nf_tables)", True)]
)
def test_fully_random_since(tmp_path: Path, version: str, known: bool) -> None:
    iptables = script(tmp_path / "iptables", f"echo 'iptables {version}'")
    assert has_random_fully(IPV4, {IPV4: Programs(iptables, "", "")}) is known


def test_a_leftover_that_cannot_be_removed_is_named_and_the_others_go(tmp_path: Path) -> None:
    """Of two families, one refuses."""
    good = programs_of("nft")
    restore = script(tmp_path / "restore", "echo 'ip6tables-restore: Permission denied' >&2; exit 4")
    programs = {IPV4: good[IPV4], IPV6: good[IPV6]._replace(restore=restore)}
    with fresh_namespace():
        table = IptablesTable(SCOPE, FAMILIES, good)
        assert table.apply([Change(chain.key, None, chain) for chain in ALL]) == {}
        leftovers = LeftoverTable([IptablesTable(SCOPE, FAMILIES, programs)])
        found = leftovers.dump()
        assert {leftover.thing for leftover in found.values()} == set(ALL)
        errors = leftovers.apply([Change(key, leftover, None) for key, leftover in found.items()])
        assert set(errors) == {key for key, leftover in found.items() if leftover.thing.family == IPV6}
        assert all("Permission denied" in error.cause for error in errors.values())
        assert leftovers.dump().keys() == errors.keys()
