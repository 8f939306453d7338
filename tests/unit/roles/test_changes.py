# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What decommission, renumber and upgrade conclude from what the modules return, by Ansible's own templating."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from flanneld.config_watch import ConfigWatch
from flanneld.leasing import ConfigSeen

from tests.support.rendering import evaluate, evaluate_among, render

TASKS = Path(__file__).resolve().parents[3] / "roles/flannel/tasks"
OLD = '{"Network":"10.42.0.0/16"}'
NEW = '{"Network":"10.43.0.0/16"}'
NETWORK = {"network": "10.43.0.0/16", "backend": {"type": "vxlan"}}
CUT = {"option": "Network", "before": "10.42.0.0/16", "after": "10.43.0.0/16", "leases": [{}, {}]}


def lease(subnet: str, address: str, **changes: Any) -> dict[str, Any]:
    key = subnet.replace("/", "-")
    plain = {"key": key, "subnet": subnet, "ipv6_subnet": None, "public_ip": address, "public_ipv6": None}
    return {**plain, "held": True, "reservation": False, **changes}


def find_task(file: str, name: str) -> dict[str, Any]:
    tasks = yaml.safe_load((TASKS / f"{file}.yml").read_text(encoding="utf-8"))
    return next(task for task in tasks if task["name"] == name)


def node(*subnets: str, pending: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"instances": [{"subnets": list(subnets), "pending": list(pending)}]}


def answer(peer: str, **changes: Any) -> dict[str, Any]:
    plain = {"peer": peer, "family": "ipv4", "reached": True, "answered_by": f"id-{peer}"}
    return {**plain, "seen_as": "10.42.1.254", **changes}


# --- decommission


def test_a_host_is_known_by_the_address_it_publishes_in_either_family() -> None:
    leases = {
        "leases": [
            lease("10.42.1.0/24", "192.0.2.1", public_ipv6="2001:db8::1"),
            lease("10.42.2.0/24", "192.0.2.2"),
            lease("10.42.3.0/24", "192.0.2.3", public_ipv6="2001:db8::2", held=False),
        ],
        "nodes": [{"key": "nodes/1", "public_ip": "192.0.2.1", "public_ipv6": "2001:db8::1"}],
    }
    variables = {
        "__flannel_leases": leases,
        "__flannel_addresses": ["192.0.2.1", "2001:db8::1", "2001:db8::2"],
    }
    names = ["__flannel_leases_of_host", "__flannel_nodes_of_host", "__flannel_leases_of_nobody"]
    found, nodes, unheld = evaluate("flannel", variables, *names)
    assert [one["key"] for one in found] == ["10.42.1.0-24", "10.42.3.0-24"]
    assert [one["key"] for one in nodes] == ["nodes/1"]
    assert unheld == ["10.42.3.0-24"]


@pytest.mark.parametrize(
    ("leases", "told", "may_go_on"),
    [
        ([lease("10.42.1.0/24", "192.0.2.1", held=False)], "", True),
        ([lease("10.42.2.0/24", "192.0.2.2", held=False)], "", False),
        ([lease("10.42.2.0/24", "192.0.2.2", held=False)], "192.0.2.1", True),
        ([lease("10.42.2.0/24", "192.0.2.2")], "", True),
    ],
)
def test_the_lease_of_a_dead_host_is_not_guessed(leases: list[Any], told: str, may_go_on: bool) -> None:
    variables = {
        "__flannel_leases": {"leases": leases, "nodes": []},
        "__flannel_addresses": ["192.0.2.1"],
        "flannel_public_ip": told,
    }
    sought = "Refuse to guess which lease is that of a host that does not answer"
    task = find_task("decommission_before", sought)
    # Ansible takes nothing but a boolean.
    assert evaluate("flannel", variables, task["ansible.builtin.assert"]["that"]) == [may_go_on]


# --- renumber


def keeps_old_config(*pending: str) -> bool:
    (keeps,) = evaluate("flannel", {"__flannel_node": node(pending=pending)}, "__flannel_keeps_old_config")
    return bool(keeps)


def test_a_flanneld_that_keeps_the_old_config_is_known_by_what_it_says() -> None:
    config = ConfigWatch("/p/config", parse_config(OLD), agreed=True)
    config.see(ConfigSeen(OLD))
    config.see(ConfigSeen(NEW))
    assert keeps_old_config("Docker must be restarted", config.pending)
    assert not keeps_old_config("Docker must be restarted")
    assert not keeps_old_config()


def test_a_config_that_flanneld_cannot_use_is_no_reason_to_restart_it() -> None:
    config = ConfigWatch("/p/config", parse_config(OLD), agreed=True)
    config.see(ConfigSeen("{"))
    assert config.pending
    assert not keeps_old_config(config.pending)


def test_subnets_and_leases_end_for_which_the_config_has_no_place() -> None:
    leases = [
        lease("10.42.1.0/24", "192.0.2.1"),
        lease("10.43.2.0/24", "192.0.2.2"),
        lease("10.43.3.0/25", "192.0.2.3"),
    ]
    variables = {
        "__flannel_config": {"config": NETWORK},
        "__flannel_node": node("10.42.1.0/24", "10.43.2.0/24"),
        "__flannel_leases": {"leases": leases},
    }
    misfits, ending = evaluate("flannel", variables, "__flannel_misfits", "__flannel_leases_ending")
    assert misfits == {"10.42.1.0/24": "it does not lie in Network 10.43.0.0/16"}
    assert [one["key"] for one in ending] == ["10.42.1.0-24", "10.43.3.0-25"]


@pytest.mark.parametrize(
    ("subnet", "differences", "renumbered"),
    [
        ("10.42.1.0/24", [], ["web"]),
        ("10.43.1.0/24", [], []),
        # by a run that ended before it came to Docker
        ("10.43.1.0/24", ["bip 10.42.1.1/24 -> 10.43.1.1/24"], ["web"]),
    ],
)
def test_containers_get_new_addresses_where_the_subnet_ends(
    subnet: str, differences: list[str], renumbered: list[str]
) -> None:
    variables = {
        "__flannel_config": {"config": NETWORK},
        "__flannel_node": node(subnet),
        "__flannel_docker_before": {"containers": ["web"], "differences": differences},
    }
    assert evaluate("flannel", variables, "__flannel_containers_renumbered") == [renumbered]


@pytest.mark.parametrize(
    ("subnet", "pending", "stranded"),
    [
        ("10.42.1.0/24", [], ["web"]),
        ("10.43.1.0/24", [], []),
        # by a run that ended before somebody came to the containers
        (
            "10.43.1.0/24",
            ["flannel-br has 10.42.1.1, which is not in our subnet 10.43.1.0-24: stop all"],
            ["web"],
        ),
        ("10.43.1.0/24", ["cni0 has 10.43.9.1, which is not in our subnet 10.43.1.0-24: restart"], []),
    ],
)
def test_containers_of_podman_are_left_behind_where_the_subnet_ends(
    subnet: str, pending: list[str], stranded: list[str]
) -> None:
    variables = {
        "__flannel_config": {"config": NETWORK},
        "__flannel_node": node(subnet, pending=tuple(pending)),
        "__flannel_network_containers": {"stdout_lines": ["web"]},
        "flannel_podman": True,
    }
    found = evaluate("flannel", variables, "__flannel_containers_stranded", "__flannel_containers_renumbered")
    assert found == [stranded, []]


@pytest.mark.parametrize(("allowed", "goes_on"), [(False, False), (True, True)])
def test_nobody_leaves_containers_of_podman_behind_without_consent(allowed: bool, goes_on: bool) -> None:
    variables = {"__flannel_containers_stranded": ["web"], "flannel_allow_stranded_containers": allowed}
    task = find_task("renumber_before", "Refuse to leave containers behind if nobody has asked for it")
    assert evaluate("flannel", variables, task["ansible.builtin.assert"]["that"]) == [goes_on]


def test_a_docker_without_the_subnet_is_no_concern_of_a_renumbering() -> None:
    beside = find_task("containers_preflight", "Look whether Docker has the subnet")["register"]
    variables = {
        "__flannel_config": {"config": NETWORK},
        "__flannel_node": node("10.42.1.0/24"),
        beside: {"wired": False, "containers": ["web"], "differences": ["bip 172.17.0.1/16 -> 10.42.1.1/24"]},
        "flannel_podman": True,
    }
    assert evaluate("flannel", variables, "__flannel_containers_renumbered") == [[]]


def test_the_plan_says_what_stops_for_whom() -> None:
    leases = [
        lease("10.42.1.0/24", "192.0.2.1"),
        lease("10.42.8.0/24", "192.0.2.8", held=False),
        lease("10.42.9.0/24", "192.0.2.9", held=False, reservation=True),
    ]
    variables = {
        "__flannel_config": {"changed": True, "config": NETWORK, "disruptions": [CUT]},
        "__flannel_node": node("10.42.1.0/24"),
        "__flannel_leases": {"leases": leases},
        "__flannel_docker_before": {"containers": ["web"], "differences": []},
        "__flannel_network_containers": {"stdout_lines": ["db", "queue"]},
        "ansible_play_hosts": ["n1"],
        "ansible_play_hosts_all": ["n1"],
    }
    (plan,) = render("flannel", ["renumber.txt"], {"n1": variables, "n2": {}})
    assert "  Network: 10.42.0.0/16 -> 10.43.0.0/16, for 2 leases\n" in plan
    assert "n1: 10.42.1.0/24 ends: it does not lie in Network 10.43.0.0/16\n" in plan
    assert "n1: 1 running container(s) of Docker (web) are restarted" in plan
    assert "n1: 2 running container(s) of podman or nerdctl (db, queue) keep addresses" in plan
    assert "no packet passes" in plan
    assert "10.42.1.0-24: " not in plan
    assert "10.42.8.0-24: no host that is up says that it holds it; it is removed" in plan
    assert "10.42.9.0-24: a reservation that no host can take then" in plan
    assert "Not in this run: n2." in plan


def test_the_plan_of_a_rerun_says_what_is_done_already() -> None:
    variables = {
        "__flannel_config": {"changed": False, "config": NETWORK, "disruptions": []},
        "__flannel_node": node("10.43.1.0/24"),
        "__flannel_leases": {"leases": []},
        "ansible_play_hosts": ["n1"],
        "ansible_play_hosts_all": ["n1"],
    }
    (plan,) = render("flannel", ["renumber.txt"], {"n1": variables})
    assert [line for line in plan.split("\n") if line.strip()] == [
        "The network config is in etcd already.",
        "n1: 10.43.1.0/24 stays",
    ]


# --- upgrade

PROBES = {
    "results": [
        {"item": "n1", "id": "id-n1", "ipv4": {"address": "10.42.1.254", "mtu": 1450}, "ipv6": None},
        {"item": "n2", "id": "id-n2", "ipv4": {"address": "10.42.2.254", "mtu": 1450}, "ipv6": None},
        {"item": "n3", "failed": True},
        {"item": "n4", "unreachable": True},
    ]
}


def test_the_probes_that_stand_are_asked() -> None:
    variables = {"inventory_hostname": "n1", "__flannel_probes": PROBES}
    assert evaluate("flannel", variables, "__flannel_probe_peers") == [
        [{"name": "n2", "id": "id-n2", "ipv4": {"address": "10.42.2.254", "mtu": 1450}}]
    ]


@pytest.mark.parametrize(
    ("asked", "ways"),
    [
        ({"answers": [answer("n2")]}, ["n2 (ipv4)"]),
        ({"answers": [answer("n2", reached=False, answered_by=None, seen_as=None)]}, []),
        ({"answers": [answer("n2", answered_by="id-n9")]}, []),
        ({"answers": [answer("n2", seen_as="192.0.2.1")]}, []),
        ({"failed": True}, []),
    ],
)
def test_a_way_is_well_if_the_right_host_sees_the_containers_own_address(
    asked: dict[str, Any], ways: list[str]
) -> None:
    variables = {"inventory_hostname": "n1", "__flannel_probes": PROBES, "__flannel_asked": asked}
    assert evaluate("flannel", variables, "__flannel_ways") == [ways]


# --- etcd


@pytest.mark.parametrize(
    ("source", "port", "mistaken"),
    [("10.0.2.15", 2222, ["n2 (as n1)"]), ("10.0.2.15", 22, []), ("192.0.2.2", 2222, [])],
)
def test_another_machine_with_the_address_of_etcd_is_found(
    source: str, port: int, mistaken: list[str]
) -> None:
    routes = {"results": [{"item": "n3", "skipped": True}, {"item": "n1", "ipv4": source}]}
    hosts = {
        "n1": {"ansible_host": "127.0.0.1", "ansible_port": port, "etcd_client_address": "10.0.2.15"},
        "n2": {"ansible_host": "127.0.0.1", "__etcd_routes": routes},
        "n3": {},
    }
    assert evaluate_among("etcd", hosts, "__etcd_mistaken") == [mistaken]
