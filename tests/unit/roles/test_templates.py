# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the templates come to, rendered by Ansible itself with the roles' own defaults and variables."""

from __future__ import annotations

import base64
import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
UNIT_FILES = ["flanneld.service", "docker.conf", "50-flannel.link", "10-flannel.network", "50-flannel.conf"]


def render(directory: Path, role: str, templates: list[str], hosts: dict[str, dict[str, Any]]) -> list[str]:
    """The templates' texts on the first host. hosts: name -> what an operator, or an earlier task, has set; all of
    them are in the group flannel, the first is in the group etcd."""
    first = next(iter(hosts))
    inventory = {"flannel": {"hosts": hosts}, "etcd": {"hosts": {first: {}}}}
    source = ROOT / "roles" / role
    play = {
        "hosts": first,
        "connection": "local",
        "gather_facts": False,
        "vars_files": [
            str(path) for path in (source / "defaults/main.yml", source / "vars/main.yml") if path.exists()
        ],
        "tasks": [
            {
                "ansible.builtin.template": {
                    "src": str(source / "templates" / "{{ item }}.j2"),
                    "dest": str(directory / "{{ item }}"),
                    "mode": "0644",
                },
                "loop": templates,
                "vars": hosts[first],
            }
        ],
    }
    (directory / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
    (directory / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "ansible",
            "playbook",
            "-i",
            directory / "inventory.json",
            directory / "play.yml",
        ],
        env={**os.environ, "ANSIBLE_HOME": str(directory), "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return [(directory / template).read_text(encoding="utf-8") for template in templates]


def settings(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def flags(text: str) -> list[str]:
    """FLANNEL_OPTIONS as systemd passes it on: unquoted as a line of the file, then split into words."""
    (value,) = shlex.split(settings(text)["FLANNEL_OPTIONS"])
    return shlex.split(value)


def test_two_variables_are_enough(tmp_path: Path) -> None:
    variables = {"etcd_address": "192.0.2.1", "flannel_iface": "eth1"}
    (text,) = render(tmp_path, "flannel", ["flanneld.env"], {"n1": variables})
    assert settings(text) == {
        "FLANNELD_ETCD_ENDPOINTS": "http://192.0.2.1:2379",
        "FLANNELD_ETCD_PREFIX": "/coreos.com/network",
        "FLANNELD_IP_MASQ": "true",
        "FLANNELD_IPTABLES_FORWARD_RULES": "true",
        "FLANNEL_OPTIONS": "'\"--iface=eth1\"'",
    }


def test_every_variable_reaches_flanneld(tmp_path: Path) -> None:
    variables = {
        "flannel_etcd_endpoints": ["https://192.0.2.1:2379", "https://192.0.2.2:2379"],
        "flannel_etcd_prefix": "/other",
        "flannel_etcd_cafile": "/etc/ssl/ca.pem",
        "flannel_etcd_certfile": "/etc/ssl/cert.pem",
        "flannel_etcd_keyfile": "/etc/ssl/key.pem",
        "flannel_iface": ["eth1", "192.0.2.7"],
        "flannel_iface_regex": r"^192\.0\.2\.\d+$",
        "flannel_iface_can_reach": "192.0.2.1",
        "flannel_public_ip": "203.0.113.7",
        "flannel_ip_masq": False,
        "flannel_iptables_forward_rules": False,
        "flannel_extra_args": ["--v=1", '--x=a "quoted" word'],
    }
    (text,) = render(tmp_path, "flannel", ["flanneld.env"], {"n1": variables})
    assert settings(text) | {"FLANNEL_OPTIONS": ""} == {
        "FLANNELD_ETCD_ENDPOINTS": "https://192.0.2.1:2379,https://192.0.2.2:2379",
        "FLANNELD_ETCD_PREFIX": "/other",
        "FLANNELD_ETCD_CAFILE": "/etc/ssl/ca.pem",
        "FLANNELD_ETCD_CERTFILE": "/etc/ssl/cert.pem",
        "FLANNELD_ETCD_KEYFILE": "/etc/ssl/key.pem",
        "FLANNELD_IFACE_CAN_REACH": "192.0.2.1",
        "FLANNELD_PUBLIC_IP": "203.0.113.7",
        "FLANNELD_IP_MASQ": "false",
        "FLANNELD_IPTABLES_FORWARD_RULES": "false",
        "FLANNEL_OPTIONS": "",
    }
    assert flags(text) == [
        "--iface=eth1",
        "--iface=192.0.2.7",
        r"--iface-regex=^192\.0\.2\.\d+$",
        "--v=1",
        '--x=a "quoted" word',
    ]


def test_unit_files_can_be_read(tmp_path: Path) -> None:
    for text in render(tmp_path, "flannel", UNIT_FILES, {"n1": {}}):
        parser = configparser.ConfigParser(strict=True, interpolation=None, delimiters=["="])
        parser.read_string(text)
        assert parser.sections()


def test_etcd_listens_on_one_address_only(tmp_path: Path) -> None:
    (text,) = render(tmp_path, "etcd", ["etcd.env"], {"n1": {"etcd_client_address": "192.0.2.1"}})
    found = settings(text)
    urls = [value for name, value in found.items() if name.endswith("_URLS")]
    assert {re.sub(r":\d+$", "", url) for url in urls} == {"http://192.0.2.1"}
    assert found["ETCD_AUTO_COMPACTION_RETENTION"] == "1h"


def test_filter_admits_the_groups_and_keeps_whom_this_run_did_not_reach(tmp_path: Path) -> None:
    earlier = "   192.0.2.2,  # host n2\n   192.0.2.3,  # host n3\n   192.0.2.9,  # host gone\n"
    hosts: dict[str, dict[str, Any]] = {
        "n1": {
            "etcd_client_address": "192.0.2.1",
            "etcd_admitted_addresses": ["198.51.100.0/24"],
            "__etcd_admission": {"content": base64.b64encode(earlier.encode()).decode()},
        },
        "n2": {"etcd_source_address": "192.0.2.22"},
        "n3": {},
        "n4": {},
    }
    (text,) = render(tmp_path, "etcd", ["admission.nft"], hosts)
    assert re.findall(r"^ +([0-9./]+),  # (.*)$", text, re.MULTILINE) == [
        ("192.0.2.1", "this host"),
        ("192.0.2.22", "host n2"),
        ("192.0.2.3", "host n3"),
        ("198.51.100.0/24", "etcd_admitted_addresses"),
    ]
