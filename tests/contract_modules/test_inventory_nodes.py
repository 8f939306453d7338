# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin, through ansible-inventory, on a real etcd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict

import pytest

from tests.contract_modules.conftest import COLLECTIONS
from tests.support.etcd import EtcdServer, find_free_port

PREFIX = "/coreos.com/network"
SECRET = "correct-horse-battery"


@pytest.fixture
def controller(tmp_path: Path) -> Path:
    """A directory for the files of a controller that has the distribution's library for etcd."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.path.append('/usr/lib/python3/dist-packages')\n"
    )
    (tmp_path / "ansible.cfg").touch()
    return tmp_path


def list_inventory(directory: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("ansible-inventory")
    assert program is not None, "these tests need ansible-core: put the environment's bin on PATH"
    (directory / "site.flannel.yml").write_text(f"plugin: weft.flannel.nodes\n{text}")
    return subprocess.run(
        [program, "-vvv", "--list", f"--inventory={directory}/site.flannel.yml"],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONPATH": str(directory),
            **environment,
        },
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_hosts_groups_and_variables(controller: Path, etcd: EtcdServer) -> None:
    value = '{"PublicIP":"192.0.2.%d","BackendType":"host-gw"}'
    etcd.put(f"{PREFIX}/subnets/10.5.34.0-24", value % 1)
    etcd.put(f"{PREFIX}/subnets/10.5.35.0-24", value % 2)
    entry = {"Host": "node1", "PublicIP": "192.0.2.1", "Subnet": "10.5.34.0-24", "Version": "{{ 6 * 7 }}"}
    etcd.put(f"{PREFIX}/nodes/{1:032x}", json.dumps(entry))
    done = list_inventory(
        controller,
        f"endpoints: ['{etcd.endpoint}']\n"
        "compose:\n  bridge: flannel_store.subnet | weft.flannel.bridge_address\n  version: flannel_store.version\n"
        "groups:\n  pinned: flannel_store.reservation\n"
        "keyed_groups:\n  - {key: flannel_store.backend_type, prefix: by}\n",
    )
    assert done.returncode == 0, done.stderr
    found: Dict[str, Any] = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert found["flannel_live"]["hosts"] == ["node1"]
    assert found["flannel_silent"]["hosts"] == ["192.0.2.2"]
    assert sorted(found["flannel_backend_host_gw"]["hosts"]) == sorted(found["pinned"]["hosts"])
    assert sorted(found["by_host_gw"]["hosts"]) == ["192.0.2.2", "node1"]
    variables = found["_meta"]["hostvars"]["node1"]
    shown = {name: read_text(variables[name]) for name in ("ansible_host", "bridge", "version")}
    assert shown == {"ansible_host": "192.0.2.1", "bridge": "10.5.34.1/24", "version": "{{ 6 * 7 }}"}
    assert read_text(variables["flannel_store"]["node_id"]) == f"{1:032x}"


def read_text(value: Any) -> str:
    """A variable as ansible-inventory shows it, which marks what no template may be made of."""
    return str(value["__ansible_unsafe"] if isinstance(value, dict) else value)


def test_a_failure_says_what_to_do_and_never_the_password(controller: Path) -> None:
    port = find_free_port("127.0.0.1")
    done = list_inventory(
        controller,
        f"endpoints: ['https://127.0.0.1:{port}']\nusername: operator\n"
        "password: \"{{ lookup('ansible.builtin.env', 'PLANTED') }}\"\n",
        PLANTED=SECRET,
    )
    assert done.returncode != 0
    assert f"127.0.0.1:{port}" in done.stderr
    assert "check that etcd runs there" in done.stderr
    assert SECRET not in done.stdout + done.stderr
