# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a firewall manager prints to the commands that make it as it should be."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Dict

from ansible_collections.weft.flannel.plugins.module_utils._firewalld import (
    Policy,
    plan_policies,
    read_policies,
)
from ansible_collections.weft.flannel.plugins.module_utils._openings import Opening
from ansible_collections.weft.flannel.plugins.module_utils._passage import Passage
from ansible_collections.weft.flannel.plugins.module_utils._ufw import UfwRule, parse_added, plan_rules

HOST = Passage(host=ip_address("192.0.2.2"), opening=Opening("udp", 8472))
NETWORK = Passage(source=ip_network("10.5.0.0/16"))
RULE = 'rule family="ipv4" source address="192.0.2.2" port port="8472" protocol="udp" accept'
OTHER_RULE = RULE.replace("192.0.2.2", "192.0.2.3")
LISTED = f"""\
allow-host-ipv6 (active)
  priority: -15000
  target: CONTINUE
  ingress-zones: ANY
  egress-zones: HOST
  services:\x20
  rich rules:\x20
\trule family="ipv6" icmp-type name="neighbour-advertisement" accept

flannel-in (active)
  priority: -1
  target: CONTINUE
  ingress-zones: ANY
  egress-zones: HOST
  services:\x20
  ports:\x20
  protocols:\x20
  masquerade: no
  forward-ports:\x20
  source-ports:\x20
  icmp-blocks:\x20
  rich rules:\x20
\t{RULE}
"""
SAVED: Dict[str, Policy] = {"flannel-in": Policy("HOST", frozenset({RULE}))}


def test_policies_as_firewalld_lists_them() -> None:
    found = read_policies(LISTED)
    assert found["flannel-in"] == SAVED["flannel-in"]
    assert not found["allow-host-ipv6"].usual
    changed = LISTED.replace("target: CONTINUE", "target: DROP")
    assert not read_policies(changed)["flannel-in"].usual


def test_a_new_policy_needs_a_reload() -> None:
    plan = plan_policies("flannel", [HOST], {}, {}, exclusive=True)
    permanent = ("firewall-cmd", "--permanent")
    assert plan.commands == (
        (*permanent, "--new-policy=flannel-in"),
        (*permanent, "--policy=flannel-in", "--add-ingress-zone=ANY"),
        (*permanent, "--policy=flannel-in", "--add-egress-zone=HOST"),
        (*permanent, "--policy=flannel-in", f"--add-rich-rule={RULE}"),
        ("firewall-cmd", "--reload"),
    )


def test_a_new_host_needs_none() -> None:
    other = Passage(host=ip_address("192.0.2.3"), opening=HOST.opening)
    plan = plan_policies("flannel", [HOST, other], SAVED, SAVED, exclusive=True)
    assert plan.commands == (
        ("firewall-cmd", "--permanent", "--policy=flannel-in", f"--add-rich-rule={OTHER_RULE}"),
        ("firewall-cmd", "--policy=flannel-in", f"--add-rich-rule={OTHER_RULE}"),
    )
    assert set(plan.before) < set(plan.after)


def test_a_policy_that_was_made_and_is_not_yet_in_force() -> None:
    plan = plan_policies("flannel", [HOST], SAVED, {}, exclusive=True)
    assert plan.commands == (("firewall-cmd", "--reload"),)
    assert plan.needed


def test_what_is_right_needs_nothing() -> None:
    plan = plan_policies("flannel", [HOST], SAVED, SAVED, exclusive=True)
    assert (plan.needed, plan.commands) == (False, ())


def test_hosts_that_are_not_named_stay_or_go() -> None:
    both = {"flannel-in": Policy("HOST", frozenset({RULE, OTHER_RULE}))}
    assert not plan_policies("flannel", [HOST], both, both, exclusive=False).needed
    (saved, in_force) = plan_policies("flannel", [HOST], both, both, exclusive=True).commands
    assert saved[-1] == in_force[-1] == f"--remove-rich-rule={OTHER_RULE}"


def test_the_last_rule_takes_the_policy_with_it() -> None:
    assert plan_policies("flannel", [], SAVED, SAVED, exclusive=True).commands == (
        ("firewall-cmd", "--permanent", "--delete-policy=flannel-in"),
        ("rm", "--force", "/etc/firewalld/policies/flannel-in.xml.old"),
        ("firewall-cmd", "--reload"),
    )


def test_forwarding_is_a_policy_of_its_own() -> None:
    plan = plan_policies("flannel", [NETWORK], {}, {}, exclusive=True)
    assert 'permanent policy flannel-fw: rule family="ipv4" source address="10.5.0.0/16" accept' in plan.after
    assert not any("flannel-in" in line for line in plan.after)


ADDED = """\
Added user rules (see 'ufw status' for running firewall):
ufw allow 22/tcp
ufw allow from 192.0.2.2 to any port 8472 proto udp comment 'weft.flannel flannel'
ufw allow from 192.0.2.3 to any port 8472 proto udp comment 'it's ours'
"""


def test_rules_as_ufw_shows_them() -> None:
    assert parse_added(ADDED) == (
        UfwRule("allow 22/tcp", ""),
        UfwRule("allow from 192.0.2.2 to any port 8472 proto udp", "weft.flannel flannel"),
        UfwRule("allow from 192.0.2.3 to any port 8472 proto udp", "it's ours"),
    )
    assert parse_added("Added user rules (see 'ufw status' for running firewall):\n(None)\n") == ()


def test_ufw_keeps_what_others_have_made() -> None:
    other = Passage(host=ip_address("192.0.2.3"), opening=HOST.opening)
    assert not plan_rules("flannel", [HOST, other, NETWORK], parse_added(ADDED), exclusive=True).needed
    gone = plan_rules("flannel", [], parse_added(ADDED), exclusive=True)
    assert [" ".join(command) for command in gone.commands] == [
        "ufw delete allow from 192.0.2.2 to any port 8472 proto udp"
    ]
    of_another_name = plan_rules("fl-blue", [HOST], (), exclusive=True)
    assert of_another_name.commands[0][-2:] == ("comment", "weft.flannel fl-blue")
