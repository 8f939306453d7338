# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_host_firewall with real firewall managers: who is let in, and who is not, shown by packets."""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family
from flanneld.tables.forwarding import find_forward_drops
from flanneld.tables.verdicts import Flow

from tests.contract_modules.conftest import Host
from tests.support.firewalld import INSTALLED, Firewalld
from tests.support.router import PLANS, Router, inside
from tests.support.ufw import USABLE, Ufw

BOTH = {"Network": "10.5.0.0/16", "EnableIPv6": True, "IPv6Network": "fd05::/48"}
VXLAN = {**BOTH, "Backend": {"Type": "vxlan"}}
IPIP = {"Network": "10.5.0.0/16", "Backend": {"Type": "ipip"}}
NODES = [PLANS[family].node for family in (IPV4, IPV6)]
HERE = [PLANS[family].host for family in (IPV4, IPV6)]


@pytest.fixture
def router(private_namespaces: None) -> Iterator[Router]:
    with Router() as router:
        yield router


@pytest.fixture
def host(router: Router, tmp_path: Path) -> Host:
    # Where no firewalld of the machine's answers.
    nowhere = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'bus'}"}
    return Host(tmp_path, prefix=router.host.prefix, environment=nowhere)


@pytest.fixture
def firewalld(router: Router, tmp_path: Path) -> Iterator[Firewalld]:
    if not INSTALLED:
        pytest.skip("firewalld is not installed")
    with Firewalld(router.host, tmp_path, "nftables") as firewalld:
        firewalld.command("--set-default-zone=public")
        yield firewalld


@pytest.fixture
def firewalld_with_iptables(router: Router, tmp_path: Path) -> Iterator[Firewalld]:
    if not INSTALLED:
        pytest.skip("firewalld is not installed")
    with Firewalld(router.host, tmp_path, "iptables") as firewalld:
        firewalld.command("--set-default-zone=public")
        yield firewalld


@pytest.fixture
def ufw(router: Router, tmp_path: Path) -> Iterator[Ufw]:
    if not USABLE:
        pytest.skip("ufw is not installed, or this is not root")
    with Ufw(router.host, tmp_path) as ufw:
        yield ufw


def run(host: Host, *flags: str, **options: Any) -> Dict[str, Any]:
    outcome = host.run("flannel_host_firewall", options, *flags)
    assert not outcome.failed, outcome.output
    return outcome.result


def ask(host: Host, **options: Any) -> Dict[str, Any]:
    outcome = host.run("flannel_host_firewall_info", options)
    assert not outcome.failed, outcome.output
    return outcome.result


def protocol_arrives(router: Router, number: int) -> bool:
    """Whether a packet of the node with that IP protocol reaches the host."""
    plan = PLANS[IPV4]
    with (
        router.host.open_socket(socket.SOCK_RAW, 4, number) as ear,
        router.node.open_socket(socket.SOCK_RAW, 4, number) as mouth,
    ):
        ear.settimeout(0.5)
        mouth.bind((plan.node, 0))
        for _try in range(3):
            with contextlib.suppress(OSError):  # nothing came, or an ICMP error did
                mouth.sendto(b"are you open", (plan.host, 0))
                ear.recv(256)
                return True
    return False


def without_counts(saved: str) -> List[str]:
    """The rules in what iptables-save prints, in their order."""
    return [line for line in saved.splitlines() if line.startswith("-A")]


def who_is_let_in(router: Router, port: int) -> List[str]:
    """Of the node and the outside, in both families: whose datagrams reach the host at that port."""
    heard: Set[str] = set()
    with contextlib.ExitStack() as open_ones:
        ears = []
        mouths = []
        for family in (IPV4, IPV6):
            plan = PLANS[family]
            ear = open_ones.enter_context(router.host.open_socket(socket.SOCK_DGRAM, family.version))
            ear.bind((plan.host, port))
            ear.settimeout(0.3)
            ears.append(ear)
            for name, place, source in (
                ("node", router.node, plan.node),
                ("outside", router.outside, plan.outside),
            ):
                mouth = open_ones.enter_context(place.open_socket(socket.SOCK_DGRAM, family.version))
                mouth.bind((source, 0))
                mouths.append((mouth, f"{name} {family.name}".encode(), (plan.host, port)))
        for _round in range(3):
            for mouth, words, target in mouths:
                with contextlib.suppress(OSError):  # an ICMP error of the round before
                    mouth.sendto(words, target)
            for ear in ears:
                with contextlib.suppress(TimeoutError):
                    while True:
                        heard.add(ear.recv(256).decode())
    return sorted(heard)


def are_containers_reached(router: Router, family: Family) -> bool:
    plan = PLANS[family]
    there = (router.node, plan.node_container, router.container, plan.container)
    return router.sources_seen(*there, tries=3) == [plan.node_container]


@pytest.mark.timeout(900)  # many modules, each a program of its own
def test_firewalld_lets_in_who_is_of_the_group_and_nobody_else(
    router: Router, host: Host, firewalld: Firewalld
) -> None:
    flows = tuple(Flow(device) for device in ("eth0", "docker0"))
    wanted: Dict[str, Any] = {"config": VXLAN, "hosts": [*HERE, *NODES]}
    planned = run(host, "--check", "--diff", **wanted)
    assert (planned["changed"], planned["manager"]) == (True, "firewalld")
    assert who_is_let_in(router, 8472) == []
    assert not are_containers_reached(router, IPV4)

    done = run(host, "--diff", **wanted)
    assert done == planned
    assert (
        'permanent policy flannel-in: rule family="ipv6" source address="fd00:192::2"'
        in done["diff"]["after"]
    )
    assert who_is_let_in(router, 8472) == ["node ipv4", "node ipv6"]
    assert who_is_let_in(router, 8473) == []
    assert are_containers_reached(router, IPV4)
    assert are_containers_reached(router, IPV6)
    assert inside(router.host, lambda: find_forward_drops(flows)) != (), "still closed to other networks"

    again = run(host, "--diff", **wanted)
    assert (again["changed"], again["missing"]) == (False, [])
    assert again["diff"]["before"] == again["diff"]["after"] == done["diff"]["after"]
    firewalld.reload()
    assert who_is_let_in(router, 8472) == ["node ipv4", "node ipv6"]

    kept = run(host, config=VXLAN, hosts=HERE, exclusive=False)
    assert not kept["changed"], "a host of another run stays"
    assert run(host, config=VXLAN, hosts=HERE)["changed"]
    assert who_is_let_in(router, 8472) == []
    assert run(host, **wanted)["changed"], "at run time too, without a reload"
    assert who_is_let_in(router, 8472) == ["node ipv4", "node ipv6"]

    assert run(host, "--diff", state="absent")["diff"]["after"] == ""
    assert who_is_let_in(router, 8472) == []
    assert not are_containers_reached(router, IPV4)
    assert ask(host, **wanted)["present"] == []
    assert not run(host, state="absent")["changed"]


def test_firewalld_is_put_right_where_somebody_has_changed_it(
    router: Router, host: Host, firewalld: Firewalld
) -> None:
    wanted: Dict[str, Any] = {"name": "fl-blue", "config": IPIP, "hosts": NODES}
    run(host, **wanted)
    assert protocol_arrives(router, 4)
    assert not protocol_arrives(router, 94), "which /etc/protocols calls ipip"

    rule = f'rule family="ipv4" source address="{NODES[0]}" protocol value="4" accept'
    firewalld.command("--policy=fl-blue-in", f"--remove-rich-rule={rule}")
    assert not protocol_arrives(router, 4)
    assert ask(host, **wanted)["missing"] == [f"runtime policy fl-blue-in: {rule}"]
    assert run(host, **wanted)["changed"]
    assert protocol_arrives(router, 4)

    firewalld.command("--permanent", "--policy=fl-blue-in", "--set-target=DROP")
    assert run(host, **wanted)["changed"]
    assert not run(host, **wanted)["changed"]
    firewalld.reload()
    assert protocol_arrives(router, 4)


def test_firewalld_does_the_same_with_iptables(
    router: Router, host: Host, firewalld_with_iptables: Firewalld
) -> None:
    wanted: Dict[str, Any] = {"config": VXLAN, "hosts": [*HERE, *NODES]}
    firewalld_with_iptables.reload()
    before = router.host.execute("iptables-save")
    assert who_is_let_in(router, 8472) == []
    assert run(host, **wanted)["changed"]
    assert who_is_let_in(router, 8472) == ["node ipv4", "node ipv6"]
    assert are_containers_reached(router, IPV4)
    assert are_containers_reached(router, IPV6)

    run(host, state="absent")
    assert who_is_let_in(router, 8472) == []
    assert without_counts(router.host.execute("iptables-save")) == without_counts(before)


@pytest.mark.timeout(900)  # many modules, each a program of its own
def test_ufw_lets_in_who_is_of_the_group_and_nobody_else(router: Router, host: Host, ufw: Ufw) -> None:
    ufw.command("allow", "22/tcp")
    ufw.command("allow", "proto", "udp", "from", NODES[1], "to", "any", "port", "8472")
    before = ufw.command("show", "added")
    ufw.command("delete", "allow", "proto", "udp", "from", NODES[1], "to", "any", "port", "8472")
    wanted: Dict[str, Any] = {"config": VXLAN, "hosts": [*HERE, *NODES], "ports": ["2379/tcp"]}
    planned = run(host, "--check", "--diff", **wanted)
    assert (planned["changed"], planned["manager"]) == (True, "ufw")
    assert who_is_let_in(router, 8472) == []

    done = run(host, "--diff", **wanted)
    assert done == planned
    assert f"allow from {NODES[0]} to any port 2379 proto tcp\n" in done["diff"]["after"]
    assert who_is_let_in(router, 8472) == ["node ipv4", "node ipv6"]
    assert who_is_let_in(router, 8473) == []
    assert not run(host, **wanted)["changed"]
    ufw.command("reload")
    assert who_is_let_in(router, 8472) == ["node ipv4", "node ipv6"]

    assert not run(host, config=VXLAN, ports=["2379/tcp"], hosts=HERE, exclusive=False)["changed"]
    assert run(host, config=VXLAN, hosts=HERE)["changed"]
    assert who_is_let_in(router, 8472) == []

    run(host, state="absent")
    ufw.command("allow", "proto", "udp", "from", NODES[1], "to", "any", "port", "8472")
    assert ufw.command("show", "added") == before
    run(host, config=VXLAN, hosts=NODES)
    assert who_is_let_in(router, 8472) == ["node ipv4", "node ipv6"]
    run(host, state="absent")
    assert ufw.command("show", "added") == before, "a rule of somebody else's that says the same stays"
    assert not run(host, state="absent")["changed"]


def test_ufw_cannot_name_ip_in_ip(host: Host, ufw: Ufw) -> None:
    outcome = host.run("flannel_host_firewall", {"config": IPIP, "hosts": NODES})
    assert outcome.failed
    assert "IP protocol 4" in outcome.result["msg"]
    assert "/etc/ufw/before.rules" in outcome.result["next_step"]
    esp = run(host, config={"Network": "10.5.0.0/16", "Backend": {"Type": "ipsec"}}, hosts=NODES)
    assert f"allow from {NODES[0]} proto esp" in esp["missing"]
    assert not run(host, config={"Network": "10.5.0.0/16", "Backend": {"Type": "ipsec"}}, hosts=NODES)[
        "changed"
    ]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_without_a_manager_there_is_nothing_to_open(host: Host, state: str) -> None:
    done = run(host, config=VXLAN, hosts=NODES, state=state)
    assert (done["changed"], done["manager"], done["missing"]) == (False, "none", [])


@pytest.mark.skipif(shutil.which("firewall-cmd") is None, reason="firewalld is not installed")
def test_a_manager_that_is_asked_for_has_to_be_active(host: Host) -> None:
    outcome = host.run("flannel_host_firewall", {"manager": "firewalld", "config": VXLAN, "hosts": NODES})
    assert outcome.failed
    assert outcome.result["error"] == "HostFirewallError"
    assert "systemctl enable --now firewalld" in outcome.result["next_step"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"hosts": ["192.0.2.1/24"]}, "option hosts: 192.0.2.1/24: is no address"),
        ({"ports": ["etcd"]}, "option ports: etcd: is no port"),
        ({"name": "a-name-too-long-for-it"}, "option name: a-name-too-long-for-it"),
        ({"config": {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlam"}}}, "unknown backend type: vxlam"),
        (
            {"config": {"Network": "10.5.0.0/16", "Backend": {"Type": "ipsec", "PSK": "x" * 96}}},
            "holds a secret",
        ),
    ],
)
def test_what_cannot_be_asked_for(host: Host, options: Dict[str, Any], told: str) -> None:
    for module in ("flannel_host_firewall", "flannel_host_firewall_info"):
        outcome = host.run(module, options)
        assert outcome.failed
        assert told in outcome.result["msg"]
        assert outcome.result["next_step"]
        assert "xxx" not in outcome.result["msg"]
