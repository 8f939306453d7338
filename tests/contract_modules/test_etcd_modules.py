# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_etcd_member, _member_info and _snapshot, on a real cluster."""

from __future__ import annotations

import json
import stat
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from tests.contract_modules.conftest import AnsibleHost, Host, Outcome
from tests.support.certs import CertificateAuthority
from tests.support.etcd import ROOT_PASSWORD, EtcdServer, ServerTLS, find_free_port
from tests.support.waiting import PATIENCE


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[List[EtcdServer]]:
    """One member, then two more, each one added and started."""
    with ExitStack() as stack:
        members = [stack.enter_context(EtcdServer(tmp_path / "one"))]
        for name in ("two", "three"):
            member = EtcdServer(tmp_path / name, name=name, joins=members)
            add_member(members[0], member)
            members.append(stack.enter_context(member))
        yield members


def add_member(present: EtcdServer, member: EtcdServer) -> None:
    """As soon as etcd allows it: it wants the ones before to have been connected for a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            present.ctl("member", "add", member.name, f"--peer-urls={member.peer_url}")
            return
        except subprocess.CalledProcessError as error:
            if b"unhealthy cluster" not in error.stderr or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def change(host: Host, etcd: EtcdServer, options: Dict[str, Any], *flags: str) -> Outcome:
    return host.run("flannel_etcd_member", {"endpoints": etcd.endpoint, **options}, "--diff", *flags)


def listed(etcd: EtcdServer) -> List[str]:
    """The names of the members, "" for one that has never started."""
    answer = json.loads(etcd.ctl("member", "list", "--write-out=json"))
    return sorted(member.get("name", "") for member in answer["members"])


def test_a_member_is_announced_once_and_then_joins(host: Host, tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "one") as one:
        two = EtcdServer(tmp_path / "two", name="two", joins=[one])
        wanted = {"name": "two", "peer_urls": [two.peer_url]}
        predicted = change(host, one, wanted, "--check")
        assert listed(one) == ["one"]
        done = change(host, one, wanted)
        assert (predicted.changed, done.changed) == (True, True)
        assert (predicted.before, predicted.after) == (done.before, done.after)
        assert two.peer_url in done.after
        assert two.peer_url not in done.before
        assert listed(one) == ["", "one"]
        # It counts for the quorum already; the same once more is no change, and nobody else may come.
        assert not change(host, one, wanted).changed
        refused = change(host, one, {"name": "three", "peer_urls": ["http://127.0.0.1:1"]})
        assert refused.result["error"] == "MemberError"
        assert "etcd member three: it cannot join while" in refused.result["msg"]
        with two:
            assert listed(one) == ["one", "two"]
            again = change(host, one, wanted)
            assert not again.changed
            assert again.before == again.after


def test_a_member_is_to_be_reached_with_tls(host: Host, tmp_path: Path) -> None:
    with EtcdServer(tmp_path / "one") as one:
        secure = one.peer_url.replace("http:", "https:")
        wanted = {"name": "one", "peer_urls": [secure]}
        predicted = change(host, one, wanted, "--check")
        assert one.peer_url in one.ctl("member", "list")
        done = change(host, one, wanted)
        assert (predicted.changed, done.changed) == (True, True)
        assert (predicted.before, predicted.after) == (done.before, done.after)
        assert (done.before, done.after) == (f"one {one.peer_url}\n", f"one {secure}\n")
        assert secure in one.ctl("member", "list")
        assert not change(host, one, wanted).changed


def test_how_members_are_and_how_they_go(host: Host, trio: List[EtcdServer]) -> None:
    one, two, three = trio
    well = host.run("flannel_etcd_member_info", {"endpoints": [one.endpoint]})
    assert well.result["agreed"]
    assert well.result["leader"] == "one"
    assert [member["name"] for member in well.result["members"]] == ["one", "three", "two"]

    three.kill()
    info = host.run("flannel_etcd_member_info", {"endpoints": [three.endpoint, one.endpoint]})
    assert (info.result["agreed"], info.result["leader"]) == (False, "one")
    health = {member["name"]: member["error"] for member in info.result["members"]}
    assert health["one"] is None
    assert "connection refused" in health["three"].lower()

    # Of two that stay one would be down: no quorum.
    refused = change(host, one, {"name": "two", "state": "absent"}, "--check")
    assert refused.result["error"] == "MemberError"
    assert "1 of 2 members would be healthy" in refused.result["msg"]

    gone = {"name": "three", "state": "absent"}
    predicted = change(host, one, gone, "--check")
    assert listed(one) == ["one", "three", "two"]
    done = change(host, one, gone)
    assert (predicted.changed, done.changed) == (True, True)
    assert (predicted.before, predicted.after) == (done.before, done.after)
    assert listed(one) == ["one", "two"]
    assert not change(host, one, gone).changed

    two.kill()
    lost = host.run("flannel_etcd_member_info", {"endpoints": [one.endpoint]})
    assert lost.result.get("leader") is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "one", "peer_urls": ["http://127.0.0.1:1"]}, "it is in the cluster with the peer URL"),
        ({"name": "other", "peer_urls": ["OWN"]}, "belongs to the member one"),
        ({"name": "one", "state": "absent"}, "it is the last one"),
        ({"name": "one"}, "peer_urls"),
    ],
    ids=["another address", "another name", "the last one", "no address"],
)
def test_bad_input_changes_nothing(host: Host, etcd: EtcdServer, options: Dict[str, Any], said: str) -> None:
    urls = [etcd.peer_url if url == "OWN" else url for url in options.get("peer_urls", [])]
    outcome = change(host, etcd, {**options, "peer_urls": urls})
    assert outcome.failed
    assert said in outcome.result["msg"]
    assert listed(etcd) == ["one"]


def test_a_snapshot_is_whole_private_and_written_once(host: Host, etcd: EtcdServer, tmp_path: Path) -> None:
    etcd.put("/key", "value")
    dest = tmp_path / "snapshot.db"
    options = {"endpoints": etcd.endpoint, "dest": str(dest)}
    predicted = host.run("flannel_etcd_snapshot", options, "--check", "--diff")
    assert not dest.exists()
    done = host.run("flannel_etcd_snapshot", options, "--diff")
    assert (predicted.changed, done.changed) == (True, True)
    assert (predicted.before, predicted.after) == (done.before, done.after)
    assert stat.S_IMODE(dest.stat().st_mode) == 0o600
    # It checks the sum at the end of the file.
    restored = tmp_path / "restored"
    subprocess.run(
        ["etcdctl", "snapshot", "restore", dest, f"--data-dir={restored}"],
        env={"PATH": "/usr/bin", "ETCDCTL_API": "3"}, check=True, capture_output=True,
    )  # fmt: skip
    assert (restored / "member/wal").is_dir()
    assert not host.run("flannel_etcd_snapshot", options).changed
    assert [path.name for path in tmp_path.glob(".etcd-snapshot-*")] == []

    nowhere = host.run("flannel_etcd_snapshot", {**options, "dest": str(tmp_path / "no/file")})
    assert "its directory does not exist" in nowhere.result["msg"]


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("flannel_etcd_member_info", {}),
        ("flannel_etcd_member", {"name": "two", "peer_urls": ["http://127.0.0.1:1"]}),
        ("flannel_etcd_snapshot", {"dest": "/tmp/never-written.db"}),
    ],
)
def test_without_etcd_it_is_said(host: Host, module: str, options: Dict[str, Any]) -> None:
    nobody = f"http://127.0.0.1:{find_free_port('127.0.0.1')}"
    outcome = host.run(module, {"endpoints": nobody, **options})
    assert outcome.result["error"] == "StoreUnavailable"
    assert nobody.removeprefix("http://") in outcome.result["msg"]
    assert not Path("/tmp/never-written.db").exists()


def test_with_tls_and_a_user(by_ansible: AnsibleHost, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    pair = authority.issue("server", ["127.0.0.1"])
    tls = ServerTLS(authority.cert, pair.cert, pair.key)
    with EtcdServer(tmp_path / "etcd", tls=tls) as server:
        server.enable_auth()
        login = {
            "endpoints": server.endpoint, "ca_cert": str(authority.cert),
            "user": "root", "password": ROOT_PASSWORD,
        }  # fmt: skip
        info = by_ansible.run("flannel_etcd_member_info", login)
        added = by_ansible.run(
            "flannel_etcd_member", {**login, "name": "one", "peer_urls": [server.peer_url]}, "--diff"
        )
        saved = by_ansible.run("flannel_etcd_snapshot", {**login, "dest": str(tmp_path / "snapshot.db")})
    assert info.result["agreed"]
    assert not added.changed
    assert saved.changed
    for outcome in (info, added, saved):
        assert ROOT_PASSWORD not in outcome.output
