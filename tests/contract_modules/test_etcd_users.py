# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a real etcd, made by the modules: who may do what, and that nobody is locked out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from tests.contract_modules.conftest import AnsibleHost, Host, Outcome
from tests.support.certs import CertificateAuthority
from tests.support.etcd import EtcdServer, ServerTLS

CONFIG = '{"Network":"10.5.0.0/16"}'
GRANTS = [
    {"key": "/coreos.com/network/config", "access": "read"},
    {"key": "/coreos.com/network/subnets/", "access": "readwrite"},
    {"key": "/coreos.com/network/nodes/", "access": "readwrite"},
]
PASSWORD = "correct-horse-battery"


class Secured:
    """An etcd that wants to see client certificates, and the options of its clients."""

    def __init__(self, host: Host, member: EtcdServer, authority: CertificateAuthority) -> None:
        self.host = host
        self.member = member
        self._authority = authority

    def run(self, module: str, client: str, *flags: str, **options: Any) -> Outcome:
        """A module that shows the certificate of `client`."""
        pair = self._authority.issue(client)
        connection: Dict[str, Any] = {
            "endpoints": self.member.endpoint, "ca_cert": str(self._authority.cert),
            "client_cert": str(pair.cert), "client_key": str(pair.key),
        }  # fmt: skip
        return self.host.run(module, {**connection, **options}, "--diff", *flags)


@pytest.fixture
def secured(host: Host, tmp_path: Path) -> Iterator[Secured]:
    authority = CertificateAuthority(tmp_path / "tls")
    pair = authority.issue("etcd", ["127.0.0.1"])
    tls = ServerTLS(authority.cert, pair.cert, pair.key, authority.cert)
    with EtcdServer(tmp_path / "etcd", tls=tls) as member:
        yield Secured(host, member, authority)


def test_agents_may_do_what_they_need_and_operators_are_not_locked_out(secured: Secured) -> None:
    secured.member.put("/coreos.com/network/config", CONFIG)
    secured.member.put("/other/secret", "x")

    refused = secured.run("flannel_etcd_auth", "root")
    assert "no user root" in refused.result["cause"]
    secured.run("flannel_etcd_user", "root", name="root")
    refused = secured.run("flannel_etcd_auth", "flanneld")
    assert "but one of flanneld" in refused.result["cause"]
    assert not secured.run("flannel_etcd_user_info", "root").result["enabled"]

    told = secured.run("flannel_etcd_auth", "root", "--check")
    done = secured.run("flannel_etcd_auth", "root")
    assert told.changed
    assert done.changed, done.output
    assert told.result["diff"] == done.result["diff"]
    assert not secured.run("flannel_etcd_auth", "root").changed

    user = {"name": "flanneld", "grants": GRANTS, "user_password": PASSWORD}
    told = secured.run("flannel_etcd_user", "root", "--check", **user)
    done = secured.run("flannel_etcd_user", "root", **user)
    assert told.changed
    assert done.changed, done.output
    assert told.result["diff"] == done.result["diff"]
    assert PASSWORD not in told.output + done.output
    again = secured.run("flannel_etcd_user", "root", **user)
    assert not again.changed, again.output

    # What the agent may: read the config, and everything about leases and nodes. What it may not: the rest.
    assert secured.run("flannel_network_info", "flanneld").result["raw"] == CONFIG
    written = secured.run("flannel_network", "flanneld", network="10.6.0.0/16")
    assert written.result["error"] == "StoreAuthError", written.output
    other = secured.run("flannel_network_info", "flanneld", prefix="/other")
    assert other.result["error"] == "StoreAuthError"
    made_root = secured.run("flannel_etcd_user", "flanneld", name="flanneld2")
    assert made_root.result["error"] == "StoreAuthError"
    stranger = secured.run("flannel_network_info", "stranger")
    assert stranger.result["error"] == "StoreAuthError"

    # By its password, where no certificate names a user.
    renewed = secured.run("flannel_etcd_user", "root", **{**user, "user_password": "another-battery"})
    assert renewed.changed
    assert "password (hidden, new)" in renewed.after
    found = secured.run("flannel_etcd_user_info", "root").result
    assert found["enabled"]
    assert [(entry["name"], entry["roles"]) for entry in found["users"]] == [
        ("flanneld", ["flanneld"]), ("root", ["root"]),
    ]  # fmt: skip
    assert {grant["key"]: grant["access"] for grant in found["users"][0]["grants"]} == {
        grant["key"]: grant["access"] for grant in GRANTS
    }

    assert secured.run("flannel_etcd_user", "root", name="flanneld", state="absent").changed
    assert not secured.run("flannel_etcd_user", "root", name="flanneld", state="absent").changed
    assert secured.run("flannel_etcd_auth", "root", enabled=False).changed


def test_where_etcd_asks_for_no_certificate_root_must_log_in(
    by_ansible: AnsibleHost, etcd: EtcdServer, tmp_path: Path
) -> None:
    pair = CertificateAuthority(tmp_path / "tls").issue("root")
    options = {"endpoints": etcd.endpoint}
    assert by_ansible.run("flannel_etcd_user", {**options, "name": "root"}).changed
    refused = by_ansible.run("flannel_etcd_auth", options)
    assert "neither logs in as root" in refused.result["cause"]
    shown = {"client_cert": str(pair.cert), "client_key": str(pair.key)}
    refused = by_ansible.run("flannel_etcd_auth", {**options, **shown})
    assert "does not ask for client certificates" in refused.result["cause"]
    assert not by_ansible.run("flannel_etcd_user_info", options).result["enabled"]
    by_ansible.run("flannel_etcd_user", {**options, "name": "root", "state": "absent"})


def test_bad_input_and_no_etcd(host: Host) -> None:
    options = {"endpoints": "http://127.0.0.1:1"}
    bad = host.run("flannel_etcd_user", {**options, "name": "root", "grants": GRANTS})
    assert "leave grants out" in bad.result["next_step"]
    for module, more in (("flannel_etcd_user", {"name": "a"}), ("flannel_etcd_auth", {})):
        gone = host.run(module, {**options, **more})
        assert (gone.result["error"], gone.result["cause"]) == ("StoreUnavailable", "connection refused")
