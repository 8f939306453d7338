# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the bundle: flags, variables and exit codes, which units and people rely on."""

from __future__ import annotations

import subprocess
from typing import Dict

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster

pytestmark = pytest.mark.usefixtures("bundle")


def flanneld(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A run that ends by itself."""
    environment: Dict[str, str] = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **variables}
    return subprocess.run(
        [PYTHON, str(BUNDLE), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_version_and_help_need_nothing() -> None:
    version = flanneld("--version")
    assert version.returncode == 0
    assert version.stdout.strip()
    usage = flanneld("-h")
    assert usage.returncode == 0
    for flag in (
        "--etcd-endpoints",
        "--etcd-prefix",
        "--iface",
        "--iface-regex",
        "--public-ip",
        "--subnet-file",
    ):
        assert flag in usage.stdout


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("--etcd-endpoint=http://192.0.2.1:2379", "--etcd-endpoints"),
        ("-ipmasq", "--ip-masq"),
        ("--ifce=eth0", "--iface"),
        ("--kube-subnet-mgr", "Kubernetes"),
        ("--etcd-password=s3cret", "--etcd-password-file"),
        ("--ip-masq=perhaps", "true or false"),
        ("--iptables-resync=soon", "whole number"),
        ("eth0", "--flag=value"),
    ],
)
def test_a28_a_flag_we_do_not_have_is_refused_with_the_way_out(argument: str, hint: str) -> None:
    done = flanneld(argument)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert hint in done.stderr


def test_a_variable_is_refused_like_its_flag() -> None:
    done = flanneld(FLANNELD_KUBE_SUBNET_MGR="true")
    assert done.returncode == 2
    assert "kube-subnet-mgr" in done.stderr


def test_single_dashes_other_places_and_another_prefix(cluster: Cluster) -> None:
    config = '{"Network":"10.5.0.0/16","SubnetLen":24,"Backend":{"Type":"host-gw"}}'
    cluster.etcd.put("/other/network/config", config)
    node = cluster.add_node(
        1,
        "-etcd-prefix=/other/network",
        "-subnet-file",
        "/run/elsewhere/env",
        "-state-dir=/run/state",
        "-ip-masq",
    )
    node.agent.start()
    node.agent.wait_log("flannel is ready")
    written = (node.host.run_dir / "elsewhere" / "env").read_text()
    assert "FLANNEL_IPMASQ=true\n" in written
    assert cluster.etcd.ctl("get", "--prefix", "--keys-only", "/other/network/subnets/").strip()
    assert cluster.leases() == {}


def test_a_subnet_file_that_cannot_be_written_is_not_ready(cluster: Cluster) -> None:
    cluster.configure("host-gw")
    node = cluster.add_node(1, "--subnet-file=/proc/subnet.env")
    node.agent.start()
    assert node.agent.wait() != 0
    assert not node.agent.ready
    assert "/proc/subnet.env" in node.agent.complaints()[-1]


def test_a27_a_password_in_an_endpoint_is_refused_and_not_logged() -> None:
    done = flanneld("--etcd-endpoints=http://root:s3cret@192.0.2.1:2379")
    assert done.returncode == 5
    assert "carries a user name" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout
