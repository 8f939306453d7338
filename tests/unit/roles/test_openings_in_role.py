# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles ask a host's firewall for, from their variables."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.weft.flannel.plugins.module_utils._host_firewall import read_wanted

from tests.support.rendering import evaluate, evaluate_among

ROOT = Path(__file__).resolve().parents[3]
INTERFACE = {"public_ip": "203.0.113.7", "public_ipv6": None, "ipv4": "192.0.2.7", "ipv6": None}
SECRET = "correct-horse-battery" * 5


@pytest.mark.parametrize(
    ("variables", "openings"),
    [
        ({"flannel_network": "10.42.0.0/16"}, ["UDP port 8472"]),
        ({"flannel_network": "10.42.0.0/16", "flannel_backend": {"Type": "vxlan", "Port": 4789, "VNI": 7}},
         ["UDP port 4789"]),
        ({"flannel_network": "10.42.0.0/24", "flannel_subnet_len": "28"}, ["UDP port 8472"]),
        ({"flannel_ipv6_network": "fd05::/48", "flannel_backend": {"type": "wireguard", "listen_port_v6": 4000}},
         ["UDP port 4000"]),
        ({"flannel_network": "10.42.0.0/16", "flannel_backend": {"Type": "ipsec", "PSK": SECRET, "UDPEncap": True}},
         ["UDP port 500", "UDP port 4500"]),
        ({"flannel_config": {"network": "10.42.0.0/16", "Backend": {"type": "UDP"}}}, ["UDP port 8285"]),
        ({"flannel_config": {"Network": "10.42.0.0/16"}}, ["UDP port 8285"]),
        ({"flannel_config": {"Network": "10.42.0.0/16", "Backend": {"Type": "ipsec", "PSK": SECRET}}},
         ["UDP port 500", "UDP port 4500", "IP protocol 50"]),
    ],
)  # fmt: skip
def test_what_is_opened(variables: dict[str, Any], openings: list[str]) -> None:
    name, config = evaluate("flannel", variables, "__flannel_openings_name", "__flannel_openings_config")
    assert "horse" not in str(config)
    wanted = read_wanted({"name": name, "config": config, "ports": [], "hosts": []})
    assert [str(opening) for opening in wanted.openings] == openings


def test_another_instance_has_a_name_of_its_own() -> None:
    (name,) = evaluate("flannel", {"flannel_instance": "a" * 12}, "__flannel_openings_name")
    assert read_wanted({"name": name, "config": None, "ports": [], "hosts": []}).name == "fl-aaaaaaaaaaaa"


def test_who_is_let_in_to_etcd() -> None:
    admitted_now = base64.b64encode(b"            192.0.2.3,  # host n3\n").decode()
    hosts: dict[str, dict[str, Any]] = {
        "n1": {
            "etcd_client_address": "192.0.2.1",
            "etcd_admitted_addresses": ["198.51.100.0/24"],
            "__etcd_admission": {"content": admitted_now},
        },
        "n2": {"etcd_source_addresses": {"n1": "192.0.2.2"}},
        "n3": {},
        "n4": {},
    }
    (admitted,) = evaluate_among("etcd", hosts, "__etcd_admitted")
    assert admitted == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.0/24"], "n3 keeps its place"
    wanted = read_wanted({"name": "etcd", "config": None, "ports": ["2379/tcp"], "hosts": admitted})
    assert [str(passage.host) for passage in wanted.passages] == admitted


def test_a_renumbering_closes_in_the_end_what_its_batches_only_open() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/renumber.yml").read_text(encoding="utf-8"))
    last = [play for play in plays if "tasks" in play][-1]
    assert "serial" not in last, "a batch knows too few addresses to close anything"
    tasks_from = last["tasks"][0]["ansible.builtin.include_role"]["tasks_from"]
    tasks = yaml.safe_load((ROOT / "roles/flannel/tasks" / tasks_from).read_text(encoding="utf-8"))
    names = [task["name"] for task in tasks]
    openings = [task for task in tasks if task.get("ansible.builtin.include_tasks") == "host_firewall.yml"]
    assert len(openings) == 1
    assert names.index(openings[0]["name"]) > names.index("Insist that it does")


def test_who_is_let_in() -> None:
    run: dict[str, Any] = {"__flannel_interface": INTERFACE}
    assert evaluate("flannel", run, "__flannel_host_addresses") == [["203.0.113.7", "192.0.2.7"]]
    limited = {
        **run,
        "__flannel_info": {"leases": [{"public_ip": "192.0.2.8", "public_ipv6": None}]},
        "flannel_host_firewall_addresses": ["192.0.2.9"],
    }
    assert evaluate("flannel", limited, "__flannel_host_addresses") == [
        ["203.0.113.7", "192.0.2.7", "192.0.2.8", "192.0.2.9"]
    ]
