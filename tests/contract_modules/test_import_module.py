# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_import, on a real etcd. What it reads and compares: tests/unit/plugins/modules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract_modules.conftest import Host, Outcome
from tests.support.certs import CertificateAuthority
from tests.support.etcd import EtcdServer, ServerTLS, find_free_port

PREFIX = "/coreos.com/network"
CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard","PSK":"%s"}}'
PSK = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I="
VALUE = '{"PublicIP":"192.0.2.%d","BackendType":"wireguard","BackendData":{"PublicKey":"a"}}'


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A config, a lease and a reservation."""
    subnets: list[dict[str, Any]] = [
        {"key": f"{PREFIX}/subnets/10.5.34.0-24", "value": VALUE % 1, "expiration": "2100-01-01T00:00:00.1Z"},
        {"key": f"{PREFIX}/subnets/10.5.35.0-24", "value": VALUE % 2},
        {"key": f"{PREFIX}/subnets/junk", "value": ""},
    ]
    nodes: list[dict[str, Any]] = [
        {"key": f"{PREFIX}/config", "value": CONFIG % PSK},
        {"key": f"{PREFIX}/subnets", "dir": True, "nodes": subnets},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps({"action": "get", "node": {"key": PREFIX, "dir": True, "nodes": nodes}}))
    return path


def run(host: Host, endpoint: str, export: Path, *flags: str) -> Outcome:
    return host.run("flannel_import", {"endpoints": endpoint, "src": str(export)}, "--diff", *flags)


def read_all(etcd: EtcdServer) -> str:
    return etcd.ctl("get", PREFIX, "--prefix")


def test_in_check_mode_and_twice(host: Host, etcd: EtcdServer, export: Path) -> None:
    predicted = run(host, etcd.endpoint, export, "--check")
    assert read_all(etcd) == ""
    made = run(host, etcd.endpoint, export)
    assert (predicted.changed, made.changed) == (True, True)
    assert made.result["diff"] == predicted.result["diff"]
    assert [entry["before"] for entry in made.result["diff"]] == ["", "", ""]
    assert [one["reason"] for one in made.result["left_out"]] == ["is not a subnet"]
    assert etcd.ctl("get", f"{PREFIX}/config", "--print-value-only").strip() == CONFIG % PSK
    items = json.loads(etcd.ctl("get", f"{PREFIX}/subnets", "--prefix", "--write-out=json"))["kvs"]
    assert ["lease" in item for item in items] == [True, False]

    before = read_all(etcd)
    again = run(host, etcd.endpoint, export)
    assert (again.changed, again.result["diff"]) == (False, [])
    assert [lease["written"] for lease in again.result["leases"]] == [False, False]
    assert read_all(etcd) == before
    for outcome in (predicted, made, again):
        assert PSK not in outcome.output


def test_what_is_there_and_different_is_not_touched(host: Host, etcd: EtcdServer, export: Path) -> None:
    etcd.put(f"{PREFIX}/subnets/10.5.35.0-24", VALUE % 9)
    before = read_all(etcd)
    outcome = run(host, etcd.endpoint, export)
    assert (outcome.failed, outcome.result["error"]) == (True, "ImportConflict")
    assert "10.5.35.0-24 of 192.0.2.2 against 10.5.35.0-24 of 192.0.2.9" in outcome.result["msg"]
    assert "nothing was written" in outcome.result["next_step"]
    assert read_all(etcd) == before


def test_bad_input_and_no_etcd(host: Host, etcd: EtcdServer, export: Path) -> None:
    missing = run(host, etcd.endpoint, export.with_name("none.json"))
    assert missing.result["error"] == "OptionError"
    assert all(part in missing.result["msg"] for part in ("option src", "none.json", "name a file"))
    dead = run(host, f"http://127.0.0.1:{find_free_port('127.0.0.1')}", export)
    assert dead.result["error"] == "StoreUnavailable"
    assert dead.result["next_step"]
    export.write_text("{")
    broken = run(host, etcd.endpoint, export)
    assert all(part in broken.result["msg"] for part in ("export", "not JSON", "/v2/keys/"))
    assert read_all(etcd) == ""


def test_with_tls_and_a_user(host: Host, export: Path, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "tls")
    pair = authority.issue("etcd", ["127.0.0.1"])
    secret = "correct-horse-battery"
    options = {"src": str(export), "ca_cert": str(authority.cert), "user": "operator"}
    with EtcdServer(tmp_path / "etcd", tls=ServerTLS(authority.cert, pair.cert, pair.key)) as server:
        server.ctl("role", "add", "operator")
        server.ctl("role", "grant-permission", "operator", "--prefix=true", "readwrite", f"{PREFIX}/")
        server.ctl("user", "add", f"operator:{secret}")
        server.ctl("user", "grant-role", "operator", "operator")
        server.enable_auth()
        options["endpoints"] = server.endpoint
        refused = host.run("flannel_import", {**options, "password": "wrong-secret"})
        made = host.run("flannel_import", {**options, "password": secret})
        again = host.run("flannel_import", {**options, "password": secret})
    assert refused.result["error"] == "StoreAuthError"
    assert (made.changed, again.changed) == (True, False)
    for outcome in (refused, made, again):
        assert not any(text in outcome.output for text in (secret, "wrong-secret", PSK))
