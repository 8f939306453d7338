# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_probe and flannel_probe_info, on one host of the real kernel; the ways between hosts are
measured in tests/agent/netns/test_probe.py."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract_modules.conftest import Host

BRIDGE = """
ip link set lo up
ip link add cni0 mtu 1450 address 02:00:00:00:00:01 type bridge
ip address add 10.5.7.1/24 dev cni0
ip link set cni0 up
echo ready
exec sleep infinity
"""


@pytest.fixture
def namespace() -> Iterator[int]:
    """A process in a network of its own, where a bridge has the first address of the subnet."""
    own_user = () if os.getuid() == 0 else ("--map-root-user",)
    with subprocess.Popen(
        ("unshare", "--net", *own_user, "sh", "-ec", BRIDGE), stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield holder.pid
        holder.kill()


@pytest.fixture
def host(tmp_path: Path, namespace: int) -> Host:
    user = () if os.getuid() == 0 else ("--user", "--preserve-credentials")
    return Host(tmp_path, prefix=("nsenter", f"--target={namespace}", "--net", *user, "--"))


@pytest.fixture
def subnet_file(tmp_path: Path) -> Path:
    path = tmp_path / "subnet.env"
    path.write_text(
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.7.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    return path


def links(namespace: int) -> str:
    """Names. Not their state: a bridge without ports is down some time after it has lost the last one."""
    listed = subprocess.run(
        ("nsenter", f"--target={namespace}", "--net", "--", "ip", "-json", "link"),
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return " ".join(sorted(link["ifname"] for link in json.loads(listed)))


def test_from_nothing_to_nothing(host: Host, namespace: int, subnet_file: Path) -> None:
    options: dict[str, Any] = {"subnet_file": str(subnet_file), "lifetime": 120}
    before = links(namespace)

    planned = host.run("flannel_probe", options, "--check", "--diff")
    assert (planned.changed, planned.before, planned.after) == (True, "probe absent\n", "probe present\n")
    assert planned.result["id"] is None
    assert planned.result["ipv4"] == {"address": "10.5.7.254", "mtu": 1450, "bridge": "cni0"}
    assert planned.result["ipv6"] is None
    assert links(namespace) == before

    made = host.run("flannel_probe", options, "--diff")
    assert (made.changed, made.before, made.after) == (True, planned.before, planned.after)
    assert made.result["ipv4"] == planned.result["ipv4"]
    assert "vethprobe4" in links(namespace)

    again = host.run("flannel_probe", options)
    assert not again.changed
    assert again.result["id"] == made.result["id"]

    # It asks itself: the way there leads over no bridge, but the packets are the same.
    peers = [{"name": "self", "id": made.result["id"], "ipv4": made.result["ipv4"], "ipv6": None}]
    asked = host.run("flannel_probe_info", {"peers": peers, "subnet_file": str(subnet_file)}, "--check")
    (answer,) = asked.result["answers"]
    assert (answer["reached"], answer["answered_by"], answer["mtu"]) == (True, made.result["id"], 1450)
    assert not asked.changed

    removal = {**options, "state": "absent"}
    planned = host.run("flannel_probe", removal, "--check", "--diff")
    assert (planned.changed, planned.before, planned.after) == (True, "probe present\n", "probe absent\n")
    assert "vethprobe4" in links(namespace)
    removed = host.run("flannel_probe", removal, "--diff")
    assert (removed.changed, removed.before, removed.after) == (True, planned.before, planned.after)
    assert [item["id"] for item in removed.result["heard"]] == [made.result["id"]]
    assert links(namespace) == before
    assert not host.run("flannel_probe", removal).changed


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [
        ("flannel_probe", {"subnet_file": "/nowhere/subnet.env"}, ["/nowhere/subnet.env", "No such file", "start"]),
        ("flannel_probe", {"lifetime": 0}, ["option lifetime", "0", "900"]),
        ("flannel_probe_info", {"peers": []}, ["none stands on this host", "flannel_probe"]),
        ("flannel_probe_info", {"peers": [], "tries": 0}, ["option tries", "0 is too little", "at least 1"]),
        (
            "flannel_probe_info",
            {"peers": [{"name": "n2", "id": "00", "ipv4": {"address": "fd00::1", "mtu": 1450}}]},
            ["option peers", "fd00::1 is no ipv4 address", "flannel_probe"],
        ),
    ],
    ids=["no subnet", "no lifetime", "no probe", "no tries", "wrong family"],
)  # fmt: skip
def test_bad_input(
    host: Host, subnet_file: Path, module: str, options: dict[str, Any], words: list[str]
) -> None:
    outcome = host.run(module, {"subnet_file": str(subnet_file), **options})
    assert outcome.failed
    assert outcome.result["error"] == "ProbeError"
    for word in words:
        assert word in outcome.result["msg"]


def test_a_bridge_that_is_down(host: Host, namespace: int, subnet_file: Path) -> None:
    subprocess.run(
        ("nsenter", f"--target={namespace}", "--net", "--", "ip", "link", "set", "cni0", "down"), check=True
    )
    outcome = host.run("flannel_probe", {"subnet_file": str(subnet_file)})
    assert outcome.failed
    assert "bridge cni0: it is down" in outcome.result["msg"]
    assert "vethprobe" not in links(namespace)
