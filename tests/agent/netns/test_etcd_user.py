# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Agents that log in to etcd with user and password: tokens end while they run, and the password is nowhere to be seen.

Tokens live two seconds here, instead of the five minutes of a usual etcd.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Tuple

import pytest

from tests.support.asking import ask, count_renewals, read_report
from tests.support.certs import CertificateAuthority
from tests.support.cluster import Cluster
from tests.support.etcd import ServerTLS
from tests.support.netns import SWITCH_ADDRESS
from tests.support.node import PREFIX
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

USER, PASSWORD = "flannel", "correct-horse-battery"
NEW_PASSWORD = "staple-of-another-day"
FLAGS = ("--auth-token=simple", "--auth-token-ttl=2", "--log-level=info")
TTL = 12


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text(f"{PASSWORD}\n")
    return path


@pytest.fixture
def guarded(bundle: None, tmp_path: Path, password_file: Path) -> Iterator[Tuple[Cluster, Tuple[str, ...]]]:
    """A cluster whose etcd wants a user over TLS, and what its agents are told of that."""
    authority = CertificateAuthority(tmp_path / "ca")
    pair = authority.issue("etcd", [str(SWITCH_ADDRESS)])
    with Cluster(ServerTLS(authority.cert, pair.cert, pair.key), etcd_flags=FLAGS) as cluster:
        cluster.configure("vxlan")
        cluster.etcd.ctl("role", "add", "flannel")
        rights = [f"--prefix=true readwrite {PREFIX}/{name}/" for name in ("subnets", "nodes")]
        for right in (f"read {PREFIX}/config", *rights):
            cluster.etcd.ctl("role", "grant-permission", "flannel", *right.split())
        set_password(cluster, PASSWORD)
        cluster.etcd.enable_auth()
        yield (
            cluster,
            (
                f"--etcd-cafile={authority.cert}",
                f"--etcd-username={USER}",
                f"--etcd-password-file={password_file}",
                f"--subnet-lease-ttl={TTL}",
            ),
        )


def set_password(cluster: Cluster, password: str) -> None:
    cluster.etcd.ctl("user", "add", f"{USER}:{password}")
    cluster.etcd.ctl("user", "grant-role", USER, "flannel")


def test_tokens_end_and_a_password_changes_while_agents_run(
    guarded: Tuple[Cluster, Tuple[str, ...]], password_file: Path
) -> None:
    """Leases live on, who joins is reached, and a password that is wrong for a while costs nothing but words."""
    cluster, flags = guarded
    one, two = cluster.join(1, 2, flags=flags)
    assert_ping(one.container, two.container)
    before = cluster.leases()
    with Pinger(one.container, two.container) as traffic:
        traffic.wait_seconds(2 * TTL)
        assert cluster.leases() == before
        assert count_renewals(one.agent) >= 2
        (three,) = cluster.join(3, flags=flags)
        assert_ping(three.container, one.container)

        cluster.etcd.ctl("user", "delete", USER)
        set_password(cluster, NEW_PASSWORD)
        for node in (one, two):
            node.agent.wait_log("etcd knows no such user with this password")
        password_file.write_text(f"{NEW_PASSWORD}\n")
        renewals = count_renewals(one.agent)
        wait_until(lambda: count_renewals(one.agent) > renewals, "the lease is renewed")
        assert before.items() <= cluster.leases().items()
    traffic.assert_nothing_lost()
    for node in (one, two, three):
        assert node.agent.running
        told = [
            node.agent.log,
            node.agent.status,
            str(read_report(node.agent)),
            ask(node.agent, "/metrics")[1],
        ]
        told += [Path(f"/proc/{node.agent.pid}/{name}").read_text() for name in ("cmdline", "environ")]
        told += [path.read_text() for path in (node.host.lib_dir / "flanneld").iterdir()]
        assert USER in "".join(told)
        for secret in (PASSWORD, NEW_PASSWORD):
            assert secret not in "".join(told)
