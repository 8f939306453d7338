# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An etcd that wants client certificates, and every way to get them wrong: exit 5, and what to look at."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, Iterator

import pytest

from tests.support.asking import read_report
from tests.support.certs import CertificateAuthority
from tests.support.cluster import Cluster
from tests.support.etcd import ServerTLS
from tests.support.netns import SWITCH_ADDRESS
from tests.support.node import Node
from tests.support.waiting import wait_until

FLAGS = {"ca": "--etcd-cafile", "cert": "--etcd-certfile", "key": "--etcd-keyfile"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Path]:
    """What an operator may have lying around, right and wrong."""
    directory = tmp_path_factory.mktemp("tls")
    ca, stranger = CertificateAuthority(directory / "ours"), CertificateAuthority(directory / "stranger")
    server = ca.issue("etcd", [str(SWITCH_ADDRESS)])
    client, strange_client = ca.issue("flanneld"), stranger.issue("flanneld")
    return {
        "ca": ca.cert,
        "cert": client.cert,
        "key": client.key,
        "server cert": server.cert,
        "server key": server.key,
        "strange ca": stranger.cert,
        "strange cert": strange_client.cert,
        "strange key": strange_client.key,
        "missing": directory / "missing.pem",
        "empty": _empty(directory / "empty.pem"),
    }


def _empty(path: Path) -> Path:
    path.touch()
    return path


@pytest.fixture
def guarded(bundle: None, files: Dict[str, Path]) -> Iterator[Cluster]:
    """A cluster whose etcd serves TLS, and only to clients with a certificate of its CA."""
    tls = ServerTLS(
        files["ca"], files["server cert"], files["server key"], files["ca"], files["cert"], files["key"]
    )
    with Cluster(tls) as cluster:
        cluster.configure("vxlan")
        yield cluster


def add_node(cluster: Cluster, files: Dict[str, Path], **chosen: str) -> Node:
    return cluster.add_node(1, *(f"{FLAGS[what]}={files[name]}" for what, name in chosen.items()))


def test_the_right_files_work(guarded: Cluster, files: Dict[str, Path]) -> None:
    node = add_node(guarded, files, ca="ca", cert="cert", key="key")
    node.agent.start()
    node.agent.wait_ready()
    assert list(guarded.leases()) == [node.lease_key]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"ca": "strange ca", "cert": "cert", "key": "key"}, "not signed by the given CA"),
        ({"ca": "ca", "cert": "strange cert", "key": "strange key"}, "refuses our client certificate"),
        ({"ca": "ca", "cert": "cert", "key": "strange key"}, "stranger/flanneld.key"),
        ({"ca": "missing", "cert": "cert", "key": "key"}, "missing.pem"),
        ({"ca": "ca", "cert": "missing", "key": "key"}, "missing.pem"),
        ({"ca": "ca", "cert": "cert", "key": "empty"}, "empty.pem"),
    ],
    ids=[
        "another CA",
        "a certificate of another CA",
        "not a pair",
        "no CA file",
        "no certificate",
        "an empty key",
    ],
)
def test_wrong_files_end_it_with_5(
    guarded: Cluster, files: Dict[str, Path], chosen: Dict[str, str], told: str
) -> None:
    node = add_node(guarded, files, **chosen)
    node.agent.start()
    assert node.agent.wait() == 5
    (complaint,) = node.agent.complaints()
    assert told in complaint
    assert not node.host.subnet_file.exists()
    assert guarded.leases() == {}


def test_no_certificate_at_all_ends_it_with_5(guarded: Cluster, files: Dict[str, Path]) -> None:
    node = add_node(guarded, files, ca="ca")
    node.agent.start()
    assert node.agent.wait() == 5
    assert "certificate" in node.agent.complaints()[-1]


def test_a_host_that_boots_with_a_certificate_that_is_not_good_any_more_comes_up_from_disk(
    guarded: Cluster, files: Dict[str, Path], tmp_path: Path
) -> None:
    own = {name: Path(shutil.copy(files[name], tmp_path / name)) for name in ("cert", "key")}
    node = add_node(guarded, {**files, **own}, ca="ca", cert="cert", key="key")
    node.agent.start()
    node.agent.wait_ready()
    before = node.host.subnet_file.read_bytes()
    node.agent.stop()
    for name in own:
        shutil.copy(files[f"strange {name}"], own[name])
    node.agent.start()
    assert node.agent.wait() == 5, "a restart tells the operator at once"
    shutil.rmtree(node.host.run_dir / "flannel")
    node.agent.start()
    node.agent.wait_ready()
    assert node.host.subnet_file.read_bytes() == before
    report = read_report(node.agent)
    assert report["store"]["from_disk"] is True
    wait_until(
        lambda: "refuses our client certificate" in read_report(node.agent)["store"]["last_error"],
        "it says why",
    )
    for name in own:
        shutil.copy(files[name], own[name])
    wait_until(lambda: not read_report(node.agent)["store"]["from_disk"], "the lease is confirmed", 60)
